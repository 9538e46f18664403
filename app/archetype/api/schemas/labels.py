"""Labels: bodies and answers."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, Field

from archetype.api.schemas.bodies import Body, json_body
from archetype.log.payload_fields import Integer, LabelName

__all__ = ["LabelBody", "LabelResponse"]


class LabelCreate(Body):
    """A name for a committed tick."""

    name: LabelName = Field(description="Unique in its world; begins with a letter or `_`.")
    tick: Integer | None = Field(
        default=None,
        ge=0,
        description="By default the tick that the reference names, or else the last one committed.",
    )


LabelBody = Annotated[LabelCreate, json_body({"name": "baseline", "tick": 120})]


class LabelResponse(BaseModel):
    """A name for a tick."""

    name: str
    tick: int
    world_id: UUID = Field(
        description="The world that it is of: this one, or the ancestor it is inherited from."
    )
