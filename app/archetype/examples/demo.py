"""The tour: a server, the solar system, a fork, SQL, a crash and what it leaves: nothing lost.

`python -m archetype.examples.demo` needs no set-up and leaves nothing behind. It drives a server of its own
by the command line, as a person would, and fails where what it says is not so.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NoReturn

import pyarrow as pa
from pyarrow import ipc

from archetype.client import ArchetypeClient
from archetype.examples.solar import bodies, total_energy

__all__ = ["main"]

MODULES = ("archetype.examples.solar", "archetype.examples.movement")
COMPONENTS = ("Body", "Place", "Motion")
ARCHETYPE = (sys.executable, "-m", "archetype")
READY_WITHIN_S = 30.0
STOPPED_WITHIN_S = 15.0
COMMAND_WITHIN_S = 60.0
DAYS = 120
FORK_DAY = 60
ENERGY_DRIFT_MAX = 1e-5
"""A step of a day is long for Mercury; the error swings, and does not grow."""


class DemoError(Exception):
    """Something was not as the demo says it is."""


class Server:
    """`archetype serve` as a process of its own, on a free port, over one SQLite file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._port = _free_port()
        self._log = folder / "server.log"
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"http://127.0.0.1:{self._port}"
        self.database_url = "sqlite:///demo.db"

    def start(self) -> None:
        """Start the process and wait until it is ready."""
        modules = [word for module in MODULES for word in ("--module", module)]
        arguments = ["serve", "--port", str(self._port), "--database-url", self.database_url, *modules]
        _show_command(arguments, suffix=" &")
        with self._log.open("ab") as log:
            command = [*ARCHETYPE, *arguments]
            self._process = subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log)
        deadline = time.monotonic() + READY_WITHIN_S
        with ArchetypeClient(self.url, timeout_s=5) as client:
            while not client.is_ready():
                if self._process.poll() is not None or time.monotonic() > deadline:
                    _fail(f"the server did not become ready:\n{self._log.read_text(encoding='utf-8')}")
                time.sleep(0.05)

    def kill(self) -> None:
        """End the process as a power cut would."""
        process = self._running()
        print(f"$ kill -9 {process.pid}")
        process.kill()
        process.wait(STOPPED_WITHIN_S)

    def stop(self) -> None:
        """Ask the process to end, and insist that it does so cleanly."""
        process = self._running()
        print(f"$ kill {process.pid}")
        process.send_signal(signal.SIGTERM)
        if process.wait(STOPPED_WITHIN_S) != 0:
            _fail(f"the server ended with {process.returncode}:\n{self._log.read_text(encoding='utf-8')}")

    def abandon(self) -> None:
        """End the process whatever happened."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            _fail("the server was not started")
        return self._process


class Shell:
    """Runs `archetype …` against the demo's server, and shows each command with what it printed."""

    def __init__(self, server: Server) -> None:
        self.folder = server.folder
        self._environment = os.environ | {
            "ARCHETYPE_URL": server.url,
            "ARCHETYPE_DATABASE_URL": server.database_url,
        }

    def show(self, *arguments: str) -> None:
        """Run a command and print its output as a table."""
        _show_command(arguments)
        print(self._run(*arguments, "-o", "table"), end="", flush=True)

    def ask(self, *arguments: str) -> Any:
        """Run a command quietly and return its JSON."""
        return json.loads(self._run(*arguments, "-o", "json"))

    def _run(self, *arguments: str) -> str:
        # stderr is not ours to take: a terminal sees the progress of runs there.
        done = subprocess.run(
            [*ARCHETYPE, *arguments],
            cwd=self.folder,
            env=self._environment,
            stdout=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            timeout=COMMAND_WITHIN_S,
            text=True,
            check=False,
        )
        if done.returncode:
            _fail(f"`archetype {shlex.join(arguments)}` ended with {done.returncode}")
        return done.stdout


def main() -> int:
    """Play the demo in a folder of its own; return the exit code."""
    with tempfile.TemporaryDirectory(prefix="archetype-demo-") as folder:
        server = Server(Path(folder))
        try:
            play(server)
        except (DemoError, subprocess.TimeoutExpired) as error:
            print(f"demo failed: {error}", file=sys.stderr)
            return 1
        finally:
            server.abandon()
    return 0


def play(server: Server) -> None:
    """Play all acts; raises `DemoError` at the first thing that is not so."""
    shell = Shell(server)
    system = bodies()
    _heading("A server over an empty SQLite file; the first start makes the tables")
    server.start()
    shell.show("status")
    make_world(shell, system)
    look_back_and_fork(shell, _id_of(system, "Earth"))
    survive(shell, server, system.num_rows + 1)
    prove(shell)
    check_energy(shell, server, system)
    server.stop()
    _heading("Done: nothing was lost, and the folder is gone")


def make_world(shell: Shell, system: pa.Table) -> None:
    """Fill a world with the solar system, and let time pass."""
    _heading("A world of the Sun, nine planets and sixteen asteroids: one command, one row in the log")
    with ipc.new_file(shell.folder / "bodies.arrow", system.schema) as writer:
        writer.write_table(system)
    shell.show("world", "create", "solar", "--seed", "7")
    shell.show("entity", "spawn", "solar", "--file", "bodies.arrow")
    shell.show("processor", "add", "solar", "LeapfrogProcessor", "--parameter", "step_days=1.0")
    _heading(f"{DAYS} days, a day a tick, each durable before the next begins")
    shell.show("run", "solar", "--steps", str(DAYS))
    found = shell.ask("world", "inspect", "solar")
    _expect("tick", found["tick"], DAYS)
    _expect("number of bodies", found["entity_count"], system.num_rows)


