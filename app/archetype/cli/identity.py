"""`archetype actor`, `archetype key` and `archetype whoami`: who may ask for what."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from archetype.cli.arguments import YesOption
from archetype.cli.database import DatabaseOption, on_services_or_server
from archetype.cli.session import Session, confirmed, with_session
from archetype.cli.values import seconds
from archetype.errors import FieldFault, InvalidInputError

if TYPE_CHECKING:
    from archetype.service.container import ServiceContainer
    from archetype.service.identities import IssuedKey

__all__ = ["actors", "keys", "register"]

ActReason = Annotated[str | None, typer.Option("--reason", help="Why; it is kept with the act.")]

actors = typer.Typer(no_args_is_help=True, help="Make, list and disable actors: who may ask for what.")
keys = typer.Typer(no_args_is_help=True, help="Make, list, replace and revoke the API keys of actors.")

_ACTOR_COLUMNS = ("name", "roles", "world_roles", "disabled_at", "reason", "actor_id")
_KEY_COLUMNS = ("key_id", "actor", "worlds", "expires_at", "revoked_at", "last_used_at")

ActorArgument = Annotated[str, typer.Argument(metavar="NAME", help="The actor's name.")]
KeyArgument = Annotated[
    str, typer.Argument(metavar="KEY_ID", help="The key's public id: the middle of arct_<id>_<secret>.")
]


def register(app: typer.Typer) -> None:
    """Add `whoami` to an app."""
    app.command(epilog="Example: archetype whoami")(whoami)


@with_session
def whoami(session: Session) -> None:
    """Show who the server takes you for, and what you may do."""
    session.output.record(session.client.me())


@actors.command(
    "create", epilog="Example: archetype actor create ann --role player --world-role demo=operator"
)
@with_session
def create_actor(
    session: Session,
    name: ActorArgument,
    role: Annotated[
        list[str] | None,
        typer.Option("--role", metavar="ROLE", help="viewer, player, operator or admin; repeatable."),
    ] = None,
    world_role: Annotated[
        list[str] | None,
        typer.Option("--world-role", metavar="WORLD=ROLE", help="A role in one world only; repeatable."),
    ] = None,
    reason: ActReason = None,
    database_url: DatabaseOption = None,
) -> None:
    """Make an actor; it can do nothing until it has a key."""
    roles, world_roles = role or [], _by_world(world_role or [])

    async def use(services: ServiceContainer) -> dict[str, Any]:
        return asdict(
            await services.identity_service.create_actor(
                name, roles=roles, world_roles=world_roles, reason=reason
            )
        )

    session.output.record(
        on_services_or_server(
            session,
            database_url,
            use,
            lambda: session.client.create_actor(name, roles=roles, world_roles=world_roles, reason=reason),
        )
    )


@actors.command("list", epilog="Example: archetype actor list -o csv")
@with_session
def list_actors(session: Session, database_url: DatabaseOption = None) -> None:
    """List all actors."""

    async def use(services: ServiceContainer) -> list[dict[str, Any]]:
        return [asdict(each) for each in await services.identity_service.list_actors()]

    found = on_services_or_server(session, database_url, use, session.client.actors)
    session.output.rows(found, shown=_ACTOR_COLUMNS)


@actors.command("disable", epilog="Example: archetype actor disable ann --reason 'left the project'")
@with_session
def disable_actor(
    session: Session,
    name: ActorArgument,
    reason: ActReason = None,
    yes: YesOption = False,
    database_url: DatabaseOption = None,
) -> None:
    """Disable an actor for good: none of its keys works any more; it stays in the list."""
    confirmed(f"Disable actor {name!r} for good?", is_sure=yes)

    async def use(services: ServiceContainer) -> dict[str, Any]:
        return asdict(await services.identity_service.disable_actor(name, reason=reason))

    session.output.record(
        on_services_or_server(
            session, database_url, use, lambda: session.client.disable_actor(name, reason=reason)
        )
    )


@keys.command("create", epilog="Example: archetype key create ann --world demo --expires 30d")
@with_session
def create_key(
    session: Session,
    name: ActorArgument,
    world: Annotated[
        list[str] | None,
        typer.Option("--world", metavar="WORLD", help="Restrict the key to this world; repeatable."),
    ] = None,
    expires: Annotated[
        str | None,
        typer.Option("--expires", metavar="TIME", help="How long it is valid, such as 12h or 30d."),
    ] = None,
    reason: ActReason = None,
    database_url: DatabaseOption = None,
) -> None:
    """Make an API key for an actor. It is shown only this once: keep it now."""
    life_s = None if expires is None else seconds(expires, "--expires")

    async def use(services: ServiceContainer) -> dict[str, Any]:
        return _issued(
            await services.identity_service.create_key(name, worlds=world, expires_in_s=life_s, reason=reason)
        )

    made = on_services_or_server(
        session,
        database_url,
        use,
        lambda: session.client.create_key(name, worlds=world, expires_in_s=life_s, reason=reason),
    )
    session.output.record(made)
    session.note("keep the key now: it is never shown again")


@keys.command("list", epilog="Example: archetype key list --actor ann")
@with_session
def list_keys(
    session: Session,
    actor: Annotated[str | None, typer.Option("--actor", metavar="NAME", help="Only this actor's.")] = None,
    database_url: DatabaseOption = None,
) -> None:
    """List keys, without their secrets."""

    async def use(services: ServiceContainer) -> list[dict[str, Any]]:
        return [asdict(each) for each in await services.identity_service.list_keys(actor)]

    found = on_services_or_server(session, database_url, use, lambda: session.client.keys(actor))
    session.output.rows(found, shown=_KEY_COLUMNS)


@keys.command("revoke", epilog="Example: archetype key revoke 1f0a5c7d9e2b4c68")
@with_session
def revoke_key(
    session: Session,
    key_id: KeyArgument,
    reason: ActReason = None,
    yes: YesOption = False,
    database_url: DatabaseOption = None,
) -> None:
    """Revoke a key; it stops working everywhere within two seconds."""
    confirmed(f"Revoke key {key_id}?", is_sure=yes)

    async def use(services: ServiceContainer) -> dict[str, Any]:
        return asdict(await services.identity_service.revoke_key(key_id, reason=reason))

    session.output.record(
        on_services_or_server(
            session, database_url, use, lambda: session.client.revoke_key(key_id, reason=reason)
        )
    )


@keys.command("rotate", epilog="Example: archetype key rotate 1f0a5c7d9e2b4c68 --grace 1h")
@with_session
def rotate_key(
    session: Session,
    key_id: KeyArgument,
    grace: Annotated[
        str,
        typer.Option(
            "--grace", metavar="TIME", help="How long the old key stays valid, such as 1h; by default 0s."
        ),
    ] = "0s",
    reason: ActReason = None,
    database_url: DatabaseOption = None,
) -> None:
    """Replace a key with one for the same actor, worlds and lifetime. It is shown only this once."""
    grace_s = seconds(grace, "--grace")

    async def use(services: ServiceContainer) -> dict[str, Any]:
        return _issued(await services.identity_service.rotate_key(key_id, grace_s=grace_s, reason=reason))

    made = on_services_or_server(
        session, database_url, use, lambda: session.client.rotate_key(key_id, grace_s=grace_s, reason=reason)
    )
    session.output.record(made)
    session.note("keep the key now: it is never shown again")


def _issued(issued: IssuedKey) -> dict[str, Any]:
    return {"key": issued.key, **asdict(issued.listed)}


def _by_world(given: list[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for each in given:
        world, sign, role = each.rpartition("=")
        if not sign:
            msg = f"must be a world and a role, as demo=operator, not {each!r}"
            raise InvalidInputError(f"--world-role {msg}", faults=[FieldFault("--world-role", msg)])
        found.setdefault(world, []).append(role)
    return found
