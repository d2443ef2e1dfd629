"""Reception: opens what arrives for one device, and counts everything that is refused."""

from __future__ import annotations

import logging
from collections import Counter

from agent.core.reading import NotForUs, Reader, Received
from agent.runtime.ports import Incoming, Verifier
from agent.wire.assignment import Assignment

logger = logging.getLogger(__name__)


class Reception:
    """Reads what arrives for one device, with signatures checked."""

    def __init__(self, tenant: str, device: str, stream: str, verifier: Verifier) -> None:
        self._reader = Reader(tenant, device, stream, verifier.verify)
        self.refused: Counter[str] = Counter()
        """How many messages were refused, by reason."""

    def note_assignment(self, assignment: Assignment) -> None:
        """Remember an assignment that was taken, so that an older one of the same store is refused."""
        self._reader.note_assignment(assignment)

    def read(self, incoming: Incoming, attempt: str | None, wall_ms: int) -> Received | None:
        """The message, checked; None when there is nothing to do about it."""
        try:
            return self._reader.read(incoming.topic, incoming.payload, attempt, wall_ms)
        except NotForUs as refusal:
            self._count(refusal.reason, str(refusal), incoming.topic)
            return refusal.to_tell

    def _count(self, reason: str, sentence: str, topic: str) -> None:
        self.refused[reason] += 1
        # A flood is told once for each reason; the counter has the rest.
        level = logging.WARNING if self.refused[reason] == 1 else logging.DEBUG
        logger.log(level, "refused a message on %s: %s", topic[:200], sentence)
