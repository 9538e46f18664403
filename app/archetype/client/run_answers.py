"""The shapes of what the server says of steps, runs, episodes and rollouts."""

from __future__ import annotations

from typing import TypedDict

__all__ = [
    "EpisodeReport",
    "EpisodeRow",
    "ReturnSummary",
    "RolloutReport",
    "RunInfo",
    "RunReport",
    "StepReport",
]


class StepReport(TypedDict):
    """What one step did; `tick` is the number of the next tick to run."""

    world_id: str
    run_id: str
    tick: int
    commands_applied: int
    commands_rejected: int


class RunReport(TypedDict):
    """What a run did; `final_tick` is the number of the next tick to run."""

    run_id: str
    world_id: str
    ticks_completed: int
    commands_applied: int
    commands_rejected: int
    final_tick: int


class RunInfo(TypedDict):
    """A run as far as it has come; `from_tick` is the world's next tick when it was asked for.

    `status` is waiting, running, stopped or cancelling, or how it ended: completed, failed or cancelled.
    """

    run_id: str
    world_id: str
    world: str
    command_id: str
    status: str
    from_tick: int
    ticks_requested: int
    ticks_completed: int
    commands_applied: int
    error: str | None
    started_at: str
    finished_at: str | None
    reason: str | None
    return_value: float | None


class EpisodeReport(TypedDict):
    """What an episode came to in the ticks `from_tick` <= t < `to_tick`, and why it is over."""

    run_id: str
    world_id: str
    world: str
    from_tick: int
    to_tick: int
    steps: int
    reason: str
    return_value: float | None
    commit_hash: str | None


class EpisodeRow(TypedDict):
    """An episode of a rollout that is over, in the fork that was made for it."""

    index: int
    seed: int
    world_id: str
    run_id: str
    steps: int
    reason: str
    return_value: float | None
    commit_hash: str | None
    error: str | None


class ReturnSummary(TypedDict):
    """The returns of the episodes that have one; `std` is the sample's."""

    count: int
    mean: float | None
    std: float | None
    min: float | None
    max: float | None


class RolloutReport(TypedDict):
    """A rollout as far as it has come; `tick` is the last one that its forks share with the base world."""

    run_id: str
    world_id: str
    world: str
    tick: int
    status: str
    error: str | None
    episodes_requested: int
    episodes: list[EpisodeRow]
    returns: ReturnSummary
    reasons: dict[str, int]
