"""Here no test waits for real, so that none depends on how busy the machine is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tests.leaping_loop import LeapingLoop


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Time leaps to the next timer in every asynchronous test of this folder."""
    return {"leaping": LeapingLoop}
