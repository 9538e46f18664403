"""The verbs that let time pass in a world, and the handle on a run."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any
from uuid import UUID

from archetype.core.config import RunConfig
from archetype.errors import InvalidInputError
from archetype.log.command import CommandType
from archetype.log.permissions import Access
from archetype.runtime.actor import ActorCtx, principal_of
from archetype.runtime.given import checked_inputs, checked_steps
from archetype.runtime.handle import WorldHandle
from archetype.service.container import ServiceContainer
from archetype.service.runs import RunInfo, RunRequest, RunResult

__all__ = ["RunHandle", "Running"]


class RunHandle:
    """A run that was started: it goes on by itself while the runtime is open.

    One that the runtime's end stops is taken up again by a server over the same database, or by
    `runtime.resume_runs()`.
    """

    def __init__(self, services: ServiceContainer, run_id: UUID, actor: ActorCtx | None = None) -> None:
        self._services = services
        self._actor = actor
        self.run_id = run_id

    async def info(self) -> RunInfo:
        """Return the run as it is now."""
        return await self._services.run_service.find(self.run_id)

    async def wait(self) -> RunInfo:
        """Return the run once it has ended, however it did."""
        return await self._services.run_service.wait(self.run_id)

    async def cancel(self, *, reason: str | None = None) -> RunInfo:
        """Let the run end behind the tick that is being computed, and return it as it is now."""
        await self._services.gate.require(principal_of(self._actor), CommandType.CANCEL_RUN)
        actor_id = None if self._actor is None else self._actor.id
        return await self._services.run_service.cancel(self.run_id, reason=reason, actor_id=actor_id)

    async def follow(self) -> AsyncGenerator[RunInfo]:
        """Give the run whenever it has come further, and last of all as it ended."""
        async for info in self._services.run_service.follow(self.run_id):
            yield info


class Running(WorldHandle):
    """Steps and runs a world, waiting for it or not."""

    async def step(
        self,
        config: RunConfig | None = None,
        *,
        debug: bool = False,
        expected_version: int | None = None,
        **inputs: Any,
    ) -> int:
        """Run one tick and return how many commands it applied.

        `inputs` are JSON values that reach every processor whose `process` names them; they are recorded.
        """
        request = self._request(CommandType.STEP, 1, debug, config, expected_version, inputs)
        return (await self._run(request)).commands_applied

    async def run(
        self,
        steps: int | RunConfig = 1,
        *,
        debug: bool = False,
        config: RunConfig | None = None,
        expected_version: int | None = None,
        **inputs: Any,
    ) -> RunResult:
        """Run ticks, each durable before the next begins; a `config` brings its own number of steps.

        The config may stand in the place of the steps.
        """
        return await self._run(self._request(CommandType.RUN, steps, debug, config, expected_version, inputs))

    async def start_run(
        self,
        steps: int | RunConfig = 1,
        *,
        debug: bool = False,
        config: RunConfig | None = None,
        expected_version: int | None = None,
        **inputs: Any,
    ) -> RunHandle:
        """Begin what `run` does, and return a handle on it as soon as it is durable."""
        services = await self._activate(CommandType.RUN)
        expected_version = await self._record_resources(services, expected_version)
        request = self._request(CommandType.RUN, steps, debug, config, expected_version, inputs)
        info = await services.run_service.start(self.world_id, request)
        return RunHandle(services, info.run_id, self._actor)

    async def runs(self, limit: int = 100) -> list[RunInfo]:
        """Return the world's own runs, the newest first."""
        services = await self._activate(Access.READ_WORLD)
        return await services.run_service.list_runs(await self._row(services), limit=limit)

    async def _run(self, request: RunRequest) -> RunResult:
        services = await self._activate(request.kind)
        expected_version = await self._record_resources(services, request.expected_version)
        request = replace(request, expected_version=expected_version)
        result = await services.simulation_service.run(self.world_id, request)
        self._saw(result.run_id, result.final_tick)
        return result

    def _request(
        self,
        kind: CommandType,
        steps: int | RunConfig,
        is_debug: bool,  # noqa: FBT001  private
        config: RunConfig | None,
        expected_version: int | None,
        inputs: dict[str, Any],
    ) -> RunRequest:
        if isinstance(steps, RunConfig):
            if config is not None:
                raise InvalidInputError(
                    "two configs are given; pass one, as the first argument or as `config`"
                )
            steps, config = steps.num_steps, steps
        if config is None:
            config = RunConfig(num_steps=checked_steps(steps))
            metadata: dict[str, Any] = {}
            run_id = None
        else:
            described = {"suite", "trial", "metadata"}
            metadata = config.model_dump(mode="json", include=described, exclude_none=True)
            run_id = config.run_id
        return RunRequest(
            steps=1 if kind is CommandType.STEP else config.num_steps,
            kind=kind,
            inputs=checked_inputs(inputs),
            metadata=metadata,
            is_debug=is_debug or config.debug,
            run_id=run_id,
            actor_id=self._actor_id,
            expected_version=expected_version,
        )
