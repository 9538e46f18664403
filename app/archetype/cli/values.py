"""Values as people type them: JSON, `name=json`, files and standard input."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

from archetype.errors import FieldFault, InvalidInputError

__all__ = [
    "assignments",
    "components",
    "json_object",
    "json_value",
    "names",
    "scheduler_settings",
    "seconds",
    "snapshot_policy",
    "text_of",
]

_UNITS_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_NAME = re.compile(r"[^\W\d]\w*(\.\w+)*")


def json_value(text: str, option: str) -> Any:
    """Return a JSON value; what is none is refused, with `option` as the place."""
    try:
        return json.loads(text, parse_constant=_no_constant)
    except ValueError as error:
        reason = (
            f"{error.msg} at character {error.pos}" if isinstance(error, json.JSONDecodeError) else str(error)
        )
        msg = f"{text!r} is not JSON ({reason}); a text needs its quotes: '\"like this\"'"
        raise _fault(option, msg) from None


def text_of(given: str, option: str) -> str:
    """Return a text as it was given, from a file as `@path`, or from standard input as `-`."""
    if given == "-":
        return sys.stdin.read()
    if not given.startswith("@"):
        return given
    try:
        return Path(given[1:]).read_text(encoding="utf-8")
    except OSError as error:
        msg = f"{given[1:]} cannot be read: {error.strerror}"
        raise _fault(option, msg) from error


def json_object(given: str, option: str) -> dict[str, Any]:
    """Return a JSON object from what `text_of` finds."""
    return _object_of(text_of(given, option), option)


def _object_of(text: str, option: str) -> dict[str, Any]:
    value = json_value(text, option)
    if not isinstance(value, dict):
        msg = f"must be a JSON object such as {{}}, not {text.strip()}"
        raise _fault(option, msg)
    return cast("dict[str, Any]", value)


def assignments(given: Iterable[str], option: str) -> dict[str, Any]:
    """Return `name=json` settings as a dictionary."""
    found: dict[str, Any] = {}
    for each in given:
        name, sign, text = each.partition("=")
        if not sign or not name.strip():
            msg = f"write {option} name=json, not {each!r}"
            raise _fault(option, msg)
        found[name.strip()] = json_value(text, option)
    return found


def components(given: Iterable[str], option: str = "--component") -> list[dict[str, Any]]:
    """Return components given as `Position={"x": 1}`, or as `Tag` for one with all its defaults."""
    found: list[dict[str, Any]] = []
    for each in given:
        name, sign, text = each.partition("=")
        fields = json_object(text, option) if sign else {}
        found.append({"type": name.strip()} | fields)
    return found


def names(text: str) -> list[str]:
    """Return the names of a list such as `Position,Velocity`."""
    return [name.strip() for name in text.split(",") if name.strip()]


def snapshot_policy(text: str) -> int | str:
    """Return a snapshot policy: a number of ticks, or a word."""
    return int(text) if text.isdecimal() else text


def seconds(text: str, option: str) -> int:
    """Return a time such as `90s`, `15m`, `12h` or `30d` in seconds."""
    match = re.fullmatch(r"([0-9]{1,9})([smhd])", text.strip())
    if match is None:
        raise _fault(option, f"must be a number and a unit, as 90s, 15m, 12h or 30d, not {text!r}")
    return int(match[1]) * _UNITS_S[match[2]]


def scheduler_settings(given: str, option: str = "--scheduler") -> dict[str, Any] | None:
    """Return a scheduler's settings: a builder's name or JSON, as `text_of` finds it; `default` is None."""
    text = text_of(given, option).strip()
    if text == "default":
        return None
    return {"group_builder": text} if _NAME.fullmatch(text) else _object_of(text, option)


def _fault(option: str, message: str) -> InvalidInputError:
    return InvalidInputError(f"{option}: {message}", faults=[FieldFault(option, message)])


def _no_constant(name: str) -> Any:
    msg = f"{name} is no JSON number"
    raise ValueError(msg)
