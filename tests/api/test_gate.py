"""The gate over HTTP: every command type by every role, every route, and nothing to learn from a denial."""

from __future__ import annotations

import json
from uuid import UUID

import pytest
from keyed_client import keyed

from archetype.api.gate import DECLARATION
from archetype.log.command import CommandType
from archetype.log.permissions import ACTIONS, Role, is_permitted

ROLES = [*Role, "coder"]
PAYLOADS = {
    "spawn": {"components": []},
    "despawn": {"entity_id": 1},
    "update": {"entity_id": 1, "components": []},
    "add_component": {"entity_id": 1, "components": []},
    "remove_component": {"entity_id": 1, "component_types": []},
    "add_processor": {"processor": "MovementProcessor"},
    "remove_processor": {"processor": "MovementProcessor"},
    "replace_processor": {"processor": "MovementProcessor"},
}
OWN_ROUTES = {
    "create_world": [("POST", "/worlds", {"name": "another"})],
    "fork_world": [("POST", "/worlds/demo/fork", {})],
    "configure_world": [("PATCH", "/worlds/demo", {"snapshots": 1})],
    "destroy_world": [("DELETE", "/worlds/demo", None)],
    "add_label": [("POST", "/worlds/demo/labels", {"name": "good"})],
    "remove_label": [("DELETE", "/worlds/demo/labels/good", None)],
    "step": [("POST", "/worlds/demo/step", {})],
    "run": [("POST", "/worlds/demo/run", {"num_steps": 1})],
    "run_episode": [("POST", "/worlds/demo/episode", {"max_steps": 1})],
    "run_rollout": [("POST", "/worlds/demo/rollout", {"max_steps": 1, "episodes": 1})],
    "spawn": [
        ("POST", "/worlds/demo/entities", {"components": []}),
        ("POST", "/worlds/demo/entities/bulk", {}),
    ],
    "despawn": [("DELETE", "/worlds/demo/entities/1", None)],
    "update": [("PATCH", "/worlds/demo/entities/1", {}), ("PATCH", "/worlds/demo/entities/bulk", {})],
    "add_component": [("POST", "/worlds/demo/entities/1/components", {})],
    "remove_component": [("DELETE", "/worlds/demo/entities/1/components?types=Position", None)],
}
NOT_OVER_HTTP = {"thin_world"}


def requests_of(kind: str):
    """Every way to ask for a command of a type."""
    yield from OWN_ROUTES.get(kind, [])
    if kind not in OWN_ROUTES or kind in PAYLOADS:
        command = {"type": kind, "payload": PAYLOADS.get(kind, {})}
        yield "POST", "/worlds/demo/commands", command
        yield (
            "POST",
            "/worlds/demo/commands/batch",
            {"commands": [{"type": "message", "payload": {"content": "hi"}}, command]},
        )


@pytest.mark.parametrize("role", ROLES)
async def test_every_command_type_by_every_role(sqlite_app, lite_world, role) -> None:
    """403 where the table says so, whatever the route; anything else where it permits."""
    async with await keyed(sqlite_app, role) as client:
        for kind in CommandType:
            if kind in NOT_OVER_HTTP:
                continue
            for method, path, body in requests_of(kind):
                status = (await client.request(method, path, json=body)).status_code
                permitted = is_permitted([role], kind)
                assert (status == 403) == (not permitted), (kind, method, path, status)
                assert status != 401
                if kind == "destroy_world" and permitted:
                    async with await keyed(sqlite_app, "admin", f"admin-{role}") as admin:
                        await admin.post("/worlds", json={"name": "demo"})


async def test_what_is_denied_changes_nothing(sqlite_app, lite, lite_world) -> None:
    """Also of a batch of which only the last command is denied."""
    before = (await lite.get("/worlds/demo")).json()["version"]
    async with await keyed(sqlite_app, "player") as client:
        commands = [
            {"type": "message", "payload": {"content": "hi"}},
            {"type": "message", "payload": {"content": "hi"}},
            {"type": "add_processor"},
        ]
        answer = await client.post("/worlds/demo/commands/batch", json={"commands": commands})
        assert answer.status_code == 403
        assert answer.json()["action"] == "add_processor"
        assert (await client.get("/worlds/demo")).json()["version"] == before


