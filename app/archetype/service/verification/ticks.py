"""Checking a world's ticks: the chain of commits, and each tick against its commands, fact and snapshot."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from archetype.log.facts import FactType
from archetype.log.hashes import commit_hash
from archetype.service.verification.blobs import Blobs
from archetype.service.verification.faults import FaultKind, Findings, place
from archetype.service.verification.history import WorldHistory
from archetype.service.verification.snapshots import ParsedSnapshot, check_snapshot, parse_snapshot
from archetype.store import audit
from archetype.store.commit import spelled
from archetype.store.database import Reading
from archetype.store.raw_rows import RawRow, Stored, read_row
from archetype.store.schema import ticks

__all__ = ["Progressed", "TickChain", "check_ticks"]

_TICKS_PER_PART = 250
_COMMANDS_PER_PART = 5_000


@dataclass(slots=True)
class Progressed:
    """What the ticks of one run come to; None where a fact does not say how many commands it applied.

    `tick_returns` are what they count for in an episode, as far as its rules ask for that.
    """

    tick_count: int = 0
    commands_applied: int | None = 0
    tick_returns: list[Any] = field(default_factory=list[Any])

    def take(self, payload: Mapping[str, Any]) -> None:
        """Count one more tick, with what its fact says."""
        applied: Any = payload.get("commands_applied")
        self.tick_returns.append(payload.get("tick_return"))
        self.tick_count += 1
        is_known = self.commands_applied is not None and type(applied) is int
        self.commands_applied = (self.commands_applied or 0) + applied if is_known else None


@dataclass(slots=True)
class TickChain:
    """A world's ticks as far as they are checked; `parent_hash` is what the next one must name."""

    history: WorldHistory
    parent_hash: bytes | None
    next_tick: int
    sealed_version: int = 0
    runs: dict[UUID, Progressed] = field(default_factory=dict[UUID, Progressed])


@dataclass(frozen=True, slots=True)
class _StoredTick:
    """All that is stored of a tick, unchecked."""

    where: str
    tick: int
    row: RawRow
    stored: Stored
    command_hashes: Sequence[bytes]
    last_version: int
    snapshots: Sequence[ParsedSnapshot]


async def check_ticks(
    reading: Reading, history: WorldHistory, parent_hash: bytes | None, blobs: Blobs
) -> TickChain:
    """Check the ticks of a world, from the first that it owns itself, and return what they come to.

    `parent_hash` is the commit that its first tick stands on, None if that is not known.
    """
    world_id, findings = history.world_id, history.findings
    chain = TickChain(history, parent_hash, history.first_tick)
    of_ticks = audit.select_ticks(world_id)
    of_commands = audit.select_command_hashes(world_id, history.first_tick)
    of_snapshots = audit.select_snapshots(world_id)
    async with (
        reading.stream(of_ticks, row_count=_TICKS_PER_PART) as parts,
        reading.stream(of_commands, row_count=_COMMANDS_PER_PART) as command_parts,
        reading.stream(of_snapshots, row_count=_TICKS_PER_PART) as snapshot_parts,
    ):
        commands, snapshots = _ByTick(command_parts), _ByTick(snapshot_parts)
        async for rows in parts:
            taken = [
                (row, await commands.take(_order(row)), await snapshots.take(_order(row))) for row in rows
            ]
            part = await asyncio.to_thread(_parse, taken, findings)
            await _need_blobs(blobs, part)
            await asyncio.to_thread(_check_part, part, chain, blobs)
            blobs.forget()
        strays = [*snapshots.passed, *await snapshots.rest()]
    _check_end(chain)
    for row in strays:
        where = place(world=row.world_id, tick=row.tick, archetype=row.archetype_id)
        findings.add(FaultKind.SNAPSHOT, where, "is the snapshot of a tick that is not there")
    return chain


async def _need_blobs(blobs: Blobs, part: Sequence[_StoredTick]) -> None:
    tables = [table for each in part for table in each.snapshots]
    await blobs.need(
        archetype_ids={table.archetype_id for table in tables},
        code_hashes={each.stored.values["code_hash"] for each in part},
        page_hashes=set[bytes]().union(*(table.page_hashes for table in tables)),
    )


class _ByTick:
    """Rows that come in order of tick, handed out tick by tick; `passed` are those nobody took."""

    def __init__(self, parts: AsyncIterator[Sequence[RawRow]]) -> None:
        self._parts = parts
        self._waiting: list[RawRow] = []
        self._at = 0
        self.passed: list[RawRow] = []

    async def take(self, tick: int) -> list[RawRow]:
        """Return the rows of a tick; ticks are asked for in order."""
        found: list[RawRow] = []
        while (row := await self._next()) is not None and _order(row) <= tick:
            (found if row.tick == tick else self.passed).append(row)
            self._at += 1
        return found

    async def rest(self) -> list[RawRow]:
        """Return the rows behind the last tick that was asked for."""
        found: list[RawRow] = []
        while (row := await self._next()) is not None:
            found.append(row)
            self._at += 1
        return found

    async def _next(self) -> RawRow | None:
        if self._at == len(self._waiting):
            self._waiting, self._at = list(await anext(self._parts, None) or ()), 0
        return self._waiting[self._at] if self._waiting else None


