"""Checking a world's row, its runs and its labels against its log."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from archetype.core.episodes import EpisodeRules, recorded_number
from archetype.log.hashes import GENESIS
from archetype.service.verification.blobs import Blobs
from archetype.service.verification.faults import FaultKind, Findings, place
from archetype.service.verification.history import Begun, Ended, Rolled, Seal, WorldHistory
from archetype.service.verification.log import read_history
from archetype.service.verification.progress import Progress
from archetype.service.verification.ticks import Progressed, TickChain, check_ticks
from archetype.service.verification.usage import UsageTally
from archetype.store import audit
from archetype.store.database import Reading
from archetype.store.raw_rows import RawRow, Stored, read_row
from archetype.store.schema import labels, runs, ticks, worlds

__all__ = ["check_world"]

_ROWS_PER_PART = 500


async def check_world(
    reading: Reading,
    row: RawRow,
    *,
    blobs: Blobs,
    findings: Findings,
    progress: Progress,
    usage: UsageTally | None = None,
) -> None:
    """Check a world whole: its row, its log, its ticks with what they refer to, its runs and labels.

    `usage` is told of every row of its log.
    """
    where = place(world=row.world_id)
    stored = read_row(worlds, row)
    findings.checked["worlds"] += 1
    if not findings.can_read(FaultKind.WORLD, where, stored):
        return
    history = await read_history(reading, stored.values["world_id"], findings, progress, usage)
    if history.name is None:
        findings.add(FaultKind.WORLD, where, "its log does not begin with the command that made it")
        return
    parent_hash = await _stand_on_parent(reading, history)
    chain = await check_ticks(reading, history, parent_hash, blobs)
    _check_row(where, stored, chain)
    await _check_runs(reading, chain)
    await _check_labels(reading, history)


async def _stand_on_parent(reading: Reading, history: WorldHistory) -> bytes | None:
    """Return the commit that a world's first tick stands on, and let its entity ids go on from there."""
    parent_id, fork_tick = history.parent_id, history.fork_tick
    if parent_id is None or fork_tick is None or fork_tick < 0:
        return GENESIS
    found = await _rows(reading, audit.select_ticks(parent_id, fork_tick))
    if len(found) != 1:
        where = place(world=history.world_id)
        what = f"was forked at tick {fork_tick} of world {parent_id}, which has no such tick of its own"
        history.findings.add(FaultKind.LINEAGE, where, what)
        return None
    values = read_row(ticks, found[0]).values
    if isinstance(values["next_entity_id"], int):
        history.next_entity_id = max(history.next_entity_id, values["next_entity_id"])
    return values["commit_hash"]


def _check_row(where: str, row: Stored, chain: TickChain) -> None:
    history = chain.history
    findings = history.findings
    findings.compare(
        FaultKind.WORLD,
        where,
        row,
        name=history.name,
        seed=history.seed,
        parent_id=history.parent_id,
        fork_tick=history.fork_tick,
        created_at=history.created_at,
        archived_at=history.archived_at,
        head_version=history.head_version,
        committed_tick=history.committed_tick,
        next_entity_id=history.next_entity_id,
    )
    if history.config is not None:
        findings.compare(FaultKind.WORLD, where, row, config=history.config)
    open_tick, sealed_version = row.values["open_tick"], row.values["sealed_version"]
    expected = _expected_seal(history, is_sealed=open_tick == history.committed_tick + 2)
    if open_tick not in {history.committed_tick + 1, history.committed_tick + 2} or expected is None:
        what = f"open_tick is {open_tick}, which the log up to tick {history.committed_tick} does not allow"
        findings.add(FaultKind.WORLD, where, what)
        return
    first, last = expected.first_version, expected.last_version
    if expected == _AT_REST:
        first = last = chain.sealed_version
    if not first <= sealed_version <= last:
        span = str(first) if first == last else f"from {first} to {last}"
        findings.add(FaultKind.WORLD, where, f"sealed_version is {sealed_version}, which must be {span}")


_AT_REST = Seal(-1, -1)
"""Nothing is sealed behind the last committed tick: the version is that tick's own."""


def _expected_seal(history: WorldHistory, *, is_sealed: bool) -> Seal | None:
    """Return where the newest seal stands, or None where the log does not allow for the open tick."""
    if not is_sealed:
        return _AT_REST if history.seal is None else None
    if history.seal is None and history.may_be_sealed:
        return Seal(history.resting_since, history.head_version)
    return history.seal


