"""The rights that the doctor asks for, held against a PostgreSQL: with these alone, a server does it all."""

import pytest

from archetype.clock import new_id
from archetype.core.config import WorldConfig
from archetype.core.episodes import EpisodeRules
from archetype.errors import AuthenticationError
from archetype.examples.movement import MovementProcessor, Position
from archetype.log.command import CommandType
from archetype.log.run_payloads import RunRollout
from archetype.service.admission import CommandRequest
from archetype.service.container import ServiceContainer
from archetype.service.denials import Denials
from archetype.service.doctor.doctor import examine
from archetype.service.rollout_results import RolloutRequest
from archetype.service.runs import RunRequest
from archetype.service.verification.verify import verify
from archetype.store.health import missing_rights
from migrated import run_on

SPAWN = CommandRequest("spawn", {"components": [{"type": Position.__name__}, {"type": "Velocity"}]})
MOVE = CommandRequest("add_processor", {"processor": MovementProcessor.__name__})


def grant(right: str, role: str) -> str:
    verb, _, name = right.partition(" on ")
    return f"GRANT {verb} ON {'FUNCTION' if verb == 'EXECUTE' else 'TABLE'} {name} TO {role}"


@pytest.fixture
async def granted_url(postgres_database_url):
    """A database, by a role that may do what the doctor asks for and nothing else."""
    role = "server_" + postgres_database_url[-12:]
    scheme, _, rest = postgres_database_url.partition("://")
    url = f"{scheme}://{role}@{rest.partition('@')[2]}"
    await run_on(
        postgres_database_url,
        f"CREATE ROLE {role} LOGIN",
        "REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA public FROM PUBLIC",
    )
    try:
        services = ServiceContainer(url)
        missing = await services.database.read(missing_rights)
        await services.database.close()
        await run_on(postgres_database_url, *(grant(right, role) for right in missing))
        yield url
    finally:
        await run_on(postgres_database_url, f"DROP OWNED BY {role}", f"DROP ROLE {role}")


@pytest.mark.postgres_only
async def test_with_the_rights_that_are_asked_for_a_server_does_all_it_does(granted_url):
    async with ServiceContainer(granted_url) as services:
        assert await services.database.read(missing_rights) == []
        actor_id = await administer(services)
        await go_on(services, actor_id)
        await fork_and_run(services)
        await clean_up(services)
        assert (await verify(services.database)).faults == ()
        assert "ok" in [each.severity for each in await examine(services.database) if each.check == "rights"]


async def administer(services):
    """Make, use, limit and end actors and keys; let denials be written, and the oldest of them go."""
    identities, gate = services.identity_service, services.gate
    ann = await identities.create_actor("ann", roles=["admin"])
    issued = await identities.create_key("ann")
    who = await gate.authenticate(issued.key, address="192.0.2.1")
    assert await gate.require(who, CommandType.SPAWN) is None
    with pytest.raises(AuthenticationError):
        await gate.authenticate(issued.key[:-1] + ("a" if issued.key[-1] != "a" else "b"))
    few = Denials(services.database, rows_max=150)
    for number in range(200):
        few.record("refused", f"reason {number}")
    await few.close()
    rotated = await identities.rotate_key(issued.listed.key_id)
    await identities.revoke_key(rotated.listed.key_id)
    await identities.create_actor("bob", roles=["viewer"])
    await identities.disable_actor("bob")
    for tokens in (1_000, 200_000, 90_000):
        await services.quota_service.set("ann", {"tokens_per_day": tokens})
    return ann.actor_id


async def go_on(services, actor_id):
    """Accept an actor's commands before and behind ticks, and run the world in all ways."""
    world = await services.world_service.create_world(WorldConfig(name="demo", seed=1), actor_id=actor_id)
    world_id = world.world_id
    await services.command_service.submit(world_id, MOVE, actor_id=actor_id)
    again = SPAWN._replace(id=new_id())
    for _ in range(2):
        await services.command_service.submit(world_id, SPAWN, actor_id=actor_id)
        await services.command_service.submit_batch(world_id, [SPAWN, SPAWN], actor_id=actor_id)
        for _ in ("accepted", "answered as the first time"):
            await services.command_service.submit(world_id, again, actor_id=actor_id)
        await services.simulation_service.run(world_id, RunRequest(steps=2, actor_id=actor_id))
    started = await services.run_service.start(world_id, RunRequest(steps=2, actor_id=actor_id))
    assert (await services.run_service.wait(started.run_id)).status == "completed"
    episode = RunRequest(steps=2, kind=CommandType.RUN_EPISODE, episode=EpisodeRules())
    assert (await services.episode_service.run(world_id, episode)).steps == 2


async def fork_and_run(services):
    """Branch off, label, configure, roll out, and run beside each other."""
    demo = await services.world_service.find("demo")
    await services.label_service.add(demo, "good", 1)
    await services.label_service.add(demo, "gone", 2)
    await services.label_service.remove(demo, "gone")
    await services.world_service.fork_world(demo, "fork", tick=1)
    await services.world_service.configure_world(demo, {"snapshots": 2})
    rollout = RolloutRequest(RunRollout(episodes=2, max_steps=1))
    assert (await services.rollout_service.run(demo.world_id, rollout)).status == "completed"
    started = await services.run_service.start(demo.world_id, RunRequest(steps=500))
    await services.run_service.cancel(started.run_id, reason="enough")
    await services.run_service.wait(started.run_id)


async def clean_up(services):
    """Thin, destroy and collect."""
    demo = await services.world_service.find("demo")
    assert (await services.retention_service.thin(demo, keep="log-spaced")).unproved == {}
    assert (await services.retention_service.thin(demo)).ticks_dropped
    await services.world_service.remove_world(await services.world_service.find("fork"), reason="over")
    await services.retention_service.collect_garbage()
