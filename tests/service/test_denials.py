"""Denials and origins: noted without a query, written behind the scenes, bounded, and without any secret."""

import asyncio
import datetime as dt

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from archetype.clock import new_id
from archetype.core.config import WorldConfig
from archetype.errors import AuthenticationError, InvalidInputError, PermissionDeniedError, UnavailableError
from archetype.limits import DENIALS_KEPT_MAX
from archetype.log.command import CommandType
from archetype.log.permissions import Access
from archetype.service import denials as module
from archetype.service import origins as origins_module
from archetype.service.admission import CommandRequest
from archetype.service.container import ServiceContainer
from archetype.service.denials import Denials
from archetype.service.gate import LOCAL, Principal
from archetype.service.verification.verify import verify
from archetype.settings import Settings
from archetype.store import denials as store
from archetype.store.schema import origins


async def denied(services, **options):
    return await services.audit_service.list_denials(limit=options.pop("limit", 1_000))


async def keyed(services, name="ann", roles=("viewer",)):
    await services.identity_service.create_actor(name, roles=roles)
    return await services.identity_service.create_key(name)


async def try_key(services, key, address="192.0.2.1"):
    with pytest.raises(AuthenticationError):
        await services.gate.authenticate(key, address=address)


async def query(services, statement):
    return await services.database.read(lambda connection: connection.execute(sa.text(statement)).all())


async def test_failed_authentications_say_why_and_from_where(services):
    issued = await keyed(services)
    prefix, key_id, secret = issued.key.split("_", 2)
    await try_key(services, None)
    await try_key(services, f"{prefix}_{key_id}_wrong")
    await try_key(services, f"{prefix}_0000000000000000_{secret}")
    await try_key(services, secret)
    await services.identity_service.revoke_key(key_id)
    await try_key(services, issued.key, "192.0.2.2")
    found = await denied(services)
    assert {(row.reason, row.key_id, row.address) for row in found} == {
        ("no key", None, "192.0.2.1"),
        ("wrong secret", key_id, "192.0.2.1"),
        ("unknown key", None, "192.0.2.1"),
        ("malformed", None, "192.0.2.1"),
        ("revoked key", key_id, "192.0.2.2"),
    }
    assert {row.code for row in found} == {"unauthenticated"}
    everything = repr(await query(services, "SELECT * FROM denials")) + repr(
        await query(services, "SELECT * FROM audit_trail")
    )
    assert secret not in everything


async def test_what_is_denied_names_who_what_and_where(services):
    actor_id = new_id()
    who = Principal(actor_id, "ann", frozenset({"viewer"}), key_id="00112233aabbccdd", address="192.0.2.3")
    world = "no\x00world\ud800" + "x" * 200
    for _ in range(3):
        with pytest.raises(PermissionDeniedError):
            await services.gate.require_any(who, (CommandType.SPAWN, CommandType.UPDATE), world)
    (row,) = await denied(services)
    assert (row.code, row.actor_id, row.key_id, row.action) == (
        "permission_denied",
        actor_id,
        "00112233aabbccdd",
        "spawn",
    )
    assert (row.count, row.world, len(row.world)) == (3, row.world, 128)
    assert row.world.startswith("no\N{REPLACEMENT CHARACTER}world\N{REPLACEMENT CHARACTER}x")


async def test_denials_alike_are_one_row_for_a_minute(services, monkeypatch):
    now = [dt.datetime(2026, 1, 31, 9, 30, tzinfo=dt.UTC)]
    monkeypatch.setattr(module, "utc_now", lambda: now[0])
    for after_s in (0, 20, 20, 19, 1, 59):
        now[0] += dt.timedelta(seconds=after_s)
        services.denials.record("unauthenticated", "no key", address="192.0.2.1")
        await services.denials.flush()
    rows = sorted(await denied(services), key=lambda row: row.first_at)
    assert [(row.count, (row.last_at - row.first_at).seconds) for row in rows] == [(4, 59), (2, 59)]


async def test_a_flood_is_counted_and_no_more(services, monkeypatch):
    """What differs in more ways than a process keeps is counted in one row, and nothing grows."""
    for number in range(DENIALS_KEPT_MAX + 50):
        services.denials.record("permission_denied", "not permitted", world=f"world-{number}")
    rows = await denied(services, limit=2 * DENIALS_KEPT_MAX)
    assert len(rows) == DENIALS_KEPT_MAX + 1
    assert [(row.code, row.count) for row in rows if row.count > 1] == [("dropped", 50)]


