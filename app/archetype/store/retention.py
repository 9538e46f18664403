"""What is stored and could be dropped: snapshots that a replay rebuilds, pages that nothing needs."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from archetype.store.acceptance import Answer, NewCommand
from archetype.store.acts import UNNAMED, Acting, ActType, record_act
from archetype.store.append import append, lock_log
from archetype.store.run_rows import last_ticks
from archetype.store.schema import Id, pages, programs, snapshots, ticks, worlds

__all__ = [
    "Holdings",
    "PageUse",
    "collect_pages",
    "drop_snapshots",
    "freeable_pages",
    "holdings",
    "unused_pages",
]

_ROWS_PER_STATEMENT = 500


@dataclass(frozen=True, slots=True)
class Holdings:
    """What of a world is stored, and what would be missed: ticks in order.

    `code_hashes` are those of every committed tick, `fork_ticks` those of the live forks, `run_ends` the last
    ticks of its runs so far, `label_ticks` those that it or a fork that shares them has a label for.
    """

    stored_ticks: Sequence[int]
    code_hashes: Mapping[int, bytes]
    programs: Mapping[bytes, str]
    fork_ticks: Sequence[int]
    run_ends: Collection[int]
    label_ticks: Collection[int]


@dataclass(frozen=True, slots=True)
class PageUse:
    """A number of pages, and what they take."""

    page_count: int
    size_bytes: int


def holdings(connection: Connection, world_id: UUID) -> Holdings:
    """Return what is stored of a world's own ticks."""
    stored = sa.select(snapshots.c.tick).where(snapshots.c.world_id == world_id).distinct()
    codes = sa.select(ticks.c.tick, ticks.c.code_hash).where(ticks.c.world_id == world_id)
    forks = sa.select(worlds.c.fork_tick).where(
        worlds.c.parent_id == world_id, worlds.c.archived_at.is_(None)
    )
    code_hashes = {row.tick: bytes(row.code_hash) for row in connection.execute(codes)}
    used = sa.select(programs).where(programs.c.code_hash.in_(sorted(set(code_hashes.values()))))
    return Holdings(
        sorted(connection.scalars(stored)),
        code_hashes,
        {bytes(row.code_hash): row.document for row in connection.execute(used)},
        sorted(connection.scalars(forks)),
        last_ticks(connection, world_id),
        set(connection.scalars(_LABEL_TICKS, {"world_id": world_id})),
    )


_LABEL_TICKS = sa.text(
    "SELECT l.tick FROM labels l JOIN lineage s ON s.world_id = l.world_id "
    "AND l.tick >= s.from_tick AND (s.to_tick IS NULL OR l.tick < s.to_tick) WHERE s.owner_id = :world_id"
).bindparams(sa.bindparam("world_id", type_=Id))


def drop_snapshots(
    connection: Connection,
    world_id: UUID,
    choose: Callable[[Holdings], Sequence[int]],
    command_for: Callable[[int], NewCommand],
) -> tuple[Answer, Sequence[int]]:
    """Drop the snapshots of the ticks that `choose` names, by the command that says how many they are.

    The choice is made under the log's lock, so that no fork begins with one of them meanwhile.
    """
    lock_log(connection)
    chosen = choose(holdings(connection, world_id))
    (answer,) = append(connection, [[command_for(len(chosen))]])
    if answer.status.is_in_log:
        for start in range(0, len(chosen), _ROWS_PER_STATEMENT):
            part = chosen[start : start + _ROWS_PER_STATEMENT]
            connection.execute(
                snapshots.delete().where(snapshots.c.world_id == world_id, snapshots.c.tick.in_(part))
            )
    return answer, chosen


def freeable_pages(connection: Connection, world_id: UUID, dropped_ticks: Collection[int]) -> PageUse:
    """Count the pages that only these snapshots of a world need."""
    dropped = set(dropped_ticks)
    ours: set[bytes] = set()
    others: set[bytes] = set()
    for owner_id, tick, hashes in _references(connection):
        (ours if owner_id == world_id and tick in dropped else others).update(hashes)
    bases = _bases(connection)
    freed = _with_bases(ours, bases) - _with_bases(others, bases)
    return PageUse(len(freed), _size_bytes(connection, freed))