def _order(row: RawRow) -> int:
    """The tick of a row; text, which SQLite would keep even here, comes behind all numbers."""
    return row.tick if type(row.tick) is int else 2**63


def _parse(
    taken: Sequence[tuple[RawRow, Sequence[RawRow], Sequence[RawRow]]], findings: Findings
) -> list[_StoredTick]:
    """Read rows, and take those that cannot be read into the findings."""
    part: list[_StoredTick] = []
    for row, commands, snapshots in taken:
        where = place(world=row.world_id, tick=row.tick)
        stored = read_row(ticks, row)
        findings.checked["ticks"] += 1
        findings.checked["snapshots"] += len(snapshots)
        parsed = [parse_snapshot(each, findings) for each in snapshots]
        if findings.can_read(FaultKind.TICK, where, stored):
            hashes = [each.hash for each in commands if isinstance(each.hash, bytes)]
            last_version = max((each.version for each in commands if type(each.version) is int), default=0)
            readable = [each for each in parsed if each is not None]
            part.append(_StoredTick(where, row.tick, row, stored, hashes, last_version, readable))
    return part


def _check_part(part: Sequence[_StoredTick], chain: TickChain, blobs: Blobs) -> None:
    for each in part:
        _check_tick(each, chain, blobs)


def _check_tick(each: _StoredTick, chain: TickChain, blobs: Blobs) -> None:
    findings, values = chain.history.findings, each.stored.values
    if each.tick != chain.next_tick:
        missing = place(world=chain.history.world_id, tick=chain.next_tick)
        findings.add(FaultKind.TICK, missing, f"is missing: tick {each.tick} stands in its place")
    elif chain.parent_hash is not None and values["parent_hash"] != chain.parent_hash:
        what = f"names {values['parent_hash'].hex()} as its parent, not {chain.parent_hash.hex()}"
        findings.add(FaultKind.COMMIT, each.where, what)
    computed = commit_hash(
        parent=values["parent_hash"],
        tick=each.tick,
        command_hashes=each.command_hashes,
        state=values["state_hash"],
        code=values["code_hash"],
    )
    if computed != values["commit_hash"]:
        what = f"commit hash {values['commit_hash'].hex()} is not what its parts give: {computed.hex()}"
        findings.add(FaultKind.COMMIT, each.where, what)
    if not blobs.programs[values["code_hash"]]:
        what = f"ran program {values['code_hash'].hex()}, which is missing or damaged"
        findings.add(FaultKind.TICK, each.where, what)
    if each.last_version > values["sealed_version"]:
        what = (
            f"was sealed at version {values['sealed_version']}, but holds the command of {each.last_version}"
        )
        findings.add(FaultKind.TICK, each.where, what)
    payload = _check_fact(each, chain)
    if each.snapshots:
        check_snapshot(each.where, each.stored, each.snapshots, payload, blobs=blobs, findings=findings)
    run = chain.runs.setdefault(values["run_id"], Progressed())
    run.take(payload)
    chain.parent_hash, chain.next_tick = values["commit_hash"], each.tick + 1
    chain.sealed_version = values["sealed_version"]


def _check_fact(each: _StoredTick, chain: TickChain) -> Mapping[str, Any]:
    """Check a tick's row against its fact and the rest of the log, and return the fact's payload."""
    history, row = chain.history, each.row
    findings = history.findings
    index = each.tick - history.first_tick
    if 0 <= index < len(history.fact_positions):
        findings.compare(
            FaultKind.TICK,
            each.where,
            each.stored,
            position=history.fact_positions[index],
            command_count=len(each.command_hashes),
            rejected_count=history.rejected_counts[index],
        )
    else:
        findings.add(FaultKind.TICK, each.where, "is not in the log: no fact says that it was committed")
    is_fact = row.fact_kind == "fact" and row.fact_type == FactType.TICK_COMMITTED
    if not is_fact or row.fact_tick != each.tick or row.fact_world_id != row.world_id:
        what = f"position {row.position} does not hold the fact that this tick was committed"
        findings.add(FaultKind.TICK, each.where, what)
        return {}
    try:
        payload: dict[str, Any] = dict(json.loads(row.fact_payload))
    except (ValueError, TypeError):
        findings.add(FaultKind.EVENT, place(position=row.position), "its payload is no JSON object")
        return {}
    for name in ticks.columns.keys() & payload.keys():
        stood, said = spelled(each.stored.values[name]), payload[name]
        if isinstance(stood, float) and type(said) is int:
            said = float(said)
        # The shortest spelling tells a float from every other, and -0.0 from 0.0.
        if repr(said) != repr(stood):
            findings.add(FaultKind.TICK, each.where, f"{name} is {stood}, but its fact says {said}")
    return payload


def _check_end(chain: TickChain) -> None:
    """Make sure that the last tick of the log is there."""
    history = chain.history
    last = history.first_tick + len(history.fact_positions) - 1
    if chain.next_tick <= last:
        where = place(world=history.world_id, tick=chain.next_tick)
        history.findings.add(FaultKind.TICK, where, f"is missing: the log says that ticks go on to {last}")
