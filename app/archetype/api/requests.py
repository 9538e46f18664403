"""What routes read from a request beside its body: the world, a command's id, the expected version."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated
from uuid import UUID, uuid5

from litestar.params import HeaderParameter, PathParameter, QueryParameter

from archetype.errors import FieldFault, InvalidInputError
from archetype.limits import (
    ENTITY_ID_MAX,
    IDEMPOTENCY_KEY_CHARACTERS_MAX,
    LISTED_VALUES_MAX,
    PAGE_ENTRIES_MAX,
    POSITION_MAX,
)
from archetype.log.payload_fields import as_uuid
from archetype.service.container import ServiceContainer
from archetype.service.ranges import committed_range
from archetype.service.references import Reference
from archetype.store.worlds import WorldRow

__all__ = [
    "AtTick",
    "Before",
    "Conditions",
    "DueTick",
    "FromTick",
    "IdempotencyKey",
    "IfMatch",
    "Limit",
    "Prefer",
    "Priority",
    "ToTick",
    "WorldReference",
    "entity_ids",
    "names",
    "past_of",
    "prefers",
    "ticks_of",
    "world_id_of",
]

KEY_NAMESPACE = UUID("6f0c7b62-5b1e-5a53-9a0e-2c2f0d8f4a11")
"""Fixed for ever: with another one, a retry after an upgrade would be accepted twice."""

Limit = Annotated[int, QueryParameter(ge=1, le=PAGE_ENTRIES_MAX, description="How many at most.")]
WorldReference = Annotated[
    str,
    PathParameter(
        description="A name or an id, and behind an `@` a tick: `demo@120`, `demo@-10` (ten before the last "
        "one committed) or `demo@label`."
    ),
]
AtTick = Annotated[
    int | None,
    QueryParameter(
        ge=0,
        description="As of this tick, by default the one that the path names, or the last one committed.",
    ),
]
FromTick = Annotated[
    int | None, QueryParameter(ge=0, description="The first tick of a range; by default the world's first.")
]
ToTick = Annotated[
    int | None, QueryParameter(ge=0, description="The tick behind a range; by default the next one to run.")
]
Before = Annotated[
    int | None, QueryParameter(ge=1, le=POSITION_MAX, description="Only entries below this log position.")
]
DueTick = Annotated[int, QueryParameter(description="The earliest tick to be applied in.")]
Priority = Annotated[int, QueryParameter(description="Within a tick, lower is applied first.")]

IdempotencyKey = Annotated[
    str | None,
    HeaderParameter(
        name="Idempotency-Key",
        min_length=1,
        max_length=IDEMPOTENCY_KEY_CHARACTERS_MAX,
        description="A retry with the same key is accepted once. A UUID is the command's id itself.",
    ),
]
IfMatch = Annotated[
    str | None,
    HeaderParameter(
        name="If-Match", description='The world\'s version, such as `"17"`; another one is answered 412.'
    ),
]


Prefer = Annotated[
    str,
    HeaderParameter(
        name="Prefer",
        description="`return=representation`: receipts instead of ids; `respond-async`: 202 and a run.",
    ),
]


def prefers(header: str, preference: str) -> bool:
    """Tell whether the header Prefer (RFC 7240) holds a preference, such as `respond-async`."""
    given = {part.partition(";")[0].replace(" ", "").lower() for part in header.split(",")}
    return preference in given


@dataclass(frozen=True, slots=True)
class Conditions:
    """The headers Idempotency-Key and If-Match, and whose they are: a key is one within its actor's own."""

    key: str | None
    if_match: str | None
    actor_id: UUID | None = None

    def command_id(self, scope: object, own_id: UUID | None = None) -> UUID | None:
        """Return the command's id: the key's, within `scope`, or its own.

        Raises `InvalidInputError` where both are there and differ.
        """
        if self.key is None:
            return own_id
        owned = scope if self.actor_id is None else f"{self.actor_id}:{scope}"
        named = as_uuid(self.key) or uuid5(KEY_NAMESPACE, f"{owned}:{self.key}")
        if own_id is not None and own_id != named:
            msg = "differs from the id that Idempotency-Key gives; send one of the two"
            raise InvalidInputError(f"id {msg}", faults=[FieldFault("id", msg)])
        return named

    def batch_ids(self, scope: object, own_ids: Iterable[UUID | None]) -> list[UUID | None]:
        """Return the ids of a batch that has a key: each is derived from it and the command's place."""
        base = self.command_id(scope)
        ids: list[UUID | None] = []
        for index, own_id in enumerate(own_ids):
            place = Conditions(f"{base}:{index}", None, self.actor_id)
            try:
                ids.append(place.command_id(scope, own_id))
            except InvalidInputError as error:
                path = f"commands.{index}.id"
                raise InvalidInputError(
                    f"{path}: {error.message}", faults=[FieldFault(path, error.message)]
                ) from None
        return ids

    @property
    def expected_version(self) -> int | None:
        """The version that If-Match names; `*` and no header expect none."""
        if self.if_match is None or self.if_match.strip() == "*":
            return None
        text = self.if_match.strip().removeprefix("W/").strip('"')
        if text.isascii() and text.isdigit() and len(text) <= 18:
            return int(text)
        msg = f'must be one version number, such as "17", not {self.if_match!r}'
        raise InvalidInputError(f"If-Match {msg}", faults=[FieldFault("If-Match", msg)])


