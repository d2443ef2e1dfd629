"""The figures of the enrollment status page, computed from attempts; docs/definitions.md says what each one means."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from agent.wire.progress import Failure
from agent.wire.vocabulary import SUCCESS_STATES, EndState, EnrollmentType, FailureKind
from collector.attempts import AttemptView

DAY_MS = 24 * 60 * 60 * 1000
RECENT_DAYS = 7
SILENT_AFTER_MS = DAY_MS

_NOT_RATED = frozenset({EndState.RESET, EndState.SUPERSEDED})


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


def overview(attempts: Iterable[AttemptView], registered: Collection[str]) -> Overview:
    """Enrolled, in progress, pending and failed devices.

    A device counts by its latest attempt. Pending are the registered devices without an attempt, and those whose
    latest attempt was ended by a reset and that have not begun again.
    """
    counts: Counter[str] = Counter()
    seen: set[str] = set()
    for view in attempts:
        if view.latest:
            seen.add(view.device)
            counts[_standing(view)] += 1
    waiting = sum(1 for device in registered if device not in seen)
    return Overview(
        enrolled=counts["enrolled"],
        in_progress=counts["in_progress"],
        pending=counts["pending"] + waiting,
        failed=counts["failed"],
    )


def _standing(view: AttemptView) -> str:
    if view.has_failed:
        return "failed"
    if view.end_state is None:
        return "in_progress"
    if view.end_state in SUCCESS_STATES:
        return "enrolled" if view.enrollment_type is not None else "unknown"
    return "pending"


def active(attempts: Iterable[AttemptView]) -> list[AttemptView]:
    """The latest attempts that are in progress, the most recently begun first."""
    rows = [v for v in attempts if v.latest and v.end_state is None and not v.has_failed]
    return sorted(rows, key=lambda v: (-v.first_order, v.device))


def is_silent(view: AttemptView, now_ms: int) -> bool:
    """Open and not heard of for 24 hours; the next report takes the mark away."""
    return view.end_state is None and now_ms - view.updated_ms > SILENT_AFTER_MS


def platforms(attempts: Iterable[AttemptView], now_ms: int) -> list[PlatformRow]:
    """One row for each enrollment type, in the page's order, the empty ones included."""
    by_type: dict[EnrollmentType, list[AttemptView]] = {t: [] for t in EnrollmentType}
    for view in attempts:
        if view.enrollment_type is not None:
            by_type[view.enrollment_type].append(view)
    return [_platform(t, views, now_ms) for t, views in by_type.items()]


def _platform(
    enrollment_type: EnrollmentType, views: Sequence[AttemptView], now_ms: int
) -> PlatformRow:
    successes = [v for v in views if v.end_state in SUCCESS_STATES]
    enrolled = [v for v in successes if v.latest]
    since_ms = now_ms - RECENT_DAYS * DAY_MS
    return PlatformRow(
        enrollment_type=enrollment_type,
        total=len(enrolled),
        recent=sum(1 for v in enrolled if (v.ended_ms or 0) > since_ms),
        succeeded_attempts=len(successes),
        rated_attempts=sum(1 for v in views if v.end_state and v.end_state not in _NOT_RATED),
        succeeded_attempt_ms=sum(v.attempt_ms for v in successes),
    )


@dataclass(frozen=True, slots=True)
class FailureRow:
    """One recent failure."""

    view: AttemptView
    failure: Failure
    age_ms: int


def failures(attempts: Iterable[AttemptView], now_ms: int, *, limit: int) -> list[FailureRow]:
    """The devices that have failed now, the most recent first: those that the overview counts as failed."""
    failed = [v for v in attempts if v.latest and v.has_failed]
    failed.sort(key=lambda v: (-v.failed_ms, v.device))
    return [FailureRow(v, failure_of(v), max(0, now_ms - v.failed_ms)) for v in failed[:limit]]


def common_reasons(
    attempts: Iterable[AttemptView], now_ms: int, *, window_days: int
) -> list[tuple[FailureKind, int]]:
    """How often attempts failed in the window, by reason, the most frequent first; every attempt counts."""
    since_ms = now_ms - window_days * DAY_MS
    counts = Counter(
        failure_of(v).kind for v in attempts if v.has_failed and v.failed_ms > since_ms
    )
    return sorted(counts.items(), key=lambda pair: (-pair[1], pair[0].value))


def failure_of(view: AttemptView) -> Failure:
    """The failure of an attempt that has failed; one made from the end state when no report carried any."""
    if view.failure is not None:
        return view.failure
    timed_out = view.end_state is EndState.TIMED_OUT
    kind = FailureKind.SETUP_TIMED_OUT if timed_out else FailureKind.STEP_FAILED
    return Failure(kind=kind, code=kind.value, person=kind.label, engineer=kind.label)
