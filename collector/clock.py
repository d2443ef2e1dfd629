"""The collector's clock, which a fleet in faster time may run faster."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Protocol


class Clock(Protocol):
    """Milliseconds since 1970."""

    def now_ms(self) -> int:
        """The time that ages and windows are counted in."""
        ...

    def wall_ms(self) -> int:
        """The real wall clock, for what a device compares with its own."""
        ...


@dataclass(frozen=True, slots=True)
class ScaledClock:
    """Runs `speed` times as fast as the wall clock since `origin_ms`; at speed 1 it is the wall clock."""

    origin_ms: int = 0
    speed: float = 1.0

    def now_ms(self) -> int:
        """The scaled time; it never runs back while the wall clock does not, restarts included."""
        wall = self.wall_ms()
        return self.origin_ms + round((wall - self.origin_ms) * self.speed)

    def wall_ms(self) -> int:
        """The real wall clock."""
        return time.time_ns() // 1_000_000
