"""The inbox: one device's events in the order of their stamps, so that live and virtual runs see the same order."""

from __future__ import annotations

import heapq
from collections.abc import Callable

from agent.core.events import Event


class Inbox:
    """Events ordered by stamp (device time, ms); those with the same stamp in the order of arrival."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Event]] = []
        self._arrivals = 0

    def __len__(self) -> int:
        return len(self._heap)

    @property
    def next_ms(self) -> int | None:
        """The earliest stamp; None when the inbox is empty."""
        return self._heap[0][0] if self._heap else None

    def put(self, event: Event, at_ms: int) -> None:
        """Add an event; its stamp may lie in the future."""
        self._arrivals += 1
        heapq.heappush(self._heap, (at_ms, self._arrivals, event))

    def take(self) -> tuple[Event, int]:
        """Remove the earliest event; returned with its stamp."""
        at_ms, _, event = heapq.heappop(self._heap)
        return event, at_ms

    def discard(self, unwanted: Callable[[Event], bool]) -> None:
        """Remove every event that is unwanted."""
        self._heap = [entry for entry in self._heap if not unwanted(entry[2])]
        heapq.heapify(self._heap)
