"""Episodes and rollouts: runs that end when the world says so, one or in many forks."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath

from archetype.api.gate import ANYBODY_KNOWN, Caller, needs
from archetype.api.problems import problems
from archetype.api.requests import Prefer, WorldReference, prefers, world_id_of
from archetype.api.routes.runs import STARTED, RunId, permitted_run
from archetype.api.schemas.episodes import EpisodeBody, EpisodeResponse, RolloutBody, RolloutResponse
from archetype.api.schemas.simulation import RunInfoResponse
from archetype.api.submitting import Submitter
from archetype.log.command import CommandType
from archetype.log.permissions import Access
from archetype.service.container import ServiceContainer
from archetype.service.references import Reference
from archetype.service.rollout_results import RolloutRequest
from archetype.service.runs import RunInfo, RunRequest

__all__ = ["EpisodeRoutes"]

_REFUSALS = problems(404, 409, 412, 413, 422, 429)


class EpisodeRoutes(Controller):
    """Ticks until an episode is over."""

    path = "/"
    tags = ("simulation",)

    @post(
        "/worlds/{world:str}/episode",
        summary="Run an episode",
        opt=needs(CommandType.RUN_EPISODE),
        status_code=200,
        responses=_REFUSALS | STARTED,
    )
    async def episode(
        self,
        world: FromPath[str],
        submitter: NamedDependency[Submitter],
        data: EpisodeBody,
        prefer: Prefer = "",
    ) -> Response[EpisodeResponse | RunInfoResponse]:
        """Run ticks until an entity has the terminal component, the condition holds, or `max_steps` are done.

        Both are asked after each tick and before the first. With `Prefer: respond-async` it answers 202 as
        soon as the episode is durable; `Location` leads to its run, which has the reason and the return once
        it has ended.
        """
        world_id = await world_id_of(submitter.services, world)
        request = RunRequest(
            steps=data.max_steps,
            kind=CommandType.RUN_EPISODE,
            inputs=data.inputs,
            is_debug=data.debug,
            command_id=submitter.conditions.command_id(f"{world_id}:episode"),
            actor_id=submitter.caller.actor_id,
            expected_version=submitter.conditions.expected_version,
            episode=data.rules,
        )
        episodes = submitter.services.episode_service
        if prefers(prefer, "respond-async"):
            return _accepted(await episodes.start(world_id, request), "runs")
        result = await episodes.run(world_id, request, on_tick=submitter.metrics.count_tick)
        return Response(EpisodeResponse(**asdict(result)))

    @post(
        "/worlds/{world:str}/rollout",
        summary="Run a rollout",
        opt=needs(CommandType.RUN_ROLLOUT),
        status_code=200,
        responses=_REFUSALS | STARTED,
    )
    async def rollout(
        self,
        world: WorldReference,
        submitter: NamedDependency[Submitter],
        data: RolloutBody,
        prefer: Prefer = "",
    ) -> Response[RolloutResponse | RunInfoResponse]:
        """Run an episode in each of many forks of a committed tick, and say what they returned.

        It goes on whatever becomes of the request: it is a run like any other, whose ticks are those of its
        episodes. With `Prefer: respond-async` it answers 202; `Location` leads to what has come of it so far.
        """
        services, tick = submitter.services, data.tick
        if Reference.parse(world).names_tick:
            found, tick = await services.world_service.resolve(world, tick)
            world_id = found.world_id
        else:
            world_id = await world_id_of(services, world)
        request = RolloutRequest(
            asked=data.asked(tick),
            command_id=submitter.conditions.command_id(f"{world_id}:rollout"),
            actor_id=submitter.caller.actor_id,
            expected_version=submitter.conditions.expected_version,
        )
        if prefers(prefer, "respond-async"):
            return _accepted(await services.rollout_service.start(world_id, request), "rollouts")
        result = await services.rollout_service.run(world_id, request)
        return Response(RolloutResponse(**asdict(result)))

    @get("/rollouts/{run_id:str}", summary="Read a rollout", opt=ANYBODY_KNOWN, responses=problems(404))
    async def read(
        self,
        run_id: RunId,
        services: NamedDependency[ServiceContainer],
        caller: NamedDependency[Caller],
    ) -> RolloutResponse:
        """Say what has come of a rollout so far; its id is its run's, to follow or cancel it by."""
        info = await permitted_run(services, caller, run_id, Access.READ_WORLD)
        return RolloutResponse(**asdict(await services.rollout_service.find(info.run_id)))


def _accepted(info: RunInfo, noun: str) -> Response[Any]:
    headers = {"Location": f"/{noun}/{info.run_id}", "Preference-Applied": "respond-async"}
    return Response(RunInfoResponse(**asdict(info)), status_code=202, headers=headers)
