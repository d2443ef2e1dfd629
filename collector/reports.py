"""The figures of the enrollment status page, computed from attempts; docs/definitions.md says what each one means."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from agent.wire.progress import Failure
from agent.wire.vocabulary import SUCCESS_STATES, EndState, EnrollmentType, FailureKind
from collector.attempts import FAILURE_STATES, AttemptView

DAY_MS = 24 * 60 * 60 * 1000
RECENT_DAYS = 7
SILENT_AFTER_MS = DAY_MS

NOT_RATED = frozenset({EndState.RESET, EndState.SUPERSEDED})


@dataclass(frozen=True, slots=True)
class Tally:
    """How many attempts are alike in all that the summary asks about them."""

    enrollment_type: EnrollmentType | None
    latest: bool
    end_state: EndState | None
    waits_on_error: bool
    attempts: int
    recent: int
    """Of these, those that ended in the last 7 days."""
    attempt_ms: int
    """Attempt time of all of them together."""


@dataclass(frozen=True, slots=True)
class Overview:
    """Every known device is in one of the four.

    The exception is a success whose enrollment type is lost: the five platform totals add up to `enrolled`.
    """

    enrolled: int
    in_progress: int
    pending: int
    failed: int


@dataclass(frozen=True, slots=True)
class PlatformRow:
    """One row of enrollment by platform."""

    enrollment_type: EnrollmentType
    total: int
    recent: int
    """Of the total, those that succeeded in the last 7 days."""
    succeeded_attempts: int
    rated_attempts: int
    succeeded_attempt_ms: int
    """Attempt time of all successes together."""

    @property
    def success_rate(self) -> float | None:
        """Between 0 and 1; None while nothing has ended."""
        return self.succeeded_attempts / self.rated_attempts if self.rated_attempts else None

    @property
    def average_ms(self) -> float | None:
        """Mean attempt time of the successes; None while there are none."""
        if not self.succeeded_attempts:
            return None
        return self.succeeded_attempt_ms / self.succeeded_attempts


def overview(tallies: Iterable[Tally], waiting: int) -> Overview:
    """Enrolled, in progress, pending and failed devices; `waiting` are the registered ones without an attempt.

    A device counts by its latest attempt. Pending are those that wait, and those whose latest attempt was ended by a
    reset and that have not begun again.
    """
    counts: Counter[str] = Counter()
    for tally in tallies:
        if tally.latest:
            counts[_standing(tally)] += tally.attempts
    return Overview(
        enrolled=counts["enrolled"],
        in_progress=counts["in_progress"],
        pending=counts["pending"] + waiting,
        failed=counts["failed"],
    )


def _standing(tally: Tally) -> str:
    if tally.end_state is None:
        return "failed" if tally.waits_on_error else "in_progress"
    if tally.end_state in FAILURE_STATES:
        return "failed"
    if tally.end_state in SUCCESS_STATES:
        return "enrolled" if tally.enrollment_type is not None else "unknown"
    return "pending"


def is_silent(view: AttemptView, now_ms: int) -> bool:
    """Open and not heard of for 24 hours; the next report takes the mark away."""
    return view.end_state is None and now_ms - view.updated_ms > SILENT_AFTER_MS


def platforms(tallies: Sequence[Tally], wanted: Sequence[EnrollmentType] = ()) -> list[PlatformRow]:
    """One row for each enrollment type, in the page's order, the empty ones included; only the wanted ones if any are."""
    return [
        _platform(one, [t for t in tallies if t.enrollment_type is one])
        for one in EnrollmentType
        if not wanted or one in wanted
    ]


def _platform(enrollment_type: EnrollmentType, tallies: Sequence[Tally]) -> PlatformRow:
    ended = [t for t in tallies if t.end_state is not None]
    successes = [t for t in ended if t.end_state in SUCCESS_STATES]
    return PlatformRow(
        enrollment_type=enrollment_type,
        total=sum(t.attempts for t in successes if t.latest),
        recent=sum(t.recent for t in successes if t.latest),
        succeeded_attempts=sum(t.attempts for t in successes),
        rated_attempts=sum(t.attempts for t in ended if t.end_state not in NOT_RATED),
        succeeded_attempt_ms=sum(t.attempt_ms for t in successes),
    )


@dataclass(frozen=True, slots=True)
class ReasonCount:
    """How many failed attempts ended alike, with failures of one kind; None where no report carried a failure."""

    kind: FailureKind | None
    end_state: EndState | None
    attempts: int


def common_reasons(counted: Iterable[ReasonCount]) -> list[tuple[FailureKind, int]]:
    """How often attempts failed, by reason, the most frequent first."""
    counts: Counter[FailureKind] = Counter()
    for one in counted:
        counts[one.kind or _kind_without_words(one.end_state)] += one.attempts
    return sorted(counts.items(), key=lambda pair: (-pair[1], pair[0].value))


def failure_of(view: AttemptView) -> Failure:
    """The failure of an attempt that has failed; one made from the end state when no report carried any."""
    if view.failure is not None:
        return view.failure
    kind = _kind_without_words(view.end_state)
    return Failure(kind=kind, code=kind.value, person=kind.label, engineer=kind.label)


def _kind_without_words(end_state: EndState | None) -> FailureKind:
    timed_out = end_state is EndState.TIMED_OUT
    return FailureKind.SETUP_TIMED_OUT if timed_out else FailureKind.STEP_FAILED
