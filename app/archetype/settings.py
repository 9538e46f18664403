"""The environment, read once; everything else is handed its settings."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

from archetype.errors import FieldFault, InvalidInputError

__all__ = [
    "DEFAULT_DATABASE_URL",
    "DEFAULT_DENIALS_MAX",
    "DEFAULT_MEMORY_BUDGET_BYTES",
    "DEFAULT_SERVER_URL",
    "LogFormat",
    "Settings",
]

DEFAULT_DATABASE_URL = "sqlite:///./archetype.db"
DEFAULT_SERVER_URL = "http://127.0.0.1:8000"
DEFAULT_DENIALS_MAX = 100_000
"""Rows, some 30 MB: weeks of a service that is knocked at from everywhere, and no disk is filled by it."""
DENIALS_MAX_LEAST = 1_000
DEFAULT_MEMORY_BUDGET_BYTES = 512 * 1024 * 1024
"""With the 200 MB that a server takes at rest and the ticks it computes, this stays below a gigabyte; it
holds a dozen states of a million entities with two small components, or thousands of small worlds."""


class LogFormat(StrEnum):
    """How a line of the log is written: for machines, or for people."""

    JSON = "json"
    TEXT = "text"


@dataclass(frozen=True, slots=True)
class Settings:
    """What the environment says; an empty variable counts as absent."""

    database_url: str = field(default=DEFAULT_DATABASE_URL, repr=False)
    server_url: str = DEFAULT_SERVER_URL
    modules: tuple[str, ...] = ()
    api_key: str | None = field(default=None, repr=False)
    log_format: LogFormat | None = None
    denials_max: int = DEFAULT_DENIALS_MAX
    memory_budget_bytes: int = DEFAULT_MEMORY_BUDGET_BYTES
    makes_patches: bool = True

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Settings:
        """Read ARCHETYPE_DATABASE_URL, _URL, _API_KEY, _LOG_FORMAT, _DENIALS_MAX, _MEMORY_BUDGET, _MODULES.

        Modules are named by commas; ARCHETYPE_PATCHES=off stores every new page whole. Secrets may stand in
        files: ARCHETYPE_API_KEY_FILE, and ARCHETYPE_DATABASE_PASSWORD_FILE for a URL that has no password.
        Raises `InvalidInputError` for a variable that does not fit, and for a file that cannot be read.
        """
        variables = os.environ if environment is None else environment
        modules = variables.get("ARCHETYPE_MODULES", "")
        url = variables.get("ARCHETYPE_DATABASE_URL") or DEFAULT_DATABASE_URL
        return cls(
            database_url=_with_password(url, _secret(variables, "ARCHETYPE_DATABASE_PASSWORD")),
            server_url=variables.get("ARCHETYPE_URL") or DEFAULT_SERVER_URL,
            modules=tuple(name.strip() for name in modules.split(",") if name.strip()),
            api_key=_secret(variables, "ARCHETYPE_API_KEY"),
            log_format=_log_format(variables.get("ARCHETYPE_LOG_FORMAT", "")),
            makes_patches=_makes_patches(variables.get("ARCHETYPE_PATCHES", "")),
            denials_max=_denials_max(variables.get("ARCHETYPE_DENIALS_MAX", "")),
            memory_budget_bytes=_memory_budget_bytes(variables.get("ARCHETYPE_MEMORY_BUDGET", "")),
        )


def _log_format(name: str) -> LogFormat | None:
    if name and name not in list(LogFormat):
        msg = f"ARCHETYPE_LOG_FORMAT is {name!r}; known are {', '.join(LogFormat)}"
        raise InvalidInputError(msg)
    return LogFormat(name) if name else None


def _makes_patches(text: str) -> bool:
    name = text.strip().lower()
    if name in {"", "on", "off"}:
        return name != "off"
    msg = f"must be on or off, not {text!r:.40}"
    raise InvalidInputError(f"ARCHETYPE_PATCHES {msg}", faults=[FieldFault("ARCHETYPE_PATCHES", msg)])


def _secret(variables: Mapping[str, str], name: str) -> str | None:
    """Return a secret of a variable, or of the file that the variable with `_FILE` behind it names."""
    value = variables.get(name, "").strip()
    path = variables.get(f"{name}_FILE")
    if value or not path:
        return value or None
    try:
        return Path(path).read_text(encoding="utf-8").strip() or None
    except (OSError, UnicodeDecodeError) as error:
        msg = f"{name}_FILE names {path}, which cannot be read: {error}"
        raise InvalidInputError(msg) from error


def _with_password(url: str, password: str | None) -> str:
    """Put a password into a PostgreSQL URL that names a user and none."""
    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    if password is None or not at or ":" in user or not parts.scheme.startswith("postgres"):
        return url
    return urlunsplit(parts._replace(netloc=f"{user}:{quote(password, safe='')}@{host}"))


def _denials_max(text: str) -> int:
    if not text:
        return DEFAULT_DENIALS_MAX
    if text.isascii() and text.isdigit() and len(text) <= 9 and int(text) >= DENIALS_MAX_LEAST:
        return int(text)
    msg = f"must be a number of rows from {DENIALS_MAX_LEAST} to 999999999, not {text!r:.40}"
    raise InvalidInputError(f"ARCHETYPE_DENIALS_MAX {msg}", faults=[FieldFault("ARCHETYPE_DENIALS_MAX", msg)])


def _memory_budget_bytes(text: str) -> int:
    if not text:
        return DEFAULT_MEMORY_BUDGET_BYTES
    if text.isascii() and text.isdigit():
        return int(text)
    name = "ARCHETYPE_MEMORY_BUDGET"
    msg = f"must be a whole number of bytes, such as {DEFAULT_MEMORY_BUDGET_BYTES}, not {text!r:.40}"
    raise InvalidInputError(f"{name} {msg}", faults=[FieldFault(name, msg)])
