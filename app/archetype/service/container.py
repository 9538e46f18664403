"""How the services hang together; whoever runs one makes one container."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

from archetype.core.querying import configure_daft
from archetype.errors import InvalidInputError
from archetype.service.ancestry import AncestryService
from archetype.service.appender import Appender
from archetype.service.audit import AuditService
from archetype.service.budget import MemoryBudget
from archetype.service.cache import page_cache
from archetype.service.commands import CommandService
from archetype.service.denials import Denials
from archetype.service.diff import DiffService
from archetype.service.entities import EntityService
from archetype.service.episodes import EpisodeService
from archetype.service.executions import ExecutionService
from archetype.service.gate import Gate
from archetype.service.identities import IdentityService
from archetype.service.labels import LabelService
from archetype.service.live import LiveService
from archetype.service.messages import MessageService
from archetype.service.observing import Observers
from archetype.service.origins import Origins
from archetype.service.pending import BoundedAppender
from archetype.service.plans import PlanService
from archetype.service.queries import QueryService
from archetype.service.quotas import QuotaService
from archetype.service.replays import ReplayService
from archetype.service.retention import RetentionService
from archetype.service.rollout_service import RolloutService
from archetype.service.rollouts import RolloutRunner
from archetype.service.run_service import RunService
from archetype.service.simulation import SimulationService
from archetype.service.states import StateService
from archetype.service.watch import Watch
from archetype.service.worlds import WorldService
from archetype.settings import Settings
from archetype.store.database import Database
from archetype.store.schema import REVISION

__all__ = ["ServiceContainer", "load_modules"]


class ServiceContainer:
    """All services over one database, by its URL or as it is given, by default that of the environment.

    `open` it before use, or use it as an async context manager. They keep what they read within one memory
    budget, by default that of the environment.
    """

    def __init__(
        self,
        database: Database | str | None = None,
        *,
        memory_budget_bytes: int | None = None,
        makes_patches: bool | None = None,
    ) -> None:
        settings = Settings.from_environment()
        limit_bytes = settings.memory_budget_bytes if memory_budget_bytes is None else memory_budget_bytes
        self.budget = MemoryBudget(limit_bytes)
        self.database = (
            database if isinstance(database, Database) else Database(database or settings.database_url)
        )
        self.observers = Observers()
        self.appender = Appender(self.database, observer=self.observers)
        self.world_service = WorldService(self.database, self.budget)
        self.denials = Denials(self.database, rows_max=settings.denials_max)
        self.gate = Gate(self.database, self.denials, Origins(self.database))
        self.audit_service = AuditService(self.database, self.denials)
        self.identity_service = IdentityService(self.database, self.world_service, self.gate)
        self.quota_service = QuotaService(self.database)
        self.label_service = LabelService(self.database, self.world_service)
        self.command_service = CommandService(
            self.database, BoundedAppender(self.database, self.appender), self.world_service
        )
        self.message_service = MessageService(self.command_service)
        self.state_service = StateService(self.database, self.world_service, self.budget)
        self.simulation_service = SimulationService(
            self.database,
            self.world_service,
            self.state_service,
            self.budget,
            makes_patches=settings.makes_patches if makes_patches is None else makes_patches,
            observer=self.observers,
        )
        rollouts = RolloutRunner(
            self.database, self.world_service, self.state_service, self.simulation_service
        )
        self.program_service = self.simulation_service.programs
        self.run_service = RunService(self.database, self.simulation_service, rollouts)
        self.episode_service = EpisodeService(
            self.database, self.world_service, self.simulation_service, self.run_service
        )
        self.rollout_service = RolloutService(self.database, self.run_service)
        self.plan_service = PlanService(self.world_service, self.state_service, self.simulation_service)
        self.execution_service = ExecutionService(self.database, self.world_service)
        self.replay_service = ReplayService(self.database, self.world_service, self.state_service)
        self.retention_service = RetentionService(self.database, self.world_service, self.state_service)
        self.entity_service = EntityService(
            self.database, self.world_service, self.state_service, self.budget
        )
        self.ancestry_service = AncestryService(self.database, self.world_service)
        self.watch = Watch.over(self.database)
        self.live_service = LiveService(self.database, self.watch)
        pages = page_cache(self.budget)
        self.diff_service = DiffService(self.database, self.world_service, self.state_service.state, pages)
        self.query_service = QueryService(self.database, self.world_service, self.state_service, pages)

    async def open(self) -> None:
        """Make sure that the schema is there: an empty SQLite file gets it, any other database must have it.

        Raises `SchemaOutdatedError`, which says what to run, and `UnavailableError`; then nothing stays open.
        """
        configure_daft()
        try:
            if self.database.is_sqlite and await self.database.revision() != REVISION:
                await self._prepare_sqlite()
            await self.database.require_schema()
        except BaseException:
            await self.database.close()
            raise

    async def _prepare_sqlite(self) -> None:
        if await self.database.revision() is None:
            # Alembic takes a while to import, and only an empty database needs it.
            from archetype.store.migrate import upgrade  # noqa: PLC0415

            await upgrade(self.database)

    async def shutdown(self) -> None:
        """Let runs end behind their ticks, answer what queued, end live feeds, and end every connection.

        Whatever interrupts one of these, those behind it are done.
        """
        self.simulation_service.stop()
        async with AsyncExitStack() as closing:
            for last in (self.database, self.denials, self.appender, self.watch, self.run_service):
                closing.push_async_callback(last.close)

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.shutdown()


def load_modules(names: Iterable[str]) -> None:
    """Import the modules that define components and processors; one that fails is named."""
    for name in names:
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not name.startswith(error.name):
                raise
            msg = f"module {name!r} cannot be found; is its folder on PYTHONPATH?"
            raise InvalidInputError(msg, module=name) from error
        except SystemExit as error:
            msg = (
                f"module {name!r} ends the program when it is imported (sys.exit({error.code!r})); put what "
                'only a script does behind `if __name__ == "__main__":`'
            )
            raise InvalidInputError(msg, module=name) from error
