"""Recorded resources over HTTP."""

from __future__ import annotations

from pydantic import BaseModel


class ServedTide(BaseModel):
    height: float = 1.5
    name: str = "low"


async def test_resources_are_recorded_listed_and_removed(http, world, problem) -> None:
    """Those that wait for the next tick are listed; a retry with the same key is one command."""
    body, key = {"resource": "ServedTide", "value": {"height": 2}}, {"Idempotency-Key": "once"}
    added = await http.post("/worlds/demo/resources", json=body, headers=key)
    assert (added.status_code, added.json()["type"]) == (202, "add_resource")
    assert (await http.post("/worlds/demo/resources", json=body, headers=key)).json()["is_duplicate"] is True
    expected = {"name": "ServedTide", "module": __name__, "value": {"height": 2, "name": "low"}}
    for _ in range(2):
        assert (await http.get("/worlds/demo/resources")).json() == [expected | {"is_loaded": True}]
        await http.post("/worlds/demo/step")
    removed = await http.delete(f"/worlds/demo/resources/{__name__}.ServedTide?tick=4")
    assert (removed.status_code, removed.json()["tick"]) == (202, 4)
    assert len((await http.get("/worlds/demo/resources")).json()) == 1
    assert (await http.delete("/worlds/demo/resources/ServedTide")).status_code == 202
    assert (await http.get("/worlds/demo/resources")).json() == []


async def test_what_does_not_fit_is_refused_with_its_path(http, world, problem) -> None:
    """The class, and each field of the value."""
    unknown = await http.post("/worlds/demo/resources", json={"resource": "NoTide"})
    assert problem(unknown, 422, "invalid_payload")["errors"][0]["path"] == "resource"
    bad = await http.post(
        "/worlds/demo/resources", json={"resource": "ServedTide", "value": {"height": "high", "name": 1}}
    )
    paths = [each["path"] for each in problem(bad, 422, "invalid_payload")["errors"]]
    assert paths == ["value.height", "value.name"]
    assert (await http.get("/worlds/demo/resources")).json() == []
