"""Messages over HTTP."""

from __future__ import annotations

import pytest


async def test_a_message_is_sent_and_read_back(http, world, problem) -> None:
    """With what became of it; a retry with the same key is accepted once."""
    body = {"content": {"say": [1, None]}, "receiver_id": 1, "sender_id": 9, "channel": "chat"}
    key = {"Idempotency-Key": "once"}
    sent = await http.post("/worlds/demo/messages", json=body, headers=key)
    assert (sent.status_code, sent.json()["type"], sent.json()["is_duplicate"]) == (202, "message", False)
    assert (await http.post("/worlds/demo/messages", json=body, headers=key)).json()["is_duplicate"] is True
    await http.post("/worlds/demo/messages", json={"content": "lost", "receiver_id": 99})
    waiting, _ = (await http.get("/worlds/demo/messages")).json()
    assert waiting == body | {
        "command_id": sent.json()["id"],
        "tick": sent.json()["tick"],
        "position": sent.json()["position"],
        "world_id": world,
        "actor_id": None,
        "status": "pending",
        "reason": None,
    }
    await http.post("/worlds/demo/step")
    applied, rejected = (await http.get("/worlds/demo/messages")).json()
    assert (applied["status"], rejected["status"]) == ("applied", "rejected")
    assert rejected["reason"] == "Entity 99 is not active."
    refused = await http.post("/worlds/demo/messages", json={"content": 1, "receiver_id": 0})
    assert [each["path"] for each in problem(refused, 422, "invalid_payload")["errors"]] == ["receiver_id"]
    problem(await http.post("/worlds/demo/messages", json={"receiver_id": 1}), 422, "invalid_input")


async def test_pages_lead_to_older_messages_under_the_same_filter(http, world) -> None:
    """By receiver, sender, channel and ticks; a reference to a tick ends the range behind it."""
    for number in range(6):
        fields = {"receiver_id": 1 if number % 2 else None, "channel": "a b"}
        await http.post("/worlds/demo/messages", json={"content": number, **fields})
        await http.post("/worlds/demo/step")
    query = {"receiver": 1, "channel": "a b", "limit": 2}
    page = await http.get("/worlds/demo/messages", params=query)
    assert [each["content"] for each in page.json()] == [3, 5]
    older = await http.get(page.links["next"]["url"])
    assert ([each["content"] for each in older.json()], older.links) == ([1], {})
    first, last = page.json()[0]["tick"], page.json()[1]["tick"]
    until = await http.get(f"/worlds/demo@{first}/messages")
    assert [each["content"] for each in until.json()] == [0, 1, 2, 3]
    ranged = await http.get("/worlds/demo/messages", params={"from_tick": first, "to_tick": last})
    assert [each["content"] for each in ranged.json()] == [3, 4]
    assert (await http.get("/worlds/demo/messages", params={"sender": 1})).json() == []


@pytest.mark.parametrize("query", ["receiver=0", "sender=x", "from_tick=-1", "limit=0", "before=0"])
async def test_a_bad_filter_is_refused_by_its_name(http, world, problem, query) -> None:
    """422, with the parameter."""
    problem(await http.get(f"/worlds/demo/messages?{query}"), 422, "invalid_input")
