"""What waits to be published in one session, in the order in which it goes."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from agent.core.outbox import SendReport

REPORTS_AT_ONCE = 16
"""How many reports are on their way to the broker together."""


@dataclass(frozen=True, slots=True)
class Publication:
    """One MQTT message to publish."""

    topic: str
    payload: bytes
    retain: bool


class Outgoing:
    """Births first, then reports, then the newest status, and the goodbye after everything."""

    def __init__(self) -> None:
        self._births: deque[Publication] = deque()
        self._reports: deque[SendReport] = deque()
        self._status: Publication | None = None
        self._goodbye: Publication | None = None
        self._is_closed = False
        self._ready = asyncio.Event()

    @property
    def is_closed(self) -> bool:
        """True when the connection is to be ended."""
        return self._is_closed

    def birth(self, publication: Publication) -> None:
        """Add a birth."""
        self._births.append(publication)
        self.wake()

    def report(self, send: SendReport) -> None:
        """Add a report. One that goes back takes the place of those that have not left yet."""
        if self._reports and send.seq <= self._reports[-1].seq:
            self._reports.clear()
        self._reports.append(send)
        self.wake()

    def drop_reports(self) -> None:
        """Hold the reports that have not left yet."""
        self._reports.clear()

    def status(self, publication: Publication) -> None:
        """Replace the status that has not left yet."""
        self._status = publication
        self.wake()

    def goodbye(self, publication: Publication) -> None:
        """Say goodbye after everything else."""
        self._goodbye = publication
        self.wake()

    def close(self) -> None:
        """End the connection once it is idle."""
        self._is_closed = True
        self.wake()

    def wake(self) -> None:
        """Let whoever waits look again."""
        self._ready.set()

    async def wait(self) -> None:
        """Wait until there is something new to look at."""
        await self._ready.wait()
        self._ready.clear()

    def take_reports(self) -> Sequence[SendReport]:
        """The next reports, once the births have left."""
        if self._births:
            return ()
        return [self._reports.popleft() for _ in range(min(REPORTS_AT_ONCE, len(self._reports)))]

    def take_single(self) -> Publication | None:
        """The next birth or, when no report waits, the status."""
        if self._births:
            return self._births.popleft()
        status, self._status = self._status, None
        return status

    def take_goodbye(self) -> Publication | None:
        """The goodbye; to be asked for when nothing else waits."""
        goodbye, self._goodbye = self._goodbye, None
        return goodbye
