"""Execution groups: which processors run together, and what their writes come to.

from archetype.scheduling import RetryPolicy, SchedulerConfig, SimpleScheduler, system

@system(reads=(Position, Velocity), writes=(Position,))
def move(access):
    for entity, position, velocity in access(Position, Velocity):
        access[entity, Position] = Position(x=position.x + velocity.dx, y=position.y + velocity.dy)

world = runtime.world("demo", processors=[move], scheduler=SimpleScheduler())
"""

from __future__ import annotations

from archetype.core.combine import Combinable, Combine, Delta
from archetype.core.scheduling.access import Access
from archetype.core.scheduling.builders import (
    ConditionGroupBuilder,
    ExecutionGroupBuilder,
    FrequencyGroupBuilder,
    PriorityGroupBuilder,
    SequentialGroupBuilder,
    SingleGroupBuilder,
)
from archetype.core.scheduling.dependencies import DependencyGroupBuilder
from archetype.core.scheduling.plan import ExecutionGroup, ExecutionPlan, PlanContext, SystemDescriptor
from archetype.core.scheduling.policy import RetryPolicy, SchedulerConfig
from archetype.core.scheduling.results import SystemResult
from archetype.core.scheduling.scheduler import SequentialScheduler, SimpleScheduler
from archetype.core.scheduling.system import System, system
from archetype.errors import AccessViolationError, ConflictError, PlanError

__all__ = [
    "Access",
    "AccessViolationError",
    "Combinable",
    "Combine",
    "ConditionGroupBuilder",
    "ConflictError",
    "Delta",
    "DependencyGroupBuilder",
    "ExecutionGroup",
    "ExecutionGroupBuilder",
    "ExecutionPlan",
    "FrequencyGroupBuilder",
    "PlanContext",
    "PlanError",
    "PriorityGroupBuilder",
    "RetryPolicy",
    "SchedulerConfig",
    "SequentialGroupBuilder",
    "SequentialScheduler",
    "SimpleScheduler",
    "SingleGroupBuilder",
    "System",
    "SystemDescriptor",
    "SystemResult",
    "system",
]
