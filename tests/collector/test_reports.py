"""The figures of the page mean what their definitions say."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.wire.events import AttemptEnded, Event
from agent.wire.topics import partition_of
from agent.wire.vocabulary import SUCCESS_STATES, EndState, EnrollmentType, FailureKind, Stage
from collector import reports
from collector.attempts import AttemptView
from collector.desk import Desk
from collector.profiles.setup import Registration
from collector.queries import attempts
from collector.queries.attempts import AttemptFilter
from collector.store.leases import Leases
from collector.store.store import Store
from tests.collector.fleet import NOON_MS, Reporter, arrival, failure

DAY = reports.DAY_MS
AUTOPILOT, IOS = EnrollmentType.WINDOWS_AUTOPILOT, EnrollmentType.IOS


class History:
    """Reports in the order in which a store took them in, and what the page says of them."""

    def __init__(self) -> None:
        self._store = Store("sqlite://", now_ms=NOON_MS)
        self._owner = Leases(self._store.database, "test", 10**9)
        self._terms = self._owner.tend({}).taken

    def take(self, *events: Event, at_ms: int = NOON_MS) -> None:
        arrivals = [arrival(e, self._terms[partition_of(e.device)]) for e in events]
        self._store.commit(arrivals, at_ms)

    @property
    def views(self) -> list[AttemptView]:
        return self._store.attempts()

    def overview(self, *registered: str) -> tuple[int, int, int, int]:
        rows = [Registration(device=device) for device in registered]
        Desk(self._store.database).register(rows, NOON_MS)
        waiting = attempts.waiting_registrations(self._store.database)
        figures = reports.overview(attempts.tallies(self._store.database, NOON_MS), waiting)
        return figures.enrolled, figures.in_progress, figures.pending, figures.failed

    def platforms(self) -> list[reports.PlatformRow]:
        return reports.platforms(attempts.tallies(self._store.database, NOON_MS))

    def row(self, enrollment_type: EnrollmentType = AUTOPILOT) -> reports.PlatformRow:
        return next(r for r in self.platforms() if r.enrollment_type is enrollment_type)

    def active(self, **wanted: Any) -> list[AttemptView]:
        order = attempts.ACTIVE_ORDERS["-begun"]
        found = attempts.active(
            self._store.database, AttemptFilter(**wanted), order, now_ms=NOON_MS, limit=99
        )
        return list(found.rows)

    def failures(self) -> list[AttemptView]:
        order = attempts.FAILURE_ORDERS["-failed"]
        found = attempts.failed(
            self._store.database, AttemptFilter(), order, now_ms=NOON_MS, limit=99
        )
        return list(found.rows)

    def reasons(self, window_days: int, at_ms: int = NOON_MS) -> list[tuple[FailureKind, int]]:
        counted = attempts.reasons(
            self._store.database, AttemptFilter(), now_ms=at_ms, window_days=window_days
        )
        return reports.common_reasons(counted)

    def close(self) -> None:
        self._store.close()


@pytest.fixture
def history() -> Iterator[History]:
    with closing(History()) as opened:
        yield opened


def ended(
    device: str, *states: EndState, enrollment_type: EnrollmentType = AUTOPILOT
) -> list[Event]:
    reporter = Reporter(device=device, enrollment_type=enrollment_type)
    events = []
    for state in states:
        events += [reporter.begin(), reporter.end(state)]
    return events


def test_a_device_counts_by_its_latest_attempt(history: History) -> None:
    history.take(*ended("A", EndState.FAILED, EndState.SUCCEEDED))
    history.take(*ended("B", EndState.SUCCEEDED, EndState.FAILED))
    history.take(*ended("C", EndState.BYPASSED))
    assert history.overview() == (2, 0, 0, 1)


def test_pending_are_the_registered_without_an_attempt_and_those_that_were_reset(
    history: History,
) -> None:
    history.take(*ended("A", EndState.RESET), *ended("B", EndState.SUCCEEDED))
    assert history.overview("B", "C", "D") == (1, 0, 3, 0)


@pytest.mark.parametrize(
    "state", [EndState.FAILED, EndState.TIMED_OUT, EndState.ABANDONED, EndState.REFUSED]
)
def test_every_end_that_is_no_success_and_no_fresh_start_is_a_failure(
    history: History, state: EndState
) -> None:
    history.take(*ended("A", state))
    assert history.overview() == (0, 0, 0, 1)
    assert [v.device for v in history.failures()] == ["A"]


def test_a_device_on_its_error_screen_is_failed_until_it_goes_on(history: History) -> None:
    device = Reporter()
    history.take(device.begin(), device.stop(failure()))
    assert history.overview() == (0, 0, 0, 1)
    assert history.active() == []
    history.take(device.move(70))
    assert history.overview() == (0, 1, 0, 0)
    assert history.failures() == []


def test_active_enrollments_are_those_in_progress_the_newest_first(history: History) -> None:
    for name in ("A", "B"):
        device = Reporter(device=name)
        history.take(device.begin(), device.move(75 if name == "A" else 50))
    assert [(v.device, v.percent, v.stage) for v in history.active()] == [
        ("B", 50, Stage.INSTALLING_APPS),
        ("A", 75, Stage.INSTALLING_APPS),
    ]


def test_a_new_attempt_supersedes_an_open_one_whose_later_reports_are_history_only(
    history: History,
) -> None:
    device = Reporter()
    history.take(device.begin("old"), device.move(30))
    other = Reporter(stream="stream-2")
    history.take(other.begin("new"))
    late = device.end(EndState.SUCCEEDED)
    history.take(late)
    old, new = history.views
    assert (old.end_state, old.percent, old.latest) == (EndState.SUPERSEDED, 30, False)
    assert (new.end_state, new.latest) == (None, True)
    assert history.row().rated_attempts == 0


def test_success_rate_counts_attempts_and_leaves_out_resets_and_superseded_ones(
    history: History,
) -> None:
    history.take(*ended("A", EndState.FAILED, EndState.SUCCEEDED_ON_RETRY))
    history.take(*ended("B", EndState.RESET, EndState.SUCCEEDED))
    history.take(*ended("C", EndState.BYPASSED), *ended("D", EndState.ABANDONED))
    device = Reporter(device="E")
    history.take(device.begin(), device.begin(), device.end(EndState.REFUSED))
    found = history.row()
    assert (found.succeeded_attempts, found.rated_attempts) == (3, 6)
    assert found.success_rate == pytest.approx(0.5)
    assert found.total == 3


def test_average_time_is_the_attempt_time_of_the_successes(history: History) -> None:
    for name, minutes in (("A", 40), ("B", 50)):
        device = Reporter(device=name)
        history.take(device.begin(), device.end(minutes=minutes))
    slow = Reporter(device="C")
    history.take(slow.begin(), slow.end(EndState.TIMED_OUT, minutes=600))
    assert history.row().average_ms == 45 * 60_000


def test_the_last_seven_days_are_part_of_the_total(history: History) -> None:
    history.take(*ended("A", EndState.SUCCEEDED), at_ms=NOON_MS - 7 * DAY)
    history.take(*ended("B", EndState.SUCCEEDED), at_ms=NOON_MS - 7 * DAY + 1)
    assert (history.row().total, history.row().recent) == (2, 1)


def test_a_platform_without_any_attempt_has_no_rate_and_no_average(history: History) -> None:
    found = history.row(IOS)
    assert (found.total, found.success_rate, found.average_ms) == (0, None, None)


def test_every_failed_attempt_counts_among_the_reasons_even_after_a_later_success(
    history: History,
) -> None:
    device = Reporter()
    for kind in (FailureKind.NETWORK_TIMEOUT, FailureKind.NETWORK_TIMEOUT):
        history.take(device.begin(), device.end(EndState.FAILED, problem=failure(kind)))
    history.take(device.begin(), device.end(EndState.SUCCEEDED))
    other = Reporter(device="B")
    refused = failure(FailureKind.DEVICE_LIMIT_EXCEEDED)
    history.take(other.begin(), other.end(EndState.REFUSED, problem=refused))
    counted = history.reasons(7)
    assert counted == [
        (FailureKind.NETWORK_TIMEOUT, 2),
        (FailureKind.DEVICE_LIMIT_EXCEEDED, 1),
    ]
    assert history.reasons(7, NOON_MS + 7 * DAY) == []


def test_an_abandonment_tells_silence_from_a_cancel(history: History) -> None:
    for name, action in (("A", "Exceeded 30 minutes"), ("B", "Cancel")):
        device = Reporter(device=name)
        body = AttemptEnded(
            end_state=EndState.ABANDONED, user_action=action, action_name="TermsofUse"
        )
        history.take(device.begin(), device.event(body, stage=Stage.FINISHED))
    kinds = dict(history.reasons(1))
    assert kinds == {FailureKind.PERSON_SILENT: 1, FailureKind.USER_CANCELLED: 1}


def test_a_failure_without_its_own_words_still_says_what_kind_it_was(history: History) -> None:
    history.take(*ended("A", EndState.TIMED_OUT), *ended("B", EndState.FAILED))
    kinds = {reports.failure_of(v).kind for v in history.views}
    assert kinds == {FailureKind.SETUP_TIMED_OUT, FailureKind.STEP_FAILED}


def test_a_device_that_was_not_heard_of_for_a_day_is_silent_until_it_speaks(
    history: History,
) -> None:
    device = Reporter()
    history.take(device.begin())
    assert not reports.is_silent(history.views[0], NOON_MS + DAY)
    assert reports.is_silent(history.views[0], NOON_MS + DAY + 1)
    history.take(device.move(10), at_ms=NOON_MS + DAY + 2)
    assert not reports.is_silent(history.views[0], NOON_MS + DAY + 3)


def test_reports_of_background_retries_move_nothing_of_an_attempt_that_has_ended(
    history: History,
) -> None:
    device = Reporter()
    history.take(device.begin(), device.end(EndState.BYPASSED, minutes=30))
    history.take(device.move(40, attempt_ms=99 * 60_000), at_ms=NOON_MS + DAY)
    view = history.views[0]
    assert (view.attempt_ms, view.ended_ms) == (30 * 60_000, NOON_MS)
    assert view.stage is Stage.FINISHED


_LIVES = st.lists(
    st.tuples(
        st.sampled_from(list(EnrollmentType)), st.lists(st.sampled_from(list(EndState)), max_size=4)
    ),
    max_size=12,
)


@given(_LIVES)
@settings(max_examples=30)
def test_the_five_totals_add_up_to_enrolled_and_every_device_stands_in_one_place(
    lives: list[tuple[EnrollmentType, list[EndState]]],
) -> None:
    names = [f"D{n}" for n in range(len(lives))]
    with closing(History()) as history:
        for name, (enrollment_type, states) in zip(names, lives, strict=True):
            history.take(*ended(name, *states, enrollment_type=enrollment_type))
        enrolled, in_progress, pending, failed = history.overview(*names)
        rows = history.platforms()
    assert sum(r.total for r in rows) == enrolled
    assert enrolled == sum(1 for _t, s in lives if s and s[-1] in SUCCESS_STATES)
    assert enrolled + in_progress + pending + failed == len(lives)
    assert all(r.total >= r.recent and r.rated_attempts >= r.succeeded_attempts for r in rows)
    rated = [s for _t, states in lives for s in states if s not in reports.NOT_RATED]
    assert sum(r.rated_attempts for r in rows) == len(rated)
