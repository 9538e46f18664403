"""What the fields of payloads may hold, and the base of them all."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from typing import Annotated, Any, Literal, LiteralString
from uuid import UUID

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)
from pydantic_core import PydanticCustomError

from archetype.limits import (
    CHANNEL_CHARACTERS_MAX,
    CODE_NAME_CHARACTERS_MAX,
    ENTITY_ID_GIVEN_MAX,
    ENTITY_ID_MAX,
    NAME_CHARACTERS_MAX,
    REASON_CHARACTERS_MAX,
    SEED_MAX,
    SNAPSHOT_TICKS_MAX,
    TICK_MAX,
)

__all__ = [
    "Channel",
    "CodeName",
    "ComponentValue",
    "EntityId",
    "Flag",
    "GivenEntityId",
    "Integer",
    "LabelName",
    "Payload",
    "Reason",
    "Seed",
    "Snapshots",
    "Tick",
    "WorldName",
    "as_uuid",
    "is_label_name",
    "is_world_name",
]

Integer = Annotated[int, Field(strict=True)]
"""As JSON has it: neither `true` nor a text or a fraction is one."""
Flag = Annotated[bool, Field(strict=True)]
"""`true` or `false`: neither a number nor a text is one."""
EntityId = Annotated[int, Field(ge=1, le=ENTITY_ID_MAX, strict=True)]
GivenEntityId = Annotated[int, Field(ge=1, le=ENTITY_ID_GIVEN_MAX, strict=True)]
Tick = Annotated[int, Field(ge=-1, le=TICK_MAX, strict=True)]
Seed = Annotated[int, Field(ge=0, le=SEED_MAX, strict=True)]


def as_uuid(text: str) -> UUID | None:
    """Read an id in its usual form of 36 characters, or None where the text is none, and so a name."""
    try:
        found = UUID(text)
    except ValueError:
        return None
    return found if str(found) == text.lower() else None


_WORLD_NAME = r"[^\s@/\x00-\x1f][^@/\x00-\x1f]*"
_LABEL_NAME = r"[^\W\d][\w.\-]*"


def is_world_name(text: str) -> bool:
    """Tell whether a world may have this name; none may be taken for an id, or in a path for a step up."""
    is_plain = len(text) <= NAME_CHARACTERS_MAX and re.fullmatch(_WORLD_NAME, text) is not None
    return is_plain and text not in {".", ".."} and as_uuid(text) is None


def is_label_name(text: str) -> bool:
    """Tell whether a tick may be labelled so."""
    return len(text) <= NAME_CHARACTERS_MAX and re.fullmatch(_LABEL_NAME, text) is not None


def _in_words(message: LiteralString, is_name: Callable[[str], bool]) -> WrapValidator:
    """Refuse what is no such name in words, where a pattern would help nobody."""

    def check(value: Any, inner: ValidatorFunctionWrapHandler) -> str:
        with suppress(ValidationError):
            name = inner(value)
            if is_name(name):
                return name
        raise PydanticCustomError("name", message, {"most": NAME_CHARACTERS_MAX})

    return WrapValidator(check)


WorldName = Annotated[
    str,
    Field(max_length=NAME_CHARACTERS_MAX, pattern=f"^{_WORLD_NAME}$"),
    _in_words(
        "must have 1 to {most} characters, the first no space, none of them '@', '/' or a control character; "
        "nor may it be '.' or '..', or look like an id",
        is_world_name,
    ),
]
"""A world's name; `@` and `/` are kept for references and routes, control characters for no one."""
LabelName = Annotated[
    str,
    Field(max_length=NAME_CHARACTERS_MAX, pattern=f"^{_LABEL_NAME}$"),
    _in_words(
        "must begin with a letter or '_' and go on with letters, digits, '_', '.' or '-', "
        "and have {most} characters at most",
        is_label_name,
    ),
]
"""A label's name begins with a letter or `_`, so that no tick number can be taken for one."""
CodeName = Annotated[str, Field(min_length=1, max_length=CODE_NAME_CHARACTERS_MAX)]
Channel = Annotated[str, Field(max_length=CHANNEL_CHARACTERS_MAX)]
Reason = Annotated[str, Field(max_length=REASON_CHARACTERS_MAX)]


def _one_fault(value: Any, inner: ValidatorFunctionWrapHandler) -> Any:
    """Refuse what is neither a number of ticks nor a word with one fault, not one for each of the two."""
    try:
        return inner(value)
    except ValidationError:
        msg = "must be a number of ticks from 1 to {most}, or 'needed'"
        raise PydanticCustomError("snapshots", msg, {"most": SNAPSHOT_TICKS_MAX}) from None


Snapshots = Annotated[
    Annotated[int, Field(ge=1, le=SNAPSHOT_TICKS_MAX, strict=True)] | Literal["needed"],
    WrapValidator(_one_fault),
]
"""When a world's state is stored: after every N-th tick (1: after each), or only where it must be."""
ComponentValue = Annotated[dict[str, Any], Field(description='{"type": "Position", "x": 1.0, …}')]


class Payload(BaseModel):
    """The base of payloads: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid")
