"""Feeds the board and its ESP screens from the collector's API."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final, Self, TypeVar

import structlog

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
from collector.board.ports import (
    ActionCount,
    BoardSnapshot,
    DeviceStory,
    IncompleteReport,
    ReportFilter,
    SourceRefused,
    Unanswered,
    WatchedScreen,
)
from collector.client import Collector, CollectorRefused, CollectorUnreachable
from collector.pages.history import CommandLine
from collector.pages.incomplete_page import IncompleteEnrollments

T = TypeVar("T")

LOG = structlog.get_logger("collector.board")

REFRESH_S: Final = 1.0
STALE_S: Final = 10.0
RECONNECT_S: Final = 5.0
# What the broker keeps of a device comes at once.
FIRST_STATUS_S: Final = 5.0


class HttpBoardSource:
    """Asks the API when something was stored, and else now and then; without live updates, about once a second."""

    def __init__(self, collector: Collector, issued_by: str) -> None:
        self._collector = collector
        self._issued_by = issued_by

    async def snapshots(self) -> AsyncIterator[BoardSnapshot | Unanswered]:
        """What the API says now, again and again."""
        async for news in _again_and_again(self._ask, self._collector.changes):
            yield news

    async def _ask(self) -> BoardSnapshot:
        status, active, failures, profiles, stuck = await asyncio.gather(
            self._collector.status(),
            self._collector.active(),
            self._collector.failures(),
            self._collector.profiles(),
            self._collector.stuck(),
        )
        names = {one.device: one.name for one in reversed(stuck.items)}
        return BoardSnapshot(status, active, failures, profiles, names)

    async def stories(self, device: str) -> AsyncIterator[DeviceStory | Unanswered]:
        """One device's history, whenever something of it was stored."""

        async def ask() -> DeviceStory:
            standing, history = await asyncio.gather(
                self._collector.standing(device), self._collector.history(device)
            )
            return DeviceStory(standing, history)

        async for news in _again_and_again(ask, lambda: self._collector.changes(device)):
            yield news

    def screen(self, device: str) -> WatchedScreen:
        """One device's screen."""
        return HttpScreenSource(self._collector, device, self._issued_by)

    async def report(self, wanted: ReportFilter) -> IncompleteReport:
        """The incomplete-enrollments report."""
        asked = {"days": str(wanted.days)}
        if wanted.operating_system is not None:
            asked["os"] = wanted.operating_system
        if wanted.section is not None:
            asked["section"] = wanted.section.value
        try:
            return _report(await self._collector.incomplete(asked))
        except (CollectorUnreachable, CollectorRefused) as problem:
            raise SourceRefused(str(problem)) from None

    async def send(self, device: str, action: CommandAction) -> CommandLine:
        """Send a command to the device's latest attempt."""
        try:
            return await self._collector.send(device, action, self._issued_by)
        except (CollectorUnreachable, CollectorRefused) as problem:
            raise SourceRefused(str(problem)) from None


def _report(told: IncompleteEnrollments) -> IncompleteReport:
    days = tuple(point.day for point in told.lines[0].days) if told.lines else ()
    return IncompleteReport(
        days=days,
        initiated=told.roll_up.initiated,
        incomplete=told.roll_up.incomplete,
        rate_percent=told.roll_up.incomplete_rate_percent,
        lines={line.section: tuple(p.abandoned for p in line.days) for line in told.lines},
        actions=tuple(
            ActionCount(
                section=table.section,
                action_name=row.action_name,
                screen=row.screen_or_flow,
                platform=row.platform,
                user_action=row.user_action,
                count=row.count,
            )
            for table in told.tables
            for row in (*table.rows, *table.others)
        ),
    )


async def _again_and_again(
    ask: Callable[[], Awaitable[T]], changes: Callable[[], AsyncIterator[bool]]
) -> AsyncIterator[T | Unanswered]:
    """Ask at once, then after each change, at most once a second and at least every ten."""
    since: datetime | None = None
    async with _Changes(changes) as changed:
        while True:
            try:
                yield await ask()
                since = None
            except (CollectorUnreachable, CollectorRefused) as problem:
                since = since or datetime.now(UTC)
                yield Unanswered(str(problem), since)
            await asyncio.sleep(REFRESH_S)
            if since is None:
                await changed.wait()


class _Changes:
    """Listens to the live updates beside whoever waits; while it can't, every wait ends at once."""

    def __init__(self, listen: Callable[[], AsyncIterator[bool]]) -> None:
        self._listen = listen
        self._changed = asyncio.Event()
        self._live = False
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name="live updates")
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None, "entered before it is left"
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def wait(self) -> None:
        """Until something changed, or for ten seconds: what only time changes, such as ages, moves on too."""
        if self._live:
            with suppress(TimeoutError):
                async with asyncio.timeout(STALE_S):
                    await self._changed.wait()
        self._changed.clear()

    async def _run(self) -> None:
        while True:
            try:
                async for stored in self._listen():
                    self._live = True
                    if stored:
                        self._changed.set()
            except (CollectorUnreachable, CollectorRefused) as problem:
                # Whoever asks finds out as well, and tells the person.
                LOG.debug("no live updates", problem=str(problem))
            self._live = False
            self._changed.set()
            await asyncio.sleep(RECONNECT_S)


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
