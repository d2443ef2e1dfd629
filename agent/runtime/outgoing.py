"""What waits to be published in one session, for a writer that is told when there is something."""

from __future__ import annotations

from collections.abc import Callable

from agent.core import outgoing
from agent.core.outbox import SendReport
from agent.core.publications import Publication


class Outgoing(outgoing.Outgoing):
    """The order of the core, and a bell."""

    def __init__(self, envelope: Callable[[SendReport], Publication]) -> None:
        super().__init__(envelope)
        self._bell: Callable[[], None] | None = None

    def tell(self, bell: Callable[[], None] | None) -> None:
        """Whom to tell of something new, from now on; None while nobody can write."""
        self._bell = bell

    def wake(self) -> None:
        """See `agent.core.outgoing.Outgoing.wake`."""
        if self._bell is not None:
            self._bell()
