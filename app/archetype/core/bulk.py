"""Bulk spawns and updates: whatever users pass, as one checked Arrow table in input order.

The normal form has the columns of each component together, by component name and then field order, cast
to the component's types. A component that only some rows have is marked by a bool column named by its bare
prefix (`position__`). The table's metadata says which components and columns it holds, so a stored batch
can be applied without the classes it came from.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import pyarrow as pa

from archetype.core.archetype import ENTITY_ID, Archetype, check_component_count
from archetype.core.arrow_types import type_name
from archetype.core.column_checks import cast_column, constraint_faults
from archetype.core.component import Component
from archetype.core.frames import decode_batch, encode_batch, plain_layout, table_from_frame
from archetype.core.kernels import pc
from archetype.core.layout import FieldLayout
from archetype.core.registry import type_path
from archetype.errors import ComponentError, FieldFault, InvalidInputError

__all__ = [
    "batch_archetype",
    "batch_from_components",
    "batch_from_frame",
    "check_spawn_batch",
    "check_update_batch",
    "decode_batch",
    "encode_batch",
    "split_batch",
]

_METADATA_KEY = b"archetype.components"


def batch_from_frame(frame: Any) -> pa.Table:
    """Give a frame whose columns are named `component__field` as an Arrow table, in row order."""
    return plain_layout(table_from_frame(frame))


def batch_from_components(rows: Sequence[Sequence[Component]]) -> pa.Table:
    """Give one row per entity, from the components of each; signatures may differ between rows.

    Raises InvalidInputError if a row has two components of one type, or a value fits no column.
    """
    gathered: dict[type[Component], tuple[list[int], list[Component]]] = {}
    for index, components in enumerate(rows):
        for component in components:
            indices, values = gathered.setdefault(type(component), ([], []))
            if indices and indices[-1] == index:
                fault = FieldFault(f"{index}", f"has two components of type {type(component).__name__}")
                raise InvalidInputError(f"Row {index} {fault['message']}.", faults=[fault])
            indices.append(index)
            values.append(component)
    columns: dict[str, pa.Array] = {}
    for kind in sorted(gathered, key=lambda cls: cls.__name__):
        indices, values = gathered[kind]
        columns |= _component_columns(kind, indices, values, len(rows))
    return pa.table(columns)


def _component_columns(
    kind: type[Component], indices: list[int], values: list[Component], row_count: int
) -> dict[str, pa.Array]:
    layout = kind.layout()
    columns: dict[str, pa.Array] = {}
    positions = None
    if len(indices) < row_count or not layout.fields:
        present = np.zeros(row_count, dtype=np.bool_)
        present[indices] = True
        columns[layout.prefix] = pa.array(present)
        order = np.cumsum(present) - 1
        positions = pa.array(order, mask=~present)
    for column, array in layout.columns_of(values).items():
        columns[column] = array if positions is None else array.take(positions)
    return columns


@dataclass
class _Claim:
    """What a table says about one component."""

    kind: type[Component]
    columns: dict[str, pa.Array] = field(default_factory=dict)
    present: pa.Array | None = None


def check_spawn_batch(table: pa.Table) -> pa.Table:
    """Check a table of new entities, one per row, and give it in the normal form.

    Missing columns take their field's default. Raises InvalidInputError with a fault per bad column, and
    LimitExceededError on more components than an entity may have, whichever rows have them.
    """
    faults: list[FieldFault] = []
    claims = _claims(table, faults)
    if not claims and not faults:
        raise InvalidInputError("The batch has no component column; name them component__field.")
    columns: dict[str, pa.Array] = {}
    schemas: dict[str, list[pa.Field]] = {}
    for claim in claims:
        layout = claim.kind.layout()
        present = _presence(claim, layout.prefix, faults)
        absent_count = 0 if present is None else present.false_count
        if table.num_rows and absent_count == table.num_rows:
            continue
        if absent_count == 0:
            present = None
        if present is not None or not layout.fields:
            columns[layout.prefix] = _all_true(table.num_rows) if present is None else present
        for plan in layout.fields:
            given = claim.columns.get(plan.name)
            if given is None:
                given = _default_column(plan, table.num_rows, present, faults)
            checked = None if given is None else _checked(given, plan, present, faults)
            if checked is not None:
                columns[plan.column] = checked
        schemas[layout.type_name] = list(layout.prefixed_schema)
    if not columns and not faults:
        faults.append(
            FieldFault(table.column_names[0], "is false in every row, so no entity has a component")
        )
    _refuse(faults)
    check_component_count(len(schemas))
    return _normal_form(columns, schemas)


def check_update_batch(table: pa.Table) -> pa.Table:
    """Check a table of updates, keyed by a column `entity_id`, and give it in the normal form.

    Any subset of a component's columns may be present; nothing is filled in. Raises
    InvalidInputError with a fault per bad column.
    """
    faults: list[FieldFault] = []
    ids = _update_ids(table, faults)
    rest = table.drop_columns(["entity_id"]) if "entity_id" in table.column_names else table
    claims = _claims(rest, faults)
    columns: dict[str, pa.Array] = {}
    schemas: dict[str, list[pa.Field]] = {}
    for claim in claims:
        layout = claim.kind.layout()
        if claim.present is not None:
            faults.append(FieldFault(layout.prefix, "an update takes no presence column"))
        for plan in layout.fields:
            given = claim.columns.get(plan.name)
            checked = None if given is None else _checked(given, plan, None, faults)
            if checked is not None:
                columns[plan.column] = checked
                schemas.setdefault(layout.type_name, []).append(plan.arrow)
    if not columns and not faults:
        faults.append(FieldFault("entity_id", "stands alone; name at least one column to update"))
    _refuse(faults)
    return _normal_form({"entity_id": cast("pa.Array", ids)} | columns, schemas)


def split_batch(table: pa.Table, first_entity_id: int) -> list[tuple[Archetype, pa.Table]]:
    """Group a checked spawn batch by signature; ids are `first_entity_id` plus the row's index.

    Gives each archetype once, with rows in its table schema, ascending by entity_id.
    """
    schemas = batch_schemas(table)
    ids = np.arange(first_entity_id, first_entity_id + table.num_rows, dtype=np.int64)
    optional = [name for name in schemas if f"{name.lower()}__" in table.column_names]
    codes, signatures = _signature_codes(table, optional)
    parts: list[tuple[Archetype, pa.Table]] = []
    for code, signature in enumerate(signatures):
        names = [name for name in schemas if name not in optional or signature[optional.index(name)]]
        archetype = _archetype_from({name: schemas[name] for name in names})
        rows = table.select(archetype.schema.names)
        own_ids = ids
        if len(signatures) > 1:
            chosen = np.flatnonzero(codes == code)
            rows, own_ids = rows.take(pa.array(chosen)), ids[chosen]
        arrays = [pa.array(own_ids), *rows.columns]
        parts.append((archetype, pa.table(arrays, schema=archetype.table_schema)))
    return parts


def batch_archetype(table: pa.Table) -> Archetype:
    """Give the components and columns that a checked batch holds, as an archetype."""
    return _archetype_from(batch_schemas(table))


def batch_schemas(table: pa.Table) -> dict[str, list[list[Any]]]:
    """Give the columns of each component in a checked batch, as `[name, type name, nullable]`."""
    metadata = (table.schema.metadata or {}).get(_METADATA_KEY)
    if metadata is None:
        raise InvalidInputError("The batch was not checked: it does not say which components it holds.")
    return json.loads(metadata)


def _archetype_from(schemas: Mapping[str, list[list[Any]]]) -> Archetype:
    return Archetype.from_parts(schemas, [column for name in sorted(schemas) for column in schemas[name]])


def _signature_codes(table: pa.Table, optional: list[str]) -> tuple[Any, list[list[bool]]]:
    """Number each row's signature; give the numbers, and what each says of the optional components."""
    codes = np.zeros(table.num_rows, dtype=np.int64)
    presence = [table.column(f"{name.lower()}__").to_numpy() for name in optional]
    for column in presence:
        # Numbers are made small again at every step, so that any number of components fits.
        codes = np.unique(codes * 2 + column, return_inverse=True)[1]
    _, first_rows = np.unique(codes, return_index=True)
    return codes, [[bool(column[row]) for column in presence] for row in first_rows]


