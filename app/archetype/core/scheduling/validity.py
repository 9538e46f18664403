"""What component classes demand of the columns that frame processors write."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

from archetype.core.archetype import Archetype
from archetype.core.component import Component
from archetype.core.constraints import Constraints
from archetype.core.state import Int64s
from archetype.errors import ComponentError

__all__ = ["constraints_by_column", "refused"]

_CHARACTERS_SHOWN_MAX = 200


def constraints_by_column(archetype: Archetype) -> Mapping[str, Constraints]:
    """Give what loaded classes demand of an archetype's columns, of those that have these very columns."""
    found: dict[str, Constraints] = {}
    for component in archetype.components:
        try:
            kind = Component.find_type(component)
        except ComponentError:  # several share the name, and nobody knows which of them wrote it
            continue
        if kind is not None and list(kind.get_prefixed_schema()) == archetype.component_fields(component):
            fields = kind.layout().fields
            found |= {each.column: each.constraints for each in fields if each.constraints is not None}
    return found


def refused(constraints: Constraints, field: str, values: pa.Array, entity_ids: Int64s) -> str | None:
    """Say which value of a field its class refuses, as a clause of a sentence; None if it refuses none."""
    for says, rows in constraints.broken(values):
        row, others = int(rows[0]), len(rows) - 1
        more = f" (and of {others} more)" if others else ""
        return f"wrote {_shown(values[row])} to {field} of entity {entity_ids[row]}{more}, which {says}"
    return None


def _shown(value: pa.Scalar) -> str:
    try:
        shown = repr(value.as_py())
    except (OverflowError, ValueError):  # a time that Python does not have
        return "a time"
    return shown if len(shown) <= _CHARACTERS_SHOWN_MAX else f"{shown[:_CHARACTERS_SHOWN_MAX]}…"
