"""Pages in several stored forms: how large their contents are, and which pages are patches on which."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0008"
branch_labels = None
depends_on = None

SQL = Path(__file__).parent.parent / "sql"
CODECS = "plain: data is the page itself; packed: compressed; difference, trend, match: patches on the base"
PLAIN = "plain: data is the page itself"
HAS_BASE = sa.text("base_hash IS NOT NULL")


def upgrade() -> None:
    op.add_column(
        "pages",
        sa.Column(
            "content_size_bytes",
            sa.BigInteger,
            nullable=False,
            server_default="0",
            comment="length of the page itself",
        ),
    )
    fill_content_sizes()
    op.create_index("pages_base", "pages", ["base_hash"], postgresql_where=HAS_BASE, sqlite_where=HAS_BASE)
    run("0010", "views.sql")
    comment_codecs(CODECS)


def fill_content_sizes() -> None:
    """Until now each page was stored as it is; what refuses edits stands aside for this one."""
    update = "UPDATE pages SET content_size_bytes = size_bytes"
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER TABLE pages DISABLE TRIGGER USER")
        op.execute(update)
        op.execute("ALTER TABLE pages ENABLE TRIGGER USER")
        return
    select = "SELECT sql FROM sqlite_master WHERE name = 'pages_no_update'"
    trigger = op.get_bind().execute(sa.text(select)).scalar_one()
    op.execute("DROP TRIGGER pages_no_update")
    op.execute(update)
    op.get_bind().exec_driver_sql(trigger)


def run(folder: str, name: str) -> None:
    path = SQL / folder / op.get_bind().dialect.name / name
    for statement in path.read_text(encoding="utf-8").split(";\n\n"):
        op.get_bind().exec_driver_sql(statement.strip())


def comment_codecs(comment: str) -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.alter_column("pages", "codec", comment=comment, existing_type=sa.String(16))


def downgrade() -> None:
    op.execute("DROP VIEW storage_use")
    op.drop_index("pages_base", "pages")
    op.drop_column("pages", "content_size_bytes")
    views = (SQL / "0001" / op.get_bind().dialect.name / "3_views.sql").read_text(encoding="utf-8")
    op.get_bind().exec_driver_sql(views[views.index("CREATE VIEW storage_use") :].strip())
    comment_codecs(PLAIN)
