"""The screen of an attempt, and leases with an owner and an expiry, for several collectors over one store."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "v002"
down_revision = "v001"


def upgrade() -> None:
    """A partition's term stays; nobody owns it until somebody takes it."""
    op.add_column("partitions", sa.Column("owner", sa.String(length=512)))
    op.add_column(
        "partitions",
        sa.Column("expires_ms", sa.BigInteger(), nullable=False, server_default="0"),
    )
    op.create_table(
        "collectors",
        sa.Column("owner", sa.String(length=512), primary_key=True),
        sa.Column("expires_ms", sa.BigInteger(), nullable=False),
    )
    op.add_column("attempts", sa.Column("screen", sa.String(length=512)))
    # So that a program from before there were revisions says that it does not know this store.
    op.execute("UPDATE store SET version = 2")
