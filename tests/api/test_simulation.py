"""Steps and runs over HTTP."""

from __future__ import annotations

from uuid import uuid4

from archetype.errors import UnavailableError


async def test_a_step_with_and_without_a_body(http, world) -> None:
    """Old callers send num_steps, which changes nothing."""
    first = await http.post("/worlds/demo/step")
    assert first.status_code == 200
    body = first.json()
    assert body.pop("run_id")
    assert body == {"world_id": world, "commands_applied": 2, "commands_rejected": 0, "tick": 1}
    second = await http.post("/worlds/demo/step", json={"num_steps": 5, "debug": True, "inputs": {"a": 1}})
    assert second.json()["tick"] == 2


async def test_a_run_says_what_it_did(http, world) -> None:
    """Ticks, commands, and the tick that comes next."""
    body = (await http.post("/worlds/demo/run", json={"num_steps": 3})).json()
    assert body.pop("run_id")
    assert body == {
        "world_id": world,
        "ticks_completed": 3,
        "commands_applied": 2,
        "commands_rejected": 0,
        "final_tick": 3,
    }
    assert (await http.post("/worlds/demo/run")).json()["final_tick"] == 4
    assert (await http.post("/worlds/demo/run", json={"num_steps": 0})).json()["ticks_completed"] == 0


async def test_runs_are_idempotent_and_conditional(http, world, problem) -> None:
    """A retry runs nothing; another version is 412; the key with other content is 409."""
    key = {"Idempotency-Key": str(uuid4())}
    first = (await http.post("/worlds/demo/run", json={"num_steps": 2}, headers=key)).json()
    assert (await http.post("/worlds/demo/run", json={"num_steps": 2}, headers=key)).json() == first
    assert (await http.get("/worlds/demo")).json()["tick"] == 2
    other = await http.post("/worlds/demo/run", json={"num_steps": 3}, headers=key)
    problem(other, 409, "command_conflict")
    stale = await http.post("/worlds/demo/step", headers={"If-Match": '"1"'})
    problem(stale, 412, "version_conflict")


async def test_a_world_s_processors(http, world) -> None:
    """Those of the next tick, with what would build them again."""
    assert (await http.get("/worlds/demo/processors")).json() == [
        {
            "name": "MovementProcessor",
            "priority": 10,
            "components": ["Position", "Velocity"],
            "kind": "frame",
            "reads": None,
            "writes": None,
            "depends_on": [],
            "every": 1,
            "offset": 0,
            "runs_alone": False,
            "has_condition": False,
            "retry_policy": None,
            "parameters": {},
            "module": "archetype.examples.movement",
            "is_loaded": True,
            "is_current": True,
        }
    ]


async def test_changed_code_runs_once_it_has_replaced_the_recorded(
    http, world, define, restarted, problem
) -> None:
    """409 until then, with nothing sealed; the log says from which tick on the new code ran."""
    kept = [define(1.0)]
    await http.post("/worlds/demo/commands", json={"type": "add_processor", "payload": {"processor": "Push"}})
    await http.post("/worlds/demo/step")
    kept.append(define(100.0))
    async with restarted() as server:
        document = problem(await server.post("/worlds/demo/step"), 409, "code_changed")
        assert document["name"] == "Push"
        assert document["recorded"] != document["loaded"]
        processors = (await server.get("/worlds/demo/processors")).json()
        assert [(each["name"], each["is_current"]) for each in processors] == [
            ("MovementProcessor", True),
            ("Push", False),
        ]
        replace = {"type": "replace_processor", "payload": {"processor": "Push"}}
        replaced = await server.post("/worlds/demo/commands", json=replace)
        assert (replaced.status_code, replaced.json()["tick"]) == (202, 1), "tick 1 was not sealed"
        assert (await server.post("/worlds/demo/step")).status_code == 200
        at = [(await server.get(f"/worlds/demo@{tick}/entities/1")).json() for tick in range(2)]
        assert [each["components"]["Position"]["y"] for each in at] == [1.0, 101.0]
        assert (await server.get("/worlds/demo/processors")).json()[1]["is_current"] is True
        history = (await server.get("/worlds/demo/history")).json()
        assert [each["applied_tick"] for each in history if each["type"] == "replace_processor"] == [1]


async def test_a_stopping_server_answers_503(lite, sqlite_app, lite_world, problem, monkeypatch) -> None:
    """A run that was cut short can be tried again elsewhere."""

    async def stopped(*_args, **_kwargs):
        raise UnavailableError("the server is stopping", ticks_completed=2, retry_after_s=1)

    monkeypatch.setattr("archetype.service.simulation.SimulationService.run", stopped)
    response = await lite.post("/worlds/demo/run", json={"num_steps": 5})
    assert problem(response, 503, "unavailable")["ticks_completed"] == 2
    assert response.headers["retry-after"] == "1"


async def test_ticks_are_computed_again(http, world, problem) -> None:
    """All of them or a range; none of it is written."""
    await http.post("/worlds/demo/run", json={"num_steps": 4})
    version = (await http.get("/worlds/demo")).json()["version"]
    report = (await http.get("/worlds/demo/replay")).json()
    assert report == {
        "world_id": world,
        "from_tick": 0,
        "to_tick": 4,
        "ticks_compared": 4,
        "ticks_skipped": 0,
        "code_changes": [],
        "divergence": None,
    }
    part = (await http.get("/worlds/demo/replay?from_tick=1&to_tick=3")).json()
    assert (part["from_tick"], part["to_tick"], part["ticks_compared"]) == (1, 3, 2)
    assert (await http.get("/worlds/demo")).json()["version"] == version
    problem(await http.get("/worlds/demo/replay?to_tick=5"), 404, "tick_not_found")
    assert (await http.get("/worlds/demo@1/replay")).json()["to_tick"] == 2


async def test_a_replay_that_differs_is_an_answer(http, world, define, restarted) -> None:
    """200 that names the tick, the place, and the code that changed."""
    kept = [define(1.0)]
    push = {"type": "add_processor", "payload": {"processor": "Push"}}
    await http.post("/worlds/demo/commands", json=push)
    await http.post("/worlds/demo/run", json={"num_steps": 2})
    kept.append(define(2.0))
    async with restarted() as again:
        answer = await again.get("/worlds/demo/replay")
    assert answer.status_code == 200
    report = answer.json()
    assert [each["processor"] for each in report["code_changes"]] == ["Push"]
    divergence = report["divergence"]
    assert (divergence["tick"], divergence["column"]) == (0, "position__y")
    assert divergence["values"] == [{"entity_id": 1, "recorded": 1.0, "computed": 2.0}]


async def test_a_replay_ends_with_the_server(lite, lite_world, sqlite_app, problem) -> None:
    """503, so that another server can be asked."""
    await lite.post("/worlds/demo/step")
    sqlite_app.state.stopping.set()
    answer = await lite.get("/worlds/demo/replay")
    problem(answer, 503, "unavailable")
    assert answer.headers["retry-after"] == "1"
