"""The verbs that let time pass until a world says that it is enough, and the handle on a rollout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict, Unpack

from archetype.core.component import Component
from archetype.core.episodes import Condition, EpisodeRules, Return
from archetype.log.command import CommandType, check_payload
from archetype.log.payload_fields import Snapshots
from archetype.runtime.handle import WorldHandle
from archetype.runtime.running import RunHandle
from archetype.service.container import ServiceContainer
from archetype.service.episodes import EpisodeResult
from archetype.service.rollout_results import RolloutRequest, RolloutResult
from archetype.service.runs import RunRequest, spelled_rules

__all__ = ["Episodes", "RolloutHandle", "RolloutOptions"]

Terminal = type[Component] | str


class RolloutHandle(RunHandle):
    """A rollout that was started: the handle on its run, and what has come of it so far."""

    async def result(self) -> RolloutResult:
        """Return the rollout as it is now, with the episodes that are over."""
        return await self._services.rollout_service.find(self.run_id)


class RolloutOptions(TypedDict, total=False):
    """What a rollout may be told: what its episodes are, as `run_episode` is told, and how they run.

    `tick` is the one to fork, a number or a label, by default the last. The episodes' seeds are `seeds`, or
    derived from `seed`, by default the world's. `parallel` episodes (4) compute at once at most. The forks
    are removed when their episodes are over unless they are to `keep`; `snapshots` ("needed") is their
    policy, and `include_pending` takes the commands along that wait in the world.
    """

    tick: int | str | None
    terminal: Terminal | None
    condition: Condition | str | None
    returns: Return | str | None
    seed: int | None
    seeds: Sequence[int] | None
    parallel: int
    keep: bool
    snapshots: Snapshots
    include_pending: bool
    inputs: Mapping[str, Any]
    debug: bool
    expected_version: int | None


class Episodes(WorldHandle):
    """Runs episodes, in the world itself or in many forks of it.

    An episode is over after the first tick in which any active entity has the component `terminal`, the
    `condition` holds (such as "all Health.points <= 0"), or `max_steps` are done; where that is so at its
    beginning it takes no tick. `returns` names what it returns, such as "Reward.value:sum".
    """

    async def run_episode(
        self,
        max_steps: int,
        *,
        terminal: Terminal | None = None,
        condition: Condition | str | None = None,
        returns: Return | str | None = None,
        debug: bool = False,
        expected_version: int | None = None,
        **inputs: Any,
    ) -> EpisodeResult:
        """Run ticks until the episode is over, each durable before the next begins.

        `inputs` are JSON values that reach every processor that names them.
        """
        services = await self._activate(CommandType.RUN_EPISODE)
        request = RunRequest(
            steps=max_steps,
            kind=CommandType.RUN_EPISODE,
            inputs=inputs,
            is_debug=debug,
            actor_id=self._actor_id,
            expected_version=await self._record_resources(services, expected_version),
            episode=_rules(terminal, condition, returns),
        )
        result = await services.episode_service.run(self.world_id, request)
        self._saw(result.run_id, result.to_tick)
        return result

    async def run_rollout(
        self, episodes: int, max_steps: int, **options: Unpack[RolloutOptions]
    ) -> RolloutResult:
        """Run an episode in each of so many forks of a committed tick, and return what came of them.

        Each fork has a seed of its own: the same base, seed and code give the same returns. An episode that
        fails is a row like the others.
        """
        services = await self._activate(CommandType.RUN_ROLLOUT)
        request = await self._rollout(services, episodes, max_steps, options)
        return await services.rollout_service.run(self.world_id, request)

    async def start_rollout(
        self, episodes: int, max_steps: int, **options: Unpack[RolloutOptions]
    ) -> RolloutHandle:
        """Begin what `run_rollout` does, and return a handle on it as soon as it is durable."""
        services = await self._activate(CommandType.RUN_ROLLOUT)
        request = await self._rollout(services, episodes, max_steps, options)
        info = await services.rollout_service.start(self.world_id, request)
        return RolloutHandle(services, info.run_id, self._actor)

    async def _rollout(
        self, services: ServiceContainer, episodes: int, max_steps: int, options: RolloutOptions
    ) -> RolloutRequest:
        given: dict[str, Any] = {**options}
        expected_version = await self._record_resources(services, given.pop("expected_version", None))
        rules = _rules(*(given.pop(name, None) for name in ("terminal", "condition", "returns")))
        tick = given.get("tick")
        if isinstance(tick, str):
            _, given["tick"] = await self._at(services, tick)
        payload = {**given, **spelled_rules(rules), "episodes": episodes, "max_steps": max_steps}
        asked = check_payload(CommandType.RUN_ROLLOUT, payload)
        return RolloutRequest(asked, actor_id=self._actor_id, expected_version=expected_version)


def _rules(
    terminal: Terminal | None, condition: Condition | str | None, returns: Return | str | None
) -> EpisodeRules:
    return EpisodeRules(
        terminal if terminal is None or isinstance(terminal, str) else terminal.__name__,
        Condition.parse(condition) if isinstance(condition, str) else condition,
        Return.parse(returns) if isinstance(returns, str) else returns,
    )
