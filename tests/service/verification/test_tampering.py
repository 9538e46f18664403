"""One flipped bit, or one row edited, removed or added anywhere in a stored past, is found and named."""

import datetime as dt
import random
import re
import uuid

import pytest
from rich_past import INTEGER_BITS, KEYS, NULLED, flipped, places, written

from archetype.service.verification.verify import verify
from archetype.store.database import Database
from archetype.store.schema import metadata

NOT_HISTORY = {"lease_owner", "lease_epoch", "lease_until", "last_used_at", "owner", "owner_until"}
UNPROVEN = {"denials", "origins"}
"""Nothing of these follows from anything else: only their form is checked, in test_verify.py."""
COLUMNS = [
    (table.name, column.name)
    for _, table in sorted(metadata.tables.items())
    for column in table.columns
    if column.name not in NOT_HISTORY and table.name not in UNPROVEN
]
FOUND_BY = {"worlds": "world_id", "runs": "event_id"}
"""Where a row is gone, the rows that need it tell: by this column of it, or by its key."""
MADE_AT = {"actors": "created_at", "keys": "created_at", "quotas": "changed_at"}
LONG_AGO = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
REFUSALS = (
    "UniqueViolation",
    "NotNullViolation",
    "IntegrityError",
    "NumericValueOutOfRange",
    "CharacterNotInRepertoire",
)


async def report_of(url):
    database = Database(url)
    try:
        return await verify(database)
    finally:
        await database.close()


async def faults_of(url):
    return (await report_of(url)).faults


def is_named(faults, table, *rows):
    return any(
        fault.place == place or fault.place.endswith(f", {place}")
        for fault in faults
        for row in rows
        for place in places(table, row)
    )


def altered(tamper, column, row, draw):
    """Return another value for a column, or None where the row has none that could be told from it."""
    value = row[column]
    if value is None:
        return written(NULLED[column], is_sqlite=tamper.is_sqlite)
    if column in NULLED and draw.random() < 0.3:
        return None
    if column == "kind":
        return "fact" if value == "command" else "command"
    return flipped(value, draw, bits=INTEGER_BITS.get(column, 63))


async def edit(tamper, table, column, draw):
    """Change one column of a random row in a way that the database's unique keys allow; return both rows."""
    rows = await tamper.rows(f"SELECT * FROM {table}")
    for _ in range(50):
        row = draw.choice(rows)
        value = altered(tamper, column, row, draw)
        if value == row[column] and type(value) is not float:
            continue
        try:
            await tamper.set(table, row, **{column: value})
        except Exception as error:
            if not any(name in type(error).__name__ for name in REFUSALS):
                raise
            continue
        return row, row | {column: value}
    message = f"found nothing to change in {table}.{column}"
    raise AssertionError(message)


async def test_a_rich_past_is_sound(tamper):
    report = await report_of(tamper.url)
    assert report.faults == ()
    assert report.is_sound
    assert (report.worlds, report.ticks) == (15, 30)
    assert min(report.events, report.snapshots, report.pages, report.page_bytes) > 20


@pytest.mark.parametrize(("table", "column"), COLUMNS, ids=[".".join(each) for each in COLUMNS])
async def test_an_edit_of_any_column_is_found_where_it_is(tamper, table, column):
    draw = random.Random(f"{table}.{column}")
    before, after = await edit(tamper, table, column, draw)
    faults = await faults_of(tamper.url)
    assert is_named(faults, table, before, after), (before, after, faults)


@pytest.mark.parametrize("seed", range(20))
async def test_an_edit_of_anything_is_found(tamper, seed):
    draw = random.Random(seed)
    table, column = draw.choice(COLUMNS)
    before, after = await edit(tamper, table, column, draw)
    faults = await faults_of(tamper.url)
    assert is_named(faults, table, before, after), (before, after, faults)


def is_missed(table, row, rows):
    """A tick's whole snapshot may be gone, since a replay rebuilds it; a part of one may not.

    What was used up of a tick may be gone once it is committed, and ticks up to 3 may be.
    """
    if table == "tick_usage":
        return row["tick"] > 3
    if table != "snapshots":
        return True
    return sum((each["world_id"], each["tick"]) == (row["world_id"], row["tick"]) for each in rows) > 1


