"""The tables that stores had before there were revisions."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "v001"
down_revision = None


def upgrade() -> None:
    """Make them all."""
    op.create_table(
        "assignments",
        sa.Column(
            "version",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("device", sa.String(length=512), nullable=False),
        sa.Column("attempt", sa.String(length=512), nullable=False),
        sa.Column("admitted", sa.Boolean(), nullable=False),
        sa.Column("issued_ms", sa.BigInteger(), nullable=False),
        sa.Column("decision", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("version"),
        sqlite_autoincrement=True,
    )
    op.create_index("assignments_of_attempt", "assignments", ["device", "attempt"], unique=False)
    op.create_table(
        "attempts",
        sa.Column("device", sa.String(length=512), nullable=False),
        sa.Column("attempt", sa.String(length=512), nullable=False),
        sa.Column("stream", sa.String(length=512), nullable=False),
        sa.Column("first_order", sa.BigInteger(), nullable=False),
        sa.Column("latest", sa.Boolean(), nullable=False),
        sa.Column("begun_ms", sa.BigInteger(), nullable=False),
        sa.Column("updated_ms", sa.BigInteger(), nullable=False),
        sa.Column("attempt_ms", sa.BigInteger(), nullable=False),
        sa.Column("stage", sa.String(length=64), nullable=False),
        sa.Column("percent", sa.Integer(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("enrollment_type", sa.String(length=32), nullable=True),
        sa.Column("platform", sa.String(length=512), nullable=False),
        sa.Column("os_version", sa.String(length=512), nullable=False),
        sa.Column("user", sa.String(length=512), nullable=True),
        sa.Column("user_key", sa.String(length=512), nullable=True),
        sa.Column("phase", sa.String(length=32), nullable=True),
        sa.Column("gate", sa.String(length=16), nullable=False),
        sa.Column("waits_on_error", sa.Boolean(), nullable=False),
        sa.Column("failure", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("end_state", sa.String(length=32), nullable=True),
        sa.Column("ended_ms", sa.BigInteger(), nullable=True),
        sa.Column("section", sa.String(length=64), nullable=True),
        sa.Column("action_name", sa.String(length=512), nullable=True),
        sa.Column("user_action", sa.String(length=512), nullable=True),
        sa.PrimaryKeyConstraint("device", "attempt"),
    )
    op.create_index(op.f("ix_attempts_user_key"), "attempts", ["user_key"], unique=False)
    op.create_index("latest_attempts", "attempts", ["device", "latest"], unique=False)
    op.create_table(
        "catalogue",
        sa.Column("enrollment_type", sa.String(length=32), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("enrollment_type"),
    )
    op.create_table(
        "cleared",
        sa.Column("device", sa.String(length=512), nullable=False),
        sa.Column("cleared_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("device"),
    )
    op.create_table(
        "commands",
        sa.Column("id", sa.String(length=512), nullable=False),
        sa.Column("device", sa.String(length=512), nullable=False),
        sa.Column("attempt", sa.String(length=512), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("issued_by", sa.String(length=512), nullable=False),
        sa.Column("issued_ms", sa.BigInteger(), nullable=False),
        sa.Column("expires_ms", sa.BigInteger(), nullable=False),
        sa.Column("attempt_ms_max", sa.BigInteger(), nullable=False),
        sa.Column("executed", sa.Boolean(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("cleared", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_commands_device"), "commands", ["device"], unique=False)
    op.create_table(
        "enrolled_before",
        sa.Column("device", sa.String(length=512), nullable=False),
        sa.Column("user", sa.String(length=512), nullable=False),
        sa.Column("user_key", sa.String(length=512), nullable=False),
        sa.PrimaryKeyConstraint("device"),
    )
    op.create_index(
        op.f("ix_enrolled_before_user_key"), "enrolled_before", ["user_key"], unique=False
    )
    op.create_table(
        "members",
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("member", sa.String(length=512), nullable=False),
        sa.Column("group", sa.String(length=512), nullable=False),
        sa.PrimaryKeyConstraint("kind", "member", "group"),
    )
    op.create_table(
        "partitions",
        sa.Column("partition", sa.String(length=1), nullable=False),
        sa.Column("term", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("partition"),
    )
    op.create_table(
        "presence",
        sa.Column("device", sa.String(length=512), nullable=False),
        sa.Column("stream", sa.String(length=512), nullable=False),
        sa.Column("session", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("seen_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("device", "stream"),
    )
    op.create_table(
        "profiles",
        sa.Column("id", sa.String(length=512), nullable=False),
        sa.Column("priority", sa.BigInteger(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("is_default", sa.Boolean(), nullable=False),
        sa.Column("groups", sa.JSON(), nullable=False),
        sa.Column("profile", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "refusals",
        sa.Column("reason", sa.String(length=32), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("reason"),
    )
    op.create_table(
        "registrations",
        sa.Column("device", sa.String(length=512), nullable=False),
        sa.Column("enrollment_type", sa.String(length=32), nullable=True),
        sa.Column("user", sa.String(length=512), nullable=True),
        sa.Column("registered_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("device"),
    )
    op.create_table(
        "set_aside",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("received_ms", sa.BigInteger(), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("reason", sa.String(length=32), nullable=False),
        sa.Column("sentence", sa.Text(), nullable=False),
        sa.Column("payload_bytes", sa.BigInteger(), nullable=False),
        sa.Column("payload_head", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "settings",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "store",
        sa.Column("id", sa.String(length=512), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("made_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "streams",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("device", sa.String(length=512), nullable=False),
        sa.Column("stream", sa.String(length=512), nullable=False),
        sa.Column("last_seq", sa.BigInteger(), nullable=False),
        sa.Column("last_digest", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("device", "stream"),
    )
    op.create_table(
        "users",
        sa.Column("user_key", sa.String(length=512), nullable=False),
        sa.PrimaryKeyConstraint("user_key"),
    )
    op.create_table(
        "events",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column(
            "stream_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("device", sa.String(length=512), nullable=False),
        sa.Column("attempt", sa.String(length=512), nullable=False),
        sa.Column("received_ms", sa.BigInteger(), nullable=False),
        sa.Column("attempt_ms", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(length=64), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("report", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["stream_id"],
            ["streams.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("stream_id", "seq"),
    )
    op.create_index("events_of_device", "events", ["device", "id"], unique=False)
    op.create_table(
        "losses",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column(
            "stream_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("first_seq", sa.BigInteger(), nullable=False),
        sa.Column("last_seq", sa.BigInteger(), nullable=False),
        sa.Column("cause", sa.String(length=32), nullable=False),
        sa.Column("recorded_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["stream_id"],
            ["streams.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
