"""Limits: what just reaches one is accepted, one more is refused as docs/limits.md says."""

import asyncio
import re
import uuid
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pydantic import create_model

from archetype import limits
from archetype.api.bodies import Bodies
from archetype.api.problems import STATUS_OF
from archetype.api.streaming import EventStreams
from archetype.core.archetype import Archetype, _archetype_of
from archetype.core.arrow_types import parse_type
from archetype.core.bulk import decode_batch, encode_batch
from archetype.core.component import Component
from archetype.core.config import WorldConfig
from archetype.core.processor import AsyncProcessor
from archetype.errors import ArchetypeError, LimitExceededError
from archetype.examples.movement import Position
from archetype.log.canonical import canonical_json
from archetype.log.command import CommandType, check_payload
from archetype.service import run_service
from archetype.service.admission import CommandRequest, admit, admit_all
from archetype.service.appender import Appender
from archetype.service.container import ServiceContainer
from archetype.service.forks import ForkRequest, check_depth, fork_ids
from archetype.service.pending import BoundedAppender
from archetype.service.ranges import committed_range
from archetype.service.runs import RunRequest
from archetype.service.verification.faults import FaultKind, Findings
from archetype.store.acceptance import Answer, NewCommand, Status
from archetype.store.denials import Origin
from archetype.store.pending import PendingCount
from archetype.store.worlds import WorldRow

WORLD = uuid.UUID(int=1)
DOCUMENT = Path(__file__).parents[1] / "docs" / "limits.md"
assert Position


def status_of(error):
    return next(STATUS_OF[each] for each in type(error).__mro__ if each in STATUS_OF)


def beyond(name):
    """Return what the document says that answers beyond a limit: a status and a code, or what happens."""
    row = re.search(rf"^\| `{name}` \|.* \| (.*) \|$", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE)
    assert row is not None
    return row[1]


def command(kind="custom", payload=None, **options):
    return admit(CommandRequest(kind, payload or {}, **options), world_id=WORLD, actor_id=None)


def payload(kind, path, **others):
    """Return what checks a payload whose field at `path` holds a value; a dot leads into an object."""

    def check(value):
        for part in reversed(path.split(".")):
            value = {part: value}
        check_payload(kind, others | value)

    return check


def nested(depth):
    value = []
    for _ in range(depth - 1):
        value = [value]
    return value


def table(columns):
    return encode_batch(pa.table({f"limited__c{number}": [1] for number in range(columns)}))


def rows(count):
    return encode_batch(pa.table({"position__x": np.zeros(count)}))


def wide(field_count):
    fields = {f"f{number}": (int, 0) for number in range(field_count)}
    create_model(f"LimitedOf{field_count}", __base__=Component, __module__=__name__, **fields)


def crowded(count):
    names = [f"Limited{number}" for number in range(count)]
    Archetype.from_parts(names[:-1], []).with_components(Archetype.from_parts(names[-1:], []))


def batch(count):
    requests = [CommandRequest("custom", {})] * count
    admit_all(requests, world_id=WORLD, actor_id=None)


def builder(name):
    """Name a builder as the log does, with its fingerprint: no class is looked up."""
    scheduler = {"group_builder": {"name": name, "fingerprint": "0" * 64}}
    check_payload(CommandType.CONFIGURE_WORLD, {"config": {"scheduler": scheduler}})


def world_after(tick_count):
    fields = dict.fromkeys(WorldRow.__dataclass_fields__)
    return WorldRow(**fields | {"name": "demo", "committed_tick": tick_count - 1})


