"""`archetype quota`: how much actors may ask for, and what they used up."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from archetype.cli.database import DatabaseOption, on_services_or_server
from archetype.cli.session import Session, with_session
from archetype.errors import FieldFault, InvalidInputError

if TYPE_CHECKING:
    from archetype.service.container import ServiceContainer

__all__ = ["quotas"]

quotas = typer.Typer(no_args_is_help=True, help="Show and set how much actors may ask for.")

_COLUMNS = (
    "actor",
    "commands_per_tick",
    "tokens_per_day",
    "tokens_used",
    "tokens_left",
    "resets_at",
    "reason",
)
_UNLIMITED = "unlimited"


@quotas.command("show", epilog="Example: archetype quota show ann")
@with_session
def show(
    session: Session,
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="The actor's name; by default your own.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Show those of all actors.")] = False,
    database_url: DatabaseOption = None,
) -> None:
    """Show how much an actor may ask for, and how much of it is used up."""

    async def use(services: ServiceContainer) -> list[dict[str, Any]]:
        if name is None and not every:
            msg = "name an actor, or ask for --all: a database's own user has no quota"
            raise InvalidInputError(msg, faults=[FieldFault("NAME", msg)])
        found = (
            await services.quota_service.show_all()
            if name is None
            else [await services.quota_service.show(name)]
        )
        return [asdict(each) for each in found]

    def ask() -> list[Any]:
        if name is None and every:
            return session.client.quotas()
        return [session.client.quota(name)]

    found = on_services_or_server(session, database_url, use, ask)
    if every:
        session.output.rows(found, shown=_COLUMNS)
    else:
        session.output.record(found[0])


@quotas.command(
    "set", epilog="Example: archetype quota set ann --tokens-per-day 1000000 --reason 'the sweep'"
)
@with_session
def set_quota(
    session: Session,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The actor's name.")],
    commands_per_tick: Annotated[
        str | None,
        typer.Option(metavar="COUNT", help=f"Commands for one tick of one world, or {_UNLIMITED}."),
    ] = None,
    tokens_per_day: Annotated[
        str | None, typer.Option(metavar="COUNT", help=f"Tokens for one UTC day, or {_UNLIMITED}.")
    ] = None,
    reason: Annotated[str | None, typer.Option("--reason", help="Why; it is kept with the quota.")] = None,
    database_url: DatabaseOption = None,
) -> None:
    """Set how much an actor may ask for, from the next command on; what is omitted stays as it is."""
    given = {"commands_per_tick": commands_per_tick, "tokens_per_day": tokens_per_day}
    change = {field: _count(field, text) for field, text in given.items() if text is not None}
    if not change:
        msg = "name what to set: --commands-per-tick or --tokens-per-day"
        raise InvalidInputError(msg, faults=[FieldFault("--tokens-per-day", msg)])

    async def use(services: ServiceContainer) -> dict[str, Any]:
        return asdict(await services.quota_service.set(name, change, reason=reason))

    session.output.record(
        on_services_or_server(
            session, database_url, use, lambda: session.client.set_quota(name, change, reason=reason)
        )
    )


def _count(field: str, text: str) -> int | None:
    if text == _UNLIMITED:
        return None
    if text.isascii() and text.isdigit():
        return int(text)
    option = f"--{field.replace('_', '-')}"
    msg = f"must be a whole number or {_UNLIMITED}, not {text!r}"
    raise InvalidInputError(f"{option} {msg}", faults=[FieldFault(option, msg)])
