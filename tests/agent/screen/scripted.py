"""A source that plays snapshots when a test says so, and writes down what the page sends back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC
from typing import Any

from textual.app import App
from textual.drivers.headless_driver import HeadlessDriver
from textual.pilot import Pilot

from agent.screen.app import EspApp
from agent.screen.frame import Frame
from agent.screen.list_pane import ListPane
from agent.screen.ports import IntentRefused
from agent.screen.screen import EspScreen
from agent.wire.progress import Progress, Reporting
from agent.wire.vocabulary import Choice, PersonAction
from tests.agent.screen.examples import CONNECTED

Sent = tuple[str, ...]

REST_S = 30.0
"""Within which a page comes to rest on the busiest machine."""
TURN_S = 0.005


class ScriptedSource:
    """Stands for the driver of the device, or for a watcher."""

    def __init__(
        self, *, can_act: bool = True, emergency_exit_allowed: bool = False, refuses: str = ""
    ) -> None:
        self.can_act = can_act
        self.emergency_exit_allowed = emergency_exit_allowed
        self.sent: list[Sent] = []
        self.latest: tuple[Progress, Reporting] | None = None
        self._refuses = refuses
        self._pairs: asyncio.Queue[tuple[Progress, Reporting] | None] = asyncio.Queue()

    def shows(self, progress: Progress, reporting: Reporting = CONNECTED) -> None:
        """The next snapshot."""
        self.latest = (progress, reporting)
        self._pairs.put_nowait(self.latest)

    def ends(self) -> None:
        """No more snapshots."""
        self._pairs.put_nowait(None)

    async def snapshots(self) -> AsyncIterator[tuple[Progress, Reporting]]:
        while (pair := await self._pairs.get()) is not None:
            yield pair

    async def person_acted(self, item: str, action: PersonAction) -> None:
        self._send("acted", item, action.value)

    async def person_chose(self, choice: Choice, item: str | None) -> None:
        self._send("chose", choice.value, item or "")

    async def emergency_exit(self) -> None:
        self._send("emergency_exit")

    def _send(self, *what: str) -> None:
        if self._refuses:
            raise IntentRefused(self._refuses)
        self.sent.append(what)


async def settled(pilot: Pilot[Any]) -> None:
    """Wait until the page shows the newest snapshot, scrolled to where it belongs, or is gone."""
    async with asyncio.timeout(REST_S):
        await pilot.pause()
        while not all(_shows_newest(shown) for shown in _pages(pilot.app)):
            await asyncio.sleep(TURN_S)
            await pilot.pause()


def _pages(app: App[Any]) -> list[EspScreen]:
    return [screen for screen in app.screen_stack if isinstance(screen, EspScreen)]


def _shows_newest(shown: EspScreen) -> bool:
    source = shown._source
    assert isinstance(source, ScriptedSource)
    drawn = shown._latest == source.latest and _has_terminals_size(shown)
    return drawn and shown.query_one(ListPane).in_place


def _has_terminals_size(shown: EspScreen) -> bool:
    """Textual tells a screen of its new size a moment after the terminal has it."""
    driver = shown.app._driver
    assert isinstance(driver, HeadlessDriver)
    roomy = shown.query_one("#page").has_class("-roomy")
    return shown.size == driver._size and roomy is Frame.of(shown.size).roomy


def page(
    progress: Progress,
    reporting: Reporting = CONNECTED,
    *,
    can_act: bool = True,
    watching: bool = False,
    emergency_exit_allowed: bool = False,
    refuses: str = "",
) -> tuple[EspApp, ScriptedSource]:
    """The page of one snapshot, and the source that can play more. Times of day are in UTC."""
    source = ScriptedSource(
        can_act=can_act, emergency_exit_allowed=emergency_exit_allowed, refuses=refuses
    )
    source.shows(progress, reporting)
    return EspApp(source, watching=watching, zone=UTC), source
