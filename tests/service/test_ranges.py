"""A range of committed ticks is the one that was asked for, or an error."""

from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archetype.clock import utc_now
from archetype.errors import InvalidInputError, LimitExceededError, TickNotFoundError
from archetype.limits import RANGE_TICKS_MAX
from archetype.service.ranges import committed_range
from archetype.store.worlds import WorldRow

WORLD = WorldRow(
    world_id=UUID(int=1),
    name="demo",
    parent_id=None,
    fork_tick=None,
    head_version=1,
    committed_tick=-1,
    open_tick=0,
    sealed_version=0,
    next_entity_id=1,
    seed=0,
    config="{}",
    created_at=utc_now(),
    archived_at=None,
    lease_owner=None,
    lease_epoch=0,
    lease_until=None,
)
BOUNDS = st.none() | st.integers(min_value=-2, max_value=8)


@given(tick=st.integers(min_value=0, max_value=6), from_tick=BOUNDS, to_tick=BOUNDS)
def test_a_range_is_whole_or_refused(tick, from_tick, to_tick):
    """What is left out is the first tick, and the next one to run; nothing is cut to fit."""
    world = replace(WORLD, committed_tick=tick - 1)
    start, end = 0 if from_tick is None else from_tick, tick if to_tick is None else to_tick
    if not (0 <= start <= tick and 0 <= end <= tick):
        with pytest.raises(TickNotFoundError):
            committed_range(world, from_tick, to_tick)
    elif end < start:
        with pytest.raises(InvalidInputError, match="before from_tick"):
            committed_range(world, from_tick, to_tick)
    else:
        found = committed_range(world, from_tick, to_tick)
        assert (found.start, found.stop) == (start, end)


def test_the_limit_is_inclusive():
    """One tick more is refused, with both numbers."""
    world = replace(WORLD, committed_tick=RANGE_TICKS_MAX)
    assert len(committed_range(world, 1)) == RANGE_TICKS_MAX
    with pytest.raises(LimitExceededError) as caught:
        committed_range(world)
    assert caught.value.details == {"limit": RANGE_TICKS_MAX, "actual": RANGE_TICKS_MAX + 1}
