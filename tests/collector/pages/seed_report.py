"""The fleet behind the incomplete-enrollments report: how often each of its rows happened, and when."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache

from agent.core.person_screens import ABANDONMENT_ROWS
from agent.wire.vocabulary import EndState, EnrollmentType, Section
from tests.agent.core.script import Script
from tests.collector.fleet import NOON_MS, Office, Reporter, failure
from tests.collector.portal import (
    ANDROID,
    IOS,
    ROWS,
    Sender,
    abandoned,
    closed,
    enrolled,
    waiting,
)

DAY_MS = 24 * 60 * 60 * 1000
TODAY = datetime.fromtimestamp(NOON_MS / 1000, UTC).date()
MIDNIGHT_MS = round(datetime.combine(TODAY, datetime.min.time(), UTC).timestamp() * 1000)

# By row and platform: how often it happened, each on a day of its own.
CASES = [
    (row, platform, 1 + number % 4, number % 14)
    for number, (row, platform) in enumerate(
        (row, platform) for row in ABANDONMENT_ROWS for platform in sorted(row.platforms)
    )
]


@cache
def _ended(row: str, platform: EnrollmentType) -> Script:
    return abandoned(ROWS[row], platform)


def fill(office: Office) -> None:
    """Every row on every platform, and what is in no row."""
    for row, platform, times, days_ago in CASES:
        _store(office, [_ended(row.id, platform)] * times, f"{row.id}-{platform.value}", days_ago)
    for platform in (IOS, ANDROID):
        name = platform.value
        _store(office, [enrolled(platform)] * 30, f"{name}-enrolled", 2)
        _store(office, [waiting(platform)] * 2, f"{name}-waiting", 0)
        _store(office, [closed(platform)] * 3, f"{name}-closed", 1)
    failed = [_told(EndState.FAILED), _told(EndState.BYPASSED), _told(EndState.REFUSED)]
    for number, one in enumerate(failed):
        office.clock.at_ms = NOON_MS - 3 * DAY_MS
        office.take_in([one.begin(), one.end(STATES[number], problem=failure())])
    mac = Reporter(device="mac", enrollment_type=EnrollmentType.MACOS_ADE)
    office.take_in([mac.begin(), mac.end(EndState.ABANDONED)])
    office.clock.at_ms = NOON_MS


STATES = (EndState.FAILED, EndState.BYPASSED, EndState.REFUSED)


def _told(state: EndState) -> Reporter:
    name = f"iPhone-{state.value}"
    return Reporter(device=name, stream=name, enrollment_type=IOS, platform="iOS 17")


def _store(office: Office, stories: list[Script], name: str, days_ago: int) -> None:
    office.clock.at_ms = NOON_MS - days_ago * DAY_MS
    for number, story in enumerate(stories):
        office.take_in(Sender(f"{name}-{number}").sent(story))


def times(*platforms: EnrollmentType, section: Section | None = None) -> int:
    """How many attempts ended by a row."""
    return sum(
        n
        for row, platform, n, _ in CASES
        if platform in platforms and section in (None, row.section)
    )


def abandon_at(office: Office, begun_ms: int, name: str, ended_ms: int | None = None) -> None:
    """Somebody declines the terms of use of an attempt that was begun then."""
    first, *rest = Sender(name).sent(abandoned(ROWS["terms-decline"], IOS))
    office.clock.at_ms = begun_ms
    office.take_in([first])
    office.clock.at_ms = begun_ms if ended_ms is None else ended_ms
    office.take_in(rest)
    office.clock.at_ms = NOON_MS
