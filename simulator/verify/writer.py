"""One MQTT session of a simulated device: what waits to be published in it, and in which order it leaves."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from agent.core import link as links
from agent.core.outbox import SendReport
from simulator.verify.broker import Broker, Connection

REPORTS_AT_ONCE: Final = 16
"""How many reports are on their way to the broker together."""


@dataclass(frozen=True, slots=True)
class Publication:
    """One message to publish."""

    topic: str
    payload: bytes
    retain: bool = True


class Speaker(Protocol):
    """Whose session it is."""

    def tell_link(self, event: links.Event) -> None:
        """Something became of the connection."""
        ...

    def receive(self, topic: str, payload: bytes) -> None:
        """A message arrived."""
        ...

    def wake(self) -> None:
        """Look again."""
        ...

    def publication(self, send: SendReport) -> Publication:
        """A report in its envelope."""
        ...

    def draw(self) -> float:
        """A number in [0, 1) for the link."""
        ...


class Writer:
    """Births first, then reports, then the newest status, and the goodbye after everything; as the driver's session."""

    def __init__(
        self,
        broker: Broker,
        speaker: Speaker,
        client_id: str,
        filters: Sequence[str],
        will: Publication,
    ) -> None:
        self.connection = Connection(self, client_id, filters, (will.topic, will.payload))
        self._broker = broker
        self._speaker = speaker
        self._births: deque[Publication] = deque()
        self._reports: deque[SendReport] = deque()
        self._status: Publication | None = None
        self._goodbye: Publication | None = None
        self._on_the_way = 0
        self._is_closing = False
        self.is_over = False

    # What the device says.

    def birth(self, publication: Publication) -> None:
        """Say that this session is online."""
        self._births.append(publication)

    def report(self, send: SendReport) -> None:
        """Add a report; one that goes back takes the place of those that have not left yet."""
        if self._reports and send.seq <= self._reports[-1].seq:
            self._reports.clear()
        self._reports.append(send)

    def drop_reports(self) -> None:
        """Hold the reports that have not left yet."""
        self._reports.clear()

    def status(self, publication: Publication) -> None:
        """Replace the status that has not left yet."""
        self._status = publication

    def goodbye(self, publication: Publication) -> None:
        """Say goodbye after everything else."""
        self._goodbye = publication

    def close(self) -> None:
        """End the connection once it is idle; one that still connects is cut off."""
        self._is_closing = True
        if not self.connection.is_open:
            self.is_over = True

    def write(self) -> None:
        """Let leave what may leave now."""
        while self.connection.is_open and self._on_the_way == 0 and self._write_next():
            pass
        if self._is_closing and self._on_the_way == 0 and self.connection.is_open:
            self.is_over = True
            self._broker.disconnect(self.connection)

    def _write_next(self) -> bool:
        if self._births:
            self._publish(self._births.popleft())
        elif self._reports:
            for _ in range(min(REPORTS_AT_ONCE, len(self._reports))):
                self._publish(self._speaker.publication(self._reports.popleft()))
        elif self._status is not None:
            status, self._status = self._status, None
            self._publish(status)
        elif self._goodbye is not None:
            goodbye, self._goodbye = self._goodbye, None
            self._publish(goodbye, then_said=True)
        else:
            return False
        return True

    def _publish(self, publication: Publication, *, then_said: bool = False) -> None:
        self._on_the_way += 1

        def acknowledged() -> None:
            self._on_the_way -= 1
            if then_said:
                self._speaker.tell_link(links.GoodbyeSaid())
            self._speaker.wake()

        self._broker.publish(
            self.connection,
            publication.topic,
            publication.payload,
            retain=publication.retain,
            acknowledged=acknowledged,
        )

    # What the broker says: see `Client`.

    def opened(self) -> None:
        """See `Client.opened`."""
        if self.is_over:
            self._broker.disconnect(self.connection)
            return
        self._speaker.tell_link(links.ConnectionOpened())

    def closed(self, reason: str) -> None:
        """See `Client.closed`."""
        if not self.is_over:
            self.is_over = True
            self._speaker.tell_link(links.ConnectionLost(reason, self._speaker.draw()))

    def received(self, topic: str, payload: bytes) -> None:
        """See `Client.received`."""
        if not self.is_over:
            self._speaker.receive(topic, payload)
