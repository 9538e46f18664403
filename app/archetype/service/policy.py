"""When a world's state is stored, as its settings say."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Self

from archetype.log.payloads import Snapshots

__all__ = ["SnapshotPolicy"]


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
