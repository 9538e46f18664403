"""Arrow values in the JSON forms of the API: URL-safe base64 for bytes, ISO 8601 for times, null for NaN."""

from __future__ import annotations

import base64
import math
from datetime import datetime
from typing import Any

import pyarrow as pa

from archetype.log.hashes import iso_utc

__all__ = ["json_value", "json_values"]


def json_values(column: pa.ChunkedArray) -> list[Any]:
    """Return a column's values in JSON forms."""
    values = column.to_pylist()
    if (
        pa.types.is_integer(column.type)
        or pa.types.is_string(column.type)
        or pa.types.is_boolean(column.type)
    ):
        return values
    return [json_value(value) for value in values]


def json_value(value: Any) -> Any:
    """Return one value in its JSON form."""
    match value:
        case float():
            return value if math.isfinite(value) else None
        case bytes():
            return base64.urlsafe_b64encode(value).decode("ascii")
        case datetime():
            return iso_utc(value)
        case list():
            return [json_value(each) for each in value]
        case dict():
            return {name: json_value(each) for name, each in value.items()}
        case _:
            return value