REFUSED = {
    "TICK_MAX": lambda most: command(tick=most),
    "ENTITY_ID_MAX": payload(CommandType.DESPAWN, "entity_id"),
    "ENTITY_ID_GIVEN_MAX": payload(CommandType.SPAWN, "entity_id"),
    "SEED_MAX": payload(CommandType.CREATE_WORLD, "seed", name="demo"),
    "PRIORITY_MAX": lambda most: command(priority=most),
    "PRIORITY_MIN": lambda least: command(priority=least),
    "JSON_DEPTH_MAX": lambda most: canonical_json(nested(most)),
    "TYPE_DEPTH_MAX": lambda most: parse_type("list<item:" * most + "int64" + ">" * most),
    "COMPONENT_FIELDS_MAX": wide,
    "ENTITY_COMPONENTS_MAX": crowded,
    "SNAPSHOT_TICKS_MAX": payload(CommandType.CONFIGURE_WORLD, "config.snapshots"),
    "POLICY_ATTEMPTS_MAX": payload(CommandType.CONFIGURE_WORLD, "config.scheduler.retry_policy.max_attempts"),
    "POLICY_S_MAX": payload(CommandType.CONFIGURE_WORLD, "config.scheduler.retry_policy.timeout"),
    "POLICY_CONCURRENT_MAX": payload(CommandType.CONFIGURE_WORLD, "config.scheduler.max_concurrent"),
    "RUN_TICKS_MAX": payload(CommandType.RUN, "num_steps"),
    "PAYLOAD_CHARACTERS_MAX": lambda most: command(payload={"t": "x" * (most - len('{"t":""}'))}),
    "BATCH_COMMANDS_MAX": batch,
    "BATCH_COLUMNS_MAX": lambda most: decode_batch(table(most)),
    "BULK_ROWS_MAX": lambda most: command("spawn", batch=rows(most)),
    "FORKS_MAX": lambda most: fork_ids(ForkRequest("fork", count=most)),
    "EPISODES_AT_ONCE_MAX": payload(CommandType.RUN_ROLLOUT, "parallel", max_steps=1, episodes=1),
    "LINEAGE_WORLDS_MAX": lambda most: check_depth(
        WorldRow(**dict.fromkeys(WorldRow.__dataclass_fields__)), most
    ),
    "RANGE_TICKS_MAX": lambda most: committed_range(world_after(most)),
}
TEXTS = {
    "world": ("NAME_CHARACTERS_MAX", payload(CommandType.CREATE_WORLD, "name", seed=1)),
    "label": ("NAME_CHARACTERS_MAX", payload(CommandType.ADD_LABEL, "name", tick=0)),
    "processor": ("CODE_NAME_CHARACTERS_MAX", payload(CommandType.REMOVE_PROCESSOR, "processor")),
    "resource": ("CODE_NAME_CHARACTERS_MAX", payload(CommandType.REMOVE_RESOURCE, "resource")),
    "builder": ("CODE_NAME_CHARACTERS_MAX", builder),
    "channel": ("CHANNEL_CHARACTERS_MAX", payload(CommandType.MESSAGE, "channel", content=1)),
    "reason": ("REASON_CHARACTERS_MAX", payload(CommandType.DESTROY_WORLD, "reason")),
}


def refused(name, attempt, value):
    with pytest.raises(ArchetypeError) as caught:
        attempt(value)
    error = caught.value
    assert beyond(name).split()[0] == str(status_of(error)), error
    if isinstance(error, LimitExceededError):
        assert beyond(name) == f"413 `{error.code}`"
        assert error.details["limit"] == getattr(limits, name)
        assert error.details["actual"] == getattr(limits, name) + 1
    return error


@pytest.mark.parametrize("name", REFUSED)
def test_what_reaches_a_limit_is_accepted_and_one_more_is_refused(name):
    most, attempt = getattr(limits, name), REFUSED[name]
    attempt(most)
    refused(name, attempt, most - 1 if name.endswith("_MIN") else most + 1)


def test_a_refusal_lists_so_many_faults():
    """One more, and they are counted."""
    most = limits.FIELD_FAULTS_MAX
    listed = []
    for count in (most, most + 1):
        with pytest.raises(ArchetypeError) as caught:
            command("spawn", {"components": [1] * count})
        listed.append([fault["path"] for fault in caught.value.faults])
        assert ("1001 values do not fit" in str(caught.value)) is (count > most)
    assert listed == [[f"payload.components.{number}" for number in range(most)], ["payload"]]
    assert beyond("FIELD_FAULTS_MAX") == "counted, not listed"


