"""What all request bodies share."""

from __future__ import annotations

from typing import Any

from litestar.enums import RequestEncodingType
from litestar.openapi.spec import Example
from litestar.params import BodyKwarg
from pydantic import BaseModel, ConfigDict

__all__ = ["Body", "json_body"]


def json_body(example: Any) -> BodyKwarg:
    """Describe a JSON body by an example, for the API document."""
    return BodyKwarg(media_type=RequestEncodingType.JSON, examples=[Example(value=example)])


class Body(BaseModel):
    """The base of request bodies: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid")