def unused_pages(connection: Connection) -> PageUse:
    """Count the pages that no snapshot needs."""
    sizes = _unused(connection)
    return PageUse(len(sizes), sum(sizes.values()))


def collect_pages(connection: Connection, by: Acting = UNNAMED) -> PageUse:
    """Remove the pages that no snapshot needs, and say what they took; the record of acts keeps it.

    Pages that others are patches on stay with them, and go behind them. Nobody stores a page meanwhile: a
    writer that found a page there already is waited for, and one that comes later stores it again.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text("LOCK TABLE pages IN SHARE ROW EXCLUSIVE MODE"))
    sizes = _unused(connection)
    for layer in _layers(sizes.keys(), _bases(connection)):
        for start in range(0, len(layer), _ROWS_PER_STATEMENT):
            part = layer[start : start + _ROWS_PER_STATEMENT]
            connection.execute(pages.delete().where(pages.c.page_hash.in_(part)))
    removed = PageUse(len(sizes), sum(sizes.values()))
    record_act(connection, ActType.COLLECT_GARBAGE, asdict(removed), by)
    return removed


def _bases(connection: Connection) -> dict[bytes, bytes]:
    """Return the bases of all patches."""
    statement = sa.select(pages.c.page_hash, pages.c.base_hash).where(pages.c.base_hash.is_not(None))
    return {bytes(row.page_hash): bytes(row.base_hash) for row in connection.execute(statement)}


def _with_bases(hashes: Iterable[bytes], bases: Mapping[bytes, bytes]) -> set[bytes]:
    """Return pages with all that they are patches on."""
    found: set[bytes] = set()
    for page_hash in hashes:
        at: bytes | None = page_hash
        while at is not None and at not in found:
            found.add(at)
            at = bases.get(at)
    return found


def _layers(hashes: Collection[bytes], bases: Mapping[bytes, bytes]) -> list[list[bytes]]:
    """Put pages in an order in which they can go: each before the one that it is a patch on."""
    depths: dict[bytes, int] = {}
    for page_hash in hashes:
        chain: list[bytes] = []
        at: bytes | None = page_hash
        while at is not None and at not in depths:
            chain.append(at)
            depths[at] = 0  # so that a circle, which only damage makes, ends here
            at = bases.get(at)
        depth = 0 if at is None else depths[at] + 1
        for each in reversed(chain):
            depths[each] = depth
            depth += 1
    layers: dict[int, list[bytes]] = {}
    for page_hash in hashes:
        layers.setdefault(depths[page_hash], []).append(page_hash)
    return [sorted(layers[depth]) for depth in sorted(layers, reverse=True)]


def _unused(connection: Connection) -> dict[bytes, int]:
    sizes = {
        bytes(row.page_hash): row.size_bytes
        for row in connection.execute(sa.select(pages.c.page_hash, pages.c.size_bytes))
    }
    needed = {page_hash for _, _, hashes in _references(connection) for page_hash in hashes}
    for page_hash in _with_bases(needed, _bases(connection)):
        sizes.pop(page_hash, None)
    return sizes


def _references(connection: Connection) -> Iterator[tuple[UUID, int, list[bytes]]]:
    """Go through all snapshots: world, tick, and the pages that they refer to."""
    statement = sa.select(snapshots.c.world_id, snapshots.c.tick, snapshots.c.pages)
    for row in connection.execute(statement):
        listed = json.loads(row.pages).values()
        yield row.world_id, row.tick, [bytes.fromhex(page) for hashes in listed for page in hashes]


def _size_bytes(connection: Connection, hashes: Collection[bytes]) -> int:
    wanted = sorted(hashes)
    total = 0
    for start in range(0, len(wanted), _ROWS_PER_STATEMENT):
        part = wanted[start : start + _ROWS_PER_STATEMENT]
        statement = sa.select(sa.func.sum(pages.c.size_bytes)).where(pages.c.page_hash.in_(part))
        total += int(connection.scalar(statement) or 0)
    return total
