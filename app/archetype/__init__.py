"""Event-sourced simulation and agent worlds on a relational database.

The names below are imported when they are first used, so that importing the package is cheap.
"""

from __future__ import annotations

import importlib
import os
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from archetype.core.archetype import Archetype
    from archetype.core.arrow_types import Vector
    from archetype.core.component import Component
    from archetype.core.config import RunConfig, WorldConfig
    from archetype.core.episodes import Condition, Return
    from archetype.core.hooks import (
        HookHandle,
        OnComponentAdded,
        OnComponentRemoved,
        OnDespawn,
        OnDestroy,
        OnSpawn,
        PostTick,
        PreTick,
    )
    from archetype.core.messages import Message, Messages
    from archetype.core.processor import AsyncProcessor
    from archetype.core.resources import Resources
    from archetype.errors import ArchetypeError
    from archetype.log.command import Command, CommandType
    from archetype.runtime.actor import ActorCtx
    from archetype.runtime.runtime import ArchetypeRuntime
    from archetype.runtime.sync import SyncArchetypeRuntime
    from archetype.runtime.world import RuntimeWorld
    from archetype.scheduling import (
        AccessViolationError,
        Combinable,
        Combine,
        ConditionGroupBuilder,
        ConflictError,
        Delta,
        DependencyGroupBuilder,
        ExecutionGroup,
        ExecutionGroupBuilder,
        ExecutionPlan,
        FrequencyGroupBuilder,
        PlanError,
        PriorityGroupBuilder,
        RetryPolicy,
        SchedulerConfig,
        SequentialGroupBuilder,
        SequentialScheduler,
        SimpleScheduler,
        SingleGroupBuilder,
        system,
    )
    from archetype.service.ancestry import MergeBase, TickEntry, TreeNode
    from archetype.service.container import ServiceContainer
    from archetype.service.diff import WorldDiff
    from archetype.service.entities import EntityMoment
    from archetype.service.episodes import EpisodeResult
    from archetype.service.labels import Label
    from archetype.service.messages import SentMessage
    from archetype.service.queries import EntityState, WorldSnapshot
    from archetype.service.replays import ReplayReport
    from archetype.service.retention import ThinPlan, ThinResult
    from archetype.service.rollout_results import EpisodeRow, RolloutResult
    from archetype.service.runs import RunResult
    from archetype.service.verification.faults import VerifyReport
    from archetype.service.world_info import WorldInfo
    from archetype.store.ticks import TickCounts

# Daft reports its own import to its makers. Whatever of ours imports it comes behind this line.
os.environ.setdefault("DO_NOT_TRACK", "1")

__all__ = [
    "AccessViolationError",
    "ActorCtx",
    "Archetype",
    "ArchetypeError",
    "ArchetypeRuntime",
    "AsyncProcessor",
    "Combinable",
    "Combine",
    "Command",
    "CommandType",
    "Component",
    "Condition",
    "ConditionGroupBuilder",
    "ConflictError",
    "Delta",
    "DependencyGroupBuilder",
    "EntityMoment",
    "EntityState",
    "EpisodeResult",
    "EpisodeRow",
    "ExecutionGroup",
    "ExecutionGroupBuilder",
    "ExecutionPlan",
    "FrequencyGroupBuilder",
    "HookHandle",
    "Label",
    "MergeBase",
    "Message",
    "Messages",
    "OnComponentAdded",
    "OnComponentRemoved",
    "OnDespawn",
    "OnDestroy",
    "OnSpawn",
    "PlanError",
    "PostTick",
    "PreTick",
    "PriorityGroupBuilder",
    "ReplayReport",
    "Resources",
    "RetryPolicy",
    "Return",
    "RolloutResult",
    "RunConfig",
    "RunResult",
    "RuntimeWorld",
    "SchedulerConfig",
    "SentMessage",
    "SequentialGroupBuilder",
    "SequentialScheduler",
    "ServiceContainer",
    "SimpleScheduler",
    "SingleGroupBuilder",
    "SyncArchetypeRuntime",
    "ThinPlan",
    "ThinResult",
    "TickCounts",
    "TickEntry",
    "TreeNode",
    "Vector",
    "VerifyReport",
    "WorldConfig",
    "WorldDiff",
    "WorldInfo",
    "WorldSnapshot",
    "system",
]

_HOMES = {
    "archetype.core.archetype": ("Archetype",),
    "archetype.core.arrow_types": ("Vector",),
    "archetype.core.component": ("Component",),
    "archetype.core.config": ("RunConfig", "WorldConfig"),
    "archetype.core.episodes": ("Condition", "Return"),
    "archetype.core.hooks": (
        "HookHandle",
        "OnComponentAdded",
        "OnComponentRemoved",
        "OnDespawn",
        "OnDestroy",
        "OnSpawn",
        "PostTick",
        "PreTick",
    ),
    "archetype.core.messages": ("Message", "Messages"),
    "archetype.core.processor": ("AsyncProcessor",),
    "archetype.core.resources": ("Resources",),
    "archetype.errors": ("ArchetypeError",),
    "archetype.log.command": ("Command", "CommandType"),
    "archetype.runtime.actor": ("ActorCtx",),
    "archetype.runtime.runtime": ("ArchetypeRuntime",),
    "archetype.runtime.sync": ("SyncArchetypeRuntime",),
    "archetype.runtime.world": ("RuntimeWorld",),
    "archetype.scheduling": (
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
        "PlanError",
        "PriorityGroupBuilder",
        "RetryPolicy",
        "SchedulerConfig",
        "SequentialGroupBuilder",
        "SequentialScheduler",
        "SimpleScheduler",
        "SingleGroupBuilder",
        "system",
    ),
    "archetype.service.ancestry": ("MergeBase", "TickEntry", "TreeNode"),
    "archetype.service.container": ("ServiceContainer",),
    "archetype.service.diff": ("WorldDiff",),
    "archetype.service.entities": ("EntityMoment",),
    "archetype.service.labels": ("Label",),
    "archetype.service.messages": ("SentMessage",),
    "archetype.service.queries": ("EntityState", "WorldSnapshot"),
    "archetype.service.replays": ("ReplayReport",),
    "archetype.service.retention": ("ThinPlan", "ThinResult"),
    "archetype.service.episodes": ("EpisodeResult",),
    "archetype.service.rollout_results": ("EpisodeRow", "RolloutResult"),
    "archetype.service.runs": ("RunResult",),
    "archetype.service.verification.faults": ("VerifyReport",),
    "archetype.service.world_info": ("WorldInfo",),
    "archetype.store.ticks": ("TickCounts",),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        try:
            return version("archetype-log")
        except PackageNotFoundError:
            return "0+unknown"
    if name not in _HOME_OF:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(importlib.import_module(_HOME_OF[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
