"""Recorded resources: bodies and answers."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, Field

from archetype.api.schemas.bodies import Body, json_body
from archetype.log.payload_fields import Integer

__all__ = ["ResourceBody", "ResourceResponse"]


class ResourceAdd(Body):
    """A Pydantic model for the processors; one of its class before it is replaced."""

    resource: str = Field(min_length=1, description="The class, as `Name` or `module.Name`.")
    value: Any = Field(default_factory=dict, description="Its fields; defaults are filled in.")
    tick: Integer = Field(default=0, description="The earliest tick to be applied in.")
    priority: Integer = Field(default=0, description="Within a tick, lower is applied first.")


ResourceBody = Annotated[ResourceAdd, json_body({"resource": "Gravity", "value": {"g": 9.81}})]


class ResourceResponse(BaseModel):
    """A recorded resource."""

    name: str
    module: str
    value: Any
    is_loaded: bool = Field(description="Whether the server has its class.")