def _claims(table: pa.Table, faults: list[FieldFault]) -> list[_Claim]:
    """Match every column to the component class it belongs to, by its whole name."""
    owners: dict[str, list[tuple[type[Component], str | None]]] = {}
    wanted = set(table.column_names)
    if len(wanted) < len(table.column_names):
        repeated = sorted({name for name in table.column_names if table.column_names.count(name) > 1})
        faults.extend(FieldFault(name, "appears more than once") for name in repeated)
        return []
    for kind in Component.loaded_types().values():
        prefix = kind.get_prefix()
        if any(name.startswith(prefix) for name in wanted):
            layout = kind.layout()
            owners.setdefault(prefix, []).append((kind, None))
            for plan in layout.fields:
                owners.setdefault(plan.column, []).append((kind, plan.name))
    claims: dict[type[Component], _Claim] = {}
    for name in table.column_names:
        found = owners.get(name, [])
        if len(found) == 1:
            kind, field_name = found[0]
            claim = claims.setdefault(kind, _Claim(kind))
            array = _one_array(table.column(name))
            if field_name is None:
                claim.present = array
            else:
                claim.columns[field_name] = array
        elif found:
            paths = " and ".join(sorted(type_path(kind) for kind, _ in found))
            faults.append(FieldFault(name, f"is ambiguous: {paths} both have it"))
        else:
            faults.append(FieldFault(name, "belongs to no loaded component; name columns component__field"))
    return sorted(claims.values(), key=lambda claim: claim.kind.__name__)


