"""Virtual time, seeded ids and simulated processes, for what `archetype.clock` asks the system."""

from __future__ import annotations

import random
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, tzinfo
from types import SimpleNamespace
from unittest.mock import patch

from archetype import clock
from simulated.loop import PROCESS, Process, SimulatedLoop

__all__ = ["simulated_clock"]

BIRTH = datetime(2030, 1, 1, tzinfo=UTC)


@contextmanager
def simulated_clock(loop: SimulatedLoop, processes: Iterable[Process], seed: int) -> Generator[None]:
    """Let the clock module tell the loop's time, draw from the seed, and know these processes alone.

    Which process and host it speaks for, is said by the context that it is asked in.
    """

    class Now:
        @staticmethod
        def now(_zone: tzinfo) -> datetime:
            return BIRTH + timedelta(seconds=round(loop.time(), 6))

    def current() -> Process:
        process = PROCESS.get()
        assert process is not None, "only a process has an identity"
        return process

    def started(pid: int) -> int | None:
        alive = (each.pid for each in processes if each.host == current().host and not each.is_dead)
        return 1 if pid in alive else None

    rng = random.Random(f"ids of {seed}")
    time_ns = int(BIRTH.timestamp()) * 10**9
    stand_ins = {
        "datetime": Now,
        "time": SimpleNamespace(
            perf_counter=loop.time, time_ns=lambda: time_ns + int(loop.time() * 1e6) * 1000
        ),
        "os": SimpleNamespace(getpid=lambda: current().pid),
        "socket": SimpleNamespace(gethostname=lambda: current().host),
        "secrets": SimpleNamespace(randbits=rng.getrandbits),
        "_id_bits": rng,
        "_started": started,
        "_process_space": lambda: "simulated",
        "_answers_signal": lambda _pid: False,
    }
    with patch.multiple(clock, **stand_ins):
        yield
