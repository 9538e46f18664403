"""Verifying: what it covers, what a hash kept elsewhere adds, and damage of every kind."""

import asyncio
import datetime as dt
import json
import random
import sqlite3
from contextlib import asynccontextmanager

import pytest
import sqlalchemy as sa

from archetype.clock import new_id, utc_now
from archetype.core.config import WorldConfig
from archetype.errors import InvalidInputError, LabelNotFoundError, TickNotFoundError, WorldNotFoundError
from archetype.limits import FAULTS_MAX
from archetype.log.canonical import canonical_json
from archetype.log.hashes import HashedEvent, commit_hash, event_digest
from archetype.service.admission import CommandRequest
from archetype.service.runs import RunRequest
from archetype.service.verification.faults import FaultKind
from archetype.service.verification.verify import verify
from archetype.store import migrate
from archetype.store.database import Database
from archetype.store.schema import actors


@asynccontextmanager
async def opened(url):
    database = Database(url)
    try:
        yield database
    finally:
        await database.close()


async def check(url, world=None, **options):
    async with opened(url) as database:
        return await verify(database, world, **options)


async def test_an_empty_database_is_sound(database):
    report = await verify(database)
    assert report.is_sound
    assert (report.worlds, report.events, report.pages, report.commit) == (0, 0, 0, None)


async def test_an_actor_from_before_acts_were_kept_is_no_fault(database):
    await migrate.downgrade(database, "0007")
    old = {
        "actor_id": new_id(),
        "name": "ann",
        "roles": '["admin"]',
        "world_roles": "{}",
        "created_at": utc_now(),
    }
    await database.write(lambda connection: connection.execute(actors.insert(), old))
    await migrate.upgrade(database)
    assert (await verify(database)).faults == ()


@pytest.mark.parametrize(
    ("reference", "worlds", "ticks", "tick"),
    [
        ("demo", 1, 11, 10),
        ("demo@4", 1, 11, 4),
        ("second", 3, 15, 4),
        ("second@2", 3, 15, 2),
        ("early", 1, 0, None),
        ("demo@good", 1, 11, 1),
        ("second@-2", 3, 15, 2),
    ],
    ids=[
        "a root",
        "a tick of it",
        "a fork of a fork",
        "a tick of its parent",
        "a fork without a past",
        "a label",
        "two ticks back",
    ],
)
async def test_a_world_is_checked_with_its_lineage(rich_url, reference, worlds, ticks, tick):
    report = await check(rich_url, reference)
    assert report.faults == ()
    assert (report.worlds, report.ticks, report.commit and report.commit.tick) == (worlds, ticks, tick)


async def test_the_hash_that_is_kept_elsewhere_is_the_one_to_expect(rich_url):
    (kept,) = {(await check(rich_url, name)).commit.commit_hash for name in ("second@4", "third", "third@4")}
    assert (await check(rich_url, "third", expect=kept.hex())).is_sound
    report = await check(rich_url, "third", expect=bytes(32).hex())
    (fault,) = report.faults
    assert fault.kind is FaultKind.COMMIT
    assert kept.hex() in fault.message
    assert bytes(32).hex() in fault.message
    (fault,) = (await check(rich_url, "early", expect=kept.hex())).faults
    assert "no tick" in fault.message


@pytest.mark.parametrize(
    ("world", "expect", "error"),
    [
        ("demo@-99", None, TickNotFoundError),
        ("demo@nothing", None, LabelNotFoundError),
        ("demo@", None, InvalidInputError),
        ("demo@99", None, TickNotFoundError),
        ("nobody", None, WorldNotFoundError),
        ("removed", None, WorldNotFoundError),
        ("01890a5d-ac96-774b-bcce-b302099a8057", None, WorldNotFoundError),
        ("a/b", None, WorldNotFoundError),
        ("demo", "abc", InvalidInputError),
        ("demo", "x" * 64, InvalidInputError),
        ("demo", " ".join(["00"] * 32), InvalidInputError),
        (None, "00" * 32, InvalidInputError),
    ],
)
async def test_a_reference_that_names_nothing_is_refused(rich_url, world, expect, error):
    with pytest.raises(error):
        await check(rich_url, world, expect=expect)


