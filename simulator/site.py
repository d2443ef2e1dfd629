"""A site's line: downloads that go on at the same time share it, and what one has fetched the others find in the cache.

The line is a fluid: at every moment each download on it has the same rate, unless its device's own line is slower, and
nothing of the line is left unused that somebody could use (max-min fairness; Bertsekas and Gallager, "Data Networks",
section 6.5.2). Times are whole milliseconds of the site's own clock, which is that of the run.
"""

from __future__ import annotations

import heapq
import math
from bisect import bisect_left
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

from simulator.scenario import Site

T = TypeVar("T", int, float)

BITS: Final = 8
BITS_PER_S: Final = 1_000_000
"""In one megabit per second."""
BREAKS: Final = -2
"""In place of a version: the announcement that a download breaks off, which holds as long as the download."""
MARKS: Final = (25, 50, 75, 100)
"""How far a download is when its device hears of it, in percent."""


@dataclass(frozen=True, slots=True)
class Download:
    """One device's download of one item."""

    device: int
    item: str
    number: int = 0
    """Tells the device's downloads of one item apart."""


@dataclass(frozen=True, slots=True)
class Reached:
    """A download came to one of its marks, or broke off."""

    at_ms: int
    after_ms: int
    """The time since it began."""
    download: Download
    percent: int
    """One of `MARKS`; at 100 it is over."""
    broke: bool = False
    """The network failed it at this time; it is over."""


@dataclass(slots=True, eq=False)
class _Flow:
    """A download under way.

    One that its own line limits, or that comes from the cache, moves at a rate of its own: it had `done_bits` at
    `since_ms` and moves at `rate`. One that the shared line limits moves as all such do: it has what the line has
    served to each of them, less `base_bits`.
    """

    download: Download
    began_ms: int
    whole_bits: int
    own: int
    """What the device's own line carries, in bits per second."""
    place: tuple[int, int]
    """Its place among the downloads on the line: the slowest own line first."""
    rate: float = 0.0
    """In bits per millisecond."""
    done_bits: float = 0.0
    since_ms: int = 0
    base_bits: float = 0.0
    is_cached: bool = False
    mark: int = 0
    """Which of `MARKS` is next."""
    version: int = 0
    """Counts its announcements, of which only the latest is true; -1 once it is over."""

    @property
    def mark_bits(self) -> float:
        """What is done at the next mark."""
        return self.whole_bits * MARKS[self.mark] / 100


class Carrier(Protocol):
    """What downloads of several devices are on; times are the site's."""

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
        ...

    def leave(self, at_ms: int, download: Download) -> None:
        """See `SharedLine.leave`."""
        ...


