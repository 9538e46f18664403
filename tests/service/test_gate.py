"""The gate: who asks is proven, and what they may is decided before anything is looked up."""

import asyncio
import datetime as dt
import re

import pytest
import sqlalchemy as sa

from archetype.clock import new_id
from archetype.core.config import WorldConfig
from archetype.errors import (
    AuthenticationError,
    IdentityNotFoundError,
    InvalidInputError,
    NameTakenError,
    PermissionDeniedError,
    StateConflictError,
    WorldNotFoundError,
)
from archetype.log.command import CommandType
from archetype.log.permissions import ACTIONS, Access, Role, is_permitted
from archetype.service import gate as gate_module
from archetype.service.container import ServiceContainer
from archetype.service.gate import LOCAL, Gate, Principal


@pytest.fixture
def identities(services):
    return services.identity_service


async def make_world(services, name="demo"):
    return (await services.world_service.create_world(WorldConfig(name=name, seed=1))).world_id


async def issue(identities, name="ann", roles=("player",), **options):
    await identities.create_actor(name, roles=roles)
    return await identities.create_key(name, **options)


@pytest.mark.parametrize("role", [*Role, "coder", None])
@pytest.mark.parametrize("action", ACTIONS)
async def test_every_action_of_every_role(role, action):
    """By the table, and without a database: an unscoped principal costs no query, nor does a denial."""
    principal = Principal(new_id(), "ann", frozenset() if role is None else frozenset({role}))
    gate = Gate(None)
    if is_permitted(principal.roles, action):
        assert await gate.require(principal, action, "demo") == "demo"
        assert await gate.require(principal, action) is None
        return
    for world in ("demo", new_id(), None):
        with pytest.raises(PermissionDeniedError, match=action.value):
            await gate.require(principal, action, world)


async def test_a_key_says_who_asks(identities, services):
    issued = await issue(identities)
    assert re.fullmatch(rf"arct_{issued.listed.key_id}_[\w-]{{43}}", issued.key)
    principal = await services.gate.authenticate(issued.key)
    (actor,) = await identities.list_actors()
    assert principal == Principal(
        actor.actor_id, "ann", frozenset({"player"}), {}, None, issued.listed.key_id
    )


async def test_wrong_keys_are_told_nothing(identities, services):
    issued = await issue(identities)
    prefix, key_id, secret = issued.key.split("_", 2)
    wrong = [
        "",
        "arct",
        f"arct_{key_id}",
        f"arct_{key_id}_",
        f"arct_{key_id}_{secret}x",
        f"arct_{key_id}_{secret[:-1]}",
        f"arct_0000000000000000_{secret}",
        f"{prefix.upper()}_{key_id}_{secret}",
        f"arct_{key_id.upper()}x_{secret}",
        "arct_\x00_\x00",
        "arct_\u00e9_\ud800",
        secret,
    ]
    messages = set()
    for key in wrong:
        with pytest.raises(AuthenticationError) as refused:
            await services.gate.authenticate(key, is_local=True)
        messages.add(refused.value.message)
        assert refused.value.details == {}
    (message,) = messages
    assert secret not in message


async def test_an_unknown_key_is_compared_all_the_same(identities, services, monkeypatch):
    issued = await issue(identities)
    compared = []
    real = gate_module.hmac.compare_digest
    monkeypatch.setattr(
        gate_module.hmac, "compare_digest", lambda a, b: compared.append((len(a), len(b))) or real(a, b)
    )
    await services.gate.authenticate(issued.key)
    with pytest.raises(AuthenticationError):
        await services.gate.authenticate("arct_0000000000000000_x")
    assert compared == [(32, 32)] * 2


async def test_without_keys_only_a_local_caller_is_let_in(identities, services):
    assert await services.gate.authenticate(None, is_local=True) is LOCAL
    with pytest.raises(AuthenticationError, match="ARCHETYPE_API_KEY"):
        await services.gate.authenticate(None)
    issued = await issue(identities)
    for _ in range(2):
        with pytest.raises(AuthenticationError):
            await services.gate.authenticate(None, is_local=True)
        await identities.revoke_key(issued.listed.key_id)


@pytest.mark.parametrize("how", ["revoked", "disabled", "expired"])
async def test_a_key_that_is_over_does_not_hold(identities, services, monkeypatch, how):
    issued = await issue(identities, expires_in_s=60)
    await services.gate.authenticate(issued.key)
    if how == "revoked":
        await identities.revoke_key(issued.listed.key_id)
    elif how == "disabled":
        assert (await identities.disable_actor("ann", reason="left")).reason == "left"
    else:
        later = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=61)
        monkeypatch.setattr(gate_module, "utc_now", lambda: later)
    with pytest.raises(AuthenticationError, match=how):
        await services.gate.authenticate(issued.key)
    with pytest.raises(AuthenticationError, match="not valid"):
        await services.gate.authenticate(issued.key + "x")


