"""History: the commands of a lineage, newest first, against the log read whole and filtered here."""

import itertools
import json

import sqlalchemy as sa

from archetype.clock import new_id, utc_now
from archetype.log.command import QUEUED_TYPES, CommandStatus
from archetype.log.facts import Fact, FactType
from archetype.store.acceptance import NewCommand
from archetype.store.append import append, lock_log
from archetype.store.history import HistoryFilter, history
from archetype.store.log import pending, pending_count, record_facts
from archetype.store.schema import events, worlds
from archetype.store.worlds import NewWorld, create, lineage
from statements import analyze, plan_of

ALICE, BOB = new_id(), new_id()


def a_world(connection, name, parent_id=None, fork_tick=None):
    world_id = new_id()
    command = NewCommand(world_id, world_id, "create_world" if parent_id is None else "fork_world", "{}")
    world = NewWorld(world_id, name, 1, "{}", command, parent_id=parent_id, fork_tick=fork_tick)
    create(connection, world)
    return world_id


def commit_up_to(connection, world_id, tick):
    row = sa.update(worlds).where(worlds.c.world_id == world_id)
    connection.execute(row.values(committed_tick=tick, open_tick=tick + 1))


def some_commands(connection, world_id, due_ticks):
    commands = [
        NewCommand(
            new_id(),
            world_id,
            ("spawn", "update", "step", "add_label")[number % 4],
            json.dumps({"n": number}),
            due_tick=due_tick,
            actor_id=(ALICE, BOB, None)[number % 3],
        )
        for number, due_tick in enumerate(due_ticks)
    ]
    append(connection, [commands])
    return commands


def reject(connection, world_id, command, reason):
    lock_log(connection)
    head = worlds.c.head_version
    advanced = sa.update(worlds).where(worlds.c.world_id == world_id).values(head_version=head + 1)
    version = connection.execute(advanced.returning(head)).scalar_one()
    payload = {"reason": reason, "type": command.type}
    fact = Fact(FactType.COMMAND_REJECTED, 0, payload, command.event_id)
    record_facts(connection, world_id, [fact], first_version=version, moment=utc_now())


def a_family(connection):
    """A root, its fork, and that one's fork, each with commands of many ticks, some of them rejected."""
    root_id = a_world(connection, "root")
    mine = some_commands(connection, root_id, [0, 3, 1, 2, 9, 1, 4, 0])
    reject(connection, root_id, mine[0], "no such entity")
    reject(connection, root_id, mine[1], "beyond the fork")
    commit_up_to(connection, root_id, 5)
    child_id = a_world(connection, "child", root_id, 2)
    theirs = some_commands(connection, child_id, [3, 3, 4, 5, 6, 7, 8])
    reject(connection, child_id, theirs[1], "component not present")
    commit_up_to(connection, child_id, 6)
    some_commands(connection, root_id, [6, 7])
    leaf_id = a_world(connection, "leaf", child_id, 4)
    last = some_commands(connection, leaf_id, [5, 5, 5, 6, 7, 7, 7, 7])
    commit_up_to(connection, leaf_id, 6)
    reject(connection, leaf_id, last[1], "no such entity")
    return leaf_id


def expected(connection, chain, committed_tick, wanted):
    """Go through the whole log in Python."""
    rows = connection.execute(sa.select(*events.columns).order_by(events.c.position.desc())).all()
    causes = {(row.world_id, row.cause_id): json.loads(row.payload)["reason"] for row in rows if row.cause_id}
    found = []
    for row in rows:
        if row.kind != "command" or chain.owner_of(row.tick) != row.world_id:
            continue
        reason = causes.get((row.world_id, row.event_id))
        waits = row.type in QUEUED_TYPES and row.tick > committed_tick
        status = "rejected" if reason else "pending" if waits else "applied"
        if (
            (wanted.types is None or row.type in wanted.types)
            and (wanted.actor_id is None or row.actor_id == wanted.actor_id)
            and (wanted.from_tick is None or row.tick >= wanted.from_tick)
            and (wanted.to_tick is None or row.tick < wanted.to_tick)
            and (wanted.status is None or status == wanted.status)
        ):
            found.append((row.position, row.world_id, status, reason))
    return found


FILTERS = [
    HistoryFilter(types, actor_id, *ticks, status)
    for types, actor_id, ticks, status in itertools.product(
        (None, ("spawn", "step")),
        (None, ALICE),
        ((None, None), (1, 5), (3, None), (None, 3), (5, 6), (4, 4)),
        (None, *CommandStatus),
    )
]


