"""Lineage: who owns which tick, against a walk tick by tick."""

import itertools
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from archetype.log.lineage import Lineage

forks = st.lists(st.integers(-1, 12), max_size=6)


def chain(fork_ticks):
    """A world, its parent, and so on to the root, forked at these ticks."""
    depth = len(fork_ticks)
    return [(UUID(int=i + 1), fork_ticks[i] if i < depth else None) for i in range(depth + 1)]


def owner_by_walking(links, tick):
    for world_id, fork_tick in links:
        if fork_tick is None or tick > fork_tick:
            return world_id
    raise AssertionError


@given(forks, st.integers(0, 15))
def test_the_owner_of_a_tick_is_the_first_world_forked_before_it(fork_ticks, tick):
    links = chain(fork_ticks)
    assert Lineage(links).owner_of(tick) == owner_by_walking(links, tick)


@given(forks)
def test_segments_cover_every_tick_once(fork_ticks):
    segments = Lineage(chain(fork_ticks)).segments
    assert segments[0].from_tick == 0
    assert segments[-1].to_tick is None
    assert all(left.to_tick == right.from_tick for left, right in itertools.pairwise(segments))
    assert all(segment.to_tick is None or segment.from_tick < segment.to_tick for segment in segments)
