"""What goes into the store and what comes out of it, apart from how it is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from collector.intake import (
    Accepted,
    Decision,
    Incoming,
    Loss,
    Readable,
    Refused,
    StreamRow,
    Unreadable,
)

Key = tuple[str, str]
"""Device and stream, or device and attempt."""


class TermLost(Exception):
    """Another collector owns the partition now; what was about to be committed was not."""

    def __init__(self, partition: str, term: int) -> None:
        super().__init__(f"partition {partition} has another owner since term {term}")
        self.partition = partition
        self.term = term
        """The term that is over."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """One report as it arrived at the owner of its partition."""

    partition: str
    term: int
    incoming: Incoming

    @property
    def key(self) -> Key:
        """Device and stream."""
        match self.incoming:
            case Readable(event=event):
                return (event.device, event.stream)
            case Unreadable(envelope=envelope):
                return (envelope.device, envelope.stream)


@dataclass(frozen=True, slots=True)
class RefusedPayload:
    """One payload that no stream could be asked about."""

    topic: str
    refused: Refused
    payload_bytes: int
    payload_head: bytes


@dataclass(frozen=True, slots=True)
class Committed:
    """What one commit did. `rows` are the streams to acknowledge, duplicates and gaps included."""

    rows: dict[Key, StreamRow]
    decisions: tuple[Decision, ...]
    started: tuple[Key, ...]
    """Device and attempt of each attempt that asks to be admitted."""
    answered: tuple[tuple[str, str], ...]
    """Device and id of each command that was answered."""
    orders: Sequence[int] = ()
    """The numbers of the stored reports, ascending."""
    stored: Sequence[Accepted] = ()
    """The stored reports, in the same order."""
    platforms: Mapping[Key, str] = field(default_factory=dict)
    """Of each attempt that they are of, by device and attempt."""


@dataclass(frozen=True, slots=True)
class StoredRow:
    """One stored report, for the audit. `times` is how often it is stored."""

    device: str
    stream: str
    seq: int
    digest: str
    times: int


@dataclass(frozen=True, slots=True)
class LossRow:
    """A recorded loss, for the audit and for people."""

    device: str
    stream: str
    loss: Loss
    recorded_ms: int
