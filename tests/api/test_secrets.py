"""No secret of a key is anywhere but in the one answer that shows it: not in logs, errors or any column."""

from __future__ import annotations

import io
import logging
import sys

import pytest
import structlog
from applications import make_world
from keyed_client import keyed
from sqlalchemy import LargeBinary, select

from archetype.api.logging import configure_logging
from archetype.store.schema import metadata


@pytest.fixture
def logged(monkeypatch):
    """Everything that is logged, from the lowest level on."""
    written = io.StringIO()
    monkeypatch.setattr(sys, "stderr", written)
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    configure_logging()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG))
    root.setLevel(logging.DEBUG)
    yield written.getvalue
    root.setLevel(level)
    root.handlers[:] = handlers
    structlog.reset_defaults()


async def stored(services) -> bytes:
    """Every value of every column of every table, one after the other."""

    def read(connection) -> bytes:
        parts = []
        for table in metadata.sorted_tables:
            for row in connection.execute(select(table)):
                for column, value in zip(table.c, row, strict=True):
                    is_bytes = isinstance(column.type, LargeBinary) or isinstance(value, bytes)
                    parts.append(bytes(value) if is_bytes and value is not None else repr(value).encode())
        return b"\0".join(parts)

    return await services.database.read(read)


async def test_no_secret_is_logged_answered_or_stored(logged, app, http, monkeypatch) -> None:
    """Whatever is asked with it, or with what looks like it, and whatever breaks on the way."""
    world = await make_world(http)
    services = app.dependencies["services"].dependency()
    async with await keyed(app, "admin") as client:
        key = client.headers["Authorization"].removeprefix("Bearer ")
        rotated = (await client.post("/actors/ann/keys", json={})).json()
        replaced = (await client.post(f"/keys/{rotated['key_id']}/rotate", json={"grace_s": 60})).json()
        keys = [key, rotated["key"], replaced["key"]]
        secrets = [each.split("_", 2)[2] for each in keys]
        answers = []
        spellings = [
            {"Authorization": f"{scheme}{spelled}"}
            for each in keys
            for scheme in ("Bearer ", "Basic ", "bearer  ", "", "Bearer Bearer ")
            for spelled in (each, each + "x", each.replace("arct", "arcx"), each.upper(), f"{each} {each}")
        ]
        spellings += [{"X-API-Key": f"{each}{end}"} for each in keys for end in ("", "x", "_")]
        for headers in spellings:
            del client.headers["Authorization"]
            client.headers.update(headers)
            answers += [await client.get(path) for path in ("/me", f"/worlds/{world}", "/keys", "/nothing")]
            client.headers.pop("X-API-Key", None)
            client.headers["Authorization"] = f"Bearer {key}"

        async def fail(*_args, **_kwargs):
            raise RuntimeError("broken")

        with monkeypatch.context() as patched:
            patched.setattr("archetype.service.worlds.WorldService.find", fail)
            answers.append(await client.get("/worlds/demo"))
        assert answers[-1].status_code == 500
        for method, path, body in [
            ("POST", "/worlds/demo/step", {}),
            ("POST", "/worlds/demo/commands", {"type": "custom", "payload": {"a": 1}}),
            ("POST", "/worlds", {"name": ""}),
            ("DELETE", f"/keys/{rotated['key_id']}", None),
            ("GET", "/keys", None),
            ("POST", "/actors/ann/disable", {"reason": "over"}),
            ("GET", "/me", None),
        ]:
            answers.append(await client.request(method, path, json=body))
    assert {200, 401, 404, 422, 500} <= {answer.status_code for answer in answers}
    written, rows = logged(), await stored(services)
    assert '"event":"unexpected"' in written
    assert rotated["key_id"].encode() in rows
    for secret in secrets:
        for spelled in (secret, secret.upper()):
            assert spelled not in written
            assert all(spelled not in answer.text + repr(answer.headers) for answer in answers)
            assert spelled.encode() not in rows
