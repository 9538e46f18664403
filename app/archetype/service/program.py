"""The program of a world: which processors run, in which order, with which parameters and resources."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from archetype.core.parameters import Unlike, unlike
from archetype.core.processor import Processor
from archetype.core.registry import module_name
from archetype.core.scheduling.settings import SchedulerSettings
from archetype.errors import CodeNotLoadedError, FieldFault, InvalidInputError
from archetype.log.canonical import canonical_json
from archetype.log.hashes import code_hash
from archetype.service.resource_records import ResourceRecord

__all__ = ["CodeChange", "ProcessorCode", "ProcessorInfo", "ProcessorRecord", "Program", "Replacement"]


@dataclass(frozen=True)
class ProcessorInfo:
    """A processor as `GET /worlds/{id}/processors` and the CLI list it; `declared` is that of its code."""

    name: str
    priority: int
    components: list[str]
    declared: Mapping[str, Any]
    parameters: Mapping[str, Any]
    module: str
    is_loaded: bool
    is_current: bool


@dataclass(frozen=True)
class CodeChange:
    """A processor whose code is not the recorded one, by fingerprints; `loaded` is None if none is."""

    processor: str
    recorded: str
    loaded: str | None


@dataclass(frozen=True)
class ProcessorCode:
    """What a processor's class says of itself; `fingerprint` is the SHA-256 of its source, in hex.

    `declared` is what it may touch and when it runs, as far as it is not as by default.
    """

    components: Sequence[str]
    module: str
    fingerprint: str
    is_deterministic: bool
    declared: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @classmethod
    def of(cls, kind: type[Processor]) -> ProcessorCode:
        """Describe a loaded class."""
        return cls(
            components=[component.__name__ for component in kind.components],
            module=module_name(kind),
            fingerprint=kind.source_fingerprint(),
            is_deterministic=kind.deterministic,
            declared=kind.declarations(),
        )

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ProcessorCode:
        """Read one from a processor's record."""
        return cls(
            value["components"],
            value["module"],
            value["fingerprint"],
            value.get("deterministic", True),
            value.get("declared", {}),
        )

    def to_json(self) -> dict[str, Any]:
        """Spell it for the log; to be a function of its inputs is what a processor is unless it says no."""
        spelled: dict[str, Any] = {
            "components": list(self.components),
            "module": self.module,
            "fingerprint": self.fingerprint,
        }
        if not self.is_deterministic:
            spelled["deterministic"] = False
        if self.declared:
            spelled["declared"] = dict(self.declared)
        return spelled


@dataclass(frozen=True)
class ProcessorRecord:
    """A processor as the log holds it: enough to build it again, and to tell whether its code changed."""

    name: str
    parameters: Mapping[str, Any]
    priority: int
    code: ProcessorCode

    @classmethod
    def of(cls, processor: Processor, *, priority: int | None = None) -> ProcessorRecord:
        """Describe a processor; `InvalidInputError` names a parameter whose JSON form gives no equal one."""
        kind = type(processor)
        parameters = {name: _plain(kind, name, value) for name, value in processor.parameters.items()}
        for each in unlike(kind, processor.parameters, parameters):
            if each.is_lost:
                raise _unrecordable(kind, each)
        return cls(
            name=kind.processor_name(),
            parameters=parameters,
            priority=processor.priority if priority is None else priority,
            code=ProcessorCode.of(kind),
        )

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ProcessorRecord:
        """Read one from a program document or from the payload of add_processor."""
        return cls(value["processor"], value["parameters"], value["priority"], ProcessorCode.from_json(value))

    def to_json(self) -> dict[str, Any]:
        """Spell it for the log."""
        own = {"processor": self.name, "parameters": self.parameters, "priority": self.priority}
        return own | self.code.to_json()

    @property
    def key(self) -> str:
        """What makes two processors the same one: name, parameters and priority."""
        return canonical_json([self.name, self.parameters, self.priority])

    def gives(self, processor: Processor) -> bool:
        """Say whether what is built from this record of a processor gets the very same parameters.

        JSON spells 2.0 as 2 and sorts names: what a processor makes of them may differ.
        """
        return not any(unlike(type(processor), processor.parameters, self.parameters))

    def build(self) -> Processor:
        """Build the processor; `CodeNotLoadedError` names the module to load where its class is missing."""
        try:
            processor = Processor.from_recorded(self.name, self.parameters)
        except CodeNotLoadedError as error:
            module = self.code.module
            msg = (
                f"processor {self.name!r} is recorded but its class is not loaded: import {module}, or "
                f"give --module {module} (or ARCHETYPE_MODULES={module})"
            )
            raise CodeNotLoadedError(msg, name=self.name, module=module) from error
        return self.prioritised(processor)

    def prioritised(self, processor: Processor) -> Processor:
        """Return a processor with the recorded priority."""
        return processor if processor.priority == self.priority else processor.with_priority(self.priority)


def _plain(kind: type[Processor], parameter: str, value: Any) -> Any:
    try:
        return json.loads(canonical_json(value))
    except InvalidInputError as error:
        msg = (
            f"the argument {parameter!r} of processor {kind.processor_name()} cannot be recorded: "
            f"{error.message}, or hand it over in `resources`"
        )
        raise InvalidInputError(msg, faults=[FieldFault(f"parameters.{parameter}", msg)]) from error


