"""What commands cost, and how much an actor may ask for. Pure: it counts nothing and looks nothing up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from archetype.log.command import CommandType

__all__ = ["COSTS", "DEFAULT_QUOTA", "Quota", "cost_of"]

COSTS: Final[Mapping[CommandType, int]] = {
    CommandType.MESSAGE: 3,
    CommandType.DESPAWN: 5,
    CommandType.REMOVE_COMPONENT: 5,
    CommandType.REMOVE_PROCESSOR: 5,
    CommandType.REMOVE_RESOURCE: 5,
    CommandType.REMOVE_LABEL: 5,
    CommandType.ADD_LABEL: 5,
    CommandType.UPDATE: 8,
    CommandType.ADD_COMPONENT: 8,
    CommandType.ADD_RESOURCE: 8,
    CommandType.SPAWN: 10,
    CommandType.CUSTOM: 10,
    CommandType.DESTROY_WORLD: 10,
    CommandType.CONFIGURE_WORLD: 10,
    CommandType.THIN_WORLD: 10,
    CommandType.STEP: 10,
    CommandType.ADD_PROCESSOR: 15,
    CommandType.REPLACE_PROCESSOR: 15,
    CommandType.RUN: 50,
    CommandType.RUN_ROLLOUT: 200,
    CommandType.RUN_EPISODE: 500,
    CommandType.CREATE_WORLD: 50,
    CommandType.FORK_WORLD: 100,
    CommandType.CANCEL_RUN: 0,
}
"""Tokens by type; what is free is not counted either: whoever has used all up may still end a run."""


@dataclass(frozen=True, slots=True)
class Quota:
    """How much one actor may ask for; None is without a limit.

    `commands_per_tick` are those accepted for one tick of one world, `tokens_per_day` those of one UTC day in
    all worlds.
    """

    commands_per_tick: int | None = 500
    tokens_per_day: int | None = 200_000


DEFAULT_QUOTA: Final = Quota()
"""The quota of an actor for whom none was set."""


def cost_of(kind: CommandType, row_count: int = 1) -> int:
    """Return the tokens of one command; a bulk command pays for each of its rows."""
    return COSTS[kind] * row_count
