"""The append on PostgreSQL decides on narrow columns, and spells the time of its rows once."""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

SQL = Path(__file__).parent.parent / "sql"


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        drop("append_commands", "event_hash", "event_digest")
        run(statements("0012", "append.sql"))


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        drop("append_commands", "charge_commands", "event_hash", "event_digest", "iso_utc")
        hashes = [each for each in statements("0001", "1_functions.sql") if "FUNCTION event_" in each]
        appends = [each for each in statements("0007", "append.sql") if "FUNCTION append_commands" in each]
        run(hashes + appends)


def drop(*functions: str) -> None:
    for function in functions:
        op.execute(f"DROP FUNCTION {function}")


def statements(folder: str, name: str) -> list[str]:
    """Statements of a file end with a semicolon and an empty line; function bodies hold no such line."""
    text = (SQL / folder / "postgresql" / name).read_text(encoding="utf-8")
    return [part for part in (each.strip() for each in text.split(";\n\n")) if part]


def run(texts: list[str]) -> None:
    for text in texts:
        op.get_bind().exec_driver_sql(text)
