"""Every other payload: status, presence, acknowledgement, collector state, command, and the signature around two of them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from agent.wire.base import (
    Count,
    DeviceId,
    Digest,
    Identifier,
    Message,
    Milliseconds,
    Name,
    Partition,
    Timestamp,
    Wire,
)
from agent.wire.profile import Minutes
from agent.wire.progress import Progress
from agent.wire.vocabulary import Context


class Status(Message):
    """The `status` channel, retained: the whole Progress for anyone who looks in later."""

    schema_: Literal["esp.status/1"] = Field("esp.status/1", alias="schema")
    device: DeviceId
    stream: Identifier
    session: Count
    device_time: Timestamp
    progress: Progress


class Presence(Message):
    """The `presence` channel, retained: a birth, a planned goodbye, or the will."""

    schema_: Literal["esp.presence/1"] = Field("esp.presence/1", alias="schema")
    device: DeviceId
    stream: Identifier
    session: Count
    """Grows with every connection, so that a late will of an older session can be told and ignored."""
    state: Literal["online", "goodbye", "lost"]
    attempt: Identifier | None = None
    agent_version: Name


class Ack(Message):
    """The `ack` channel, retained: how far this stream is stored."""

    schema_: Literal["esp.ack/1"] = Field("esp.ack/1", alias="schema")
    device: DeviceId
    store: Identifier
    """The id of the collector's store; another one means another collector or another life of it."""
    term: Count
    stream: Identifier
    stored_seq: Count
    """Everything up to this number is stored; 0 when nothing is."""
    digest: Digest | None = None
    """Of the report that is stored under this number; none when nothing is, or it could not be read."""


class CollectorState(Message):
    """The `collector` topic of one partition, retained, and the collector's will."""

    schema_: Literal["esp.collector/1"] = Field("esp.collector/1", alias="schema")
    partition: Partition
    store: Identifier
    term: Count
    """The lease term; an older one than was seen is ignored."""
    state: Literal["online", "offline"]


class RetryPhase(Wire):
    """Try the failed phase again."""

    kind: Literal["retry_phase"] = "retry_phase"


class RetryItem(Wire):
    """Try one item again."""

    kind: Literal["retry_item"] = "retry_item"
    item: Identifier


class ContinueAnyway(Wire):
    """Let the person in although something failed."""

    kind: Literal["continue_anyway"] = "continue_anyway"


class ResetDevice(Wire):
    """Reset the device and start from nothing."""

    kind: Literal["reset_device"] = "reset_device"


class SkipAccountSetup(Wire):
    """Skip account setup."""

    kind: Literal["skip_account_setup"] = "skip_account_setup"


class ExtendTimeout(Wire):
    """Give a context more time."""

    kind: Literal["extend_timeout"] = "extend_timeout"
    context: Context
    minutes: Minutes


class CollectLogs(Wire):
    """Write a log archive on the device."""

    kind: Literal["collect_logs"] = "collect_logs"


class RefreshAssignment(Wire):
    """Take over the newest assignment in the middle of the attempt."""

    kind: Literal["refresh_assignment"] = "refresh_assignment"


CommandAction = Annotated[
    RetryPhase
    | RetryItem
    | ContinueAnyway
    | ResetDevice
    | SkipAccountSetup
    | ExtendTimeout
    | CollectLogs
    | RefreshAssignment,
    Field(discriminator="kind"),
]


class Command(Message):
    """The signed content of a `command/<id>` topic, for one attempt of one device."""

    schema_: Literal["esp.command/1"] = Field("esp.command/1", alias="schema")
    id: Identifier
    device: DeviceId
    attempt: Identifier
    action: CommandAction
    issued_by: Name
    issued_at: Timestamp
    expires_at: Timestamp
    attempt_ms_max: Milliseconds
    """Not executed once the attempt is older than this: holds even where the wall clock is wrong."""


class Signed(Wire):
    """A JWS in flattened JSON form (RFC 7515 §7.2.2): what travels for an assignment or a command."""

    protected: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]+$", max_length=2048)]
    payload: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]+$", max_length=65_536)]
    signature: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]+$", max_length=2048)]

    @property
    def compact(self) -> str:
        """The same JWS in compact form."""
        return f"{self.protected}.{self.payload}.{self.signature}"

    @classmethod
    def from_compact(cls, compact: str) -> Signed:
        """Split a compact JWS; ValueError when it has not three parts."""
        protected, payload, signature = compact.split(".")
        return cls(protected=protected, payload=payload, signature=signature)
