"""Processor instances: the ones that scripts handed over, or new ones from what the log recorded."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from pydantic import BaseModel

from archetype.core.processor import Processor
from archetype.core.recorded import captured_values
from archetype.core.scheduling.scheduler import SimpleScheduler
from archetype.core.scheduling.settings import SchedulerSettings
from archetype.errors import CodeChangedError, FieldFault, InvalidInputError
from archetype.service.budget import Cache, MemoryBudget
from archetype.service.program import ProcessorRecord, Program
from archetype.service.schedulers import build_scheduler

__all__ = ["LoadedCode", "ProcessorPool"]

CODE_BYTES = 8 * 1024
INSTANCE_BYTES = 2 * 1024


@dataclass(frozen=True)
class LoadedCode:
    """A program that can run: its processors in registration order, its scheduler, its recorded resources.

    The resources are for `Resources.in_tick`, which hands out copies.
    """

    processors: Sequence[Processor]
    scheduler: SimpleScheduler
    resources: Sequence[BaseModel]


@dataclass
class _WorldCode:
    """What was built for a world: processors by their records' keys, and its scheduler."""

    world_id: UUID
    instances: dict[str, Processor] = field(default_factory=dict[str, Processor])
    scheduler: SimpleScheduler | None = None

    @property
    def size_bytes(self) -> int:
        """An estimate: what a processor keeps of its own nobody can count."""
        return CODE_BYTES + INSTANCE_BYTES * len(self.instances)


class ProcessorPool:
    """Keeps processor instances by world, so that what they cache lives as long as the budget has room.

    The code of worlds for which `is_running` says so stays, and so do instances that scripts handed over.
    Without a budget all stays. Without `allows_changes` only code that is the recorded one, by its
    fingerprint, is built.
    """

    def __init__(
        self,
        budget: MemoryBudget | None = None,
        *,
        is_running: Callable[[UUID], bool] = lambda _: False,
        allows_changes: bool = False,
    ) -> None:
        self._allows_changes = allows_changes
        self._bound: dict[UUID, dict[str, Processor]] = {}
        self._built: Cache[UUID, _WorldCode] = (budget or MemoryBudget(sys.maxsize)).cache(
            "code", lambda code: code.size_bytes, is_in_use=lambda code: is_running(code.world_id)
        )

    def bind(self, world_id: UUID, processor: Processor) -> None:
        """Let this very instance run wherever the world's program names its like.

        Where the record spells its parameters differently, one that is built from the record runs. Raises
        `InvalidInputError` if it cannot be recorded, or told apart from another one of the world.
        """
        record = ProcessorRecord.of(processor)
        bound = self._bound.setdefault(world_id, {})
        before = bound.get(record.key)
        if before is not None:
            _require_alike(before, processor)
        if record.gives(processor):
            bound[record.key] = processor
        elif type(before) is not type(processor):
            bound[record.key] = record.prioritised(type(processor).from_parameters(record.parameters))

    def share(self, world_id: UUID, fork_id: UUID) -> None:
        """Let the instances that were handed over for a world run in its fork too."""
        if bound := self._bound.get(world_id):
            self._bound[fork_id] = dict(bound)

    def load(self, world_id: UUID, program: Program) -> LoadedCode:
        """Return the program's processors in registration order, its scheduler, and its resources made anew.

        Raises `CodeNotLoadedError`, naming the module to load, where a class is missing, and
        `CodeChangedError` where the loaded one is not the one that is recorded.
        """
        code = self._built.get(world_id) or _WorldCode(world_id)
        processors = [self._instance(code, record) for record in program.processors]
        resources = [record.build() for record in program.resources]
        scheduler = _scheduler(code, program.scheduler)
        self._built.put(world_id, code)
        return LoadedCode(processors, scheduler, resources)

    def forget(self, world_id: UUID) -> None:
        """Let go of what was built, or handed over, for a world."""
        self._bound.pop(world_id, None)
        self._built.drop(world_id)

    def _instance(self, code: _WorldCode, record: ProcessorRecord) -> Processor:
        key = record.key
        bound = self._bound.get(code.world_id, {})
        found = bound.get(key, code.instances.get(key))
        if found is None or (not self._allows_changes and not _is_recorded(found, record)):
            found = record.build()
            if not self._allows_changes and not _is_recorded(found, record):
                raise _changed(record, found)
            bound.pop(key, None)
            code.instances[key] = found
        return found


def _scheduler(code: _WorldCode, settings: SchedulerSettings | None) -> SimpleScheduler:
    """Return the scheduler of these settings, built once for as long as they stay."""
    found = code.scheduler
    if found is None or settings is None or found.settings != settings:
        found = code.scheduler = build_scheduler(settings)
    return found


def _require_alike(before: Processor, processor: Processor) -> None:
    """Refuse a processor that differs from one under the same record in what its code closes over alone."""
    kind, other = type(before), type(processor)
    if kind is other or kind.source_fingerprint() != other.source_fingerprint():
        return
    mine, theirs = captured_values(kind), captured_values(other)
    for name in sorted(mine.keys() & theirs.keys()):
        if mine[name] != theirs[name]:
            msg = (
                f"processor {other.processor_name()!r} runs in this world already, with {name} = "
                f"{mine[name]!r} where this one has {theirs[name]!r}: the log cannot tell them apart. Make "
                f"{name} a parameter of the constructor of a class"
            )
            raise InvalidInputError(msg, faults=[FieldFault("processors", msg)])


def _is_recorded(processor: Processor, record: ProcessorRecord) -> bool:
    return type(processor).source_fingerprint() == record.code.fingerprint


def _changed(record: ProcessorRecord, found: Processor) -> CodeChangedError:
    loaded = type(found).source_fingerprint()
    msg = (
        f"the code of processor {record.name!r} is not the recorded one ({loaded[:12]} is loaded, "
        f"{record.code.fingerprint[:12]} is recorded): let the new code run from the next tick on with "
        f"`archetype processor replace WORLD {record.name}`, or load the version that is recorded"
    )
    return CodeChangedError(msg, name=record.name, recorded=record.code.fingerprint, loaded=loaded)
