"""Reading the audit trail's own tables: denials, and what administrators did beside commands."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from archetype.service.denials import Denials
from archetype.store import acts as act_store
from archetype.store import denials as denial_store
from archetype.store.acts import ActRow
from archetype.store.database import Database
from archetype.store.denials import DenialRow

__all__ = ["Act", "AuditService"]


@dataclass(frozen=True, slots=True)
class Act:
    """An administrative act as it is listed; `hash` is in hex, and fixes all acts up to this one."""

    number: int
    act: str
    actor_id: UUID | None
    key_id: str | None
    address: str | None
    detail: dict[str, Any]
    reason: str | None
    recorded_at: datetime
    hash: str


class AuditService:
    """Lists denials and administrative acts; whoever calls it has passed the gate."""

    def __init__(self, database: Database, denials: Denials) -> None:
        self._database = database
        self._denials = denials

    async def list_denials(self, *, limit: int, before: UUID | None = None) -> list[DenialRow]:
        """Return the newest denials, older than the one of an id if it is given, the newest last.

        What this process has noted so far is among them.
        """
        await self._denials.flush()
        return await self._database.read(
            lambda connection: denial_store.list_denials(connection, limit=limit, before=before)
        )

    async def list_acts(self, *, limit: int, before: int | None = None) -> list[Act]:
        """Return the newest administrative acts, below a number if it is given, the newest last."""
        rows = await self._database.read(
            lambda connection: act_store.list_acts(connection, limit=limit, before=before)
        )
        return [_act(row) for row in rows]


def _act(row: ActRow) -> Act:
    return Act(
        number=row.number,
        act=row.act,
        actor_id=row.actor_id,
        key_id=row.key_id,
        address=row.address,
        detail=json.loads(row.detail),
        reason=row.reason,
        recorded_at=row.recorded_at,
        hash=row.hash.hex(),
    )
