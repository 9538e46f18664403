"""Runs: what is asked for, how far one has come, and what its ticks record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from archetype.core.changes import Rejection
from archetype.log.command import CommandType
from archetype.log.facts import Fact, FactType
from archetype.service.direct import direct_command
from archetype.service.inputs import TickInputs
from archetype.store.append import NewCommand
from archetype.store.runs import Lease, RunEnd
from archetype.store.worlds import WorldRow

__all__ = ["ActiveRun", "RunRequest", "RunResult", "rejection_facts", "run_command"]


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
        if self.completed < self.request.steps:
            return self.ended("stopped", tick, "the server stopped")
        return self.ended("completed", tick)

    def ended(
        self, status: str, tick: int, error: str | None = None, failure: Mapping[str, Any] | None = None
    ) -> RunEnd:
        """Return an end of the run in this tick, with the fact that records it and, if a tick failed, how."""
        payload: dict[str, Any] = {
            "run_id": str(self.run_id),
            "status": status,
            "from_tick": self.from_tick,
            "ticks_completed": self.completed,
            "commands_applied": self.applied,
        }
        if error is not None:
            payload["error"] = error
        if failure:
            payload["failure"] = dict(failure)
        return RunEnd(status, error, Fact(FactType.RUN_FINISHED, tick, payload))

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