async def world_id_of(services: ServiceContainer, world: str) -> UUID:
    """Return a world's id; an id is believed without a look-up, since the log refuses unknown worlds."""
    return as_uuid(world) or (await services.world_service.find(world)).world_id


async def ticks_of(
    services: ServiceContainer, world: str, tick: int | None, from_tick: int | None, to_tick: int | None
) -> tuple[WorldRow, int | range]:
    """Return the world of a read, and the tick that it is about, or the range of ticks.

    Raises `InvalidInputError` where both are named.
    """
    if from_tick is None and to_tick is None:
        return await services.world_service.resolve(world, tick)
    if tick is not None:
        msg = "is one tick, from_tick and to_tick are a range; give one of the two"
        raise InvalidInputError(f"tick {msg}", faults=[FieldFault("tick", msg)])
    found = await services.world_service.find(world)
    return found, committed_range(found, from_tick, to_tick)


async def past_of(services: ServiceContainer, world: str, to_tick: int | None) -> tuple[WorldRow, int | None]:
    """Return the world of a reference, and where a range of its ticks ends if nothing else is asked for.

    A reference to a tick ends it behind that one; to a world alone it leaves it open (None).
    """
    found, last = await services.world_service.resolve(world)
    return found, last + 1 if to_tick is None and Reference.parse(world).names_tick else to_tick


def names(text: str, path: str) -> list[str]:
    """Split a list of names, `A,B`; an empty one is refused."""
    found = _listed(text, path)
    if not all(found):
        msg = "must be names separated by commas, such as Position,Velocity"
        raise InvalidInputError(f"{path} {msg}", faults=[FieldFault(path, msg)])
    return list(dict.fromkeys(found))


def entity_ids(text: str) -> list[int]:
    """Split a list of entity ids, `1,2`."""
    found = _listed(text, "entity_ids")
    if not all(each.isascii() and each.isdigit() and len(each) <= 16 for each in found) or any(
        not 1 <= int(each) <= ENTITY_ID_MAX for each in found
    ):
        msg = f"must be entity ids from 1 to {ENTITY_ID_MAX} separated by commas, such as 1,2"
        raise InvalidInputError(f"entity_ids {msg}", faults=[FieldFault("entity_ids", msg)])
    return [int(each) for each in found]


def _listed(text: str, path: str) -> list[str]:
    found = [each.strip() for each in text.split(",")]
    if len(found) > LISTED_VALUES_MAX:
        msg = f"must be at most {LISTED_VALUES_MAX} values separated by commas, not {len(found)}"
        raise InvalidInputError(f"{path} {msg}", faults=[FieldFault(path, msg)])
    return found
