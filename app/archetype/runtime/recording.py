"""Which commands make the resources of a script those of a world, and what the script gets of the world's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from archetype.core.resources import Resources
from archetype.errors import CodeNotLoadedError
from archetype.log.command import CommandType
from archetype.service.admission import CommandRequest
from archetype.service.resource_records import ResourceRecord

__all__ = ["Merged", "by_path", "merged", "take_over"]

Records = Mapping[str, ResourceRecord]


@dataclass(frozen=True)
class Merged:
    """What a script and the log come to together: the commands that record it, and the resources then."""

    requests: list[CommandRequest]
    target: Records


def by_path(records: Iterable[ResourceRecord]) -> dict[str, ResourceRecord]:
    """Return records by the full names of their classes."""
    return {record.path: record for record in records}


def merged(held: Records, known: Records, recorded: Records) -> Merged:
    """Merge what a script holds and what is recorded, both grown out of what was known to be recorded.

    What the script changed since then, added or removed, counts; for the rest what is recorded does.
    """
    requests: list[CommandRequest] = []
    target = dict(recorded)
    for path in (*held, *(path for path in known if path not in held)):
        mine = held.get(path)
        if mine == known.get(path):
            continue
        if mine is None:
            if target.pop(path, None) is not None:
                requests.append(CommandRequest(CommandType.REMOVE_RESOURCE, {"resource": path}))
            continue
        if mine != recorded.get(path):
            payload: dict[str, Any] = {"resource": path, "value": mine.value}
            requests.append(CommandRequest(CommandType.ADD_RESOURCE, payload))
        target[path] = mine
    return Merged(requests, target)


def take_over(resources: Resources, target: Records) -> dict[str, ResourceRecord]:
    """Let a script's resources be these, and return those of them that are loaded here.

    A model that is as it should be stays the same object.
    """
    held = {ResourceRecord.of(model).path: model for model in resources.models()}
    for path, model in held.items():
        if path not in target:
            resources.remove(type(model))
    loaded: dict[str, ResourceRecord] = {}
    for path, record in target.items():
        try:
            if path not in held or ResourceRecord.of(held[path]) != record:
                resources.insert(record.build())
        except CodeNotLoadedError:
            continue  # whoever runs the world needs the class; whoever reads its past does not
        loaded[path] = record
    return loaded
