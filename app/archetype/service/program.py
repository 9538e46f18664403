"""The program of a world: which processors run, in which order, with which parameters."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from archetype.core.processor import AsyncProcessor
from archetype.core.registry import module_name
from archetype.errors import CodeNotLoadedError
from archetype.log.canonical import canonical_json
from archetype.log.hashes import code_hash

__all__ = ["ProcessorInfo", "ProcessorRecord", "Program"]


@dataclass(frozen=True)
class ProcessorInfo:
    """A processor as `GET /worlds/{id}/processors` and the CLI list it."""

    name: str
    priority: int
    components: list[str]
    parameters: Mapping[str, Any]
    module: str
    is_loaded: bool


@dataclass(frozen=True)
class ProcessorRecord:
    """A processor as the log holds it: enough to build it again, and to tell whether its code changed."""

    name: str
    parameters: Mapping[str, Any]
    priority: int
    components: Sequence[str]
    module: str
    fingerprint: str

    @classmethod
    def of(cls, processor: AsyncProcessor, *, priority: int | None = None) -> ProcessorRecord:
        """Describe a processor; parameters that have no JSON form raise `InvalidInputError`."""
        kind = type(processor)
        return cls(
            name=kind.processor_name(),
            parameters=json.loads(canonical_json(processor.parameters)),
            priority=processor.priority if priority is None else priority,
            components=[component.__name__ for component in processor.components],
            module=module_name(kind),
            fingerprint=kind.source_fingerprint(),
        )

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ProcessorRecord:
        """Read one from a program document or from the payload of add_processor."""
        return cls(
            name=value["processor"],
            parameters=value["parameters"],
            priority=value["priority"],
            components=value["components"],
            module=value["module"],
            fingerprint=value["fingerprint"],
        )

    def to_json(self) -> dict[str, Any]:
        """Spell it for the log."""
        return {
            "processor": self.name,
            "parameters": self.parameters,
            "priority": self.priority,
            "components": list(self.components),
            "module": self.module,
            "fingerprint": self.fingerprint,
        }

    @property
    def key(self) -> str:
        """What makes two processors the same one: name, parameters and priority."""
        return canonical_json([self.name, self.parameters, self.priority])

    def build(self) -> AsyncProcessor:
        """Build the processor; `CodeNotLoadedError` names the module to load where its class is missing."""
        try:
            processor = AsyncProcessor.from_recorded(self.name, self.parameters)
        except CodeNotLoadedError as error:
            msg = (
                f"processor {self.name!r} is recorded but its class is not loaded: import {self.module}, or "
                f"start the server with --module {self.module} (or ARCHETYPE_MODULES={self.module})"
            )
            raise CodeNotLoadedError(msg, name=self.name, module=self.module) from error
        if processor.priority != self.priority:
            object.__setattr__(processor, "priority", self.priority)
        return processor


@dataclass(frozen=True)
class Program:
    """Processors in registration order."""

    processors: tuple[ProcessorRecord, ...] = ()

    @classmethod
    def from_document(cls, document: str) -> Program:
        """Read the canonical JSON that `programs` holds."""
        return cls(tuple(ProcessorRecord.from_json(each) for each in json.loads(document)["processors"]))

    @cached_property
    def document(self) -> str:
        """Spell it as canonical JSON."""
        return canonical_json(self._to_json())

    @cached_property
    def hash(self) -> bytes:
        """Name it by its content."""
        return code_hash(self._to_json())

    def add(self, record: ProcessorRecord) -> Program:
        """Return the program with one more processor at its end."""
        return Program((*self.processors, record))

    def remove(self, name: str) -> Program | None:
        """Return the program without the processors of that name, or None if it has none."""
        rest = tuple(each for each in self.processors if each.name != name)
        return None if len(rest) == len(self.processors) else Program(rest)

    def infos(self) -> list[ProcessorInfo]:
        """Describe the processors in the order in which they run."""
        return [
            ProcessorInfo(
                name=each.name,
                priority=each.priority,
                components=list(each.components),
                parameters=each.parameters,
                module=each.module,
                is_loaded=each.name in AsyncProcessor.loaded_types(),
            )
            for each in sorted(self.processors, key=lambda each: each.priority)
        ]

    def _to_json(self) -> dict[str, Any]:
        return {"processors": [each.to_json() for each in self.processors]}
