"""Runs: what is asked for, how far one has come, and what its ticks record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from archetype.core.changes import Rejection
from archetype.core.episodes import EpisodeRules, Judged
from archetype.log.command import CommandType, check_payload
from archetype.log.facts import Fact, FactType
from archetype.service.direct import direct_command
from archetype.service.inputs import TickInputs
from archetype.store.acceptance import NewCommand
from archetype.store.leases import Lease
from archetype.store.log import LogRow
from archetype.store.run_ends import ENDED, Outcome, RunEnd, run_end
from archetype.store.run_rows import RunRow, RunView
from archetype.store.worlds import WorldRow

__all__ = [
    "ActiveRun",
    "RunInfo",
    "RunRequest",
    "RunResult",
    "recorded_request",
    "rejection_facts",
    "run_command",
    "spelled_rules",
]


@dataclass(frozen=True, slots=True)
class RunRequest:
    """What a caller asks for: `inputs` are JSON values that reach every processor which names them.

    With `episode` rules the run may be over before it has taken so many steps.
    """

    steps: int = 1
    kind: CommandType = CommandType.RUN
    inputs: Mapping[str, Any] = field(default_factory=dict[str, Any])
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])
    is_debug: bool = False
    command_id: UUID | None = None
    run_id: UUID | None = None
    actor_id: UUID | None = None
    expected_version: int | None = None
    episode: EpisodeRules | None = None


@dataclass(frozen=True, slots=True)
class RunResult:
    """What a run did; `final_tick` is the number of the next tick to run."""

    run_id: UUID
    world_id: UUID
    ticks_completed: int
    commands_applied: int
    commands_rejected: int
    final_tick: int


@dataclass(frozen=True, slots=True)
class RunInfo:
    """A run as it is listed; `from_tick` is the world's next tick when it was asked for.

    `status` is waiting for its turn, running, stopped with its server, cancelling, or how it ended:
    completed, failed or cancelled. `error` says why. An episode that has ended has a `reason` (terminal,
    condition, max_steps, failed or cancelled); a rollout counts the ticks of all its episodes.
    """

    run_id: UUID
    world_id: UUID
    world: str
    command_id: UUID
    status: str
    from_tick: int
    ticks_requested: int
    ticks_completed: int
    commands_applied: int
    error: str | None
    started_at: datetime
    finished_at: datetime | None
    reason: str | None = None
    return_value: float | None = None

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will come of it."""
        return self.status in ENDED

    @classmethod
    def of(cls, view: RunView) -> RunInfo:
        """Describe a run; one that lost its world will not go on, whatever its row says."""
        row = view.row
        is_lost = view.is_world_removed and row.status not in ENDED
        return cls(
            run_id=row.run_id,
            world_id=row.world_id,
            world=view.world,
            command_id=row.event_id,
            status="failed" if is_lost else row.status,
            from_tick=row.from_tick,
            ticks_requested=row.ticks_requested,
            ticks_completed=row.ticks_completed,
            commands_applied=row.commands_applied,
            error="its world was removed" if is_lost else row.error,
            started_at=row.started_at,
            finished_at=row.finished_at,
            reason=row.reason,
            return_value=row.return_value,
        )


@dataclass(slots=True)
class ActiveRun:
    """A run under way in this process.

    Of an episode, `judged` is its last tick's, or of one that takes none that of the state it begins with;
    `tick_returns` are those of its committed ticks.
    """

    run_id: UUID
    request: RunRequest
    lease: Lease
    inputs: Mapping[str, Any]
    world: WorldRow
    from_tick: int
    applied: int = 0
    rejected: int = 0
    completed: int = 0
    judged: Judged | None = None
    tick_returns: list[float | None] = field(default_factory=list[float | None])

    @property
    def is_over(self) -> bool:
        """Whether it has nothing more to do."""
        return self.completed == self.request.steps or (
            self.judged is not None and self.judged.reason is not None
        )

    @property
    def outcome(self) -> Outcome | None:
        """What becomes of an episode that is over."""
        rules, judged = self.request.episode, self.judged
        if rules is None or judged is None:
            return None
        returned = [*self.tick_returns, judged.tick_return] if self.completed else []
        return Outcome(judged.reason or "max_steps", rules.returned(returned))

    def end(self, tick: int) -> RunEnd:
        """Return how the run ends if it ends with this tick."""
        return run_end(
            self.run_id,
            "completed" if self.is_over else "stopped",
            tick,
            from_tick=self.from_tick,
            ticks_completed=self.completed,
            commands_applied=self.applied,
            error=None if self.is_over else "the server stopped",
            outcome=self.outcome if self.is_over else None,
        )

    def after_tick(self, applied: int, rejected: int, judged: Judged | None) -> ActiveRun:
        """Return the run with one more tick and its commands, as it will be once that is committed."""
        return replace(
            self,
            completed=self.completed + 1,
            applied=self.applied + applied,
            rejected=self.rejected + rejected,
            judged=judged,
        )

    def advance(self, after: ActiveRun, *, committed_tick: int) -> None:
        """Take over what is committed now."""
        self.completed, self.applied, self.rejected = after.completed, after.applied, after.rejected
        self.judged = after.judged
        if after.judged is not None:
            self.tick_returns.append(after.judged.tick_return)
        self.world = replace(self.world, committed_tick=committed_tick)


def run_command(world_id: UUID, request: RunRequest) -> NewCommand:
    """Return the step or run command that a request stands for; what does not fit raises `PayloadError`."""
    payload: dict[str, Any] = {"inputs": dict(request.inputs), "debug": request.is_debug}
    if request.metadata:
        payload["metadata"] = dict(request.metadata)
    if request.kind is CommandType.RUN:
        payload["num_steps"] = request.steps
    if request.episode is not None:
        payload |= {"max_steps": request.steps} | spelled_rules(request.episode)
    return direct_command(
        request.kind, world_id, payload, command_id=request.command_id, actor_id=request.actor_id
    )


def spelled_rules(rules: EpisodeRules) -> dict[str, Any]:
    """Spell the rules of an episode as its command has them: what is as by default is left out."""
    spelled: dict[str, Any] = {} if rules.terminal is None else {"terminal": rules.terminal}
    for name, rule in (("condition", rules.condition), ("returns", rules.returns)):
        if rule is not None:
            spelled[name] = rule.model_dump(mode="json", exclude_defaults=True)
    return spelled


def recorded_request(run: RunRow, command: LogRow) -> RunRequest:
    """Return the request that a run's command stands for, to go on with it."""
    payload, kind = command.payload, CommandType(command.event.type)
    rules = check_payload(kind, payload).rules if kind is CommandType.RUN_EPISODE else None
    return RunRequest(
        steps=run.ticks_requested,
        kind=kind,
        inputs=payload["inputs"],
        metadata=payload.get("metadata", {}),
        is_debug=payload["debug"],
        command_id=run.event_id,
        run_id=run.run_id,
        actor_id=command.event.actor_id,
        episode=rules,
    )


def rejection_facts(inputs: TickInputs, rejections: Sequence[Rejection], tick: int) -> list[Fact]:
    """Return what a tick records of the commands that could not be applied, each with its command."""
    by_version = {row.event.version: row.event for row in inputs.commands}
    return [
        Fact(
            FactType.COMMAND_REJECTED,
            tick,
            {"version": each.version, "code": each.code, "reason": each.reason},
            cause_id=by_version[each.version].event_id,
        )
        for each in rejections
    ]
