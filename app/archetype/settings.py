"""The environment, read once; everything else is handed its settings."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from archetype.errors import FieldFault, InvalidInputError

__all__ = ["DEFAULT_DATABASE_URL", "DEFAULT_MEMORY_BUDGET_BYTES", "DEFAULT_SERVER_URL", "Settings"]

DEFAULT_DATABASE_URL = "sqlite:///./archetype.db"
DEFAULT_SERVER_URL = "http://127.0.0.1:8000"
DEFAULT_MEMORY_BUDGET_BYTES = 512 * 1024 * 1024
"""With the 200 MB that a server takes at rest and the ticks it computes, this stays below a gigabyte; it
holds a dozen states of a million entities with two small components, or thousands of small worlds."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the environment says; an empty variable counts as absent."""

    database_url: str = DEFAULT_DATABASE_URL
    server_url: str = DEFAULT_SERVER_URL
    modules: tuple[str, ...] = ()
    api_key: str | None = field(default=None, repr=False)
    memory_budget_bytes: int = DEFAULT_MEMORY_BUDGET_BYTES

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Settings:
        """Read ARCHETYPE_DATABASE_URL, _URL, _API_KEY, _MODULES (separated by commas) and _MEMORY_BUDGET.

        Raises `InvalidInputError` where the budget is no number of bytes.
        """
        variables = os.environ if environment is None else environment
        modules = variables.get("ARCHETYPE_MODULES", "")
        return cls(
            database_url=variables.get("ARCHETYPE_DATABASE_URL") or DEFAULT_DATABASE_URL,
            server_url=variables.get("ARCHETYPE_URL") or DEFAULT_SERVER_URL,
            modules=tuple(name.strip() for name in modules.split(",") if name.strip()),
            api_key=variables.get("ARCHETYPE_API_KEY", "").strip() or None,
            memory_budget_bytes=_memory_budget_bytes(variables.get("ARCHETYPE_MEMORY_BUDGET", "").strip()),
        )


def _memory_budget_bytes(text: str) -> int:
    if not text:
        return DEFAULT_MEMORY_BUDGET_BYTES
    if not (text.isascii() and text.isdecimal()):
        name = "ARCHETYPE_MEMORY_BUDGET"
        msg = f"{name} must be a whole number of bytes, such as {DEFAULT_MEMORY_BUDGET_BYTES}, not {text!r}"
        raise InvalidInputError(msg, faults=[FieldFault(name, msg)])
    return int(text)
