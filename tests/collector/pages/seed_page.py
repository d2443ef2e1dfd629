"""The fleet behind the enrollment status page as its document prints it: what each device reported, and when."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle, islice

from agent.wire.assignment import Admitted, AssignedItem, Refused
from agent.wire.events import AttemptStarted, Event
from agent.wire.profile import EspProfile
from agent.wire.progress import Failure
from agent.wire.vocabulary import EndState, EnrollmentType, FailureKind, Stage
from collector.admission import AdmissionRules, Standing, code_of, decide
from collector.profiles.setup import Catalogue, ProfileEntry, Registration, Setup
from tests.collector.fleet import NOON_MS, Office, Reporter, failure

HOUR_MS = 60 * 60 * 1000
DAY_MS = 24 * HOUR_MS

AUTOPILOT, MANUAL = EnrollmentType.WINDOWS_AUTOPILOT, EnrollmentType.WINDOWS_MANUAL
MAC, IOS = EnrollmentType.MACOS_ADE, EnrollmentType.IOS
ANDROID = EnrollmentType.ANDROID_ENTERPRISE

OS = {
    AUTOPILOT: ("Windows 11", "10.0.22631"),
    MANUAL: ("Windows 11", "10.0.22631"),
    MAC: ("macOS 14", "14.5"),
    IOS: ("iOS 17", "17.5"),
    ANDROID: ("Android 14", "14"),
}


@dataclass(frozen=True)
class Platform:
    """One row of the table, and how many attempts failed so that its rate comes out."""

    enrollment_type: EnrollmentType
    total: int
    last_7_days: int
    failed_attempts: int
    minutes: int


PLATFORMS = (
    Platform(AUTOPILOT, 4234, 156, 64, 45),
    Platform(MANUAL, 1234, 23, 10, 15),
    Platform(MAC, 567, 12, 13, 30),
    Platform(IOS, 1456, 45, 7, 5),
    Platform(ANDROID, 965, 34, 11, 8),
)
ACTIVE = (
    ("DESKTOP-NEW001", "john.doe@company.com", AUTOPILOT, Stage.INSTALLING_APPS, 75),
    ("MacBook-NEW002", "jane.smith@company.com", MAC, Stage.APPLYING_POLICIES, 50),
    ("iPhone-NEW003", "bob.jones@company.com", IOS, Stage.DEVICE_SETUP, 25),
)
IN_PROGRESS = 23
PENDING = 12
# The last 7 days, all platforms together; the two devices with names of their own are among them.
REASONS = (
    [FailureKind.DEVICE_LIMIT_EXCEEDED] * 12
    + [FailureKind.OS_NOT_SUPPORTED] * 8
    + [FailureKind.USER_CANCELLED] * 4
    + [FailureKind.NETWORK_TIMEOUT] * 3
)
STILL_FAILED = ((MANUAL, 20), (IOS, 40), (ANDROID, 60))
"""Three more devices that have not tried again: their platform, and how many hours ago they failed."""


class Fleet:
    """What happened, as moments with the reports that were stored then."""

    def __init__(self) -> None:
        self.moments: dict[int, list[Event]] = {}

    def store(self, office: Office) -> None:
        """Everything, in the order of time, through intake."""
        for at_ms in sorted(self.moments):
            office.clock.at_ms = at_ms
            office.take_in(self.moments[at_ms])
        office.clock.at_ms = NOON_MS

    def at(self, at_ms: int, *events: Event) -> None:
        """These reports were stored then."""
        self.moments.setdefault(at_ms, []).extend(events)


def device(name: str, enrollment_type: EnrollmentType, user: str | None = None) -> Reporter:
    """One device of a platform, with a stream of its own."""
    platform, version = OS[enrollment_type]
    return Reporter(
        device=name,
        stream=f"{name}-stream",
        enrollment_type=enrollment_type,
        platform=platform,
        os_version=version,
        user=user or f"{name.casefold()}@company.com",
    )


def fleet() -> Fleet:
    """The whole story."""
    story = Fleet()
    reasons = iter(REASONS)
    for row in PLATFORMS:
        _platform(story, row, reasons)
    assert next(reasons, None) is None, "every failure of the last 7 days has happened"
    _failures_with_names(story)
    _in_progress(story)
    return story


def _platform(story: Fleet, row: Platform, reasons: Iterator[FailureKind]) -> None:
    mine = sum(1 for platform, _hours in STILL_FAILED if platform is row.enrollment_type)
    named = 1 if row.enrollment_type in (AUTOPILOT, MAC) else 0
    troubled = row.failed_attempts - mine - named
    recent = islice(
        reasons, {AUTOPILOT: 12, MANUAL: 5, MAC: 3, IOS: 2, ANDROID: 2}[row.enrollment_type]
    )
    kinds = [*recent]
    # Durations around the mean, which they keep.
    minutes = cycle((row.minutes - 2, row.minutes, row.minutes + 2))
    durations = [*islice(minutes, row.total - row.total % 3), *[row.minutes] * (row.total % 3)]
    for number, duration in enumerate(durations):
        one = device(f"{row.enrollment_type.value.replace('_', '-')}-{number}", row.enrollment_type)
        is_recent = number < row.last_7_days
        at_ms = NOON_MS - (3 if is_recent else 30) * DAY_MS
        if number < troubled:
            _failed_before(
                story, one, kinds.pop() if is_recent and kinds else None, at_ms - HOUR_MS
            )
        story.at(at_ms, one.begin(), one.end(EndState.SUCCEEDED, minutes=duration))
    for platform, hours in STILL_FAILED:
        if platform is row.enrollment_type:
            one = device(f"{platform.value.replace('_', '-')}-failed", platform)
            _failed_before(story, one, next(reasons), NOON_MS - hours * HOUR_MS)
    assert not kinds, "every reason found a device"


def _failed_before(story: Fleet, one: Reporter, kind: FailureKind | None, at_ms: int) -> None:
    """An attempt that failed; without a kind it is too long ago to be among the common reasons."""
    if kind is None:
        story.at(NOON_MS - 31 * DAY_MS, one.begin(), one.end(EndState.FAILED, problem=failure()))
        return
    if kind is FailureKind.USER_CANCELLED:
        state, code = EndState.ABANDONED, "userAbandonment"
    elif kind is FailureKind.NETWORK_TIMEOUT:
        state, code = EndState.FAILED, "0x80072ee2"
    else:
        state, code = EndState.REFUSED, code_of(kind, one.enrollment_type)
    story.at(at_ms, one.begin(), one.end(state, minutes=1, problem=failure(kind, code)))


def _failures_with_names(story: Fleet) -> None:
    desktop = device("DESKTOP-FAIL001", AUTOPILOT, "john.doe@company.com")
    refusal = _refused_as_another_users(desktop)
    story.at(
        NOON_MS - 2 * HOUR_MS,
        desktop.begin(),
        desktop.end(EndState.REFUSED, minutes=1, problem=refusal),
    )
    mac = device("MacBook-FAIL002", MAC, "jane.smith@company.com")
    cancelled = Failure(
        kind=FailureKind.USER_CANCELLED,
        code="userAbandonment",
        person="Setup was stopped.",
        engineer="MDM profile installation failed: User cancelled enrollment",
    )
    story.at(
        NOON_MS - 5 * HOUR_MS,
        mac.begin(),
        mac.end(EndState.ABANDONED, minutes=3, problem=cancelled),
    )


def _refused_as_another_users(one: Reporter) -> Failure:
    """What admission itself says."""
    started = one.begin("asks").report.body
    assert isinstance(started, AttemptStarted)
    one.sent.clear()
    one.seq, one.number, one.last_digest = 0, 0, None
    offer = Admitted(profile=EspProfile(id="any", name="any"), items=())
    standing = Standing(owner="ann.lee@company.com", other_devices=0, registered=True)
    decision = decide(started, standing, AdmissionRules(), offer)
    assert isinstance(decision, Refused)
    return decision.failure


def _in_progress(story: Fleet) -> None:
    for number in range(IN_PROGRESS - len(ACTIVE)):
        one = device(f"busy-{number}", AUTOPILOT)
        story.at(NOON_MS - 2 * HOUR_MS, one.begin(), one.move(number * 4, attempt_ms=HOUR_MS))
    # The page has the most recently begun first.
    for minutes, (name, user, enrolls, stage, percent) in enumerate(ACTIVE, 10):
        one = device(name, enrolls, user)
        story.at(NOON_MS - minutes * 60_000, one.begin())
        story.at(NOON_MS - 60_000, one.move(percent, stage))


def setup() -> Setup:
    """Profiles and apps of the page, and the devices that are expected."""
    apps = (
        AssignedItem(id="office", name="Microsoft 365 Apps"),
        AssignedItem(id="company-portal", name="Company Portal"),
        AssignedItem(id="vpn", name="VPN Client"),
        AssignedItem(id="board-books", name="Board Books"),
        AssignedItem(id="kiosk-browser", name="Kiosk Browser"),
    )
    three = ("office", "company-portal", "vpn")
    return Setup(
        profiles=(
            ProfileEntry(
                name="Default ESP",
                blocking_apps=three,
                timeout_minutes=60,
                assigned_groups=("All Devices",),
                default=True,
            ),
            ProfileEntry(
                name="Executive ESP",
                blocking_apps=(*three, "board-books", "kiosk-browser"),
                timeout_minutes=90,
                assigned_groups=("Executives",),
            ),
            ProfileEntry(
                name="Kiosk ESP",
                blocking_apps=("vpn", "kiosk-browser"),
                timeout_minutes=30,
                assigned_groups=("Kiosk Devices",),
            ),
        ),
        catalogue={AUTOPILOT: Catalogue(items=apps)},
        registrations=(
            *(Registration(device=f"expected-{n}") for n in range(PENDING)),
            *(Registration(device=name) for name, *_ in ACTIVE),
        ),
    )
