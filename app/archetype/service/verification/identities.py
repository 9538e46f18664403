"""Checking actors, their keys and quotas: their form, and against the acts that made and ended them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from typing import Any, cast
from uuid import UUID

from archetype.service.quotas import QUOTA_FIELDS
from archetype.service.verification.acts import Told
from archetype.service.verification.faults import FaultKind, Findings, place
from archetype.store import audit
from archetype.store.commit import spelled
from archetype.store.database import Reading
from archetype.store.raw_rows import Stored, read_row
from archetype.store.schema import actors, keys, quotas

__all__ = ["check_identities"]

_DIGEST_BYTES = 32
_MISSING = "is missing: an act tells of it"
_KEY_ID = re.compile(r"[0-9a-f]{16}")


async def check_identities(reading: Reading, findings: Findings, told: Told) -> None:
    """Check that every actor, key and quota has its form and is as the acts tell; none may be missing."""
    await _check_actors(reading, findings, told)
    await _check_keys(reading, findings, told)
    await _check_quotas(reading, findings, told)


async def _check_actors(reading: Reading, findings: Findings, told: Told) -> None:
    for raw in await reading.read(lambda connection: list(connection.execute(audit.select_actors()))):
        where = place(actor=raw.actor_id)
        row = read_row(actors, raw)
        if _check(FaultKind.ACTOR, where, row, _ACTOR_FORMS, findings):
            expected = told.actors.pop(row.values["actor_id"], None)
            made_at = row.values["created_at"]
            _compare(FaultKind.ACTOR, where, row, expected, findings, is_told=told.is_told(made_at))
    for actor_id in told.actors:
        findings.add(FaultKind.ACTOR, place(actor=actor_id), _MISSING)


async def _check_keys(reading: Reading, findings: Findings, told: Told) -> None:
    for raw in await reading.read(lambda connection: list(connection.execute(audit.select_keys()))):
        where = place(key=raw.key_id)
        row = read_row(keys, raw)
        if not raw.has_actor:
            findings.add(FaultKind.KEY, where, f"is of actor {raw.actor_id}, which has no row")
        if _check(FaultKind.KEY, where, row, _KEY_FORMS, findings):
            digest_hash = hashlib.sha256(row.values["digest"]).hexdigest()
            row = Stored({**row.values, "digest_hash": digest_hash}, ())
            expected = told.keys.pop(row.values["key_id"], None)
            made_at = row.values["created_at"]
            _compare(FaultKind.KEY, where, row, expected, findings, is_told=told.is_told(made_at))
    for key_id in told.keys:
        findings.add(FaultKind.KEY, place(key=key_id), _MISSING)


async def _check_quotas(reading: Reading, findings: Findings, told: Told) -> None:
    for raw in await reading.read(lambda connection: list(connection.execute(audit.select(quotas)))):
        where = _quota_of(raw.actor_id)
        row = read_row(quotas, raw)
        if _check(FaultKind.USAGE, where, row, _QUOTA_FORMS, findings):
            expected = told.quotas.pop(row.values["actor_id"], None)
            made_at = row.values["changed_at"]
            _compare(FaultKind.USAGE, where, row, expected, findings, is_told=told.is_told(made_at))
    for actor_id in told.quotas:
        findings.add(FaultKind.USAGE, _quota_of(actor_id), _MISSING)


def _quota_of(actor_id: object) -> str:
    return f"quota of {place(actor=actor_id)}"


def _compare(
    kind: FaultKind,
    where: str,
    row: Stored,
    expected: Mapping[str, Any] | None,
    findings: Findings,
    *,
    is_told: bool,
) -> None:
    """Compare a row with what the acts tell of it; one from before the first of them has none."""
    if expected is None:
        if is_told:
            findings.add(kind, where, "no act made it")
        return
    for name, value in expected.items():
        found = spelled(row.values[name])
        if found != value:
            findings.add(kind, where, f"{name} is {found}, but the acts say {value}")


def _check(
    kind: FaultKind,
    where: str,
    row: Stored,
    forms: Mapping[str, Callable[[Any], bool]],
    findings: Findings,
) -> bool:
    """Tell whether a row has its form, and take in what has not."""
    if not findings.can_read(kind, where, row):
        return False
    bad = [name for name, has_form in forms.items() if not has_form(row.values[name])]
    for name in bad:
        findings.add(kind, where, f"{name} has not the form of one: edited or damaged")
    return not bad


def _is_names(text: str) -> bool:
    return _are_texts(_parsed(text))


def _is_names_by_world(text: str) -> bool:
    parsed = _parsed(text)
    if not isinstance(parsed, dict):
        return False
    by_world = cast("dict[str, object]", parsed)
    return all(_is_id(world_id) and _are_texts(roles) for world_id, roles in by_world.items())


def _is_scope(text: str | None) -> bool:
    if text is None:
        return True
    parsed = _parsed(text)
    return _are_texts(parsed) and all(_is_id(each) for each in cast("list[str]", parsed))


def _parsed(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in cast("list[object]", value))


def _is_id(text: str) -> bool:
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False


_ACTOR_FORMS: Mapping[str, Callable[[Any], bool]] = {
    "name": bool,
    "roles": _is_names,
    "world_roles": _is_names_by_world,
}
_KEY_FORMS: Mapping[str, Callable[[Any], bool]] = {
    "key_id": lambda key_id: _KEY_ID.fullmatch(key_id) is not None,
    "digest": lambda digest: len(digest) == _DIGEST_BYTES,
    "worlds": _is_scope,
}
_QUOTA_FORMS: Mapping[str, Callable[[Any], bool]] = {
    name: lambda value: value is None or value >= 0 for name in QUOTA_FIELDS
}
