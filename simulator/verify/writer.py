"""One MQTT session of a simulated device: what waits to be published in it, and in which order it leaves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from agent.core import link as links
from agent.core.outbox import SendReport
from agent.core.outgoing import Departure, Outgoing
from agent.core.publications import Publication
from simulator.verify.broker import Broker, Connection


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


class Writer(Outgoing):
    """Carries what leaves, one departure at a time; as the agent's session."""

    def __init__(
        self,
        broker: Broker,
        speaker: Speaker,
        client_id: str,
        filters: Sequence[str],
        will: Publication,
    ) -> None:
        super().__init__(speaker.publication)
        self.connection = Connection(self, client_id, filters, (will.topic, will.payload))
        self._broker = broker
        self._speaker = speaker
        self._on_the_way = 0
        self.is_over = False

    # What the device says.

    def close(self) -> None:
        """End the connection once it is idle; one that still connects is cut off."""
        super().close()
        if not self.connection.is_open:
            self.is_over = True

    def end(self) -> None:
        """The agent ends, and with it the connection, whatever is still on its way."""
        if not self.is_over:
            self.is_over = True
            if self.connection.is_open:
                self._broker.disconnect(self.connection)

    def write(self) -> None:
        """Let leave what may leave now."""
        while self.connection.is_open and self._on_the_way == 0:
            departure = self.take()
            if departure is None:
                break
            self._leave(departure)
        if self.is_closed and self._on_the_way == 0 and self.connection.is_open:
            self.is_over = True
            self._broker.disconnect(self.connection)

    def _leave(self, departure: Departure) -> None:
        for publication in departure.publications:
            self._publish(publication, then_said=departure.is_goodbye)

    def _publish(self, publication: Publication, *, then_said: bool) -> None:
        self._on_the_way += 1

        def acknowledged() -> None:
            self._on_the_way -= 1
            if then_said:
                self._speaker.tell_link(links.GoodbyeSaid())
            self.write()

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