async def test_another_process_believes_a_key_for_two_seconds_at_most(identities, database_url, monkeypatch):
    issued = await issue(identities)
    now = [100.0]
    monkeypatch.setattr(gate_module, "monotonic_s", lambda: now[0])
    async with ServiceContainer(database_url) as other:
        await other.gate.authenticate(issued.key)
        await identities.revoke_key(issued.listed.key_id)
        now[0] += gate_module.CACHE_S - 0.01
        await other.gate.authenticate(issued.key)
        now[0] += 0.02
        with pytest.raises(AuthenticationError, match="revoked"):
            await other.gate.authenticate(issued.key)


async def test_a_key_costs_no_query_each_time(identities, services, monkeypatch):
    issued = await issue(identities)
    await services.gate.authenticate(issued.key)

    async def fail(_):
        raise AssertionError

    monkeypatch.setattr(services.database, "read", fail)
    monkeypatch.setattr(services.database, "write", fail)
    for _ in range(3):
        assert (await services.gate.authenticate(issued.key)).name == "ann"


async def test_the_last_use_is_written_once_a_minute(identities, services, database_url, monkeypatch):
    issued = await issue(identities)
    assert [key.last_used_at for key in await identities.list_keys()] == [None]
    await services.gate.authenticate(issued.key)
    ((first,),) = [[key.last_used_at for key in await identities.list_keys()]]
    services.gate.forget()
    await services.gate.authenticate(issued.key)
    assert (await identities.list_keys())[0].last_used_at == first
    later = first + dt.timedelta(seconds=61)
    monkeypatch.setattr(gate_module, "utc_now", lambda: later)
    monkeypatch.setattr("archetype.store.identities.database_now", lambda _: later)
    await services.gate.authenticate(issued.key)
    assert (await identities.list_keys())[0].last_used_at == later


async def test_rotation_replaces_a_key(identities, services):
    world = await make_world(services)
    old = await issue(identities, worlds=["demo"], expires_in_s=3_600)
    new = await identities.rotate_key(old.listed.key_id)
    assert new.listed.worlds == [world]
    assert new.listed.expires_at - new.listed.created_at > dt.timedelta(minutes=59)
    assert (await services.gate.authenticate(new.key)).name == "ann"
    with pytest.raises(AuthenticationError, match="revoked"):
        await services.gate.authenticate(old.key)
    with pytest.raises(StateConflictError, match="key create"):
        await identities.rotate_key(old.listed.key_id)


async def acts(services):
    return [each.act for each in await services.audit_service.list_acts(limit=100)]


async def test_of_many_who_rotate_a_key_at_once_one_gets_another(identities, services):
    old = await issue(identities)
    rotations = [identities.rotate_key(old.listed.key_id) for _ in range(3)]
    found = await asyncio.gather(*rotations, return_exceptions=True)
    assert [type(each) for each in found].count(StateConflictError) == 2
    (new,) = [each for each in found if not isinstance(each, StateConflictError)]
    live = [key.key_id for key in await identities.list_keys("ann") if key.revoked_at is None]
    assert live == [new.listed.key_id]
    assert (await acts(services)).count("rotate_key") == 1


async def test_a_key_ends_once_whoever_else_ends_it_meanwhile(identities, services):
    """What is revoked is not rotated, and what is rotated is not revoked once more."""
    key_id = (await issue(identities)).listed.key_id
    ends = [identities.revoke_key(key_id), identities.rotate_key(key_id), identities.revoke_key(key_id)]
    await asyncio.gather(*ends, return_exceptions=True)
    assert sorted(await acts(services))[2:] in (["migrate", "revoke_key"], ["migrate", "rotate_key"])


async def test_no_key_is_made_for_an_actor_who_is_being_disabled(identities, services):
    for name in ("ann", "ben", "cat", "dan"):
        await identities.create_actor(name, roles=["player"])
        both = [identities.disable_actor(name), identities.create_key(name)]
        await asyncio.gather(*both, return_exceptions=True)
    told = await services.audit_service.list_acts(limit=100)
    for name in ("ann", "ben", "cat", "dan"):
        of_actor = [each.act for each in told if name in {each.detail.get("name"), each.detail.get("actor")}]
        assert of_actor[-1] == "disable_actor"


async def test_a_key_is_rotated_once_also_while_it_holds_on(identities):
    """A third key would live as long as the grace, and not as long as the first was made for."""
    old = await issue(identities)
    new = await identities.rotate_key(old.listed.key_id, grace_s=60)
    with pytest.raises(StateConflictError, match=f"rotate {new.listed.key_id}"):
        await identities.rotate_key(old.listed.key_id, grace_s=60)
    assert (await identities.rotate_key(new.listed.key_id)).listed.expires_at is None


async def test_rotation_with_grace_lets_both_hold(identities, services, monkeypatch):
    old = await issue(identities)
    new = await identities.rotate_key(old.listed.key_id, grace_s=60)
    for each in (old, new):
        await services.gate.authenticate(each.key)
    later = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=61)
    monkeypatch.setattr(gate_module, "utc_now", lambda: later)
    await services.gate.authenticate(new.key)
    with pytest.raises(AuthenticationError, match="expired"):
        await services.gate.authenticate(old.key)


