"""Checking the form of actors and keys: nothing of them follows from the log, so nothing can prove them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, cast
from uuid import UUID

from archetype.service.verification.faults import FaultKind, Findings, place
from archetype.store import audit
from archetype.store.audit import Stored
from archetype.store.database import Reading
from archetype.store.schema import actors, keys

__all__ = ["check_identities"]

_DIGEST_BYTES = 32
_KEY_ID = re.compile(r"[0-9a-f]{16}")


async def check_identities(reading: Reading, findings: Findings) -> None:
    """Check that every actor and key holds what its columns are for, and that every key is an actor's."""
    rows = await reading.read(lambda connection: list(connection.execute(audit.select_actors())))
    for row in rows:
        _check(FaultKind.ACTOR, place(actor=row.actor_id), audit.stored(actors, row), _ACTOR_FORMS, findings)
    rows = await reading.read(lambda connection: list(connection.execute(audit.select_keys())))
    for row in rows:
        where = place(key=row.key_id)
        _check(FaultKind.KEY, where, audit.stored(keys, row), _KEY_FORMS, findings)
        if not row.has_actor:
            findings.add(FaultKind.KEY, where, f"is of actor {row.actor_id}, which has no row")


def _check(
    kind: FaultKind,
    where: str,
    row: Stored,
    forms: Mapping[str, Callable[[Any], bool]],
    findings: Findings,
) -> None:
    if not findings.can_read(kind, where, row):
        return
    for name, has_form in forms.items():
        if not has_form(row.values[name]):
            findings.add(kind, where, f"{name} has not the form of one: edited or damaged")


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
