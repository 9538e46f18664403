"""Commands over HTTP: receipts, idempotency, expected versions, batches, and the log."""

from __future__ import annotations

from uuid import uuid4

import pytest

SPAWN = {"type": "spawn", "payload": {"components": [{"type": "Position", "x": 1.0}]}}


async def test_a_command_is_answered_with_its_receipt(http, world) -> None:
    """202 with where the command stands, by the world's name as by its id."""
    by_id = await http.post(f"/worlds/{world}/commands", json=SPAWN | {"tick": 4, "priority": -2})
    assert by_id.status_code == 202
    receipt = by_id.json()
    assert receipt["type"] == "spawn"
    assert receipt["tick"] == receipt["due_tick"] == 4
    assert receipt["priority"] == -2
    assert receipt["entity_id"] == 2
    assert receipt["is_duplicate"] is False
    by_name = (await http.post("/worlds/demo/commands", json={"payload": {"note": "hi"}})).json()
    assert by_name["type"] == "custom"
    assert by_name["entity_id"] is None
    assert by_name["version"] == receipt["version"] + 1
    assert by_name["position"] > receipt["position"]


async def test_a_late_command_goes_to_the_next_open_tick(http, world) -> None:
    """`due_tick` is what was asked for, `tick` what it became."""
    await http.post("/worlds/demo/run", json={"num_steps": 3})
    receipt = (await http.post("/worlds/demo/commands", json=SPAWN | {"tick": 1})).json()
    assert (receipt["due_tick"], receipt["tick"]) == (1, 3)


async def test_an_unknown_world_takes_no_commands(http, problem) -> None:
    """By name it is looked up, by id the log refuses it."""
    problem(await http.post("/worlds/nowhere/commands", json=SPAWN), 404, "world_not_found")
    problem(await http.post(f"/worlds/{uuid4()}/commands", json=SPAWN), 404, "world_not_found")


@pytest.mark.parametrize("key", ["01890a5d-ac96-774b-bcce-b302099a8057", "import of Tuesday"])
async def test_a_key_makes_a_retry_harmless(http, world, problem, key) -> None:
    """The same key answers as the first time; with other content it is 409."""
    headers = {"Idempotency-Key": key}
    first = (await http.post("/worlds/demo/commands", json=SPAWN, headers=headers)).json()
    again = (await http.post(f"/worlds/{world}/commands", json=SPAWN, headers=headers)).json()
    assert again == first | {"is_duplicate": True}
    other = SPAWN | {"tick": 8}
    problem(await http.post("/worlds/demo/commands", json=other, headers=headers), 409, "command_conflict")


async def test_the_body_s_id_and_the_key_must_agree(lite, lite_world, problem) -> None:
    """The same id twice is fine, two different ones are 422."""
    own = str(uuid4())
    body = SPAWN | {"id": own}
    same = await lite.post("/worlds/demo/commands", json=body, headers={"Idempotency-Key": own})
    assert same.json()["id"] == own
    differs = await lite.post("/worlds/demo/commands", json=body, headers={"Idempotency-Key": str(uuid4())})
    assert problem(differs, 422, "invalid_input")["errors"][0]["path"] == "id"


async def test_keys_of_two_worlds_do_not_meet(lite, lite_world) -> None:
    """A key's name belongs to its world."""
    await lite.post("/worlds", json={"name": "other"})
    headers = {"Idempotency-Key": "same words"}
    here = (await lite.post("/worlds/demo/commands", json=SPAWN, headers=headers)).json()
    there = (await lite.post("/worlds/other/commands", json=SPAWN, headers=headers)).json()
    assert here["id"] != there["id"]


async def test_if_match_expects_a_version(http, world, problem) -> None:
    """412 carries both versions; the ETag of the world is what matches; a retry is answered first."""
    etag = (await http.get("/worlds/demo")).headers["etag"]
    headers = {"If-Match": etag, "Idempotency-Key": "k"}
    assert (await http.post("/worlds/demo/commands", json=SPAWN, headers=headers)).status_code == 202
    assert (await http.post("/worlds/demo/commands", json=SPAWN, headers=headers)).json()["is_duplicate"]
    late = await http.post("/worlds/demo/commands", json=SPAWN, headers={"If-Match": etag})
    document = problem(late, 412, "version_conflict")
    version = int(etag.strip('"'))
    assert document["expected_version"] == version
    assert document["actual_version"] == version + 1
    any_version = await http.post("/worlds/demo/commands", json=SPAWN, headers={"If-Match": "*"})
    assert any_version.status_code == 202
    bad = await http.post("/worlds/demo/commands", json=SPAWN, headers={"If-Match": '"a", "b"'})
    assert problem(bad, 422, "invalid_input")["errors"][0]["path"] == "If-Match"


