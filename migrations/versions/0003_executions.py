"""What ran in each tick, and which writes met, as views on the ticks' facts."""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

SQL = Path(__file__).parent.parent / "sql" / "0003"
COMMENTS = {
    "executions": "Which processors ran in the ticks that a world owns, what they wrote, and how it went.",
    "conflicts": "Cells that several processors of one group wrote, and how that was resolved.",
}


def upgrade() -> None:
    dialect = op.get_bind().dialect.name
    for statement in (SQL / dialect / "views.sql").read_text(encoding="utf-8").split(";\n\n"):
        op.get_bind().exec_driver_sql(statement.strip())
    if dialect == "postgresql":
        for view, comment in COMMENTS.items():
            op.execute(f"COMMENT ON VIEW {view} IS '{comment}'")


def downgrade() -> None:
    for view in COMMENTS:
        op.execute(f"DROP VIEW {view}")
