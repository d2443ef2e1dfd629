"""What waits to be published in one session, for a task that sleeps until there is something."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from agent.core import outgoing
from agent.core.outbox import SendReport
from agent.core.publications import Publication


class Outgoing(outgoing.Outgoing):
    """The order of the core, and a bell."""

    def __init__(self, envelope: Callable[[SendReport], Publication]) -> None:
        super().__init__(envelope)
        self._ready = asyncio.Event()

    def wake(self) -> None:
        """Let whoever waits look again."""
        self._ready.set()

    async def wait(self) -> None:
        """Wait until there is something new to look at."""
        await self._ready.wait()
        self._ready.clear()