def test_a_batch_lists_so_many_faults_of_all_its_commands():
    bad = CommandRequest("spawn", {"components": [1] * 400})
    with pytest.raises(ArchetypeError, match="1200 faults, the first in commands") as caught:
        admit_all([bad] * 3, world_id=WORLD, actor_id=None)
    assert len(caught.value.faults) == limits.FIELD_FAULTS_MAX
    assert caught.value.faults[-1]["path"] == "commands.2.payload.components.199"
    twins = [CommandRequest("custom", {}, id=WORLD)] * (limits.FIELD_FAULTS_MAX + 2)
    with pytest.raises(ArchetypeError, match="1001 faults") as caught:
        admit_all(twins, world_id=WORLD, actor_id=None)
    assert len(caught.value.faults) == limits.FIELD_FAULTS_MAX


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_may_have_so_many_characters(text):
    name, attempt = TEXTS[text]
    most = getattr(limits, name)
    attempt("é" * most)
    assert str(most) in str(refused(name, attempt, "é" * (most + 1)))


def test_an_entity_is_not_spawned_with_too_many_components(monkeypatch):
    """As components, or as the columns of a table."""
    parts = {"components": [{"type": "Position"}, {"type": "Velocity"}]}
    columns = encode_batch(pa.table({"position__x": [1.0], "velocity__dx": [1.0]}))
    for most in (2, 1):
        monkeypatch.setattr("archetype.core.archetype.ENTITY_COMPONENTS_MAX", most)
        _archetype_of.cache_clear()
        for options in ({"payload": parts}, {"batch": columns}):
            if most == 2:
                command("spawn", **options)
                continue
            with pytest.raises(LimitExceededError, match="2 components, 1 are allowed"):
                command("spawn", **options)


def test_an_arrow_table_may_have_so_many_bytes():
    """What just fits is read, and found to be none."""
    name, most = "BULK_BYTES_MAX", limits.BULK_BYTES_MAX
    with pytest.raises(ArchetypeError, match="not a sound"):
        command("spawn", batch=bytes(most))
    refused(name, lambda count: command("spawn", batch=bytes(count)), most + 1)


async def test_keys_hold_and_overlap_for_so_long(sqlite_url):
    async with ServiceContainer(sqlite_url) as services:
        identities = services.identity_service
        await identities.create_actor("a" * limits.NAME_CHARACTERS_MAX, roles=["viewer"])
        with pytest.raises(ArchetypeError, match=f"at most {limits.NAME_CHARACTERS_MAX} letters"):
            await identities.create_actor("a" * (limits.NAME_CHARACTERS_MAX + 1), roles=["viewer"])
        await identities.create_actor("ann", roles=["viewer"])
        issued = await identities.create_key("ann", expires_in_s=limits.KEY_LIFE_S_MAX)
        with pytest.raises(ArchetypeError) as life:
            await identities.create_key("ann", expires_in_s=limits.KEY_LIFE_S_MAX + 1)
        key_id = issued.listed.key_id
        with pytest.raises(ArchetypeError) as grace:
            await identities.rotate_key(key_id, grace_s=limits.KEY_GRACE_S_MAX + 1)
        await identities.rotate_key(key_id, grace_s=limits.KEY_GRACE_S_MAX)
        await services.quota_service.set("ann", {"tokens_per_day": limits.QUOTA_MAX})
        with pytest.raises(ArchetypeError) as quota:
            await services.quota_service.set("ann", {"tokens_per_day": limits.QUOTA_MAX + 1})
    for name, caught in (("KEY_LIFE_S_MAX", life), ("KEY_GRACE_S_MAX", grace), ("QUOTA_MAX", quota)):
        assert beyond(name) == str(status_of(caught.value))
        assert str(getattr(limits, name)) in str(caught.value)


