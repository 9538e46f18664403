"""`archetype world plan`, `executions` and `conflicts`: which processors run together, and what ran."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import typer

from archetype.cli.arguments import FromOption, ReferenceArgument, ToOption, WorldArgument
from archetype.cli.output import Format
from archetype.cli.session import Session, with_session

if TYPE_CHECKING:
    from archetype.client.scheduling_answers import WorldPlan

__all__ = ["register"]

PLAN_COLUMNS = (
    "group",
    "name",
    "kind",
    "priority",
    "reads",
    "writes",
    "depends_on",
    "every",
    "offset",
    "has_condition",
)
EXECUTION_COLUMNS = (
    "tick",
    "group",
    "processor",
    "status",
    "archetypes",
    "rows",
    "cells",
    "ms",
    "attempts",
    "spawned",
    "ended",
    "dropped",
)
CONFLICT_COLUMNS = (
    "tick",
    "group",
    "component",
    "field",
    "writers",
    "resolution",
    "winners",
    "entity_count",
    "entity_ids",
)


def register(world_app: typer.Typer) -> None:
    """Add the commands to the app of worlds."""
    world_app.command(epilog="Example: archetype world plan demo")(plan)
    world_app.command(epilog="Example: archetype world executions demo --from 100 --to 110")(executions)
    world_app.command(epilog="Example: archetype world conflicts demo@120 --from 100")(conflicts)


@with_session
def plan(session: Session, world: WorldArgument) -> None:
    """Show the groups of a world's next tick, and where the declared writes of a group overlap."""
    found = session.client.plan(world)
    rows = [{"group": group["number"]} | each for group in found["groups"] for each in group["processors"]]
    if session.output.form is not Format.TABLE:
        session.output.rows(rows, shown=PLAN_COLUMNS, document=found)
        return
    session.output.rows([_spelled(row) for row in rows], shown=PLAN_COLUMNS)
    for line in _remarks(found):
        session.output.text(line)


@with_session
def executions(
    session: Session, world: ReferenceArgument, from_tick: FromOption = None, to_tick: ToOption = None
) -> None:
    """Show what each processor did in each tick of a range, by default of all."""
    found = session.client.executions(world, from_tick, to_tick)
    rows = [{"tick": each["tick"]} | execution for each in found for execution in each["executions"]]
    session.output.rows(rows, shown=EXECUTION_COLUMNS, document=found)


@with_session
def conflicts(
    session: Session, world: ReferenceArgument, from_tick: FromOption = None, to_tick: ToOption = None
) -> None:
    """Show which cells several processors of a group wrote in a range of ticks, and whose value stands."""
    found = session.client.executions(world, from_tick, to_tick)
    rows = [{"tick": each["tick"]} | conflict for each in found for conflict in each["conflicts"]]
    session.output.rows(rows, shown=CONFLICT_COLUMNS)


def _spelled(row: Mapping[str, Any]) -> dict[str, Any]:
    """Spell a planned processor for people."""
    return {
        **row,
        "reads": _components(row["reads"]),
        "writes": _components(row["writes"]),
        "depends_on": ", ".join(row["depends_on"]),
    }


def _components(names: Sequence[str] | None) -> str:
    return "everything" if names is None else ", ".join(names) or "nothing"


def _remarks(found: WorldPlan) -> Iterator[str]:
    for group in found["groups"]:
        for overlap in group["overlaps"]:
            first, second = overlap["processors"]
            how = _resolution(overlap["resolution"])
            yield f"group {group['number']}: {first} and {second} both write {overlap['component']}: {how}"
    if found["not_due"]:
        yield f"not due at tick {found['tick']}: {', '.join(found['not_due'])}"


def _resolution(resolution: str | Mapping[str, str]) -> str:
    if isinstance(resolution, str):
        return {"last": "the last one wins", "combine": "it combines them"}.get(resolution, resolution)
    return ", ".join(f"{field} {operation}" for field, operation in resolution.items())
