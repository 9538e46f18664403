"""`archetype verify`: checking all that is stored, against its hashes and the log."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from archetype.cli.database import DatabaseOption, on_database, require_file
from archetype.cli.session import Session, with_session
from archetype.errors import CorruptionError

if TYPE_CHECKING:
    from archetype.service.verification.faults import VerifyReport
    from archetype.service.verification.progress import Progress
    from archetype.store.database import Database

__all__ = ["register"]

_FIELDS = ("kind", "place", "message")
_EVERY = 50
"""Parts of the work between two lines of progress."""


def register(app: typer.Typer) -> None:
    """Add the command to an app."""
    app.command(epilog="Example: archetype verify demo@500 --expect $HASH")(verify)


@with_session
def verify(
    session: Session,
    world: Annotated[
        str | None,
        typer.Argument(
            metavar="[WORLD]",
            help="A world or one of its ticks, such as demo or demo@500; by default everything.",
        ),
    ] = None,
    expect: Annotated[
        str | None,
        typer.Option("--expect", metavar="HASH", help="The commit hash of that tick, kept elsewhere."),
    ] = None,
    database_url: DatabaseOption = None,
) -> None:
    """Check all that is stored, or one world with its whole past; lists faults and exits with 6 if any."""

    async def use(database: Database) -> VerifyReport:
        from archetype.service.verification.verify import verify as check

        require_file(database)
        await database.require_schema()
        shown = _Shown()
        try:
            return await check(database, world, expect=expect, on_progress=shown.take)
        finally:
            shown.clear()

    report = on_database(database_url, use)
    if report.is_sound:
        session.output.record(_record(report))
        return
    rows = [{"kind": each.kind.value, "place": each.place, "message": each.message} for each in report.faults]
    session.output.rows(rows, shown=_FIELDS)
    first = report.faults[0]
    msg = f"{report.fault_count} faults, the first at {first.place}: {first.message}"
    raise CorruptionError(msg, fault_count=report.fault_count)


def _record(report: VerifyReport) -> dict[str, Any]:
    record: dict[str, Any] = {
        "is_sound": True,
        "worlds": report.worlds,
        "events": report.events,
        "ticks": report.ticks,
        "snapshots": report.snapshots,
        "pages": report.pages,
        "page_bytes": report.page_bytes,
    }
    if report.commit is not None:
        record |= {
            "world_id": report.commit.world_id,
            "tick": report.commit.tick,
            "commit_hash": report.commit.commit_hash,
        }
    return record


class _Shown:
    """One line of progress on a terminal, and nothing anywhere else."""

    def __init__(self) -> None:
        self._is_terminal = sys.stderr.isatty()
        self._count = 0

    def take(self, progress: Progress) -> None:
        """Show how far the check has come, every now and then."""
        self._count += 1
        if self._is_terminal and self._count % _EVERY == 1:
            of_pages = "" if progress.page_count is None else f" of {progress.page_count:,}"
            line = (
                f"{progress.events:,} of {progress.event_count:,} events, {progress.pages:,}{of_pages} pages"
            )
            sys.stderr.write(f"\r\x1b[K{line}")
            sys.stderr.flush()

    def clear(self) -> None:
        """Take the line away."""
        if self._is_terminal:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
