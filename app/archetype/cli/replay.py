"""`archetype world replay`: computing a world's ticks again, and comparing them with what was recorded."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from archetype.cli.arguments import ReferenceArgument
from archetype.cli.database import DatabaseOption, ModuleOption, on_services
from archetype.cli.progress import progress_bar
from archetype.cli.session import Session, with_session
from archetype.errors import DivergenceError

if TYPE_CHECKING:
    from archetype.service.container import ServiceContainer
    from archetype.service.replays import ReplayReport

__all__ = ["register"]

_TICKS_AT_ONCE = 50
"""Ticks that the server is asked for at a time, so that progress can be shown."""


def register(world_app: typer.Typer) -> None:
    """Add the command to the app of worlds."""
    world_app.command(epilog="Example: archetype world replay demo --from 0 --to 500")(replay)


@with_session
def replay(
    session: Session,
    world: ReferenceArgument,
    from_tick: Annotated[int, typer.Option("--from", min=0, help="The first tick.")] = 0,
    to_tick: Annotated[
        int | None,
        typer.Option("--to", min=0, help="The tick after the last one; by default the next to run."),
    ] = None,
    module: ModuleOption = None,
    database_url: DatabaseOption = None,
) -> None:
    """Compute ticks again and compare each with what was recorded; exits with 6 at the first that differs.

    The server does it, with the code that it has loaded; with --database-url this process does it, with the
    code of --module.
    """
    if database_url is not None:
        report = _offline(world, from_tick, to_tick, module, database_url)
    else:
        report = _by_server(session, world, from_tick, to_tick)
    session.output.record(report)
    divergence = report["divergence"]
    if divergence is not None:
        changed = [each["processor"] for each in report["code_changes"]]
        code = "the code is the recorded one"
        if changed:
            code = f"the code of {', '.join(changed)} is not the recorded one"
        msg = f"tick {divergence['tick']} does not come out as recorded: {divergence['what']}; {code}"
        raise DivergenceError(msg, tick=divergence["tick"])


def _offline(
    world: str, from_tick: int, to_tick: int | None, modules: list[str] | None, database_url: str
) -> dict[str, Any]:
    async def act(services: ServiceContainer) -> ReplayReport:
        found, last = await services.world_service.resolve(world)
        end = last + 1 if to_tick is None else to_tick
        with progress_bar(f"replaying {world}", end - from_tick) as show:

            async def on_tick(tick: int) -> None:
                show(tick - from_tick + 1)

            return await services.replay_service.replay(
                found, from_tick=from_tick, to_tick=end, on_tick=on_tick
            )

    return asdict(on_services(database_url, modules, act))


def _by_server(session: Session, world: str, from_tick: int, to_tick: int | None) -> dict[str, Any]:
    newest = session.client.ticks(world, limit=1)
    end = to_tick if to_tick is not None else newest[0]["tick"] + 1 if newest else 0
    whole: dict[str, Any] | None = None
    with progress_bar(f"replaying {world}", end - from_tick) as show:
        for start in range(from_tick, end, _TICKS_AT_ONCE) or [from_tick]:
            part = session.client.replay(world, from_tick=start, to_tick=min(start + _TICKS_AT_ONCE, end))
            whole = _joined(whole, dict(part))
            if whole["divergence"] is not None:
                break
            show(whole["to_tick"] - from_tick)
    return whole or {}


def _joined(whole: dict[str, Any] | None, part: dict[str, Any]) -> dict[str, Any]:
    """Return the report of a replay and of the one that went on from it."""
    if whole is None:
        return part
    changes = {each["processor"]: each for each in whole["code_changes"] + part["code_changes"]}
    return part | {
        "from_tick": whole["from_tick"],
        "ticks_compared": whole["ticks_compared"] + part["ticks_compared"],
        "ticks_skipped": whole["ticks_skipped"] + part["ticks_skipped"],
        "code_changes": list(changes.values()),
    }