async def test_what_is_dropped_ends_behind_its_beginning_though_the_clock_is_set_back(services, monkeypatch):
    now = [dt.datetime(2026, 1, 31, 9, 30, tzinfo=dt.UTC)]
    monkeypatch.setattr(module, "utc_now", lambda: now[0])
    for number in range(DENIALS_KEPT_MAX + 2):
        services.denials.record("permission_denied", "not permitted", world=f"world-{number}")
        now[0] -= dt.timedelta(seconds=1)
    await services.denials.flush()
    (dropped,) = [row for row in await denied(services, limit=2 * DENIALS_KEPT_MAX) if row.code == "dropped"]
    assert (dropped.count, dropped.last_at) == (2, dropped.first_at)
    assert (await verify(services.database)).faults == ()


async def test_the_table_is_bounded_and_the_oldest_leave(database):
    denials = Denials(database, rows_max=1_000)
    for number in range(2_600):
        denials.record("permission_denied", "not permitted", world=f"world-{number}")
        if number % 500 == 499:
            await denials.flush()
            denials._open.clear()
    await denials.close()
    found = await database.read(
        lambda connection: (
            connection.execute(sa.text("SELECT world FROM denials ORDER BY denial_id")).scalars().all()
        )
    )
    assert 900 <= len(found) <= 1_000
    numbers = {int(name.removeprefix("world-")) for name in found}
    assert min(numbers) >= 1_500
    assert set(range(2_100, 2_600)) <= numbers


async def test_what_could_not_be_written_waits(database, monkeypatch):
    denials = Denials(database, rows_max=1_000)
    real = database.write

    async def fail(_):
        raise UnavailableError("no answer")

    denials.record("unauthenticated", "no key")
    monkeypatch.setattr(database, "write", fail)
    with pytest.raises(UnavailableError):
        await denials.flush()
    denials.record("unauthenticated", "no key")
    monkeypatch.setattr(database, "write", real)
    await denials.close()
    found = await database.read(
        lambda connection: connection.execute(sa.text("SELECT count FROM denials")).scalars().all()
    )
    assert found == [2]


async def test_closing_writes_what_is_noted(database_url):
    async with ServiceContainer(database_url) as services:
        await try_key(services, None)
    async with ServiceContainer(database_url) as services:
        assert [row.reason for row in await denied(services)] == ["no key"]


async def test_a_denial_costs_no_query(services, monkeypatch):
    async def fail(_):
        raise AssertionError

    monkeypatch.setattr(services.database, "write", fail)
    monkeypatch.setattr(services.database, "read", fail)
    who = Principal(new_id(), "ann", frozenset({"viewer"}), address="192.0.2.3")
    for _ in range(100):
        with pytest.raises(PermissionDeniedError):
            await services.gate.require(who, CommandType.SPAWN, "demo")
    monkeypatch.undo()
    assert [row.count for row in await denied(services)] == [100]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE denials SET reason = 'other'",
        "UPDATE denials SET count = 0",
        "UPDATE denials SET address = NULL",
        "DELETE FROM denials",
    ],
)
async def test_denials_can_neither_be_edited_nor_removed(services, statement):
    await try_key(services, None)
    await denied(services)
    with pytest.raises(DBAPIError, match="append-only"):
        await services.database.write(lambda connection: connection.execute(sa.text(statement)))