@dataclass(slots=True)
class _RunsLeft:
    """What the log and the ticks say of a world's runs, as far as no row has answered to it yet."""

    begun: dict[UUID, Begun]
    ended: dict[UUID, Ended]
    ran: dict[UUID, Progressed]
    cancelling: dict[UUID, str | None]
    episodes: dict[UUID, Rolled]
    findings: Findings

    def check(self, rows: Sequence[RawRow]) -> None:
        """Check rows against it."""
        for raw in rows:
            where = place(run=raw.run_id)
            row = read_row(runs, raw)
            if self.findings.can_read(FaultKind.RUN, where, row):
                self._check_row(where, row)

    def _check_row(self, where: str, row: Stored) -> None:
        command = self.begun.pop(row.values["event_id"], None)
        if command is None:
            what = (
                f"no step or run command {row.values['event_id']} began it, or another run is that command's"
            )
            self.findings.add(FaultKind.RUN, where, what)
            return
        run_id = row.values["run_id"]
        self.findings.compare(
            FaultKind.RUN,
            where,
            row,
            ticks_requested=command.ticks_requested,
            started_at=command.started_at,
            from_tick=command.from_tick,
        )
        ran = self.ran.pop(run_id, Progressed())
        rolled = self.episodes.pop(run_id, None)
        if rolled is not None:
            ran = Progressed(rolled.tick_count, rolled.commands_applied)
        _check_progress(where, row, ran, self.findings)
        ended = self.ended.pop(run_id, None)
        if command.rules is not None:
            _check_return(where, row, command.rules, ran, self.findings)
        if run_id in self.cancelling:
            reason = self.cancelling.pop(run_id)
            self.findings.compare(
                FaultKind.RUN, where, row, status="cancelling", error=reason, finished_at=None
            )
        else:
            _check_status(where, row, ended, self.findings)

    def check_rest(self) -> None:
        """Make sure that every run has answered."""
        for run_id in {*self.ended, *self.ran, *self.cancelling, *self.episodes}:
            what = "is missing: the log tells of its ticks, its end or that it was cancelled"
            self.findings.add(FaultKind.RUN, place(run=run_id), what)
        for event_id, command in self.begun.items():
            what = f"the run that command {event_id} began is missing"
            self.findings.add(FaultKind.RUN, place(position=command.position), what)


async def _check_runs(reading: Reading, chain: TickChain) -> None:
    history = chain.history
    left = _RunsLeft(
        history.begun, history.ended, chain.runs, history.cancelling, history.episodes, history.findings
    )
    statement = audit.select_runs(history.world_id)
    async with reading.stream(statement, row_count=_ROWS_PER_PART) as parts:
        async for rows in parts:
            await asyncio.to_thread(left.check, rows)
    left.check_rest()


def _check_progress(where: str, row: Stored, progressed: Progressed, findings: Findings) -> None:
    findings.compare(FaultKind.RUN, where, row, ticks_completed=progressed.tick_count)
    if progressed.commands_applied is not None:
        findings.compare(FaultKind.RUN, where, row, commands_applied=progressed.commands_applied)


def _check_return(
    where: str, row: Stored, rules: EpisodeRules, progressed: Progressed, findings: Findings
) -> None:
    """Check what an episode returned against what its ticks count for."""
    if row.values["reason"] is None:
        return
    try:
        returned = rules.returned([recorded_number(each) for each in progressed.tick_returns])
    except (TypeError, ValueError):
        findings.add(FaultKind.RUN, where, "has ticks that count for something that is no number")
    else:
        findings.compare(FaultKind.RUN, where, row, return_value=returned)


def _check_status(where: str, row: Stored, ended: Ended | None, findings: Findings) -> None:
    """Check how a run stands; whether it waits for its turn or has begun is not in the log.

    Nor is its id before it has a tick or an end: until then its command alone vouches for it.
    """
    status = row.values["status"]
    if ended is None or (ended.status == "stopped" and status == "running"):
        expected_status = "waiting" if status == "waiting" and ended is None else "running"
        findings.compare(FaultKind.RUN, where, row, status=expected_status, error=None, finished_at=None)
        findings.compare(FaultKind.RUN, where, row, reason=None, return_value=None)
        return
    expected: dict[str, Any] = {
        "status": ended.status,
        "error": ended.error,
        "finished_at": ended.finished_at,
        "from_tick": ended.from_tick,
        "ticks_completed": ended.ticks_completed,
        "commands_applied": ended.commands_applied,
        "reason": ended.reason,
        "return_value": ended.return_value,
    }
    findings.compare(FaultKind.RUN, where, row, **expected)


async def _check_labels(reading: Reading, history: WorldHistory) -> None:
    findings = history.findings
    expected = dict(history.labels)
    for raw in await _rows(reading, audit.select_labels(history.world_id)):
        where = place(world=raw.world_id, label=raw.name)
        row = read_row(labels, raw)
        if not findings.can_read(FaultKind.LABEL, where, row):
            continue
        said = expected.pop(row.values["name"], None)
        if said is None:
            findings.add(FaultKind.LABEL, where, "no command made it, or one removed it")
        else:
            findings.compare(FaultKind.LABEL, where, row, tick=said[0], version=said[1])
    for name in expected:
        findings.add(FaultKind.LABEL, place(world=history.world_id, label=name), "is missing")


async def _rows(reading: Reading, statement: Any) -> list[RawRow]:
    return await reading.read(lambda connection: list(connection.execute(statement)))
