"""What the board needs of whoever feeds it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from agent.screen.ports import ScreenSource
from collector import page


@dataclass(frozen=True, slots=True)
class BoardSnapshot:
    """The whole page at one moment."""

    status: page.EnrollmentStatus
    active: page.ActiveEnrollments
    failures: page.EnrollmentFailures
    profiles: page.ProfileList


@dataclass(frozen=True, slots=True)
class Unanswered:
    """The collector gave no answer: what was shown before stays, with this sentence beside it."""

    sentence: str
    since: datetime


class WatchedScreen(ScreenSource, Protocol):
    """One device's screen from afar, which may have nothing to show."""

    @property
    def problem(self) -> str:
        """Why it ended by itself, as one sentence; empty where the board says so anyway."""
        ...


class BoardSource(Protocol):
    """Feeds one board."""

    def snapshots(self) -> AsyncIterator[BoardSnapshot | Unanswered]:
        """What to draw, about once a second."""
        ...

    def screen(self, device: str) -> WatchedScreen:
        """The screen of one device, live."""
        ...
