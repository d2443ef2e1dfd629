"""The scheduler of simulated time: one heap, with a counter that keeps things of the same time in order."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

T = TypeVar("T")


class Kernel(Generic[T]):
    """What is due, by time and then in the order in which it was put in."""

    __slots__ = ("_count", "_heap")

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, T]] = []
        self._count = 0

    def put(self, at_ms: int, thing: T) -> None:
        """Schedule one thing."""
        heapq.heappush(self._heap, (at_ms, self._count, thing))
        self._count += 1

    def put_all(self, things: Iterable[tuple[int, T]]) -> None:
        """Schedule several things, each with its time."""
        for at_ms, thing in things:
            heapq.heappush(self._heap, (at_ms, self._count, thing))
            self._count += 1

    def next_ms(self) -> int | None:
        """When the next thing is due; None when there is none."""
        return self._heap[0][0] if self._heap else None

    def take(self) -> tuple[int, T]:
        """The next thing with its time."""
        at_ms, _, thing = heapq.heappop(self._heap)
        return at_ms, thing

    def take_by(self, limit_ms: int | None) -> tuple[int, T] | None:
        """The next thing with its time if it is due by then; None stands for any time."""
        heap = self._heap
        if not heap or (limit_ms is not None and heap[0][0] > limit_ms):
            return None
        at_ms, _, thing = heapq.heappop(heap)
        return at_ms, thing

    def discard(self, unwanted: Callable[[T], bool]) -> None:
        """Remove every thing that is unwanted."""
        self._heap = [entry for entry in self._heap if not unwanted(entry[2])]
        heapq.heapify(self._heap)

    def __len__(self) -> int:
        return len(self._heap)
