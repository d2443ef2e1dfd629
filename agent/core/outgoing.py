"""What waits to be published in one session, in the order in which it goes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from agent.core.outbox import SendReport
from agent.core.publications import Publication

REPORTS_AT_ONCE = 16
"""How many reports are on their way to the broker together."""


@dataclass(frozen=True, slots=True)
class Departure:
    """What leaves together, in this order, before anything else may."""

    publications: Sequence[Publication]
    is_goodbye: bool = False


class Outgoing:
    """Births first, then reports, then the newest status, and the goodbye after everything.

    Args:
        envelope: puts a report into its envelope, at the moment at which it leaves.
    """

    def __init__(self, envelope: Callable[[SendReport], Publication]) -> None:
        self._envelope = envelope
        self._births: deque[Publication] = deque()
        self._reports: deque[SendReport] = deque()
        self._status: Publication | None = None
        self._goodbye: Publication | None = None
        self._is_closed = False

    @property
    def is_closed(self) -> bool:
        """True when the connection is to be ended once nothing is left."""
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
        """Told that there is something new to look at; whoever waits for that overrides it."""

    def take(self) -> Departure | None:
        """What leaves next; None when nothing waits."""
        if self._births:
            return Departure((self._births.popleft(),))
        if self._reports:
            count = min(REPORTS_AT_ONCE, len(self._reports))
            return Departure([self._envelope(self._reports.popleft()) for _ in range(count)])
        if self._status is not None:
            status, self._status = self._status, None
            return Departure((status,))
        if self._goodbye is not None:
            goodbye, self._goodbye = self._goodbye, None
            return Departure((goodbye,), is_goodbye=True)
        return None
