"""The outbox at its edges: limits met exactly, answers that come late, restarts, and what is held at each moment."""

from __future__ import annotations

import json
from collections import deque

import pytest

from agent.core.outbox import (
    AHEAD_MAX,
    DAY_MS,
    WINDOW,
    AckArrived,
    DeadlinePassed,
    FetchReports,
    ForgetReports,
    KeepReport,
    MarkAcknowledged,
    Outbox,
    OutboxLimits,
    ProbeWanted,
    RememberStored,
    ReportQueued,
    SendingHeld,
    SendingResumed,
    SendReport,
    UnmarkAcknowledged,
    content_of,
)
from agent.wire.events import Body, ChoiceMade, ErrorScreenShown, RebootPlanned
from agent.wire.progress import Failure
from agent.wire.vocabulary import Choice, FailureKind, Phase, RebootKind
from tests.agent.core.outbox_bench import STORE, Bench, plain_chain
from tests.agent.reports import change, report, tick

WEEK_MS = 7 * DAY_MS


def held_bytes(bench: Bench) -> int:
    """The size of everything that the journal holds."""
    return sum(len(row.content) for row in bench.kept.rows.values())


def with_late_answers(count: int, lost_after: int) -> Bench:
    """An outbox whose acknowledged reports are asked for again, and whose journal has not answered yet."""
    bench = Bench()
    bench.feed(SendingResumed())
    bench.queue(count)
    bench.feed(AckArrived(STORE, count))
    bench.take_sent()
    bench.fetching = deque()
    bench.feed(AckArrived(STORE, lost_after))
    return bench


def test_an_outbox_that_was_never_used_waits_for_nothing() -> None:
    outbox = Outbox("stream-1")
    assert outbox.next_deadline_ms() is None
    assert outbox.not_through_since_ms is None
    assert outbox.size_bytes == 0
    assert (outbox.unacknowledged, outbox.oldest_held, outbox.next_seq) == (0, 1, 1)


def test_a_report_is_kept_whole_and_without_what_it_lacks() -> None:
    bench = Bench()
    lean = change(1)
    assert bench.feed(ReportQueued(lean))[0] == KeepReport(1, lean, content_of(lean))
    assert "failure" not in json.loads(content_of(lean))["body"]


def test_an_acknowledgement_before_anything_was_sent_asks_for_nothing() -> None:
    bench = Bench()
    bench.feed(AckArrived(STORE, 0), now_ms=10_000)
    bench.feed(SendingResumed(), now_ms=20_000)
    assert bench.feed(AckArrived(STORE, 0), now_ms=30_000) == []


def test_an_acknowledgement_while_sending_is_held_frees_all_the_same() -> None:
    bench = Bench()
    bench.queue(3)
    bench.feed(AckArrived(STORE, 2))
    bench.feed(SendingResumed())
    assert bench.take_sent() == [3]


def test_what_waited_for_the_first_connection_did_not_wait_in_vain() -> None:
    bench = Bench()
    bench.feed(ReportQueued(report(1)), now_ms=100)
    assert bench.not_through_since_ms() == 100
    bench.feed(SendingResumed(), now_ms=200)
    assert bench.not_through_since_ms() is None
    assert bench.outbox.next_deadline_ms() == 200 + OutboxLimits().patience.late_ms


@pytest.mark.parametrize("stored", [2, 40], ids=["some are stored", "adopted"])
def test_waiting_in_vain_is_counted_anew_after_progress(stored: int) -> None:
    bench = Bench()
    bench.feed(SendingResumed())
    bench.feed(ReportQueued(report(0)), now_ms=50)
    bench.feed(AckArrived(STORE, 1), now_ms=60)
    bench.queue(WINDOW + 1)
    bench.feed(AckArrived(STORE, stored), now_ms=700)
    bench.feed(SendingHeld(), now_ms=800)
    assert bench.not_through_since_ms() == 700


