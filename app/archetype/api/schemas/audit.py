"""Denials and administrative acts: answers."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel, Field

__all__ = ["ActResponse", "DenialResponse"]


class DenialResponse(BaseModel):
    """Denials that were one like the other within a minute."""

    denial_id: UUID
    code: str = Field(description="The code of the problem that was answered; `dropped` were only counted.")
    reason: str
    actor_id: UUID | None = Field(description="Who asked, as far as it was proven.")
    key_id: str | None
    address: str | None = Field(description="The peer's address, or `local`.")
    action: str | None = Field(description="What was asked for; null where that was not looked at.")
    world: str | None = Field(description="As the caller named it: there may be none of that name.")
    count: int = Field(description="How often.")
    first_at: datetime
    last_at: datetime


class ActResponse(BaseModel):
    """What an administrator did beside commands."""

    number: int = Field(description="Contiguous from 1.")
    act: str
    actor_id: UUID | None = Field(description="Null is who has the database in their own hands.")
    key_id: str | None
    address: str | None = Field(description="The peer's address, or `local`.")
    detail: dict[str, Any] = Field(description="To whom or what.")
    reason: str | None
    recorded_at: datetime
    hash: str = Field(description="In hex; it fixes all acts up to this one.")
