"""The runtime: one database, opened at first use."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Self

from archetype.core.processor import Processor
from archetype.core.scheduling.scheduler import SimpleScheduler
from archetype.log.command import CommandType
from archetype.log.payload_fields import Snapshots
from archetype.log.permissions import Access, Action
from archetype.runtime.actor import ActorCtx, principal_of
from archetype.runtime.given import (
    checked_name,
    checked_processors,
    checked_resources,
    checked_scheduler,
    optional_number,
)
from archetype.runtime.running import RunHandle
from archetype.runtime.sync import SyncArchetypeRuntime
from archetype.runtime.world import RuntimeWorld
from archetype.service.ancestry import TreeNode
from archetype.service.container import ServiceContainer
from archetype.service.verification.faults import VerifyReport
from archetype.service.verification.verify import verify
from archetype.store.retention import PageUse

__all__ = ["ArchetypeRuntime"]


class _SyncFace:
    """Lets `sync` be asked of the class, with its arguments, or of a runtime that has them already."""

    def __get__(self, runtime: ArchetypeRuntime | None, owner: type[ArchetypeRuntime]) -> Callable[..., Any]:
        if runtime is None:
            return lambda *args, **kwargs: SyncArchetypeRuntime(owner(*args, **kwargs))
        return lambda: SyncArchetypeRuntime(runtime)


class ArchetypeRuntime:
    """Worlds in one database, for scripts.

    The database is `database_url`, else ARCHETYPE_DATABASE_URL, else `./archetype.db`; an empty SQLite file
    gets its schema by itself. With an `actor_ctx` all is done as that actor, as far as its roles permit it;
    else as an administrator whom the log does not name. Use it as an async context manager, or call
    `shutdown` at the end;
    `ArchetypeRuntime.sync()` is the same for code without async.
    """

    sync = _SyncFace()

    def __init__(self, database_url: str | None = None, actor_ctx: ActorCtx | None = None) -> None:
        self._container = ServiceContainer(database_url)
        self._actor = actor_ctx
        self._opening = asyncio.Lock()
        self._is_open = False

    def world(
        self,
        name: str = "world",
        *,
        processors: Iterable[Processor] = (),
        resources: Iterable[object] = (),
        seed: int | None = None,
        snapshots: Snapshots | None = None,
        scheduler: SimpleScheduler | None = None,
    ) -> RuntimeWorld:
        """Return a handle on the world of that name, which is opened, or made, at the handle's first use.

        The given processors are made the world's own: those it has already go on, others of the same name
        are replaced. `seed` is for a new world; an old one of another seed is refused. `snapshots`
        is for a new world too, and an old one keeps its own: its states are stored after every N-th tick, by
        default after each, or only where they are "needed" because they could not be computed again. A
        `scheduler` says which processors run together, how many at once and what is tried again; an old world
        that has another gets it. Without one a new world's processors run one after the other, and an old one
        keeps its own. No I/O happens here; what cannot be a world's raises `InvalidInputError`.
        """
        return RuntimeWorld(
            self,
            checked_name(name),
            processors=checked_processors(processors),
            resources=checked_resources(resources),
            seed=optional_number("seed", seed),
            snapshots=snapshots,
            scheduler=checked_scheduler(scheduler),
            actor=self._actor,
        )

    async def tree(self, *, with_archived: bool = False) -> list[TreeNode]:
        """Return all worlds, each followed by its forks in the order of their ticks.

        A removed world is left out unless one that lives comes of it, or `with_archived`.
        """
        services = await self._permitted(Access.LIST_WORLDS)
        return await services.ancestry_service.tree(with_archived=with_archived)

    async def verify(self, world: str | None = None, *, expect: str | None = None) -> VerifyReport:
        """Check all that is stored, or a world with all that its past is made of.

        `world` is a reference as `demo` or `demo@120`; `expect` is that commit's hash in hex, kept elsewhere.
        Faults are reported, not raised; a reference that names nothing raises.
        """
        services = await self._permitted(Access.VERIFY)
        return await verify(services.database, world, expect=expect)

    async def collect_garbage(self, *, dry_run: bool = False, reason: str | None = None) -> PageUse:
        """Remove the pages of all worlds that no snapshot refers to, or with `dry_run` only count them.

        What is removed, by whom and why, is recorded as an administrative act.
        """
        retention = (await self._permitted(Access.COLLECT_GARBAGE)).retention_service
        if dry_run:
            return await retention.garbage()
        return await retention.collect_garbage(by=principal_of(self._actor), reason=reason)

    async def resume_runs(self) -> list[RunHandle]:
        """Take up the runs that a crash or a stop cut short, of all worlds, and return handles on them.

        Those that another living process has are its own. A server does this by itself.
        """
        services = await self._permitted(CommandType.RUN)
        resumed = await services.run_service.resume_interrupted()
        return [RunHandle(services, run_id, self._actor) for run_id in resumed]

    async def _permitted(self, action: Action) -> ServiceContainer:
        services = await self.services()
        await services.gate.require(principal_of(self._actor), action)
        return services

    async def services(self) -> ServiceContainer:
        """Return the services, opened; scripts seldom need them."""
        if not self._is_open:
            async with self._opening:
                if not self._is_open:
                    await self._container.open()
                    self._is_open = True
        return self._container

    async def shutdown(self) -> None:
        """Answer what waits and close the database; calling it twice does no harm."""
        if self._is_open:
            self._is_open = False
            await self._container.shutdown()

    async def __aenter__(self) -> Self:
        await self.services()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.shutdown()
