"""What an operator is told in figures: flushes, ticks by phase, pages, leases, denials, streams."""

from __future__ import annotations

import asyncio

import pytest
from prometheus_client.parser import text_string_to_metric_families

from archetype.api.metrics import Metrics
from archetype.api.sources import FeedSource
from archetype.api.streaming import EventStreams
from archetype.errors import WorldBusyError
from archetype.service.observing import FlushSeen, Observer, Observers, TickSeen
from archetype.service.runs import RunRequest

LEASES = "archetype_lease_changes_total"


def read(text: str) -> dict[tuple[str, ...], float]:
    """Read samples by their name and the values of their labels."""
    families = text_string_to_metric_families(text)
    return {
        (sample.name, *sample.labels.values()): sample.value for each in families for sample in each.samples
    }


async def figures(client) -> dict[tuple[str, ...], float]:
    return read((await client.get("/metrics")).text)


async def test_a_flush_and_a_run_are_measured(http, world) -> None:
    """Each phase once a tick, a seal once a run; pages that did not change are reused."""
    before = await figures(http)
    await http.post(f"/worlds/{world}/commands", json={})
    await http.post(f"/worlds/{world}/run", json={"num_steps": 3})
    after = await figures(http)

    def grown(*key: str) -> float:
        return after[key] - before.get(key, 0.0)

    for phase in ("prepare", "compute", "hash", "persist"):
        assert grown("archetype_tick_phase_duration_seconds_count", phase) == 3, phase
    assert grown("archetype_tick_phase_duration_seconds_count", "seal") == 1
    assert grown("archetype_append_duration_seconds_count") == 1
    assert grown("archetype_flush_duration_seconds_count") == 1
    assert grown("archetype_flush_commands_sum") == 1
    assert after["archetype_flush_failures_total",] == 0
    assert grown("archetype_stored_pages_total", "reused") > 0
    assert grown("archetype_stored_page_bytes_total", "stored") > 0
    assert grown(LEASES, "taken") == 1
    assert after[LEASES, "taken_over"] == after[LEASES, "lost"] == 0
    assert after["archetype_runs_computing",] == 0
    assert after["archetype_database_connections_limit",] >= 6


async def test_denials_are_counted_by_their_kind(lite) -> None:
    """401 and 403; both series are there before the first."""
    assert (await figures(lite))["archetype_denials_total", "permission"] == 0
    await lite.post("/actors", json={"name": "ann", "roles": ["viewer"]})
    key = (await lite.post("/actors/ann/keys", json={})).json()["key"]
    headers = {"Authorization": f"Bearer {key}"}
    assert (await lite.get("/worlds", headers={"Authorization": "Bearer no"})).status_code == 401
    assert (await lite.post("/worlds", json={"name": "x"}, headers=headers)).status_code == 403
    found = read((await lite.get("/metrics", headers=headers)).text)
    assert found["archetype_denials_total", "authentication"] == 1
    assert found["archetype_denials_total", "permission"] == 1


class Kept(Observer):
    def __init__(self) -> None:
        self.flushes: list[FlushSeen] = []
        self.changes: list[str] = []
        self.ticks: list[TickSeen] = []

    def flushed(self, seen: FlushSeen) -> None:
        self.flushes.append(seen)

    def ticked(self, seen: TickSeen) -> None:
        self.ticks.append(seen)

    def lease_changed(self, change: str) -> None:
        self.changes.append(change)


class Raising(Observer):
    def lease_changed(self, change: str) -> None:
        raise KeyError(change)


async def test_a_lease_of_a_dead_owner_is_taken_over_and_one_may_be_lost(app, http, world) -> None:
    """What the row says of its owner decides."""
    services = app.dependencies["services"].dependency()
    kept = Kept()
    services.observers.add(kept)
    world_id = (await services.world_service.find("demo")).world_id
    await services.simulation_service.run(world_id, RunRequest())

    def owned_by_another(connection) -> None:
        connection.exec_driver_sql("UPDATE worlds SET lease_owner = 'elsewhere:1:1', lease_epoch = 9")

    await services.database.write(owned_by_another)
    await services.simulation_service.run(world_id, RunRequest())

    async def loses(_tick: int) -> None:
        await services.database.write(owned_by_another)

    with pytest.raises(WorldBusyError):
        await services.simulation_service.run(world_id, RunRequest(steps=5), on_tick=loses)
    assert kept.changes == ["taken", "taken_over", "taken", "lost"]
    assert [each.tick for each in kept.ticks] == [0, 1, 2]
    for seen in kept.ticks:
        ends = [end for _, _, end in seen.phases]
        assert [start for _, start, _ in seen.phases][1:] == ends[:-1]


async def test_a_flush_that_fails_is_told_too(sqlite_app, lite, lite_world, monkeypatch) -> None:
    """With how many commands it took, and that nothing was committed."""
    services = sqlite_app.dependencies["services"].dependency()
    kept = Kept()
    services.observers.add(kept)

    async def fails(*_: object) -> None:
        raise OSError("no disk")

    monkeypatch.setattr(services.database, "write", fails)
    assert (await lite.post(f"/worlds/{lite_world}/commands", json={})).status_code == 500
    (seen,) = kept.flushes
    assert (seen.command_count, seen.is_committed) == (1, False)
    assert seen.queued_at_s <= seen.started_at_s <= seen.ended_at_s
    assert (await figures(lite))["archetype_flush_failures_total",] == 1


def test_observers_pass_everything_on_whatever_one_of_them_raises(caplog) -> None:
    """Without any they do nothing."""
    observers = Observers()
    assert observers.caller() is None
    observers.lease_changed("taken")
    kept = Kept()
    observers.add(Metrics())
    observers.add(kept)
    observers.lease_changed("lost")
    assert kept.changes == ["lost"]
    observers.add(Raising())
    observers.add(last := Kept())
    observers.lease_changed("taken")
    assert last.changes == ["taken"]
    assert "An observer failed" in caplog.text
    overridden = {name for name in vars(Observer) if not name.startswith("_")}
    assert overridden <= vars(Observers).keys()


class Place:
    position = 40


class OpenFeed:
    """A feed as the streams see it."""

    place = Place()
    is_at_end = False


@pytest.mark.parametrize(
    ("is_at_end", "position", "lag"),
    [(False, 100, 60), (True, 100, 0), (False, None, 0), (False, 40, 0)],
    ids=["behind", "at-end", "unwatched", "even"],
)
def test_the_lag_is_that_of_the_slowest_stream(is_at_end, position, lag) -> None:
    """A stream that has read to the end is not behind, wherever its own rows stand."""
    streams = EventStreams(asyncio.Event())
    assert streams.lag(position) == 0
    feed = OpenFeed()
    feed.is_at_end = is_at_end
    streams._sources.add(FeedSource(feed))
    assert streams.lag(position) == lag
