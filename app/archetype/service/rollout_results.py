"""Rollouts as they are asked for, and what has come of one so far."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID, uuid5

from sqlalchemy.engine import Connection

from archetype.errors import RunNotFoundError
from archetype.log.command import CommandType, check_payload
from archetype.log.run_payloads import RunRollout
from archetype.service.direct import direct_command
from archetype.service.runs import RunInfo, spelled_rules
from archetype.store.acceptance import NewCommand
from archetype.store.database import Database
from archetype.store.log import LogRow
from archetype.store.rollouts import episode_facts
from archetype.store.run_rows import RunRow, RunView, find_view, run_input

__all__ = [
    "EpisodeRow",
    "ReturnSummary",
    "RolloutRequest",
    "RolloutResult",
    "episode_run_id",
    "find_rollout",
    "recorded_rollout",
    "rollout_command",
    "rollout_tick",
]


@dataclass(frozen=True, slots=True)
class RolloutRequest:
    """A rollout as a caller asks for it."""

    asked: RunRollout
    command_id: UUID | None = None
    run_id: UUID | None = None
    actor_id: UUID | None = None
    expected_version: int | None = None

    def checked(self) -> RolloutRequest:
        """Return it with the plain names of what its rules name; see `EpisodeRules.checked`."""
        rules = self.asked.rules.checked()
        names = {"terminal": rules.terminal, "condition": rules.condition, "returns": rules.returns}
        return replace(self, asked=self.asked.model_copy(update=names))


@dataclass(frozen=True, slots=True)
class EpisodeRow:
    """An episode of a rollout that is over, in the fork that was made for it.

    `reason` is terminal, condition, max_steps, failed or cancelled; `error` says why it failed.
    """

    index: int
    seed: int
    world_id: UUID
    run_id: UUID
    steps: int
    reason: str
    return_value: float | None
    commit_hash: str | None
    error: str | None

    @classmethod
    def of(cls, fact: Mapping[str, Any]) -> EpisodeRow:
        """Read the fact that an episode is over."""
        returned = fact["return_value"]
        return cls(
            index=fact["index"],
            seed=fact["seed"],
            world_id=UUID(fact["world_id"]),
            run_id=UUID(fact["episode_run_id"]),
            steps=fact["steps"],
            reason=fact["reason"],
            return_value=None if returned is None else float(returned),
            commit_hash=fact["commit_hash"],
            error=fact.get("error"),
        )


@dataclass(frozen=True, slots=True)
class ReturnSummary:
    """The returns of the episodes that completed: how many, and as numbers where there are any.

    `std` is the sample's standard deviation, None for fewer than two.
    """

    count: int
    mean: float | None
    std: float | None
    min: float | None
    max: float | None

    @classmethod
    def of(cls, returns: Sequence[float]) -> ReturnSummary:
        """Sum some returns up."""
        if not returns:
            return cls(0, None, None, None, None)
        std = statistics.stdev(returns) if len(returns) > 1 else None
        return cls(len(returns), statistics.fmean(returns), std, min(returns), max(returns))


@dataclass(frozen=True, slots=True)
class RolloutResult:
    """A rollout as far as it has come: its episodes that are over, by index, and what they returned.

    The forks share the base world's past up to `tick`. `status` is that of its run; `reasons` counts why
    episodes were over.
    """

    run_id: UUID
    world_id: UUID
    world: str
    tick: int
    status: str
    error: str | None
    episodes_requested: int
    episodes: Sequence[EpisodeRow]
    returns: ReturnSummary
    reasons: Mapping[str, int]


async def find_rollout(database: Database, run_id: UUID) -> RolloutResult:
    """Return a rollout as it is now; `RunNotFoundError` if there is none of that id."""

    def fetch(connection: Connection) -> tuple[RunView, LogRow, list[Mapping[str, Any]]] | None:
        view = find_view(connection, run_id)
        if view is None:
            return None
        command = run_input(connection, run_id).command
        if command.event.type != CommandType.RUN_ROLLOUT:
            return None
        return view, command, episode_facts(connection, view.row)

    found = await database.read(fetch)
    if found is None:
        msg = f"rollout {run_id} does not exist; `archetype runs list WORLD` shows a world's runs"
        raise RunNotFoundError(msg, run_id=str(run_id))
    view, command, facts = found
    asked = _payload(command)
    episodes = sorted(map(EpisodeRow.of, facts), key=lambda each: each.index)
    info = RunInfo.of(view)
    return RolloutResult(
        run_id=run_id,
        world_id=info.world_id,
        world=info.world,
        tick=rollout_tick(view.row, asked),
        status=info.status,
        error=info.error,
        episodes_requested=asked.episodes,
        episodes=tuple(episodes),
        returns=ReturnSummary.of([each.return_value for each in episodes if each.return_value is not None]),
        reasons=dict(sorted(Counter(each.reason for each in episodes).items())),
    )


def rollout_command(world_id: UUID, request: RolloutRequest) -> NewCommand:
    """Return the command that a request stands for; a retry of the same request has the same."""
    asked = request.asked
    payload = asked.model_dump(mode="json", exclude_none=True, exclude={"condition", "returns"})
    payload |= {"inputs": dict(asked.inputs), "metadata": dict(asked.metadata)} | spelled_rules(asked.rules)
    return direct_command(
        CommandType.RUN_ROLLOUT, world_id, payload, command_id=request.command_id, actor_id=request.actor_id
    )


def recorded_rollout(run: RunRow, command: LogRow) -> RolloutRequest:
    """Return the request that a rollout's command stands for, to go on with it."""
    return RolloutRequest(_payload(command), run.event_id, run.run_id, command.event.actor_id)


def _payload(command: LogRow) -> RunRollout:
    return check_payload(CommandType.RUN_ROLLOUT, command.payload)


def rollout_tick(run: RunRow, asked: RunRollout) -> int:
    """Return the tick that a rollout's forks begin with: the one asked for, or the last one then."""
    return run.from_tick - 1 if asked.tick is None else asked.tick


def episode_run_id(world_id: UUID) -> UUID:
    """Return the run of the episode in a rollout's fork."""
    return uuid5(world_id, "episode")
