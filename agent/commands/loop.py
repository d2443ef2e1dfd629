"""Runs what a command awaits, until it ends or a signal comes."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def on_a_loop(main: Coroutine[Any, Any, T]) -> T:
    """Run to the end, on a loop that can watch sockets; Python's own choice on Windows can't."""
    factory = asyncio.SelectorEventLoop if sys.platform == "win32" else None
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main)


def stop_on_signals(stop: Callable[[], None]) -> None:
    """Call `stop` on SIGTERM and on Ctrl+C, from the running loop."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        try:
            loop.add_signal_handler(number, stop)
        except NotImplementedError:
            # Loops on Windows take no signal handlers; Python's own run between two wake-ups of the loop.
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop))
