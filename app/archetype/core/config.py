"""What users configure of a run and of a world."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, field_validator

from archetype.core.scheduling.scheduler import SimpleScheduler, settings_of
from archetype.core.scheduling.settings import SchedulerSettings


class RunConfig(BaseModel):
    """One run: a sequence of steps of a world. Without `run_id`, the service assigns one.

    `debug` reaches processors that name it; `suite`, `trial` and `metadata` are recorded with the run's
    command. The others are accepted so that scripts of archetype-ecs carry over, and change nothing here:
    every run checks its processors' rows, and reads see the last committed tick.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_id: UUID | None = None
    num_steps: int = Field(default=1, ge=0)
    debug: bool = False
    enable_validation: bool = False
    show_rows: int = Field(default=3, ge=0)
    explain: bool = False
    prefer_live_reads: bool = False
    suite: str | None = None
    trial: int | str | None = None
    metadata: dict[str, Any] | None = None

    @classmethod
    def dev(
        cls,
        *,
        steps: int = 1,
        prefer_live_reads: bool = True,
        debug: bool = True,
        explain: bool = False,
        show_rows: int = 5,
        metadata: dict[str, Any] | None = None,
    ) -> RunConfig:
        """Give a run to develop with: live reads, and much shown."""
        return cls(
            num_steps=steps,
            prefer_live_reads=prefer_live_reads,
            debug=debug,
            explain=explain,
            show_rows=show_rows,
            metadata=metadata,
        )

    @classmethod
    def benchmark(
        cls,
        *,
        steps: int,
        explain: bool = False,
        debug: bool = False,
        prefer_live_reads: bool = False,
        show_rows: int = 0,
        suite: str | None = "benchmark",
        trial: int | str | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> RunConfig:
        """Give a run to measure: nothing shown, named by suite and trial."""
        return cls(
            num_steps=steps,
            explain=explain,
            debug=debug,
            prefer_live_reads=prefer_live_reads,
            show_rows=show_rows,
            suite=suite,
            trial=trial,
            metadata=metadata,
        )

    @classmethod
    def validate(  # pyright: ignore[reportIncompatibleMethodOverride] (Pydantic's own is deprecated)
        cls,
        *,
        steps: int = 1,
        enable_validation: bool = True,
        debug: bool = True,
        prefer_live_reads: bool = False,
        metadata: dict[str, Any] | None = None,
    ) -> RunConfig:
        """Give a run that checks itself."""
        return cls(
            num_steps=steps,
            enable_validation=enable_validation,
            debug=debug,
            prefer_live_reads=prefer_live_reads,
            metadata=metadata,
        )


class WorldConfig(BaseModel):
    """A new world, checked when it is made. What is None the service chooses; `seed` keys random numbers.

    `snapshots` says when its state is stored: after every N-th tick, by default each, or only where it is
    "needed" because it could not be computed again; and after each run. `scheduler` says how its processors
    run together.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    world_id: UUID | None = None
    name: str | None = None
    seed: int | None = None
    snapshots: Annotated[int, Field(strict=True)] | str | None = None
    scheduler: SchedulerSettings | None = None

    @field_validator("scheduler", mode="before")
    @classmethod
    def _recorded(cls, scheduler: Any) -> Any:
        return settings_of(scheduler) if isinstance(scheduler, SimpleScheduler) else scheduler
