"""Processor instances: the ones that scripts handed over, or new ones from what the log recorded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from pydantic import BaseModel

from archetype.core.processor import Processor
from archetype.core.scheduling.scheduler import SimpleScheduler
from archetype.core.scheduling.settings import SchedulerSettings
from archetype.errors import CodeChangedError
from archetype.service.program import ProcessorRecord, Program
from archetype.service.schedulers import build_scheduler

__all__ = ["LoadedCode", "ProcessorPool"]


@dataclass(frozen=True)
class LoadedCode:
    """A program that can run: its processors in registration order, its scheduler, its recorded resources.

    The resources are for `Resources.in_tick`, which hands out copies.
    """

    processors: Sequence[Processor]
    scheduler: SimpleScheduler
    resources: Sequence[BaseModel]


class ProcessorPool:
    """Keeps processor instances by world, so that what they cache lives as long as the process.

    Without `allows_changes` only code that is the recorded one, by its fingerprint, is built.
    """

    def __init__(self, *, allows_changes: bool = False) -> None:
        self._allows_changes = allows_changes
        self._instances: dict[tuple[UUID, str], Processor] = {}
        self._schedulers: dict[UUID, SimpleScheduler] = {}

    def bind(self, world_id: UUID, processor: Processor) -> None:
        """Let this very instance run wherever the world's program names its like."""
        self._instances[world_id, ProcessorRecord.of(processor).key] = processor

    def load(self, world_id: UUID, program: Program) -> LoadedCode:
        """Return the program's processors in registration order, its scheduler, and its resources made anew.

        Raises `CodeNotLoadedError`, naming the module to load, where a class is missing, and
        `CodeChangedError` where the loaded one is not the one that is recorded.
        """
        processors = [self._instance(world_id, record) for record in program.processors]
        resources = [record.build() for record in program.resources]
        return LoadedCode(processors, self._scheduler(world_id, program.scheduler), resources)

    def forget(self, world_id: UUID) -> None:
        """Let go of a world's instances and scheduler."""
        self._schedulers.pop(world_id, None)
        for key in [key for key in self._instances if key[0] == world_id]:
            del self._instances[key]

    def _scheduler(self, world_id: UUID, settings: SchedulerSettings | None) -> SimpleScheduler:
        """Return the scheduler of these settings, built once for as long as they stay."""
        found = self._schedulers.get(world_id)
        if found is None or settings is None or found.settings != settings:
            found = self._schedulers[world_id] = build_scheduler(settings)
        return found

    def _instance(self, world_id: UUID, record: ProcessorRecord) -> Processor:
        key = (world_id, record.key)
        found = self._instances.get(key)
        if found is None or (not self._allows_changes and not _is_recorded(found, record)):
            found = record.build()
            if not self._allows_changes and not _is_recorded(found, record):
                raise _changed(record, found)
            self._instances[key] = found
        return found


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