def test_every_route_declares_its_action(sqlite_app_routes) -> None:
    """One that forgets it is closed; only these are open."""
    is_open = set()
    for path, method, handler in sqlite_app_routes:
        declared = handler.opt.get(DECLARATION)
        assert declared is not None, (method, path)
        if declared == "open":
            is_open.add(path)
        else:
            assert all(action in ACTIONS for action in declared)
            assert declared or path.startswith(("/me", "/runs/", "/rollouts/"))
    assert is_open == {"/", "/healthz", "/readyz", "/openapi.json"}


@pytest.fixture
def sqlite_app_routes(tmp_path):
    from archetype.api.application import create_app
    from archetype.service.container import ServiceContainer

    app = create_app(ServiceContainer(f"sqlite:///{tmp_path / 'none.db'}"))
    return [
        (route.path, method, handler)
        for route in app.routes
        for method, (handler, *_) in getattr(route, "route_handler_map", {}).items()
        if method != "OPTIONS"
    ]


async def test_the_methods_of_a_route_are_told_to_anybody(sqlite_app, lite, problem) -> None:
    """A browser asks for them without a key; a route that is not there has none."""
    (await keyed(sqlite_app, "admin")).headers.clear()
    for path, methods in {"/worlds": {"GET", "POST"}, "/worlds/nothing/step": {"POST"}, "/": {"GET"}}.items():
        answer = await lite.options(path)
        assert (answer.status_code, answer.content) == (204, b"")
        assert set(answer.headers["allow"].split(", ")) == methods | {"OPTIONS"}
    problem(await lite.options("/nothing"), 404, "route_not_found")


async def test_every_route_asks_for_a_key(sqlite_app, lite, sqlite_app_routes) -> None:
    """Before its body is read, its parameters are checked, or anything is found."""
    (await keyed(sqlite_app, "admin")).headers.clear()
    for path, method, handler in sqlite_app_routes:
        if handler.opt[DECLARATION] == "open":
            continue
        real = path.replace("{entity_id:int}", "0").replace("{world:str}", "nothing")
        real = real.replace("{run_id:str}", str(UUID(int=1)))
        for part in ("{name:str}", "{key_id:str}"):
            real = real.replace(part, "x")
        for headers in (
            {},
            {"X-API-Key": "arct_x_y"},
            {"Authorization": "Basic YTpi"},
            {"Authorization": ""},
        ):
            answer = await lite.request(method, real, headers=headers, content=b"{")
            assert answer.status_code == 401, (method, path, headers)
            assert answer.headers["www-authenticate"].startswith("Bearer")
            assert answer.json()["code"] == "unauthenticated"


async def test_a_route_that_declares_nothing_is_closed(sqlite_app, lite, problem) -> None:
    """Also to the single user, who may do everything else."""
    from litestar import get

    @get("/forgotten")
    async def forgotten() -> str:
        return "open"

    sqlite_app.register(forgotten)
    problem(await lite.get("/forgotten"), 403, "permission_denied")


@pytest.mark.parametrize("scope", ["key", "role"])
async def test_probing_gives_no_difference(app, http, world, scope) -> None:
    """A world that is there and one that is not are denied in the same words, by name and by id."""
    other = (await http.post("/worlds", json={"name": "other"})).json()["world_id"]

    missing = other[:-1] + ("0" if other[-1] != "0" else "1")
    if scope == "key":
        client = await keyed(app, "operator", worlds=["other"])
    else:
        client = await keyed(app, None, world_roles={UUID(other): ["operator"]})
    async with client:
        assert (await client.get("/worlds/other")).status_code == 200
        assert (await client.get(f"/worlds/{other}")).status_code == 200
        asked = [
            ("GET", "/worlds/{}", None),
            ("GET", "/worlds/{}/state", None),
            ("GET", "/worlds/{}@0/state", None),
            ("GET", "/worlds/{}@nothing/history", None),
            ("GET", "/worlds/{}/entities/1", None),
            ("GET", "/worlds/other/merge-base?with={}", None),
            ("GET", "/worlds/other/diff?with={}", None),
            ("POST", "/worlds/{}/entities", {"components": []}),
            ("POST", "/worlds/{}/commands", {"type": "message", "payload": {"content": "hi"}}),
            ("POST", "/worlds/{}/commands/batch", {"commands": []}),
            ("POST", "/worlds/{}/fork", {}),
            ("POST", "/worlds/{}/step", {}),
            ("DELETE", "/worlds/{}", None),
        ]
        for method, path, body in asked:
            texts = set()
            for named in ("demo", "nothing", world, missing):
                answer = await client.request(method, path.format(named), json=body)
                assert answer.status_code == 403, (method, path, named)
                assert set(answer.headers) == {"content-type", "content-length", "x-request-id"}
                texts.add(json.dumps(answer.json()).replace(named, "WORLD"))
            assert len(texts) == 1
        for path in ("/worlds", "/tree", "/actors", "/keys"):
            assert (await client.get(path)).status_code == 403


