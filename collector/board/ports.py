"""What the board needs of whoever feeds it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Protocol

from agent.screen.ports import ScreenSource
from agent.wire.messages import CommandAction
from agent.wire.vocabulary import Section
from collector.pages import page
from collector.pages.history import CommandLine, DeviceHistory
from collector.stuck.standing import Standing


class SourceRefused(Exception):
    """What the board asked for can't be had: one sentence for the person."""


@dataclass(frozen=True, slots=True)
class BoardSnapshot:
    """The whole page at one moment."""

    status: page.EnrollmentStatus
    active: page.ActiveEnrollments
    failures: page.EnrollmentFailures
    profiles: page.ProfileList
    stuck: Mapping[str, str]
    """By device: the name of the item that is stuck."""


@dataclass(frozen=True, slots=True)
class Unanswered:
    """The collector gave no answer: what was shown before stays, with this sentence beside it."""

    sentence: str
    since: datetime


@dataclass(frozen=True, slots=True)
class ReportFilter:
    """What part of the incomplete-enrollments report is looked at."""

    days: int = 14
    operating_system: str | None = None
    """`ios` or `android`; None is both."""
    section: Section | None = None


@dataclass(frozen=True, slots=True)
class ActionCount:
    """One row of the report's tables."""

    section: Section
    action_name: str
    screen: str
    platform: str
    user_action: str
    count: int


@dataclass(frozen=True, slots=True)
class IncompleteReport:
    """The incomplete-enrollments report."""

    days: tuple[date, ...]
    initiated: int
    incomplete: int
    rate_percent: float | None
    """None while nothing was initiated."""
    lines: Mapping[Section, Sequence[int]]
    """For each section one count a day."""
    actions: tuple[ActionCount, ...]


@dataclass(frozen=True, slots=True)
class DeviceStory:
    """Where a device is and why, and everything that is stored about it."""

    standing: Standing
    history: DeviceHistory


class WatchedScreen(ScreenSource, Protocol):
    """One device's screen from afar, which may have nothing to show."""

    @property
    def problem(self) -> str:
        """Why it ended by itself, as one sentence; empty where the board says so anyway."""
        ...


class BoardSource(Protocol):
    """Feeds one board."""

    def snapshots(self) -> AsyncIterator[BoardSnapshot | Unanswered]:
        """What to draw, whenever it changed."""
        ...

    def screen(self, device: str) -> WatchedScreen:
        """The screen of one device, live."""
        ...

    def stories(self, device: str) -> AsyncIterator[DeviceStory | Unanswered]:
        """One device's history, whenever it changed."""
        ...

    async def report(self, wanted: ReportFilter) -> IncompleteReport:
        """The incomplete-enrollments report. Raises `SourceRefused`."""
        ...

    async def send(self, device: str, action: CommandAction) -> CommandLine:
        """Send a command to the device's latest attempt. Raises `SourceRefused`."""
        ...