async def test_a_removed_world_goes_by_its_id(tamper):
    (row,) = await tamper.rows("SELECT world_id FROM worlds WHERE name = 'removed'")
    report = await check(tamper.url, str(row["world_id"]))
    assert report.is_sound
    assert report.worlds == 1


async def test_a_world_answers_for_its_own_past_only(tamper):
    (crashed,) = await tamper.rows("SELECT * FROM worlds WHERE name = 'crashed'")
    await tamper.set("worlds", crashed, seed=crashed["seed"] + 1)
    assert (await check(tamper.url, "demo")).is_sound
    assert not (await check(tamper.url, "crashed")).is_sound


async def test_a_fork_answers_for_the_past_it_inherits(tamper):
    (row,) = await tamper.rows(
        "SELECT t.* FROM ticks t JOIN worlds w USING (world_id) WHERE name = 'demo' AND tick = 0"
    )
    await tamper.set("ticks", row, state_hash=bytes(32))
    faults = (await check(tamper.url, "third")).faults
    assert f"world {row['world_id']} tick 0" in {fault.place for fault in faults}


async def test_the_end_of_the_log_cannot_be_cut_off(tamper):
    last = (await tamper.rows("SELECT * FROM events ORDER BY position DESC LIMIT 1"))[0]
    await tamper.delete("events", last)
    places = {fault.place for fault in (await check(tamper.url)).faults}
    assert f"position {last['position']}, log_head" in places
    (head,) = await tamper.rows("SELECT * FROM log_head")
    await tamper.set("log_head", head, position=last["position"] - 1)
    faults = (await check(tamper.url)).faults
    assert "head_version" in " ".join(fault.message for fault in faults if fault.kind is FaultKind.WORLD)


async def test_payloads_that_change_places_are_found(tamper):
    one, other = (
        await tamper.rows("SELECT * FROM events WHERE type = 'spawn' AND batch IS NULL ORDER BY position")
    )[:2]
    await tamper.set("events", one, payload=other["payload"])
    await tamper.set("events", other, payload=one["payload"])
    places = {fault.place for fault in (await check(tamper.url)).faults}
    assert {f"position {one['position']}", f"position {other['position']}"} <= places


async def test_a_page_with_the_bytes_of_another_is_found(tamper):
    one, other = (await tamper.rows("SELECT * FROM pages ORDER BY page_hash"))[:2]
    await tamper.set("pages", one, data=other["data"], size_bytes=other["size_bytes"])
    kinds = {
        fault.kind for fault in (await check(tamper.url)).faults if one["page_hash"].hex() in fault.place
    }
    assert FaultKind.PAGE in kinds


async def test_a_sound_page_that_nothing_refers_to_is_no_fault(services, database):
    await services.world_service.create_world(WorldConfig(name="demo"))
    await database.write(
        lambda connection: connection.execute(
            sa.text(
                "INSERT INTO pages (page_hash, codec, size_bytes, content_size_bytes, data) "
                "VALUES (:name, 'plain', :size, :size, :data)"
            ),
            _stray_page(),
        )
    )
    report = await verify(database)
    assert (report.faults, report.pages) == ((), 1)


def _stray_page():
    import pyarrow as pa

    from archetype.log.pages import encode_page

    page = encode_page(pa.array([1, 2, 3]))
    return {"name": page.page_hash, "size": len(page.data), "data": page.data}


async def test_a_tick_without_a_snapshot_is_no_fault(tamper):
    (tick,) = await tamper.rows(
        "SELECT t.* FROM ticks t JOIN worlds w USING (world_id) WHERE name = 'demo' AND tick = 1"
    )
    for row in await tamper.rows("SELECT * FROM snapshots"):
        if (row["world_id"], row["tick"]) == (tick["world_id"], 1):
            await tamper.delete("snapshots", row)
    assert (await check(tamper.url)).is_sound