async def test_a_key_for_some_worlds_is_good_for_no_other(identities, services):
    world = await make_world(services)
    other = await make_world(services, "other")
    issued = await issue(identities, roles=("admin",), worlds=["demo"])
    who = await services.gate.authenticate(issued.key)
    require = services.gate.require
    assert await require(who, CommandType.SPAWN, "demo") == world
    assert await require(who, CommandType.SPAWN, world) == world
    assert await require(who, CommandType.SPAWN, str(world)) == world
    assert await require(who, Access.READ_CATALOG) is None
    for named in ("other", other, "nothing", new_id(), "no world's name/", None):
        with pytest.raises(PermissionDeniedError):
            await require(who, CommandType.SPAWN, named)
    for action in (Access.LIST_WORLDS, CommandType.CREATE_WORLD, Access.MANAGE_KEYS, Access.MANAGE_ACTORS):
        with pytest.raises(PermissionDeniedError):
            await require(who, action)


async def test_roles_of_a_world_hold_there_alone_and_add_to_the_others(identities, services):
    world = await make_world(services)
    await make_world(services, "other")
    await identities.create_actor("ann", roles=["viewer"], world_roles={"demo": ["operator"]})
    who = await services.gate.authenticate((await identities.create_key("ann")).key)
    require = services.gate.require
    assert await require(who, CommandType.STEP, "demo") == world
    assert await require(who, Access.READ_WORLD, "other") == "other"
    for action, named in (
        (CommandType.STEP, "other"),
        (CommandType.CREATE_WORLD, "demo"),
        (CommandType.STEP, None),
    ):
        with pytest.raises(PermissionDeniedError):
            await require(who, action, named)
    scoped = await identities.create_key("ann", worlds=["other"])
    with pytest.raises(PermissionDeniedError):
        await require(await services.gate.authenticate(scoped.key), CommandType.STEP, "demo")


async def test_a_name_that_passed_on_to_another_world_is_another_world(identities, services):
    """What was decided is an id: the name may be somebody else's a moment later."""
    await make_world(services)
    issued = await issue(identities, worlds=["demo"])
    who = await services.gate.authenticate(issued.key)
    await services.world_service.remove_world(await services.world_service.find("demo"))
    await make_world(services)
    with pytest.raises(PermissionDeniedError):
        await services.gate.require(who, CommandType.SPAWN, "demo")


async def test_no_secret_is_stored_or_shown(identities, services):
    issued = await issue(identities)
    secret = issued.key.split("_", 2)[2]
    assert secret not in repr(issued)
    assert secret not in repr(await services.gate.authenticate(issued.key))

    def everything(connection):
        return [
            [dict(row) for row in connection.execute(sa.text(f"SELECT * FROM {table}")).mappings()]
            for table in sa.inspect(connection).get_table_names()
        ]

    stored = repr(await services.database.read(everything))
    assert issued.listed.key_id in stored
    assert secret not in stored


@pytest.mark.parametrize(
    ("name", "roles", "world_roles", "error"),
    [
        ("", ["viewer"], {}, InvalidInputError),
        ("a b", ["viewer"], {}, InvalidInputError),
        ("x" * 129, ["viewer"], {}, InvalidInputError),
        ("ann", [], {}, InvalidInputError),
        ("ann", ["coder"], {}, InvalidInputError),
        ("ann", [], {"demo": ["coder"]}, InvalidInputError),
        ("ann", [], {"nothing": ["viewer"]}, WorldNotFoundError),
        ("bob", ["viewer"], {}, NameTakenError),
    ],
    ids=["empty", "space", "long", "no role", "unknown role", "unknown world role", "unknown world", "taken"],
)
async def test_an_actor_that_cannot_be_is_refused_and_nothing_changes(
    identities, services, name, roles, world_roles, error
):
    await make_world(services)
    await identities.create_actor("bob", roles=["viewer"])
    with pytest.raises(error):
        await identities.create_actor(name, roles=roles, world_roles=world_roles)
    assert [actor.name for actor in await identities.list_actors()] == ["bob"]


async def test_the_same_actor_again_is_the_same(identities):
    actor_id = new_id()
    made = [await identities.create_actor("ann", roles=["player"], actor_id=actor_id) for _ in range(2)]
    assert made[0] == made[1]
    with pytest.raises(NameTakenError):
        await identities.create_actor("ann", roles=["admin"], actor_id=actor_id)


async def test_keys_of_nobody_and_of_the_disabled_are_refused(identities):
    with pytest.raises(IdentityNotFoundError, match="actor list"):
        await identities.create_key("nobody")
    with pytest.raises(IdentityNotFoundError, match="key list"):
        await identities.revoke_key("0000000000000000")
    with pytest.raises(IdentityNotFoundError):
        await identities.rotate_key("0000000000000000")
    await identities.create_actor("ann", roles=["player"])
    for options in ({"worlds": []}, {"expires_in_s": 0}, {"expires_in_s": 10**10}):
        with pytest.raises(InvalidInputError):
            await identities.create_key("ann", **options)
    await identities.disable_actor("ann")
    with pytest.raises(StateConflictError, match="disabled"):
        await identities.create_key("ann")
    assert await identities.list_keys() == []
