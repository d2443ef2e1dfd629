"""The tables of the store; events are what happened, everything marked as derived can be folded from them again."""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
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

VERSION: Final = 1

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
)
"""The term of each partition's present owner; a commit of an older term fails."""

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
    Index("latest_attempts", "device", "latest"),
)
"""Derived from events. `user_key` is the user's name without regard to case."""

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
)
"""`executed` is null until the device has answered; `cleared` says that the retained message is gone."""

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

USERS: Final = Table("users", METADATA, Column("user_key", _Name, primary_key=True))
"""One row for each user who applied: what admission locks."""
