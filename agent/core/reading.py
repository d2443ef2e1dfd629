"""Decides what an incoming message is worth to one device: nothing in a payload is trusted before it is checked here."""

from __future__ import annotations

from collections.abc import Callable

from agent.core.events import CommandReceived
from agent.wire.assignment import Assignment
from agent.wire.codec import decode
from agent.wire.messages import Ack, CollectorState, Command
from agent.wire.topics import (
    Channel,
    CollectorTopic,
    DeviceTopic,
    device_topic,
    parse,
    partition_of,
)

Received = Ack | Assignment | CommandReceived | CollectorState

Opened = Callable[[Channel, bytes], bytes]
"""What is inside a signed payload of a channel, once its signature was found good."""


class NotForUs(Exception):
    """A message that is refused: `reason` is one word to count by."""

    def __init__(self, reason: str, sentence: str) -> None:
        super().__init__(sentence)
        self.reason = reason


class Reader:
    """Reads what arrives for one device."""

    def __init__(self, tenant: str, device: str, stream: str, opened: Opened) -> None:
        self._tenant = tenant
        self._device = device
        self._stream = stream
        self._opened = opened
        self._partition = partition_of(device)
        self._ack_topic = str(device_topic(tenant, device, Channel.ACK))
        self._newest: dict[tuple[str, str], int] = {}

    def note_assignment(self, assignment: Assignment) -> None:
        """Remember an assignment that was taken, so that an older one of the same store is refused."""
        self._newest[assignment.attempt, assignment.store] = assignment.version

    def read(
        self, topic: str, payload: bytes, attempt: str | None, wall_ms: int
    ) -> Received | None:
        """The message, checked; None when there is nothing to do about it.

        Raises:
            NotForUs: it is refused.
            PayloadRefused: it can't be read.
        """
        if not payload:
            return None
        # By far most of what arrives needs no taking apart.
        if topic == self._ack_topic:
            return self._ack(payload)
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

    def _collector_state(self, topic: CollectorTopic, payload: bytes) -> CollectorState:
        state = decode(CollectorState, payload)
        own = self._partition
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
        assignment = decode(Assignment, self._opened(Channel.ASSIGNMENT, payload))
        if assignment.device != self._device:
            raise NotForUs("other_device", "an assignment for another device")
        if assignment.attempt != attempt:
            raise NotForUs("other_attempt", "an assignment for another attempt")
        newest = self._newest.get((assignment.attempt, assignment.store), 0)
        if assignment.version < newest:
            raise NotForUs("older_version", "an assignment older than the one in use")
        return None if assignment.version == newest else assignment

    def _command(self, payload: bytes, topic_id: str, wall_ms: int) -> CommandReceived:
        command = decode(Command, self._opened(Channel.COMMAND, payload))
        if command.device != self._device:
            raise NotForUs("other_device", "a command for another device")
        if command.id != topic_id:
            raise NotForUs("other_command", "a command on the topic of another one")
        return CommandReceived(
            command=command, expired=wall_ms >= command.expires_at.timestamp() * 1000
        )
