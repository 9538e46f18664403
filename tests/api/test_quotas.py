"""Quotas over HTTP: what goes beyond is a 429 that says when to come back, and debits nothing."""

import httpx
import pyarrow as pa
from keyed_client import keyed

from archetype.core.bulk import encode_batch


async def send(client, *commands) -> httpx.Response:
    return await client.post("/worlds/demo/commands/batch", json={"commands": list(commands)})


def note(**fields):
    return {"type": "custom", "payload": {"about": "nothing"}, **fields}


async def test_what_goes_beyond_is_refused_until_the_quota_is_raised(app, world, problem) -> None:
    async with await keyed(app, "admin", "root") as root, await keyed(app, "player") as ann:
        before = (await ann.get("/me/quota")).json()
        assert (before["commands_per_tick"], before["tokens_per_day"], before["tokens_used"]) == (
            500,
            200_000,
            0,
        )
        answer = await root.patch(
            "/actors/ann/quota", json={"commands_per_tick": 2, "reason": "a small world"}
        )
        assert answer.json()["reason"] == "a small world"
        body = problem(await send(ann, note(), note(), note()), 429, "quota_exceeded")
        assert (body["quota"], body["used"], body["allowed"]) == ("commands_per_tick", 0, 2)
        assert "archetype quota set" in body["detail"]
        assert (await send(ann, note(), note())).status_code == 202
        refused = await ann.post("/worlds/demo/commands", json=note())
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        assert (await ann.get("/me/quota")).json()["tokens_used"] == 20
        await root.post("/worlds/demo/step")
        assert (await ann.post("/worlds/demo/commands", json=note())).status_code == 202
        change = {"commands_per_tick": None, "tokens_per_day": 45}
        assert (await root.patch("/actors/ann/quota", json=change)).json()["tokens_left"] == 15
        over = await send(ann, note(), note())
        problem(over, 429, "quota_exceeded")
        assert 1 <= int(over.headers["retry-after"]) <= 86_400
        assert (await send(ann, note())).status_code == 202


async def test_stepping_one_world_never_resets_anothers(app, world) -> None:
    async with await keyed(app, "admin", "root") as root, await keyed(app, "player") as ann:
        await root.post("/worlds", json={"name": "other"})
        await root.patch("/actors/ann/quota", json={"commands_per_tick": 1})
        assert (await send(ann, note())).status_code == 202
        await root.post("/worlds/other/step")
        assert (await send(ann, note())).status_code == 429
        await root.post("/worlds/demo/step")
        assert (await send(ann, note())).status_code == 202


async def test_a_bulk_command_counts_once_and_pays_by_its_rows(app, world) -> None:
    table = pa.table({"position__x": [1.0] * 30, "position__y": [2.0] * 30})
    headers = {"Content-Type": "application/vnd.apache.arrow.stream"}
    async with await keyed(app, "admin", "root") as root, await keyed(app, "player") as ann:
        await root.patch("/actors/ann/quota", json={"commands_per_tick": 1, "tokens_per_day": 300})
        path = "/worlds/demo/entities/bulk"
        done = await ann.post(path, content=encode_batch(table), headers=headers)
        assert done.status_code < 300, done.text
        used = (await ann.get("/me/quota")).json()
        assert (used["commands_used"], used["tokens_used"], used["tokens_left"]) == (1, 300, 0)


async def test_what_goes_beyond_is_among_the_denials(app, world) -> None:
    async with await keyed(app, "admin", "root") as root, await keyed(app, "player") as ann:
        await root.patch("/actors/ann/quota", json={"commands_per_tick": 0})
        for _ in range(2):
            assert (await ann.post("/worlds/demo/commands", json=note())).status_code == 429
        await app.dependencies["services"].dependency().gate.denials.flush()
        (denial,) = (await root.get("/denials")).json()
        assert (denial["code"], denial["count"]) == ("quota_exceeded", 2)
        assert (denial["reason"], denial["actor_id"]) == (
            "beyond commands_per_tick",
            (await ann.get("/me")).json()["actor_id"],
        )


async def test_who_may_see_and_set_quotas(lite, lite_world, sqlite_app, problem) -> None:
    async with await keyed(sqlite_app, "admin", "root") as root, await keyed(sqlite_app, "operator") as ann:
        for answer in (
            await ann.get("/quotas"),
            await ann.get("/actors/ann/quota"),
            await ann.patch("/actors/ann/quota", json={"tokens_per_day": None}),
        ):
            problem(answer, 403, "permission_denied")
        assert [each["actor"] for each in (await root.get("/quotas")).json()] == ["root", "ann"]
        problem(await root.get("/actors/nobody/quota"), 404, "identity_not_found")
        problem(await root.patch("/actors/ann/quota", json={"tokens_per_day": -1}), 422, "invalid_input")
        problem(await root.patch("/actors/ann/quota", json={"tokens": 1}), 422, "invalid_input")
        problem(await root.patch("/actors/ann/quota", json={"reason": "none"}), 422, "invalid_input")


async def test_the_single_user_has_no_limit(lite, lite_world) -> None:
    quota = (await lite.get("/me/quota")).json()
    assert (quota["actor_id"], quota["commands_per_tick"], quota["tokens_per_day"]) == (None, None, None)
    assert (await send(lite, *[note() for _ in range(501)])).status_code == 202
