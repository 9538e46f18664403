"""`archetype world thin` and `archetype gc`: storing less, on the database itself."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from archetype.cli.arguments import WorldArgument, YesOption
from archetype.cli.database import DatabaseOption, ModuleOption, on_services
from archetype.cli.progress import progress_bar
from archetype.cli.session import Session, confirmed, with_session

if TYPE_CHECKING:
    from archetype.service.container import ServiceContainer
    from archetype.service.retention import ThinPlan, ThinResult
    from archetype.store.retention import PageUse

__all__ = ["register"]

DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Only say what would be dropped and freed.")]


def register(app: typer.Typer, world_app: typer.Typer) -> None:
    """Add the commands to the apps: `gc` to the whole, `thin` to that of worlds."""
    app.command(epilog="Example: archetype gc --dry-run")(gc)
    world_app.command(epilog="Example: archetype world thin demo --keep log-spaced --module my_sim")(thin)


@with_session
def thin(  # noqa: PLR0917  (options go by their names)
    session: Session,
    world: WorldArgument,
    keep_every: Annotated[
        int | None,
        typer.Option("--keep-every", min=1, metavar="N", help="Also keep the snapshots of every N-th tick."),
    ] = None,
    keep: Annotated[
        str | None,
        typer.Option(
            "--keep",
            metavar="log-spaced",
            help="Keep the last 64, then every 2nd, 4th, 8th … the older they are; also run ends and labels.",
        ),
    ] = None,
    dry_run: DryRunOption = False,
    reason: Annotated[str | None, typer.Option("--reason", help="Why; it is kept in the log.")] = None,
    yes: YesOption = False,
    module: ModuleOption = None,
    database_url: DatabaseOption = None,
) -> None:
    """Drop snapshots of a world's own ticks that a replay can rebuild; each is rebuilt and compared first.

    Always kept are the newest, those that forks start from, those of ticks that are not deterministic, and
    the last of each program. `archetype gc` then frees the pages.
    """
    chosen: Any = keep  # what it may be, the service says

    async def plan(services: ServiceContainer) -> ThinPlan:
        found = await services.world_service.find(world)
        return await services.retention_service.plan(found, keep_every=keep_every, keep=chosen)

    planned = on_services(database_url, module, plan)
    if dry_run:
        session.output.record(_plan_record(planned))
        return
    typer.echo(_sentence(planned), err=True)
    confirmed("Drop them?", is_sure=yes or not planned.ticks)

    async def act(services: ServiceContainer) -> ThinResult:
        from archetype.log.command import CommandType
        from archetype.service.gate import LOCAL

        await services.gate.require(LOCAL, CommandType.THIN_WORLD, world)
        found = await services.world_service.find(world)
        first, last = (planned.ticks[0], planned.ticks[-1]) if planned.ticks else (0, 0)
        with progress_bar(f"replaying {planned.name}", last - first + 1) as show:

            async def on_tick(tick: int) -> None:
                show(tick - first + 1)

            return await services.retention_service.thin(
                found, keep_every=keep_every, keep=chosen, reason=reason, on_tick=on_tick
            )

    result = on_services(database_url, module, act)
    session.output.record(asdict(result))


def _plan_record(planned: ThinPlan) -> dict[str, Any]:
    return {
        "world_id": planned.world_id,
        "name": planned.name,
        "stored_count": planned.stored_count,
        "droppable_count": len(planned.ticks),
        "kept": dict(planned.kept),
        "page_count": planned.freed.page_count,
        "size_bytes": planned.freed.size_bytes,
    }


def _sentence(planned: ThinPlan) -> str:
    return (
        f"{len(planned.ticks)} of {planned.stored_count} snapshots of {planned.name!r} can go, once a replay "
        f"has rebuilt each; `archetype gc` then frees {planned.freed.page_count} pages, "
        f"{planned.freed.size_bytes:,} bytes"
    )


@with_session
def gc(
    session: Session,
    dry_run: DryRunOption = False,
    reason: Annotated[str | None, typer.Option("--reason", help="Why; it is kept with the act.")] = None,
    yes: YesOption = False,
    database_url: DatabaseOption = None,
) -> None:
    """Remove the pages of all worlds that no snapshot needs."""
    found = on_services(database_url, None, _garbage)
    if dry_run or not found.page_count:
        session.output.record(asdict(found))
        return
    typer.echo(f"{found.page_count} pages, {found.size_bytes:,} bytes, are referred to by nothing", err=True)
    confirmed("Remove them?", is_sure=yes)

    async def collect(services: ServiceContainer) -> PageUse:
        return await services.retention_service.collect_garbage(reason=reason)

    session.output.record(asdict(on_services(database_url, None, collect)))


async def _garbage(services: ServiceContainer) -> PageUse:
    return await services.retention_service.garbage()
