"""Decides when reports are sent again, from how long the collector takes to answer.

A report that is not acknowledged is lost, or waits in a queue before a collector that is behind. What is sent again in
the second case only makes the queue longer, and a thousand devices that do so after an outage keep it long for good. So:

- What is late is asked for with the first report alone. If its acknowledgement comes and those of the reports behind it
  follow, nothing was lost; if they do not follow within a moment, all of them were, and all are sent again (the idea
  of F-RTO, RFC 5682, for acknowledgements that are never merged with a repetition's).
- Late is what takes more than twice as long as the last answer took, counted from when that report was first sent
  (RFC 6298 asks for more samples; one is enough where the least pause is seconds and the queue is the collector's).
- An acknowledgement that says nothing new means a gap, or answers a repetition. It is believed to mean a gap only when
  an answer would have come by now, and ever more seldom.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from agent.core.backoff import doubled


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How patiently reports are sent again. Times are milliseconds."""

    late_ms: int = 5_000
    """No answer is late before this."""
    late_ms_max: int = 120_000
    repeat_ms: int = 500
    """An acknowledgement that says nothing new asks for everything again if the last sending is so long ago at least."""


class Again(Enum):
    """What to send again."""

    NOTHING = auto()
    FIRST = auto()
    """The first report without an acknowledgement, to see whether anything is missing."""
    ALL = auto()


class Pace:
    """The pace of one outbox."""

    __slots__ = (
        "_deadline_ms",
        "_delay_ms",
        "_is_in_doubt",
        "_patience",
        "_probed",
        "_repeats",
        "_sent_ms",
        "_tries",
    )

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._sent_ms: dict[int, int] = {}
        self._delay_ms = 0
        self._deadline_ms: int | None = None
        self._probed: int | None = None
        self._is_in_doubt = False
        self._tries = 0
        self._repeats = 0

    @property
    def deadline_ms(self) -> int | None:
        """When to ask `due`."""
        return self._deadline_ms

    @property
    def is_late(self) -> bool:
        """An answer was late, and none has come since."""
        return self._tries > 0

    def sent(self, seq: int, now_ms: int) -> None:
        """A report went out."""
        self._sent_ms.setdefault(seq, now_ms)
        if self._deadline_ms is None:
            self._deadline_ms = now_ms + self._late_after_ms()

    def held(self) -> None:
        """Nothing is sent for now, and nothing is on its way."""
        self._sent_ms.clear()
        self._deadline_ms = None
        self._probed = None
        self._is_in_doubt = False

    def answered(self, through: int, now_ms: int) -> None:
        """Everything up to this number is stored, and before it was not."""
        sent_ms = self._sent_ms.get(through)
        if sent_ms is not None:
            self._delay_ms = now_ms - sent_ms
        for seq in [seq for seq in self._sent_ms if seq <= through]:
            del self._sent_ms[seq]
        self._is_in_doubt = through == self._probed and bool(self._sent_ms)
        self._probed = None
        self._tries = self._repeats = 0
        if not self._sent_ms:
            self._deadline_ms = None
        elif self._is_in_doubt:
            # The reports behind it stand next to it in the collector's queue, but for those of other devices.
            self._deadline_ms = now_ms + max(self._patience.repeat_ms, self._delay_ms // 4)
        else:
            self._deadline_ms = now_ms + self._late_after_ms()

    def repeated(self, now_ms: int) -> Again:
        """An acknowledgement came that says nothing new."""
        patience, first_ms = self._patience, min(self._sent_ms.values(), default=None)
        pause_ms = doubled(patience.repeat_ms, self._repeats, patience.late_ms)
        pause_ms = max(pause_ms, min(2 * self._delay_ms, patience.late_ms_max))
        if first_ms is None or now_ms - first_ms < pause_ms:
            return Again.NOTHING
        self._repeats += 1
        self.held()
        return Again.ALL

    def due(self, now_ms: int) -> Again:
        """Ask when the deadline has come."""
        if self._deadline_ms is None or now_ms < self._deadline_ms:
            return Again.NOTHING
        if self._is_in_doubt:
            self.held()
            return Again.ALL
        self._tries += 1
        self._probed = min(self._sent_ms)
        self._deadline_ms = now_ms + self._late_after_ms()
        return Again.FIRST

    def nothing_waits(self) -> None:
        """Everything is stored."""
        self.held()
        self._tries = 0

    def _late_after_ms(self) -> int:
        patience = self._patience
        least_ms = max(patience.late_ms, min(2 * self._delay_ms, patience.late_ms_max))
        return doubled(least_ms, self._tries, patience.late_ms_max)
