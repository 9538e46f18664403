"""Runs: what is asked for, how far one has come, and what its ticks record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from archetype.core.changes import Rejection
from archetype.log.command import CommandType
from archetype.log.facts import Fact, FactType
from archetype.service.direct import direct_command
from archetype.service.inputs import TickInputs
from archetype.store.append import NewCommand
from archetype.store.log import LogRow
from archetype.store.run_rows import RunRow, RunView
from archetype.store.runs import Lease, RunEnd, run_end
from archetype.store.worlds import WorldRow

__all__ = [
    "ENDED",
    "ActiveRun",
    "RunInfo",
    "RunRequest",
    "RunResult",
    "recorded_request",
    "rejection_facts",
    "run_command",
]

ENDED = frozenset({"completed", "failed", "cancelled"})
"""What a run's status is once nothing more will come of it."""


@dataclass(frozen=True, slots=True)
class RunRequest:
    """What a caller asks for: `inputs` are JSON values that reach every processor which names them."""

    steps: int = 1
    kind: CommandType = CommandType.RUN
    inputs: Mapping[str, Any] = field(default_factory=dict[str, Any])
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])
    is_debug: bool = False
    command_id: UUID | None = None
    run_id: UUID | None = None
    actor_id: UUID | None = None
    expected_version: int | None = None


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
    completed, failed or cancelled. `error` says why.
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
        )


@dataclass(slots=True)
class ActiveRun:
    """A run under way in this process."""

    run_id: UUID
    request: RunRequest
    lease: Lease
    inputs: Mapping[str, Any]
    world: WorldRow
    from_tick: int
    applied: int = 0
    rejected: int = 0
    completed: int = 0

    def end(self, tick: int) -> RunEnd:
        """Return how the run ends if it ends with this tick."""
        is_complete = self.completed == self.request.steps
        return run_end(
            self.run_id,
            "completed" if is_complete else "stopped",
            tick,
            from_tick=self.from_tick,
            ticks_completed=self.completed,
            commands_applied=self.applied,
            error=None if is_complete else "the server stopped",
        )

    def after_tick(self, applied: int, rejected: int) -> ActiveRun:
        """Return the run with one more tick and its commands, as it will be once that is committed."""
        return replace(
            self,
            completed=self.completed + 1,
            applied=self.applied + applied,
            rejected=self.rejected + rejected,
        )

    def advance(self, after: ActiveRun, *, committed_tick: int) -> None:
        """Take over what is committed now."""
        self.completed, self.applied, self.rejected = after.completed, after.applied, after.rejected
        self.world = replace(self.world, committed_tick=committed_tick)


def run_command(world_id: UUID, request: RunRequest) -> NewCommand:
    """Return the step or run command that a request stands for; what does not fit raises `PayloadError`."""
    payload: dict[str, Any] = {"inputs": dict(request.inputs), "debug": request.is_debug}
    if request.metadata:
        payload["metadata"] = dict(request.metadata)
    if request.kind is CommandType.RUN:
        payload["num_steps"] = request.steps
    return direct_command(
        request.kind, world_id, payload, command_id=request.command_id, actor_id=request.actor_id
    )


def recorded_request(run: RunRow, command: LogRow) -> RunRequest:
    """Return the request that a run's command stands for, to go on with it."""
    payload = command.payload
    return RunRequest(
        steps=run.ticks_requested,
        kind=CommandType(command.event.type),
        inputs=payload["inputs"],
        metadata=payload.get("metadata", {}),
        is_debug=payload["debug"],
        command_id=run.event_id,
        run_id=run.run_id,
        actor_id=command.event.actor_id,
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