def look_back_and_fork(shell: Shell, earth: int) -> None:
    """Read a tick of the past, and go another way from there."""
    _heading("Any day of the past can be read")

    def query(world: str, day: int) -> tuple[str, ...]:
        return ("query", world, "--tick", str(day), "--types", "Body,Place", "--entity", str(earth))

    shell.show(*query("solar", FORK_DAY))
    _heading("What if the Sun had lost half of its mass that day? A fork copies nothing")
    shell.show("world", "label", f"solar@{FORK_DAY}", "parting")
    shell.show("world", "fork", "solar@parting", "--name", "half-sun")
    ours, theirs = (shell.ask(*query(world, FORK_DAY))["rows"] for world in ("solar", "half-sun"))
    _expect("Earth on the day of the fork", theirs, ours)
    shell.show("entity", "update", "half-sun", "1", "--component", 'Body={"mass": 0.5}')
    shell.show("run", "half-sun", "--steps", str(DAYS - FORK_DAY - 1))
    for world in ("solar", "half-sun"):
        shell.show(*query(world, DAYS - 1))
    ours, theirs = (shell.ask(*query(world, DAYS - 1))["rows"] for world in ("solar", "half-sun"))
    if ours == theirs:
        _fail("Earth did not notice that the Sun lost half of its mass")
    shell.show("world", "tree")
    shell.show("world", "diff", "solar", "half-sun", "--limit", "3")
    _heading("Who did what, and what became of it: plain SQL")
    of_log = "WHERE position IS NOT NULL ORDER BY position"
    audit = f"SELECT position, world, type, tick, outcome FROM audit_trail {of_log}"
    shell.show("sql", audit)
    _expect("types in the log", [row["type"] for row in shell.ask("sql", audit)], [
        "create_world", "spawn", "add_processor", "run", "add_label", "fork_world", "update", "run",
    ])  # fmt: skip


def survive(shell: Shell, server: Server, comet: int) -> None:
    """Lose the server the hard way, with a command accepted that no tick has seen yet."""
    _heading("A comet is accepted, and before any tick has seen it the server dies")
    place, motion = 'Place={"x": 2.0, "y": 2.0, "z": 1.0}', 'Motion={"vx": -0.008}'
    shell.show("entity", "spawn", "solar", "-c", 'Body={"name": "Comet"}', "-c", place, "-c", motion)
    queries = {world: ("query", world, "--types", ",".join(COMPONENTS)) for world in ("solar", "half-sun")}
    before = {world: shell.ask(*query) for world, query in queries.items()}
    worlds = shell.ask("world", "list")
    server.kill()
    server.start()
    shell.show("world", "list", "--columns", "name,tick,entity_count,version,fork_tick")
    _expect("the list of worlds", shell.ask("world", "list"), worlds)
    for world, query in queries.items():
        _expect(f"every value of {world}", shell.ask(*query), before[world])
    print("same worlds, same values of every entity, to the last bit")
    shell.show("run", "solar", "--steps", "30")
    shell.show("query", "solar", "--types", "Body,Place", "--entity", str(comet))
    found = shell.ask("entity", "inspect", "solar", str(comet))
    _expect("the comet's name", found["components"]["Body"]["name"], "Comet")


def prove(shell: Shell) -> None:
    """Compute ticks again, and check all that is stored."""
    _heading("Days on both sides of the fork computed again, and compared with their recorded hashes")
    replay = ("world", "replay", "half-sun", "--from", str(FORK_DAY - 20), "--to", str(FORK_DAY + 20))
    shell.show(*replay)
    _expect("divergence", shell.ask(*replay)["divergence"], None)
    _heading("Every row, page and hash of the database checked, beside the running server")
    shell.show("verify")
    if not shell.ask("verify")["is_sound"]:
        _fail("the database does not verify")


def check_energy(shell: Shell, server: Server, system: pa.Table) -> None:
    """Compare the energy with that of the first day, from a frame over HTTP."""
    _heading("Energy is conserved: an Arrow frame over HTTP, and the sum of all pairs")
    with ArchetypeClient(server.url) as client:
        now = client.frame("solar", COMPONENTS)
    before_energy, now_energy = total_energy(system), total_energy(now)
    drift = abs(now_energy / before_energy - 1.0)
    tick = shell.ask("world", "inspect", "solar")["tick"]
    print(f"day 0: {before_energy:.12e}   day {tick}: {now_energy:.12e}   relative drift {drift:.1e}")
    if not drift < ENERGY_DRIFT_MAX:
        _fail(f"the energy drifted by {drift:.1e}, more than {ENERGY_DRIFT_MAX:.0e}")


def _id_of(system: pa.Table, name: str) -> int:
    """Return the entity id of a body: rows get theirs in order, from 1."""
    names: list[str] = system.column("body__name").to_pylist()
    return 1 + next(index for index, each in enumerate(names) if each.startswith(name))


def _heading(text: str) -> None:
    print(f"\n── {text}", flush=True)


def _show_command(arguments: list[str] | tuple[str, ...], suffix: str = "") -> None:
    print(f"$ archetype {shlex.join(arguments)}{suffix}", flush=True)


def _expect(what: str, found: object, expected: object) -> None:
    if found != expected:
        _fail(f"{what}: found {found}, expected {expected}")


def _fail(message: str) -> NoReturn:
    raise DemoError(message)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


if __name__ == "__main__":
    sys.exit(main())
