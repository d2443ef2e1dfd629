"""An event loop whose time leaps to the next timer when nothing else is to be done, so that hours of waiting take none."""

from __future__ import annotations

import asyncio
import selectors

TURN_S = 1e-8


class _LeapingSelector(selectors.DefaultSelector):
    """Waits for nothing: what it should wait is added to the time."""

    def __init__(self) -> None:
        super().__init__()
        self.waited_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            return super().select(None)
        ready = super().select(0)
        # A turn of the loop takes a moment, without which a timer that is early by a rounding would come for ever.
        self.waited_s += TURN_S if ready else max(timeout, TURN_S)
        return ready


class LeapingLoop(asyncio.SelectorEventLoop):
    """Its `time` is what it has waited."""

    def __init__(self) -> None:
        self._leaping = _LeapingSelector()
        super().__init__(self._leaping)

    def time(self) -> float:
        return self._leaping.waited_s