class SharedLine:
    """One site's line with the downloads on it; pure, its time is told by whoever calls.

    What becomes due is taken in the order of time with `next_ms` and `take`. Nobody joins or leaves before what is due
    earlier has been taken; whoever comes with an earlier time than that, as late messengers do, is taken as coming now.

    A change costs as much as downloads change their limit by it: most stay limited by their own line, or all share one
    rate that is kept once for all of them.

    Args:
        megabits_per_second: what the line carries.
        cache_megabits_per_second: how fast each download of an item that somebody has fetched is; None without a cache.
    """

    def __init__(
        self, megabits_per_second: float, cache_megabits_per_second: float | None = None
    ) -> None:
        self._cache = cache_megabits_per_second
        self._fetched: set[str] = set()
        self._flows: dict[Download, _Flow] = {}
        self._on_line: list[tuple[tuple[int, int], _Flow]] = []
        """The downloads that the cache does not serve, in the order of their own lines."""
        self._limited = 0
        """How many of these, from the first on, have all that their own line carries."""
        self._left = round(megabits_per_second * BITS_PER_S)
        """What those leave to the others, in bits per second."""
        self._served_bits = 0.0
        """What each of the others would have got from the begin, up to `_served_ms`."""
        self._served_ms = 0
        self._now_ms = 0
        self._timed: list[tuple[int, int, int, _Flow]] = []
        """Announcements by time, order and version."""
        self._by_served: list[tuple[float, int, int, _Flow]] = []
        """The same by what is served, of those that the line limits."""
        self._count = 0

    @classmethod
    def of(cls, site: Site) -> SharedLine:
        """The line of a site that has one."""
        assert site.megabits_per_second is not None, "this site's devices share nothing"
        cache = None if site.cache is None else site.cache.megabits_per_second
        return cls(site.megabits_per_second, cache)

    def __len__(self) -> int:
        return len(self._flows)

    def join(
        self,
        at_ms: int,
        download: Download,
        size_bytes: int,
        megabits_per_second: float,
        *,
        breaks_after_ms: int | None = None,
    ) -> None:
        """Begin a download.

        Args:
            at_ms: when; a time that is over already is taken as now.
            megabits_per_second: what the device's own line carries.
            breaks_after_ms: the network fails it after this time, if it is not over before.
        """
        assert size_bytes > 0, "what has no size is not downloaded"
        assert download not in self._flows, f"{download} is under way already"
        self._now_ms = max(self._now_ms, at_ms)
        own = max(1, round(megabits_per_second * BITS_PER_S))
        self._count += 1
        flow = _Flow(download, self._now_ms, size_bytes * BITS, own, (own, self._count))
        self._flows[download] = flow
        if breaks_after_ms is not None:
            self._announce_at(self._now_ms + breaks_after_ms, flow, BREAKS)
        if self._cache is not None and download.item in self._fetched:
            flow.is_cached = True
            self._set_rate(flow, self._cache * BITS_PER_S / 1000)
        else:
            self._put_on(flow)

    def leave(self, at_ms: int, download: Download) -> None:
        """End a download early; one that is not under way is none of the line's business."""
        flow = self._flows.get(download)
        if flow is not None:
            self._now_ms = max(self._now_ms, at_ms)
            self._end(flow)

    def next_ms(self) -> int | None:
        """When the next mark is reached if nobody joins or leaves; None while nothing is downloaded."""
        timed, served = self._first(self._timed), self._first(self._by_served)
        if served is None:
            return None if timed is None else timed[0]
        served_ms = self._served_at_ms(served[0])
        return served_ms if timed is None else min(timed[0], served_ms)

    def take(self) -> Reached:
        """What is due next; its download is over when it broke off or reached 100 percent."""
        timed, served = self._first(self._timed), self._first(self._by_served)
        due_ms = None if served is None else self._served_at_ms(served[0])
        if timed is not None and (due_ms is None or timed[0] <= due_ms):
            due_ms, _, version, flow = heapq.heappop(self._timed)
        else:
            assert due_ms is not None, "nothing is due"
            _, _, version, flow = heapq.heappop(self._by_served)
        self._now_ms = max(self._now_ms, due_ms)
        return self._reach(flow, due_ms, broke=version == BREAKS)

    def _reach(self, flow: _Flow, at_ms: int, *, broke: bool) -> Reached:
        percent = MARKS[flow.mark]
        if broke or percent == 100:
            self._end(flow)
            if not broke:
                self._fetch(flow.download.item)
        else:
            flow.mark += 1
            self._announce(flow)
        return Reached(at_ms, at_ms - flow.began_ms, flow.download, percent, broke=broke)

    def _end(self, flow: _Flow) -> None:
        del self._flows[flow.download]
        flow.version = -1
        if not flow.is_cached:
            self._take_off(flow)

    def _fetch(self, item: str) -> None:
        """From now on the item is in the cache; whoever is still at it gets the rest from there."""
        if self._cache is None or item in self._fetched:
            return
        self._fetched.add(item)
        for flow in self._flows.values():
            if flow.download.item == item:
                self._take_off(flow)
                flow.is_cached = True
                self._set_rate(flow, self._cache * BITS_PER_S / 1000)

    # --- fair shares --------------------------------------------------------------------------------

    def _put_on(self, flow: _Flow) -> None:
        """One more is on the line: everybody's fair share is smaller."""
        self._serve()
        index = bisect_left(self._on_line, (flow.place,))
        self._on_line.insert(index, (flow.place, flow))
        if index < self._limited:
            self._limited += 1
            self._left -= flow.own
            self._set_rate(flow, flow.own / 1000)
        else:
            self._join_others(flow)
        self._balance()

    def _take_off(self, flow: _Flow) -> None:
        """One less is on the line: everybody's fair share is larger."""
        self._serve()
        index = bisect_left(self._on_line, (flow.place,))
        del self._on_line[index]
        if index < self._limited:
            self._limited -= 1
            self._left += flow.own
        else:
            flow.done_bits = self._served_bits - flow.base_bits
            flow.rate, flow.since_ms = 0.0, self._now_ms
        self._balance()

    def _balance(self) -> None:
        """Fill the line from below: whoever needs no more than an equal share of what is left has all that it needs."""
        line = self._on_line
        while self._limited < len(line):
            flow = line[self._limited][1]
            if flow.own * (len(line) - self._limited) > self._left:
                break
            self._limited += 1
            self._left -= flow.own
            flow.done_bits = self._served_bits - flow.base_bits
            flow.rate, flow.since_ms = 0.0, self._now_ms
            self._set_rate(flow, flow.own / 1000)
        while self._limited > 0:
            flow = line[self._limited - 1][1]
            if flow.own * (len(line) - self._limited + 1) <= self._left + flow.own:
                break
            self._limited -= 1
            self._left += flow.own
            self._join_others(flow)

    def _join_others(self, flow: _Flow) -> None:
        """From now on the shared line limits it."""
        flow.done_bits += flow.rate * (self._now_ms - flow.since_ms)
        flow.base_bits = self._served_bits - flow.done_bits
        flow.rate, flow.since_ms = 0.0, self._now_ms
        self._announce(flow)

    def _set_rate(self, flow: _Flow, rate: float) -> None:
        """From now on it has a rate of its own."""
        flow.done_bits += flow.rate * (self._now_ms - flow.since_ms)
        flow.rate, flow.since_ms = rate, self._now_ms
        self._announce(flow)

    def _serve(self) -> None:
        """Bring what is served up to now."""
        self._served_bits += self._share * (self._now_ms - self._served_ms)
        self._served_ms = self._now_ms

    @property
    def _share(self) -> float:
        """What each download that the line limits gets, in bits per millisecond; 0 when there is none."""
        sharing = len(self._on_line) - self._limited
        return self._left / sharing / 1000 if sharing else 0.0

    # --- announcements ------------------------------------------------------------------------------

    def _announce(self, flow: _Flow) -> None:
        """Say when it comes to its next mark, in place of what was said of it before."""
        flow.version += 1
        if flow.rate:
            takes_ms = _whole_ms((flow.mark_bits - flow.done_bits) / flow.rate)
            self._announce_at(flow.since_ms + takes_ms, flow, flow.version)
        else:
            self._count += 1
            due_bits = flow.base_bits + flow.mark_bits
            heapq.heappush(self._by_served, (due_bits, self._count, flow.version, flow))

    def _announce_at(self, at_ms: int, flow: _Flow, version: int) -> None:
        self._count += 1
        heapq.heappush(self._timed, (max(at_ms, self._now_ms), self._count, version, flow))

    def _first(self, heap: list[tuple[T, int, int, _Flow]]) -> tuple[T, int, int, _Flow] | None:
        """The first announcement that is true."""
        while heap:
            _, _, version, flow = heap[0]
            if version == flow.version or (version == BREAKS and flow.version >= 0):
                return heap[0]
            heapq.heappop(heap)
        return None

    def _served_at_ms(self, due_bits: float) -> int:
        """When so much will have been served."""
        takes_ms = _whole_ms((due_bits - self._served_bits) / self._share)
        return max(self._served_ms + takes_ms, self._now_ms)


