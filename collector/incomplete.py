"""The incomplete-enrollments report: who began, who gave up, in which section and by which action; pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, tzinfo
from typing import Final

from agent.core.person_screens import ABANDONMENT_ROWS, AbandonmentRow
from agent.wire.vocabulary import (
    EXCEEDED_30_MINUTES,
    EndState,
    EnrollmentType,
    Section,
)

DAYS: Final = 14
"""How many days the report shows when nobody asks for others, today included."""
BACK_DAYS: Final = 30
"""The earliest day that can be asked for is so many days before today."""

PLATFORMS: Final = (EnrollmentType.IOS, EnrollmentType.ANDROID_ENTERPRISE)
"""The enrollment types that the report is about."""

COMPLETE: Final = frozenset({EndState.SUCCEEDED, EndState.SUCCEEDED_ON_RETRY})
"""The end states that leave an enrolled and compliant device."""


class RangeRefused(ValueError):
    """A range of days that the report does not have: the parameter at fault and one sentence with the remedy."""

    def __init__(self, key: str, sentence: str) -> None:
        super().__init__(f"{key}: {sentence}")
        self.key = key
        self.sentence = sentence


@dataclass(frozen=True, slots=True)
class Range:
    """Calendar days of one zone, both ends included."""

    first: date
    last: date
    zone: tzinfo

    @classmethod
    def asked(
        cls,
        now: datetime,
        *,
        first: date | None = None,
        last: date | None = None,
        days: int | None = None,
    ) -> Range:
        """The days that were asked for, in the zone of `now`; the last fourteen when nothing was.

        Raises:
            RangeRefused: it begins more than 30 days ago, ends before it begins, or is said in two ways.
        """
        today = now.date()
        if days is not None and first is not None:
            raise RangeRefused("days", "says the beginning as from does; give one of them")
        end = last or today
        # A calendar ends, and a day before the first one can't be written down.
        length = timedelta(days=(days or DAYS) - 1)
        begin = first or (end - length if end - date.min >= length else end)
        earliest = today - timedelta(days=BACK_DAYS)
        if first is None and days is None:
            begin = max(begin, min(earliest, end))
        if end > today:
            raise RangeRefused("to", f"is after today, {today}; ask for a day up to today")
        if begin < earliest:
            key = "from" if first is not None else "to" if days is None else "days"
            raise RangeRefused(
                key,
                f"goes back to {begin}, and the report to {earliest} at most; ask for fewer days",
            )
        if begin > end:
            raise RangeRefused("from", f"is after the last day, {end}; exchange them")
        assert isinstance(now.tzinfo, tzinfo), "a moment without a zone has no day"
        return cls(begin, end, now.tzinfo)

    @property
    def days(self) -> tuple[date, ...]:
        """Every day, the first one first."""
        count = (self.last - self.first).days + 1
        return tuple(self.first + timedelta(days=n) for n in range(count))

    @property
    def edges_ms(self) -> tuple[int, ...]:
        """When each day begins, and at the end when the last one is over; milliseconds since 1970.

        A day begins at its midnight in the zone, so that one on which clocks change is 23 or 25 hours long.
        """
        midnights = [*self.days, self.last + timedelta(days=1)]
        return tuple(
            round(datetime.combine(day, time(), self.zone).timestamp() * 1000) for day in midnights
        )


@dataclass(frozen=True, slots=True)
class Begun:
    """How many attempts were begun on one day and went the same way. `day` counts from the range's first."""

    day: int
    enrollment_type: EnrollmentType
    end_state: EndState | None
    section: Section | None
    action_name: str | None
    user_action: str | None
    screen: str | None
    attempts: int


@dataclass(frozen=True, slots=True)
class Action:
    """One row of a table. `id` is None for what is in no row of the four tables."""

    id: str | None
    section: Section
    action_name: str
    screen: str
    platform: str
    user_action: str
    attempts: int


@dataclass(frozen=True, slots=True)
class Report:
    """The whole report. Lines have one count a day."""

    initiated: int
    incomplete: int
    abandoned: int
    lines: Mapping[Section, tuple[int, ...]]
    tables: Mapping[Section, tuple[Action, ...]]
    others: tuple[Action, ...]
    """What was abandoned in a section by an action that its table has no row for, such as `Closed`."""
    without_section: int
    """Abandoned outside of the four sections; on no line and in no table."""

    @property
    def rate(self) -> float | None:
        """Abandoned of initiated, between 0 and 1; None while nothing was initiated."""
        return self.abandoned / self.initiated if self.initiated else None


