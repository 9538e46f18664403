"""The door: a command is checked whole, and brought into its normal form, before anything is stored."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from archetype.clock import new_id
from archetype.core.archetype import Archetype
from archetype.core.bulk import check_spawn_batch, check_update_batch, decode_batch, encode_batch
from archetype.core.component import Component
from archetype.core.processor import Processor
from archetype.errors import (
    CodeNotLoadedError,
    ComponentError,
    FieldFault,
    InvalidInputError,
    LimitExceededError,
    PayloadError,
)
from archetype.limits import (
    BATCH_COMMANDS_MAX,
    BULK_BYTES_MAX,
    BULK_ROWS_MAX,
    FIELD_FAULTS_MAX,
    PAYLOAD_CHARACTERS_MAX,
    PRIORITY_MAX,
    PRIORITY_MIN,
    TICK_MAX,
)
from archetype.log import payloads
from archetype.log.canonical import canonical_json, checked_text, spell
from archetype.log.command import CommandType, check_payload, parse_type_name
from archetype.log.costs import cost_of
from archetype.log.normal import spell_components, spell_parts
from archetype.service.program import ProcessorCode, ProcessorRecord, Replacement
from archetype.service.resource_records import ResourceRecord
from archetype.store.acceptance import NewCommand

__all__ = ["CommandRequest", "admit", "admit_all"]

_COMPONENTS = "payload.components"


class CommandRequest(NamedTuple):
    """A command as a caller asks for it; `batch` is the Arrow IPC stream of a bulk spawn or update."""

    type: str
    payload: Mapping[str, Any]
    tick: int = 0
    priority: int = 0
    id: UUID | None = None
    batch: bytes | None = None


class _Normal(NamedTuple):
    """A payload in normal form, the entity ids that the command needs, and the rows that it pays for."""

    text: str
    entity_count: int = 0
    entity_id: int | None = None
    batch: bytes | None = None
    row_count: int = 1


def admit(request: CommandRequest, *, world_id: UUID, actor_id: UUID | None) -> NewCommand:
    """Check a command that waits for its tick and return it as it goes into the log.

    Raises `PayloadError` or `ComponentError` with the path of every bad field.
    """
    kind = parse_type_name(request.type)
    normalise = _NORMALISERS.get(kind)
    if normalise is None:
        raise _closed(kind)
    _check_integer("tick", request.tick, 0, TICK_MAX)
    _check_integer("priority", request.priority, PRIORITY_MIN, PRIORITY_MAX)
    if request.batch is not None:
        normal = _bulk(kind, request.batch)
    elif kind is CommandType.SPAWN and _is_bare(request.payload):
        normal = _spawned(request.payload["components"])
    else:
        normal = normalise(check_payload(kind, request.payload))
    text = checked_text(normal.text)
    if len(text) > PAYLOAD_CHARACTERS_MAX:
        msg = f"the payload has {len(text)} characters of {PAYLOAD_CHARACTERS_MAX}; send bulk data as Arrow"
        raise LimitExceededError(msg, limit=PAYLOAD_CHARACTERS_MAX, actual=len(text))
    return NewCommand(
        request.id or new_id(),
        world_id,
        kind.value,
        text,
        request.tick,
        request.priority,
        actor_id,
        normal.batch,
        normal.entity_count,
        normal.entity_id,
        cost=0 if actor_id is None else cost_of(kind, normal.row_count),
    )


def admit_all(
    requests: Sequence[CommandRequest], *, world_id: UUID, actor_id: UUID | None
) -> list[NewCommand]:
    """Check a batch, all or nothing; a fault's path names the command by its place: `commands.3.…`."""
    if len(requests) > BATCH_COMMANDS_MAX:
        msg = f"{len(requests)} commands in one batch, {BATCH_COMMANDS_MAX} are allowed; send several batches"
        raise LimitExceededError(msg, limit=BATCH_COMMANDS_MAX, actual=len(requests))
    admitted: list[NewCommand] = []
    faults: list[FieldFault] = []
    fault_count = 0
    ids: dict[UUID, int] = {}
    for index, request in enumerate(requests):
        try:
            command = admit(request, world_id=world_id, actor_id=actor_id)
        except InvalidInputError as error:
            inner = error.faults or [FieldFault("payload", error.message)]
            fault_count += len(inner)
            listed = inner[: FIELD_FAULTS_MAX - len(faults)]
            faults.extend(
                FieldFault(f"commands.{index}.{fault['path']}", fault["message"]) for fault in listed
            )
            continue
        if request.id is not None and (first := ids.setdefault(request.id, index)) != index:
            fault_count += 1
            if len(faults) < FIELD_FAULTS_MAX:
                msg = f"is the id of commands.{first} already; give each its own"
                faults.append(FieldFault(f"commands.{index}.id", msg))
        admitted.append(command)
    if faults:
        first_fault = f"{faults[0]['path']}: {faults[0]['message']}"
        msg = f"nothing was accepted: {fault_count} faults, the first in {first_fault}"
        raise PayloadError(msg, faults=faults)
    return admitted


