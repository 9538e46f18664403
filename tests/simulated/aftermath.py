"""What must hold when all is quiet: answers stand in the log, runs have their ticks, the past is sound."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from archetype.service.container import ServiceContainer
from archetype.service.verification.verify import verify
from simulated.requests import Request

__all__ = ["check_answers", "check_past", "check_runs", "query"]

_COMMANDS = "SELECT event_id, position, version, tick FROM events WHERE kind = 'command'"
_RUNS = (
    "SELECT run_id, status, ticks_requested, ticks_completed, "
    "(SELECT count(*) FROM ticks WHERE ticks.run_id = runs.run_id) AS tick_count FROM runs ORDER BY run_id"
)


def query(path: Path, statement: str) -> Sequence[sa.Row[Any]]:
    """Read a file as it is committed, past all faults."""
    engine = sa.create_engine(f"sqlite:///{path}", poolclass=sa.NullPool)
    with engine.connect() as connection:
        return connection.execute(sa.text(statement)).all()


def check_answers(path: Path, requests: Sequence[Request]) -> None:
    """Compare what clients were told with the log: no more, no less, and each at its place."""
    stored: dict[UUID, set[tuple[int, int, int]]] = {}
    for row in query(path, _COMMANDS):
        stored.setdefault(UUID(row.event_id), set()).add((row.position, row.version, row.tick))
    asked = {each for request in requests for each in request.command_ids}
    assert stored.keys() <= asked, "nobody asked for this"
    for request in requests:
        found = [each in stored for each in request.command_ids]
        assert all(found) or not any(found), f"half of a batch is stored: {request}"
        # A run that failed was accepted; a refusal that does not last may be outlived by a try before it.
        may_differ = request.what == "run" or not request.is_lasting
        assert request.is_accepted is found[0] or may_differ, f"the log says otherwise: {request}"
        if request.what in {"submit", "batch", "fill"} and request.is_accepted:
            for receipt in request.answers[0]:
                place = (receipt.position, receipt.version, receipt.tick)
                assert place in stored[receipt.command_id], f"it stands elsewhere: {request}"


def check_runs(path: Path) -> list[str]:
    """Compare runs with their ticks, and return both for the trace."""
    lines: list[str] = []
    for row in query(path, _RUNS):
        assert row.ticks_completed == row.tick_count <= row.ticks_requested, row
        assert row.status != "completed" or row.ticks_completed == row.ticks_requested, row
        lines.append(f"run {tuple(row)}")
    ticks = query(path, "SELECT world_id, tick, commit_hash FROM ticks ORDER BY world_id, tick")
    return lines + [f"commit {row.world_id} {row.tick} {row.commit_hash.hex()}" for row in ticks]


async def check_past(path: Path) -> None:
    """Verify everything, and compute every world's ticks again from its log."""
    async with ServiceContainer(f"sqlite:///{path}") as services:
        report = await verify(services.database)
        assert report.is_sound, report.faults
        for info in await services.world_service.list_worlds():
            world = await services.world_service.find(info.world_id)
            replayed = await services.replay_service.replay(world)
            assert replayed.divergence is None, replayed.divergence