@dataclass(frozen=True)
class Replacement:
    """New code for the processors of one name; what is None stays as it is recorded."""

    name: str
    code: ProcessorCode
    parameters: Mapping[str, Any] | None = None
    priority: int | None = None

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Replacement:
        """Read one from the payload of replace_processor."""
        code = ProcessorCode.from_json(value)
        return cls(value["processor"], code, value.get("parameters"), value.get("priority"))

    def to_json(self) -> dict[str, Any]:
        """Spell it for the log."""
        given = {"parameters": self.parameters, "priority": self.priority}
        own = {name: value for name, value in given.items() if value is not None}
        return {"processor": self.name} | own | self.code.to_json()

    def applied(self, record: ProcessorRecord) -> ProcessorRecord:
        """Return a record with the new code."""
        return ProcessorRecord(
            record.name,
            record.parameters if self.parameters is None else self.parameters,
            record.priority if self.priority is None else self.priority,
            self.code,
        )


@dataclass(frozen=True)
class Program:
    """Processors in registration order, and the scheduler that runs them, None for the default one.

    `resources` are the recorded ones, by the full names of their classes.
    """

    processors: tuple[ProcessorRecord, ...] = ()
    scheduler: SchedulerSettings | None = None
    resources: tuple[ResourceRecord, ...] = ()

    @classmethod
    def from_document(cls, document: str) -> Program:
        """Read the canonical JSON that `programs` holds."""
        value = json.loads(document)
        processors = tuple(ProcessorRecord.from_json(each) for each in value["processors"])
        recorded = value.get("scheduler")
        scheduler = None if recorded is None else SchedulerSettings.model_validate(recorded)
        resources = tuple(ResourceRecord.from_json(each) for each in value.get("resources", ()))
        return cls(processors, scheduler, resources)

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
        return replace(self, processors=(*self.processors, record))

    def scheduled(self, scheduler: SchedulerSettings | None) -> Program:
        """Return the program as this scheduler runs it."""
        return self if scheduler == self.scheduler else replace(self, scheduler=scheduler)

    def remove(self, name: str) -> Program | None:
        """Return the program without the processors of that name, or None if it has none."""
        rest = tuple(each for each in self.processors if each.name != name)
        return None if len(rest) == len(self.processors) else replace(self, processors=rest)

    def replace(self, change: Replacement) -> Program:
        """Return the program with other code in the place of a processor's.

        Raises `InvalidInputError` if none has its name, or if several have and the change gives parameters.
        """
        same = [each for each in self.processors if each.name == change.name]
        if not same:
            msg = f"no processor named {change.name!r} runs in this world"
            raise InvalidInputError(msg)
        if len(same) > 1 and change.parameters is not None:
            msg = f"{len(same)} processors are named {change.name!r}; parameters would make them all alike"
            raise InvalidInputError(msg)
        changed = tuple(
            change.applied(each) if each.name == change.name else each for each in self.processors
        )
        return replace(self, processors=changed)

    def add_resource(self, record: ResourceRecord) -> Program:
        """Return the program with a resource, in the place of the one of its class."""
        others = (each for each in self.resources if each.path != record.path)
        return replace(self, resources=tuple(sorted((*others, record), key=lambda each: each.path)))

    def remove_resource(self, name: str) -> Program | None:
        """Return the program without the resources of that name, or None if it has none."""
        rest = tuple(each for each in self.resources if not each.is_named(name))
        return None if len(rest) == len(self.resources) else replace(self, resources=rest)

    def changes(self) -> list[CodeChange]:
        """Return the processors whose loaded code is not the recorded one, each name once."""
        loaded = Processor.loaded_types()
        found: dict[str, CodeChange] = {}
        for each in self.processors:
            kind = loaded.get(each.name)
            fingerprint = kind.source_fingerprint() if kind is not None else None
            if fingerprint != each.code.fingerprint:
                found[each.name] = CodeChange(each.name, each.code.fingerprint, fingerprint)
        return list(found.values())

    @property
    def is_deterministic(self) -> bool:
        """Whether every processor is a function of its inputs, so that its ticks can be computed again."""
        return all(each.code.is_deterministic for each in self.processors)

    @property
    def leaves_outcomes(self) -> bool:
        """Whether its ticks can only be computed again with what they recorded: ids of spawns, and skips."""
        policies = [each.code.declared.get("retry_policy", {}) for each in self.processors]
        may_skip = any(policy.get("on_exhausted") == "skip" for policy in policies) or (
            self.scheduler is not None and self.scheduler.retry_policy.on_exhausted == "skip"
        )
        return may_skip or any(each.code.declared.get("kind") == "system" for each in self.processors)

    def infos(self) -> list[ProcessorInfo]:
        """Describe the processors in the order in which they run."""
        return [_info(each) for each in sorted(self.processors, key=lambda each: each.priority)]

    def _to_json(self) -> dict[str, Any]:
        spelled: dict[str, Any] = {"processors": [each.to_json() for each in self.processors]}
        if self.scheduler is not None:
            spelled["scheduler"] = self.scheduler.model_dump(mode="json", exclude_defaults=True)
        if self.resources:
            spelled["resources"] = [each.to_json() for each in self.resources]
        return spelled


def _unrecordable(kind: type[Processor], parameter: Unlike) -> InvalidInputError:
    msg = (
        f"processor {kind.processor_name()} cannot be recorded: its parameter {parameter.name} is "
        f"{parameter.given!r}, and {parameter.again!r} where it is built again. Let its constructor take "
        "what JSON has (text, numbers, true, false, None, lists, dicts) and make of it what it needs"
    )
    return InvalidInputError(msg, faults=[FieldFault(f"parameters.{parameter.name}", msg)])


def _info(record: ProcessorRecord) -> ProcessorInfo:
    kind = Processor.loaded_types().get(record.name)
    return ProcessorInfo(
        name=record.name,
        priority=record.priority,
        components=list(record.code.components),
        declared=record.code.declared,
        parameters=record.parameters,
        module=record.code.module,
        is_loaded=kind is not None,
        is_current=kind is not None and kind.source_fingerprint() == record.code.fingerprint,
    )
