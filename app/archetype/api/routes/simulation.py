"""Running worlds."""

from __future__ import annotations

from dataclasses import asdict

from litestar import Controller, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath

from archetype.api.problems import problems
from archetype.api.requests import world_id_of
from archetype.api.schemas.simulation import (
    ProcessorResponse,
    RunBody,
    RunResponse,
    StepBody,
    StepRequest,
    StepResponse,
)
from archetype.api.schemas.simulation import RunRequest as RunIn
from archetype.api.submitting import Submitter
from archetype.log.command import CommandType
from archetype.service.container import ServiceContainer
from archetype.service.runs import RunRequest, RunResult

__all__ = ["SimulationRoutes"]

_REFUSALS = problems(404, 409, 412, 413, 422)


class SimulationRoutes(Controller):
    """The ticks of a world."""

    path = "/worlds/{world:str}"
    tags = ("simulation",)

    @post("/step", summary="Run one tick", status_code=200, responses=_REFUSALS)
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

    @post("/run", summary="Run ticks", status_code=200, responses=_REFUSALS)
    async def run(
        self,
        world: FromPath[str],
        submitter: NamedDependency[Submitter],
        data: RunBody = None,
    ) -> RunResponse:
        """Compute and commit ticks one by one; a server that stops ends the run behind its tick (503)."""
        asked = data or RunIn()
        result = await _run(submitter, world, asked, kind=CommandType.RUN, steps=asked.num_steps)
        return RunResponse(**asdict(result))

    @get("/processors", summary="List a world's processors", responses=problems(404, 422))
    async def processors(
        self, world: FromPath[str], services: NamedDependency[ServiceContainer]
    ) -> list[ProcessorResponse]:
        """List the processors of the next tick, in the order in which they run."""
        found = await services.world_service.find(world)
        infos = await services.simulation_service.processors(found)
        return [ProcessorResponse(**asdict(info)) for info in infos]


async def _run(
    submitter: Submitter,
    world: str,
    asked: StepRequest,
    *,
    kind: CommandType,
    steps: int,
) -> RunResult:
    world_id = await world_id_of(submitter.services, world)
    request = RunRequest(
        steps=steps,
        kind=kind,
        inputs=asked.inputs,
        is_debug=asked.debug,
        command_id=submitter.conditions.command_id(world_id),
        expected_version=submitter.conditions.expected_version,
    )
    return await submitter.services.simulation_service.run(
        world_id, request, on_tick=submitter.metrics.count_tick
    )