def test_the_answer_of_the_collector_is_stored_with_its_moment() -> None:
    bench = Bench()
    bench.feed(SendingResumed())
    bench.queue(5)
    assert list(bench.feed(AckArrived(STORE, 3), now_ms=70)) == [
        MarkAcknowledged(3, 70),
        RememberStored(STORE, 3, 6),
    ]
    assert UnmarkAcknowledged(1) in bench.feed(AckArrived(STORE, 1), now_ms=80)
    assert ForgetReports(5) in bench.feed(AckArrived(STORE, 40), now_ms=90)


def test_what_the_collector_repeats_is_not_stored_again_also_after_a_restart() -> None:
    bench = Bench()
    bench.queue(3)
    bench.feed(AckArrived(STORE, 2))
    assert bench.feed(AckArrived(STORE, 2)) == []
    bench.restart()
    assert bench.feed(AckArrived(STORE, 2)) == []
    assert list(bench.feed(AckArrived("store-2", 2))) == [RememberStored("store-2", 2, 4)]


def test_the_farthest_believable_acknowledgement_is_adopted_and_nonsense_is_counted() -> None:
    bench = Bench()
    bench.queue(1)
    for refused in (1, 2):
        bench.feed(AckArrived(STORE, 1 + AHEAD_MAX + refused))
        assert bench.outbox.refused_acks == refused
    bench.feed(AckArrived(STORE, 1 + AHEAD_MAX))
    assert bench.outbox.stored_seq == 1 + AHEAD_MAX


def test_the_size_held_is_always_that_of_the_journal() -> None:
    """Through queueing, replacing, acknowledging, going back, restarting, forgetting and adopting."""
    bench = Bench()
    assert bench.outbox.size_bytes == 0
    bench.feed(SendingResumed())
    bench.queue(WINDOW + 2)
    for percent in (10, 20):
        bench.feed(ReportQueued(tick(percent)))
    assert bench.outbox.size_bytes == held_bytes(bench) > 0
    for stored, now_ms in ((10, 1_000), (14, 2_000), (4, 3_000), (20, 4_000), (7, 5_000)):
        bench.feed(AckArrived(STORE, stored), now_ms)
        bench.take_sent()
        assert bench.outbox.size_bytes == held_bytes(bench)
    for _ in range(2):
        bench.restart()
        assert bench.outbox.size_bytes == held_bytes(bench)
    bench.feed(SendingResumed(), 6_000)
    bench.feed(AckArrived(STORE, bench.outbox.next_seq - 1), 6_000)
    bench.feed(DeadlinePassed(), 2_000 + WEEK_MS)
    assert 0 < bench.outbox.size_bytes == held_bytes(bench)
    bench.feed(DeadlinePassed(), 6_000 + WEEK_MS)
    assert bench.outbox.size_bytes == held_bytes(bench) == 0
    bench.queue(WINDOW + 3)
    bench.restart()
    assert bench.outbox.size_bytes == held_bytes(bench)
    bench.feed(AckArrived(STORE, 1_000))
    assert bench.outbox.size_bytes == held_bytes(bench) > 0


def test_what_was_taken_back_and_stored_again_is_forgotten_like_the_rest() -> None:
    bench = Bench()
    bench.feed(SendingResumed())
    bench.queue(10)
    for stored in (10, 4, 10):
        bench.feed(AckArrived(STORE, stored))
    assert ForgetReports(10, plain_chain(10)[-1]) in bench.feed(DeadlinePassed(), WEEK_MS)
    assert bench.outbox.size_bytes == held_bytes(bench) == 0


@pytest.mark.parametrize(("spare", "oldest_held"), [(0, 1), (-1, 4)])
def test_the_size_limit_may_be_met_exactly(spare: int, oldest_held: int) -> None:
    size = 3 * len(content_of(report(1)))
    bench = Bench(OutboxLimits(bytes_max=size + spare))
    bench.feed(SendingResumed())
    bench.queue(3)
    bench.feed(AckArrived(STORE, 3))
    assert bench.outbox.oldest_held == oldest_held


