"""The environment, read once; everything else is handed its settings."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from archetype.errors import FieldFault, InvalidInputError

__all__ = ["DEFAULT_DATABASE_URL", "DEFAULT_DENIALS_MAX", "DEFAULT_SERVER_URL", "Settings"]

DEFAULT_DATABASE_URL = "sqlite:///./archetype.db"
DEFAULT_SERVER_URL = "http://127.0.0.1:8000"
DEFAULT_DENIALS_MAX = 100_000
"""Rows, some 30 MB: weeks of a service that is knocked at from everywhere, and no disk is filled by it."""
DENIALS_MAX_LEAST = 1_000


@dataclass(frozen=True, slots=True)
class Settings:
    """What the environment says; an empty variable counts as absent."""

    database_url: str = DEFAULT_DATABASE_URL
    server_url: str = DEFAULT_SERVER_URL
    modules: tuple[str, ...] = ()
    api_key: str | None = field(default=None, repr=False)
    denials_max: int = DEFAULT_DENIALS_MAX

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Settings:
        """Read ARCHETYPE_DATABASE_URL, _URL, _API_KEY, _DENIALS_MAX, and _MODULES (separated by commas)."""
        variables = os.environ if environment is None else environment
        modules = variables.get("ARCHETYPE_MODULES", "")
        return cls(
            database_url=variables.get("ARCHETYPE_DATABASE_URL") or DEFAULT_DATABASE_URL,
            server_url=variables.get("ARCHETYPE_URL") or DEFAULT_SERVER_URL,
            modules=tuple(name.strip() for name in modules.split(",") if name.strip()),
            api_key=variables.get("ARCHETYPE_API_KEY", "").strip() or None,
            denials_max=_denials_max(variables.get("ARCHETYPE_DENIALS_MAX", "")),
        )


def _denials_max(text: str) -> int:
    if not text:
        return DEFAULT_DENIALS_MAX
    if text.isascii() and text.isdigit() and len(text) <= 9 and int(text) >= DENIALS_MAX_LEAST:
        return int(text)
    msg = f"must be a number of rows from {DENIALS_MAX_LEAST} to 999999999, not {text!r:.40}"
    raise InvalidInputError(f"ARCHETYPE_DENIALS_MAX {msg}", faults=[FieldFault("ARCHETYPE_DENIALS_MAX", msg)])
