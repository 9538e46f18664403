"""What the log of one world says, row by row: all that the other tables must agree with."""

from __future__ import annotations

import json
from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from archetype.core.episodes import EpisodeRules, recorded_number
from archetype.errors import ArchetypeError
from archetype.log.canonical import canonical_json
from archetype.log.command import CommandType, check_payload
from archetype.log.facts import FactType
from archetype.log.hashes import HashedEvent
from archetype.log.payloads import changed_settings
from archetype.log.run_payloads import RunRollout
from archetype.service.verification.faults import FaultKind, Findings, place

__all__ = ["Begun", "Ended", "Rolled", "Seal", "WorldHistory"]

_MISSING_TICKS_MAX = 1_000
"""How many facts in a row may be missing for the later ones to be still told by their own ticks."""


@dataclass(frozen=True, slots=True)
class Begun:
    """A run as its command began it; an episode has `rules`."""

    position: int
    ticks_requested: int
    started_at: datetime
    from_tick: int
    rules: EpisodeRules | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended, by the last fact that says so."""

    position: int
    status: str
    error: str | None
    from_tick: int
    ticks_completed: int
    commands_applied: int
    finished_at: datetime
    reason: str | None = None
    return_value: float | None = None


@dataclass(slots=True)
class Rolled:
    """What the episodes of a rollout come to that are over."""

    tick_count: int = 0
    commands_applied: int = 0


@dataclass(frozen=True, slots=True)
class Seal:
    """Between which versions the tick behind the last committed one was sealed.

    One version, as a rule: only a run that was stopped and asked for again seals without a trace.
    """

    first_version: int
    last_version: int


@dataclass(slots=True)
class WorldHistory:
    """What a world's row and all that hang on it must say, after the log rows applied so far.

    The tick facts are kept by tick, from `first_tick` on: their positions, and how many rejections each had.
    `cancelling` are the runs that were cancelled and have not ended since, with the reasons; `episodes` are
    those of rollouts, by the rollout's run.
    """

    world_id: UUID
    findings: Findings
    name: str | None = None
    seed: int | None = None
    config: str | None = None
    parent_id: UUID | None = None
    fork_tick: int | None = None
    created_at: datetime | None = None
    archived_at: datetime | None = None
    head_version: int = 0
    last_position: int = 0
    committed_tick: int = -1
    next_entity_id: int = 1
    labels: dict[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])
    begun: dict[UUID, Begun] = field(default_factory=dict[UUID, Begun])
    ended: dict[UUID, Ended] = field(default_factory=dict[UUID, Ended])
    cancelling: dict[UUID, str | None] = field(default_factory=dict[UUID, str | None])
    episodes: dict[UUID, Rolled] = field(default_factory=dict[UUID, "Rolled"])
    fact_positions: array[int] = field(default_factory=lambda: array("q"))
    rejected_counts: array[int] = field(default_factory=lambda: array("q"))
    seal: Seal | None = None
    resting_since: int = 0
    may_be_sealed: bool = False
    _rejections: int = 0
    _over_count: int = 0
    _committed_at: datetime | None = None

    @property
    def first_tick(self) -> int:
        """The first tick that the world owns itself."""
        return 0 if self.fork_tick is None else self.fork_tick + 1

    def apply(self, event: HashedEvent) -> None:
        """Take the next row in, in order of version, and note what cannot be."""
        where = place(position=event.position)
        expected = self.head_version + 1
        if event.version != expected:
            missing = place(world=self.world_id, version=expected)
            what = f"version {event.version} stands where {expected} should: at position {event.position}"
            self.findings.add(FaultKind.EVENT, missing, what)
        if event.position <= self.last_position:
            what = f"version {event.version} stands before the versions that came earlier"
            self.findings.add(FaultKind.EVENT, where, what)
        self.head_version, self.last_position = event.version, event.position
        try:
            if event.kind == "command":
                self._command(event)
            else:
                self._fact(event)
        except (ArchetypeError, ValueError, KeyError, TypeError, AttributeError) as error:
            self.findings.add(FaultKind.EVENT, where, f"its payload cannot be understood: {error!r:.200}")
        is_commit = event.kind == "fact" and event.type == FactType.TICK_COMMITTED
        self._committed_at = event.recorded_at if is_commit else None

    def _command(self, event: HashedEvent) -> None:
        is_birth = event.type in {CommandType.CREATE_WORLD, CommandType.FORK_WORLD}
        if is_birth != (event.version == 1):
            what = f"{event.type} is version {event.version}: the making of a world is its version 1"
            self.findings.add(FaultKind.EVENT, place(position=event.position), what)
        match event.type:
            case CommandType.SPAWN:
                self._spawn(event)
            case CommandType.CREATE_WORLD | CommandType.FORK_WORLD:
                self._birth(event, _object(event))
            case CommandType.DESTROY_WORLD:
                self.archived_at = self.archived_at or event.recorded_at
            case CommandType.CONFIGURE_WORLD:
                change = _object(event)["config"]
                self.config = canonical_json(changed_settings(json.loads(self.config or "{}"), change))
            case CommandType.ADD_LABEL:
                payload = _object(event)
                self.labels[payload["name"]] = (payload["tick"], event.version)
            case CommandType.REMOVE_LABEL:
                self.labels.pop(_object(event)["name"], None)
            case _:
                self._run_command(event)

    def _run_command(self, event: HashedEvent) -> None:
        match event.type:
            case CommandType.STEP | CommandType.RUN:
                self._begin(event)
            case CommandType.RUN_EPISODE | CommandType.RUN_ROLLOUT:
                self._begin_episodes(event)
            case CommandType.CANCEL_RUN:
                payload = _object(event)
                self.cancelling.setdefault(UUID(payload["run_id"]), payload.get("reason"))
            case _:
                pass

    def _birth(self, event: HashedEvent, payload: Mapping[str, Any]) -> None:
        self.name, self.seed = payload["name"], payload["seed"]
        self.created_at = event.recorded_at
        if "config" in payload:
            self.config = canonical_json(payload["config"])
        if event.type == CommandType.FORK_WORLD:
            self.parent_id, self.fork_tick = UUID(payload["parent_id"]), _integer(payload["tick"])
        self.committed_tick = self.first_tick - 1

    def _spawn(self, event: HashedEvent) -> None:
        if event.first_entity_id is not None:
            count = 1 if event.batch is None else _integer(_object(event)["row_count"])
            self.next_entity_id = max(self.next_entity_id, event.first_entity_id + count)

    def _begin(self, event: HashedEvent) -> None:
        steps = 1 if event.type == CommandType.STEP else _integer(_object(event)["num_steps"])
        self.begun[event.event_id] = Begun(event.position, steps, event.recorded_at, self.committed_tick + 1)
        if steps and self.seal is None:
            first = self.resting_since if self.may_be_sealed else event.version
            self.seal = Seal(first, event.version)

    def _begin_episodes(self, event: HashedEvent) -> None:
        """Take in that episodes begin; one over at its beginning seals no tick, nor does a rollout."""
        payload = check_payload(CommandType(event.type), _object(event))
        is_rollout = isinstance(payload, RunRollout)
        self.begun[event.event_id] = Begun(
            event.position,
            payload.max_steps * (payload.episodes if is_rollout else 1),
            event.recorded_at,
            self.committed_tick + 1,
            None if is_rollout else payload.rules,
        )
        if not is_rollout and self.seal is None and not self.may_be_sealed:
            self.resting_since, self.may_be_sealed = event.version, True

    def _fact(self, event: HashedEvent) -> None:
        match event.type:
            case FactType.COMMAND_REJECTED:
                self._rejections += 1
            case FactType.TICK_COMMITTED:
                self._tick(event)
            case FactType.RUN_FINISHED:
                self._end(event, _object(event))
            case FactType.EPISODE_FINISHED:
                payload = _object(event)
                rolled = self.episodes.setdefault(UUID(payload["run_id"]), Rolled())
                rolled.tick_count += _integer(payload["steps"])
                rolled.commands_applied += _integer(payload["commands_applied"])
            case FactType.ENTITY_IDS_RESERVED:
                payload = _object(event)
                end = _integer(payload["first_entity_id"]) + _integer(payload["count"])
                self.next_entity_id = max(self.next_entity_id, end)
            case _:
                pass

    def _tick(self, event: HashedEvent) -> None:
        expected = self.committed_tick + 1
        if event.tick != expected:
            where = place(position=event.position)
            self.findings.add(FaultKind.EVENT, where, f"commits tick {event.tick}, not {expected}")
        if 0 < event.tick - expected <= _MISSING_TICKS_MAX:
            self.fact_positions.extend([0] * (event.tick - expected))
            self.rejected_counts.extend([0] * (event.tick - expected))
            expected = event.tick
        self.committed_tick = expected
        self.fact_positions.append(event.position)
        self.rejected_counts.append(self._rejections)
        self._rejections = 0
        self.seal = Seal(event.version, event.version)

    def _end(self, event: HashedEvent, payload: Mapping[str, Any]) -> None:
        run_id, status = UUID(payload["run_id"]), payload["status"]
        before = self.ended.get(run_id)
        self.cancelling.pop(run_id, None)
        self._over_count += (status != "stopped") - (before is not None and before.status != "stopped")
        self.ended[run_id] = Ended(
            position=event.position,
            status=status,
            error=payload.get("error"),
            from_tick=payload["from_tick"],
            ticks_completed=payload["ticks_completed"],
            commands_applied=payload["commands_applied"],
            finished_at=event.recorded_at,
            reason=payload.get("reason"),
            return_value=recorded_number(payload.get("return_value")),
        )
        if self._committed_at == event.recorded_at and status != "failed":
            # The run ended with that tick, in one transaction: the tick behind it was not sealed.
            self.seal, self.resting_since = None, event.version
            self.may_be_sealed = len(self.begun) > self._over_count


def _object(event: HashedEvent) -> Mapping[str, Any]:
    return json.loads(event.payload)


def _integer(value: Any) -> int:
    if type(value) is not int:
        msg = f"{value!r:.80} is no whole number"
        raise TypeError(msg)
    return value
