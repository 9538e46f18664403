"""Episodes and rollouts: bodies and answers."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, Field

from archetype.api.schemas.bodies import Body, json_body
from archetype.core.episodes import Condition, EpisodeRules, Return
from archetype.limits import EPISODES_AT_ONCE_MAX, FORKS_MAX, RUN_TICKS_MAX
from archetype.log.command import CommandType, check_payload
from archetype.log.payload_fields import Flag, Integer, Seed, Snapshots
from archetype.log.run_payloads import RunRollout

__all__ = ["EpisodeBody", "EpisodeResponse", "RolloutBody", "RolloutResponse"]


class EpisodeRequest(Body):
    """Ticks until the world says that they are enough."""

    max_steps: Integer = Field(ge=1, le=RUN_TICKS_MAX, description="How many ticks at most.")
    terminal: str | None = Field(
        default=None, description="A component: the episode is over as soon as an active entity has it."
    )
    condition: Condition | None = Field(default=None, description="The episode is over as soon as it holds.")
    returns: Return | None = Field(default=None, description="The column that the episode returns, reduced.")
    inputs: dict[str, Any] = Field(default={}, description="Reach every processor that names them.")
    debug: Flag = Field(default=False, description="Reaches every processor as `debug`.")

    @property
    def rules(self) -> EpisodeRules:
        """When the episode is over, and what it returns."""
        return EpisodeRules(self.terminal, self.condition, self.returns)


class RolloutCreate(EpisodeRequest):
    """An episode in each of many forks of one state."""

    episodes: Integer = Field(ge=1, le=FORKS_MAX, description="How many forks, with an episode in each.")
    tick: Integer | None = Field(
        default=None, ge=-1, description="The tick to fork; by default the path's, or the last committed one."
    )
    seed: Seed | None = Field(
        default=None, description="The seeds of the episodes are derived from it; by default the world's."
    )
    seeds: list[Seed] | None = Field(default=None, description="A seed for each episode, in their order.")
    parallel: Integer = Field(
        default=4, ge=1, le=EPISODES_AT_ONCE_MAX, description="How many episodes at once at most."
    )
    keep: Flag = Field(default=False, description="Whether the forks stay when their episodes are over.")
    snapshots: Snapshots = Field(
        default="needed",
        description="When the states of the forks are stored; after an episode they always are.",
    )
    include_pending: Flag = Field(
        default=False, description="Whether the forks get the commands that wait in the world."
    )

    def asked(self, tick: int | None) -> RunRollout:
        """Return the payload of the command that this stands for."""
        given = self.model_dump(mode="json", exclude_unset=True) | {"tick": tick}
        return check_payload(CommandType.RUN_ROLLOUT, given)


_EPISODE = {
    "max_steps": 200,
    "terminal": "Done",
    "condition": {
        "component": "Health",
        "field": "points",
        "comparison": "<=",
        "value": 0,
        "entities": "all",
    },
    "returns": {"column": "Reward.value", "reducer": "sum"},
}

EpisodeBody = Annotated[EpisodeRequest, json_body(_EPISODE)]
RolloutBody = Annotated[RolloutCreate, json_body({**_EPISODE, "episodes": 100, "seed": 7})]


class EpisodeResponse(BaseModel):
    """What an episode came to."""

    run_id: UUID
    world_id: UUID
    world: str = Field(description="The world's name.")
    from_tick: int = Field(description="Its first tick.")
    to_tick: int = Field(description="The tick behind its last one.")
    steps: int
    reason: str = Field(description="Why it is over: terminal, condition or max_steps.")
    return_value: float | None = Field(
        description="Null where none was asked for, or it is no finite number."
    )
    commit_hash: str | None = Field(description="Of its last state; null before the world's first tick.")


class EpisodeRowResponse(BaseModel):
    """An episode of a rollout that is over."""

    index: int
    seed: int
    world_id: UUID = Field(description="Its fork.")
    run_id: UUID
    steps: int
    reason: str = Field(description="terminal, condition, max_steps, failed or cancelled.")
    return_value: float | None
    commit_hash: str | None
    error: str | None = Field(description="Why it failed.")


class ReturnSummaryResponse(BaseModel):
    """The returns of the episodes that have one."""

    count: int
    mean: float | None
    std: float | None = Field(description="Of the sample; null for fewer than two.")
    min: float | None
    max: float | None


class RolloutResponse(BaseModel):
    """A rollout as far as it has come."""

    run_id: UUID
    world_id: UUID
    world: str = Field(description="The name of the base world.")
    tick: int = Field(description="The last tick that the forks share with it.")
    status: str = Field(description="As of its run.")
    error: str | None
    episodes_requested: int
    episodes: list[EpisodeRowResponse] = Field(description="Those that are over, by index.")
    returns: ReturnSummaryResponse
    reasons: dict[str, int] = Field(description="How many episodes were over for which reason.")
