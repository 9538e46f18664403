"""The gate in scripts: every command type by every role, reads too, and nothing written by what is denied."""

from contextlib import suppress
from uuid import UUID

import pytest
from pydantic import BaseModel

from archetype import ActorCtx, ArchetypeRuntime
from archetype.errors import PermissionDeniedError, RunNotFoundError
from archetype.examples.movement import MovementProcessor, Position
from archetype.log.command import CommandType
from archetype.log.permissions import Access, Role, is_permitted
from archetype.runtime.running import RunHandle


class Draught(BaseModel):
    """What these tests record."""

    speed: float = 0.0


async def submit(world, kind, payload):
    await world._submit(kind, payload, tick=0, priority=0, expected_version=None)


async def cancel(world):
    services = await world._runtime.services()
    with suppress(RunNotFoundError):
        await RunHandle(services, UUID(int=1), world._actor).cancel()


CALLS = {
    CommandType.SPAWN: lambda world: world.spawn(Position()),
    CommandType.DESPAWN: lambda world: world.despawn(1),
    CommandType.UPDATE: lambda world: world.update(1, Position()),
    CommandType.ADD_COMPONENT: lambda world: world.add_components(1, Position()),
    CommandType.REMOVE_COMPONENT: lambda world: world.remove_components(1, Position),
    CommandType.ADD_PROCESSOR: lambda world: world.add_processor(MovementProcessor()),
    CommandType.REPLACE_PROCESSOR: lambda world: world.replace_processor(MovementProcessor),
    CommandType.REMOVE_PROCESSOR: lambda world: world.remove_processor(MovementProcessor),
    CommandType.MESSAGE: lambda world: world.send("hi"),
    CommandType.CUSTOM: lambda world: submit(world, CommandType.CUSTOM, {}),
    CommandType.ADD_RESOURCE: lambda world: submit(
        world, CommandType.ADD_RESOURCE, {"resource": "Draught", "value": {"speed": 1.0}}
    ),
    CommandType.REMOVE_RESOURCE: lambda world: submit(
        world, CommandType.REMOVE_RESOURCE, {"resource": "Draught"}
    ),
    CommandType.CANCEL_RUN: cancel,
    CommandType.STEP: lambda world: world.step(),
    CommandType.RUN: lambda world: world.run(1),
    CommandType.RUN_EPISODE: lambda world: world.run_episode(1),
    CommandType.RUN_ROLLOUT: lambda world: world.run_rollout(1, 1),
    CommandType.ADD_LABEL: lambda world: world.label("good"),
    CommandType.REMOVE_LABEL: lambda world: world.unlabel("good"),
    CommandType.CONFIGURE_WORLD: lambda world: world.configure(snapshots=2),
    CommandType.THIN_WORLD: lambda world: world.thin(2),
    CommandType.FORK_WORLD: lambda world: world.fork("fork"),
    CommandType.CREATE_WORLD: lambda world: world._runtime.world("made").as_actor(world._actor).info(),
    Access.READ_WORLD: lambda world: world.state(),
    Access.READ_LOG: lambda world: world.command_history(),
    Access.REPLAY_WORLD: lambda world: world.replay(),
    Access.VERIFY: lambda world: world.verify(),
    Access.LIST_WORLDS: lambda world: world.tree(),
    CommandType.DESTROY_WORLD: lambda world: world.destroy(),
}


def test_every_command_type_is_tried():
    assert set(CommandType) <= set(CALLS)


@pytest.mark.parametrize("role", [*Role, "coder"])
async def test_every_command_type_by_every_role(database_url, role):
    async with ArchetypeRuntime(database_url) as runtime:
        world = runtime.world("demo", processors=[MovementProcessor()])
        await world.spawn(Position())
        await world.step()
        own = world.as_actor(ActorCtx(roles={role}))
        for action, call in CALLS.items():
            services = await runtime.services()
            before = [row.version for row in await services.world_service.list_worlds()]
            if is_permitted([role], action):
                await call(own)
                continue
            # A world that is not there is made on the way to another action, which is asked about first.
            first = "|read_world" if action is CommandType.CREATE_WORLD else ""
            with pytest.raises(PermissionDeniedError, match=action.value + first):
                await call(own)
            assert [row.version for row in await services.world_service.list_worlds()] == before


async def test_a_runtime_of_an_actor_is_held_to_its_roles(database_url):
    async with ArchetypeRuntime(database_url, actor_ctx=ActorCtx(roles={"operator"})) as runtime:
        with pytest.raises(PermissionDeniedError, match="create_world"):
            await runtime.world("demo").spawn(Position())
        for call in (runtime.tree, runtime.verify, runtime.collect_garbage):
            with pytest.raises(PermissionDeniedError):
                await call()
        assert await (await runtime.services()).world_service.list_worlds() == []


async def test_a_handle_of_a_player_does_not_bring_its_processors(database_url):
    async with ArchetypeRuntime(database_url) as runtime:
        await runtime.world("demo").info()
    async with ArchetypeRuntime(database_url, actor_ctx=ActorCtx(roles={"player"})) as runtime:
        world = runtime.world("demo", processors=[MovementProcessor()])
        with pytest.raises(PermissionDeniedError, match="add_processor"):
            await world.spawn(Position())
        with pytest.raises(PermissionDeniedError, match="add_processor"):
            await world.info()
