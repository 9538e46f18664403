"""`archetype query` and `archetype history`: a world's state at any tick, and how it came to be."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, cast

import typer

from archetype.cli.arguments import WorldArgument
from archetype.cli.session import Session, with_session
from archetype.cli.values import names

__all__ = ["flat_row", "register"]

HISTORY_COLUMNS = ("position", "type", "applied_tick", "priority", "entity_id", "payload", "reason")


def register(app: typer.Typer) -> None:
    """Add the commands to an app."""
    app.command(epilog="Example: archetype query demo --tick 10 --types Position,Velocity -o csv")(query)
    app.command(epilog="Example: archetype history demo --limit 20")(history)


@with_session
def query(
    session: Session,
    world: WorldArgument,
    tick: Annotated[
        int | None, typer.Option("--tick", "-t", help="The state after this tick; by default the newest.")
    ] = None,
    types: Annotated[
        str | None,
        typer.Option("--types", metavar="TYPES", help="Show these components, where an entity has them all."),
    ] = None,
    entity: Annotated[
        list[int] | None, typer.Option("--entity", "-e", help="Only this entity; repeat it.")
    ] = None,
) -> None:
    """Show who is in a world after a tick or, with --types, the values of components."""
    if types is not None:
        found = session.client.components(world, names(types), entity_ids=entity, tick=tick)
        session.output.rows(map(flat_row, found["rows"]), document=found)
        return
    state = session.client.state(world, tick=tick)
    wanted = None if entity is None else set(map(str, entity))
    entities = {key: value for key, value in state["entities"].items() if wanted is None or key in wanted}
    rows = [{"entity_id": int(key), "components": value} for key, value in entities.items()]
    session.output.rows(rows, document={**state, "entities": entities})


@with_session
def history(
    session: Session,
    world: WorldArgument,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many commands.")] = 50,
) -> None:
    """Show the newest commands of a world and what became of them, the newest last."""
    session.output.rows(_newest(session, world, limit), shown=HISTORY_COLUMNS)


def flat_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row of nested components with columns such as `position__x`, as files of rows have them."""
    flat: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, dict):
            fields = cast("dict[str, Any]", value)
            flat |= {f"{name.lower()}__{field}": each for field, each in fields.items()}
        else:
            flat[name] = value
    return flat


def _newest(session: Session, world: str, limit: int) -> Iterable[Mapping[str, Any]]:
    """Return the newest commands, from as many pages as it takes."""
    pages: list[list[Any]] = []
    before: int | None = None
    remaining = limit
    while remaining > 0:
        page = session.client.history(world, limit=min(remaining, 1000), before=before)
        if not page:
            break
        pages.append(page)
        remaining -= len(page)
        before = page[0]["position"]
    return _chained(reversed(pages))


def _chained(pages: Iterable[list[Any]]) -> Iterator[Any]:
    for page in pages:
        yield from page
