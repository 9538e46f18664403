"""A handle on one world, for scripts."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

from archetype.clock import new_id
from archetype.core.bulk import batch_from_components, batch_from_frame, encode_batch
from archetype.core.component import Component
from archetype.core.config import RunConfig, WorldConfig
from archetype.core.hooks import HookHandle
from archetype.core.processor import AsyncProcessor
from archetype.core.resources import Resources
from archetype.errors import ConflictError, NameTakenError, VersionConflictError
from archetype.log.command import Command, CommandType
from archetype.runtime.actor import ActorCtx
from archetype.service.admission import CommandRequest
from archetype.service.commands import Receipt
from archetype.service.container import ServiceContainer
from archetype.service.program import ProcessorRecord, Program
from archetype.service.runs import RunRequest, RunResult
from archetype.service.worlds import LiveWorld, WorldInfo
from archetype.store.worlds import WorldRow

if TYPE_CHECKING:
    from daft import DataFrame

    from archetype.runtime.runtime import ArchetypeRuntime

__all__ = ["RuntimeWorld"]


class RuntimeWorld:
    """A world by its name; `runtime.world(…)` makes one, and the first call on it opens or creates the world.

    Entity verbs are commands: durable when they return, applied in the next tick (or in `tick`, if that is
    later), lower `priority` first. `query` reads what is committed.
    """

    def __init__(
        self,
        runtime: ArchetypeRuntime,
        name: str,
        *,
        processors: Sequence[AsyncProcessor] = (),
        resources: Sequence[object] = (),
        seed: int | None = None,
        actor: ActorCtx | None = None,
        live: LiveWorld | None = None,
    ) -> None:
        self._runtime = runtime
        self._name = name
        self._processors = processors
        self._initial_resources = resources
        self._seed = seed
        self._actor = actor
        self._activating = asyncio.Lock()
        self._live = live
        self._tick = 0
        self._waiting_hooks: dict[HookHandle, tuple[type[Any], Any, Literal["blocking", "spawn"]]] = {}
        self._hook_handles: dict[HookHandle, HookHandle] = {}

    @property
    def name(self) -> str:
        """The world's name."""
        return self._name

    @property
    def world_id(self) -> UUID:
        """The world's id, known from the first use on."""
        return self._activated().world_id

    @property
    def tick(self) -> int:
        """The next tick to run, as this handle last saw it; `info()` asks the database."""
        self._activated()
        return self._tick

    @property
    def resources(self) -> Resources:
        """What processors get as `resources`: live objects of this process, by type."""
        return self._activated().resources

    def as_actor(self, actor: ActorCtx) -> RuntimeWorld:
        """Return a handle on the same world whose commands are this actor's."""
        return RuntimeWorld(
            self._runtime,
            self._name,
            processors=self._processors,
            resources=self._initial_resources,
            seed=self._seed,
            actor=actor,
            live=self._live,
        )

    async def spawn(
        self, *components: Component, tick: int = 0, priority: int = 0, entity_id: int | None = None
    ) -> int:
        """Make an entity and return its id, which is known at once; it appears in the command's tick."""
        payload: dict[str, Any] = {"components": _payloads(components)}
        if entity_id is not None:
            payload["entity_id"] = entity_id
        receipt = await self._submit(CommandType.SPAWN, payload, tick=tick, priority=priority)
        return receipt.entity_ids[0]

    async def spawn_many(self, rows: Any, *, tick: int = 0, priority: int = 0) -> list[int]:
        """Make many entities with one command and return their ids in the order of the rows.

        `rows` is a list of component lists, or an Arrow table, or a Daft, pandas or polars frame with columns
        `component__field`; omitted fields get their defaults.
        """
        table = batch_from_components(rows) if _is_component_rows(rows) else batch_from_frame(rows)
        if table.num_rows == 0:
            return []
        request = CommandRequest(CommandType.SPAWN, {}, tick, priority, batch=encode_batch(table))
        return list((await self._send(request)).entity_ids)

    async def update_many(self, rows: Any, *, tick: int = 0, priority: int = 0) -> UUID:
        """Set values of many entities with one command; `rows` is a frame with `entity_id` and columns."""
        batch = encode_batch(batch_from_frame(rows))
        return (
            await self._send(CommandRequest(CommandType.UPDATE, {}, tick, priority, batch=batch))
        ).command_id

    async def despawn(self, entity_id: int, *, tick: int = 0, priority: int = 0) -> UUID:
        """End an entity; return the command's id."""
        payload = {"entity_id": entity_id}
        return (await self._submit(CommandType.DESPAWN, payload, tick=tick, priority=priority)).command_id

    async def update(
        self,
        entity_id: int,
        *components: Component | Iterable[Component],
        tick: int = 0,
        priority: int = 0,
    ) -> UUID:
        """Set components that the entity has, all their fields; return the command's id."""
        payload = {"entity_id": entity_id, "components": _payloads(_flat(components))}
        return (await self._submit(CommandType.UPDATE, payload, tick=tick, priority=priority)).command_id

    async def add_components(
        self,
        entity_id: int,
        *components: Component | Iterable[Component],
        tick: int = 0,
        priority: int = 0,
    ) -> UUID:
        """Give the entity these components, which moves it to another archetype; return the command's id."""
        payload = {"entity_id": entity_id, "components": _payloads(_flat(components))}
        return (
            await self._submit(CommandType.ADD_COMPONENT, payload, tick=tick, priority=priority)
        ).command_id

    async def remove_components(
        self,
        entity_id: int,
        *types: type[Component] | str | Iterable[type[Component] | str],
        tick: int = 0,
        priority: int = 0,
    ) -> UUID:
        """Take components from the entity by their types; return the command's id."""
        payload = {"entity_id": entity_id, "component_types": _names(_flat(types))}
        receipt = await self._submit(CommandType.REMOVE_COMPONENT, payload, tick=tick, priority=priority)
        return receipt.command_id

    async def add_processor(self, processor: AsyncProcessor, *, tick: int = 0, priority: int = 0) -> UUID:
        """Let a processor run from the command's tick on; return the command's id.

        Its class and constructor arguments are recorded, so that any process that loads the class can run it.
        """
        services = await self._activate()
        services.simulation_service.pool.bind(self.world_id, processor)
        record = ProcessorRecord.of(processor)
        payload = {"processor": record.name, "parameters": record.parameters, "priority": record.priority}
        receipt = await self._submit(CommandType.ADD_PROCESSOR, payload, tick=tick, priority=priority)
        return receipt.command_id

    async def remove_processor(
        self, processor: type[AsyncProcessor] | AsyncProcessor | str, *, tick: int = 0, priority: int = 0
    ) -> UUID:
        """Stop every processor of that class or name from the command's tick on; return the command's id."""
        name = processor if isinstance(processor, str) else processor.processor_name()
        payload = {"processor": name}
        receipt = await self._submit(CommandType.REMOVE_PROCESSOR, payload, tick=tick, priority=priority)
        return receipt.command_id

    async def step(self, *, debug: bool = False, config: RunConfig | None = None, **inputs: Any) -> int:
        """Run one tick and return how many commands it applied.

        `inputs` are JSON values that reach every processor whose `process` names them; they are recorded.
        """
        result = await self._run(CommandType.STEP, 1, debug=debug, config=config, inputs=inputs)
        return result.commands_applied

    async def run(
        self, steps: int = 1, *, debug: bool = False, config: RunConfig | None = None, **inputs: Any
    ) -> RunResult:
        """Run ticks, each durable before the next begins; a `config` brings its own number of steps."""
        count = config.num_steps if config is not None else steps
        return await self._run(CommandType.RUN, count, debug=debug, config=config, inputs=inputs)

    async def _run(
        self, kind: CommandType, steps: int, *, debug: bool, config: RunConfig | None, inputs: dict[str, Any]
    ) -> RunResult:
        services = await self._activate()
        described = {"suite", "trial", "metadata"}
        request = RunRequest(
            steps=steps,
            kind=kind,
            inputs=inputs,
            metadata=config.model_dump(mode="json", include=described, exclude_none=True) if config else {},
            is_debug=debug or (config is not None and config.debug),
            run_id=config.run_id if config is not None else None,
            actor_id=self._actor_id,
        )
        result = await services.simulation_service.run(self.world_id, request)
        self._tick = result.final_tick
        return result

    async def query(
        self,
        *types: type[Component] | str,
        tick: int | None = None,
        ticks: Collection[int] | None = None,
        entity_ids: Sequence[int] | None = None,
    ) -> DataFrame:
        """Return the active entities that have all of these components as a Daft DataFrame.

        The rows are those after the last committed tick, after `tick`, or after each of `ticks`; the columns
        are the base columns and `component__field` of the named components (of all, when none is named).
        """
        from daft import from_arrow  # noqa: PLC0415  slow to import, and not every script asks

        services = await self._activate()
        table = await services.query_service.frame(
            await self._row(services),
            components=_names(types) or None,
            ticks=[tick] if tick is not None else ticks,
            entity_ids=entity_ids,
        )
        return from_arrow(table)

    async def info(self) -> WorldInfo:
        """Describe the world as the database has it now."""
        services = await self._activate()
        info = await services.world_service.info(await self._row(services))
        self._tick = info.tick
        return info

    async def fork(
        self, name: str | None = None, *, tick: int | None = None, seed: int | None = None
    ) -> RuntimeWorld:
        """Make a world that shares this one's past up to the last committed tick, or up to `tick`.

        Processors come along; the two are independent from there on. Nothing is copied.
        """
        services = await self._activate()
        row = await self._row(services)
        chosen = name or f"{self._name}-{new_id().hex[-8:]}"
        info = await services.world_service.fork_world(
            row, chosen, tick=tick, seed=seed, actor_id=self._actor_id
        )
        live = services.world_service.live(info.world_id)
        live.resources = self.resources.copy()
        fork = RuntimeWorld(self._runtime, chosen, actor=self._actor, live=live)
        fork._tick = info.tick
        return fork

    async def command_history(self, limit: int = 100) -> list[Command]:
        """Return the newest commands of the world and its ancestors, the oldest of them first."""
        services = await self._activate()
        entries = await services.command_service.history(self.world_id, limit=limit)
        return [entry.command for entry in entries]

    def add_hook(
        self, event: type[Any], fn: Any, mode: Literal["blocking", "spawn"] = "blocking"
    ) -> HookHandle:
        """Call `fn` with every event of that type in this process; what it raises is logged, never fatal."""
        if self._live is not None:
            return self._live.hooks.add(event, fn, mode)
        handle = HookHandle()
        self._waiting_hooks[handle] = (event, fn, mode)
        return handle

    def remove_hook(self, handle: HookHandle) -> None:
        """Undo `add_hook`; a handle that is unknown or removed already is passed over."""
        self._waiting_hooks.pop(handle, None)
        if self._live is not None:
            self._live.hooks.remove(self._hook_handles.pop(handle, handle))

    async def destroy(self, *, reason: str | None = None) -> None:
        """Archive the world: it takes no more commands, its history stays, its name is free."""
        services = await self._activate()
        row = await self._row(services)
        await services.world_service.remove_world(row, reason=reason, actor_id=self._actor_id)

    async def shutdown(self) -> None:
        """Let go of the world; the world itself, and the runtime, stay as they are."""
        self._live = None

    @property
    def _actor_id(self) -> UUID | None:
        return self._actor.id if self._actor is not None else None

    def _activated(self) -> LiveWorld:
        if self._live is None:
            msg = f"world {self._name!r} has not been activated yet: await a call on it first, such as info()"
            raise RuntimeError(msg)
        return self._live

    async def _row(self, services: ServiceContainer) -> WorldRow:
        return await services.world_service.find(self.world_id)

    async def _submit(
        self, kind: CommandType, payload: dict[str, Any], *, tick: int, priority: int
    ) -> Receipt:
        return await self._send(CommandRequest(kind, payload, tick, priority))

    async def _send(self, request: CommandRequest) -> Receipt:
        services = await self._activate()
        return await services.command_service.submit(self.world_id, request, actor_id=self._actor_id)

    async def _activate(self) -> ServiceContainer:
        services = await self._runtime.services()
        if self._live is None:
            async with self._activating:
                if self._live is None:
                    await self._open(services)
        return services

    async def _open(self, services: ServiceContainer) -> None:
        worlds = services.world_service
        row = await worlds.peek(self._name)
        if row is None:
            config = WorldConfig(name=self._name, seed=self._seed)
            try:
                info = await worlds.create_world(config, actor_id=self._actor_id)
            except NameTakenError:
                row = await worlds.find(self._name)
            else:
                row = await worlds.find(info.world_id)
        if self._seed is not None and row.seed != self._seed:
            msg = f"world {self._name!r} has the seed {row.seed}, not {self._seed}; leave it out or rename"
            raise ConflictError(msg, seed=row.seed)
        live = worlds.live(row.world_id)
        for resource in self._initial_resources:
            live.resources.insert(resource)
        for handle, hook in self._waiting_hooks.items():
            self._hook_handles[handle] = live.hooks.add(*hook)
        self._waiting_hooks.clear()
        if self._processors:
            await self._adopt(services, row)
        self._live = live
        self._tick = row.tick

    async def _adopt(self, services: ServiceContainer, row: WorldRow) -> None:
        """Make the script's processors the world's: replace those whose code or parameters are others now.

        Others may be doing the same, so the changes hold only for the version they were made for.
        """
        for processor in self._processors:
            services.simulation_service.pool.bind(row.world_id, processor)
        while requests := self._adoptions(await services.simulation_service.program(row)):
            try:
                await services.command_service.submit_batch(
                    row.world_id, requests, actor_id=self._actor_id, expected_version=row.head_version
                )
            except VersionConflictError:
                row = await services.world_service.find(row.world_id)
            else:
                return

    def _adoptions(self, program: Program) -> list[CommandRequest]:
        """Return the commands that bring a program to what this handle was given; none if it is that."""
        wanted = [ProcessorRecord.of(processor) for processor in self._processors]
        requests: list[CommandRequest] = []
        for name in dict.fromkeys(record.name for record in wanted):
            given = [record for record in wanted if record.name == name]
            present = [record for record in program.processors if record.name == name]
            if given == present:
                continue
            if present:
                requests.append(CommandRequest(CommandType.REMOVE_PROCESSOR, {"processor": name}))
            for record in given:
                payload = {"processor": name, "parameters": record.parameters, "priority": record.priority}
                requests.append(CommandRequest(CommandType.ADD_PROCESSOR, payload))
        return requests


def _payloads(components: Iterable[Component]) -> list[dict[str, Any]]:
    return [component.to_payload() for component in components]


def _names(types: Iterable[type[Component] | str]) -> list[str]:
    return [kind if isinstance(kind, str) else kind.__name__ for kind in types]


def _flat(values: Iterable[Any]) -> Iterator[Any]:
    """Take values one by one or in lists, as callers of either habit pass them."""
    for value in values:
        if isinstance(value, list | tuple | set | frozenset):
            yield from value
        else:
            yield value


def _is_component_rows(rows: Any) -> bool:
    return isinstance(rows, list | tuple)
