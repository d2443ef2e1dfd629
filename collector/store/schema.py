"""The tables of the store; events are what happened, everything marked as derived can be folded from them again.

A change here needs a revision in `collector/store/migrations/versions`; a test says what is still missing there.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

VERSION: Final = 2
"""What the table `store` says, for programs from before there were revisions, which refuse all but 1."""

REVISION: Final = "v004"
"""The newest of `collector/store/migrations/versions`, which makes exactly the tables below."""

METADATA: Final = MetaData()

# SQLite numbers rows by itself only where the type is exactly INTEGER.
_Id = BigInteger().with_variant(Integer, "sqlite")
_Name = String(512)

STORE: Final = Table(
    "store",
    METADATA,
    Column("id", _Name, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("made_ms", BigInteger, nullable=False),
)
"""One row: which store this is."""

PARTITIONS: Final = Table(
    "partitions",
    METADATA,
    Column("partition", String(1), primary_key=True),
    Column("term", BigInteger, nullable=False),
    Column("owner", _Name),
    Column("expires_ms", BigInteger, nullable=False, server_default="0"),
)
"""The lease of each partition: a commit of an older term fails, an expired lease is free. By the database's clock."""

COLLECTORS: Final = Table(
    "collectors",
    METADATA,
    Column("owner", _Name, primary_key=True),
    Column("expires_ms", BigInteger, nullable=False),
)
"""The collectors that share the partitions, each until it was not heard of for the length of a lease."""

STREAMS: Final = Table(
    "streams",
    METADATA,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("device", _Name, nullable=False),
    Column("stream", _Name, nullable=False),
    Column("last_seq", BigInteger, nullable=False),
    Column("last_digest", String(64), nullable=False),
    UniqueConstraint("device", "stream"),
)