@pytest.mark.parametrize("restarted", [False, True])
def test_what_one_acknowledgement_freed_goes_together_and_a_restart_changes_nothing_of_it(
    restarted: bool,
) -> None:
    one = len(content_of(report(1)))
    bench = Bench(OutboxLimits(bytes_max=8 * one))
    bench.feed(SendingResumed())
    bench.queue(8)
    bench.feed(AckArrived(STORE, 3), now_ms=1_000)
    bench.feed(AckArrived(STORE, 5), now_ms=2_000)
    if restarted:
        bench.restart()
        bench.feed(SendingResumed(), now_ms=2_000)
    bench.feed(DeadlinePassed(), now_ms=999 + WEEK_MS)
    assert bench.outbox.oldest_held == 1
    assert bench.outbox.next_deadline_ms() is not None
    digests = plain_chain(5)
    assert ForgetReports(3, digests[2]) in bench.feed(ReportQueued(report(9)))
    assert bench.outbox.oldest_held == 4
    assert ForgetReports(5, digests[4]) in bench.feed(DeadlinePassed(), now_ms=2_000 + WEEK_MS)


def test_after_a_restart_what_is_not_acknowledged_is_at_hand_and_the_rest_follows() -> None:
    bench = Bench()
    bench.queue(WINDOW + 5)
    bench.restart()
    effects = bench.feed(SendingResumed())
    assert [type(e) for e in effects] == [SendReport] * WINDOW
    bench.take_sent()
    bench.feed(AckArrived(STORE, WINDOW))
    assert [(s.seq, s.report) for s in bench.sent] == [
        (seq, report(seq)) for seq in range(WINDOW + 1, WINDOW + 6)
    ]


def test_what_was_taken_back_is_still_not_acknowledged_after_a_restart() -> None:
    bench = Bench()
    bench.queue(10)
    bench.feed(AckArrived(STORE, 10))
    bench.feed(AckArrived(STORE, 4))
    bench.restart()
    bench.feed(SendingResumed())
    assert bench.take_sent() == [5, 6, 7, 8, 9, 10]


def test_a_tick_is_replaced_also_behind_the_reports_of_other_items() -> None:
    bench = Bench()
    bench.queue(WINDOW)
    bench.feed(ReportQueued(tick(10)))
    bench.feed(ReportQueued(change(11, item="other")))
    bench.feed(ReportQueued(tick(20)))
    assert bench.replaced == 1
    assert bench.outbox.unacknowledged == WINDOW + 2


FAILURE = Failure(
    kind=FailureKind.ITEM_TIMED_OUT, code="0x800705B4", person="Too slow.", engineer="60 minutes"
)


def error_screen(*failed: str) -> ErrorScreenShown:
    return ErrorScreenShown(
        phase=Phase.DEVICE_SETUP, failure=FAILURE, failed_items=failed, choices=(Choice.TRY_AGAIN,)
    )


@pytest.mark.parametrize(
    ("body", "replaced"),
    [
        (ChoiceMade(choice=Choice.TRY_ITEM_AGAIN, item="app"), 0),
        (ChoiceMade(choice=Choice.TRY_AGAIN), 1),
        (error_screen("other", "app"), 0),
        (error_screen("other"), 1),
        (RebootPlanned(reboot=RebootKind.SOFT, items=("app",)), 0),
        (RebootPlanned(reboot=RebootKind.SOFT, items=()), 1),
    ],
    ids=["choice", "other choice", "error", "other error", "reboot", "other reboot"],
)
def test_a_tick_is_not_replaced_across_a_report_that_names_its_item(
    body: Body, replaced: int
) -> None:
    """The store would show the newer percentage before what happened in between."""
    bench = Bench()
    bench.queue(WINDOW)
    bench.feed(ReportQueued(tick(10)))
    bench.feed(ReportQueued(report(11, body)))
    bench.feed(ReportQueued(tick(20)))
    assert bench.replaced == replaced