def _check_integer(name: str, value: Any, low: int, high: int) -> None:
    if type(value) is int and low <= value <= high:
        return
    msg = f"{name} must be a whole number from {low} to {high}, not {value!r}"
    raise PayloadError(msg, faults=[FieldFault(name, msg)])


def _closed(kind: CommandType) -> PayloadError:
    msg = f"{kind} may not be queued: it acts at once, through a call of its own"
    return PayloadError(msg, faults=[FieldFault("type", msg)])


_BARE, _DICTS = {"components"}, {dict}


def _is_bare(payload: Mapping[str, Any]) -> bool:
    """Tell whether a spawn's payload is a list of objects and no more: its model would find it right.

    So are nearly all commands that there are.
    """
    if type(payload) is not dict or payload.keys() != _BARE:
        return False
    components = payload["components"]
    return type(components) is list and set(map(type, components)) <= _DICTS


def _spawned(components: Sequence[Mapping[str, Any]]) -> _Normal:
    return _Normal(f'{{"components":{_whole_components(components)}}}', 1)


def _spawn(model: payloads.Spawn) -> _Normal:
    if model.entity_id is None:
        return _spawned(model.components)
    components = _whole_components(model.components)
    return _Normal(_of_entity(components, model.entity_id), entity_id=model.entity_id)


def _update(model: payloads.Update) -> _Normal:
    kinds, components = spell_parts(model.components, _COMPONENTS)
    _check_distinct(kinds)
    return _Normal(_of_entity(components, model.entity_id))


def _add_component(model: payloads.AddComponent) -> _Normal:
    return _Normal(_of_entity(_whole_components(model.components), model.entity_id))


def _remove_component(model: payloads.RemoveComponent) -> _Normal:
    kinds = [
        _located(f"payload.component_types.{index}", Component.get_type_by_name, name)
        for index, name in enumerate(model.component_types)
    ]
    _check_distinct(kinds, "component_types")
    names = [kind.__name__ for kind in kinds]
    return _spelled({"entity_id": model.entity_id, "component_types": names})


def _processor(model: payloads.AddProcessor) -> ProcessorRecord:
    try:
        processor = Processor.from_recorded(model.processor, model.parameters)
    except (CodeNotLoadedError, ComponentError) as error:
        raise PayloadError(error.message, faults=[FieldFault("payload.processor", error.message)]) from error
    except InvalidInputError as error:
        raise PayloadError(error.message, faults=[FieldFault("payload.parameters", error.message)]) from error
    return ProcessorRecord.of(processor, priority=model.priority)


def _add_processor(model: payloads.AddProcessor) -> _Normal:
    return _spelled(_processor(model).to_json())


def _replace_processor(model: payloads.ReplaceProcessor) -> _Normal:
    kind = _located("payload.processor", Processor.get_type_by_name, model.processor)
    parameters = model.parameters
    if parameters is not None:
        added = payloads.AddProcessor(processor=model.processor, parameters=parameters)
        parameters = _processor(added).to_json()["parameters"]
    code = ProcessorCode.of(kind)
    return _spelled(Replacement(kind.processor_name(), code, parameters, model.priority).to_json())