async def test_a_past_forged_throughout_is_found_by_a_hash_kept_elsewhere(tamper):
    """A message's content is changed, and every hash behind it made to fit: only the kept hash can tell."""
    kept = (await check(tamper.url, "demo")).commit.commit_hash
    before = (await check(tamper.url, "demo@1")).commit.commit_hash
    await forge(tamper)
    assert (await check(tamper.url)).is_sound
    (fault,) = (await check(tamper.url, "demo", expect=kept.hex())).faults
    assert fault.kind is FaultKind.COMMIT
    assert (await check(tamper.url, "demo@1", expect=before.hex())).is_sound


async def forge(tamper):
    (message,) = await tamper.rows("SELECT * FROM events WHERE type = 'message'")
    await rewrite(tamper, message, payload=message["payload"].replace("2.5", "3.5"))
    world_id = message["world_id"]
    ticks = [
        row for row in await tamper.rows("SELECT * FROM ticks ORDER BY tick") if row["world_id"] == world_id
    ]
    events = [row for row in await tamper.rows("SELECT * FROM events") if row["world_id"] == world_id]
    parent = bytes(32)
    for tick in ticks:
        commands = sorted(
            (row for row in events if row["kind"] == "command" and row["tick"] == tick["tick"]),
            key=lambda row: (row["due_tick"], row["priority"], row["version"]),
        )
        commit = commit_hash(
            parent=parent,
            tick=tick["tick"],
            command_hashes=[row["hash"] for row in commands],
            state=tick["state_hash"],
            code=tick["code_hash"],
        )
        (fact,) = [row for row in events if row["position"] == tick["position"]]
        said = json.loads(fact["payload"]) | {"commit_hash": commit.hex(), "parent_hash": parent.hex()}
        await rewrite(tamper, fact, payload=canonical_json(said))
        await tamper.set("ticks", tick, parent_hash=parent, commit_hash=commit)
        parent = commit


async def rewrite(tamper, row, payload):
    """Change a payload, and the row's hash with it."""
    fields = row | {"payload": payload}
    if tamper.is_sqlite:
        fields["recorded_at"] = dt.datetime.fromisoformat(row["recorded_at"])
    digest = event_digest(*(fields[name] for name in HashedEvent._fields))
    await tamper.set("events", row, payload=payload, hash=digest)


async def test_a_past_is_checked_as_it_is_at_one_moment(services, database):
    """Ticks and commands that come meanwhile are none of its business."""
    info = await services.world_service.create_world(WorldConfig(name="demo", seed=1))
    spawn = CommandRequest("spawn", {"components": []})
    await services.command_service.submit_batch(info.world_id, [spawn] * 600)
    seen = []

    def on_progress(progress):
        seen.append((progress.events, progress.event_count))

    async def go_on():
        for _ in range(10):
            await services.simulation_service.run(info.world_id, RunRequest(steps=1))
            await services.command_service.submit(info.world_id, spawn)

    report, _ = await asyncio.gather(verify(database, on_progress=on_progress), go_on())
    assert report.faults == ()
    assert seen[-1] == (report.events, report.events)
    after = await verify(database)
    assert after.faults == ()
    assert (after.ticks, after.events) == (10, 601 + 10 * 3 + 10)


async def test_more_faults_than_are_listed_are_counted(services, database):
    info = await services.world_service.create_world(WorldConfig(name="demo", seed=1))
    spawn = CommandRequest("spawn", {"components": []})
    await services.command_service.submit_batch(info.world_id, [spawn] * (FAULTS_MAX + 10))
    async with opened_tamper(str(database.url.render_as_string(hide_password=False))) as tamper:
        await tamper.execute("UPDATE events SET priority = 5")
    report = await verify(database)
    assert len(report.faults) == FAULTS_MAX
    assert report.fault_count >= FAULTS_MAX + 11


@asynccontextmanager
async def opened_tamper(url):
    from rich_past import Tamper

    plain = url.replace("+aiosqlite", "").replace("+asyncpg", "")
    async with Tamper(plain) as tamper:
        yield tamper


