"""What is stored and could be dropped: snapshots that a replay rebuilds, pages that nothing refers to."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from archetype.store.acts import UNNAMED, Acting, ActType, record_act
from archetype.store.append import Answer, NewCommand, append, lock_log
from archetype.store.schema import pages, programs, snapshots, ticks, worlds

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

    `code_hashes` are those of every committed tick, `fork_ticks` those of the live forks.
    """

    stored_ticks: Sequence[int]
    code_hashes: Mapping[int, bytes]
    programs: Mapping[bytes, str]
    fork_ticks: Sequence[int]


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
    )


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
    """Count the pages that only these snapshots of a world refer to."""
    dropped = set(dropped_ticks)
    ours: set[bytes] = set()
    others: set[bytes] = set()
    for owner_id, tick, hashes in _references(connection):
        (ours if owner_id == world_id and tick in dropped else others).update(hashes)
    return PageUse(len(ours - others), _size_bytes(connection, ours - others))


def unused_pages(connection: Connection) -> PageUse:
    """Count the pages that no snapshot refers to."""
    sizes = _unused(connection)
    return PageUse(len(sizes), sum(sizes.values()))


def collect_pages(connection: Connection, by: Acting = UNNAMED) -> PageUse:
    """Remove the pages that no snapshot refers to, and say what they took; the record of acts keeps it.

    Nobody stores a page meanwhile: a writer that found a page there already is waited for, and one that
    comes later stores it again.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text("LOCK TABLE pages IN SHARE ROW EXCLUSIVE MODE"))
    sizes = _unused(connection)
    hashes = sorted(sizes)
    for start in range(0, len(hashes), _ROWS_PER_STATEMENT):
        part = hashes[start : start + _ROWS_PER_STATEMENT]
        connection.execute(pages.delete().where(pages.c.page_hash.in_(part)))
    removed = PageUse(len(sizes), sum(sizes.values()))
    record_act(connection, ActType.COLLECT_GARBAGE, asdict(removed), by)
    return removed


def _unused(connection: Connection) -> dict[bytes, int]:
    sizes = {
        bytes(row.page_hash): row.size_bytes
        for row in connection.execute(sa.select(pages.c.page_hash, pages.c.size_bytes))
    }
    for _, _, hashes in _references(connection):
        for page_hash in hashes:
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
