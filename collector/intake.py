"""Intake: one stream's row and one message in, one decision out, so that a report is stored exactly once and in order."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, Literal

from pydantic import Field, JsonValue, ValidationError

from agent.wire.base import Count, DeviceId, Digest, Identifier, Message, Seq
from agent.wire.codec import PayloadRefused, canonical, chained, decode, digest
from agent.wire.events import Event
from agent.wire.topics import Channel, DeviceTopic, parse, partition_of


class Reason(StrEnum):
    """Why a payload was refused; these are counted."""

    OVERSIZED = "oversized"
    NOT_JSON = "not_json"
    UNKNOWN_SCHEMA = "unknown_schema"
    INVALID = "invalid"
    WRONG_TOPIC = "wrong_topic"
    WRONG_TENANT = "wrong_tenant"
    WRONG_PARTITION = "wrong_partition"
    WRONG_DEVICE = "wrong_device"
    INCONSISTENT = "inconsistent"


@dataclass(frozen=True, slots=True)
class StreamRow:
    """How far one stream is stored."""

    device: str
    stream: str
    last_seq: int = 0
    last_digest: str = ""
    """Of the last stored report; empty when there is none, or it could not be read."""


class Envelope(Message):
    """An event whose report can't be read, perhaps by a newer agent: enough of it to keep its stream going."""

    schema_: Literal["esp.event/1"] = Field(alias="schema")
    device: DeviceId
    stream: Identifier
    seq: Seq
    oldest_held: Seq
    after: Digest | None = None
    session: Count = 0
    report: JsonValue = None


@dataclass(frozen=True, slots=True)
class Readable:
    """A valid event."""

    event: Event


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A valid envelope around a report that can't be read."""

    envelope: Envelope
    sentence: str


@dataclass(frozen=True, slots=True)
class Refused:
    """Nothing that any stream could be asked about: set aside and counted, never answered."""

    reason: Reason
    sentence: str


Incoming = Readable | Unreadable


@dataclass(frozen=True, slots=True)
class Loss:
    """Numbers that this store will never have, and why."""

    first_seq: int
    last_seq: int
    cause: Literal["no_longer_held", "unreadable"]


@dataclass(frozen=True, slots=True)
class Accepted:
    """Store this event; `row` is the stream's row afterwards."""

    row: StreamRow
    event: Event
    digest: str
    content: str
    """The report as its digest covers it, which is how it is kept."""
    loss: Loss | None = None


@dataclass(frozen=True, slots=True)
class SetAside:
    """Store that this number can't be read and go on behind it, so that one report never blocks a stream."""

    row: StreamRow
    losses: tuple[Loss, ...]
    sentence: str


@dataclass(frozen=True, slots=True)
class Duplicate:
    """Stored already; answer with the current acknowledgement.

    `conflicting` is True when the last stored number came again with another content, which means that two journals
    share one stream.
    """

    row: StreamRow
    conflicting: bool = False


@dataclass(frozen=True, slots=True)
class Gap:
    """Something is missing before it; answer with the current acknowledgement, and the device sends from there."""

    row: StreamRow


@dataclass(frozen=True, slots=True)
class Fork:
    """The next number, but after another report than the last stored one: two histories share one stream.

    Answer with the current acknowledgement; by its digest the device learns that its journal is an older copy of
    itself, and tells the report again under another number.
    """

    row: StreamRow


Decision = Accepted | SetAside | Duplicate | Gap | Fork
"""Every decision carries the row that the acknowledgement states."""


TOPICS_MAX: Final = 20_000
"""So many topics are remembered; then it begins anew."""


class Reader:
    """Reads the messages of one tenant's `event` channel; what it found out about a topic it need not find out again."""

    def __init__(self, tenant: str) -> None:
        self._tenant = tenant
        self._agreed: dict[str, DeviceTopic] = {}
        """Topics of this tenant whose partition is that of their device."""

    def read(self, topic: str, payload: bytes) -> Incoming | Refused:
        """Take one message apart; topic, envelope and partition have to agree."""
        address = self._agreed.get(topic) or _address(topic)
        if isinstance(address, Refused):
            return address
        incoming = _read_payload(payload)
        if isinstance(incoming, Refused):
            return incoming
        event = _envelope(incoming)
        if topic not in self._agreed:
            refused = _misplaced(self._tenant, address, event)
            if refused is not None:
                return refused
            if len(self._agreed) >= TOPICS_MAX:
                self._agreed.clear()
            self._agreed[topic] = address
        return _disagreement(address, event) or incoming