@pytest.mark.parametrize("table", KEYS)
@pytest.mark.parametrize("seed", range(2))
async def test_a_row_that_is_gone_is_missed(tamper, table, seed):
    draw = random.Random(seed)
    rows = await tamper.rows(f"SELECT * FROM {table}")
    row = draw.choice([row for row in rows if is_missed(table, row, rows)])
    await tamper.delete(table, row)
    told = [f"{fault.place}: {fault.message}" for fault in await faults_of(tamper.url)]
    clues = [*places(table, row), *(str(row[name]) for name in [FOUND_BY.get(table)] if name)]
    # The last acts are missed by what they made, ended or set.
    clues += re.findall(r'"(?:actor_id|key_id)":"([^"]+)"', row.get("detail", ""))
    assert any(re.search(rf"\b{re.escape(clue)}\b", text) for clue in clues for text in told), (row, told)


async def test_the_last_act_is_missed(tamper):
    """The chain of acts cannot tell that it once went on; what the act left behind does."""
    act = (await tamper.rows("SELECT * FROM administrative_acts ORDER BY number"))[-1]
    assert act["act"] == "set_quota"
    await tamper.delete("administrative_acts", act)
    (fault,) = await faults_of(tamper.url)
    assert fault.place.startswith("quota of actor")
    assert fault.message == "no act made it"


@pytest.mark.parametrize(("table", "moment"), list(MADE_AT.items()))
async def test_a_row_that_seems_older_than_the_first_act_is_found(tamper, table, moment):
    """A database that was made with its acts holds nothing that they do not tell of."""
    rows = await tamper.rows(f"SELECT * FROM {table}")
    other = twin(table, rows[0], rows) | {moment: written(LONG_AGO, is_sqlite=tamper.is_sqlite)}
    await tamper.insert(table, other)
    (fault,) = await faults_of(tamper.url)
    assert fault.place in places(table, other)
    assert fault.message == "no act made it"


async def test_an_actor_whose_acts_were_cut_off_is_found_however_old(tamper):
    acts = await tamper.rows("SELECT * FROM administrative_acts ORDER BY number DESC")
    quotas = await tamper.rows("SELECT * FROM quotas")
    (bob,) = await tamper.rows("SELECT * FROM actors WHERE name = 'bob'")
    for act in acts[: [act["act"] for act in acts].index("create_actor") + 1]:
        await tamper.delete("administrative_acts", act)
    for quota in quotas:
        await tamper.delete("quotas", quota)
    await tamper.set("actors", bob, created_at=written(LONG_AGO, is_sqlite=tamper.is_sqlite))
    (fault,) = await faults_of(tamper.url)
    assert (fault.place, fault.message) == (f"actor {bob['actor_id']}", "no act made it")


def twin(table, row, rows):
    """Return a copy of a row under a key that is free."""
    other = dict(row)
    match table:
        case "events":
            other["position"] = max(each["position"] for each in rows) + 1
            mine = [each["version"] for each in rows if each["world_id"] == row["world_id"]]
            other["version"] = max(mine) + 1
            other["event_id"] = type(row["event_id"])(str(uuid.uuid4()))
        case "worlds" | "runs" | "actors" | "quotas":
            (name,) = KEYS[table]
            other[name] = type(row[name])(str(uuid.uuid4()))
            other |= {"name": "twin"} if "name" in row else {}
        case "ticks" | "snapshots" | "tick_usage":
            other["tick"] = row["tick"] + 1_000
        case "labels":
            other["name"] = "twin"
        case "keys":
            other["key_id"] = "0123456789abcdef"
        case "administrative_acts" | "log_head":
            (name,) = KEYS[table]
            other[name] = max(each[name] for each in rows) + 1
        case "daily_usage":
            other["day"] = "2001-01-01"
        case _:
            (name,) = KEYS[table]
            other[name] = bytes([row[name][0] ^ 1]) + row[name][1:]
    return other


@pytest.mark.parametrize("table", KEYS)
async def test_a_row_too_many_is_found(tamper, table):
    draw = random.Random(table)
    rows = await tamper.rows(f"SELECT * FROM {table}")
    other = twin(table, draw.choice(rows), rows)
    await tamper.insert(table, other)
    faults = await faults_of(tamper.url)
    assert is_named(faults, table, other), (other, faults)
