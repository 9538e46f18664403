"""The log against a small model in memory, on both databases."""

from dataclasses import dataclass, field
from uuid import UUID

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from archetype.clock import new_id
from archetype.errors import CorruptionError
from archetype.store.acceptance import NewCommand, Status
from archetype.store.append import append
from archetype.store.log import checked, commands_of_tick
from archetype.store.schema import events, log_head
from archetype.store.worlds import NewWorld, archive, create, find


async def make_world(database, name=None) -> UUID:
    world_id = new_id()
    command = NewCommand(world_id, world_id, "create_world", "{}")
    world = NewWorld(world_id, name or world_id.hex, 1, "{}", command)
    await database.write(lambda connection: create(connection, world))
    return world_id


@dataclass
class Model:
    """What a world's log must look like, told without SQL."""

    version: int = 1
    next_entity_id: int = 1
    accepted: dict[UUID, tuple[NewCommand, int, int | None]] = field(default_factory=dict)

    def append(self, group, expected_version):
        verdicts = [self._judge(command, expected_version) for command in group]
        trial = self.next_entity_id
        for index, command in enumerate(group):
            if verdicts[index] is Status.ACCEPTED:
                if command.entity_id is not None and command.entity_id < trial:
                    verdicts[index] = Status.ENTITY_ID_TAKEN
                elif command.entity_id is not None:
                    trial = command.entity_id + 1
                else:
                    trial += command.entity_count
        if any(verdict not in {Status.ACCEPTED, Status.DUPLICATE} for verdict in verdicts):
            return [Status.ABORTED if each is Status.ACCEPTED else each for each in verdicts]
        for command, verdict in zip(group, verdicts, strict=True):
            if verdict is Status.ACCEPTED:
                self._accept(command)
        return verdicts

    def _judge(self, command, expected_version):
        if command.event_id in self.accepted:
            known = self.accepted[command.event_id][0]
            return Status.DUPLICATE if _content(known) == _content(command) else Status.CONFLICT
        if expected_version is not None and expected_version != self.version:
            return Status.VERSION_CONFLICT
        return Status.ACCEPTED

    def _accept(self, command):
        self.version += 1
        first = command.entity_id
        if first is None and command.entity_count:
            first = self.next_entity_id
        self.accepted[command.event_id] = (command, self.version, first)
        if command.entity_id is not None:
            self.next_entity_id = command.entity_id + 1
        else:
            self.next_entity_id += command.entity_count


def _content(command):
    """What a retry must repeat; the ids a command needs follow from its payload."""
    return command._replace(entity_count=0, entity_id=None)


@st.composite
def groups(draw):
    """Groups of commands that share few ids and payloads, so that retries and conflicts happen."""
    size = draw(st.integers(1, 4))
    ids = draw(st.lists(st.integers(1, 8), min_size=size, max_size=size, unique=True))
    wants_id = draw(st.booleans())
    group = [
        NewCommand(
            event_id=UUID(int=number),
            world_id=UUID(int=0),
            type=draw(st.sampled_from(["spawn", "update"])),
            payload=draw(st.sampled_from(["{}", '{"a":1}'])),
            due_tick=draw(st.integers(0, 2)),
            priority=draw(st.integers(-1, 1)),
            entity_count=draw(st.integers(0, 3)),
            entity_id=draw(st.none() | st.integers(1, 12)) if wants_id else None,
            batch=draw(st.none() | st.just(b"arrow")),
        )
        for number in ids
    ]
    group = [each._replace(entity_count=0) if each.entity_id is not None else each for each in group]
    return group, draw(st.none() | st.integers(1, 6))


@given(calls=st.lists(groups(), max_size=8))
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
async def test_appends_are_answered_as_the_model_says(database, calls):
    world_id = await make_world(database)
    model = Model()
    for group, expected_version in calls:
        mine = [command._replace(world_id=world_id) for command in group]
        answers = await database.write(
            lambda connection, mine=mine, expected=expected_version: append(connection, [mine], expected)
        )
        assert [answer.status for answer in answers] == model.append(mine, expected_version)
        for command, answer in zip(mine, answers, strict=True):
            if answer.status.is_in_log:
                _, version, first = model.accepted[command.event_id]
                assert (answer.version, answer.first_entity_id) == (version, first)
    world = await database.read(lambda connection: find(connection, world_id))
    assert (world.head_version, world.next_entity_id) == (model.version, model.next_entity_id)


