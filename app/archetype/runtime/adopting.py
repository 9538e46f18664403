"""Which commands make a script's processors those of a world."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from archetype.core.processor import Processor
from archetype.log.command import CommandType
from archetype.service.admission import CommandRequest
from archetype.service.program import ProcessorRecord, Program

__all__ = ["adoptions"]


def adoptions(processors: Sequence[Processor], program: Program) -> list[CommandRequest]:
    """Return the commands that bring a program to these processors; none if it has them.

    Processors of names that are not given stay. Those that differ only in their code, and one that takes the
    place of one, are replaced where they stand; any others of a name are removed, and added at the end.
    """
    wanted = [ProcessorRecord.of(processor) for processor in processors]
    requests: list[CommandRequest] = []
    for name in dict.fromkeys(record.name for record in wanted):
        given = [record for record in wanted if record.name == name]
        present = [record for record in program.processors if record.name == name]
        if given != present:
            requests.extend(_changes(name, given, present))
    return requests


def _changes(
    name: str, given: Sequence[ProcessorRecord], present: Sequence[ProcessorRecord]
) -> list[CommandRequest]:
    if [record.key for record in given] == [record.key for record in present]:
        return [CommandRequest(CommandType.REPLACE_PROCESSOR, {"processor": name})]
    if len(given) == len(present) == 1:
        return [CommandRequest(CommandType.REPLACE_PROCESSOR, _payload(given[0]))]
    requests = [CommandRequest(CommandType.ADD_PROCESSOR, _payload(record)) for record in given]
    if present:
        requests.insert(0, CommandRequest(CommandType.REMOVE_PROCESSOR, {"processor": name}))
    return requests


def _payload(record: ProcessorRecord) -> dict[str, Any]:
    return {"processor": record.name, "parameters": record.parameters, "priority": record.priority}