def _whole_ms(time_ms: float) -> int:
    """The next whole millisecond, where a rounding error is no time."""
    return math.ceil(time_ms - 1e-6)


class DeviceLine:
    """One device's end of its site's line, in the device's own time."""

    __slots__ = ("_current", "_device", "_line", "_starts_at_ms")

    def __init__(self, line: Carrier, device: int, starts_at_ms: int) -> None:
        self._line = line
        self._device = device
        self._starts_at_ms = starts_at_ms
        self._current: dict[str, tuple[Download, int]] = {}
        """The latest download of each item, and when it was begun."""

    def begin(
        self,
        item: str,
        size_bytes: int,
        megabits_per_second: float,
        at_ms: int,
        *,
        breaks_after_ms: int | None = None,
    ) -> None:
        """Download an item; what it comes to arrives as `Reached`."""
        last = self._current.get(item)
        download = Download(self._device, item, 0 if last is None else last[0].number + 1)
        self._current[item] = download, at_ms
        self._line.join(
            self._starts_at_ms + at_ms,
            download,
            size_bytes,
            megabits_per_second,
            breaks_after_ms=breaks_after_ms,
        )

    def cancel(self, item: str, at_ms: int) -> None:
        """End a download early."""
        self._line.leave(self._starts_at_ms + at_ms, self._current[item][0])

    def is_latest(self, download: Download) -> bool:
        """True for the device's latest download of its item."""
        return self._current[download.item][0] == download

    def device_ms(self, reached: Reached) -> int:
        """The device's time at which this happened, never before it began."""
        assert self.is_latest(reached.download), "a device hears of its latest download only"
        return self._current[reached.download.item][1] + reached.after_ms
