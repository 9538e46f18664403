"""Steps, runs and processors: bodies and answers."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, Field

from archetype.api.schemas.bodies import Body, json_body
from archetype.api.schemas.scheduling import DeclaredProcessor, declared_fields
from archetype.limits import RUN_TICKS_MAX
from archetype.log.payload_fields import Flag, Integer, Reason
from archetype.service.program import ProcessorInfo

__all__ = [
    "CancelBody",
    "CancelRequest",
    "ProcessorResponse",
    "ReplayResponse",
    "RunBody",
    "RunInfoResponse",
    "RunRequest",
    "RunResponse",
    "StepBody",
    "StepRequest",
    "StepResponse",
]


class StepRequest(Body):
    """One tick."""

    num_steps: Integer = Field(default=1, description="Accepted for old callers; a step is always one tick.")
    debug: Flag = Field(default=False, description="Reaches every processor as `debug`.")
    inputs: dict[str, Any] = Field(default={}, description="Reach every processor that names them.")


class RunRequest(StepRequest):
    """Ticks one after the other."""

    num_steps: Integer = Field(default=1, ge=0, le=RUN_TICKS_MAX, description="How many ticks to run.")


StepBody = Annotated[StepRequest | None, json_body({"inputs": {"wind": 0.5}})]
RunBody = Annotated[RunRequest | None, json_body({"num_steps": 10})]


class StepResponse(BaseModel):
    """What a step did."""

    world_id: UUID
    commands_applied: int
    commands_rejected: int
    run_id: UUID
    tick: int = Field(description="The world's tick now: the number of the next tick to run.")


class RunResponse(BaseModel):
    """What a run did."""

    run_id: UUID
    world_id: UUID
    ticks_completed: int
    commands_applied: int
    commands_rejected: int
    final_tick: int = Field(description="The world's tick now: the number of the next tick to run.")


class RunInfoResponse(BaseModel):
    """A run, as far as it has come."""

    run_id: UUID
    world_id: UUID
    world: str = Field(description="The world's name.")
    command_id: UUID = Field(description="The step or run command that asked for it.")
    status: str = Field(
        description="waiting, running, stopped with its server, cancelling; or how it ended: completed, "
        "failed, cancelled."
    )
    from_tick: int = Field(description="The world's next tick when it was asked for.")
    ticks_requested: int
    ticks_completed: int
    commands_applied: int
    error: str | None = Field(description="Why it failed, was stopped or was cancelled.")
    started_at: datetime
    finished_at: datetime | None
    reason: str | None = Field(
        description="Why an episode that completed was over: terminal, condition, max_steps."
    )
    return_value: float | None = Field(description="What an episode that completed returned.")


class CancelRequest(Body):
    """A cancellation."""

    reason: Reason | None = Field(default=None, description="Kept in the log.")


CancelBody = Annotated[CancelRequest | None, json_body({"reason": "wrong inputs"})]


class ProcessorResponse(DeclaredProcessor):
    """A processor that runs in a world, with what its recorded code declares."""

    parameters: dict[str, Any]
    module: str
    is_loaded: bool = Field(description="Whether this server has its code.")
    is_current: bool = Field(description="Whether that code is the recorded one; other code is replaced.")

    @classmethod
    def of(cls, info: ProcessorInfo) -> ProcessorResponse:
        """Describe a processor."""
        own = asdict(info)
        return cls(**declared_fields(own.pop("declared")), **own)


class CodeChangeResponse(BaseModel):
    """A processor whose loaded code is not the recorded one, by fingerprints."""

    processor: str
    recorded: str
    loaded: str | None = Field(description="Null where no such processor is loaded.")


class DifferentValueResponse(BaseModel):
    """One entity's value in the column that differs."""

    entity_id: int
    recorded: Any
    computed: Any


class DivergenceResponse(BaseModel):
    """The first tick that did not come out as recorded; where, as far as the recorded state is stored."""

    tick: int
    recorded_hash: str
    computed_hash: str
    what: str = Field(description="What differs, in words.")
    archetype: str | None
    column: str | None
    values: list[DifferentValueResponse] = Field(description="Of the first entities that differ.")


class ReplayResponse(BaseModel):
    """What a replay of a range of ticks found."""

    world_id: UUID
    from_tick: int = Field(description="The first tick.")
    to_tick: int = Field(description="The tick behind the last one.")
    ticks_compared: int
    ticks_skipped: int = Field(description="Those that are no function of their inputs.")
    code_changes: list[CodeChangeResponse]
    divergence: DivergenceResponse | None
