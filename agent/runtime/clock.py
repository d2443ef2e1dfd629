"""The clocks: the device's running time, scaled for simulations, and the wall clock."""

from __future__ import annotations

import time
from collections.abc import Callable

from agent.core.shell import counted_reboot_ms


class DeviceClock:
    """Device running time, `speed` times as fast as real time, and the real wall clock.

    Args:
        speed: device milliseconds per real millisecond; above 0.
        monotonic: real seconds that never jump.
        wall: real seconds since 1970.
    """

    def __init__(
        self,
        speed: float = 1.0,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        assert speed > 0, "time goes forward"
        self._speed = speed
        self._monotonic = monotonic
        self._wall = wall
        self._begun_s = monotonic()
        self._base_ms = 0

    def now_ms(self) -> int:
        """Device running time."""
        return self._base_ms + int((self._monotonic() - self._begun_s) * 1000 * self._speed)

    def wall_ms(self) -> int:
        """The wall clock, milliseconds since 1970."""
        return int(self._wall() * 1000)

    def restore(self, base_ms: int, off_ms: int = 0) -> None:
        """Go on from this running time, and count a planned reboot of `off_ms` real milliseconds."""
        self._base_ms = base_ms + counted_reboot_ms(int(off_ms * self._speed))
        self._begun_s = self._monotonic()

    def seconds_until(self, at_ms: int) -> float:
        """How many real seconds to wait until the running time is `at_ms`; 0 when it has passed."""
        passed_ms = (self._monotonic() - self._begun_s) * 1000 * self._speed
        return max(0.0, (at_ms - self._base_ms - passed_ms) / (1000 * self._speed))


class SteadyClock:
    """Milliseconds for link and outbox: set by the wall clock once, monotonic from then on.

    Being near the wall clock, a time that it gave before a restart still means something after it.
    """

    def __init__(
        self,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._monotonic = monotonic
        self._offset_s = wall() - monotonic()

    def now_ms(self) -> int:
        """Milliseconds since about 1970, never going back."""
        return int((self._monotonic() + self._offset_s) * 1000)