def read(tenant: str, topic: str, payload: bytes) -> Incoming | Refused:
    """Take one message of the `event` channel apart; topic, envelope and partition have to agree."""
    return Reader(tenant).read(topic, payload)


def _address(topic: str) -> DeviceTopic | Refused:
    try:
        address = parse(topic)
    except ValueError as error:
        return Refused(Reason.WRONG_TOPIC, str(error))
    if not isinstance(address, DeviceTopic) or address.channel is not Channel.EVENT:
        return Refused(Reason.WRONG_TOPIC, f"'{topic}' carries no reports")
    return address


def _read_payload(payload: bytes) -> Incoming | Refused:
    try:
        return Readable(decode(Event, payload))
    except PayloadRefused as refused:
        reason, sentence = Reason(refused.reason), str(refused)
    except RecursionError:
        return Refused(Reason.INVALID, "nested too deeply")
    if reason is not Reason.INVALID:
        return Refused(reason, sentence)
    try:
        return Unreadable(Envelope.model_validate_json(payload), sentence)
    except (ValidationError, RecursionError):
        return Refused(reason, sentence)


def _envelope(incoming: Incoming) -> Event | Envelope:
    return incoming.event if isinstance(incoming, Readable) else incoming.envelope


def _misplaced(tenant: str, address: DeviceTopic, event: Event | Envelope) -> Refused | None:
    """What is wrong with a topic whatever it carries, once the envelope agrees with it."""
    if address.tenant != tenant:
        return Refused(Reason.WRONG_TENANT, f"tenant '{address.tenant}' is not '{tenant}'")
    if address.device != event.device:
        return _of_another(address, event)
    if address.partition != partition_of(event.device):
        sentence = f"'{event.device}' does not belong to partition {address.partition}"
        return Refused(Reason.WRONG_PARTITION, sentence)
    return None


def _of_another(address: DeviceTopic, event: Event | Envelope) -> Refused:
    sentence = f"the topic is of '{address.device}', the envelope of '{event.device}'"
    return Refused(Reason.WRONG_DEVICE, sentence)


def _disagreement(address: DeviceTopic, event: Event | Envelope) -> Refused | None:
    if address.device != event.device:
        return _of_another(address, event)
    if event.oldest_held > event.seq:
        sentence = f"number {event.seq} is sent while the oldest held is {event.oldest_held}"
        return Refused(Reason.INCONSISTENT, sentence)
    return None


def fold(row: StreamRow, incoming: Incoming) -> Decision:
    """Decide on one message of the row's stream.

    The next number is accepted when it continues the last stored report. A device that no longer holds the next number
    says so by `oldest_held`; intake then jumps exactly there and records what is lost. Everything else is a duplicate,
    a gap or a fork and changes nothing, so that folding the same message twice is the same as folding it once.
    """
    event = _envelope(incoming)
    assert (event.device, event.stream) == (row.device, row.stream), "the row is of another stream"
    wanted = max(row.last_seq + 1, event.oldest_held)
    if event.seq <= row.last_seq:
        return Duplicate(row, _conflicts(row, incoming))
    if event.seq != wanted:
        return Gap(row)
    loss = None
    if wanted > row.last_seq + 1:
        loss = Loss(row.last_seq + 1, wanted - 1, "no_longer_held")
    elif _forks(row, event):
        return Fork(row)
    if isinstance(incoming, Unreadable):
        unread = Loss(event.seq, event.seq, "unreadable")
        after = replace(row, last_seq=event.seq, last_digest="")
        return SetAside(after, (unread,) if loss is None else (loss, unread), incoming.sentence)
    content = canonical(incoming.event.report)
    link = chained(event.stream, event.seq, content, event.after)
    after = StreamRow(row.device, row.stream, event.seq, link)
    return Accepted(after, incoming.event, link, content, loss)


def _forks(row: StreamRow, event: Event | Envelope) -> bool:
    """An agent that names no report before its own, and a row without a digest, are believed."""
    return event.after is not None and row.last_digest not in ("", event.after)


def _conflicts(row: StreamRow, incoming: Incoming) -> bool:
    if not isinstance(incoming, Readable) or not row.last_digest:
        return False
    event = incoming.event
    if event.seq != row.last_seq:
        return False
    return digest(event.stream, event.seq, event.report, event.after) != row.last_digest
