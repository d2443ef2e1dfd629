"""When a command was with the broker, when it was answered, and what came of the work that it began."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "v004"
down_revision = "v003"


def upgrade() -> None:
    """Of earlier commands it is not known."""
    op.add_column("commands", sa.Column("sent_ms", sa.BigInteger()))
    op.add_column("commands", sa.Column("answered_ms", sa.BigInteger()))
    op.add_column("commands", sa.Column("finished_ms", sa.BigInteger()))
    op.add_column("commands", sa.Column("result", sa.Text()))
