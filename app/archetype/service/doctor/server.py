"""A PostgreSQL server: its version, settings, connections and rights, as they concern us."""

from __future__ import annotations

from collections.abc import Sequence

from archetype.service.doctor.files import readable_size
from archetype.service.doctor.findings import Finding, error, ok, warning
from archetype.store.health import ServerFacts

__all__ = ["check_rights", "check_server"]

POSTGRES_MIN = 15
_UNSAFE = {
    "fsync": "a crash of its machine can lose or damage everything",
    "full_page_writes": "a crash of its machine can damage pages",
    "synchronous_commit": "a command is answered before it is durable",
}


def check_server(facts: ServerFacts, *, pool_size: int) -> list[Finding]:
    """Judge a server's version, settings and connections; `pool_size` is what one of our processes takes."""
    findings = [_version(facts), *_durability(facts), _connections(facts, pool_size)]
    seen = f"the database has {readable_size(facts.size_bytes)}; how much its disk has left is seen there"
    return [*findings, ok("disk", seen)]


def _version(facts: ServerFacts) -> Finding:
    seen = f"PostgreSQL {facts.version}"
    if facts.version_number // 10_000 < POSTGRES_MIN:
        return error("database", seen, f"upgrade it to PostgreSQL {POSTGRES_MIN} or newer")
    return ok("database", seen)


def _durability(facts: ServerFacts) -> list[Finding]:
    off = [name for name in _UNSAFE if facts.settings[name] == "off"]
    if not off:
        return [ok("durability", ", ".join(f"{name} is {facts.settings[name]}" for name in _UNSAFE))]
    return [
        error(
            "durability",
            f"{name} is off: {_UNSAFE[name]}",
            f"ALTER SYSTEM SET {name} = on; SELECT pg_reload_conf();",
        )
        for name in off
    ]


def _connections(facts: ServerFacts, pool_size: int) -> Finding:
    free = facts.connections_max - facts.connection_count
    seen = (
        f"{facts.connection_count} of {facts.connections_max} connections are used; "
        f"one server takes up to {pool_size}"
    )
    wanted = facts.connection_count + 2 * pool_size
    remedy = f"ALTER SYSTEM SET max_connections = {max(100, wanted)}; then restart PostgreSQL"
    if facts.connections_max < pool_size or free < 1:
        return error("connections", seen, remedy)
    return warning("connections", seen, remedy) if free < pool_size else ok("connections", seen)


def check_rights(user: str, missing: Sequence[str]) -> Finding:
    """Judge what the database's user may do; `missing` are rights as `INSERT on events`."""
    if not missing:
        return ok("rights", f"user {user!r} may do all that a server does")
    grants = " ".join(dict.fromkeys(_grant(right, user) for right in missing))
    shown = ", ".join(missing)
    return error("rights", f"user {user!r} may not {shown}", grants)


def _grant(right: str, user: str) -> str:
    verb, _, name = right.partition(" on ")
    quoted = '"' + user.replace('"', '""') + '"'
    kind = "ALL FUNCTIONS IN SCHEMA public" if verb == "EXECUTE" else name
    return f"GRANT {verb} ON {kind} TO {quoted};"
