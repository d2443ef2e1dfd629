"""Lines that the devices of a site share, played on the scaled clock by the one process that has all of them."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final

from simulator.endpoint import Downloaded
from simulator.population import SimulatedDevice
from simulator.site import DeviceLine, Download, Reached, SharedLine

HOLD_S: Final = 0.15
"""Real time by which a line lags behind its devices, so that whatever they tell it arrives in the order of its stamps."""
HOLD_S_MAX: Final = 1.5


class SharedLines:
    """The shared lines of a live fleet; their clock begins with the fleet.

    Args:
        devices: all that this process has.
        speed: device time per real time.
        elapsed_s: how long ago the fleet began, in real seconds.
    """

    def __init__(
        self, devices: Iterable[SimulatedDevice], speed: float, elapsed_s: float = 0.0
    ) -> None:
        loop = asyncio.get_running_loop()
        began_s = loop.time() - elapsed_s
        clock = partial(_site_ms, loop, began_s, speed)
        self._lines = {
            device.cohort: _LiveLine(SharedLine.of(device.site), clock, speed)
            for device in devices
            if device.site is not None and device.shares_a_line
        }

    def end(self, device: SimulatedDevice) -> LiveEnd | None:
        """The device's end of its site's line, from the moment when it is switched on; None if it shares none."""
        line = self._lines.get(device.cohort)
        return None if line is None else LiveEnd(line, device)

    def close(self) -> None:
        """Nothing more is told to anybody."""
        for line in self._lines.values():
            line.close()


def _site_ms(loop: asyncio.AbstractEventLoop, began_s: float, speed: float) -> float:
    return (loop.time() - began_s) * 1000 * speed


class LiveEnd:
    """One device's end of a live line; a `Line` for its endpoint model."""

    def __init__(self, line: _LiveLine, device: SimulatedDevice) -> None:
        self._live = line
        self._device = DeviceLine(line, device.index, device.starts_at_ms)
        self._index = device.index
        self._under_way: set[str] = set()
        self._starts_at_ms = device.starts_at_ms
        self._tell: Downloaded | None = None

    def attach(self, downloaded: Downloaded) -> None:
        """See `LineEnd.attach`."""
        self._tell = downloaded
        self._live.connect(self._index, self._starts_at_ms, self._hear)

    def begin(
        self,
        item: str,
        size_bytes: int,
        megabits_per_second: float,
        at_ms: int,
        *,
        breaks_after_ms: int | None = None,
    ) -> None:
        """See `Line.begin`."""
        self._under_way.add(item)
        self._device.begin(
            item, size_bytes, megabits_per_second, at_ms, breaks_after_ms=breaks_after_ms
        )

    def cancel(self, item: str, at_ms: int) -> None:
        """See `Line.cancel`."""
        self._under_way.discard(item)
        self._device.cancel(item, at_ms)

    def _hear(self, reached: Reached) -> None:
        item = reached.download.item
        # What was reached just before a cancellation arrives after it, and counts no more.
        if item not in self._under_way or not self._device.is_latest(reached.download):
            return
        if reached.broke or reached.percent == 100:
            self._under_way.discard(item)
        assert self._tell is not None, "an end is attached before it is used"
        at_ms = self._device.device_ms(reached)
        self._tell(item, reached.percent, at_ms, broke=reached.broke)


class _LiveLine:
    """One shared line. What devices tell it waits until it is old enough, and is then done in the order of its stamps."""

    def __init__(self, line: SharedLine, clock: Callable[[], float], speed: float) -> None:
        self._line = line
        self._clock = clock
        self._speed = speed
        self._hold_ms = HOLD_S * 1000 * speed
        self._told: list[tuple[int, int, Callable[[], None]]] = []
        self._count = 0
        self._hear: dict[int, Callable[[Reached], None]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def connect(self, device: int, starts_at_ms: int, hear: Callable[[Reached], None]) -> None:
        """A device is switched on; the line lags behind one that is late, as those are that wait for a connection."""
        self._hear[device] = hear
        late_ms = self._clock() - starts_at_ms
        if late_ms <= (HOLD_S_MAX - HOLD_S) * 1000 * self._speed:
            self._hold_ms = max(self._hold_ms, late_ms + HOLD_S * 1000 * self._speed)

    def join(
        self,
        at_ms: int,
        download: Download,
        size_bytes: int,
        megabits_per_second: float,
        *,
        breaks_after_ms: int | None = None,
    ) -> None:
        """See `SharedLine.join`."""
        self._do(
            at_ms,
            partial(
                self._line.join,
                at_ms,
                download,
                size_bytes,
                megabits_per_second,
                breaks_after_ms=breaks_after_ms,
            ),
        )

    def leave(self, at_ms: int, download: Download) -> None:
        """See `SharedLine.leave`."""
        self._do(at_ms, partial(self._line.leave, at_ms, download))

    def close(self) -> None:
        """Nothing more happens."""
        self._told.clear()
        self._hear.clear()
        if self._timer is not None:
            self._timer.cancel()

    def _do(self, at_ms: int, action: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._told, (at_ms, self._count, action))
        self._set_timer()

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due = [at for at in (self._next_told_ms(), self._line.next_ms()) if at is not None]
        if due:
            delay_s = (min(due) + self._hold_ms - self._clock()) / 1000 / self._speed
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(max(0.0, delay_s), self._catch_up)

    def _next_told_ms(self) -> int | None:
        return self._told[0][0] if self._told else None

    def _catch_up(self) -> None:
        """Do all that is old enough; at the same time the line comes before a device, as in simulated time."""
        until_ms = self._clock() - self._hold_ms
        while True:
            told_ms, line_ms = self._next_told_ms(), self._line.next_ms()
            if line_ms is not None and line_ms <= until_ms and not _is_before(told_ms, line_ms):
                reached = self._line.take()
                self._hear[reached.download.device](reached)
            elif told_ms is not None and told_ms <= until_ms:
                heapq.heappop(self._told)[2]()
            else:
                break
        self._set_timer()


def _is_before(one: int | None, other: int) -> bool:
    return one is not None and one < other
