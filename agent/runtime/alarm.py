"""Lets the one task of a driver sleep: until somebody rings, or until a time has come."""

from __future__ import annotations

import asyncio
from math import ceil
from typing import Final

NEAR_S: Final = 1e-6
"""Times that are nearer than this are the same one, however they were calculated."""


class Alarm:
    """An event with a timer, for one sleeper.

    What a device waits for next is mostly what it has waited for before something else woke it. So the timer stays as
    it is while the task is awake, and one that turns out to be too early is set anew without waking anybody.

    Args:
        step_s: times that come are told at multiples of this only, so that many sleepers of one loop wake together;
            0 tells each at once.
    """

    __slots__ = ("_due_s", "_is_ringing", "_sleeper", "_step_s", "_timer", "_timer_s")

    def __init__(self, step_s: float = 0.0) -> None:
        self._step_s = step_s
        self._is_ringing = False
        self._sleeper: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_s = 0.0
        self._due_s: float | None = None

    def ring(self) -> None:
        """Wake whoever sleeps; whoever goes to sleep next does not."""
        self._is_ringing = True
        if self._sleeper is not None and not self._sleeper.done():
            self._sleeper.set_result(None)

    def quiet(self) -> None:
        """Forget that somebody rang."""
        self._is_ringing = False

    async def sleep(self, delay_s: float | None) -> None:
        """Return once somebody has rung since it was quiet, or after so many seconds; None waits for a ring."""
        if self._is_ringing:
            return
        loop = asyncio.get_running_loop()
        self._due_s = None if delay_s is None else self._told_s(loop.time() + delay_s)
        self._set_timer(loop)
        self._sleeper = loop.create_future()
        try:
            await self._sleeper
        finally:
            self._sleeper = self._due_s = None

    def stop(self) -> None:
        """Nobody will sleep any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _told_s(self, due_s: float) -> float:
        if not self._step_s:
            return due_s
        # A loop's time is that of when its turn began: the half keeps the telling from being too early.
        return ceil(due_s / self._step_s + 0.5) * self._step_s

    def _set_timer(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._due_s is None or (self._timer is not None and self._timer_s <= self._due_s):
            return
        self.stop()
        self._timer_s = self._due_s
        self._timer = loop.call_at(self._timer_s, self._timer_rings, loop)

    def _timer_rings(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        if self._sleeper is None or self._due_s is None or self._sleeper.done():
            return
        if self._timer_s < self._due_s - NEAR_S:
            self._set_timer(loop)
        else:
            self._sleeper.set_result(None)
