"""What a world's handle reads: states at any committed tick, the log, what ran, and what will."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING
from uuid import UUID

from archetype.core.component import Component
from archetype.errors import FieldFault, InvalidInputError
from archetype.log.command import Command
from archetype.log.permissions import Access
from archetype.runtime.given import checked_number, checked_numbers, component_names
from archetype.runtime.handle import WorldHandle
from archetype.service.executions import TickExecutions
from archetype.service.filters import history_filter
from archetype.service.labels import Label
from archetype.service.live import Event, event_filter
from archetype.service.plans import WorldPlan
from archetype.service.queries import EntityState, WorldSnapshot
from archetype.service.ranges import committed_range
from archetype.service.world_info import WorldInfo
from archetype.store.ticks import TickCounts

if TYPE_CHECKING:
    from daft import DataFrame

__all__ = ["Reading"]


class Reading(WorldHandle):
    """Reads what is committed; a `tick` is a number, or a label's name, and by default the last one."""

    async def query(
        self,
        *types: type[Component] | str,
        tick: int | str | None = None,
        ticks: Collection[int] | None = None,
        entity_ids: Sequence[int] | None = None,
    ) -> DataFrame:
        """Return the active entities that have all of these components as a Daft DataFrame.

        The rows are those after the last committed tick, after `tick` (a number or a label), or after each of
        `ticks`; the columns are the base columns and `component__field` of the named components (of all,
        when none is named).
        """
        if tick is not None and ticks is not None:
            msg = "tick is one tick, ticks are several; give one of the two"
            raise InvalidInputError(msg, faults=[FieldFault("tick", msg)])
        names = component_names(types) or None
        wanted_ids, wanted_ticks = checked_numbers("entity_ids", entity_ids), checked_numbers("ticks", ticks)
        from daft import from_arrow  # noqa: PLC0415  slow to import, and not every script asks

        services = await self._activate(Access.READ_WORLD)
        row, at = await self._at(services, tick)
        table = await services.query_service.frame(
            row,
            components=names,
            ticks=[at] if wanted_ticks is None else wanted_ticks,
            entity_ids=wanted_ids,
        )
        return from_arrow(table)

    async def state(self, tick: int | str | None = None) -> WorldSnapshot:
        """Return who is there after a tick, and with which components."""
        services = await self._activate(Access.READ_WORLD)
        return await services.query_service.snapshot(*await self._at(services, tick))

    async def entity(self, entity_id: int, tick: int | str | None = None) -> EntityState:
        """Return one entity after a tick; `EntityNotFoundError` if it is not active then."""
        wanted_id = checked_number("entity_id", entity_id)
        services = await self._activate(Access.READ_WORLD)
        row, at = await self._at(services, tick)
        return await services.query_service.entity(row, wanted_id, at)

    async def counts(self, from_tick: int | None = None, to_tick: int | None = None) -> list[TickCounts]:
        """Count the active entities after each tick `from_tick` <= t < `to_tick`, by default of all."""
        services = await self._activate(Access.READ_WORLD)
        row = await self._row(services)
        ticks = committed_range(row, from_tick, to_tick)
        return await services.world_service.counts(row, ticks.start, ticks.stop)

    async def plan(self) -> WorldPlan:
        """Return the plan of the next tick, made on the last committed state; nothing is run.

        Raises `PlanError` where the plan cannot be run, `CodeNotLoadedError` and `CodeChangedError` where the
        recorded code is not here.
        """
        services = await self._activate(Access.READ_WORLD)
        return await services.plan_service.plan(await self._row(services))

    async def executions(
        self, from_tick: int | None = None, to_tick: int | None = None
    ) -> list[TickExecutions]:
        """Return what ran in each tick `from_tick` <= t < `to_tick`, by default in all."""
        services = await self._activate(Access.READ_LOG)
        row = await self._row(services)
        ticks = committed_range(row, from_tick, to_tick)
        return await services.execution_service.of_ticks(row, ticks.start, ticks.stop)

    async def labels(self) -> list[Label]:
        """List the world's labels by tick and name, those inherited from its ancestors too."""
        services = await self._activate(Access.READ_WORLD)
        return await services.label_service.list_labels(await self._row(services))

    async def info(self) -> WorldInfo:
        """Describe the world as the database has it now."""
        services = await self._activate(Access.READ_WORLD)
        info = await services.world_service.info(await self._row(services))
        self._activated().next_tick = info.tick
        return info

    async def command_history(
        self,
        limit: int = 100,
        *,
        types: Sequence[str] | None = None,
        actor_id: UUID | None = None,
        from_tick: int | None = None,
        to_tick: int | None = None,
        status: str | None = None,
    ) -> list[Command]:
        """Return the newest commands of the world and its ancestors, the oldest of them first.

        Only those of these types, of this actor, that belong to the ticks `from_tick` <= t < `to_tick`, and
        that are this: pending, applied or rejected. `InvalidInputError` for a type or status that is none.
        Each says what became of it: `status`, `applied_tick`, and the `reason` where it was rejected.
        """
        wanted = history_filter(types, actor_id, from_tick=from_tick, to_tick=to_tick, status=status)
        services = await self._activate(Access.READ_LOG)
        entries = await services.command_service.history(self.world_id, limit=limit, wanted=wanted)
        return [
            entry.command.model_copy(
                update={
                    "applied_tick": entry.applied_tick,
                    "status": entry.status,
                    "reason": entry.reason,
                }
            )
            for entry in entries
        ]

    async def events(
        self,
        after: int | None = None,
        *,
        kinds: Sequence[str] | None = None,
        types: Sequence[str] | None = None,
    ) -> AsyncGenerator[Event]:
        """Go through the events of the world's own log behind a position, and wait for those that come.

        They come in the order of their positions, each once, whichever process it was that wrote; without a
        position, from the first `await` on. Only those of these kinds (command, fact) and types. It ends when
        the world is removed, and with the runtime.
        """
        wanted = event_filter(kinds, types)
        services = await self._activate(Access.READ_LOG)
        async with aclosing(services.live_service.events(after, self.world_id, wanted)) as events:
            async for event in events:
                yield event
