"""Runs that wait or are cancelled: an index on those unfinished, one more type in the audit trail."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

SQL = Path(__file__).parent.parent / "sql"
UNFINISHED = sa.text("status IN ('waiting', 'running', 'stopped', 'cancelling')")
COMMENTS = {
    "status": "waiting for its turn, running, stopped with the server, cancelling; "
    "or how it ended: completed, failed or cancelled",
    "error": "why it failed, was stopped or was cancelled",
    "from_tick": "the next tick of its world when it was asked for",
}


def upgrade() -> None:
    op.create_index(
        "runs_unfinished", "runs", ["run_id"], postgresql_where=UNFINISHED, sqlite_where=UNFINISHED
    )
    op.execute("DROP VIEW audit_trail")
    run("0005")
    if op.get_bind().dialect.name == "postgresql":
        for column, comment in COMMENTS.items():
            op.execute(f"COMMENT ON COLUMN runs.{column} IS '{comment}'")


def run(folder: str) -> None:
    """Make the audit trail as a folder has it; its statements end with a semicolon and an empty line."""
    path = SQL / folder / op.get_bind().dialect.name / "views.sql"
    statements = path.read_text(encoding="utf-8").split(";\n\n")
    op.get_bind().exec_driver_sql(next(each for each in statements if "VIEW audit_trail" in each).strip())


def downgrade() -> None:
    op.execute("DROP VIEW audit_trail")
    run("0002")
    op.drop_index("runs_unfinished", "runs")
