"""Checking the chain of administrative acts, and what it tells of actors, keys and quotas."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from archetype.log.hashes import GENESIS, act_hash
from archetype.service.quotas import QUOTA_FIELDS
from archetype.service.verification.faults import FaultKind, Findings, place
from archetype.store import audit
from archetype.store.acts import ActType
from archetype.store.database import Reading
from archetype.store.raw_rows import read_row
from archetype.store.schema import administrative_acts

__all__ = ["Told", "check_acts"]


@dataclass(slots=True)
class Told:
    """What the acts say of actors, keys and quotas, by id.

    Of what was made before `since` they say nothing: acts were not kept yet. None is a database that was made
    with them, so that they tell of all.
    """

    since: datetime | None = None
    actors: dict[UUID, dict[str, Any]] = field(default_factory=dict[UUID, dict[str, Any]])
    keys: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    quotas: dict[UUID, dict[str, Any]] = field(default_factory=dict[UUID, dict[str, Any]])

    def is_told(self, made_at: datetime) -> bool:
        """Tell whether there must be an act for what was made then."""
        return self.since is None or made_at >= self.since

    def take_in(self, act: str, detail: Mapping[str, Any], reason: str | None) -> None:
        """Go on by one act."""
        match act:
            case ActType.CREATE_ACTOR:
                self.actors[UUID(detail["actor_id"])] = {**detail, "disabled_at": None, "reason": None}
            case ActType.DISABLE_ACTOR:
                ends = {"disabled_at": detail["disabled_at"], "reason": reason}
                self.actors.setdefault(UUID(detail["actor_id"]), {}).update(ends)
            case ActType.CREATE_KEY:
                self._add_key(detail)
            case ActType.ROTATE_KEY:
                self.keys.setdefault(detail["replaced"], {}).update(detail["replaced_ends"])
                self._add_key(detail)
            case ActType.REVOKE_KEY:
                self.keys.setdefault(detail["key_id"], {}).update(detail["ends"])
            case ActType.SET_QUOTA:
                self._set_quota(detail, reason)
            case _:
                pass

    def _add_key(self, detail: Mapping[str, Any]) -> None:
        names = ("key_id", "actor_id", "worlds", "created_at", "digest_hash")
        self.keys[detail["key_id"]] = {name: detail[name] for name in names} | detail["ends"]

    def _set_quota(self, detail: Mapping[str, Any], reason: str | None) -> None:
        actor_id = UUID(detail["actor_id"])
        self.quotas.pop(actor_id, None)
        if detail["changed_at"] is not None:  # the default quota has no row
            told = {name: detail[name] for name in (*QUOTA_FIELDS, "changed_at")}
            self.quotas[actor_id] = told | {"reason": reason}


async def check_acts(reading: Reading, findings: Findings) -> Told:
    """Check that acts are numbered without a hole and that each hash follows from the one before it.

    The last acts may be gone without a trace in the chain; what they made or ended then tells.
    """
    told = Told()
    parent, number = GENESIS, 0
    for raw in await reading.read(lambda connection: list(connection.execute(audit.select_acts()))):
        number += 1
        where = place(act=raw.number)
        row = read_row(administrative_acts, raw)
        if not findings.can_read(FaultKind.ACT, where, row):
            return told
        plain = dict(row.values)
        found: bytes = plain.pop("hash")
        if number == 1:
            told.since = _kept_since(plain)
        if plain["number"] != number:
            findings.add(FaultKind.ACT, place(act=number), "is missing")
            number = plain["number"]
        if act_hash(parent, **plain) != found:
            findings.add(FaultKind.ACT, where, "its hash does not follow from it and the act before it")
        parent = found
        try:
            told.take_in(plain["act"], json.loads(plain["detail"]), plain["reason"])
        except (ValueError, KeyError, TypeError, AttributeError):
            findings.add(FaultKind.ACT, where, "detail has not the form of one: edited or damaged")
    return told


def _kept_since(first: Mapping[str, Any]) -> datetime | None:
    """Return from when on acts are kept; None where the first one made the database itself."""
    is_of_all = first["act"] == ActType.MIGRATE and first["detail"].startswith('{"from":null,')
    return None if is_of_all else first["recorded_at"]
