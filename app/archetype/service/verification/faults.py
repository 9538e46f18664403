"""What a check can find, and what it reports."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from uuid import UUID

from archetype.limits import FAULTS_MAX
from archetype.store.raw_rows import Stored

__all__ = ["CheckedCommit", "Fault", "FaultKind", "Findings", "VerifyReport", "place"]


class FaultKind(StrEnum):
    """What is at fault: a kind of row, or what rows say together."""

    DATABASE = "database"
    LOG = "log"
    EVENT = "event"
    WORLD = "world"
    LINEAGE = "lineage"
    TICK = "tick"
    COMMIT = "commit"
    SNAPSHOT = "snapshot"
    ARCHETYPE = "archetype"
    PROGRAM = "program"
    PAGE = "page"
    RUN = "run"
    LABEL = "label"
    ACTOR = "actor"
    KEY = "key"
    ACT = "act"
    DENIAL = "denial"
    ORIGIN = "origin"
    USAGE = "usage"


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is not as it must be; `place` names the row: `position 17`, `world … tick 3`."""

    kind: FaultKind
    place: str
    message: str


@dataclass(frozen=True, slots=True)
class CheckedCommit:
    """The commit that stands for a world's past up to a tick; None if there is none or it is damaged."""

    world_id: UUID
    tick: int
    commit_hash: bytes | None


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What was checked and what was found; `faults` are the first 1,000 of `fault_count`."""

    worlds: int
    events: int
    ticks: int
    snapshots: int
    pages: int
    page_bytes: int
    faults: Sequence[Fault]
    fault_count: int
    commit: CheckedCommit | None

    @property
    def is_sound(self) -> bool:
        """Whether everything is as it must be."""
        return self.fault_count == 0


class Findings:
    """Counts what is checked and collects what is found."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self.fault_count = 0
        self.checked: Counter[str] = Counter()

    def add(self, kind: FaultKind, place: str, message: str) -> None:
        """Take a fault in."""
        self.fault_count += 1
        if len(self.faults) < FAULTS_MAX:
            self.faults.append(Fault(kind, place, message))

    def can_read(self, kind: FaultKind, place: str, row: Stored) -> bool:
        """Tell whether a row holds what its columns are for, and take in the first that does not."""
        if row.unreadable:
            name = row.unreadable[0]
            self.add(kind, place, f"{name} holds {row.values[name]!r:.80}, which is none: edited or damaged")
        return not row.unreadable

    def compare(self, kind: FaultKind, place: str, row: Stored, **expected: Any) -> None:
        """Compare columns with what they must hold, and take every difference in."""
        for name, value in expected.items():
            if row.values[name] != value:
                what = f"{name} is {_shown(row.values[name])}, but the log says {_shown(value)}"
                self.add(kind, place, what)

    def report(self, commit: CheckedCommit | None) -> VerifyReport:
        """Return all that was found."""
        names = ("worlds", "events", "ticks", "snapshots", "pages", "page_bytes")
        counts = {name: self.checked[name] for name in names}
        return VerifyReport(**counts, faults=tuple(self.faults), fault_count=self.fault_count, commit=commit)


def _shown(value: Any) -> str:
    if isinstance(value, bytes):
        return value.hex()
    # What is no UTF-8 in the database must be printed all the same.
    return str(value).encode("utf-8", "backslashreplace").decode("utf-8")


def place(**parts: Any) -> str:
    """Name a place by its parts: `world … tick 3`; hashes as hex."""
    return " ".join(f"{name} {_shown(part)}" for name, part in parts.items())
