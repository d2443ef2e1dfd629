"""The enrollment status page with the rows that its document shows."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from agent.screen.ports import IntentRefused
from agent.wire.messages import CommandAction
from agent.wire.profile import EspProfile
from agent.wire.progress import PhaseProgress, Progress, Reporting, RowProgress
from agent.wire.vocabulary import (
    Choice,
    EndState,
    EnrollmentType,
    FailureKind,
    Gate,
    PersonAction,
    Phase,
    RowState,
    Stage,
)
from collector.board.ports import (
    BoardSnapshot,
    DeviceStory,
    IncompleteReport,
    ReportFilter,
    SourceRefused,
    Unanswered,
    WatchedScreen,
)
from collector.pages import page
from collector.pages.history import CommandLine
from tests.collector.board.stories import command, seed_report, stuck_story

AT = datetime(2025, 6, 15, 12, 0, tzinfo=UTC)

_PLATFORMS = (
    (EnrollmentType.WINDOWS_AUTOPILOT, 4234, 156, 98.5, 45.0),
    (EnrollmentType.WINDOWS_MANUAL, 1234, 23, 99.2, 15.0),
    (EnrollmentType.MACOS_ADE, 567, 12, 97.8, 30.0),
    (EnrollmentType.IOS, 1456, 45, 99.5, 5.0),
    (EnrollmentType.ANDROID_ENTERPRISE, 965, 34, 98.9, 8.0),
)
_ACTIVE = (
    ("DESKTOP-NEW001", "john.doe@company.com", "Windows 11", Stage.INSTALLING_APPS, 75),
    ("MacBook-NEW002", "jane.smith@company.com", "macOS 14", Stage.APPLYING_POLICIES, 50),
    ("iPhone-NEW003", "bob.jones@company.com", "iOS 17", Stage.DEVICE_SETUP, 25),
)
_REASONS = (
    (FailureKind.DEVICE_LIMIT_EXCEEDED, 12),
    (FailureKind.OS_NOT_SUPPORTED, 8),
    (FailureKind.USER_CANCELLED, 5),
    (FailureKind.NETWORK_TIMEOUT, 3),
)
_PROFILES = (
    ("Default ESP", 3, 60, "All Devices"),
    ("Executive ESP", 5, 90, "Executives"),
    ("Kiosk ESP", 2, 30, "Kiosk Devices"),
)


def active_row(
    device: str, user: str | None, platform: str, stage: Stage, percent: int
) -> page.ActiveEnrollment:
    return page.ActiveEnrollment(
        device=device,
        user=user,
        platform=platform,
        enrollment_type=EnrollmentType.WINDOWS_AUTOPILOT,
        stage=stage,
        phase=Phase.DEVICE_SETUP,
        progress_percent=percent,
        attempt=f"{device}-1",
        attempt_number=1,
        attempt_ms=600_000,
        updated_at=AT,
        silent=False,
    )


def _failure(
    device: str, platform: str, user: str, hours: int, kind: FailureKind, code: str
) -> page.RecentFailure:
    return page.RecentFailure(
        device=device,
        platform=platform,
        user=user,
        enrollment_type=None,
        attempt=f"{device}-1",
        failed_at=AT - timedelta(hours=hours),
        age_seconds=hours * 3600,
        age=f"{hours} hours ago",
        kind=kind,
        code=code,
        text=kind.label,
        detail="",
        end_state=EndState.REFUSED,
    )


def seed_page(active: int = 3, stuck: dict[str, str] | None = None) -> BoardSnapshot:
    """The page; with more active rows than three when asked for."""
    extra = [
        active_row(f"DESKTOP-NEW{n:03}", None, "Windows 11", Stage.ACCOUNT_SETUP, n % 100)
        for n in range(4, active + 1)
    ]
    rows = [active_row(*row) for row in _ACTIVE][:active] + extra
    return BoardSnapshot(
        status=page.EnrollmentStatus(
            generated_at=AT,
            overview=page.OverviewFigures(enrolled=8456, in_progress=23, pending=12, failed=5),
            platforms=tuple(
                page.PlatformFigures(
                    enrollment_type=t,
                    platform=t.label,
                    total=total,
                    last_7_days=recent,
                    success_rate_percent=rate,
                    average_minutes=minutes,
                )
                for t, total, recent, rate, minutes in _PLATFORMS
            ),
        ),
        active=page.ActiveEnrollments(generated_at=AT, devices=tuple(reversed(rows))),
        failures=page.EnrollmentFailures(
            generated_at=AT,
            recent=(
                _failure(
                    "DESKTOP-FAIL001",
                    "Windows 11",
                    "john.doe@company.com",
                    2,
                    FailureKind.DIFFERENT_USER,
                    "0x801c0003",
                ),
                _failure(
                    "MacBook-FAIL002",
                    "macOS 14",
                    "jane.smith@company.com",
                    5,
                    FailureKind.USER_CANCELLED,
                    "userAbandonment",
                ),
            ),
            window_days=7,
            common_reasons=tuple(
                page.FailureReason(kind=k, reason=k.label, count=n) for k, n in _REASONS
            ),
        ),
        profiles=page.ProfileList(
            profiles=tuple(
                page.ProfileRow(
                    id=name.lower().replace(" ", "-"),
                    name=name,
                    blocking_apps=apps,
                    blocks_on_all=False,
                    timeout_minutes=minutes,
                    assigned_groups=(group,),
                    status="Active",
                    priority=number,
                    default=number == 1,
                    settings=EspProfile(id=f"p{number}", name=name),
                )
                for number, (name, apps, minutes, group) in enumerate(_PROFILES, 1)
            )
        ),
        stuck=stuck or {},
    )


def empty_page() -> BoardSnapshot:
    """The page before anything happened."""
    whole = seed_page(0)
    return BoardSnapshot(
        status=whole.status.model_copy(
            update={
                "overview": page.OverviewFigures(enrolled=0, in_progress=0, pending=0, failed=0)
            }
        ),
        active=page.ActiveEnrollments(generated_at=AT, devices=()),
        failures=whole.failures.model_copy(update={"recent": (), "common_reasons": ()}),
        profiles=whole.profiles,
        stuck={},
    )


def some_progress(device: str) -> Progress:
    """A device in the middle of its setup."""
    row = RowProgress(
        id="apps",
        title="Apps",
        state=RowState.IN_PROGRESS,
        verb="installed",
        done=2,
        total=3,
    )
    return Progress(
        device=device,
        user="john.doe@company.com",
        enrollment_type=EnrollmentType.WINDOWS_AUTOPILOT,
        platform="Windows 11",
        attempt=f"{device}-1",
        attempt_number=1,
        attempt_ms=600_000,
        phase=Phase.DEVICE_SETUP,
        stage=Stage.INSTALLING_APPS,
        percent=75,
        gate=Gate.LOCKED,
        phases=(
            PhaseProgress(
                phase=Phase.DEVICE_SETUP, state=RowState.IN_PROGRESS, shown=True, rows=(row,)
            ),
        ),
    )


@dataclass
class ShownScreen:
    """A screen that shows one snapshot."""

    device: str
    emergency_exit_allowed: bool = False
    can_act: bool = True
    problem: str = ""

    async def snapshots(self) -> AsyncIterator[tuple[Progress, Reporting]]:
        import asyncio  # noqa: PLC0415

        yield some_progress(self.device), Reporting(connected=True)
        await asyncio.Event().wait()

    async def person_acted(self, item: str, action: PersonAction) -> None:
        raise IntentRefused("not here")

    async def person_chose(self, choice: Choice, item: str | None) -> None:
        raise IntentRefused("not here")

    async def emergency_exit(self) -> None:
        raise IntentRefused("not here")


@dataclass
class ShownBoard:
    """Feeds a board with what a test puts in."""

    news: list[BoardSnapshot | Unanswered]
    opened: list[str] = field(default_factory=list)
    asked: list[ReportFilter] = field(default_factory=list)
    sent: list[tuple[str, CommandAction]] = field(default_factory=list)
    refuses: str = ""
    made: IncompleteReport = field(default_factory=seed_report)
    told: list[DeviceStory | Unanswered] = field(default_factory=lambda: [stuck_story()])

    async def snapshots(self) -> AsyncIterator[BoardSnapshot | Unanswered]:
        for one in self.news:
            yield one

    def screen(self, device: str) -> WatchedScreen:
        self.opened.append(device)
        return ShownScreen(device)

    async def stories(self, device: str) -> AsyncIterator[DeviceStory | Unanswered]:
        self.opened.append(f"history of {device}")
        for one in self.told:
            yield one

    async def report(self, wanted: ReportFilter) -> IncompleteReport:
        self.asked.append(wanted)
        if self.refuses:
            raise SourceRefused(self.refuses)
        return self.made

    async def send(self, device: str, action: CommandAction) -> CommandLine:
        if self.refuses:
            raise SourceRefused(self.refuses)
        self.sent.append((device, action))
        return command(action)
