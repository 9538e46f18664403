"""The movement example: rows by seed, and the quickstart's arithmetic."""

from __future__ import annotations

import pyarrow as pa
import pytest

from archetype import ArchetypeRuntime
from archetype.examples.movement import MovementProcessor, Position, Velocity, rows


def test_rows_are_the_same_for_the_same_seed_and_differ_for_another():
    assert rows(100, seed=7).equals(rows(100, seed=7))
    assert not rows(100, seed=7).equals(rows(100, seed=8))


def test_rows_have_the_columns_of_both_components():
    assert rows(3).schema.names == ["position__x", "position__y", "velocity__dx", "velocity__dy"]
    assert rows(0).num_rows == 0


async def test_points_move_by_their_velocity_each_tick(database_url: str):
    async with ArchetypeRuntime(database_url) as runtime:
        world = runtime.world("drift", processors=[MovementProcessor()])
        await world.spawn(Position(x=1.0, y=-1.0), Velocity(dx=0.5, dy=2.0))
        await world.run(3)
        (row,) = (await world.query(Position, Velocity)).to_pylist()
    assert (row["position__x"], row["position__y"]) == (2.5, 5.0)
    assert (row["velocity__dx"], row["velocity__dy"]) == (0.5, 2.0)


async def test_many_rows_move_as_arrow_computes_it(sqlite_url: str):
    start = rows(1_000, seed=3)
    async with ArchetypeRuntime(sqlite_url) as runtime:
        world = runtime.world("drift", processors=[MovementProcessor()])
        ids = await world.spawn_many(start)
        await world.step()
        end = (await world.query(Position)).to_arrow()
    assert end.column("entity_id").to_pylist() == ids
    expected = pa.compute.add(start.column("position__x"), start.column("velocity__dx"))
    assert end.column("position__x").to_pylist() == expected.to_pylist()


@pytest.mark.parametrize("count", [1, 65_536, 70_000])
def test_rows_of_any_count_have_no_nulls(count: int):
    assert all(column.null_count == 0 for column in rows(count).columns)