async def test_a_process_keeps_so_many_keys_and_origins(sqlite_url, monkeypatch):
    """The one that was not used for longest goes; it is found again where it is stored."""
    assert (
        beyond("KEYS_KEPT_MAX")
        == beyond("ORIGINS_KEPT_MAX")
        == "what was not used for longest is looked up again"
    )
    monkeypatch.setattr("archetype.service.gate.KEYS_KEPT_MAX", 2)
    monkeypatch.setattr("archetype.service.origins.ORIGINS_KEPT_MAX", 2)
    async with ServiceContainer(sqlite_url) as services:
        await services.identity_service.create_actor("ann", roles=["viewer"])
        keys = [(await services.identity_service.create_key("ann")).key for _ in range(3)]
        gate, sizes = services.gate, []
        for number, key in enumerate(keys):
            await gate.authenticate(key)
            await gate._origins.note(Origin(None, None, f"192.0.2.{number}"))
            sizes.append((len(gate._known), len(gate._origins._known)))
        assert sizes == [(1, 1), (2, 2), (2, 2)]
        assert (await gate.authenticate(keys[0])).name == "ann"


def test_a_verification_lists_so_many_faults():
    findings = Findings()
    for count in (limits.FAULTS_MAX, limits.FAULTS_MAX + 1):
        while findings.fault_count < count:
            findings.add(FaultKind.LINEAGE, "world", "differs")
        assert (len(findings.faults), findings.fault_count) == (limits.FAULTS_MAX, count)
    assert beyond("FAULTS_MAX") == "counted, not listed"


class _ReachedError(Exception):
    """The limit let it through."""


class _Through:
    """Stands for what is behind a limit."""

    is_sqlite = True


async def test_so_many_commands_wait_to_be_written():
    """The queue takes what just fills it, and then nothing, whoever asks."""
    name, most = "QUEUE_COMMANDS_MAX", limits.QUEUE_COMMANDS_MAX
    appender = Appender(_Through())
    appender._flushing = appender._flushers_max
    one = command()
    assert isinstance(one, NewCommand)
    waiting = asyncio.create_task(appender.append([one] * most))
    await asyncio.sleep(0)
    assert appender.queue_depth == most
    with pytest.raises(ArchetypeError) as caught:
        await appender.append([one])
    assert beyond(name) == f"{status_of(caught.value)} `{caught.value.code}`"
    waiting.cancel()


async def test_so_many_bytes_wait_to_be_written():
    """Whatever they are worth in commands; a batch counts by its bytes, all else as it lies in memory."""
    name, most = "QUEUE_BYTES_MAX", limits.QUEUE_BYTES_MAX
    appender = Appender(_Through())
    appender._flushing = appender._flushers_max
    small = command()._replace(batch=None)
    waiting = [asyncio.create_task(appender.append([small]))]
    await asyncio.sleep(0)
    large = small._replace(batch=bytes(most - 2 * appender._queued_bytes))
    waiting.append(asyncio.create_task(appender.append([large])))
    await asyncio.sleep(0)
    assert appender._queued_bytes == most
    with pytest.raises(ArchetypeError) as caught:
        await appender.append([small])
    assert beyond(name) == f"{status_of(caught.value)} `{caught.value.code}`"
    for task in waiting:
        task.cancel()


async def test_so_many_commands_wait_in_one_world():
    """Once its log is as long they are counted, and again whenever that could be too few."""
    name, most = "PENDING_COMMANDS_MAX", limits.PENDING_COMMANDS_MAX
    read = iter([PendingCount(-1, most, most - 1), PendingCount(-1, most + 1, most), False])
    heads = iter([most, most + 1])

    class Database:
        async def read(self, _):
            return next(read)

    class Accepting:
        async def append(self, group, *, expected_version):
            return [Answer(Status.ACCEPTED, 1, next(heads), 0, None, None, None)]

    appender = BoundedAppender(Database(), Accepting())
    for _ in range(2):
        await appender.append([command()])
    with pytest.raises(ArchetypeError) as caught:
        await appender.append([command()])
    assert beyond(name) == f"{status_of(caught.value)} `{caught.value.code}`"
    assert caught.value.details["pending_count"] == most
    assert (list(read), list(heads)) == ([], [])


