"""The log, worlds, ticks, snapshots, pages and runs, with their guards and views."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

SQL = Path(__file__).parent.parent / "sql" / "0001"

ID = sa.String(36).with_variant(postgresql.UUID(as_uuid=True), "postgresql")
MOMENT = sa.String(27).with_variant(sa.DateTime(timezone=True), "postgresql")
ROWID = sa.BigInteger().with_variant(sa.Integer, "sqlite")
HASH = sa.LargeBinary()
VIEWS = ("command_log", "audit_trail", "world_tree", "tick_log", "storage_use")
FUNCTIONS = ("append_commands", "lock_log", "event_hash", "event_digest", "refuse_change")


def column(name: str, kind, comment: str, *, nullable: bool = False, **options) -> sa.Column:
    return sa.Column(name, kind, nullable=nullable, comment=comment, **options)


def upgrade() -> None:
    create_worlds()
    create_log()
    create_ticks()
    create_snapshots()
    create_runs()
    op.execute("INSERT INTO log_head (id, position) VALUES (1, 0)")
    dialect = op.get_bind().dialect.name
    for path in sorted((SQL / dialect).glob("*.sql")):
        for statement in statements(path.read_text(encoding="utf-8")):
            op.get_bind().exec_driver_sql(statement)
    if dialect == "postgresql":
        # Pages are compressed by their codec or not worth it: the server need not try again.
        op.execute("ALTER TABLE pages ALTER COLUMN data SET STORAGE EXTERNAL")
        op.execute("ALTER TABLE worlds SET (fillfactor = 70)")
        op.execute("ALTER TABLE log_head SET (fillfactor = 10)")


def statements(text: str) -> list[str]:
    """Statements of a file end with a semicolon and an empty line; function bodies hold no such line."""
    return [part for part in (each.strip() for each in text.split(";\n\n")) if part]


def create_worlds() -> None:
    op.create_table(
        "worlds",
        column("world_id", ID, "UUIDv7", primary_key=True),
        column("name", sa.String(128), "unique among worlds that are not archived"),
        sa.Column(
            "parent_id",
            ID,
            sa.ForeignKey("worlds.world_id"),
            comment="the world that owns fork_tick; NULL at a root",
        ),
        column("fork_tick", sa.BigInteger, "the last tick shared with the parent", nullable=True),
        column("head_version", sa.BigInteger, "version of the newest log row of this world"),
        column("committed_tick", sa.BigInteger, "the last tick committed; -1 at birth"),
        column(
            "open_tick",
            sa.BigInteger,
            "the tick that newly accepted commands go to, unless they are due later",
        ),
        column("sealed_version", sa.BigInteger, "head_version when the newest sealed tick was sealed"),
        column("next_entity_id", sa.BigInteger, "the lowest entity id not yet assigned"),
        column("seed", sa.BigInteger, "what all of the world's random numbers derive from"),
        column("config", sa.Text, "canonical JSON of the world's settings"),
        column("created_at", MOMENT, "UTC"),
        column("archived_at", MOMENT, "UTC; when the world was removed", nullable=True),
        column(
            "lease_owner",
            sa.String(255),
            "the process that runs this world: host, process id, start time",
            nullable=True,
        ),
        column("lease_epoch", sa.BigInteger, "fencing token: grows with every change of owner"),
        column("lease_until", MOMENT, "UTC; when the lease ends unless it is renewed", nullable=True),
        comment="One row a world. Derivable from the log, except for the lease.",
    )
    op.create_index(
        "worlds_live_name",
        "worlds",
        ["name"],
        unique=True,
        postgresql_where=sa.text("archived_at IS NULL"),
        sqlite_where=sa.text("archived_at IS NULL"),
    )
    op.create_index("worlds_parent", "worlds", ["parent_id", "fork_tick"])


def create_log() -> None:
    op.create_table(
        "log_head",
        column("id", sa.SmallInteger, "always 1", primary_key=True, autoincrement=False),
        column("position", sa.BigInteger, "position of the newest log row"),
        sa.CheckConstraint("id = 1", name="log_head_one_row"),
        comment="The counter that keeps positions contiguous: one row.",
    )
    op.create_table(
        "events",
        column(
            "position",
            ROWID,
            "contiguous over the whole log, in commit order",
            primary_key=True,
            autoincrement=False,
        ),
        # No foreign key: the append looks the world up under the lock, and the check would cost a third.
        column("world_id", ID, "the world it belongs to"),
        column("version", sa.BigInteger, "contiguous within the world, from 1"),
        column("event_id", ID, "a command's id, or a fact's own"),
        column("kind", sa.String(8), "command (was asked for) or fact (the engine records)"),
        column("type", sa.String(64), "spawn, update, tick_committed, …"),
        column("schema_version", sa.SmallInteger, "version of the payload's form"),
        column("due_tick", sa.BigInteger, "the tick that the caller asked for"),
        column("tick", sa.BigInteger, "the tick it belongs to: max(due_tick, open_tick) at acceptance"),
        column("priority", sa.Integer, "within a tick the lower is applied first"),
        column("actor_id", ID, "who asked", nullable=True),
        column("cause_id", ID, "for a fact: the command that caused it", nullable=True),
        column(
            "first_entity_id",
            sa.BigInteger,
            "the first entity id that was assigned to a spawn",
            nullable=True,
        ),
        column("payload", sa.Text, "canonical JSON (RFC 8785): the bytes that are hashed"),
        column("batch", sa.LargeBinary, "Arrow IPC stream of a bulk command", nullable=True),
        column("recorded_at", MOMENT, "UTC, the database's clock"),
        column("hash", HASH, "SHA-256 of all other columns, see docs/hashes.md"),
        sa.CheckConstraint("kind IN ('command', 'fact')", name="events_kind"),
        comment="The log: one immutable row for each accepted command and each fact.",
    )
    op.create_index("events_version", "events", ["world_id", "version"], unique=True)
    op.create_index("events_event_id", "events", ["world_id", "event_id"], unique=True)
    of_commands, of_causes = sa.text("kind = 'command'"), sa.text("cause_id IS NOT NULL")
    op.create_index(
        "events_tick", "events", ["world_id", "tick"], postgresql_where=of_commands, sqlite_where=of_commands
    )
    op.create_index(
        "events_cause", "events", ["world_id", "cause_id"], postgresql_where=of_causes, sqlite_where=of_causes
    )


def create_ticks() -> None:
    op.create_table(
        "programs",
        column("code_hash", HASH, "SHA-256 of the document", primary_key=True),
        column(
            "document",
            sa.Text,
            "canonical JSON: the processors in order, with parameters and source fingerprints",
        ),
        comment="The code of a tick, stored once however many ticks it runs.",
    )
    op.create_table(
        "ticks",
        sa.Column(
            "world_id",
            ID,
            sa.ForeignKey("worlds.world_id"),
            primary_key=True,
            comment="the world that owns the tick",
        ),
        column(
            "tick",
            sa.BigInteger,
            "from 0; a fork starts behind its fork tick",
            primary_key=True,
            autoincrement=False,
        ),
        column("position", sa.BigInteger, "position of the tick_committed fact"),
        column("run_id", ID, "the run that committed it"),
        column("parent_hash", HASH, "commit_hash of the tick before; zeros at a root's first"),
        column("commit_hash", HASH, "fixes the whole history up to this tick"),
        column("state_hash", HASH, "of every archetype table after the tick"),
        sa.Column(
            "code_hash",
            HASH,
            sa.ForeignKey("programs.code_hash"),
            nullable=False,
            comment="the code that ran",
        ),
        column("sealed_version", sa.BigInteger, "the world's version when the tick's inputs were fixed"),
        column(
            "next_entity_id",
            sa.BigInteger,
            "the lowest entity id not yet assigned when its inputs were fixed",
        ),
        column("entity_count", sa.BigInteger, "active entities after the tick"),
        column("command_count", sa.BigInteger, "commands of the tick, rejected ones included"),
        column("rejected_count", sa.BigInteger, "commands that could not be applied"),
        column("started_at", MOMENT, "UTC, the clock of the process that computed it"),
        column("compute_ms", sa.Float(53), "milliseconds for applying and processing"),
        column("persist_ms", sa.Float(53), "milliseconds from there to the write of this row"),
        comment="One immutable row for each committed tick.",
    )


def create_snapshots() -> None:
    op.create_table(
        "archetypes",
        column("archetype_id", HASH, "SHA-256 of components and schema", primary_key=True),
        column("components", sa.Text, "JSON list of component names, sorted"),
        column("schema", sa.Text, "JSON list of [column, type, nullable]"),
        comment="Every set of components that any entity ever had.",
    )
    op.create_table(
        "snapshots",
        column("world_id", ID, "the world that owns the tick", primary_key=True),
        column("tick", sa.BigInteger, "the state after this tick", primary_key=True, autoincrement=False),
        sa.Column(
            "archetype_id",
            HASH,
            sa.ForeignKey("archetypes.archetype_id"),
            primary_key=True,
            comment="the table",
        ),
        column("row_count", sa.BigInteger, "rows, despawned ones of this very tick included"),
        column("active_count", sa.BigInteger, "rows of living entities"),
        column("pages", sa.Text, "JSON: column to list of page hashes (hex), in row order"),
        sa.ForeignKeyConstraint(["world_id", "tick"], ["ticks.world_id", "ticks.tick"]),
        comment="Which pages make up each archetype table after a tick.",
    )
    op.create_table(
        "pages",
        column("page_hash", HASH, "SHA-256 of the page's bytes", primary_key=True),
        sa.Column(
            "base_hash", HASH, sa.ForeignKey("pages.page_hash"), comment="the page that a patch applies to"
        ),
        column("codec", sa.String(16), "plain: data is the page itself"),
        column("size_bytes", sa.BigInteger, "length of data"),
        column("data", sa.LargeBinary, "up to 65,536 values of one column, see docs/hashes.md"),
        comment="Column contents, each stored once.",
    )


def create_runs() -> None:
    op.create_table(
        "runs",
        column("run_id", ID, "UUIDv7", primary_key=True),
        sa.Column(
            "world_id", ID, sa.ForeignKey("worlds.world_id"), nullable=False, comment="the world it runs"
        ),
        column("event_id", ID, "the step or run command that asked for it"),
        column("from_tick", sa.BigInteger, "its first tick"),
        column("ticks_requested", sa.BigInteger, "how many ticks were asked for"),
        column("ticks_completed", sa.BigInteger, "how many of them are committed"),
        column("commands_applied", sa.BigInteger, "commands applied in them, rejected ones not counted"),
        column("status", sa.String(16), "running, completed, failed, or stopped with the server"),
        column("error", sa.Text, "why it failed", nullable=True),
        column("started_at", MOMENT, "UTC"),
        column("finished_at", MOMENT, "UTC", nullable=True),
        comment="One row for each step or run.",
    )
    op.create_index("runs_world", "runs", ["world_id", "run_id"])
    op.create_index("runs_event", "runs", ["event_id"])


def downgrade() -> None:
    bind = op.get_bind()
    for view in VIEWS:
        op.execute(f"DROP VIEW {view}")
    for table in ("runs", "snapshots", "pages", "archetypes", "ticks", "programs"):
        op.drop_table(table)
    if bind.dialect.name == "postgresql":
        op.execute("DROP TABLE events CASCADE")
        for function in FUNCTIONS:
            op.execute(f"DROP FUNCTION IF EXISTS {function} CASCADE")
    else:
        op.drop_table("events")
    op.drop_table("log_head")
    op.drop_table("worlds")
