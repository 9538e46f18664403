"""Actors and their API keys: who may ask for what."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

ID = sa.String(36).with_variant(postgresql.UUID(as_uuid=True), "postgresql")
MOMENT = sa.String(27).with_variant(sa.DateTime(timezone=True), "postgresql")


def upgrade() -> None:
    op.create_table(
        "actors",
        sa.Column("actor_id", ID, primary_key=True, comment="UUIDv7; events name it as theirs"),
        sa.Column("name", sa.String(128), nullable=False, comment="unique, also among disabled actors"),
        sa.Column(
            "roles", sa.Text, nullable=False, comment="JSON list of role names; unknown ones grant nothing"
        ),
        sa.Column(
            "world_roles",
            sa.Text,
            nullable=False,
            comment="JSON: world id to roles that hold in that world alone",
        ),
        sa.Column("created_at", MOMENT, nullable=False, comment="UTC"),
        sa.Column("disabled_at", MOMENT, comment="UTC; from then on none of its keys holds"),
        sa.Column("reason", sa.Text, comment="why it is disabled"),
        sa.Index("actors_name", "name", unique=True),
        comment="Who may ask for what. Not derivable from the log.",
    )
    op.create_table(
        "keys",
        sa.Column("key_id", sa.String(16), primary_key=True, comment="the key's public part, 16 hex digits"),
        sa.Column(
            "actor_id", ID, sa.ForeignKey("actors.actor_id"), nullable=False, comment="whose key it is"
        ),
        sa.Column("digest", sa.LargeBinary, nullable=False, comment="SHA-256 of the secret, 32 bytes"),
        sa.Column(
            "worlds", sa.Text, comment="JSON list of the ids of the worlds it is good for; NULL is all"
        ),
        sa.Column("created_at", MOMENT, nullable=False, comment="UTC"),
        sa.Column("expires_at", MOMENT, comment="UTC; from then on it does not hold; NULL is never"),
        sa.Column("revoked_at", MOMENT, comment="UTC; from then on it does not hold"),
        sa.Column("last_used_at", MOMENT, comment="UTC, written once a minute at most"),
        sa.Index("keys_actor", "actor_id", "key_id"),
        comment="API keys, without their secrets. Not derivable from the log.",
    )


def downgrade() -> None:
    op.drop_table("keys")
    op.drop_table("actors")
