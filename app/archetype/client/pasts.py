"""Calls about pasts: what made worlds differ, where they come from, and whether they come out again."""

from __future__ import annotations

from archetype.client import past_answers
from archetype.client.calls import Calls, json_of, path_of
from archetype.limits import PAGE_ENTRIES_MAX

__all__ = ["PastCalls"]


class PastCalls(Calls):
    """The calls about pasts; `to_tick` is left out of a range, and by default the next tick to run."""

    def diff(
        self, a: str, b: str, *, tolerance: float = 0.0, limit: int | None = None
    ) -> past_answers.WorldDiff:
        """Return what leads from one state to another; both are worlds or references such as `demo@120`.

        Two floats x and y are equal if |x - y| <= tolerance * max(1, |x|, |y|). The counts are complete, of
        each listing the first `limit` come.
        """
        return self._read(path_of(a, "diff"), **{"with": b, "tolerance": tolerance, "limit": limit})

    def merge_base(self, a: str, b: str) -> past_answers.MergeBase:
        """Return the last tick that two pasts share; `NotFoundError` if they share none."""
        return self._read(path_of(a, "merge-base"), **{"with": b})

    def tree(self, world: str | None = None, *, with_archived: bool = False) -> list[past_answers.TreeNode]:
        """Return a world's family, or all worlds, each followed by its forks in the order of their ticks."""
        nodes = self._read_all("/tree", world=world, with_archived=with_archived, limit=PAGE_ENTRIES_MAX)
        return list(nodes)

    def ticks(
        self,
        world: str,
        *,
        from_tick: int | None = None,
        to_tick: int | None = None,
        before: int | None = None,
        limit: int | None = None,
    ) -> list[past_answers.TickEntry]:
        """Return the newest ticks of a world's lineage, or of its past up to a reference, newest first.

        `before` continues below a tick.
        """
        path = path_of(world, "ticks")
        return self._read(path, from_tick=from_tick, to_tick=to_tick, before=before, limit=limit)

    def entity_history(
        self, world: str, entity_id: int, *, from_tick: int | None = None, to_tick: int | None = None
    ) -> list[past_answers.EntityMoment]:
        """Return an entity after each tick of a range in which it was there, with the commands about it."""
        path = path_of(world, "entities", entity_id, "history")
        return self._read(path, from_tick=from_tick, to_tick=to_tick)

    def replay(
        self, world: str, *, from_tick: int | None = None, to_tick: int | None = None
    ) -> past_answers.ReplayReport:
        """Let the server compute up to 1,000 ticks again, and return how they compare with the recorded ones.

        A tick that differs is reported, not raised; `LimitExceededError` for more ticks at once.
        """
        params = {"from_tick": from_tick, "to_tick": to_tick}
        response = self._transport.send("GET", path_of(world, "replay"), params=params, waits_long=True)
        return json_of(response)