async def test_every_filter_and_page_gives_what_the_whole_log_holds(database):
    leaf_id = await database.write(a_family)

    def check(connection):
        chain = lineage(connection, leaf_id)
        seen = set()
        for wanted in FILTERS:
            whole = expected(connection, chain, 6, wanted)
            seen |= {status for _, _, status, _ in whole}
            pages, before = [], None
            while page := history(connection, chain, before_position=before, limit=3, wanted=wanted):
                assert len(page) <= 3
                pages += page
                before = page[-1].event.position
            found = [(row.event.position, row.event.world_id, row.status, row.reason) for row in pages]
            assert found == whole, wanted
        assert seen == set(CommandStatus)

    await database.read(check)


async def test_a_lineage_of_hundreds_of_worlds_is_read_like_any_other(database):
    depth = 500

    def grow(connection):
        world_id = a_world(connection, "0")
        for number in range(1, depth):
            commit_up_to(connection, world_id, number)
            append(connection, [[NewCommand(new_id(), world_id, "custom", "{}", due_tick=number + 1)]])
            world_id = a_world(connection, str(number), world_id, number)
        return world_id

    leaf_id = await database.write(grow)

    def check(connection):
        chain = lineage(connection, leaf_id)
        assert len(chain.segments) == depth
        births = [segment.world_id for segment in chain.segments[::-1]]
        for limit in (1, 40, 2000):
            rows = history(connection, chain, before_position=None, limit=limit)
            assert [row.event.world_id for row in rows] == births[:limit]
        early = HistoryFilter(from_tick=1, to_tick=4)
        rows = history(connection, chain, before_position=None, limit=9, wanted=early)
        assert [row.event.tick for row in rows] == [3, 2]

    await database.read(check)


def a_long_family(connection):
    """A root with many commands, its fork, and that one's fork, which have one each; in each world one waits.

    Gives the root and the last fork.
    """
    root_id = parent_id = a_world(connection, "root")
    for start in range(0, 60_000, 4_000):
        some_commands(connection, root_id, [number // 7_500 for number in range(start, start + 4_000)])
    some_commands(connection, root_id, [8, 20])
    commit_up_to(connection, root_id, 8)
    for number, name in enumerate(("child", "leaf")):
        parent_id = a_world(connection, name, parent_id, 7 + number)
        some_commands(connection, parent_id, [8 + number, 20])
        commit_up_to(connection, parent_id, 8 + number)
    return root_id, parent_id


async def indexes_of(database, heard):
    """Return which indexes of the log one statement goes by, and whether it reads the log as it lies."""
    plan = await plan_of(database, heard)
    names = ("events_version", "events_tick", "events_event_id", "Seq Scan on events", "SCAN events")
    return {name for name in names if any(name in step for step in plan)}


async def test_however_long_a_log_is_a_page_is_read_by_the_right_index(database, statements):
    """By that of ticks a database would sort all there ever was, by that of versions look long for few."""
    _, leaf_id = await database.write(a_long_family)
    await analyze(database, "events")

    async def listed(wanted):
        statements.clear()
        rows = await database.read(
            lambda connection: history(
                connection, lineage(connection, leaf_id), before_position=None, limit=100, wanted=wanted
            )
        )
        asked = [each for each in statements if "ORDER BY events.position DESC" in each.text]
        return len(rows), [await indexes_of(database, each) for each in asked]

    count, indexes = await listed(HistoryFilter())
    assert (count, len(indexes)) == (100, 2)  # the leaf alone, then the others
    assert all("events_version" in each and "events_tick" not in each for each in indexes), indexes
    count, indexes = await listed(HistoryFilter(status=CommandStatus.PENDING, types=["update"]))
    assert (count, len(indexes)) == (1, 1)
    assert "events_tick" in indexes[0], indexes
    count, indexes = await listed(HistoryFilter(from_tick=6, to_tick=7, types=["create_world"]))
    assert (count, len(indexes)) == (0, 1)
    assert "events_tick" in indexes[0], indexes


async def test_what_waits_is_found_by_its_tick_however_long_the_log(database, statements):
    """The planner of PostgreSQL sees the tick as a number, or it would read the log as it lies."""
    root_id, _ = await database.write(a_long_family)
    await analyze(database, "events")
    statements.clear()
    assert await database.read(lambda connection: len(pending(connection, root_id, ["update"]))) == 1
    assert await database.read(lambda connection: pending_count(connection, root_id, ["update"])) == 1
    asked = [each for each in statements if "FROM events" in each.text]
    assert len(asked) == 2
    for each in asked:
        plan = await plan_of(database, each)
        known = "events_tick (world_id=? AND tick>?)" if database.is_sqlite else "(tick > '8'::bigint)"
        assert any(known in step for step in plan), plan