@pytest.mark.parametrize("seed", range(5))
async def test_a_byte_flipped_on_disk_is_found(copied_file, seed):
    """In the file itself, in the bytes of a page, where no statement ever comes."""
    draw = random.Random(seed)
    with sqlite3.connect(copied_file) as connection:
        rows = connection.execute("SELECT page_hash, data FROM pages WHERE size_bytes < 4000").fetchall()
    connection.close()
    page_hash, data = draw.choice(rows)
    content = bytearray(copied_file.read_bytes())
    at = content.index(data) + draw.randrange(len(data))
    content[at] ^= 1 << draw.randrange(8)
    copied_file.write_bytes(content)
    places = {fault.place for fault in (await check(f"sqlite:///{copied_file}")).faults}
    assert f"page {page_hash.hex()}" in places


@pytest.mark.parametrize("seed", range(12))
async def test_a_file_that_sqlite_finds_malformed_is_a_fault(copied_file, seed):
    """Whole pages of the file are overwritten behind the first, which holds the schema."""
    draw = random.Random(seed)
    content = bytearray(copied_file.read_bytes())
    size = 16_384
    at = draw.randrange(30, len(content) // size) * size
    content[at : at + size] = draw.randbytes(size)
    copied_file.write_bytes(content)
    report = await check(f"sqlite:///{copied_file}")
    assert FaultKind.DATABASE in {fault.kind for fault in report.faults}


async def test_a_file_that_is_no_database_is_damaged(copied_file):
    copied_file.write_bytes(b"x" * 100_000)
    report = await check(f"sqlite:///{copied_file}")
    assert {fault.kind for fault in report.faults} == {FaultKind.DATABASE}
    assert "not a database" in report.faults[0].message


@pytest.mark.parametrize(
    ("table", "change", "kind"),
    [
        ("events", "recorded_at = replace(recorded_at, 'Z', '+00:00') WHERE position = 3", FaultKind.EVENT),
        ("events", "event_id = upper(event_id) WHERE position = 3", FaultKind.EVENT),
        ("events", "payload = CAST(payload AS BLOB) WHERE position = 3", FaultKind.EVENT),
        ("events", "payload = CAST(x'7bff7d' AS TEXT) WHERE position = 3", FaultKind.EVENT),
        ("events", "batch = CAST(batch AS TEXT) WHERE batch IS NOT NULL", FaultKind.EVENT),
        ("events", "tick = 'soon' WHERE position = 3", FaultKind.EVENT),
        ("ticks", "tick = 'soon' WHERE tick = 1", FaultKind.TICK),
        ("ticks", "compute_ms = 'long' WHERE tick = 1", FaultKind.TICK),
        ("snapshots", "tick = 'soon' WHERE tick = 1", FaultKind.SNAPSHOT),
        ("snapshots", "row_count = -1 WHERE tick = 1", FaultKind.SNAPSHOT),
        ("snapshots", "pages = upper(pages) WHERE tick = 1", FaultKind.SNAPSHOT),
        ("snapshots", "pages = '[]' WHERE tick = 1", FaultKind.SNAPSHOT),
        ("pages", "data = CAST(data AS TEXT)", FaultKind.PAGE),
        ("pages", "page_hash = hex(page_hash)", FaultKind.PAGE),
        ("archetypes", "schema = 'x'", FaultKind.ARCHETYPE),
        ("archetypes", 'schema = \'[["a","b",true]]\'', FaultKind.ARCHETYPE),
        ("programs", "code_hash = hex(code_hash)", FaultKind.PROGRAM),
        ("worlds", "world_id = 'x' WHERE name = 'crashed'", FaultKind.WORLD),
        ("worlds", "parent_id = world_id, fork_tick = 1 WHERE name = 'first'", FaultKind.WORLD),
        (
            "runs",
            "run_id = 'x' WHERE run_id = (SELECT min(run_id) FROM runs WHERE status = 'failed')",
            FaultKind.RUN,
        ),
        ("labels", "version = 'x'", FaultKind.LABEL),
        ("log_head", "position = 'x'", FaultKind.LOG),
        ("actors", "actor_id = 'x' WHERE name = 'ann'", FaultKind.ACTOR),
        ("actors", "name = '' WHERE name = 'ann'", FaultKind.ACTOR),
        ("actors", "roles = 'admin'", FaultKind.ACTOR),
        ("actors", "roles = '{}'", FaultKind.ACTOR),
        ("actors", "world_roles = '[]'", FaultKind.ACTOR),
        ("actors", 'world_roles = \'{"demo": ["admin"]}\'', FaultKind.ACTOR),
        ("actors", "created_at = 'once'", FaultKind.ACTOR),
        ("actors", "disabled_at = 'once'", FaultKind.ACTOR),
        ("actors", "reason = 1.5, disabled_at = 7", FaultKind.ACTOR),
        ("quotas", "actor_id = 'x'", FaultKind.USAGE),
        ("quotas", "commands_per_tick = -1", FaultKind.USAGE),
        ("quotas", "changed_at = 'once'", FaultKind.USAGE),
        ("daily_usage", "tokens = 'x'", FaultKind.USAGE),
        ("tick_usage", "world_id = 'x'", FaultKind.USAGE),
        ("keys", "key_id = 'x' WHERE key_id = (SELECT min(key_id) FROM keys)", FaultKind.KEY),
        ("keys", "actor_id = '00000000-0000-7000-8000-000000000000'", FaultKind.KEY),
        ("keys", "digest = x'00'", FaultKind.KEY),
        ("keys", "worlds = '[1]'", FaultKind.KEY),
        ("keys", "worlds = '[\"demo\"]'", FaultKind.KEY),
        ("keys", "created_at = 'once'", FaultKind.KEY),
        ("keys", "expires_at = 'once'", FaultKind.KEY),
        ("keys", "revoked_at = 'once'", FaultKind.KEY),
        ("keys", "last_used_at = 'once'", FaultKind.KEY),
    ],
)
async def test_a_value_that_a_column_is_not_for_is_a_fault(copied_file, table, change, kind):
    """A SQLite file takes anything anywhere."""
    async with opened_tamper(f"sqlite:///{copied_file}") as tamper:
        await tamper.execute(f"UPDATE {table} SET {change}")
    report = await check(f"sqlite:///{copied_file}")
    assert kind in {fault.kind for fault in report.faults}


@pytest.mark.postgres_only
async def test_what_postgresql_says_of_its_own_damage_is_a_fault(postgres_database_url):
    """It answers no more in that transaction, so the check ends there."""
    async with opened(postgres_database_url) as database:
        for statement in DAMAGE:
            await database.write(lambda connection, text=statement: connection.exec_driver_sql(text))
        report = await verify(database)
        (fault,) = report.faults
        assert (fault.kind, "missing chunk" in fault.message) == (FaultKind.DATABASE, True)
        assert report.fault_count == 1


DAMAGE = (
    (
        "CREATE FUNCTION broken() RETURNS bytea LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'missing chunk number 0' USING ERRCODE = 'XX001'; END $$"
    ),
    "ALTER TABLE programs RENAME TO programs_before",
    "CREATE VIEW programs AS SELECT broken() AS code_hash, 'x'::text AS document",
)


@pytest.mark.parametrize(
    "change", ["fork_tick = 'x'", "parent_id = 'x'", "parent_id = world_id", "committed_tick = 'x'"]
)
async def test_a_world_whose_own_row_is_damaged_is_found_all_the_same(copied_file, change):
    async with opened_tamper(f"sqlite:///{copied_file}") as tamper:
        (row,) = await tamper.rows("SELECT world_id FROM worlds WHERE name = 'first'")
        await tamper.execute(f"UPDATE worlds SET {change} WHERE name = 'first'")
    report = await check(f"sqlite:///{copied_file}", "first")
    assert f"world {row['world_id']}" in {fault.place for fault in report.faults}
