"""Labels for ticks, the lineage of every world as a view, and more commands in the audit trail."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

SQL = Path(__file__).parent.parent / "sql"

ID = sa.String(36).with_variant(postgresql.UUID(as_uuid=True), "postgresql")


def upgrade() -> None:
    op.create_table(
        "labels",
        sa.Column(
            "world_id",
            ID,
            sa.ForeignKey("worlds.world_id"),
            primary_key=True,
            comment="the world that the label is of; its forks inherit it up to their fork tick",
        ),
        sa.Column("name", sa.String(128), primary_key=True, comment="unique within the world"),
        sa.Column("tick", sa.BigInteger, nullable=False, comment="the tick it names"),
        sa.Column(
            "version", sa.BigInteger, nullable=False, comment="the world's version with its add_label command"
        ),
        comment="Names for ticks. Derivable from the log.",
    )
    dialect = op.get_bind().dialect.name
    op.execute("DROP VIEW audit_trail")
    run(SQL / "0002" / dialect / "views.sql")
    if dialect == "postgresql":
        op.execute(
            "COMMENT ON COLUMN events.cause_id IS "
            "'what caused it: for a fact a command, for a command that waited at a fork the fork''s own'"
        )


def run(path: Path, *, only: str = "") -> None:
    """Run a file's statements, or those that begin so; each ends with a semicolon and an empty line."""
    for each in path.read_text(encoding="utf-8").split(";\n\n"):
        if each.strip() and each.strip().startswith(only):
            op.get_bind().exec_driver_sql(each.strip())


def downgrade() -> None:
    op.execute("DROP VIEW lineage")
    op.execute("DROP VIEW audit_trail")
    dialect = op.get_bind().dialect.name
    run(SQL / "0001" / dialect / "3_views.sql", only="CREATE VIEW audit_trail")
    op.drop_table("labels")
