"""What administrators do beside commands: one immutable row for each act, in the act's own transaction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from archetype.log.canonical import canonical_json
from archetype.log.hashes import GENESIS, act_hash
from archetype.store.moments import database_now
from archetype.store.schema import administrative_acts

__all__ = ["UNNAMED", "ActRow", "ActType", "Acting", "list_acts", "lock_acts", "record_act"]


class ActType(StrEnum):
    """What an administrator can do beside commands."""

    CREATE_ACTOR = "create_actor"
    DISABLE_ACTOR = "disable_actor"
    CREATE_KEY = "create_key"
    ROTATE_KEY = "rotate_key"
    REVOKE_KEY = "revoke_key"
    SET_QUOTA = "set_quota"
    COLLECT_GARBAGE = "collect_garbage"
    MIGRATE = "migrate"


@dataclass(frozen=True, slots=True)
class Acting:
    """Who does something, with which key, from where, and why."""

    actor_id: UUID | None = None
    key_id: str | None = None
    address: str | None = None
    reason: str | None = None


UNNAMED = Acting(address="local")
"""Whoever has the database in their own hands, and gives no reason."""


@dataclass(frozen=True, slots=True)
class ActRow:
    """An administrative act as its row says; `detail` is canonical JSON."""

    number: int
    act: str
    actor_id: UUID | None
    key_id: str | None
    address: str | None
    detail: str
    reason: str | None
    recorded_at: datetime
    hash: bytes


def lock_acts(connection: Connection) -> None:
    """Keep all other acts out until this transaction ends: what one of them decides by, none may change.

    A SQLite file has one writer at a time anyway.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(hashtextextended('archetype-acts', 0))"))


def record_act(
    connection: Connection, act: ActType, detail: Mapping[str, Any], by: Acting = UNNAMED
) -> ActRow:
    """Record an act behind the last one, in the transaction that does it; `detail` must hold no secret."""
    lock_acts(connection)  # numbers and hashes follow each other
    newest = list_acts(connection, limit=1)
    number, parent = (newest[0].number + 1, newest[0].hash) if newest else (1, GENESIS)
    plain: dict[str, Any] = {
        "number": number,
        "act": act.value,
        "actor_id": by.actor_id,
        "key_id": by.key_id,
        "address": by.address,
        "detail": canonical_json(detail),
        "reason": by.reason,
        "recorded_at": database_now(connection),
    }
    row = ActRow(**plain, hash=act_hash(parent, **plain))
    values = {each.name: getattr(row, each.name) for each in fields(row)}
    connection.execute(administrative_acts.insert(), values)
    return row


def list_acts(connection: Connection, *, limit: int, before: int | None = None) -> list[ActRow]:
    """Return the newest acts, below a number if one is given, the newest last."""
    statement = sa.select(*administrative_acts.columns).order_by(administrative_acts.c.number.desc())
    if before is not None:
        statement = statement.where(administrative_acts.c.number < before)
    found = [ActRow(**row) for row in connection.execute(statement.limit(limit)).mappings()]
    return found[::-1]
