"""Messages, for scripts."""

from __future__ import annotations

from archetype import ActorCtx, ArchetypeRuntime, Component
from archetype.clock import new_id
from archetype.scheduling import system


class ScriptedEar(Component):
    heard: str = ""


@system(writes=(ScriptedEar,))
def scripted_listener(access):
    for entity_id, ear in access(ScriptedEar):
        words = [each.content for each in access.inbox(entity_id)]
        access[entity_id, ScriptedEar] = ScriptedEar(heard=" ".join([ear.heard, *words]).strip())


async def test_what_a_script_says_is_heard_and_can_be_read_again(runtime):
    """By whom, to whom, when; in the forks too."""
    world = runtime.world("talk", processors=[scripted_listener])
    listener = await world.spawn(ScriptedEar())
    actor = ActorCtx(id=new_id(), roles={"player"})
    sent = await world.as_actor(actor).send("hello", to=listener, sender=7, channel="chat")
    await world.send("nobody", to=99)
    await world.step()
    assert (await world.entity(listener)).components["ScriptedEar"]["heard"] == "hello"
    first, lost = await world.messages()
    assert (first.command_id, first.actor_id, first.sender_id, first.tick) == (sent, actor.id, 7, 0)
    assert (lost.status, lost.reason) == ("rejected", "Entity 99 is not active.")
    fork = await world.fork("listeners")
    await fork.send("again", to=listener, tick=1)
    await fork.run(2)
    assert (await fork.entity(listener)).components["ScriptedEar"]["heard"] == "hello again"
    assert [each.content for each in await fork.messages(receiver=listener)] == ["hello", "again"]
    assert [each.content for each in await fork.messages(1, channel="chat", sender=7)] == ["hello"]
    assert (await fork.replay()).divergence is None


def test_the_sync_face_sends_too(sqlite_url):
    """The same methods, without await."""
    with ArchetypeRuntime.sync(sqlite_url) as runtime:
        world = runtime.world("talk")
        world.send({"a": 1})
        world.step()
        assert [each.content for each in world.messages(from_tick=0, to_tick=1)] == [{"a": 1}]
