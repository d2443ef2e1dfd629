"""What a screen looks at, this device or another one, as the port it asks for."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Final

from agent.runtime.driver import Driver
from agent.runtime.watcher import Watcher
from agent.screen.ports import IntentRefused
from agent.wire.progress import Progress, Reporting
from agent.wire.vocabulary import Choice, Gate, PersonAction

LOCKED_STAY_S: Final = 60.0
"""How long the page of a device that ended locked can be read before the agent ends."""


class DriverSource:
    """The driver as the screen wants it: refusals are sentences that it can show."""

    def __init__(
        self,
        driver: Driver,
        *,
        emergency_exit_allowed: bool,
        stays_open: bool = False,
        locked_stay_s: float = LOCKED_STAY_S,
    ) -> None:
        self._driver = driver
        self._emergency_exit_allowed = emergency_exit_allowed
        self._stays_open = stays_open
        self._locked_stay_s = locked_stay_s

    @property
    def emergency_exit_allowed(self) -> bool:
        """Off unless the agent was started with it."""
        return self._emergency_exit_allowed

    @property
    def can_act(self) -> bool:
        """The person at the device may act."""
        return True

    async def snapshots(self) -> AsyncIterator[tuple[Progress, Reporting]]:
        """What to draw.

        A page that `stays_open` can be read after the end: on an open device until the person closes it, on a locked
        one, which no key leaves, for a minute. Where nothing was ever shown there is nothing to read.
        """
        is_open: bool | None = None
        async for progress, reporting in self._driver.snapshots():
            is_open = progress.gate is not Gate.LOCKED
            yield progress, reporting
        if self._stays_open and is_open is not None:
            with contextlib.suppress(TimeoutError):
                limit_s = None if is_open else self._locked_stay_s
                await asyncio.wait_for(self._driver.stop_wanted(), limit_s)

    async def person_acted(self, item: str, action: PersonAction) -> None:
        """The person answered a person screen."""
        _raise_if(await self._driver.person_acted(item, action))

    async def person_chose(self, choice: Choice, item: str | None) -> None:
        """The person made a choice."""
        _raise_if(await self._driver.person_chose(choice, item))

    async def emergency_exit(self) -> None:
        """The person used the emergency exit."""
        if not self._emergency_exit_allowed:
            raise IntentRefused("The emergency exit is switched off on this device.")
        _raise_if(await self._driver.emergency_exit())


class WatcherSource:
    """Another device as the screen wants it: to look at, and nothing else."""

    emergency_exit_allowed = False
    can_act = False

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher

    def snapshots(self) -> AsyncIterator[tuple[Progress, Reporting]]:
        """What to draw."""
        return self._watcher.snapshots()

    async def person_acted(self, item: str, action: PersonAction) -> None:
        """Not from here."""
        raise IntentRefused(f"Only the person at the device can answer '{item}' ({action.label}).")

    async def person_chose(self, choice: Choice, item: str | None) -> None:
        """Not from here."""
        what = choice.label if item is None else f"{choice.label} ({item})"
        raise IntentRefused(f"'{what}' can't be chosen from here; send the device a command.")

    async def emergency_exit(self) -> None:
        """Not from here."""
        raise IntentRefused("The emergency exit works at the device only.")


def _raise_if(refusal: str | None) -> None:
    if refusal is not None:
        raise IntentRefused(f"Not possible now: {refusal}.")