EVENTS: Final = Table(
    "events",
    METADATA,
    # Rows in the order of arrival keep inserting cheap; a random key costs four times as much.
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("stream_id", _Id, ForeignKey("streams.id"), nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("device", _Name, nullable=False),
    Column("attempt", _Name, nullable=False),
    Column("received_ms", BigInteger, nullable=False),
    Column("attempt_ms", BigInteger, nullable=False),
    Column("kind", String(64), nullable=False),
    Column("digest", String(64), nullable=False),
    Column("report", Text, nullable=False),
    UniqueConstraint("stream_id", "seq"),
    Index("events_of_device", "device", "id"),
)

LOSSES: Final = Table(
    "losses",
    METADATA,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("stream_id", _Id, ForeignKey("streams.id"), nullable=False),
    Column("first_seq", BigInteger, nullable=False),
    Column("last_seq", BigInteger, nullable=False),
    Column("cause", String(32), nullable=False),
    Column("recorded_ms", BigInteger, nullable=False),
)

REFUSALS: Final = Table(
    "refusals",
    METADATA,
    Column("reason", String(32), primary_key=True),
    Column("count", BigInteger, nullable=False),
)
"""Payloads that were refused, by reason."""

SET_ASIDE: Final = Table(
    "set_aside",
    METADATA,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("received_ms", BigInteger, nullable=False),
    Column("topic", Text, nullable=False),
    Column("reason", String(32), nullable=False),
    Column("sentence", Text, nullable=False),
    Column("payload_bytes", BigInteger, nullable=False),
    Column("payload_head", LargeBinary, nullable=False),
)
"""The newest refused payloads, for whoever wants to know what they were."""

ATTEMPTS: Final = Table(
    "attempts",
    METADATA,
    Column("device", _Name, primary_key=True),
    Column("attempt", _Name, primary_key=True),
    Column("stream", _Name, nullable=False),
    Column("first_order", BigInteger, nullable=False),
    Column("latest", Boolean, nullable=False),
    Column("begun_ms", BigInteger, nullable=False),
    Column("updated_ms", BigInteger, nullable=False),
    Column("attempt_ms", BigInteger, nullable=False),
    Column("stage", String(64), nullable=False),
    Column("percent", Integer, nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("enrollment_type", String(32)),
    Column("platform", _Name, nullable=False),
    Column("os_version", _Name, nullable=False),
    Column("user", _Name),
    Column("user_key", _Name, index=True),
    Column("phase", String(32)),
    Column("gate", String(16), nullable=False),
    Column("waits_on_error", Boolean, nullable=False),
    Column("failure", JSON(none_as_null=True)),
    Column("end_state", String(32)),
    Column("ended_ms", BigInteger),
    Column("section", String(64)),
    Column("action_name", _Name),
    Column("user_action", _Name),
    Column("screen", _Name),
    Index("latest_attempts", "device", "latest"),
)
"""Derived from events. `user_key` is the user's name without regard to case."""


def _attempts_where(name: str, columns: tuple[str, ...], which: ColumnElement[bool]) -> None:
    """An index that an attempt stands in only while it is asked for by it, so that taking reports in stays cheap."""
    Index(
        name,
        *(ATTEMPTS.c[column] for column in columns),
        sqlite_where=which,
        postgresql_where=which,
    )


_attempts_where("open_attempts", ("first_order",), ATTEMPTS.c.end_state.is_(None))
_attempts_where(
    "ended_attempts",
    ("enrollment_type", "latest", "end_state", "ended_ms", "attempt_ms"),
    ATTEMPTS.c.ended_ms.is_not(None),
)
_attempts_where(
    "failed_attempts",
    ("ended_ms",),
    ATTEMPTS.c.end_state.in_(("abandoned", "failed", "refused", "timed_out")),
)
_attempts_where(
    "portal_attempts",
    ("begun_ms",),
    ATTEMPTS.c.enrollment_type.in_(("ios", "android_enterprise")),
)

PRESENCE: Final = Table(
    "presence",
    METADATA,
    Column("device", _Name, primary_key=True),
    Column("stream", _Name, primary_key=True),
    Column("session", BigInteger, nullable=False),
    Column("state", String(16), nullable=False),
    Column("seen_ms", BigInteger, nullable=False),
)

CLEARED: Final = Table(
    "cleared",
    METADATA,
    Column("device", _Name, primary_key=True),
    Column("cleared_ms", BigInteger, nullable=False),
)
"""When the devices' retained messages were last taken out of the broker."""

ASSIGNMENTS: Final = Table(
    "assignments",
    METADATA,
    # Numbered by the store, so that a version grows within it whatever the device.
    Column("version", _Id, primary_key=True, autoincrement=True),
    Column("device", _Name, nullable=False),
    Column("attempt", _Name, nullable=False),
    Column("admitted", Boolean, nullable=False),
    Column("issued_ms", BigInteger, nullable=False),
    Column("decision", Text, nullable=False),
    Index("assignments_of_attempt", "device", "attempt"),
    sqlite_autoincrement=True,
)

COMMANDS: Final = Table(
    "commands",
    METADATA,
    Column("id", _Name, primary_key=True),
    Column("device", _Name, nullable=False, index=True),
    Column("attempt", _Name, nullable=False),
    Column("action", Text, nullable=False),
    Column("issued_by", _Name, nullable=False),
    Column("issued_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger, nullable=False),
    Column("attempt_ms_max", BigInteger, nullable=False),
    Column("executed", Boolean),
    Column("reason", Text, nullable=False, default=""),
    Column("cleared", Boolean, nullable=False, default=False),
    Column("sent_ms", BigInteger),
    Column("answered_ms", BigInteger),
    Column("finished_ms", BigInteger),
    Column("result", Text),
)
"""`executed` is null until the device has answered; `cleared` says that the retained message is gone.

The broker had it at `sent_ms`, and the work that it began on the device was over at `finished_ms`, with `result`.
"""

SETTINGS: Final = Table(
    "settings",
    METADATA,
    Column("name", String(64), primary_key=True),
    Column("value", Text, nullable=False),
)
"""Organization and admission rules, as JSON."""

PROFILES: Final = Table(
    "profiles",
    METADATA,
    Column("id", _Name, primary_key=True),
    Column("priority", BigInteger, nullable=False),
    Column("active", Boolean, nullable=False),
    Column("is_default", Boolean, nullable=False),
    Column("groups", JSON, nullable=False),
    Column("profile", Text, nullable=False),
)

CATALOGUE: Final = Table(
    "catalogue",
    METADATA,
    Column("enrollment_type", String(32), primary_key=True),
    Column("content", Text, nullable=False),
)

MEMBERS: Final = Table(
    "members",
    METADATA,
    Column("kind", String(8), primary_key=True),
    Column("member", _Name, primary_key=True),
    Column("group", _Name, primary_key=True),
)
"""`kind` is `user` or `device`; a user is kept without regard to case."""

REGISTRATIONS: Final = Table(
    "registrations",
    METADATA,
    Column("device", _Name, primary_key=True),
    Column("enrollment_type", String(32)),
    Column("user", _Name),
    Column("registered_ms", BigInteger, nullable=False),
)

ENROLLED_BEFORE: Final = Table(
    "enrolled_before",
    METADATA,
    Column("device", _Name, primary_key=True),
    Column("user", _Name, nullable=False),
    Column("user_key", _Name, nullable=False, index=True),
)
"""Enrollments from before this store; a stored success counts before them."""

TOKENS: Final = Table(
    "tokens",
    METADATA,
    Column("id", String(16), primary_key=True),
    Column("name", _Name, nullable=False),
    Column("role", String(16), nullable=False),
    Column("digest", String(64), nullable=False, unique=True),
    Column("issued_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger),
    Column("revoked_ms", BigInteger),
)
"""What opens the API, beside the token file. `digest` is SHA-256 of the token, which itself is kept nowhere."""

USERS: Final = Table("users", METADATA, Column("user_key", _Name, primary_key=True))
"""One row for each user who applied: what admission locks."""

STUCK: Final = Table(
    "stuck",
    METADATA,
    Column("device", _Name, primary_key=True),
    Column("attempt", _Name, primary_key=True),
    Column("item", _Name, primary_key=True),
    Column("try", Integer, primary_key=True),
    Column("name", _Name, nullable=False),
    Column("since_ms", BigInteger, nullable=False),
    Column("running_ms", BigInteger, nullable=False),
    Column("limit_ms", BigInteger, nullable=False),
    Column("basis", String(16), nullable=False),
    Column("observations", BigInteger, nullable=False),
)
"""The items that are stuck now; a row goes when its item moves on. Derived from events."""

POSITIONS: Final = Table(
    "positions",
    METADATA,
    Column("reader", String(32), primary_key=True),
    Column("position", BigInteger, nullable=False),
)
"""Up to which event each reader of the store has come."""

WEBHOOKS: Final = Table(
    "webhooks",
    METADATA,
    Column("id", String(64), primary_key=True),
    Column("url", Text, nullable=False),
    Column("kinds", JSON, nullable=False),
    Column("secret", Text, nullable=False),
    Column("allow_private", Boolean, nullable=False),
    Column("made_ms", BigInteger, nullable=False),
    Column("busy_until_ms", BigInteger, nullable=False, server_default="0"),
    Column("failing_since_ms", BigInteger),
    Column("last_problem", Text),
    Column("delivered", BigInteger, nullable=False, server_default="0"),
)
"""Who is told what; the secret signs and can't be kept as a hash. `busy_until_ms`: somebody delivers until then."""

WEBHOOK_QUEUE: Final = Table(
    "webhook_queue",
    METADATA,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("webhook", String(64), nullable=False),
    Column("message", String(64), nullable=False),
    Column("kind", String(32), nullable=False),
    Column("content", Text, nullable=False),
    Column("made_ms", BigInteger, nullable=False),
    Column("tries", Integer, nullable=False, server_default="0"),
    Column("next_ms", BigInteger, nullable=False),
    Column("given_up_ms", BigInteger),
    Column("problem", Text),
    Index("webhook_queue_of", "webhook", "given_up_ms", "id"),
)
"""What is still to be delivered, in the order of each webhook, and the newest that were given up."""

REMOVALS: Final = Table(
    "removals",
    METADATA,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("at_ms", BigInteger, nullable=False),
    Column("ended_before_ms", BigInteger, nullable=False),
    Column("attempts", BigInteger, nullable=False),
    Column("reports", BigInteger, nullable=False),
)
"""What retention removed, run by run."""
