"""Quotas where they are counted: in the append, the same on both databases, and as a plain model says."""

import asyncio
from dataclasses import dataclass, field
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from archetype.clock import new_id, utc_now
from archetype.errors import QuotaExceededError
from archetype.log.costs import DEFAULT_QUOTA, Quota
from archetype.service.verification.verify import verify
from archetype.store.acceptance import NewCommand, Status
from archetype.store.append import append
from archetype.store.usage import day_of, find_usage, set_quota
from archetype.store.worlds import NewWorld, create

ANN, BEN = UUID(int=1), UUID(int=2)


def world_of(world_id: UUID, *, actor_id: UUID | None = None, cost: int = 0) -> NewWorld:
    command = NewCommand(
        world_id, world_id, "create_world", '{"config":{},"name":"w","seed":1}', actor_id=actor_id, cost=cost
    )
    return NewWorld(world_id, f"w{world_id.hex}", 1, "{}", command)


def custom(world_id: UUID, actor_id: UUID | None, *, cost: int = 10, due_tick: int = 0) -> NewCommand:
    return NewCommand(
        new_id(), world_id, "custom", "{}", due_tick=due_tick, actor_id=actor_id, cost=cost if actor_id else 0
    )


async def make_world(database) -> UUID:
    world_id = new_id()
    await database.write(lambda connection: create(connection, world_of(world_id)))
    return world_id


async def accept(database, *groups):
    return await database.write(lambda connection: append(connection, groups))


async def quota(database, actor_id: UUID, per_tick: int | None, per_day: int | None) -> None:
    await database.write(lambda connection: set_quota(connection, actor_id, Quota(per_tick, per_day), "test"))


async def usage(database, actor_id: UUID):
    return await database.read(lambda connection: find_usage(connection, actor_id))


@pytest.mark.parametrize("per_tick", [500, 3])
async def test_an_actor_has_so_many_commands_in_a_tick_of_a_world(database, per_tick):
    world_id = await make_world(database)
    if per_tick != DEFAULT_QUOTA.commands_per_tick:
        await quota(database, ANN, per_tick, 200_000)
    answers = await accept(database, [custom(world_id, ANN) for _ in range(per_tick)])
    assert {answer.status for answer in answers} == {Status.ACCEPTED}
    (answer,) = await accept(database, [custom(world_id, ANN)])
    assert (answer.status, answer.used, answer.allowed) == (Status.TICK_QUOTA, per_tick, per_tick)
    (other,) = await accept(database, [custom(world_id, BEN)])
    (unknown,) = await accept(database, [custom(world_id, None)])
    (later,) = await accept(database, [custom(world_id, ANN, due_tick=7)])
    (elsewhere,) = await accept(database, [custom(await make_world(database), ANN)])
    assert {each.status for each in (other, unknown, later, elsewhere)} == {Status.ACCEPTED}


async def test_an_actor_has_so_many_tokens_in_a_day(database):
    first, second = await make_world(database), await make_world(database)
    (most,) = await accept(database, [custom(first, ANN, cost=199_995)])
    (more,) = await accept(database, [custom(second, ANN, cost=6)])
    (rest,) = await accept(database, [custom(second, ANN, cost=5)])
    assert [most.status, more.status, rest.status] == [
        Status.ACCEPTED,
        Status.TOKEN_BUDGET,
        Status.ACCEPTED,
    ]
    assert (more.used, more.allowed) == (199_995, 200_000)
    found = await usage(database, ANN)
    assert (found.tokens, found.commands, found.is_default) == (200_000, 2, True)


async def test_a_batch_is_all_or_nothing_and_a_denied_one_debits_nothing(database):
    world_id = await make_world(database)
    await quota(database, ANN, 5, 1_000)
    answers = await accept(database, [custom(world_id, ANN) for _ in range(6)])
    assert {answer.status for answer in answers} == {Status.TICK_QUOTA}
    assert (await usage(database, ANN)).commands == 0
    answers = await accept(database, [custom(world_id, ANN) for _ in range(5)])
    assert {answer.status for answer in answers} == {Status.ACCEPTED}


async def test_what_one_group_takes_a_later_one_of_the_same_call_lacks(database):
    world_id = await make_world(database)
    await quota(database, ANN, 4, None)
    groups = [[custom(world_id, ANN) for _ in range(count)] for count in (3, 2, 1, 1)]
    answers = iter(await accept(database, *groups))
    by_group = [{next(answers).status for _ in group} for group in groups]
    assert by_group == [
        {Status.ACCEPTED},
        {Status.TICK_QUOTA},
        {Status.ACCEPTED},
        {Status.TICK_QUOTA},
    ]