def report(
    begun: Iterable[Begun],
    days: int,
    sections: Sequence[Section] = (),
    systems: Sequence[EnrollmentType] = (),
) -> Report:
    """The report over these attempts. With sections, all but `initiated` counts what was abandoned in them alone."""
    rows = list(begun)
    wanted = tuple(s for s in Section if not sections or s in sections)
    abandoned = [
        r
        for r in rows
        if r.end_state is EndState.ABANDONED and (not sections or r.section in sections)
    ]
    incomplete = (
        abandoned
        if sections
        else [r for r in rows if r.end_state is not None and r.end_state not in COMPLETE]
    )
    tables, others = _tables(abandoned, wanted, systems or PLATFORMS)
    return Report(
        initiated=_sum(rows),
        incomplete=_sum(incomplete),
        abandoned=_sum(abandoned),
        lines={s: _line([r for r in abandoned if r.section is s], days) for s in wanted},
        tables=tables,
        others=others,
        without_section=_sum(r for r in abandoned if r.section is None),
    )


def _sum(rows: Iterable[Begun]) -> int:
    return sum(row.attempts for row in rows)


def _line(rows: Iterable[Begun], days: int) -> tuple[int, ...]:
    counts = [0] * days
    for row in rows:
        counts[row.day] += row.attempts
    return tuple(counts)


def _tables(
    abandoned: Iterable[Begun], sections: Sequence[Section], systems: Sequence[EnrollmentType]
) -> tuple[dict[Section, tuple[Action, ...]], tuple[Action, ...]]:
    counts: Counter[str] = Counter()
    rest: Counter[tuple[Section, str, str, str, EnrollmentType]] = Counter()
    for one in abandoned:
        if one.section is None:
            continue
        row = row_of(one)
        if row is not None:
            counts[row.id] += one.attempts
        else:
            words = (one.action_name or "", one.screen or "", one.user_action or "")
            rest[(one.section, *words, one.enrollment_type)] += one.attempts
    tables = {
        section: tuple(
            _action(row, counts[row.id])
            for row in ABANDONMENT_ROWS
            if row.section is section and row.platforms & {*systems}
        )
        for section in sections
    }
    others = (
        Action(None, section, name, screen, platform.label, user_action, attempts)
        for (section, name, screen, user_action, platform), attempts in rest.items()
    )
    order = list(Section)
    return tables, tuple(
        sorted(others, key=lambda a: (order.index(a.section), -a.attempts, a.action_name, a.screen))
    )


def row_of(one: Begun) -> AbandonmentRow | None:
    """The row of the tables that an abandoned attempt belongs to."""
    found = [
        row
        for row in ABANDONMENT_ROWS
        if (row.section, row.action_name, user_action(row))
        == (one.section, one.action_name, one.user_action)
    ]
    # Two pairs of rows share section, action name and user action; the screen tells them apart.
    return found[0] if len(found) == 1 else next((r for r in found if r.start == one.screen), None)


def user_action(row: AbandonmentRow) -> str:
    """What the person did, as the tables print it."""
    return EXCEEDED_30_MINUTES if row.action is None else row.action.label


def platform(row: AbandonmentRow) -> str:
    """Where the row can happen, as the tables print it."""
    if len(row.platforms) > 1:
        return "iOS/Android"
    (only,) = row.platforms
    return "iOS/iPadOS" if only is EnrollmentType.IOS else "Android"


def _action(row: AbandonmentRow, attempts: int) -> Action:
    return Action(
        id=row.id,
        section=row.section,
        action_name=row.action_name,
        screen=SCREEN_OR_FLOW[row.id],
        platform=platform(row),
        user_action=user_action(row),
        attempts=attempts,
    )


SCREEN_OR_FLOW: Final = {
    "wrap-up-cancel": "Prompt to open page in Company Portal",
    "wrap-up-time": "Enrolling device screen until finish of Loading company resources",
    "device-category-time": "Device Category selection until Done",
    "wizard-postpone": "Set up access screen, returned to after enrollment had started",
    "wizard-time": "Set up access screen until Next on the What's Next screen",
    "profile-ignore": "Prompt to show a configuration profile",
    "profile-install-cancel": "Installing profile screen",
    "profile-trust-cancel": "Prompt to trust the profile's source",
    "profile-time": "Install profile screen until profile is installed",
    "permissions-cancel": "Device administrator activation screen",
    "permissions-time": "Prompt for phone calls until device administrator Activate",
    "knox-cancel": "KLMS agent activation (Samsung only)",
    "knox-time": "KLMS agent activation until Confirm",
    "terms-decline": "Terms of use",
    "terms-time": "Terms of use until Accept all",
    "compliance-postpone": "Device compliance shows as incomplete",
    "compliance-time": "Device compliance shows as incomplete until complete",
    "activation-postpone": "Enrollment activation shows as incomplete",
    "activation-time": "Device activation shows as incomplete until complete",
}
"""The second column of the tables, by the row's id."""
