"""A SQLite file and the folder it lies in: there, writable, on a disk that has room."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from archetype.service.doctor.findings import Finding, error, ok, warning
from archetype.store.health import FileFacts

__all__ = ["FilePlace", "check_file", "check_journal", "place_of", "readable_size"]

DISK_ERROR_BYTES = 128 * 1024 * 1024
DISK_WARNING_BYTES = 1024 * 1024 * 1024
WAL_WARNING_BYTES = 128 * 1024 * 1024
"""Eight times what SQLite lets a -wal file grow to while nobody holds an old state."""

SQLITE_MIN = (3, 38)
_NETWORK = frozenset(
    {"9p", "afs", "ceph", "cifs", "fuse.glusterfs", "fuse.sshfs", "glusterfs", "nfs", "nfs4", "smb3", "smbfs"}
)
_MOUNTS = Path("/proc/self/mounts")


@dataclass(frozen=True, slots=True)
class FilePlace:
    """A SQLite file as the operating system shows it; sizes in bytes, `file_system` None if unknown."""

    path: Path
    is_file: bool
    is_writable: bool
    is_folder_writable: bool
    size_bytes: int
    wal_bytes: int
    free_bytes: int
    file_system: str | None


def place_of(path: Path) -> FilePlace:
    """Look at a SQLite file, which need not be there, without opening it."""
    folder = path.resolve().parent
    while not folder.is_dir():
        folder = folder.parent
    wal = path.with_name(path.name + "-wal")
    return FilePlace(
        path=path,
        is_file=path.is_file(),
        is_writable=os.access(path, os.W_OK),
        is_folder_writable=os.access(folder, os.W_OK | os.X_OK),
        size_bytes=path.stat().st_size if path.is_file() else 0,
        wal_bytes=wal.stat().st_size if wal.is_file() else 0,
        free_bytes=shutil.disk_usage(folder).free,
        file_system=_file_system(folder),
    )


def check_file(place: FilePlace) -> list[Finding]:
    """Judge a file's place; a file that is not there gets the one finding that says so."""
    if not place.is_file:
        return [error("file", f"{place.path} does not exist", "archetype db upgrade")]
    return [_rights(place), _file_system_finding(place), _disk(place), _wal(place)]


def _rights(place: FilePlace) -> Finding:
    if not place.is_writable:
        return error("file", f"{place.path} cannot be written", f"chown the file: chmod u+w {place.path}")
    if not place.is_folder_writable:
        folder = place.path.resolve().parent
        seen = f"the folder {folder} cannot be written, and SQLite keeps its -wal and -shm files there"
        return error("file", seen, f"chmod u+wx {folder}")
    return ok("file", f"{place.path} can be written, {readable_size(place.size_bytes)}")


def _file_system_finding(place: FilePlace) -> Finding:
    if place.file_system in _NETWORK:
        seen = f"{place.path} lies on {place.file_system}: SQLite's locks and WAL do not work over a network"
        return error("file_system", seen, "move the file to a local disk, or use PostgreSQL")
    return ok("file_system", place.file_system or "unknown here")


def _disk(place: FilePlace) -> Finding:
    seen = f"{readable_size(place.free_bytes)} free"
    remedy = "archetype world thin WORLD --yes && archetype gc --yes, or give the disk more room"
    if place.free_bytes < DISK_ERROR_BYTES:
        return error("disk", seen, remedy)
    if place.free_bytes < max(DISK_WARNING_BYTES, place.size_bytes):
        return warning("disk", f"{seen}, not enough for a copy of the file beside it or soon not", remedy)
    return ok("disk", seen)


def _wal(place: FilePlace) -> Finding:
    seen = f"the -wal file has {readable_size(place.wal_bytes)}"
    if place.wal_bytes > WAL_WARNING_BYTES:
        remedy = "stop whoever reads for long; the last process that closes the file empties it"
        return warning("wal", f"{seen}: somebody holds an old state, or a process died", remedy)
    return ok("wal", seen)


def check_journal(facts: FileFacts) -> list[Finding]:
    """Judge SQLite's version and the way in which the file is written."""
    findings = [ok("durability", "WAL, and each writer waits for the disk (synchronous=FULL)")]
    if facts.journal_mode != "wal":
        seen = f"the file is in journal mode {facts.journal_mode!r}: readers and the writer block each other"
        findings = [warning("durability", seen, "archetype serve, which sets WAL when it first writes")]
    known = tuple(int(part) for part in facts.version.split(".")[:2])
    if known < SQLITE_MIN:
        needed = ".".join(map(str, SQLITE_MIN))
        remedy = f"use a Python that brings SQLite {needed} or newer"
        return [*findings, error("database", f"SQLite {facts.version}", remedy)]
    return [*findings, ok("database", f"SQLite {facts.version}")]


def readable_size(size_bytes: int) -> str:
    """Spell a size for people, such as `1.5 GiB`."""
    size, unit = float(size_bytes), "bytes"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f"{size:,.0f} {unit}" if unit == "bytes" else f"{size:,.1f} {unit}"


def _file_system(folder: Path) -> str | None:
    """Return the kind of the file system that a folder lies on (Linux only)."""
    if not _MOUNTS.exists():
        return None
    best: tuple[int, str | None] = (-1, None)
    for line in _MOUNTS.read_text(encoding="utf-8", errors="replace").splitlines():
        _, point, kind, *_ = line.split(" ")
        # Blanks in a path stand there as octal escapes.
        mounted = Path(point.replace("\\040", " "))
        if folder.is_relative_to(mounted) and len(mounted.parts) >= best[0]:
            best = (len(mounted.parts), kind)
    return best[1]
