"""Reception: decides what an incoming message is worth, and counts everything that is not for this device."""

from __future__ import annotations

import logging
from collections import Counter
from typing import TypeVar

from agent.core.events import CommandReceived
from agent.runtime.ports import Incoming, SignatureRefused, Verifier
from agent.wire.assignment import Assignment
from agent.wire.base import Message
from agent.wire.codec import SIGNATURE_TYPES, SIGNED_MODELS, PayloadRefused, decode
from agent.wire.messages import Ack, CollectorState, Command, Signed
from agent.wire.topics import Channel, CollectorTopic, DeviceTopic, parse, partition_of

logger = logging.getLogger(__name__)

_Signed = TypeVar("_Signed", bound=Message)

Received = Ack | Assignment | CommandReceived | CollectorState


class NotForUs(Exception):
    """A message that is refused: `reason` is one word to count by."""

    def __init__(self, reason: str, sentence: str) -> None:
        super().__init__(sentence)
        self.reason = reason


class Reception:
    """Reads what arrives for one device. Nothing in a payload is trusted before it is checked here."""

    def __init__(self, tenant: str, device: str, stream: str, verifier: Verifier) -> None:
        self._tenant = tenant
        self._device = device
        self._stream = stream
        self._verifier = verifier
        self._newest: dict[tuple[str, str], int] = {}
        self.refused: Counter[str] = Counter()
        """How many messages were refused, by reason."""

    def note_assignment(self, assignment: Assignment) -> None:
        """Remember an assignment that was taken, so that an older one of the same store is refused."""
        self._newest[assignment.attempt, assignment.store] = assignment.version

    def read(self, incoming: Incoming, attempt: str | None, wall_ms: int) -> Received | None:
        """The message, checked; None when there is nothing to do about it."""
        if not incoming.payload:
            return None
        try:
            return self._read(incoming, attempt, wall_ms)
        except NotForUs as refusal:
            self._count(refusal.reason, str(refusal), incoming.topic)
        except PayloadRefused as refusal:
            self._count(refusal.reason, str(refusal), incoming.topic)
        except SignatureRefused as refusal:
            self._count("signature", str(refusal), incoming.topic)
        return None

    def _read(self, incoming: Incoming, attempt: str | None, wall_ms: int) -> Received | None:
        try:
            topic = parse(incoming.topic)
        except ValueError as error:
            raise NotForUs("topic", str(error)) from None
        match topic:
            case CollectorTopic():
                return self._collector_state(topic, incoming.payload)
            case DeviceTopic() if (topic.tenant, topic.device) != (self._tenant, self._device):
                raise NotForUs("other_device", "a topic of another device")
            case DeviceTopic(channel=Channel.ACK):
                return self._ack(incoming.payload)
            case DeviceTopic(channel=Channel.ASSIGNMENT):
                return self._assignment(incoming.payload, attempt)
            case DeviceTopic(channel=Channel.COMMAND, command=str() as command):
                return self._command(incoming.payload, command, wall_ms)
            case _:
                raise NotForUs("channel", "a channel that the device only writes")

    def _collector_state(self, topic: CollectorTopic, payload: bytes) -> CollectorState:
        state = decode(CollectorState, payload)
        own = partition_of(self._device)
        if (topic.tenant, topic.partition, state.partition) != (self._tenant, own, own):
            raise NotForUs("other_partition", "the collector of another partition")
        return state

    def _ack(self, payload: bytes) -> Ack | None:
        ack = decode(Ack, payload)
        if ack.device != self._device:
            raise NotForUs("other_device", "an acknowledgement for another device")
        if ack.stream != self._stream:
            # Retained from an earlier life of this device; the birth of this session replaces it.
            return None
        return ack

    def _assignment(self, payload: bytes, attempt: str | None) -> Assignment | None:
        assignment = self._verified(Assignment, Channel.ASSIGNMENT, payload)
        if assignment.device != self._device:
            raise NotForUs("other_device", "an assignment for another device")
        if assignment.attempt != attempt:
            raise NotForUs("other_attempt", "an assignment for another attempt")
        newest = self._newest.get((assignment.attempt, assignment.store), 0)
        if assignment.version < newest:
            raise NotForUs("older_version", "an assignment older than the one in use")
        return None if assignment.version == newest else assignment

    def _command(self, payload: bytes, topic_id: str, wall_ms: int) -> CommandReceived:
        command = self._verified(Command, Channel.COMMAND, payload)
        if command.device != self._device:
            raise NotForUs("other_device", "a command for another device")
        if command.id != topic_id:
            raise NotForUs("other_command", "a command on the topic of another one")
        return CommandReceived(
            command=command, expired=wall_ms >= command.expires_at.timestamp() * 1000
        )

    def _verified(self, model: type[_Signed], channel: Channel, payload: bytes) -> _Signed:
        assert SIGNED_MODELS[channel] is model, "each channel carries one kind of signed message"
        compact = decode(Signed, payload).compact
        return decode(model, self._verifier.verify(compact, SIGNATURE_TYPES[channel]))

    def _count(self, reason: str, sentence: str, topic: str) -> None:
        self.refused[reason] += 1
        # A flood is told once for each reason; the counter has the rest.
        level = logging.WARNING if self.refused[reason] == 1 else logging.DEBUG
        logger.log(level, "refused a message on %s: %s", topic[:200], sentence)
