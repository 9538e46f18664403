"""What must hold at every commit, looked at from within the transaction by one who saw them all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from archetype.clock import is_alive, utc_now
from archetype.log.hashes import iso_utc
from simulated.loop import PROCESS

__all__ = ["Witness"]

_HEADS = sa.text(
    "SELECT world_id, head_version, committed_tick, open_tick, next_entity_id, lease_owner, lease_epoch, "
    "lease_until FROM worlds ORDER BY world_id"
)
_LOG = sa.text(
    "SELECT (SELECT position FROM log_head) AS head, count(*) AS row_count, max(position) AS last FROM events"
)


class Witness:
    """Remembers the heads of all worlds as the last commit left them, and compares the next with them."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._heads: dict[str, sa.Row[Any]] = {}
        self.problems: list[str] = []

    def look(self, connection: Connection) -> None:
        """Compare what is about to be committed with the last commit; AssertionError on what must not be.

        It stands in `problems` too, since whoever runs in the background may only log it.
        """
        try:
            self._require_sound(connection)
        except AssertionError as error:
            self.problems.append(str(error))
            raise

    def _require_sound(self, connection: Connection) -> None:
        log = connection.execute(_LOG).one()
        assert log.head == log.row_count == log.last, f"positions have a hole: {log}"
        for after in connection.execute(_HEADS):
            before = self._heads.get(after.world_id)
            if before is not None and before != after:
                self._compare(before, after)
            self._heads[after.world_id] = after

    def _compare(self, before: sa.Row[Any], after: sa.Row[Any]) -> None:
        process = PROCESS.get()
        assert process is not None
        for name in ("head_version", "committed_tick", "open_tick", "next_entity_id", "lease_epoch"):
            assert getattr(after, name) >= getattr(before, name), f"{name} went back: {before} {after}"
        assert after.open_tick - after.committed_tick in {1, 2}, f"too much is sealed: {after}"
        if after.lease_owner != before.lease_owner and before.lease_owner is not None:
            assert after.lease_epoch > before.lease_epoch, f"another owner, the same epoch: {before} {after}"
            is_over = before.lease_until <= iso_utc(utc_now())
            assert is_over or not is_alive(before.lease_owner), f"a lease was broken: {before} {after}"
        if after.committed_tick != before.committed_tick:
            assert after.committed_tick == before.committed_tick + 1, f"ticks were left out: {before} {after}"
            assert after.lease_owner == before.lease_owner, f"a tick of another owner: {before} {after}"
            assert after.lease_owner.startswith(f"{process.identity}:"), f"not its tick: {after}"
            assert after.lease_epoch == before.lease_epoch, f"an epoch that was not held: {before} {after}"
            self._tell(f"tick {after.committed_tick} of {after.world_id}, version {after.head_version}")
