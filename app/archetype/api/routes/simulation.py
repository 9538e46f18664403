"""Running worlds."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Any
from uuid import UUID

from litestar import Controller, Request, Response, get, post
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import FromPath

from archetype.api.gate import needs
from archetype.api.problems import problems
from archetype.api.requests import FromTick, Prefer, ToTick, WorldReference, past_of, prefers, world_id_of
from archetype.api.routes.runs import STARTED
from archetype.api.schemas.scheduling import PlanResponse, TickExecutionsResponse
from archetype.api.schemas.simulation import (
    ProcessorResponse,
    ReplayResponse,
    RunBody,
    RunInfoResponse,
    RunResponse,
    StepBody,
    StepRequest,
    StepResponse,
)
from archetype.api.schemas.simulation import RunRequest as RunIn
from archetype.api.submitting import Submitter
from archetype.errors import LimitExceededError, UnavailableError
from archetype.limits import REPLAY_TICKS_MAX
from archetype.log.command import CommandType
from archetype.log.permissions import Access
from archetype.service.container import ServiceContainer
from archetype.service.ranges import committed_range
from archetype.service.runs import RunRequest, RunResult

__all__ = ["SimulationRoutes"]

_REFUSALS = problems(404, 409, 412, 413, 422, 429)


class SimulationRoutes(Controller):
    """The ticks of a world."""

    path = "/worlds/{world:str}"
    tags = ("simulation",)

    @post("/step", summary="Run one tick", opt=needs(CommandType.STEP), status_code=200, responses=_REFUSALS)
    async def step(
        self,
        world: FromPath[str],
        submitter: NamedDependency[Submitter],
        data: StepBody = None,
    ) -> StepResponse:
        """Compute and commit the next tick."""
        asked = data or StepRequest()
        result = await _run(submitter, world, asked, kind=CommandType.STEP, steps=1)
        return StepResponse(
            world_id=result.world_id,
            commands_applied=result.commands_applied,
            commands_rejected=result.commands_rejected,
            run_id=result.run_id,
            tick=result.final_tick,
        )

    @post(
        "/run",
        summary="Run ticks",
        opt=needs(CommandType.RUN),
        status_code=200,
        responses=_REFUSALS | STARTED,
    )
    async def run(
        self,
        world: FromPath[str],
        submitter: NamedDependency[Submitter],
        data: RunBody = None,
        prefer: Prefer = "",
    ) -> Response[RunResponse | RunInfoResponse]:
        """Compute and commit ticks one by one; a server that stops ends the run behind its tick (503).

        With `Prefer: respond-async` it answers 202 as soon as the run is durable; `Location` leads to it. A
        run that was cut short is taken up again by itself, and does exactly the ticks that were asked for.
        """
        asked = data or RunIn()
        if prefers(prefer, "respond-async"):
            world_id = await world_id_of(submitter.services, world)
            request = _request(submitter, world_id, asked, kind=CommandType.RUN, steps=asked.num_steps)
            info = await submitter.services.run_service.start(world_id, request)
            headers = {"Location": f"/runs/{info.run_id}", "Preference-Applied": "respond-async"}
            return Response(RunInfoResponse(**asdict(info)), status_code=202, headers=headers)
        result = await _run(submitter, world, asked, kind=CommandType.RUN, steps=asked.num_steps)
        return Response(RunResponse(**asdict(result)))

    @get(
        "/processors",
        summary="List a world's processors",
        opt=needs(Access.READ_WORLD),
        responses=problems(404, 422),
    )
    async def processors(
        self, world: FromPath[str], services: NamedDependency[ServiceContainer]
    ) -> list[ProcessorResponse]:
        """List the processors of the next tick, in the order in which they run."""
        found = await services.world_service.find(world)
        infos = await services.program_service.processors(found)
        return [ProcessorResponse.of(info) for info in infos]

    @get(
        "/plan", summary="Plan the next tick", opt=needs(Access.READ_WORLD), responses=problems(404, 409, 422)
    )
    async def plan(self, world: FromPath[str], services: NamedDependency[ServiceContainer]) -> PlanResponse:
        """Say which processors of the next tick run together, and where their declared writes overlap.

        It is planned on the last committed state; nothing is run, no condition is asked.
        """
        found = await services.world_service.find(world)
        return PlanResponse(**asdict(await services.plan_service.plan(found)))

    @get("/executions", summary="Say what ran", opt=needs(Access.READ_LOG), responses=problems(404, 413, 422))
    async def executions(
        self,
        world: WorldReference,
        services: NamedDependency[ServiceContainer],
        from_tick: FromTick = None,
        to_tick: ToTick = None,
    ) -> list[TickExecutionsResponse]:
        """Say what each processor did in each tick of a range, by default of all that are committed.

        With it come the conflicts: cells that several processors of a group wrote, and what became of them.
        """
        found, end = await past_of(services, world, to_tick)
        ticks = committed_range(found, from_tick, end)
        ran = await services.execution_service.of_ticks(found, ticks.start, ticks.stop)
        return await asyncio.to_thread(lambda: [TickExecutionsResponse.of(each) for each in ran])

    @get(
        "/replay",
        summary="Compute ticks again",
        opt=needs(Access.REPLAY_WORLD),
        responses=problems(404, 409, 413, 422),
    )
    async def replay(
        self,
        request: Request[Any, Any, State],
        world: WorldReference,
        services: NamedDependency[ServiceContainer],
        from_tick: FromTick = None,
        to_tick: ToTick = None,
    ) -> ReplayResponse:
        """Compute up to 1,000 ticks again with the loaded code, and compare each with what was recorded.

        It ends at the first that differs, which is an answer like any other. Nothing is written.
        """
        found, end = await past_of(services, world, to_tick)
        ticks = committed_range(found, from_tick, end, is_limited=False)
        if len(ticks) > REPLAY_TICKS_MAX:
            msg = (
                f"{len(ticks)} ticks are asked for, at most {REPLAY_TICKS_MAX} are computed again at once: "
                "ask for parts with from_tick and to_tick"
            )
            raise LimitExceededError(msg, limit=REPLAY_TICKS_MAX, actual=len(ticks))

        async def on_tick(_: int) -> None:
            if request.app.state.stopping.is_set():
                msg = "the server is stopping"
                raise UnavailableError(msg, retry_after_s=1)

        report = await services.replay_service.replay(
            found, from_tick=ticks.start, to_tick=ticks.stop, on_tick=on_tick
        )
        return ReplayResponse(**asdict(report))


async def _run(
    submitter: Submitter,
    world: str,
    asked: StepRequest,
    *,
    kind: CommandType,
    steps: int,
) -> RunResult:
    world_id = await world_id_of(submitter.services, world)
    request = _request(submitter, world_id, asked, kind=kind, steps=steps)
    return await submitter.services.simulation_service.run(
        world_id, request, on_tick=submitter.metrics.count_tick
    )


def _request(
    submitter: Submitter, world_id: UUID, asked: StepRequest, *, kind: CommandType, steps: int
) -> RunRequest:
    return RunRequest(
        steps=steps,
        kind=kind,
        inputs=asked.inputs,
        is_debug=asked.debug,
        command_id=submitter.conditions.command_id(world_id),
        actor_id=submitter.caller.actor_id,
        expected_version=submitter.conditions.expected_version,
    )
