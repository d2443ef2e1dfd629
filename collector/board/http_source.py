"""Feeds the board and its ESP screens from the collector's API."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Final

from agent.screen.ports import IntentRefused
from agent.wire.messages import (
    CollectLogs,
    CommandAction,
    ContinueAnyway,
    ResetDevice,
    RetryItem,
    RetryPhase,
    SkipAccountSetup,
)
from agent.wire.progress import Progress, Reporting
from agent.wire.vocabulary import Choice, PersonAction
from collector.board.ports import BoardSnapshot, Unanswered, WatchedScreen
from collector.client import Collector, CollectorRefused, CollectorUnreachable

REFRESH_S: Final = 1.0
# What the broker keeps of a device comes at once.
FIRST_STATUS_S: Final = 5.0


class HttpBoardSource:
    """Asks the API about once a second."""

    def __init__(self, collector: Collector, issued_by: str) -> None:
        self._collector = collector
        self._issued_by = issued_by

    async def snapshots(self) -> AsyncIterator[BoardSnapshot | Unanswered]:
        """What the API says now, again and again."""
        since: datetime | None = None
        while True:
            try:
                yield await self._ask()
                since = None
            except (CollectorUnreachable, CollectorRefused) as problem:
                since = since or datetime.now(UTC)
                yield Unanswered(str(problem), since)
            await asyncio.sleep(REFRESH_S)

    async def _ask(self) -> BoardSnapshot:
        status, active, failures, profiles = await asyncio.gather(
            self._collector.status(),
            self._collector.active(),
            self._collector.failures(),
            self._collector.profiles(),
        )
        return BoardSnapshot(status, active, failures, profiles)

    def screen(self, device: str) -> WatchedScreen:
        """One device's screen."""
        return HttpScreenSource(self._collector, device, self._issued_by)


class HttpScreenSource:
    """One device's screen by way of the API; what is chosen travels as a command."""

    emergency_exit_allowed = False
    can_act = True

    def __init__(self, collector: Collector, device: str, issued_by: str) -> None:
        self._collector = collector
        self._device = device
        self._issued_by = issued_by
        self.problem = ""

    async def snapshots(self) -> AsyncIterator[tuple[Progress, Reporting]]:
        """The device's status as it changes; ends when there is none, or the collector can't be asked any more."""
        statuses = self._collector.screen(self._device)
        try:
            async with asyncio.timeout(FIRST_STATUS_S) as patience:
                async for status in statuses:
                    patience.reschedule(None)
                    yield status.progress, Reporting(connected=True, collector_online=True)
        except TimeoutError:
            self.problem = (
                f"There is nothing to see of {self._device}; it comes back when it connects again."
            )
        except (CollectorUnreachable, CollectorRefused):
            # The board below says why; it asks the same collector.
            return

    async def person_acted(self, item: str, action: PersonAction) -> None:
        """Nobody answers a person's screen from afar."""
        raise IntentRefused(
            f"Only the person at the device can choose '{action.label}' for {item}."
        )

    async def person_chose(self, choice: Choice, item: str | None) -> None:
        """Send the choice as a command."""
        try:
            await self._collector.send(self._device, _command(choice, item), self._issued_by)
        except (CollectorUnreachable, CollectorRefused) as problem:
            raise IntentRefused(str(problem)) from None

    async def emergency_exit(self) -> None:
        """Never from afar."""
        raise IntentRefused("The emergency exit works at the device only.")


def _command(choice: Choice, item: str | None) -> CommandAction:
    match choice:
        case Choice.TRY_AGAIN:
            return RetryPhase()
        case Choice.TRY_ITEM_AGAIN:
            assert item is not None, "one item is tried again by its id"
            return RetryItem(item=item)
        case Choice.CONTINUE_ANYWAY:
            return ContinueAnyway()
        case Choice.RESET_DEVICE:
            return ResetDevice()
        case Choice.SKIP_ACCOUNT_SETUP:
            return SkipAccountSetup()
        case Choice.COLLECT_LOGS:
            return CollectLogs()