async def test_what_one_principal_was_let_into_stays_closed_for_the_next(app, http, world) -> None:
    """The framework shares the parameters of a path between requests."""
    await http.post("/worlds", json={"name": "other"})
    first = await keyed(app, "viewer", "ann", worlds=["demo"])
    second = await keyed(app, "viewer", "bob", worlds=["other"])
    async with first, second:
        for _ in range(2):
            assert (await first.get("/worlds/demo")).json()["world_id"] == world
            assert (await second.get("/worlds/demo")).status_code == 403
            assert (await first.get("/worlds/other")).status_code == 403


async def test_every_event_says_which_actor(app, http, world) -> None:
    """Whatever route it came by; only what came before the first key has none."""
    async with await keyed(app, "admin") as client:
        actor = (await client.get("/me")).json()["actor_id"]
        before = (await client.get("/worlds/demo")).json()["version"]
        for method, path, body in [
            ("POST", "/worlds/demo/entities", {"components": []}),
            ("POST", "/worlds/demo/commands", {"type": "message", "payload": {"content": "hi"}}),
            ("POST", "/worlds/demo/commands/batch", {"commands": [{"type": "custom"}]}),
            ("POST", "/worlds/demo/step", {}),
            ("POST", "/worlds/demo/labels", {"name": "good"}),
            ("DELETE", "/worlds/demo/labels/good", None),
            ("PATCH", "/worlds/demo", {"snapshots": 2}),
            ("POST", "/worlds/demo/fork", {"name": "fork"}),
            ("POST", "/worlds", {"name": "made"}),
        ]:
            assert (await client.request(method, path, json=body)).status_code < 300, path
        own = [
            entry
            for name in ("demo", "fork", "made")
            for entry in (await client.get(f"/worlds/{name}/history")).json()
            if name != "demo" or entry["seq"] > before
        ]
        assert len(own) >= 9
        assert {
            entry["actor_id"] for entry in own if entry["world_id"] != world or entry["seq"] > before
        } == {actor}
        (await client.delete("/worlds/made")).raise_for_status()


async def test_a_key_of_one_actor_is_none_of_anothers(app, http, world) -> None:
    """The same Idempotency-Key of two actors means two commands."""
    key = {"Idempotency-Key": "once"}
    first, second = await keyed(app, "player", "ann"), await keyed(app, "player", "bob")
    async with first, second:
        ids = [
            (
                await client.post(
                    "/worlds/demo/commands",
                    json={"type": "message", "payload": {"content": "hi"}},
                    headers=key,
                )
            ).json()["id"]
            for client in (first, second, first)
        ]
    assert ids[0] == ids[2] != ids[1]


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"X-Forwarded-For": "192.0.2.1"},
        {"Forwarded": "for=192.0.2.1"},
    ],
    ids=["host", "origin", "opaque origin", "cross site", "proxy", "forwarded"],
)
async def test_the_single_user_is_neither_a_page_nor_a_proxy(lite, problem, headers) -> None:
    """A browser sends what any page tells it to; a local proxy sends what the world tells it to."""
    assert (await lite.get("/worlds", headers={"Origin": "http://127.0.0.1:8000"})).status_code == 200
    problem(await lite.get("/worlds", headers=headers), 401, "unauthenticated")


