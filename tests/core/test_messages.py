"""Messages: inboxes, channels, and who is there to receive."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from archetype.clock import new_id
from archetype.core.archetype import Archetype
from archetype.core.messages import Message, Messages, deliver
from archetype.core.state import ArchetypeTable, WorldState
from archetype.examples.movement import Position

SENT = st.lists(
    st.tuples(
        st.none() | st.integers(1, 6), st.none() | st.integers(1, 6), st.none() | st.sampled_from("ab")
    ),
    max_size=12,
)


def messages_of(sent) -> Messages:
    return Messages(
        tuple(
            Message(version, new_id(), sender, receiver, channel, f'{{"at": {version}}}')
            for version, (sender, receiver, channel) in enumerate(sent, 1)
        )
    )


def state_of(entity_ids) -> WorldState:
    archetype = Archetype.of([Position])
    count = len(entity_ids)
    columns = [pa.array([0.0] * count, column.type) for column in archetype.schema]
    arrays = [pa.array(sorted(entity_ids), pa.int64()), *columns]
    table = ArchetypeTable.from_arrays(archetype, arrays)
    return WorldState.of([table])


@given(SENT)
def test_every_message_is_in_one_inbox_or_is_to_everybody(sent):
    """The same for channels; order stays that of application."""
    messages = messages_of(sent)
    assert (list(messages), len(messages)) == (list(messages.all), len(sent))
    inboxes = {key: messages.inbox(key) for key in range(1, 7)}
    for key, inbox in inboxes.items():
        assert inbox == tuple(each for each in messages if each.receiver_id == key)
    assert messages.by_receiver == {key: inbox for key, inbox in inboxes.items() if inbox}
    assert messages.broadcast == tuple(each for each in messages if each.receiver_id is None)
    for channel in (None, "a", "b"):
        expected = tuple(each for each in messages if each.channel == channel)
        assert messages.by_channel.get(channel, ()) == expected


@given(SENT, st.sets(st.integers(1, 6), min_size=1))
def test_only_messages_to_active_entities_and_to_everybody_are_delivered(sent, active):
    """Each of the others is rejected once; who sent it does not matter."""
    messages = messages_of(sent)
    delivered, rejections = deliver(messages, state_of(active))
    lost = [each for each in messages if each.receiver_id not in {None, *active}]
    assert list(delivered) == [each for each in messages if each not in lost]
    assert [(each.version, each.code) for each in rejections] == [
        (each.version, "entity_not_found") for each in lost
    ]


def test_nobody_changes_what_others_read():
    """The content is each reader's own; the message and the inboxes are fixed."""
    (message,) = messages = messages_of([(None, 1, None)])
    message.content["at"] = 2
    assert message.content == {"at": 1}
    with pytest.raises(AttributeError):
        message.document = "2"
    with pytest.raises(TypeError):
        messages.by_receiver[2] = (message,)
