"""Quotas: bodies and answers."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, Field

from archetype.api.schemas.bodies import Body, json_body
from archetype.limits import QUOTA_MAX
from archetype.log.payload_fields import Integer, Reason

__all__ = ["QuotaBody", "QuotaResponse"]


class QuotaChange(Body):
    """What to change of a quota; what is left out stays as it is."""

    commands_per_tick: Integer | None = Field(
        default=None, ge=0, le=QUOTA_MAX, description="For one tick of one world; null is without a limit."
    )
    tokens_per_day: Integer | None = Field(
        default=None, ge=0, le=QUOTA_MAX, description="For one UTC day; null is without a limit."
    )
    reason: Reason | None = None


QuotaBody = Annotated[QuotaChange, json_body({"tokens_per_day": 1_000_000, "reason": "the big sweep"})]


class QuotaResponse(BaseModel):
    """What an actor may ask for, and what they used up."""

    actor_id: UUID | None = Field(description="Null for the single user of a server that has no keys.")
    actor: str
    commands_per_tick: int | None = Field(description="For one tick of one world; null is without a limit.")
    tokens_per_day: int | None = Field(description="For one UTC day; null is without a limit.")
    is_default: bool = Field(description="Whether none was set for this actor.")
    day: str = Field(description="The UTC day that is counted.")
    commands_used: int = Field(description="On that day, in all worlds.")
    tokens_used: int
    tokens_left: int | None
    resets_at: datetime
    changed_at: datetime | None
    reason: str | None
