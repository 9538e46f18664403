"""Archetypes: the exact set of components an entity has, and the columns that hold them."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from archetype.core.arrow_types import parse_type, type_name
from archetype.core.component import Component
from archetype.core.registry import type_path
from archetype.errors import ComponentError, LimitExceededError
from archetype.limits import ENTITY_COMPONENTS_MAX

BASE_COLUMNS = ("world_id", "run_id", "entity_id", "tick", "is_active")
ENTITY_ID = pa.field("entity_id", pa.int64(), nullable=False)

base_schema = pa.schema(
    [
        pa.field("world_id", pa.string(), nullable=False),
        pa.field("run_id", pa.string(), nullable=False),
        ENTITY_ID,
        pa.field("tick", pa.int64(), nullable=False),
        pa.field("is_active", pa.bool_(), nullable=False),
    ]
)


@dataclass(frozen=True)
class Archetype:
    """A set of components with its columns.

    `archetype_id` is the SHA-256 of both, so two archetypes are the same exactly if their ids are,
    and one that is read back from a database needs no Python class. `components` is sorted;
    `schema` holds the component columns only, by component and then in field order.
    """

    archetype_id: bytes
    components: tuple[str, ...] = field(compare=False)
    schema: pa.Schema = field(compare=False, repr=False)

    @classmethod
    def of(cls, types: Iterable[type[Component]]) -> Archetype:
        """Give the archetype of some component classes; order and repetition do not matter.

        Raises ComponentError if two classes share a prefix, LimitExceededError on too many of them.
        """
        return _archetype_of(frozenset(types))

    @classmethod
    def from_parts(cls, components: Iterable[str], columns: Iterable[Sequence[Any]]) -> Archetype:
        """Rebuild an archetype from component names and `[name, type name, nullable]` columns."""
        fields = [pa.field(name, parse_type(kind), nullable=nullable) for name, kind, nullable in columns]
        return _build(tuple(sorted(components)), fields)

    def columns(self) -> list[list[Any]]:
        """Give the columns as JSON-able `[name, type name, nullable]` lists, in order."""
        return [[column.name, type_name(column.type), column.nullable] for column in self.schema]

    @property
    def name(self) -> str:
        """The components joined by +, such as "Position+Velocity", or "(empty)"."""
        return "+".join(self.components) or "(empty)"

    @functools.cached_property
    def table_schema(self) -> pa.Schema:
        """The schema of a table of this archetype: entity_id, then the component columns."""
        return pa.schema([ENTITY_ID, *self.schema])

    def covers(self, component_names: Collection[str]) -> bool:
        """Say whether every named component is part of this archetype."""
        return set(component_names) <= set(self.components)

    def component_fields(self, component: str) -> list[pa.Field]:
        """Give the columns of one component; an unknown component has none."""
        return self._fields_by_component.get(component, [])

    def component_of(self, column: str) -> str:
        """Give the component that a column is part of; raises KeyError on any other column."""
        return self._component_by_column[column]

    def with_components(self, other: Archetype) -> Archetype:
        """Give this archetype with the other's components added, or put in place of its own.

        Raises ComponentError if two components share a prefix, LimitExceededError on too many of them.
        """
        merged = {name: self.component_fields(name) for name in self.components}
        merged |= {name: other.component_fields(name) for name in other.components}
        return _merge(merged)

    def without_components(self, names: Collection[str]) -> Archetype:
        """Give this archetype without the named components."""
        return _merge({name: self.component_fields(name) for name in self.components if name not in names})

    @functools.cached_property
    def _component_by_column(self) -> dict[str, str]:
        fields = self._fields_by_component.items()
        return {column.name: component for component, columns in fields for column in columns}

    @functools.cached_property
    def _fields_by_component(self) -> dict[str, list[pa.Field]]:
        fields: dict[str, list[pa.Field]] = {name: [] for name in self.components}
        # No field begins with "_" and no class name holds "__", so the longest prefix is the owner.
        by_length = sorted(self.components, key=len, reverse=True)
        for column in self.schema:
            owner = next((name for name in by_length if column.name.startswith(f"{name.lower()}__")), None)
            if owner is None:
                raise ComponentError(f"Column {column.name!r} belongs to no component of {self.name}.")
            fields[owner].append(column)
        return fields


def check_component_count(count: int) -> None:
    """Raise LimitExceededError on more components than an entity may have."""
    if count > ENTITY_COMPONENTS_MAX:
        msg = (
            f"An entity would have {count} components, {ENTITY_COMPONENTS_MAX} are allowed; remove some, "
            "or spread them over several entities."
        )
        raise LimitExceededError(msg, limit=ENTITY_COMPONENTS_MAX, actual=count)


@functools.lru_cache(maxsize=4096)
def _archetype_of(types: frozenset[type[Component]]) -> Archetype:
    by_prefix: dict[str, type[Component]] = {}
    for cls in sorted(types, key=type_path):
        clash = by_prefix.setdefault(cls.get_prefix(), cls)
        if clash is not cls:
            raise ComponentError(
                f"{type_path(clash)} and {type_path(cls)} would share the column prefix "
                f"{cls.get_prefix()!r}; rename one of them."
            )
    return _merge({cls.__name__: list(cls.get_prefixed_schema()) for cls in types})


def _merge(fields: dict[str, list[pa.Field]]) -> Archetype:
    names = tuple(sorted(fields))
    check_component_count(len(names))
    prefixes = {name.lower(): name for name in names}
    if len(prefixes) < len(names):
        clash = next(name for name in names if prefixes[name.lower()] != name)
        raise ComponentError(
            f"{clash} and {prefixes[clash.lower()]} would share the column prefix {clash.lower() + '__'!r}; "
            "an entity cannot have both."
        )
    return _build(names, [column for name in names for column in fields[name]])


def _build(components: tuple[str, ...], fields: list[pa.Field]) -> Archetype:
    columns = [[column.name, type_name(column.type), column.nullable] for column in fields]
    parts = json.dumps(
        {"columns": columns, "components": list(components)}, sort_keys=True, separators=(",", ":")
    )
    return Archetype(hashlib.sha256(parts.encode()).digest(), components, pa.schema(fields))
