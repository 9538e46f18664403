"""Episodes and rollouts: how they ended, who computes a rollout, two more types in the audit trail."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

SQL = Path(__file__).parent.parent / "sql"
MOMENT = sa.String(27).with_variant(sa.DateTime(timezone=True), "postgresql")
COLUMNS = {
    "reason": (sa.String(16), "why an episode that completed was over: terminal, condition or max_steps"),
    "return_value": (sa.Float(53), "what an episode that completed returned"),
    "owner": (
        sa.String(255),
        "the process that computes a rollout; NULL if nobody does, and for other runs",
    ),
    "owner_until": (MOMENT, "UTC; from then on another process may take the rollout up"),
}


def upgrade() -> None:
    for name, (kind, comment) in COLUMNS.items():
        op.add_column("runs", sa.Column(name, kind, comment=comment))
    op.execute("DROP VIEW audit_trail")
    run("0011")


def run(folder: str) -> None:
    """Make the audit trail as a folder has it; its statements end with a semicolon and an empty line."""
    path = SQL / folder / op.get_bind().dialect.name / "views.sql"
    statements = path.read_text(encoding="utf-8").split(";\n\n")
    op.get_bind().exec_driver_sql(next(each for each in statements if "VIEW audit_trail" in each).strip())


def downgrade() -> None:
    op.execute("DROP VIEW audit_trail")
    run("0008")
    for name in COLUMNS:
        op.drop_column("runs", name)
