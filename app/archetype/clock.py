"""The only place that reads the clock, makes ids, or asks who this process is."""

from __future__ import annotations

import hashlib
import os
import random
import secrets
import socket
import time
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

__all__ = [
    "epoch_ns",
    "is_alive",
    "monotonic_s",
    "new_id",
    "new_key_id",
    "new_owner",
    "new_secret",
    "new_seed",
    "process_identity",
    "utc_now",
]


def utc_now() -> datetime:
    """Return this machine's present time in UTC, to the microsecond."""
    return datetime.now(UTC)


def monotonic_s() -> float:
    """Return seconds of a clock that never goes back, for measuring durations."""
    return time.perf_counter()


def epoch_ns(at_s: float) -> int:
    """Say when a moment of the monotonic clock was, in nanoseconds since 1970."""
    return time.time_ns() - round((monotonic_s() - at_s) * 1e9)


# Ids are unique, not secret: a generator of our own spares a system call for each, keeps clear of
# what scripts do to the global one, and starts anew in a forked process.
_id_bits = random.Random(os.urandom(32))  # noqa: S311
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: _id_bits.seed(os.urandom(32)))

_FIXED_BITS = 0xF << 76 | 0b11 << 62
_VERSION_7 = 0x7 << 76 | 0b10 << 62


def new_id() -> UUID:
    """Make a UUIDv7 (RFC 9562 §5.7): 48 bits of Unix milliseconds, then 74 random bits."""
    milliseconds = time.time_ns() // 1_000_000
    return UUID(int=(milliseconds << 80 | _id_bits.getrandbits(80)) & ~_FIXED_BITS | _VERSION_7)


def new_seed() -> int:
    """Draw a world seed: a non-negative integer below 2**63, so that every database can hold it."""
    return secrets.randbits(63)


def new_key_id() -> str:
    """Draw the public part of an API key: 16 hex digits."""
    return secrets.token_hex(8)


def new_secret() -> str:
    """Draw the secret part of an API key: 32 random bytes as 43 characters of URL-safe base64."""
    return secrets.token_urlsafe(32)


def process_identity() -> str:
    """Name this process for good: host, process id, its start in clock ticks, and where that id means it."""
    pid = os.getpid()
    return f"{socket.gethostname()}:{pid}:{_started(pid) or 0}:{_process_space()}"


def new_owner() -> str:
    """Name one who holds leases in this process, where others may: its identity, and eight digits more."""
    return f"{process_identity()}:{_id_bits.getrandbits(32):08x}"


def is_alive(identity: str) -> bool:
    """Tell whether the process of an identity or owner may still run; only one missed here surely does not.

    Machines and containers may share a name, and each have a process of the same id: what another one's ids
    mean, nobody here can tell.
    """
    host, _, rest = identity.partition(":")
    pid_text, _, rest = rest.partition(":")
    started_text, _, rest = rest.partition(":")
    space = rest.partition(":")[0]
    if host != socket.gethostname() or space != _process_space() or not pid_text.isdigit():
        return True
    started = _started(int(pid_text))
    if started is None:
        return _answers_signal(int(pid_text))
    return str(started) == started_text


def _started(pid: int) -> int | None:
    """Read the start time of a process, which tells it from a later one that got the same id (Linux only).

    One that is dead stays listed until its parent takes note; it has none either.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in {"Z", "X"} else int(fields[19])


def _process_space() -> str:
    """Name the boot and the namespace in which process ids mean what they do here; empty where unknown."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        namespace = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""
    return hashlib.sha256(f"{boot}:{namespace}".encode()).hexdigest()[:12]


def _answers_signal(pid: int) -> bool:
    if Path("/proc/self/stat").exists():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