@pytest.mark.parametrize(
    ("count", "lost_after", "wanted"),
    [
        (10, 4, FetchReports(5, 10)),
        (100, 0, FetchReports(1, WINDOW)),
        (100, 40, FetchReports(41, 40 + WINDOW)),
        (10, 9, FetchReports(10, 10)),
    ],
)
def test_content_is_asked_for_as_far_as_the_window_reaches(
    count: int, lost_after: int, wanted: FetchReports
) -> None:
    bench = Bench()
    bench.feed(SendingResumed())
    bench.queue(count)
    while bench.waiting():
        bench.feed(AckArrived(STORE, bench.take_sent()[-1]))
    assert wanted in bench.feed(AckArrived(STORE, lost_after))


def test_content_at_hand_is_not_asked_for() -> None:
    bench = Bench()
    bench.feed(SendingResumed())
    bench.queue(12)
    bench.feed(AckArrived(STORE, 10))
    assert FetchReports(5, 10) in bench.feed(AckArrived(STORE, 4))
    assert bench.take_sent()[-8:] == list(range(5, 13))


def test_the_journal_is_asked_once_at_a_time() -> None:
    bench = with_late_answers(10, lost_after=4)
    assert list(bench.fetching or ()) == [FetchReports(5, 10)]
    bench.feed(ReportQueued(report(11)))
    bench.feed(SendingResumed())
    assert len(bench.fetching or ()) == 1
    assert bench.take_sent() == []
    bench.answer_fetch()
    assert bench.take_sent() == [5, 6, 7, 8, 9, 10, 11]
    bench.feed(AckArrived(STORE, 11))
    bench.feed(AckArrived(STORE, 8))
    assert list(bench.fetching or ()) == [FetchReports(9, 11)]


def test_an_acknowledgement_that_overtakes_the_journal_s_answer_counts() -> None:
    bench = with_late_answers(10, lost_after=4)
    bench.feed(AckArrived(STORE, 7))
    bench.answer_fetch()
    assert bench.take_sent() == [8, 9, 10]


def test_nothing_is_repeated_while_the_journal_is_asked() -> None:
    bench = Bench()
    bench.feed(SendingResumed())
    bench.queue(12)
    bench.feed(AckArrived(STORE, 10), now_ms=100)
    assert bench.outbox.next_deadline_ms() == 100 + OutboxLimits().patience.late_ms
    bench.fetching = deque()
    bench.feed(AckArrived(STORE, 4), now_ms=200)
    assert bench.outbox.next_deadline_ms() == 100 + WEEK_MS
    bench.answer_fetch(now_ms=300)
    assert bench.outbox.next_deadline_ms() == 300 + OutboxLimits().patience.late_ms


def test_a_probe_whose_content_is_not_at_hand_fetches_it_for_the_next() -> None:
    bench = Bench()
    bench.queue(10)
    bench.feed(AckArrived(STORE, 10))
    bench.feed(AckArrived(STORE, 4))
    assert list(bench.feed(ProbeWanted())) == [FetchReports(5, 10)]
    assert list(bench.feed(ProbeWanted())) == [SendReport(5, 1, report(5), plain_chain(4)[-1])]


def test_a_repetition_is_asked_for_again_after_exactly_the_limit() -> None:
    again_ms = OutboxLimits().patience.repeat_ms
    bench = Bench()
    bench.feed(SendingResumed())
    bench.queue(2)
    bench.take_sent()
    bench.feed(AckArrived(STORE, 0), now_ms=again_ms - 1)
    assert bench.take_sent() == []
    bench.feed(AckArrived(STORE, 0), now_ms=again_ms)
    assert bench.take_sent() == [1, 2]


def test_the_age_of_the_window_is_that_of_its_first_report() -> None:
    bench = Bench()
    bench.feed(SendingResumed())
    bench.feed(ReportQueued(report(1)), now_ms=0)
    bench.feed(ReportQueued(report(2)), now_ms=400)
    bench.take_sent()
    bench.feed(AckArrived(STORE, 0), now_ms=500)
    assert bench.take_sent() == [1, 2]
    bench.feed(AckArrived(STORE, 2), now_ms=600)
    bench.feed(ReportQueued(report(3)), now_ms=2_000)
    bench.take_sent()
    bench.feed(AckArrived(STORE, 2), now_ms=2_100)
    assert bench.take_sent() == []