def _presence(claim: _Claim, prefix: str, faults: list[FieldFault]) -> pa.Array | None:
    present = claim.present
    if present is None:
        return None
    if not pa.types.is_boolean(present.type) or present.null_count:
        faults.append(FieldFault(prefix, "must be true or false in every row"))
        return None
    for name, array in claim.columns.items():
        stray = pc.sum(pc.and_(pc.invert(present), array.is_valid())).as_py() or 0
        if stray:
            faults.append(FieldFault(prefix + name, f"has a value in {stray} rows where {prefix} is false"))
    return present


def _default_column(
    plan: FieldLayout, row_count: int, present: pa.Array | None, faults: list[FieldFault]
) -> pa.Array | None:
    info, convert = plan.info, plan.codec.to_arrow
    if info.is_required() or info.default_factory_takes_validated_data:
        faults.append(FieldFault(plan.column, "is missing and has no default"))
        return None
    if info.default_factory is None:
        value = info.get_default()
        value = value if convert is None or value is None else convert(value)
        array = pa.repeat(pa.scalar(value, plan.arrow.type), row_count)
    else:
        values = [info.get_default(call_default_factory=True) for _ in range(row_count)]
        array = pa.array(values if convert is None else map(convert, values), plan.arrow.type)
    return array if present is None else pc.if_else(present, array, pa.scalar(None, plan.arrow.type))


def _checked(
    given: pa.Array, plan: FieldLayout, present: pa.Array | None, faults: list[FieldFault]
) -> pa.Array | None:
    try:
        array = cast_column(given, plan.arrow.type)
    except (pa.ArrowException, ValueError) as exc:
        faults.append(FieldFault(plan.column, str(exc)))
        return None
    absent_count = 0 if present is None else present.false_count
    null_count = array.null_count - absent_count
    if null_count > 0 and not plan.arrow.nullable:
        faults.append(FieldFault(plan.column, f"is null in {null_count} rows, but the field is not Optional"))
        return None
    faults.extend(FieldFault(plan.column, message) for message in constraint_faults(array, plan))
    return array


def _update_ids(table: pa.Table, faults: list[FieldFault]) -> pa.Array | None:
    if "entity_id" not in table.column_names:
        faults.append(FieldFault("entity_id", "is missing; an update says which entities it changes"))
        return None
    try:
        ids = cast_column(_one_array(table.column("entity_id")), pa.int64())
    except (pa.ArrowException, ValueError) as exc:
        faults.append(FieldFault("entity_id", str(exc)))
        return None
    if ids.null_count:
        faults.append(FieldFault("entity_id", f"is null in {ids.null_count} rows"))
    elif (repeated := len(ids) - pc.count_distinct(ids).as_py()) > 0:
        faults.append(FieldFault("entity_id", f"repeats itself in {repeated} rows; name each entity once"))
    return ids


def _normal_form(columns: Mapping[str, pa.Array], schemas: Mapping[str, list[pa.Field]]) -> pa.Table:
    optional = {f"{name.lower()}__" for name in schemas} & set(columns)
    fields: list[pa.Field] = []
    by_name = {column.name: column for fields_ in schemas.values() for column in fields_}
    partial = {column.name for name in schemas for column in schemas[name] if f"{name.lower()}__" in optional}
    for name, array in columns.items():
        if name == "entity_id":
            fields.append(ENTITY_ID)
        elif name in optional:
            fields.append(pa.field(name, pa.bool_(), nullable=False))
        else:
            fields.append(pa.field(name, array.type, nullable=by_name[name].nullable or name in partial))
    described = {
        name: [[f.name, type_name(f.type), f.nullable] for f in own] for name, own in schemas.items()
    }
    text = json.dumps(described, sort_keys=True, separators=(",", ":"))
    schema = pa.schema(fields, metadata={_METADATA_KEY: text.encode()})
    return pa.table(list(columns.values()), schema=schema)


def _one_array(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _all_true(row_count: int) -> pa.Array:
    return pa.repeat(pa.scalar(value=True), row_count)


def _refuse(faults: Iterable[FieldFault]) -> None:
    found = list(faults)
    if found:
        first = found[0]
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise ComponentError(
            f"The batch does not fit: {first['path']} {first['message']}{more}.", faults=found
        )