@pytest.mark.parametrize("name", ["JSON_HELD_BYTES_MAX", "BULK_HELD_BYTES_MAX"])
async def test_so_many_bytes_of_bodies_are_held(name):
    """Of JSON and of tables, each apart."""
    most = getattr(limits, name)
    is_bulk = name.startswith("BULK")
    message = {"type": "http.request", "body": bytes(most), "more_body": True}
    received: list[int] = []

    class Route:
        def resolve_request_max_body_size(self):
            return limits.BODY_BYTES_MAX + is_bulk

    async def app(scope, receive, send):
        received.append(len((await receive())["body"]))
        message["body"] = b"x"
        with pytest.raises(ArchetypeError) as caught:
            await receive()
        assert beyond(name) == f"{status_of(caught.value)} `{caught.value.code}`"

    async def receive():
        return message

    bodies = Bodies(app, json_bytes_max=limits.BODY_BYTES_MAX)
    await bodies({"type": "http", "method": "POST", "route_handler": Route()}, receive, None)
    assert received == [most]


class Gate:
    """Holds what computes until it is open, and counts who has come to it."""

    def __init__(self):
        self.reached = asyncio.Queue()
        self.is_open = asyncio.Event()


class Halting(AsyncProcessor):
    """Waits at the gate."""

    components = (Position,)

    async def process(self, df, *, resources, **kwargs):
        gate = resources.require(Gate)
        gate.reached.put_nowait(None)
        await gate.is_open.wait()
        return df


async def test_so_many_runs_compute_and_wait(sqlite_url, monkeypatch):
    """One more than compute at once may be held here: it waits for its turn, and another is refused."""
    held_max = limits.RUNS_AT_ONCE_MAX + 1
    monkeypatch.setattr(run_service, "RUNS_WAITING_MAX", held_max)
    gate = Gate()
    async with ServiceContainer(sqlite_url) as services:
        started = []
        for number in range(held_max):
            world_id = (await services.world_service.create_world(WorldConfig(name=f"w{number}"))).world_id
            requests = [CommandRequest("add_processor", {"processor": "Halting"})]
            requests += [CommandRequest("spawn", {"components": [{"type": "Position"}]})]
            await services.command_service.submit_batch(world_id, requests)
            services.world_service.live_worlds.of(world_id).resources.insert(gate)
            started.append(await services.run_service.start(world_id, RunRequest()))
        for _ in range(limits.RUNS_AT_ONCE_MAX):
            await gate.reached.get()
        found = [(await services.run_service.find(each.run_id)).status for each in started]
        assert (found.count("running"), found.count("waiting")) == (limits.RUNS_AT_ONCE_MAX, 1)
        assert beyond("RUNS_AT_ONCE_MAX") == "waits for its turn"
        with pytest.raises(ArchetypeError) as caught:
            await services.run_service.start(world_id, RunRequest())
        assert beyond("RUNS_WAITING_MAX") == f"{status_of(caught.value)} `{caught.value.code}`"
        gate.is_open.set()
        for each in started:
            assert (await services.run_service.wait(each.run_id)).status == "completed"
        await services.run_service.start(world_id, RunRequest())


async def test_so_many_streams_are_open():
    streams = EventStreams(asyncio.Event())

    async def opening():
        raise _ReachedError

    for open_count, expected in (
        (limits.STREAMS_MAX - 1, _ReachedError),
        (limits.STREAMS_MAX, ArchetypeError),
    ):
        streams.open_count = open_count
        with pytest.raises(expected) as caught:
            await streams.answer(opening, "/events", recheck=opening)
        assert streams.open_count == open_count
    assert beyond("STREAMS_MAX") == f"{status_of(caught.value)} `{caught.value.code}`"


async def test_so_many_denials_wait_to_be_written(sqlite_url):
    """What differs from all of them is one row, with a count."""
    assert beyond("DENIALS_KEPT_MAX") == "counted in one row"
    async with ServiceContainer(sqlite_url) as services:
        kept = []
        for number in range(limits.DENIALS_KEPT_MAX + 1):
            services.denials.record("permission_denied", "not permitted", world=f"world-{number}")
            kept.append((len(services.denials._unwritten), services.denials._dropped is not None))
        assert kept[-2:] == [(limits.DENIALS_KEPT_MAX, False), (limits.DENIALS_KEPT_MAX, True)]
