"""Who acts, and what that means at the gate."""

from __future__ import annotations

from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from archetype.clock import new_id
from archetype.service.gate import LOCAL, Principal

__all__ = ["ActorCtx", "principal_of"]


class ActorCtx(BaseModel):
    """The caller of commands: its id stands in every row of the log that it causes.

    Its roles, of viewer, player, operator and admin, say what it may do; an unknown one grants nothing.
    """

    model_config = ConfigDict(frozen=True)

    id: UUID = Field(default_factory=new_id)
    roles: frozenset[str] = frozenset({"viewer"})


def principal_of(actor: ActorCtx | None) -> Principal:
    """Return who the gate takes an actor for; a script without one has its database in its own hands."""
    return LOCAL if actor is None else Principal(actor.id, str(actor.id), actor.roles, address="local")
