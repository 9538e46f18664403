"""What a tick recorded of its processors: spelled for its fact, and read back to compute it again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from archetype.core.context import IdSource
from archetype.core.scheduling.records import IdRange, TickReport

__all__ = ["Outcomes", "recorded_report"]

_UNRECORDED_ID = 2**62
"""Where the ids of spawns begin that were not recorded, far behind any that a log assigns."""


def recorded_report(report: TickReport) -> dict[str, Any]:
    """Spell what ran for the fact of its tick; what there is none of is left out."""
    spelled: dict[str, Any] = {
        "executions": [each.to_json() for each in report.executions],
        "conflicts": [each.to_json() for each in report.conflicts],
        "spawned": [[each.first, each.count] for each in report.spawned],
    }
    return {name: listed for name, listed in spelled.items() if listed}


@dataclass(frozen=True)
class Outcomes:
    """What a tick's processors were given or did that does not follow from its inputs.

    `spawned` are the ids of what its groups spawned, in order; `skipped` are the processors that it went on
    without, by registration index.
    """

    spawned: tuple[IdRange, ...] = ()
    skipped: frozenset[int] = frozenset()

    @classmethod
    def of_fact(cls, payload: str) -> Self:
        """Read them from the payload of a tick's fact."""
        recorded: Mapping[str, Any] = json.loads(payload)
        executions = recorded.get("executions", ())
        return cls(
            tuple(IdRange(first, count) for first, count in recorded.get("spawned", ())),
            frozenset(each["index"] for each in executions if each["status"] == "skipped"),
        )

    def ids(self) -> IdSource:
        """Return a source that gives the recorded ids again.

        To a tick that spawns otherwise than it is recorded it gives ids that no state holds, so that the
        difference shows in what comes out.
        """
        ranges = iter(self.spawned)

        async def again(count: int) -> int:
            recorded = next(ranges, None)
            is_same = recorded is not None and recorded.count == count
            return recorded.first if recorded is not None and is_same else _UNRECORDED_ID

        return again