def _add_resource(model: payloads.AddResource) -> _Normal:
    return _spelled(ResourceRecord.of_value(model.resource, model.value).to_json())


def _message(model: payloads.Message) -> _Normal:
    try:
        canonical_json(model.content)
    except InvalidInputError as error:
        faults = [FieldFault("payload.content", error.message)]
        raise PayloadError(error.message, faults=faults) from error
    others = model.model_dump(mode="json", exclude={"content"}, exclude_none=True)
    return _spelled({**others, "content": model.content})


def _custom(model: payloads.Custom) -> _Normal:
    # Not dumped by the model, which fails at depths and characters that the canonical form refuses by name.
    return _spelled(model.model_extra or {})


def _as_it_is(model: Any) -> _Normal:
    return _spelled(model.model_dump(mode="json", exclude_none=True))


def _spelled(payload: Mapping[str, Any]) -> _Normal:
    return _Normal(spell(payload))


_NORMALISERS: Mapping[CommandType, Callable[[Any], _Normal]] = {
    CommandType.SPAWN: _spawn,
    CommandType.DESPAWN: _as_it_is,
    CommandType.UPDATE: _update,
    CommandType.ADD_COMPONENT: _add_component,
    CommandType.REMOVE_COMPONENT: _remove_component,
    CommandType.ADD_PROCESSOR: _add_processor,
    CommandType.REMOVE_PROCESSOR: _as_it_is,
    CommandType.REPLACE_PROCESSOR: _replace_processor,
    CommandType.ADD_RESOURCE: _add_resource,
    CommandType.REMOVE_RESOURCE: _as_it_is,
    CommandType.MESSAGE: _message,
    CommandType.CUSTOM: _custom,
}


def _whole_components(values: Sequence[Mapping[str, Any]]) -> str:
    """Check the components of one entity, and spell their list."""
    kinds, components = spell_components(values, _COMPONENTS)
    if len(kinds) > 1:
        try:
            archetype = Archetype.of(kinds)
        except ComponentError as error:
            faults = [FieldFault(_COMPONENTS, error.message)]
            raise PayloadError(error.message, faults=faults) from error
        if len(archetype.components) != len(kinds):
            _check_distinct(kinds)
    return components


def _of_entity(components: str, entity_id: int) -> str:
    return f'{{"components":{components},"entity_id":{spell(entity_id)}}}'


def _located(path: str, find: Callable[[str], Any], name: str) -> Any:
    try:
        return find(name)
    except ComponentError as error:
        raise ComponentError(error.message, faults=[FieldFault(path, error.message)]) from error


def _check_distinct(kinds: Sequence[type[Component]], field: str = "components") -> None:
    names = [kind.__name__ for kind in kinds]
    for index, name in enumerate(names):
        if name in names[:index]:
            msg = f"{name} is named twice; give each component once"
            raise PayloadError(msg, faults=[FieldFault(f"payload.{field}.{index}", msg)])


def _bulk(kind: CommandType, batch: bytes) -> _Normal:
    if kind not in {CommandType.SPAWN, CommandType.UPDATE}:
        msg = f"{kind} takes no Arrow table; only spawn and update do"
        raise PayloadError(msg, faults=[FieldFault("type", msg)])
    if len(batch) > BULK_BYTES_MAX:
        msg = f"the Arrow table has {len(batch)} bytes, {BULK_BYTES_MAX} are allowed; split it"
        raise LimitExceededError(msg, limit=BULK_BYTES_MAX, actual=len(batch))
    table = decode_batch(batch, row_count_max=BULK_ROWS_MAX)
    is_spawn = kind is CommandType.SPAWN
    checked = check_spawn_batch(table) if is_spawn else check_update_batch(table)
    return _Normal(
        spell({"row_count": checked.num_rows, "columns": checked.column_names}),
        row_count=checked.num_rows,
        entity_count=checked.num_rows if is_spawn else 0,
        batch=encode_batch(checked),
    )
