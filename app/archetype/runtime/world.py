"""A handle on one world, for scripts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal, Unpack
from uuid import UUID

from archetype.clock import new_id
from archetype.core.hooks import HookHandle
from archetype.core.processor import Processor
from archetype.core.scheduling.scheduler import SimpleScheduler, settings_of
from archetype.log.command import CommandType
from archetype.log.payload_fields import Snapshots
from archetype.runtime.actor import ActorCtx
from archetype.runtime.entities import EntityVerbs
from archetype.runtime.episodes import Episodes
from archetype.runtime.given import (
    checked_name,
    checked_processor,
    checked_scheduler,
    optional_number,
    processor_name,
)
from archetype.runtime.handle import CommandOptions
from archetype.runtime.messaging import Messaging
from archetype.runtime.pasts import Pasts
from archetype.runtime.reading import Reading
from archetype.runtime.recording import by_path, take_over
from archetype.runtime.running import Running
from archetype.runtime.upkeep import Upkeep
from archetype.service.container import ServiceContainer
from archetype.service.forks import ForkRequest
from archetype.service.labels import Label
from archetype.service.program import ProcessorRecord
from archetype.service.resource_records import ResourceRecord
from archetype.service.world_info import WorldInfo

__all__ = ["RuntimeWorld"]


class RuntimeWorld(EntityVerbs, Messaging, Running, Episodes, Reading, Pasts, Upkeep):
    """A world by its name; `runtime.world(…)` makes one, and the first call on it opens or creates the world.

    Entity and processor verbs are commands, durable when they return; all take `tick`, `priority`,
    `expected_version` and `command_id` by name, see `CommandOptions`. What is read is committed, after the
    last tick or any other. A change with an `expected_version` raises `VersionConflictError` when the world
    is at another.
    """

    def as_actor(self, actor: ActorCtx) -> RuntimeWorld:
        """Return a handle on the same world whose commands are this actor's, as far as its roles permit them.

        What they do not permit raises `PermissionDeniedError`, and nothing is written.
        """
        return RuntimeWorld(
            self._runtime,
            self._name,
            processors=self._processors,
            resources=self._initial_resources,
            seed=self._seed,
            snapshots=self._snapshots,
            scheduler=self._scheduler,
            actor=actor,
            live=self._live,
        )

    async def add_processor(
        self,
        processor: Processor,
        **options: Unpack[CommandOptions],
    ) -> UUID:
        """Let a processor run from the command's tick on; return the command's id.

        Its class and constructor arguments are recorded, so that any process that loads the class can run it.
        """
        record = ProcessorRecord.of(checked_processor(processor))
        services = await self._activate(CommandType.ADD_PROCESSOR)
        services.simulation_service.pool.bind(self.world_id, processor)
        payload = {"processor": record.name, "parameters": record.parameters, "priority": record.priority}
        return (await self._submit(CommandType.ADD_PROCESSOR, payload, **options)).command_id

    async def replace_processor(
        self,
        processor: Processor | type[Processor] | str,
        **options: Unpack[CommandOptions],
    ) -> UUID:
        """Let this process's code run in the place of the recorded code, from the command's tick on.

        A class or a name brings its code alone; an instance brings its parameters and priority too, and takes
        the place of the only processor of its name. Returns the command's id.
        """
        payload: dict[str, Any] = {"processor": processor_name(processor)}
        if isinstance(processor, Processor):
            services = await self._activate(CommandType.REPLACE_PROCESSOR)
            services.simulation_service.pool.bind(self.world_id, processor)
            record = ProcessorRecord.of(processor)
            payload |= {"parameters": record.parameters, "priority": record.priority}
        return (await self._submit(CommandType.REPLACE_PROCESSOR, payload, **options)).command_id

    async def remove_processor(
        self,
        processor: type[Processor] | Processor | str,
        **options: Unpack[CommandOptions],
    ) -> UUID:
        """Stop every processor of that class or name from the command's tick on; return the command's id."""
        payload = {"processor": processor_name(processor)}
        return (await self._submit(CommandType.REMOVE_PROCESSOR, payload, **options)).command_id

    async def fork(
        self,
        name: str | None = None,
        *,
        tick: int | str | None = None,
        seed: int | None = None,
        include_pending: bool = False,
        expected_version: int | None = None,
    ) -> RuntimeWorld:
        """Make a world that shares this one's past up to a tick, by default the last one.

        `tick` is a number or a label. Settings and processors come along, and so do the very instances and
        live handles that this script gave the world; hooks do not. A new `seed` gives other random numbers
        from there on, and `include_pending` takes the commands along that wait in this world. The two are
        independent from there on. Nothing is copied.
        """
        request = ForkRequest(
            self._fork_name(name), None, seed, include_pending, expected_version=expected_version
        )
        return (await self._fork(request, tick))[0]

    def _fork_name(self, name: str | None) -> str:
        return checked_name(name) if name else f"{self._name}-{new_id().hex[-8:]}"

    async def fork_many(
        self,
        name: str | None,
        count: int,
        *,
        tick: int | str | None = None,
        seed: int | None = None,
        include_pending: bool = False,
        expected_version: int | None = None,
    ) -> list[RuntimeWorld]:
        """Make so many forks, all or none: `name-1`, `name-2`, …; given a seed, each has the next."""
        request = ForkRequest(
            self._fork_name(name), None, seed, include_pending, count, expected_version=expected_version
        )
        return await self._fork(request, tick)

    async def _fork(self, request: ForkRequest, tick: int | str | None) -> list[RuntimeWorld]:
        optional_number("seed", request.seed)
        optional_number("count", request.count)
        services = await self._activate(CommandType.FORK_WORLD)
        if tick == -1:
            row, at = await self._row(services), -1
        else:
            row, at = await self._at(services, tick)
        request = replace(request, tick=at, actor_id=self._actor_id)
        forks = await services.world_service.fork(row, request)
        first = await services.world_service.find(forks[0].world_id)
        recorded = by_path(await services.program_service.resources(first))
        held = by_path(map(ResourceRecord.of, self.resources.models()))
        # What this script has changed and not recorded yet is of now, so it goes along only from here on.
        resources = held if at == row.committed_tick else recorded
        return [self._forked(services, info, recorded, resources) for info in forks]

    def _forked(
        self,
        services: ServiceContainer,
        info: WorldInfo,
        recorded: Mapping[str, ResourceRecord],
        resources: Mapping[str, ResourceRecord],
    ) -> RuntimeWorld:
        services.simulation_service.pool.share(self.world_id, info.world_id)
        live = services.world_service.live_worlds.adopt(info.world_id)
        live.next_tick = info.tick
        live.resources = self.resources.handles()
        loaded = take_over(live.resources, resources)
        live.known_resources = {path: each for path, each in recorded.items() if path in loaded}
        return RuntimeWorld(self._runtime, info.name, actor=self._actor, live=live, is_adopter=True)

    async def label(
        self, name: str, tick: int | str | None = None, *, expected_version: int | None = None
    ) -> Label:
        """Name a committed tick, by default the last one; forks that share it inherit the name."""
        services = await self._activate(CommandType.ADD_LABEL)
        row, at = await self._at(services, tick)
        return await services.label_service.add(
            row, name, at, actor_id=self._actor_id, expected_version=expected_version
        )

    async def unlabel(self, name: str, *, expected_version: int | None = None) -> None:
        """Take a tick's name away; one that is inherited is its ancestor's to remove."""
        services = await self._activate(CommandType.REMOVE_LABEL)
        row = await self._row(services)
        await services.label_service.remove(
            row, name, actor_id=self._actor_id, expected_version=expected_version
        )

    async def configure(
        self,
        *,
        snapshots: Snapshots | None = None,
        scheduler: SimpleScheduler | None = None,
        expected_version: int | None = None,
    ) -> WorldInfo:
        """Change when the world's states are stored, or how its processors run, from its next run on.

        What is left out stays; see `ArchetypeRuntime.world`.
        """
        wanted = checked_scheduler(scheduler)
        services = await self._activate(CommandType.CONFIGURE_WORLD)
        row = await self._row(services)
        change: dict[str, Any] = {} if snapshots is None else {"snapshots": snapshots}
        if wanted is not None:
            change["scheduler"] = settings_of(wanted).model_dump(mode="json")
        return await services.world_service.configure_world(
            row, change, actor_id=self._actor_id, expected_version=expected_version
        )

    def add_hook(
        self, event: type[Any], fn: Any, mode: Literal["blocking", "spawn"] = "blocking"
    ) -> HookHandle:
        """Call `fn` with every event of that type in this process; what it raises is logged, never fatal.

        The types are those of `archetype.core.hooks`; raises `InvalidInputError` for any other.
        """
        hooks = self._waiting_hooks if self._live is None else self._live.hooks
        return hooks.add(event, fn, mode)

    def remove_hook(self, handle: HookHandle) -> None:
        """Undo `add_hook`; a handle that is unknown or removed already is passed over."""
        self._waiting_hooks.remove(handle)
        if self._live is not None:
            self._live.hooks.remove(self._hook_handles.pop(handle, handle))

    async def destroy(self, *, reason: str | None = None, expected_version: int | None = None) -> None:
        """Archive the world: it takes no more commands, its history stays, its name is free."""
        services = await self._activate(CommandType.DESTROY_WORLD)
        row = await self._row(services)
        await services.world_service.remove_world(
            row, reason=reason, actor_id=self._actor_id, expected_version=expected_version
        )
        services.simulation_service.pool.forget(row.world_id)

    async def shutdown(self) -> None:
        """Let go of the world; the world itself, and the runtime, stay as they are."""
        live, self._live = self._live, None
        if live is not None and self._is_adopter:
            live.release()
