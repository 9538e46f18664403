"""What every part of a world's handle stands on: the world is opened, or made, at the first use."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any, TypedDict
from uuid import UUID

from archetype.core.config import WorldConfig
from archetype.core.hooks import HookHandle, Hooks
from archetype.core.processor import Processor
from archetype.core.resources import Resources
from archetype.core.scheduling.scheduler import SimpleScheduler, settings_of
from archetype.errors import NameTakenError, QuotaExceededError, StateConflictError, VersionConflictError
from archetype.log.command import CommandType, parse_type_name
from archetype.log.payload_fields import Snapshots
from archetype.log.permissions import Action
from archetype.runtime.actor import ActorCtx, principal_of
from archetype.runtime.adopting import adoptions
from archetype.runtime.excess import telling_excess
from archetype.runtime.given import check_program
from archetype.runtime.recording import by_path, merged, take_over
from archetype.service.admission import CommandRequest
from archetype.service.commands import Receipt
from archetype.service.container import ServiceContainer
from archetype.service.live_worlds import LiveWorld
from archetype.service.resource_records import ResourceRecord
from archetype.service.schedulers import scheduler_settings
from archetype.store.worlds import WorldRow

if TYPE_CHECKING:
    from archetype.runtime.runtime import ArchetypeRuntime

__all__ = ["CommandOptions", "WorldHandle", "resolved"]


class CommandOptions(TypedDict, total=False):
    """What every verb that submits a command takes by name.

    The command is applied in the next tick, or in `tick` if that is later, lower `priority` first. With an
    `expected_version` it is accepted only at that version of the world; `info()` says it. A `command_id`,
    such as `uuid.uuid4()`, makes a retry safe: made again with the same id, a call is accepted once and
    answered as the first time.
    """

    tick: int
    priority: int
    expected_version: int | None
    command_id: UUID | None


class WorldHandle:
    """Opens the world of a name at the first use, and submits its commands; the base of `RuntimeWorld`.

    Its parts' public verbs record among the denials where their actor goes beyond a quota.
    """

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for name, verb in list(vars(cls).items()):
            if iscoroutinefunction(verb) and not name.startswith("_"):
                setattr(cls, name, telling_excess(verb, cls._note_excess))

    def __init__(
        self,
        runtime: ArchetypeRuntime,
        name: str,
        *,
        processors: Sequence[Processor] = (),
        resources: Sequence[object] = (),
        seed: int | None = None,
        snapshots: Snapshots | None = None,
        scheduler: SimpleScheduler | None = None,
        actor: ActorCtx | None = None,
        live: LiveWorld | None = None,
        is_adopter: bool = False,
    ) -> None:
        self._runtime = runtime
        self._name = name
        self._processors = processors
        self._initial_resources = resources
        self._seed = seed
        self._snapshots: Snapshots | None = snapshots
        self._scheduler = scheduler
        self._actor = actor
        self._activating = asyncio.Lock()
        self._live = live
        self._is_adopter = is_adopter
        self._waiting_hooks = Hooks()
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
        """The next tick to run, as the handles of this runtime last saw it; `info()` asks the database."""
        return self._activated().next_tick

    @property
    def run_id(self) -> UUID | None:
        """The last step, run or episode that a handle of this runtime waited for; None before the first."""
        return self._activated().run_id

    @property
    def resources(self) -> Resources:
        """What processors get as `resources`, by type: Pydantic models, and live handles of this process.

        What was inserted, changed or removed of the models is recorded by the next step or run.
        """
        return self._activated().resources

    @property
    def _actor_id(self) -> UUID | None:
        return self._actor.id if self._actor is not None else None

    def _activated(self) -> LiveWorld:
        if self._live is None:
            msg = f"world {self._name!r} has not been activated yet: await a call on it first, such as info()"
            raise RuntimeError(msg)
        return self._live

    def _saw(self, run_id: UUID, next_tick: int) -> None:
        live = self._activated()
        live.run_id, live.next_tick = run_id, next_tick

    async def _row(self, services: ServiceContainer) -> WorldRow:
        return await services.world_service.find(self.world_id)

    async def _at(self, services: ServiceContainer, tick: int | str | None) -> tuple[WorldRow, int]:
        """Return the world's row, and the committed tick of that number or label; None is the last one."""
        return await resolved(services, str(self.world_id), tick)

    async def _submit(
        self,
        kind: CommandType,
        payload: dict[str, Any],
        batch: bytes | None = None,
        *,
        tick: int = 0,
        priority: int = 0,
        expected_version: int | None = None,
        command_id: UUID | None = None,
    ) -> Receipt:
        services = await self._activate(kind)
        request = CommandRequest(kind, payload, tick, priority, command_id, batch)
        return await services.command_service.submit(
            self.world_id, request, actor_id=self._actor_id, expected_version=expected_version
        )

    async def _activate(self, action: Action) -> ServiceContainer:
        """Let an action of this handle's actor pass the gate, and open the world if this is its first use.

        Raises `PermissionDeniedError` before anything is looked up or written.
        """
        services = await self._runtime.services()
        await self._require(services, action)
        if self._live is None:
            async with self._activating:
                if self._live is None:
                    await self._open(services)
        return services

    async def _require(self, services: ServiceContainer, *actions: Action) -> None:
        for action in actions:
            await services.gate.require(principal_of(self._actor), action)

    async def _note_excess(self, error: QuotaExceededError) -> None:
        services = await self._runtime.services()
        services.gate.deny_excess(principal_of(self._actor), error, self._name)

    async def _open(self, services: ServiceContainer) -> None:
        check_program(self._processors)
        worlds = services.world_service
        row = await worlds.peek(self._name)
        if row is None:
            await self._require(services, CommandType.CREATE_WORLD)
            config = WorldConfig.model_validate(
                {
                    "name": self._name,
                    "seed": self._seed,
                    "snapshots": self._snapshots,
                    "scheduler": self._scheduler,
                }
            )
            try:
                info = await worlds.create_world(config, actor_id=self._actor_id)
            except NameTakenError:
                row = await worlds.find(self._name)
            else:
                row = await worlds.find(info.world_id)
        if self._seed is not None and row.seed != self._seed:
            msg = f"world {self._name!r} has the seed {row.seed}, not {self._seed}; leave it out or rename"
            raise StateConflictError(msg, seed=row.seed)
        live = worlds.live_worlds.of(row.world_id)
        live.known_resources = await self._in_line(services, row, live)
        for resource in self._initial_resources:
            live.resources.insert(resource)
        for handle, hook in self._waiting_hooks.registrations().items():
            self._hook_handles[handle] = live.hooks.add(*hook)
        self._waiting_hooks = Hooks()
        await self._adopt_scheduler(services, row)
        if self._processors:
            await self._adopt(services, row)
        live.next_tick = row.tick
        self._live, self._is_adopter = worlds.live_worlds.adopt(row.world_id), True

    async def _in_line(
        self, services: ServiceContainer, row: WorldRow, live: LiveWorld
    ) -> dict[str, ResourceRecord]:
        """Bring what others recorded into this process's resources; return what is recorded."""
        recorded = by_path(await services.program_service.resources(row))
        held = by_path(map(ResourceRecord.of, live.resources.models()))
        return take_over(live.resources, merged(held, live.known_resources, recorded).target)

    async def _record_resources(
        self, services: ServiceContainer, expected_version: int | None = None
    ) -> int | None:
        """Record which models the script inserted, changed or removed; `InvalidInputError` if one cannot be.

        Others may be doing the same, so the changes hold only for the version they were made for. Returns the
        version that is expected then; where the world is at another already, nothing is recorded.
        """
        live = self._activated()
        while live.resources.models() or live.known_resources:
            row = await self._row(services)
            if expected_version is not None and row.head_version != expected_version:
                return expected_version
            recorded = by_path(await services.program_service.resources(row))
            held = by_path(map(ResourceRecord.of, live.resources.models()))
            found = merged(held, live.known_resources, recorded)
            try:
                if found.requests:
                    await services.command_service.submit_batch(
                        live.world_id,
                        found.requests,
                        actor_id=self._actor_id,
                        expected_version=row.head_version,
                    )
            except VersionConflictError:
                continue
            live.known_resources = take_over(live.resources, found.target)
            return None if expected_version is None else expected_version + len(found.requests)
        return expected_version

    async def _adopt_scheduler(self, services: ServiceContainer, row: WorldRow) -> None:
        """Make the script's scheduler the world's, if it has another."""
        if self._scheduler is None:
            return
        wanted = settings_of(self._scheduler)
        if wanted != scheduler_settings(row.config):
            await self._require(services, CommandType.CONFIGURE_WORLD)
            change = {"scheduler": wanted.model_dump(mode="json")}
            await services.world_service.configure_world(row, change, actor_id=self._actor_id)

    async def _adopt(self, services: ServiceContainer, row: WorldRow) -> None:
        """Make the script's processors the world's: replace those whose code or parameters are others now.

        Others may be doing the same, so the changes hold only for the version they were made for.
        """
        for processor in self._processors:
            services.simulation_service.pool.bind(row.world_id, processor)
        while requests := adoptions(self._processors, await services.program_service.program(row)):
            await self._require(services, *(parse_type_name(request.type) for request in requests))
            try:
                await services.command_service.submit_batch(
                    row.world_id, requests, actor_id=self._actor_id, expected_version=row.head_version
                )
            except VersionConflictError:
                row = await services.world_service.find(row.world_id)
            else:
                return


async def resolved(
    services: ServiceContainer, reference: str, tick: int | str | None
) -> tuple[WorldRow, int]:
    """Return the world that a reference names, and the committed tick: its own, or this number or label."""
    if isinstance(tick, str):
        return await services.world_service.resolve(f"{reference}@{tick}")
    return await services.world_service.resolve(reference, tick)
