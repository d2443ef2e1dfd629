"""How long reports wait between their arrival and their commit, told from a few looks at the clock a batch."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable


class Backlog:
    """Looks at the queue from outside, so that nothing is noted for each report.

    Who found the queue empty arrived when it was taken out. Of who was left over it is known between which two looks
    it arrived, and the earlier one counts: a wait is never told shorter than it was, and longer by one batch at most.
    """

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._looks: deque[tuple[int, float]] = deque([(0, now_s())])
        """How many had arrived until then, and when that was; the first one is older than all that wait."""
        self._taken = 0
        self._since_s: float | None = None
        self.in_hand = 0
        """How many the batch has that is not committed yet."""

    def first_taken(self, *, was_left_over: bool) -> None:
        """A batch begins with a report that was in the queue already, or came into an empty one."""
        self._taken += 1
        self.in_hand = 1
        while len(self._looks) > 1 and self._looks[1][0] < self._taken:
            self._looks.popleft()
        # What the database refused goes on waiting: its devices send it again.
        if self._since_s is None:
            self._since_s = self._looks[0][1] if was_left_over else self._now_s()

    def batch_taken(self, size: int, left_over: int) -> None:
        """The batch is complete; so many stay in the queue."""
        self._taken += size - 1
        self.in_hand = size
        self._looks.append((self._taken + left_over, self._now_s()))

    def committed(self) -> float:
        """The batch is stored and answered; returns for how long its oldest report had waited, in seconds."""
        waited_s = self.oldest_s()
        self._since_s = None
        self.in_hand = 0
        return waited_s

    def oldest_s(self) -> float:
        """For how long the oldest report that was taken out has waited, in seconds; 0 when none waits."""
        return 0.0 if self._since_s is None else self._now_s() - self._since_s
