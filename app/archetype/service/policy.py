"""When a world's state is stored, as its settings say, and which of the stored states are worth keeping."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Literal, Self

from archetype.errors import FieldFault, InvalidInputError
from archetype.log.payload_fields import Snapshots

__all__ = ["LAST_TICKS", "Keep", "Keeping", "SnapshotPolicy"]

LAST_TICKS = 64
"""The last ticks of a world, of which log-spaced keeping drops none."""

Keep = Literal["log-spaced"]
"""A way of keeping snapshots by their age."""


@dataclass(frozen=True, slots=True)
class SnapshotPolicy:
    """After every N-th tick, or (`every` None) only where a state could not be computed again.

    Whatever the policy, these are stored: the last state of a run, with which the next begins, perhaps in a
    process that has other code; the state after a tick that is not deterministic; the last one of a program
    before another takes its place; and the one that a fork begins with, once it has a tick of its own.
    """

    every: int | None = 1

    @classmethod
    def of_config(cls, config: str) -> Self:
        """Read it from a world's settings."""
        snapshots = json.loads(config).get("snapshots", 1)
        return cls(None if snapshots == "needed" else snapshots)

    @property
    def setting(self) -> Snapshots:
        """The policy as callers give it."""
        return "needed" if self.every is None else self.every

    def wants(self, tick: int) -> bool:
        """Tell whether the state after this tick is to be stored."""
        return self.every is not None and (tick + 1) % self.every == 0


@dataclass(frozen=True, slots=True)
class Keeping:
    """Which snapshots stay when a world is thinned, beside those that have to.

    `every` N keeps those of each N-th tick. Log-spaced keeps the last 64, of those up to twice as old every
    second, of those up to four times as old every fourth, and so on; and the ticks with which runs ended, or
    which have labels.
    """

    every: int | None = None
    keep: Keep | None = None

    def __post_init__(self) -> None:
        if self.keep not in {None, "log-spaced"}:
            raise _fault("keep", f"must be 'log-spaced', not {self.keep!r}")
        if self.keep is not None and self.every is not None:
            raise _fault("keep", "goes without keep_every: choose one of the two")
        if self.every is not None and self.every < 1:
            raise _fault("keep_every", f"must be at least 1, not {self.every}")

    def reason(self, tick: int, *, newest: int) -> str | None:
        """Say why a tick stays, by its number and that of the newest one; None if it may go.

        What goes now would go later too, so that thinning again and again comes out as doing it once.
        """
        if self.keep is not None:
            return "log-spaced" if (tick + 1) % _spacing(newest - tick) == 0 else None
        if self.every is not None and (tick + 1) % self.every == 0:
            return f"of every {self.every} ticks"
        return None


def _spacing(age: int) -> int:
    """Return how far apart ticks of an age are kept: a power of two, at most half of what it is in ticks."""
    return 1 << (age // LAST_TICKS).bit_length()


def _fault(field: str, message: str) -> InvalidInputError:
    return InvalidInputError(f"{field} {message}", faults=[FieldFault(field, message)])