async def test_commands_say_from_where_they_came(services, monkeypatch):
    """Exactly, as long as an actor asks from one place; from two at once, both are named."""
    now_s = [1_000.0]
    monkeypatch.setattr(origins_module, "monotonic_s", lambda: now_s[0])
    world_id = (await services.world_service.create_world(WorldConfig(name="demo", seed=1))).world_id
    ann, bob = (
        Principal(new_id(), name, frozenset({"player"}), address=address)
        for name, address in (("ann", "192.0.2.1"), ("bob", "192.0.2.2"))
    )

    async def send(who):
        await services.gate.require(who, CommandType.CUSTOM, "demo")
        await services.command_service.submit(world_id, CommandRequest("custom", {}), actor_id=who.actor_id)

    for who in (ann, bob):
        for _ in range(2):
            await send(who)
    trail = "SELECT origin FROM audit_trail WHERE type = 'custom' ORDER BY position"
    assert [row.origin for row in await query(services, trail)] == ["192.0.2.1"] * 2 + ["192.0.2.2"] * 2
    await send(Principal(ann.actor_id, "ann", ann.roles, address="192.0.2.9"))
    found = await query(services, trail)
    assert set(found[-1].origin.replace(" ", "").split(",")) == {"192.0.2.1", "192.0.2.9"}
    assert len(await query(services, "SELECT * FROM origins")) == 3
    now_s[0] += 61
    await send(bob)
    now_s[0] += 121
    await send(bob)
    assert len(await query(services, "SELECT * FROM origins")) == 4


async def test_an_origin_holds_all_moments_of_its_notes_though_the_clock_is_set_back(services, monkeypatch):
    now, now_s = [dt.datetime(2026, 1, 31, 9, 30, tzinfo=dt.UTC)], [1_000.0]
    monkeypatch.setattr(store, "database_now", lambda _: now[0])
    monkeypatch.setattr(origins_module, "monotonic_s", lambda: now_s[0])
    who = Principal(new_id(), "ann", frozenset({"player"}), address="192.0.2.1")
    for after_s in (0, -90, 60):
        now[0] += dt.timedelta(seconds=after_s)
        await services.gate.require(who, CommandType.CUSTOM, "demo")
        now_s[0] += 61
    (row,) = await services.database.read(lambda connection: connection.execute(sa.select(origins)).all())
    late = dt.datetime(2026, 1, 31, 9, 30, tzinfo=dt.UTC)
    assert (row.first_at, row.last_at) == (late - dt.timedelta(seconds=90), late)
    assert (await verify(services.database)).faults == ()


async def test_an_origin_is_written_once_however_many_ask_at_once(services):
    who = Principal(new_id(), "ann", frozenset({"player"}), address="192.0.2.1")
    await asyncio.gather(*(services.gate.require(who, CommandType.CUSTOM, "demo") for _ in range(20)))
    await services.gate.require(who, Access.READ_WORLD, "demo")
    assert len(await query(services, "SELECT * FROM origins")) == 1


async def test_acts_say_who_why_and_from_where(services):
    root = Principal(new_id(), "root", frozenset({"admin"}), key_id="00112233aabbccdd", address="192.0.2.5")
    identities = services.identity_service
    await identities.create_actor("ann", roles=["player"], by=root, reason="new here")
    issued = await identities.create_key("ann", by=root)
    rotated = await identities.rotate_key(issued.listed.key_id, by=root, reason="due")
    for _ in range(2):
        await identities.revoke_key(rotated.listed.key_id, by=root, reason="lost")
        await identities.disable_actor("ann", by=root, reason="left")
    await services.retention_service.collect_garbage(by=LOCAL, reason="tidy")
    acts = await services.audit_service.list_acts(limit=100)
    assert [(act.number, act.act, act.reason) for act in acts[1:]] == [
        (2, "create_actor", "new here"),
        (3, "create_key", None),
        (4, "rotate_key", "due"),
        (5, "revoke_key", "lost"),
        (6, "disable_actor", "left"),
        (7, "collect_garbage", "tidy"),
    ]
    assert {(act.actor_id, act.key_id, act.address) for act in acts[1:6]} == {
        (root.actor_id, root.key_id, "192.0.2.5")
    }
    assert (acts[0].act, acts[0].detail["from"], acts[6].address) == ("migrate", None, "local")
    assert issued.key.split("_", 2)[2] not in repr(acts)
    outcomes = await query(
        services, "SELECT type FROM audit_trail WHERE outcome = 'done' ORDER BY recorded_at"
    )
    assert [row.type for row in outcomes] == [act.act for act in acts]


@pytest.mark.parametrize("text", ["999", "x", "-1", "1e6", "10000000000"])
def test_a_bound_that_is_none_is_refused(text):
    with pytest.raises(InvalidInputError, match="ARCHETYPE_DENIALS_MAX"):
        Settings.from_environment({"ARCHETYPE_DENIALS_MAX": text})
    assert Settings.from_environment({"ARCHETYPE_DENIALS_MAX": "1000"}).denials_max == 1_000
