"""What a check found: how bad it is, what was seen, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Finding", "Severity", "error", "ok", "warning"]


class Severity(StrEnum):
    """How bad a finding is: an error keeps the service from working, or what it answers from being safe."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check saw; `remedy` is what to run or to change, and None where nothing is wrong."""

    check: str
    severity: Severity
    seen: str
    remedy: str | None = None


def ok(check: str, seen: str) -> Finding:
    """Return a finding of something that is as it should be."""
    return Finding(check, Severity.OK, seen)


def warning(check: str, seen: str, remedy: str) -> Finding:
    """Return a finding of something that works, and should be changed before it does not."""
    return Finding(check, Severity.WARNING, seen, remedy)


def error(check: str, seen: str, remedy: str) -> Finding:
    """Return a finding of something that must be changed first."""
    return Finding(check, Severity.ERROR, seen, remedy)
