"""Decides what an incoming message is worth to one device: nothing in a payload is trusted before it is checked here."""

from __future__ import annotations

from collections.abc import Callable

from agent.core.events import CommandReceived, MessageRefused
from agent.wire.assignment import Assignment
from agent.wire.codec import SIGNATURE_TYPES, PayloadRefused, decode
from agent.wire.messages import Ack, CollectorState, Command, Signed
from agent.wire.topics import (
    Channel,
    CollectorTopic,
    DeviceTopic,
    device_topic,
    parse,
    partition_of,
)
from agent.wire.vocabulary import MessageKind, RefusalReason

Received = Ack | Assignment | CommandReceived | CollectorState | MessageRefused

Verify = Callable[[str, str], bytes]
"""The payload of a compact JWS whose header says this `typ`. Raises `SignatureRefused`."""

_OWN = {
    Channel.ACK: MessageKind.ACK,
    Channel.ASSIGNMENT: MessageKind.ASSIGNMENT,
    Channel.COMMAND: MessageKind.COMMAND,
}
"""What only the collector writes, and for one device alone."""


class SignatureRefused(Exception):
    """A signature that is not believed, and whether it is the key that is not."""

    def __init__(self, sentence: str, reason: RefusalReason = RefusalReason.SIGNATURE) -> None:
        super().__init__(sentence)
        self.reason = reason


class NotForUs(Exception):
    """A message that is refused: `reason` is one word to count by."""

    def __init__(self, reason: str, sentence: str, suspicious: RefusalReason | None = None) -> None:
        super().__init__(sentence)
        self.reason = reason
        self.suspicious = suspicious
        """None for what happens in normal life."""
        self.to_tell: MessageRefused | None = None
        """The input that has the collector told; None for what is harmless, and for what is told already."""


class Reader:
    """Reads what arrives for one device."""

    def __init__(self, tenant: str, device: str, stream: str, verify: Verify) -> None:
        self._tenant = tenant
        self._device = device
        self._stream = stream
        self._verify = verify
        self._partition = partition_of(device)
        self._ack_topic = str(device_topic(tenant, device, Channel.ACK))
        self._newest: dict[tuple[str, str], int] = {}
        self._told: set[tuple[MessageKind, RefusalReason]] = set()
        self._told_in: str | None = None

    def note_assignment(self, assignment: Assignment) -> None:
        """Remember an assignment that was taken, so that an older one of the same store is refused."""
        self._newest[assignment.attempt, assignment.store] = assignment.version

    def read(
        self, topic: str, payload: bytes, attempt: str | None, wall_ms: int
    ) -> Received | None:
        """The message, checked; None when there is nothing to do about it.

        Raises:
            NotForUs: it is refused.
        """
        if not payload:
            return None
        try:
            # By far most of what arrives needs no taking apart.
            if topic == self._ack_topic:
                return self._ack(payload)
            return self._other(topic, payload, attempt, wall_ms)
        except PayloadRefused as refusal:
            unreadable = NotForUs(refusal.reason, str(refusal), RefusalReason.UNREADABLE)
            raise self._judged(unreadable, topic, attempt) from None
        except NotForUs as refusal:
            raise self._judged(refusal, topic, attempt) from None

    def _other(
        self, topic: str, payload: bytes, attempt: str | None, wall_ms: int
    ) -> Received | None:
        try:
            where = parse(topic)
        except ValueError as error:
            raise NotForUs("topic", str(error)) from None
        match where:
            case CollectorTopic():
                return self._collector_state(where, payload)
            case DeviceTopic() if (where.tenant, where.device) != (self._tenant, self._device):
                raise NotForUs("other_device", "a topic of another device")
            case DeviceTopic(channel=Channel.ACK):
                return self._ack(payload)
            case DeviceTopic(channel=Channel.ASSIGNMENT):
                return self._assignment(payload, attempt)
            case DeviceTopic(channel=Channel.COMMAND, command=str() as command):
                return self._command(payload, command, wall_ms)
            case _:
                raise NotForUs("channel", "a channel that the device only writes")

    def _judged(self, refusal: NotForUs, topic: str, attempt: str | None) -> NotForUs:
        """With what there is to tell of it: each kind of message and reason once in an attempt, however many come.

        The machine holds to that over restarts; this keeps a flood away from it.
        """
        own = _own(topic)
        if own is None or refusal.suspicious is None:
            return refusal
        if attempt != self._told_in:
            self._told_in, self._told = attempt, set()
        if (own, refusal.suspicious) not in self._told:
            self._told.add((own, refusal.suspicious))
            refusal.to_tell = MessageRefused(message=own, reason=refusal.suspicious)
        return refusal

    def _collector_state(self, topic: CollectorTopic, payload: bytes) -> CollectorState:
        state = decode(CollectorState, payload)
        own = self._partition
        if (topic.tenant, topic.partition, state.partition) != (self._tenant, own, own):
            raise NotForUs("other_partition", "the collector of another partition")
        return state

    def _ack(self, payload: bytes) -> Ack | None:
        ack = decode(Ack, payload)
        if ack.device != self._device:
            sentence = "an acknowledgement for another device"
            raise NotForUs("other_device", sentence, RefusalReason.OTHER_DEVICE)
        if ack.stream != self._stream:
            # Retained from an earlier life of this device; the birth of this session replaces it.
            return None
        return ack

    def _assignment(self, payload: bytes, attempt: str | None) -> Assignment | None:
        assignment = decode(Assignment, self._opened(Channel.ASSIGNMENT, payload))
        if assignment.device != self._device:
            sentence = "an assignment for another device"
            raise NotForUs("other_device", sentence, RefusalReason.OTHER_DEVICE)
        if assignment.attempt != attempt:
            # Every new attempt meets the one that is retained from the attempt before.
            raise NotForUs("other_attempt", "an assignment for another attempt")
        newest = self._newest.get((assignment.attempt, assignment.store), 0)
        if assignment.version < newest:
            # What is delivered again may be late.
            raise NotForUs("older_version", "an assignment older than the one in use")
        return None if assignment.version == newest else assignment

    def _command(self, payload: bytes, topic_id: str, wall_ms: int) -> CommandReceived:
        command = decode(Command, self._opened(Channel.COMMAND, payload))
        if command.device != self._device:
            sentence = "a command for another device"
            raise NotForUs("other_device", sentence, RefusalReason.OTHER_DEVICE)
        if command.id != topic_id:
            sentence = "a command on the topic of another one"
            raise NotForUs("other_command", sentence, RefusalReason.OTHER_COMMAND)
        return CommandReceived(
            command=command, expired=wall_ms >= command.expires_at.timestamp() * 1000
        )

    def _opened(self, channel: Channel, payload: bytes) -> bytes:
        """What is inside a signed payload, once its signature was found good."""
        try:
            compact = decode(Signed, payload).compact
        except PayloadRefused as refusal:
            raise NotForUs(refusal.reason, str(refusal), RefusalReason.UNSIGNED) from None
        try:
            return self._verify(compact, SIGNATURE_TYPES[channel])
        except SignatureRefused as refusal:
            raise NotForUs("signature", str(refusal), refusal.reason) from None


def _own(topic: str) -> MessageKind | None:
    """What a topic carries for one device alone."""
    try:
        where = parse(topic)
    except ValueError:
        return None
    return _OWN.get(where.channel) if isinstance(where, DeviceTopic) else None