@given(calls=st.lists(st.lists(st.tuples(st.integers(0, 1), groups()), max_size=5), max_size=4))
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
async def test_groups_that_share_a_call_are_answered_as_if_each_had_its_own(database, calls):
    """Whatever worlds they are of, and whether or not there is anything to refuse in the call."""
    worlds = [await make_world(database) for _ in range(2)]
    models = [Model(), Model()]
    for call in calls:
        used: set[tuple[int, UUID]] = set()
        mine: list[tuple[Model, list[NewCommand]]] = []
        for index, (group, _) in call:
            plain = [
                each._replace(world_id=worlds[index], entity_id=None)
                for each in group
                if (index, each.event_id) not in used
            ]
            used |= {(index, each.event_id) for each in plain}
            mine.append((models[index], plain))
        answers = iter(
            await database.write(
                lambda connection, mine=mine: append(connection, [group for _, group in mine if group])
            )
        )
        for model, group in mine:
            for command, status in zip(group, model.append(group, None), strict=True):
                answer = next(answers)
                assert answer.status is status
                if status.is_in_log:
                    _, version, first = model.accepted[command.event_id]
                    assert (answer.version, answer.first_entity_id) == (version, first)
        assert list(answers) == []
    for world_id, model in zip(worlds, models, strict=True):
        world = await database.read(lambda connection, world_id=world_id: find(connection, world_id))
        assert (world.head_version, world.next_entity_id) == (model.version, model.next_entity_id)
        for tick in range(3):
            rows = await database.read(
                lambda connection, each=(world_id, tick): commands_of_tick(connection, *each)
            )
            checked(rows)


async def test_a_refused_group_does_not_fail_its_neighbours(database):
    world_id, gone_id = await make_world(database), new_id()
    good = [NewCommand(new_id(), world_id, "spawn", "{}", entity_count=1) for _ in range(3)]
    bad = NewCommand(new_id(), gone_id, "spawn", "{}", entity_count=1)
    calls = [[good[0]], [bad], [good[1], good[2]]]
    answers = await database.write(lambda connection: append(connection, calls))
    assert [answer.status.value for answer in answers] == [
        "accepted",
        "unknown_world",
        "accepted",
        "accepted",
    ]
    assert [answer.first_entity_id for answer in answers] == [1, None, 2, 3]
    positions = [answer.position for answer in answers if answer.position]
    assert positions == list(range(positions[0], positions[0] + 3))


async def test_an_archived_world_takes_no_commands_but_answers_a_retry(database):
    world_id = await make_world(database)
    early = NewCommand(new_id(), world_id, "spawn", "{}", entity_count=1)
    first = await database.write(lambda connection: append(connection, [[early]]))
    destroy = NewCommand(new_id(), world_id, "destroy_world", "{}")
    await database.write(lambda connection: archive(connection, destroy))
    late = NewCommand(new_id(), world_id, "spawn", "{}", entity_count=1)
    answers = await database.write(lambda connection: append(connection, [[early], [late]]))
    assert [answer.status.value for answer in answers] == ["duplicate", "archived"]
    assert answers[0].position == first[0].position


async def test_a_retry_succeeds_whatever_version_it_expected(database):
    world_id = await make_world(database)
    command = NewCommand(new_id(), world_id, "custom", "{}")
    for expected_version, status in ((1, Status.ACCEPTED), (1, Status.DUPLICATE), (99, Status.DUPLICATE)):
        (answer,) = await database.write(
            lambda connection, expected=expected_version: append(connection, [[command]], expected)
        )
        assert answer.status is status
    other = NewCommand(new_id(), world_id, "custom", "{}")
    (answer,) = await database.write(lambda connection: append(connection, [[other]], 1))
    assert (answer.status, answer.head_version) == (Status.VERSION_CONFLICT, 2)


async def test_commands_go_to_the_open_tick_or_the_later_one_they_are_due_in(database):
    world_id = await make_world(database)
    await database.write(lambda connection: connection.execute(sa.text("UPDATE worlds SET open_tick = 5")))
    commands = [NewCommand(new_id(), world_id, "custom", "{}", due_tick=due) for due in (0, 5, 7)]
    answers = await database.write(lambda connection: append(connection, [commands]))
    assert [answer.tick for answer in answers] == [5, 5, 7]


