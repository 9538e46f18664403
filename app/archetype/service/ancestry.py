"""Where worlds come from: the tree of forks, the ticks of a lineage, and where two pasts part."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import islice
from uuid import UUID

from sqlalchemy.engine import Connection

from archetype.errors import CorruptionError, NotFoundError, WorldNotFoundError
from archetype.service.worlds import WorldService
from archetype.store.ancestry import LoggedTick, WorldLink, ticks_of, world_links
from archetype.store.database import Database
from archetype.store.labels import LabelRow, list_inherited, own_labels
from archetype.store.ticks import TickRow, tick_row
from archetype.store.worlds import WorldRow, find

__all__ = ["AncestryService", "MergeBase", "TickEntry", "TreeNode"]


@dataclass(frozen=True, slots=True)
class MergeBase:
    """The last tick that two pasts share: the world that owns it, its commit, and the ticks since then."""

    world_id: UUID
    name: str
    tick: int
    commit_hash: str
    ticks_since_a: int
    ticks_since_b: int


@dataclass(frozen=True, slots=True)
class TreeNode:
    """A world in the tree of forks, `depth` forks away from its root; `labels` are its own, name to tick."""

    world_id: UUID
    name: str
    parent_id: UUID | None
    fork_tick: int | None
    committed_tick: int
    is_archived: bool
    depth: int
    labels: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class TickEntry:
    """A committed tick of a lineage, as `git log` would tell it: hashes in hex, durations in milliseconds.

    `has_snapshot` tells whether its state can be read without a replay; `labels` are those that name it
    in the world that was asked about.
    """

    tick: int
    world_id: UUID
    world_name: str
    commit_hash: str
    parent_hash: str
    state_hash: str
    code_hash: str
    run_id: UUID
    entity_count: int
    command_count: int
    rejected_count: int
    committed_at: datetime
    compute_ms: float
    persist_ms: float
    has_snapshot: bool
    labels: tuple[str, ...]


class AncestryService:
    """Answers from rows alone: no page and no command is read."""

    def __init__(self, database: Database, worlds: WorldService) -> None:
        self._database = database
        self._worlds = worlds

    async def merge_base(self, a: WorldRow, tick_a: int, b: WorldRow, tick_b: int) -> MergeBase:
        """Return the last tick that two worlds' pasts, each up to a committed tick, share.

        Raises `NotFoundError` when they share none.
        """
        lineage_a = await self._worlds.lineage(a.world_id)
        base = lineage_a.merge_base(tick_a, await self._worlds.lineage(b.world_id), tick_b)
        if base is None:
            msg = (
                f"{a.name}@{tick_a} and {b.name}@{tick_b} share no tick; "
                "`archetype world tree` shows which worlds come of which"
            )
            raise NotFoundError(msg, a=str(a.world_id), b=str(b.world_id))
        owner_id, tick = base

        def read(connection: Connection) -> tuple[WorldRow | None, TickRow | None]:
            return find(connection, owner_id), tick_row(connection, owner_id, tick)

        owner, row = await self._database.read(read)
        if owner is None or row is None:
            msg = f"tick {tick} of world {owner_id} is missing"
            raise CorruptionError(msg, world_id=str(owner_id), tick=tick)
        return MergeBase(owner_id, owner.name, tick, row.commit_hash.hex(), tick_a - tick, tick_b - tick)

    async def tree(
        self,
        world: WorldRow | None = None,
        *,
        with_archived: bool = False,
        after: UUID | None = None,
        limit: int | None = None,
    ) -> list[TreeNode]:
        """Return the family of a world, or of all worlds, each followed by its forks.

        Roots come by id, which is the order of their birth, forks by (fork_tick, world_id). An archived
        world is left out unless one that lives comes of it, or `with_archived`. `after` continues behind a
        world's place, also one that is left out by now; `WorldNotFoundError` where it has none.
        """
        member_id = None if world is None else world.world_id

        def read(connection: Connection) -> list[TreeNode]:
            links = world_links(connection, member_id)
            kept = None if with_archived else _alive(links)
            behind = _behind(_depth_first(links), after)
            shown = (each for each in behind if kept is None or each[0].world_id in kept)
            page = list(islice(shown, limit))
            labels = own_labels(connection, [link.world_id for link, _ in page])
            return [
                TreeNode(**asdict(link), depth=depth, labels=labels.get(link.world_id, {}))
                for link, depth in page
            ]

        return await self._database.read(read)

    async def log(
        self,
        world: WorldRow,
        *,
        from_tick: int | None = None,
        to_tick: int | None = None,
        before_tick: int | None = None,
        limit: int = 100,
    ) -> list[TickEntry]:
        """Return the newest `limit` ticks of a world's lineage, newest first.

        `from_tick` is inclusive, `to_tick` exclusive; `before_tick` continues a listing into the past.
        """
        lineage = await self._worlds.lineage(world.world_id)
        # A lineage has each of its ticks once, so the page is known before it is read.
        ends = (world.committed_tick + 1, to_tick, before_tick)
        end = min(each for each in ends if each is not None)
        start = max(from_tick or 0, end - limit)

        def read(connection: Connection) -> tuple[list[LoggedTick], list[LabelRow]]:
            return ticks_of(connection, lineage, start, end), list_inherited(connection, lineage.segments)

        found, labels = await self._database.read(read)
        names: dict[int, list[str]] = defaultdict(list)
        for label in labels:
            names[label.tick].append(label.name)
        return [_entry(each, names[each.row.tick]) for each in found]


def _alive(links: Sequence[WorldLink]) -> set[UUID]:
    """Return the worlds that live or have a descendant that does."""
    parents = {link.world_id: link.parent_id for link in links}
    alive: set[UUID] = set()
    for link in links:
        world_id = None if link.is_archived else link.world_id
        while world_id is not None and world_id not in alive:
            alive.add(world_id)
            world_id = parents[world_id]
    return alive


def _depth_first(links: Sequence[WorldLink]) -> Iterator[tuple[WorldLink, int]]:
    """Give worlds, siblings of which come in order, behind their parents, each with its depth.

    Without recursion, since chains are long.
    """
    children: dict[UUID | None, list[WorldLink]] = defaultdict(list)
    for link in links:
        children[link.parent_id].append(link)
    stack = [(root, 0) for root in reversed(children[None])]
    while stack:
        link, depth = stack.pop()
        yield link, depth
        stack.extend((child, depth + 1) for child in reversed(children[link.world_id]))


def _behind(
    ordered: Iterator[tuple[WorldLink, int]], world_id: UUID | None
) -> Iterator[tuple[WorldLink, int]]:
    """Go on behind a world, by default from the first on."""
    if world_id is not None and all(link.world_id != world_id for link, _ in ordered):
        msg = f"world {world_id} is not in this tree; begin without `after`"
        raise WorldNotFoundError(msg, world=str(world_id))
    return ordered


def _entry(tick: LoggedTick, labels: Sequence[str]) -> TickEntry:
    row = tick.row
    return TickEntry(
        tick=row.tick,
        world_id=row.world_id,
        world_name=tick.owner_name,
        commit_hash=row.commit_hash.hex(),
        parent_hash=row.parent_hash.hex(),
        state_hash=row.state_hash.hex(),
        code_hash=row.code_hash.hex(),
        run_id=row.run_id,
        entity_count=row.entity_count,
        command_count=row.command_count,
        rejected_count=row.rejected_count,
        committed_at=tick.committed_at,
        compute_ms=row.compute_ms,
        persist_ms=row.persist_ms,
        has_snapshot=tick.has_snapshot,
        labels=tuple(labels),
    )
