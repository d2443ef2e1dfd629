"""Takes Ctrl+C and the request to end as a fact, so that a run ends with the summary so far and no traceback."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final, TypeVar

T = TypeVar("T")

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """Whether somebody wants the run to end now."""

    def __init__(self) -> None:
        self.happened = False
        self._breaks = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """From now on a signal is noted here instead of ending the program; only the main thread hears any."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._note) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def attempt(self, work: Callable[[], T]) -> T | None:
        """What the work gives, or None when a signal broke it off."""
        try:
            self._breaks = True
            return None if self.happened else work()
        except KeyboardInterrupt:
            return None
        finally:
            self._breaks = False

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        self.happened = True
        if self._breaks:
            raise KeyboardInterrupt


@contextmanager
def held_back() -> Iterator[None]:
    """Ctrl+C waits while processes are started, and for them it waits for good: their parent alone ends them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
