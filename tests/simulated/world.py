"""The worlds of the simulation: entities that age by one each tick, however long a tick takes."""

from __future__ import annotations

import asyncio

from archetype.core.component import Component
from archetype.core.scheduling.access import Access
from archetype.core.scheduling.system import System
from simulated.loop import SimulatedLoop

SLOW_PART = 0.1
SLOW_S = 12.0


class SimulatedAge(Component):
    """How many ticks an entity has seen, on top of what it was given."""

    ticks: int = 0


class SimulatedAgeing(System):
    """Lets everything age; in a simulation it takes a while, sometimes longer than a lease is held."""

    reads = (SimulatedAge,)
    writes = (SimulatedAge,)

    async def run(self, access: Access) -> None:
        """Age."""
        loop = asyncio.get_running_loop()
        if isinstance(loop, SimulatedLoop):
            is_slow = loop.rng.random() < SLOW_PART
            await asyncio.sleep(loop.rng.uniform(0, SLOW_S if is_slow else 0.05))
        for entity_id, age in access(SimulatedAge):
            access[entity_id, SimulatedAge] = SimulatedAge(ticks=age.ticks + 1)