async def test_a_batch_is_accepted_in_order(http, world) -> None:
    """Ids by default, receipts where they are preferred, both in the order of the commands."""
    batch = {"commands": [SPAWN, SPAWN | {"tick": 3}, {"type": "despawn", "payload": {"entity_id": 1}}]}
    ids = await http.post("/worlds/demo/commands/batch", json=batch)
    assert ids.status_code == 202
    assert len(set(ids.json())) == 3
    whole = await http.post(
        "/worlds/demo/commands/batch", json=batch, headers={"Prefer": "return=representation"}
    )
    assert whole.headers["preference-applied"] == "return=representation"
    receipts = whole.json()
    assert [receipt["type"] for receipt in receipts] == ["spawn", "spawn", "despawn"]
    assert [receipt["due_tick"] for receipt in receipts] == [0, 3, 0]
    first = receipts[0]["version"]
    assert [receipt["version"] for receipt in receipts] == [first, first + 1, first + 2]
    assert (await http.post("/worlds/demo/commands/batch", json={"commands": []})).json() == []


async def test_a_batch_with_a_key_is_accepted_once(http, world, problem) -> None:
    """Each command's id follows from the key and its place."""
    headers = {"Idempotency-Key": "load", "Prefer": "return=representation"}
    batch = {"commands": [SPAWN, SPAWN]}
    first = (await http.post("/worlds/demo/commands/batch", json=batch, headers=headers)).json()
    again = (await http.post("/worlds/demo/commands/batch", json=batch, headers=headers)).json()
    assert again == [receipt | {"is_duplicate": True} for receipt in first]
    own = {"commands": [SPAWN, SPAWN | {"id": str(uuid4())}]}
    refused = await http.post("/worlds/demo/commands/batch", json=own, headers=headers)
    assert problem(refused, 422, "invalid_input")["errors"][0]["path"] == "commands.1.id"


async def test_a_batch_stands_or_falls_as_one(http, world, problem) -> None:
    """One bad command keeps all of them out, and is named by its place."""
    before = (await http.get("/worlds/demo/commands/pending")).json()["pending_count"]
    bad = {"type": "spawn", "payload": {"components": [{"type": "Position", "x": "far"}]}}
    refused = await http.post("/worlds/demo/commands/batch", json={"commands": [SPAWN, bad, SPAWN, bad]})
    paths = [each["path"] for each in problem(refused, 422, "invalid_payload")["errors"]]
    assert paths == ["commands.1.payload.components.0.x", "commands.3.payload.components.0.x"]
    taken = {"type": "spawn", "payload": {"components": [], "entity_id": 1}}
    batch = {"commands": [SPAWN, taken]}
    problem(await http.post("/worlds/demo/commands/batch", json=batch), 409, "command_conflict")
    assert (await http.get("/worlds/demo/commands/pending")).json() == {
        "world_id": world,
        "pending_count": before,
    }


async def test_the_list_says_what_became_of_each(http, world) -> None:
    """Newest last; pending, applied and rejected, the last with its reason."""
    await http.post("/worlds/demo/commands", json={"type": "despawn", "payload": {"entity_id": 77}})
    await http.post("/worlds/demo/commands", json=SPAWN | {"tick": 5})
    before = (await http.get("/worlds/demo/commands")).json()
    assert [entry["status"] for entry in before if entry["type"] == "spawn"] == ["pending", "pending"]
    stepped = (await http.post("/worlds/demo/step")).json()
    assert stepped["commands_rejected"] == 1
    after = {entry["version"]: entry for entry in (await http.get("/worlds/demo/commands")).json()}
    kinds = [(entry["type"], entry["status"]) for entry in after.values()]
    assert kinds == [
        ("create_world", "applied"),
        ("add_processor", "applied"),
        ("spawn", "applied"),
        ("despawn", "rejected"),
        ("spawn", "pending"),
        ("step", "applied"),
    ]
    assert [entry["reason"] is None for entry in after.values()] == [True, True, True, False, True, True]
    assert after[5]["applied_tick"] == 5