async def test_a_retry_costs_nothing_and_passes_when_all_is_used_up(database):
    world_id = await make_world(database)
    await quota(database, ANN, 1, 10)
    command = custom(world_id, ANN)
    (first,) = await accept(database, [command])
    (again,) = await accept(database, [command])
    assert (first.status, again.status) == (Status.ACCEPTED, Status.DUPLICATE)
    assert (await usage(database, ANN)).tokens == 10


async def test_what_is_free_passes_when_all_is_used_up(database):
    world_id = await make_world(database)
    await quota(database, ANN, 0, 0)
    (answer,) = await accept(database, [custom(world_id, ANN, cost=0)])
    assert answer.status is Status.ACCEPTED


async def test_making_worlds_costs_tokens_all_or_none(database):
    await quota(database, ANN, None, 120)
    first, second, third = new_id(), new_id(), new_id()
    for world_id in (first, second):
        made = world_of(world_id, actor_id=ANN, cost=50)
        await database.write(lambda connection, made=made: create(connection, made))
    with pytest.raises(QuotaExceededError) as caught:
        await database.write(lambda connection: create(connection, world_of(third, actor_id=ANN, cost=50)))
    details = caught.value.details
    assert (details["quota"], details["used"], details["allowed"]) == ("tokens_per_day", 100, 120)
    assert 0 < details["retry_after_s"] <= 86_400
    again = world_of(first, actor_id=ANN, cost=50)
    await database.write(lambda connection: create(connection, again))
    assert (await usage(database, ANN)).tokens == 100


async def test_usage_is_that_of_the_utc_day(database):
    world_id = await make_world(database)
    before = day_of(utc_now())
    await accept(database, [custom(world_id, ANN)])
    assert before <= (await usage(database, ANN)).day <= day_of(utc_now())


@dataclass
class Model:
    """What should be refused, by the rule and nothing else."""

    per_tick: int | None
    per_day: int | None
    in_tick: dict[tuple[int, int], int] = field(default_factory=dict)
    in_day: int = 0

    def answer(self, group: list[tuple[int, int, int]]) -> Status:
        ticks: dict[tuple[int, int], int] = {}
        for world, tick, _ in group:
            ticks[world, tick] = ticks.get((world, tick), 0) + 1
        tokens = sum(cost for _, _, cost in group)
        for place, count in ticks.items():
            if self.per_tick is not None and self.in_tick.get(place, 0) + count > self.per_tick:
                return Status.TICK_QUOTA
        if self.per_day is not None and self.in_day + tokens > self.per_day:
            return Status.TOKEN_BUDGET
        for place, count in ticks.items():
            self.in_tick[place] = self.in_tick.get(place, 0) + count
        self.in_day += tokens
        return Status.ACCEPTED


group = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 2), st.integers(1, 9)), min_size=1, max_size=4)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    calls=st.lists(st.lists(group, min_size=1, max_size=5), min_size=1, max_size=4),
    per_tick=st.none() | st.integers(0, 6),
    per_day=st.none() | st.integers(0, 60),
)
async def test_the_append_refuses_what_the_rule_refuses(database, calls, per_tick, per_day):
    """A law over any calls of any groups, on both databases."""
    actor_id = new_id()
    worlds = [await make_world(database), await make_world(database)]
    await quota(database, actor_id, per_tick, per_day)
    model = Model(per_tick, per_day)
    for call in calls:
        groups = [
            [custom(worlds[world], actor_id, cost=cost, due_tick=tick) for world, tick, cost in each]
            for each in call
        ]
        answers = iter(await accept(database, *groups))
        assert [{next(answers).status for _ in each} for each in groups] == [
            {model.answer(each)} for each in call
        ]
    assert (await usage(database, actor_id)).tokens == model.in_day


async def test_who_changes_a_quota_at_once_with_others_undoes_nothing_of_theirs(services):
    """Each names one half; whatever the order, both halves end as somebody set them, and the acts tell it."""
    await services.identity_service.create_actor("ann", roles=["player"])
    changes = [{"commands_per_tick": 7}, {"tokens_per_day": 8}] * 4
    await asyncio.gather(*(services.quota_service.set("ann", change) for change in changes))
    found = await services.quota_service.show("ann")
    assert (found.commands_per_tick, found.tokens_per_day) == (7, 8)
    assert (await verify(services.database)).faults == ()
