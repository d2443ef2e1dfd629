"""What a device says on the wire, made of what its machines know, as topic and bytes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from agent.core.enrollment import Enrollment
from agent.core.link import Link
from agent.core.outbox import Outbox, SendReport, content_of
from agent.wire import codec
from agent.wire.messages import Presence, Status
from agent.wire.topics import Channel, device_topic


@dataclass(frozen=True, slots=True)
class Publication:
    """One MQTT message to publish."""

    topic: str
    payload: bytes
    retain: bool


class Publications:
    """Writes the messages of one life of the agent; each says what the machines know at that moment."""

    def __init__(
        self,
        tenant: str,
        device: str,
        agent_version: str,
        machine: Enrollment,
        outbox: Outbox,
        link: Link,
    ) -> None:
        self._device = device
        self._agent_version = agent_version
        self._machine = machine
        self._outbox = outbox
        self._link = link
        self._event_topic, self._status_topic, self._presence_topic = (
            str(device_topic(tenant, device, channel))
            for channel in (Channel.EVENT, Channel.STATUS, Channel.PRESENCE)
        )

    def report(self, send: SendReport) -> Publication:
        """A numbered report in its envelope."""
        payload = codec.encode_event(
            self._device,
            self._outbox.stream,
            send.seq,
            send.oldest_held,
            send.after,
            self._link.session,
            send.content or content_of(send.report),
        )
        return Publication(self._event_topic, payload, retain=False)

    def presence(self, state: Literal["online", "goodbye", "lost"]) -> Publication:
        """A birth, a goodbye, or the will of a session."""
        presence = Presence(
            device=self._device,
            stream=self._outbox.stream,
            session=self._link.session,
            state=state,
            attempt=self._machine.attempt,
            agent_version=self._agent_version,
        )
        return Publication(self._presence_topic, codec.encode(presence), retain=True)

    def status(self, passed_ms: int, wall_ms: int) -> Publication:
        """The snapshot so long after the last input, sent at this wall-clock time (milliseconds since 1970)."""
        sent_at = datetime.fromtimestamp(wall_ms / 1000, UTC)
        device, stream, session = self._device, self._outbox.stream, self._link.session
        text = self._machine.progress_text_after(passed_ms)
        payload = codec.encode_status_text(device, stream, session, codec.time_text(sent_at), text)
        if payload is None:
            status = Status(
                device=device,
                stream=stream,
                session=session,
                device_time=sent_at,
                progress=self._machine.progress_after(passed_ms),
            )
            payload = codec.encode_status(status)
        return Publication(self._status_topic, payload, retain=True)
