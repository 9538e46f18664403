"""Calls that run episodes and rollouts, and read what came of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict, Unpack
from uuid import UUID

from archetype.client import run_answers
from archetype.client.calls import Calls, part_of, path_of
from archetype.clock import new_id

__all__ = ["EpisodeCalls", "EpisodeOptions", "RolloutOptions"]

Rule = Mapping[str, Any]


class EpisodeOptions(TypedDict, total=False):
    """What an episode may be told; `condition` and `returns` are objects as the API documents them."""

    terminal: str | None
    condition: Rule | None
    returns: Rule | None
    inputs: Mapping[str, Any]
    debug: bool


class RolloutOptions(EpisodeOptions, total=False):
    """What a rollout may be told beside what its episodes are."""

    tick: int | None
    seed: int | None
    seeds: Sequence[int] | None
    parallel: int
    keep: bool
    snapshots: int | str
    include_pending: bool


class EpisodeCalls(Calls):
    """The calls about episodes, in one world or in many forks of it."""

    def run_episode(
        self,
        world: str,
        max_steps: int,
        *,
        expected_version: int | None = None,
        command_id: UUID | str | None = None,
        **options: Unpack[EpisodeOptions],
    ) -> run_answers.EpisodeReport:
        """Run ticks until the episode is over, and return what it came to."""
        body = {**options, "max_steps": max_steps}
        path, headers = path_of(world, "episode"), {"Idempotency-Key": str(command_id or new_id())}
        return self._change(
            "POST", path, body, waits_long=True, headers=headers, expected_version=expected_version
        )

    def start_episode(
        self,
        world: str,
        max_steps: int,
        *,
        expected_version: int | None = None,
        command_id: UUID | str | None = None,
        **options: Unpack[EpisodeOptions],
    ) -> run_answers.RunInfo:
        """Start an episode and return its run as soon as that is durable, as `start_run` does."""
        body = {**options, "max_steps": max_steps}
        return self._start(path_of(world, "episode"), body, command_id, expected_version=expected_version)

    def run_rollout(
        self,
        world: str,
        max_steps: int,
        episodes: int,
        *,
        expected_version: int | None = None,
        **options: Unpack[RolloutOptions],
    ) -> run_answers.RolloutReport:
        """Run an episode in each of so many forks of a world, or of `demo@120`; return what came of them.

        Episodes that failed are rows like the others.
        """
        body = {**options, "max_steps": max_steps, "episodes": episodes}
        path = path_of(world, "rollout")
        return self._change("POST", path, body, waits_long=True, expected_version=expected_version)

    def start_rollout(
        self,
        world: str,
        max_steps: int,
        episodes: int,
        *,
        expected_version: int | None = None,
        command_id: UUID | str | None = None,
        **options: Unpack[RolloutOptions],
    ) -> run_answers.RunInfo:
        """Start a rollout and return its run as soon as that is durable, as `start_run` does."""
        body = {**options, "max_steps": max_steps, "episodes": episodes}
        return self._start(path_of(world, "rollout"), body, command_id, expected_version=expected_version)

    def rollout(self, run_id: UUID | str) -> run_answers.RolloutReport:
        """Return what has come of a rollout so far; `follow_run` and `cancel_run` take its id too."""
        return self._read(f"/rollouts/{part_of(run_id)}")

    def _start(
        self, path: str, body: object, command_id: UUID | str | None, *, expected_version: int | None
    ) -> run_answers.RunInfo:
        headers = {"Prefer": "respond-async", "Idempotency-Key": str(command_id or new_id())}
        return self._change("POST", path, body, headers=headers, expected_version=expected_version)
