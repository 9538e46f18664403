"""What tests of running processors share: states, contexts, plans by hand, and rows spelled to the bit."""

import asyncio
import itertools
import math
import struct
import uuid

from archetype.core.apply import apply_changes
from archetype.core.bulk import batch_from_components, check_spawn_batch
from archetype.core.changes import SpawnBatch
from archetype.core.context import TickContext
from archetype.core.processor import AsyncProcessor
from archetype.core.resources import Resources
from archetype.core.scheduling.executor import run_processors
from archetype.core.scheduling.plan import ExecutionGroup
from archetype.core.scheduling.policy import SchedulerConfig
from archetype.core.scheduling.scheduler import SimpleScheduler
from archetype.core.state import WorldState

RUN_AT_ONCE = {"one": 1, "two": 2, "all": None}


def state_of(*rows):
    """Give the state in which each list of components is an entity, with ids from 1 on."""
    if not rows:
        return WorldState.empty()
    batch = check_spawn_batch(batch_from_components([list(row) for row in rows]))
    return apply_changes(WorldState.empty(), [SpawnBatch(0, 1, batch)]).state


def id_source(first=1000):
    """Give a source of ids, and the counts that it was asked for."""
    asked, following = [], itertools.count(first)

    async def reserve(count):
        await asyncio.sleep(0)
        asked.append(count)
        given = [next(following) for _ in range(count)]
        return given[0]

    return reserve, asked


def context(**changes):
    values = {
        "world_id": uuid.UUID(int=1),
        "run_id": uuid.UUID(int=2),
        "tick": 3,
        "seed": 4,
        "resources": Resources(),
        "reserve_ids": id_source()[0],
    }
    return TickContext(**(values | changes))


def frame_processor(process, *, name="Framed", base=AsyncProcessor, **declared):
    """Give a frame processor that does what a function of the frame does, sync or async."""

    async def own(self, df):
        returned = process(df)
        return await returned if asyncio.iscoroutine(returned) else returned

    return type(name, (base,), {"process": own, **declared})()


class Grouped:
    """Puts processors into groups by their places in registration; `order` permutes each group's list."""

    honours = frozenset({"every", "condition", "depends_on"})

    def __init__(self, *groups, order=lambda group: group, checks_conditions=False):
        self.groups = groups
        self.order = order
        self.checks_conditions = checks_conditions

    def build(self, systems, _context):
        """Build the plan of a tick; without groups all are one."""
        groups = self.groups or [range(len(systems))]
        return [
            ExecutionGroup(self.order([systems[index] for index in group]), self.checks_conditions)
            for group in groups
        ]


class Planned(SimpleScheduler):
    """A scheduler over a builder that lives in a test, and so cannot be recorded."""

    __slots__ = ()

    def __init__(self, builder=None, **config):
        super().__init__(SchedulerConfig(**config))
        self._group_builder = Grouped() if builder is None else builder


async def run(state, processors, *groups, checks_conditions=False, order=None, here=None, **config):
    """Run processors in these groups, all in one if none are given."""
    options = {} if order is None else {"order": order}
    builder = Grouped(*groups, checks_conditions=checks_conditions, **options)
    return await run_processors(state, processors, here or context(), Planned(builder, **config))


def column(state, name):
    """Give a column's values by entity, over all archetypes that have it."""
    return {
        row["entity_id"]: row[name]
        for table in state
        if name in table.rows.column_names
        for row in table.rows.to_pylist()
    }


def spelled(value):
    """Spell a value so that it equals only its like: -0.0 is not 0.0, 1 not 1.0 nor True, a NaN a NaN."""
    if isinstance(value, float):
        return "nan" if math.isnan(value) else struct.pack("<d", value).hex()
    if isinstance(value, dict):
        return {name: spelled(each) for name, each in value.items()}
    if isinstance(value, list):
        return [spelled(each) for each in value]
    return f"{type(value).__name__} {value!r}"


def rows_of(tables):
    """Spell every row of tables, by the names of their archetypes."""
    return {table.archetype.name: spelled(table.rows.to_pylist()) for table in tables if table.row_count}


def outcome(processed):
    """Spell all that a tick came to: rows, ended rows, conflicts, spawned ids, and figures but durations."""
    figures = []
    for each in processed.report.executions:
        figure = each.to_json()
        del figure["ms"]
        figures.append(figure)
    return {
        "rows": rows_of(processed.state),
        "ended": rows_of(processed.tombstones.values()),
        "conflicts": [each.to_json() for each in processed.report.conflicts],
        "spawned": processed.report.spawned,
        "executions": figures,
    }
