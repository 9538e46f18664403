"""Backups: one state of a whole database in one file, checked before it takes its name."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from archetype.clock import new_id
from archetype.errors import CorruptionError, InvalidInputError, StateConflictError, UnavailableError
from archetype.service.verification.verify import verify
from archetype.store.backup import check_copy, copy_sqlite, head_position, program_url
from archetype.store.database import Database

__all__ = ["Backup", "back_up"]

_DUMPED = "TABLE DATA public events "


@dataclass(frozen=True, slots=True)
class Backup:
    """A backup that was made: it holds the log up to `position`, on PostgreSQL that or a later one.

    `is_verified` says that every row and page was compared with its hashes, as `archetype verify` does.
    """

    path: Path
    size_bytes: int
    position: int
    is_verified: bool


async def back_up(
    database: Database, target: Path, *, overwrites: bool = False, verifies: bool = False
) -> Backup:
    """Copy a database into a file while others use it: SQLite as it is, PostgreSQL as a dump of pg_dump.

    The file is complete, checked and on disk before it gets its name; whatever fails leaves what was there.
    Raises `StateConflictError` for a file that is there, unless it `overwrites`, and `UnavailableError` where
    pg_dump is missing or fails.
    """
    _check_target(database, target, overwrites=overwrites)
    if database.is_sqlite:
        return await _copy_file(database, target, overwrites=overwrites, verifies=verifies)
    if verifies:
        msg = (
            "a dump can be verified only where it is restored: createdb scratch, pg_restore --dbname scratch "
            f"{target}, then archetype verify --database-url postgresql:///scratch"
        )
        raise InvalidInputError(msg)
    return await _dump(database, target, overwrites=overwrites)


def _check_target(database: Database, target: Path, *, overwrites: bool) -> None:
    if not target.parent.is_dir():
        msg = f"there is no folder {target.parent} for {target.name}; make it first"
        raise InvalidInputError(msg)
    if database.is_sqlite and target.exists() and target.samefile(database.url.database or ""):
        msg = f"{target} is the database itself; name another file"
        raise InvalidInputError(msg)
    if target.is_dir() or (target.exists() and not overwrites):
        msg = f"{target} is there already; name another file, or add --force"
        raise StateConflictError(msg, path=str(target))
    for suffix in ("-wal", "-journal"):
        if target.with_name(target.name + suffix).exists():
            msg = f"{target.name}{suffix} is there: somebody has {target} open, or left it; name another file"
            raise StateConflictError(msg, path=str(target))


async def _copy_file(database: Database, target: Path, *, overwrites: bool, verifies: bool) -> Backup:
    with _placed(database, target, overwrites=overwrites) as partial:
        await asyncio.to_thread(copy_sqlite, Path(database.url.database or ""), partial)
        position = await asyncio.to_thread(check_copy, partial)
        if verifies:
            await _verify(partial)
        size_bytes = partial.stat().st_size
    return Backup(target, size_bytes, position, verifies)


async def _verify(copy: Path) -> None:
    database = Database(f"sqlite:///{copy}")
    try:
        await database.require_schema()
        report = await verify(database)
    finally:
        await database.close()
    if not report.is_sound:
        first = report.faults[0]
        msg = f"{report.fault_count} faults, the first at {first.place}: {first.message}"
        raise CorruptionError(msg, fault_count=report.fault_count)


async def _dump(database: Database, target: Path, *, overwrites: bool) -> Backup:
    source = f"--dbname={program_url(database.url)}"
    options = ["--format=custom", "--no-owner", "--no-privileges"]
    if shutil.which("pg_dump") is None or shutil.which("pg_restore") is None:
        command = " ".join(["pg_dump", *options, f"--file={target}", source])
        msg = f"pg_dump and pg_restore are not on PATH; run where PostgreSQL's client is: {command}"
        raise UnavailableError(msg)
    position = await database.read(head_position)
    with _placed(database, target, overwrites=overwrites) as partial:
        await _run(["pg_dump", *options, f"--file={partial}", source], database.url.password)
        listed = await _run(["pg_restore", "--list", str(partial)], None)
        if _DUMPED not in listed:
            msg = f"the dump of {database.name} does not hold the log; is its user permitted to read it?"
            raise CorruptionError(msg)
        size_bytes = partial.stat().st_size
    return Backup(target, size_bytes, position, is_verified=False)


async def _run(command: list[str], password: str | None) -> str:
    """Run a program of PostgreSQL and return its output; the password stands in no list of processes."""
    secret = {} if password is None else {"PGPASSWORD": password}
    process = await asyncio.create_subprocess_exec(
        *command,
        env=os.environ | secret,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, err = await process.communicate()
    except asyncio.CancelledError:
        process.terminate()
        await process.wait()
        raise
    if process.returncode:
        why = " ".join(err.decode(errors="replace").split())
        msg = f"{command[0]} failed: {why or f'it ended with {process.returncode}'}"
        raise UnavailableError(msg)
    return out.decode(errors="replace")


@contextmanager
def _placed(database: Database, target: Path, *, overwrites: bool) -> Generator[Path]:
    """Give an empty file beside the target, for this user alone, that takes its name when all went well."""
    partial = target.with_name(f".{target.name}.{new_id().hex}.partial")
    try:
        partial.touch(mode=0o600, exist_ok=False)
        yield partial
        _sync(partial)
        _check_target(database, target, overwrites=overwrites)
        partial.replace(target)
        _sync(target.parent)
    except OSError as error:
        msg = f"{target} cannot be written: {error}"
        raise UnavailableError(msg) from error
    finally:
        for suffix in ("", "-wal", "-shm", "-journal"):
            partial.with_name(partial.name + suffix).unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Wait until a file, or a folder's list of names, is on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