async def test_a_tick_applies_commands_by_due_tick_then_priority_then_version(database):
    world_id = await make_world(database)
    await database.write(lambda connection: connection.execute(sa.text("UPDATE worlds SET open_tick = 2")))
    order = [(2, 0), (1, 5), (2, -1), (1, 5), (0, 9)]
    commands = [
        NewCommand(new_id(), world_id, "custom", f'{{"n":{n}}}', due_tick=due, priority=priority)
        for n, (due, priority) in enumerate(order)
    ]
    await database.write(lambda connection: append(connection, [commands]))
    rows = await database.read(lambda connection: commands_of_tick(connection, world_id, 2))
    assert [row.payload["n"] for row in rows] == [4, 1, 3, 2, 0]


@pytest.mark.parametrize("count", [1, 4, 85, 597])
async def test_every_row_of_a_long_group_stands_as_it_was_answered(database, count):
    """However many rows one statement takes; those of two worlds lie between each other."""
    worlds = [await make_world(database) for _ in range(2)]
    group = [
        NewCommand(new_id(), worlds[number % 2], "spawn", f'{{"n":{number}}}', entity_count=1)
        for number in range(count)
    ]
    answers = await database.write(lambda connection: append(connection, [group]))
    again = await database.write(lambda connection: append(connection, [group]))
    assert {answer.status for answer in again} == {Status.DUPLICATE}
    assert [answer[1:5] for answer in again] == [answer[1:5] for answer in answers]
    for world_id in worlds:
        rows = checked(
            await database.read(
                lambda connection, world_id=world_id: commands_of_tick(connection, world_id, 0)
            )
        )
        stands = [
            (command.event_id, *answer[1:5])
            for command, answer in zip(group, answers, strict=True)
            if command.world_id == world_id
        ]
        found = [row.event for row in checked(rows) if row.event.type == "spawn"]
        assert stands == [
            (each.event_id, each.position, each.version, each.tick, each.first_entity_id) for each in found
        ]


async def test_positions_have_no_hole_and_follow_commit_order(database):
    worlds = [await make_world(database) for _ in range(3)]
    for round_ in range(4):
        calls = [[NewCommand(new_id(), each, "custom", f'{{"r":{round_}}}')] for each in worlds]
        await database.write(lambda connection, calls=calls: append(connection, calls))

    def read(connection):
        positions = connection.scalars(sa.select(events.c.position).order_by(events.c.position)).all()
        return positions, connection.scalar(sa.select(log_head.c.position))

    positions, head = await database.read(read)
    assert positions == list(range(1, head + 1))


async def test_an_edited_row_is_found_when_it_is_read(database):
    world_id = await make_world(database)
    command = NewCommand(new_id(), world_id, "custom", '{"amount":1}')
    (answer,) = await database.write(lambda connection: append(connection, [[command]]))

    def tamper(connection):
        if connection.dialect.name == "postgresql":
            connection.execute(sa.text("ALTER TABLE events DISABLE TRIGGER ALL"))
        else:
            connection.execute(sa.text("DROP TRIGGER events_no_update"))
        connection.execute(
            sa.text("UPDATE events SET payload = :p WHERE type = 'custom'"), {"p": '{"amount":9}'}
        )

    await database.write(tamper)
    rows = await database.read(lambda connection: commands_of_tick(connection, world_id, 0))
    with pytest.raises(CorruptionError, match=f"position {answer.position} "):
        checked(rows)


async def test_postgres_can_check_every_row_by_itself(postgres_database_url):
    from archetype.store.database import Database

    database = Database(postgres_database_url)
    world_id = await make_world(database)
    commands = [
        NewCommand(
            new_id(), world_id, "custom", '{"é":"\\n"}', priority=-1, actor_id=new_id(), batch=b"\x00x"
        ),
        NewCommand(new_id(), world_id, "spawn", "{}", entity_count=2),
    ]
    await database.write(lambda connection: append(connection, [commands]))
    wrong = "SELECT count(*) FROM events WHERE hash <> event_hash(events)"
    assert await database.read(lambda connection: connection.scalar(sa.text(wrong))) == 0
    rows = await database.read(lambda connection: commands_of_tick(connection, world_id, 0))
    await database.close()
    assert len(checked(rows)) == 3


async def test_postgres_refuses_to_write_the_log_under_another_isolation(postgres_database_url):
    from archetype.store.database import Database

    database = Database(postgres_database_url)

    def write(connection):
        connection.execute(sa.text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
        connection.execute(sa.text("SELECT lock_log()"))

    with pytest.raises(Exception, match="READ COMMITTED only"):
        await database.write(write)
    await database.close()
