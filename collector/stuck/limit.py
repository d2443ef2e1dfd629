"""When an item is stuck: it is at work for longer than 99 of 100 of its kind needed that came in, not than some clock says."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from collector.stuck.item_work import ItemNow, ItemWork, Span

QUANTILE: Final = 0.99
OBSERVATIONS_MIN: Final = 100
"""Below it a 99th percentile would be the largest value, and says little."""
OBSERVATIONS_MAX: Final = 2_000
"""The newest count: an app of last year is another app."""
EXPECTED_TIMES: Final = 3
"""Three times the expected (median) time; `benchmarks.stuck --learned 0` says how often that is wrong."""
GRACE_MS: Final = 60_000
"""The report that it came in may be under way."""

Basis = Literal["history", "expected"]
Kind = tuple[str, str]
"""Item and platform with its version."""


@dataclass(frozen=True, slots=True)
class Limit:
    """How long an item may be at work before it counts as stuck."""

    limit_ms: int
    basis: Basis
    observations: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stuck:
    """One item that is stuck."""

    item: ItemNow
    running_ms: int
    limit: Limit

    @property
    def sentence(self) -> str:
        """For whoever looks at the device."""
        name, running = self.item.changed.name, duration(self.running_ms)
        if self.limit.basis == "history":
            return (
                f"{name} has been at work for {running}; of {self.limit.observations:,} that came in on this "
                f"platform, 99 in 100 needed at most {duration(self.limit.limit_ms)}."
            )
        expected = duration(self.limit.limit_ms // EXPECTED_TIMES)
        return (
            f"{name} has been at work for {running}; its assignment expects {expected}, and fewer than "
            f"{OBSERVATIONS_MIN} came in on this platform to compare with."
        )


def duration(took_ms: int) -> str:
    """As a person says it: `45 s`, `12 min`, `3 h 5 min`."""
    seconds = took_ms // 1000
    if seconds < 60:
        return f"{seconds} s"
    minutes = seconds // 60
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


@dataclass(slots=True)
class Histories:
    """How long items took that came in, by item and platform; the newest of each."""

    _took: dict[Kind, deque[int]] = field(default_factory=dict)
    _limits: dict[Kind, Limit] = field(default_factory=dict)

    def add(self, platform: str, span: Span) -> None:
        """One more try that is over; only one that came in counts."""
        if not span.came_in:
            return
        kind = (span.item, platform)
        took = self._took.get(kind)
        if took is None:
            took = self._took[kind] = deque(maxlen=OBSERVATIONS_MAX)
        took.append(span.took_ms)
        self._limits.pop(kind, None)

    def limit(self, platform: str, item: str) -> Limit | None:
        """By the item's history; None while too few came in."""
        kind = (item, platform)
        took = self._took.get(kind, ())
        if len(took) < OBSERVATIONS_MIN:
            return None
        if kind not in self._limits:
            self._limits[kind] = Limit(quantile(took), "history", len(took))
        return self._limits[kind]


def quantile(took_ms: Iterable[int]) -> int:
    """The smallest of these values that at least 99 in 100 do not exceed (nearest rank)."""
    ordered = sorted(took_ms)
    return ordered[math.ceil(QUANTILE * len(ordered)) - 1]


def expected_limit(expected_seconds: int | None) -> Limit | None:
    """By the assignment, for an item without a history; None for what no assignment names."""
    if expected_seconds is None:
        return None
    return Limit(EXPECTED_TIMES * expected_seconds * 1000, "expected", 0)


def stuck_items(
    work: ItemWork,
    now_attempt_ms: int,
    platform: str,
    histories: Histories,
    expected_seconds: Mapping[str, int],
) -> list[Stuck]:
    """The items that are stuck, the one that began first at the front.

    `now_attempt_ms` is attempt time as far as it is sure to have run; see `attempt_now_ms`.
    """
    found = []
    for item in work.working:
        assert item.begun_ms is not None, "a working item began"
        name = item.changed.item
        limit = histories.limit(platform, name) or expected_limit(expected_seconds.get(name))
        running_ms = now_attempt_ms - item.begun_ms
        if limit is not None and running_ms > limit.limit_ms + GRACE_MS:
            found.append(Stuck(item=item, running_ms=running_ms, limit=limit))
    return found


def attempt_now_ms(attempt_ms: int, received_ms: int, now_ms: int, left_ms: int | None) -> int:
    """Attempt time by now: what the newest report said, and what has gone by since while the device was there.

    `left_ms` is when the broker said that it is gone; time switched off is no attempt time. All but the first are by the
    collector's clock.
    """
    until_ms = now_ms if left_ms is None else min(now_ms, left_ms)
    return attempt_ms + max(0, until_ms - received_ms)