async def test_history_is_whole_and_pages_into_the_past(http, world) -> None:
    """Every command once, following the links, each as a full command."""
    for _ in range(4):
        await http.post("/worlds/demo/entities", json={"components": [{"type": "Position"}]})
    seen: list[dict] = []
    url: str | None = "/worlds/demo/history?limit=3"
    while url is not None:
        page = await http.get(url)
        seen = page.json() + seen
        url = page.links.get("next", {}).get("url")
    assert [entry["seq"] for entry in seen] == [1, 2, 3, 4, 5, 6, 7]
    assert [entry["entity_id"] for entry in seen[2:]] == [1, 2, 3, 4, 5]
    last = seen[-1]
    assert last["payload"] == {"components": [{"type": "Position", "x": 0, "y": 0}]}
    assert set(last) == {
        "id", "tick", "actor_id", "type", "payload", "priority", "version", "seq", "position", "applied_tick",
        "entity_id", "world_id", "status", "reason",
    }  # fmt: skip


async def test_reads_of_an_unknown_world_are_404(lite, problem) -> None:
    """Every route below a world."""
    for route in (
        "commands",
        "commands/pending",
        "history",
        "processors",
        "state",
        "components",
        "entities/1",
    ):
        problem(await lite.get(f"/worlds/nowhere/{route}"), 404, "world_not_found")
    for route in ("step", "run"):
        problem(await lite.post(f"/worlds/{uuid4()}/{route}"), 404, "world_not_found")


async def test_history_can_be_filtered(http, world, problem) -> None:
    """By type, tick and what became of it; the links keep the filters."""
    await http.post("/worlds/demo/commands", json={"type": "despawn", "payload": {"entity_id": 77}})
    await http.post("/worlds/demo/step")
    for tick in (1, 2, 2):
        await http.post("/worlds/demo/commands", json=SPAWN | {"tick": tick})

    async def kinds(query: str, route: str = "history") -> list[tuple[str, str]]:
        listed = (await http.get(f"/worlds/demo/{route}?{query}")).json()
        return [(each["type"], each["status"]) for each in listed]

    for route in ("history", "commands"):
        assert await kinds("status=rejected", route) == [("despawn", "rejected")]
        assert await kinds("types=spawn&status=applied", route) == [("spawn", "applied")]
        assert await kinds("types=despawn,step", route) == [("despawn", "rejected"), ("step", "applied")]
        assert await kinds("from_tick=1&to_tick=2", route) == [("spawn", "pending")]
        assert await kinds(f"actor_id={uuid4()}", route) == []
    seen: list[dict] = []
    url: str | None = "/worlds/demo/history?limit=2&types=spawn,despawn&from_tick=1&to_tick=3&status=pending"
    count = 0
    while url is not None:
        page = await http.get(url)
        seen, count = page.json() + seen, count + 1
        url = page.links.get("next", {}).get("url")
    assert ([each["applied_tick"] for each in seen], count) == ([1, 2, 2], 2)
    assert {(each["world_id"], each["status"]) for each in seen} == {(world, "pending")}


@pytest.mark.parametrize(
    ("query", "path", "known"),
    [
        ("types=spawn,bury", "types", "add_label"),
        ("types=", "types", ""),
        ("types=spawn,", "types", "commas"),
        ("status=lost", "status", "pending, applied, rejected"),
        ("actor_id=me", "actor_id", ""),
        ("from_tick=-1", "from_tick", ""),
        ("to_tick=9223372036854775808", "to_tick", "from 0"),
        ("from_tick=5&to_tick=3", "to_tick", "to_tick 3 lies before from_tick 5"),
    ],
    ids=["type", "no-type", "empty-type", "status", "actor", "negative", "far", "reversed"],
)
async def test_a_filter_that_is_none_is_refused(lite, lite_world, problem, query, path, known) -> None:
    """422 that names the parameter, and what is known."""
    for route in ("history", "commands"):
        refused = problem(await lite.get(f"/worlds/demo/{route}?{query}"), 422, "invalid_input")
        assert refused["errors"][0]["path"] == path
        assert known in refused["detail"]
