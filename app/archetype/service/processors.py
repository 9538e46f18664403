"""Processor instances: the ones that scripts handed over, or new ones from what the log recorded."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from archetype.core.processor import AsyncProcessor
from archetype.service.program import ProcessorRecord, Program

__all__ = ["ProcessorPool"]


class ProcessorPool:
    """Keeps a world's processor instances, so that what they cache lives as long as the process."""

    def __init__(self) -> None:
        self._instances: dict[tuple[UUID, str], AsyncProcessor] = {}

    def bind(self, world_id: UUID, processor: AsyncProcessor) -> None:
        """Let this very instance run wherever the world's program names its like."""
        self._instances[world_id, ProcessorRecord.of(processor).key] = processor

    def build(self, world_id: UUID, program: Program) -> Sequence[AsyncProcessor]:
        """Return the program's processors in registration order.

        Raises `CodeNotLoadedError`, naming the module to load, where a class is missing.
        """
        built: list[AsyncProcessor] = []
        for record in program.processors:
            key = (world_id, record.key)
            if key not in self._instances:
                self._instances[key] = record.build()
            built.append(self._instances[key])
        return built
