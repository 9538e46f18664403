"""`archetype query` and `archetype history`: a world's state at any tick, and how it came to be."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from archetype.cli.arguments import AsOfOption, FromOption, ReferenceArgument, ToOption
from archetype.cli.pages import newest
from archetype.cli.session import Session, with_session
from archetype.cli.values import names
from archetype.errors import FieldFault, InvalidInputError

if TYPE_CHECKING:
    from archetype.client.answers import State

__all__ = ["flat_row", "register"]

HISTORY_COLUMNS = ("position", "type", "applied_tick", "priority", "status", "entity_id", "payload", "reason")


def register(app: typer.Typer) -> None:
    """Add the commands to an app."""
    app.command(epilog="Example: archetype query demo@10 --types Position,Velocity -o csv")(query)
    app.command(epilog="Example: archetype history demo --limit 20")(history)


@with_session
def query(
    session: Session,
    world: ReferenceArgument,
    tick: AsOfOption = None,
    from_tick: FromOption = None,
    to_tick: ToOption = None,
    types: Annotated[
        str | None,
        typer.Option(
            "--types", metavar="TYPES", help="Show these components of entities that have them all."
        ),
    ] = None,
    entity: Annotated[
        list[int] | None, typer.Option("--entity", "-e", help="Only this entity; repeatable.")
    ] = None,
) -> None:
    """Show a world's entities after a tick or each of a range; with --types, the values of components."""
    is_range = from_tick is not None or to_tick is not None
    if is_range and tick is not None:
        msg = "give either --tick, or --from and --to, not both"
        raise InvalidInputError(msg, faults=[FieldFault("--tick", msg)])
    client = session.client
    if types is not None:
        found = (
            client.component_range(world, names(types), from_tick or 0, to_tick, entity_ids=entity)
            if is_range
            else client.components(world, names(types), entity_ids=entity, tick=tick)
        )
        session.output.rows(map(flat_row, found["rows"]), document=found)
        return
    wanted = None if entity is None else set(map(str, entity))
    if is_range:
        ranged = client.state_range(world, from_tick or 0, to_tick)
        states = [_only(state, wanted) for state in ranged["states"]]
        rows = [{"tick": state["tick"], **row} for state in states for row in _rows(state)]
        session.output.rows(rows, document={**ranged, "states": states})
    else:
        state = _only(client.state(world, tick=tick), wanted)
        session.output.rows(_rows(state), document=state)


@with_session
def history(
    session: Session,
    world: ReferenceArgument,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many commands.")] = 50,
    types: Annotated[
        str | None, typer.Option("--types", metavar="TYPES", help="Only these types, such as spawn,update.")
    ] = None,
    actor: Annotated[
        str | None, typer.Option("--actor", metavar="ID", help="Only the commands of this actor.")
    ] = None,
    from_tick: FromOption = None,
    to_tick: ToOption = None,
    status: Annotated[
        str | None, typer.Option("--status", help="Only these: pending, applied or rejected.")
    ] = None,
) -> None:
    """Show the newest commands of a world and its past, and what became of them, newest last."""
    wanted = {
        "types": None if types is None else names(types),
        "actor_id": actor,
        "from_tick": from_tick,
        "to_tick": to_tick,
        "status": status,
    }
    read = partial(session.client.history, world, **wanted)
    session.output.rows(newest(read, limit), shown=HISTORY_COLUMNS)


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


def _only(state: State, wanted: set[str] | None) -> State:
    entities = {key: value for key, value in state["entities"].items() if wanted is None or key in wanted}
    return {**state, "entities": entities}


def _rows(state: State) -> list[dict[str, Any]]:
    return [{"entity_id": int(key), "components": value} for key, value in state["entities"].items()]
