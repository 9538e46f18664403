"""The payloads of commands that run worlds. A class's docstring and fields are what the API documents."""

from __future__ import annotations

from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from archetype.core.episodes import Condition, EpisodeRules, Return
from archetype.limits import EPISODES_AT_ONCE_MAX, FORKS_MAX, RUN_TICKS_MAX
from archetype.log.payload_fields import CodeName, Flag, Payload, Reason, Seed, Snapshots, Tick

__all__ = ["CancelRun", "Run", "RunEpisode", "RunRollout", "Step"]


class Step(Payload):
    """Run one tick; `inputs` reach every processor that names them, `metadata` is for readers of the log."""

    inputs: dict[str, Any] = Field(default={})
    debug: Flag = False
    metadata: dict[str, Any] = Field(default={})


class Run(Step):
    """Run ticks one after the other."""

    num_steps: Annotated[int, Field(ge=0, le=RUN_TICKS_MAX, strict=True)] = 1


class RunEpisode(Step):
    """Run ticks until an entity has the component `terminal`, the condition holds, or there were so many.

    Both are asked after each tick, and before the first: an episode that begins where it is over takes none.
    """

    max_steps: Annotated[int, Field(ge=1, le=RUN_TICKS_MAX, strict=True)]
    terminal: CodeName | None = None
    condition: Condition | None = None
    returns: Return | None = None

    @property
    def rules(self) -> EpisodeRules:
        """When the episode is over, and what it returns."""
        return EpisodeRules(self.terminal, self.condition, self.returns)


class RunRollout(RunEpisode):
    """Run an episode in each of so many forks of a committed tick, by default of the last one.

    Each has a seed of its own: those given as `seeds`, or derived from `seed`, by default the world's. The
    forks are removed when their episodes are over, unless they are to be kept.
    """

    episodes: Annotated[int, Field(ge=1, le=FORKS_MAX, strict=True)]
    tick: Tick | None = None
    seed: Seed | None = None
    seeds: list[Seed] | None = None
    parallel: Annotated[int, Field(ge=1, le=EPISODES_AT_ONCE_MAX, strict=True)] = 4
    keep: Flag = False
    snapshots: Snapshots = "needed"
    include_pending: Flag = False

    @model_validator(mode="after")
    def _has_a_seed_for_each(self) -> Self:
        if self.seeds is not None and self.seed is not None:
            msg = "give a seed to derive those of the episodes from, or seeds for each, not both"
            raise PydanticCustomError("seeds", msg)
        if self.seeds is not None and len(self.seeds) != self.episodes:
            msg = "seeds must be as many as episodes"
            raise PydanticCustomError("seeds", msg)
        return self


class CancelRun(Payload):
    """Let a run end behind the tick that is being computed; one that nobody computes ends at once.

    Of a rollout, the episodes under way end so, and no more begin.
    """

    run_id: UUID
    reason: Reason | None = None
