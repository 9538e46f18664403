"""On PostgreSQL, a notice to whoever listens when the log has grown; SQLite's readers look by themselves."""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

SQL = Path(__file__).parent.parent / "sql" / "0004"


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        for statement in (SQL / "postgresql" / "notify.sql").read_text(encoding="utf-8").split(";\n\n"):
            op.get_bind().exec_driver_sql(statement.strip())


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP TRIGGER log_head_notify ON log_head")
        op.execute("DROP FUNCTION notify_log")
