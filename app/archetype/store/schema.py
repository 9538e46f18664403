"""The tables, as SQLAlchemy Core sees them; `migrations/` makes them, and a test holds the two equal."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Dialect

from archetype.log.hashes import iso_utc

__all__ = [
    "REVISION",
    "UNFINISHED",
    "Id",
    "Moment",
    "actors",
    "administrative_acts",
    "archetypes",
    "daily_usage",
    "denials",
    "events",
    "keys",
    "labels",
    "log_head",
    "metadata",
    "origins",
    "pages",
    "programs",
    "quotas",
    "runs",
    "snapshots",
    "tick_usage",
    "ticks",
    "worlds",
]

REVISION = "0013"
"""The migration that this release's code needs the database to be at."""

UNFINISHED = "status IN ('waiting', 'running', 'stopped', 'cancelling')"
"""Which runs somebody still has to do something about; the index on them needs it word for word."""

metadata = sa.MetaData()


class Id(sa.types.TypeDecorator[UUID]):
    """A UUID: PostgreSQL's own type, and its usual text on SQLite, so that people can read and type it."""

    impl = sa.String(36)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> Any:
        """Choose the column type of the dialect."""
        if dialect.name == "postgresql":
            return dialect.type_descriptor(postgresql.UUID(as_uuid=True))
        return dialect.type_descriptor(sa.String(36))

    def process_bind_param(self, value: UUID | None, dialect: Dialect) -> Any:
        """Spell a UUID for the driver."""
        return value if value is None or dialect.name == "postgresql" else str(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> UUID | None:
        """Read a UUID from the driver."""
        return value if value is None or isinstance(value, UUID) else UUID(value)


class Moment(sa.types.TypeDecorator[datetime]):
    """A UTC time: timestamptz on PostgreSQL, ISO 8601 text with microseconds on SQLite."""

    impl = sa.String(27)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> Any:
        """Choose the column type of the dialect."""
        if dialect.name == "postgresql":
            return dialect.type_descriptor(sa.DateTime(timezone=True))
        return dialect.type_descriptor(sa.String(27))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """Spell a time for the driver."""
        return value if value is None or dialect.name == "postgresql" else iso_utc(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """Read a time from the driver."""
        if isinstance(value, str):
            return datetime.fromisoformat(value)
        return value


def _partial_index(name: str, *columns: str, where: str, unique: bool = False) -> sa.Index:
    condition = sa.text(where)
    return sa.Index(name, *columns, unique=unique, postgresql_where=condition, sqlite_where=condition)


log_head = sa.Table(
    "log_head",
    metadata,
    sa.Column("id", sa.SmallInteger, primary_key=True, autoincrement=False),
    sa.Column("position", sa.BigInteger, nullable=False),
)

events = sa.Table(
    "events",
    metadata,
    sa.Column(
        "position", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=False
    ),
    sa.Column("world_id", Id, nullable=False),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("event_id", Id, nullable=False),
    sa.Column("kind", sa.String(8), nullable=False),
    sa.Column("type", sa.String(64), nullable=False),
    sa.Column("schema_version", sa.SmallInteger, nullable=False),
    sa.Column("due_tick", sa.BigInteger, nullable=False),
    sa.Column("tick", sa.BigInteger, nullable=False),
    sa.Column("priority", sa.Integer, nullable=False),
    sa.Column("actor_id", Id),
    sa.Column("cause_id", Id),
    sa.Column("first_entity_id", sa.BigInteger),
    sa.Column("payload", sa.Text, nullable=False),
    sa.Column("batch", sa.LargeBinary),
    sa.Column("recorded_at", Moment, nullable=False),
    sa.Column("hash", sa.LargeBinary, nullable=False),
    sa.Index("events_version", "world_id", "version", unique=True),
    sa.Index("events_event_id", "world_id", "event_id", unique=True),
    _partial_index("events_tick", "world_id", "tick", where="kind = 'command'"),
    _partial_index("events_cause", "world_id", "cause_id", where="cause_id IS NOT NULL"),
)

worlds = sa.Table(
    "worlds",
    metadata,
    sa.Column("world_id", Id, primary_key=True),
    sa.Column("name", sa.String(128), nullable=False),
    sa.Column("parent_id", Id, sa.ForeignKey("worlds.world_id")),
    sa.Column("fork_tick", sa.BigInteger),
    sa.Column("head_version", sa.BigInteger, nullable=False),
    sa.Column("committed_tick", sa.BigInteger, nullable=False),
    sa.Column("open_tick", sa.BigInteger, nullable=False),
    sa.Column("sealed_version", sa.BigInteger, nullable=False),
    sa.Column("next_entity_id", sa.BigInteger, nullable=False),
    sa.Column("seed", sa.BigInteger, nullable=False),
    sa.Column("config", sa.Text, nullable=False),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("archived_at", Moment),
    sa.Column("lease_owner", sa.String(255)),
    sa.Column("lease_epoch", sa.BigInteger, nullable=False),
    sa.Column("lease_until", Moment),
    _partial_index("worlds_live_name", "name", where="archived_at IS NULL", unique=True),
    sa.Index("worlds_parent", "parent_id", "fork_tick"),
)

programs = sa.Table(
    "programs",
    metadata,
    sa.Column("code_hash", sa.LargeBinary, primary_key=True),
    sa.Column("document", sa.Text, nullable=False),
)

ticks = sa.Table(
    "ticks",
    metadata,
    sa.Column("world_id", Id, sa.ForeignKey("worlds.world_id"), primary_key=True),
    sa.Column("tick", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("position", sa.BigInteger, nullable=False),
    sa.Column("run_id", Id, nullable=False),
    sa.Column("parent_hash", sa.LargeBinary, nullable=False),
    sa.Column("commit_hash", sa.LargeBinary, nullable=False),
    sa.Column("state_hash", sa.LargeBinary, nullable=False),
    sa.Column("code_hash", sa.LargeBinary, sa.ForeignKey("programs.code_hash"), nullable=False),
    sa.Column("sealed_version", sa.BigInteger, nullable=False),
    sa.Column("next_entity_id", sa.BigInteger, nullable=False),
    sa.Column("entity_count", sa.BigInteger, nullable=False),
    sa.Column("command_count", sa.BigInteger, nullable=False),
    sa.Column("rejected_count", sa.BigInteger, nullable=False),
    sa.Column("started_at", Moment, nullable=False),
    sa.Column("compute_ms", sa.Float(53), nullable=False),
    sa.Column("persist_ms", sa.Float(53), nullable=False),
)

archetypes = sa.Table(
    "archetypes",
    metadata,
    sa.Column("archetype_id", sa.LargeBinary, primary_key=True),
    sa.Column("components", sa.Text, nullable=False),
    sa.Column("schema", sa.Text, nullable=False),
)

snapshots = sa.Table(
    "snapshots",
    metadata,
    sa.Column("world_id", Id, primary_key=True),
    sa.Column("tick", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("archetype_id", sa.LargeBinary, sa.ForeignKey("archetypes.archetype_id"), primary_key=True),
    sa.Column("row_count", sa.BigInteger, nullable=False),
    sa.Column("active_count", sa.BigInteger, nullable=False),
    sa.Column("pages", sa.Text, nullable=False),
    sa.ForeignKeyConstraint(["world_id", "tick"], ["ticks.world_id", "ticks.tick"]),
)

pages = sa.Table(
    "pages",
    metadata,
    sa.Column("page_hash", sa.LargeBinary, primary_key=True),
    sa.Column("base_hash", sa.LargeBinary, sa.ForeignKey("pages.page_hash")),
    sa.Column("codec", sa.String(16), nullable=False),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("data", sa.LargeBinary, nullable=False),
    sa.Column("content_size_bytes", sa.BigInteger, nullable=False),
    _partial_index("pages_base", "base_hash", where="base_hash IS NOT NULL"),
)

runs = sa.Table(
    "runs",
    metadata,
    sa.Column("run_id", Id, primary_key=True),
    sa.Column("world_id", Id, sa.ForeignKey("worlds.world_id"), nullable=False),
    sa.Column("event_id", Id, nullable=False),
    sa.Column("from_tick", sa.BigInteger, nullable=False),
    sa.Column("ticks_requested", sa.BigInteger, nullable=False),
    sa.Column("ticks_completed", sa.BigInteger, nullable=False),
    sa.Column("commands_applied", sa.BigInteger, nullable=False),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("error", sa.Text),
    sa.Column("started_at", Moment, nullable=False),
    sa.Column("finished_at", Moment),
    sa.Column("reason", sa.String(16)),
    sa.Column("return_value", sa.Float(53)),
    sa.Column("owner", sa.String(255)),
    sa.Column("owner_until", Moment),
    sa.Index("runs_world", "world_id", "run_id"),
    sa.Index("runs_event", "event_id"),
    _partial_index("runs_unfinished", "run_id", where=UNFINISHED),
)

labels = sa.Table(
    "labels",
    metadata,
    sa.Column("world_id", Id, sa.ForeignKey("worlds.world_id"), primary_key=True),
    sa.Column("name", sa.String(128), primary_key=True),
    sa.Column("tick", sa.BigInteger, nullable=False),
    sa.Column("version", sa.BigInteger, nullable=False),
)

actors = sa.Table(
    "actors",
    metadata,
    sa.Column("actor_id", Id, primary_key=True),
    sa.Column("name", sa.String(128), nullable=False),
    sa.Column("roles", sa.Text, nullable=False),
    sa.Column("world_roles", sa.Text, nullable=False),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("disabled_at", Moment),
    sa.Column("reason", sa.Text),
    sa.Index("actors_name", "name", unique=True),
)

keys = sa.Table(
    "keys",
    metadata,
    sa.Column("key_id", sa.String(16), primary_key=True),
    sa.Column("actor_id", Id, sa.ForeignKey("actors.actor_id"), nullable=False),
    sa.Column("digest", sa.LargeBinary, nullable=False),
    sa.Column("worlds", sa.Text),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("expires_at", Moment),
    sa.Column("revoked_at", Moment),
    sa.Column("last_used_at", Moment),
    sa.Index("keys_actor", "actor_id", "key_id"),
)

denials = sa.Table(
    "denials",
    metadata,
    sa.Column("denial_id", Id, primary_key=True),
    sa.Column("code", sa.String(32), nullable=False),
    sa.Column("reason", sa.String(128), nullable=False),
    sa.Column("actor_id", Id),
    sa.Column("key_id", sa.String(16)),
    sa.Column("address", sa.String(64)),
    sa.Column("action", sa.String(64)),
    sa.Column("world", sa.String(128)),
    sa.Column("count", sa.BigInteger, nullable=False),
    sa.Column("first_at", Moment, nullable=False),
    sa.Column("last_at", Moment, nullable=False),
)

administrative_acts = sa.Table(
    "administrative_acts",
    metadata,
    sa.Column(
        "number", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=False
    ),
    sa.Column("act", sa.String(64), nullable=False),
    sa.Column("actor_id", Id),
    sa.Column("key_id", sa.String(16)),
    sa.Column("address", sa.String(64)),
    sa.Column("detail", sa.Text, nullable=False),
    sa.Column("reason", sa.Text),
    sa.Column("recorded_at", Moment, nullable=False),
    sa.Column("hash", sa.LargeBinary, nullable=False),
)

origins = sa.Table(
    "origins",
    metadata,
    sa.Column("origin_id", Id, primary_key=True),
    sa.Column("actor_id", Id),
    sa.Column("key_id", sa.String(16)),
    sa.Column("address", sa.String(64), nullable=False),
    sa.Column("first_at", Moment, nullable=False),
    sa.Column("last_at", Moment, nullable=False),
    sa.Index("origins_actor", "actor_id", "last_at"),
)

quotas = sa.Table(
    "quotas",
    metadata,
    sa.Column("actor_id", Id, primary_key=True),
    sa.Column("commands_per_tick", sa.BigInteger),
    sa.Column("tokens_per_day", sa.BigInteger),
    sa.Column("changed_at", Moment, nullable=False),
    sa.Column("reason", sa.Text),
)

tick_usage = sa.Table(
    "tick_usage",
    metadata,
    sa.Column("actor_id", Id, primary_key=True),
    sa.Column("world_id", Id, primary_key=True),
    sa.Column("tick", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("commands", sa.BigInteger, nullable=False),
)

daily_usage = sa.Table(
    "daily_usage",
    metadata,
    sa.Column("actor_id", Id, primary_key=True),
    sa.Column("day", sa.String(10), primary_key=True),
    sa.Column("commands", sa.BigInteger, nullable=False),
    sa.Column("tokens", sa.BigInteger, nullable=False),
)
