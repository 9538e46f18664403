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


@given(forks, st.integers(0, 20))
def test_the_depth_counts_the_owners_up_to_a_tick(fork_ticks, tick):
    links = chain(fork_ticks)
    owners = {owner_by_walking(links, each) for each in range(tick + 1)}
    assert Lineage(links).depth_at(tick) == len(owners)
    assert Lineage(links).depth_at(-1) == 0


@given(forks)
def test_segments_cover_every_tick_once(fork_ticks):
    segments = Lineage(chain(fork_ticks)).segments
    assert segments[0].from_tick == 0
    assert segments[-1].to_tick is None
    assert all(left.to_tick == right.from_tick for left, right in itertools.pairwise(segments))
    assert all(segment.to_tick is None or segment.from_tick < segment.to_tick for segment in segments)


@st.composite
def trees(draw):
    """Worlds as (parent, fork tick), each forked from an earlier one; a fork may name any inherited tick."""
    size = draw(st.integers(1, 8))
    return [None] + [
        (draw(st.integers(0, number - 1)), draw(st.integers(-1, 9))) for number in range(1, size)
    ]


def lineage_in(tree, number):
    links = []
    while tree[number] is not None:
        parent, fork_tick = tree[number]
        links.append((UUID(int=number + 1), fork_tick))
        number = parent
    return Lineage([*links, (UUID(int=number + 1), None)])


def past(lineage, tick):
    return {(lineage.owner_of(each), each) for each in range(tick + 1)}


@given(trees(), st.data(), st.integers(-1, 12), st.integers(-1, 12))
def test_the_merge_base_is_the_last_tick_that_two_pasts_share(tree, data, tick, other_tick):
    one, other = (lineage_in(tree, data.draw(st.integers(0, len(tree) - 1))) for _ in range(2))
    shared = past(one, tick) & past(other, other_tick)
    expected = max(shared, key=lambda each: each[1], default=None)
    assert one.merge_base(tick, other, other_tick) == expected
    assert other.merge_base(other_tick, one, tick) == expected


def test_roots_share_nothing_and_a_world_shares_itself():
    one, other = Lineage([(UUID(int=1), None)]), Lineage([(UUID(int=2), None)])
    assert one.merge_base(5, other, 5) is None
    assert one.merge_base(5, one, 3) == (UUID(int=1), 3)
    assert one.merge_base(5, one, -1) is None


@given(trees(), st.data(), st.integers(0, 12), st.none() | st.integers(0, 12))
def test_the_segments_between_two_ticks_own_exactly_these(tree, data, from_tick, to_tick):
    lineage = lineage_in(tree, data.draw(st.integers(0, len(tree) - 1)))
    cut = lineage.between(from_tick, to_tick)
    end = 20 if to_tick is None else to_tick
    owned = [
        (segment.world_id, tick)
        for segment in cut
        for tick in range(segment.from_tick, 20 if segment.to_tick is None else segment.to_tick)
    ]
    assert owned == [(lineage.owner_of(tick), tick) for tick in range(from_tick, end)]