async def test_identities_over_http(lite, problem) -> None:
    """From the first key on, keys are needed; one that is over does not hold; a list shows no secret."""
    me = (await lite.get("/me")).json()
    assert (me["actor_id"], me["name"], me["roles"]) == (None, "local", ["admin"])
    actor = (await lite.post("/actors", json={"name": "root", "roles": ["admin"]})).json()
    answer = await lite.post("/actors/root/keys", json={"expires_in_s": 3600})
    assert answer.headers["cache-control"] == "no-store"
    issued = answer.json()
    problem(await lite.get("/me"), 401, "unauthenticated")
    lite.headers["X-API-Key"] = issued["key"]
    me = (await lite.get("/me")).json()
    assert (me["actor_id"], me["key_id"]) == (actor["actor_id"], issued["key_id"])
    problem(await lite.post("/actors", json={"name": "root", "roles": ["admin"]}), 409, "name_taken")
    problem(await lite.post("/actors/nobody/keys"), 404, "identity_not_found")
    problem(await lite.delete("/keys/nothing"), 404, "identity_not_found")
    second = (await lite.post(f"/keys/{issued['key_id']}/rotate", json={"grace_s": 60})).json()
    listed = await lite.get("/keys", params={"actor": "root"})
    assert [key["key_id"] for key in listed.json()] == [issued["key_id"], second["key_id"]]
    assert issued["key"].split("_", 2)[2] not in listed.text
    assert (await lite.delete(f"/keys/{issued['key_id']}")).json()["revoked_at"]
    problem(await lite.get("/me"), 401, "unauthenticated")
    lite.headers["X-API-Key"] = second["key"]
    assert (await lite.post("/actors/root/disable", json={"reason": "over"})).json()["reason"] == "over"
    problem(await lite.get("/me"), 401, "unauthenticated")


async def test_a_fork_s_key_tells_nothing_of_other_worlds(app, http, problem) -> None:
    """A key that is another world's id is refused in the same words, whatever name is guessed with it."""
    hidden = (await http.post("/worlds", json={"name": "hidden"})).json()["world_id"]
    fork = (await http.post("/worlds/hidden/fork", json={"name": "open", "tick": -1})).json()["world_id"]
    client = await keyed(app, None, world_roles={UUID(fork): ["operator"]})
    told = []
    for name in ("guess", "hidden"):
        body = {"name": name, "tick": -1}
        refused = await client.post("/worlds/open/fork", json=body, headers={"Idempotency-Key": hidden})
        told.append(problem(refused, 409, "command_conflict")["detail"])
    assert told[0] == told[1]
    assert "hidden" not in told[0]


async def test_no_secret_reaches_the_log(sqlite_app, capsys) -> None:
    """Not of a request that is let in, nor of one that is not, nor where something breaks."""
    from archetype.api.logging import configure_logging

    configure_logging()
    async with await keyed(sqlite_app, "admin") as client:
        secret = client.headers["Authorization"].split("_", 2)[2]
        texts = [(await client.get(path)).text for path in ("/me", "/worlds/nothing", "/nothing")]
        client.headers["Authorization"] += "x"
        texts.append((await client.get("/me")).text)
    import structlog

    structlog.reset_defaults()
    written = capsys.readouterr()
    assert '"status":401' in written.err
    assert secret not in written.err + written.out + "".join(texts)


async def test_denials_and_acts_over_http(sqlite_app, lite, lite_world, problem) -> None:
    """An admin reads them in pages; each says from where, and nobody else may look."""
    async with await keyed(sqlite_app, "player") as client, await keyed(sqlite_app, "admin", "root") as admin:
        for path in ("/denials", "/acts", "/worlds"):
            problem(await client.get(path), 403, "permission_denied")
        problem(await lite.get("/worlds"), 401, "unauthenticated")
        problem(await lite.get("/worlds"), 401, "unauthenticated")
        rows = (await admin.get("/denials")).json()
        assert {(row["action"], row["reason"], row["count"], row["address"]) for row in rows} == {
            ("read_audit", "not permitted", 2, "127.0.0.1"),
            ("list_worlds", "not permitted", 1, "127.0.0.1"),
            (None, "no key", 2, "127.0.0.1"),
        }
        await admin.post("/actors", json={"name": "new", "roles": ["viewer"], "reason": "joins"})
        key_id = (await admin.post("/actors/new/keys", json={"reason": "asked"})).json()["key_id"]
        await admin.delete(f"/keys/{key_id}", params={"reason": "lost"})
        page = await admin.get("/acts", params={"limit": 2})
        acts = page.json()
        assert [(act["act"], act["reason"]) for act in acts] == [
            ("create_key", "asked"),
            ("revoke_key", "lost"),
        ]
        me = (await admin.get("/me")).json()
        assert {(act["actor_id"], act["key_id"], act["address"]) for act in acts} == {
            (me["actor_id"], me["key_id"], "127.0.0.1")
        }
        older = (await admin.get(page.links["next"]["url"])).json()
        assert older[-1]["number"] == acts[0]["number"] - 1
        newest = (await admin.get("/denials", params={"limit": 1})).json()
        rest = (await admin.get("/denials", params={"before": newest[0]["denial_id"]})).json()
        assert len(rest) == len(rows) - 1
        problem(await admin.get("/denials", params={"before": "x"}), 422, "invalid_input")
