"""The outbox: numbering, window, acknowledgement, going back, keeping, and order under every kind of loss."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.core.outbox import (
    AHEAD_MAX,
    DAY_MS,
    WINDOW,
    AckArrived,
    DeadlinePassed,
    DropReport,
    ForgetReports,
    Numbered,
    NumberReport,
    Outbox,
    OutboxLimits,
    OutboxState,
    ProbeWanted,
    ReportQueued,
    SendingHeld,
    SendingResumed,
    SendReport,
)
from agent.wire.codec import digest
from agent.wire.events import ItemAdvanced, Report
from simulator.verify.disk import Kept
from tests.agent.core.outbox_bench import STORE, STREAM, Bench, chain, plain_chain
from tests.agent.reports import change, report, tick


def test_a_report_is_numbered_before_it_may_be_sent_and_the_digest_is_the_audit_s() -> None:
    """Number and digest come with the queueing, also while there is no connection."""
    bench = Bench()
    first = report(1)
    effects = bench.feed(ReportQueued(first))
    assert NumberReport(1, 1, digest("stream-1", 1, first)) in effects
    assert not bench.sent
    bench.feed(SendingResumed())
    assert bench.take_sent() == [1]


def test_no_more_than_the_window_is_numbered_and_an_acknowledgement_admits_more() -> None:
    bench = Bench()
    bench.feed(SendingResumed())
    bench.queue(WINDOW + 5)
    assert bench.take_sent() == list(range(1, WINDOW + 1))
    assert bench.outbox.next_seq == WINDOW + 1
    assert bench.outbox.unacknowledged == WINDOW + 5
    bench.feed(AckArrived(STORE, 3))
    assert bench.take_sent() == [WINDOW + 1, WINDOW + 2, WINDOW + 3]
    assert bench.outbox.unacknowledged == WINDOW + 2


def test_a_tick_without_a_number_is_replaced_by_a_newer_one_of_the_same_item() -> None:
    bench = Bench()
    bench.queue(WINDOW)
    bench.feed(ReportQueued(tick(10)))
    effects = bench.feed(ReportQueued(tick(20)))
    assert [e for e in effects if isinstance(e, DropReport)] == [DropReport(WINDOW + 1)]
    assert bench.outbox.unacknowledged == WINDOW + 1


@pytest.mark.parametrize(
    "between",
    [change(15), None],
    ids=["another report of the item", "a tick of another item"],
)
def test_what_is_not_a_tick_of_the_same_item_in_a_row_is_never_replaced(
    between: Report | None,
) -> None:
    bench = Bench()
    bench.queue(WINDOW)
    if between is not None:
        bench.feed(ReportQueued(tick(10)))
        bench.feed(ReportQueued(between))
    else:
        bench.feed(ReportQueued(tick(10, item="other")))
    bench.feed(ReportQueued(tick(20)))
    bench.feed(ReportQueued(tick(30, attempt="attempt-2")))
    assert bench.replaced == 0


def test_a_numbered_tick_is_never_replaced() -> None:
    bench = Bench()
    bench.feed(ReportQueued(tick(10)))
    bench.feed(ReportQueued(tick(20)))
    assert bench.replaced == 0
    assert bench.outbox.next_seq == 3


def test_a_tick_is_still_replaced_after_a_restart() -> None:
    bench = Bench()
    bench.queue(WINDOW)
    bench.feed(ReportQueued(tick(10)))
    bench.restart()
    bench.feed(ReportQueued(tick(20)))
    assert bench.replaced == 1


def test_a_lower_acknowledgement_sends_again_from_there_and_content_comes_from_the_journal() -> (
    None
):
    bench = Bench()
    bench.feed(SendingResumed())
    bench.queue(10)
    bench.feed(AckArrived(STORE, 10))
    bench.take_sent()
    bench.feed(AckArrived(STORE, 4))
    assert [(s.seq, s.oldest_held) for s in bench.sent] == [(n, 1) for n in range(5, 11)]
    assert [s.report.attempt_ms for s in bench.sent] == list(range(5, 11))


def test_a_store_that_lost_everything_gets_everything_that_is_held() -> None:
    bench = Bench()
    bench.feed(SendingResumed())
    bench.queue(100)
    while bench.waiting():
        bench.feed(AckArrived(STORE, bench.take_sent()[-1]))
    bench.feed(AckArrived("another-store", 0))
    received: list[int] = []
    while bench.waiting():
        received += bench.take_sent()
        bench.feed(AckArrived("another-store", received[-1]))
    assert received == list(range(1, 101))


def test_what_is_no_longer_held_is_named_by_oldest_held() -> None:
    bench = Bench()
    bench.feed(SendingResumed())
    bench.queue(3)
    bench.feed(AckArrived(STORE, 3))
    bench.queue(2, start=4)
    bench.feed(AckArrived(STORE, 5), now_ms=6 * DAY_MS)
    effects = bench.feed(DeadlinePassed(), now_ms=7 * DAY_MS)
    assert ForgetReports(3, plain_chain(3)[-1]) in effects
    bench.take_sent()
    bench.feed(AckArrived(STORE, 0), now_ms=7 * DAY_MS)
    assert [(s.seq, s.oldest_held) for s in bench.sent] == [(4, 4), (5, 4)]


def test_acknowledged_reports_are_kept_for_seven_days() -> None:
    bench = Bench()
    bench.queue(1)
    bench.feed(SendingResumed())
    bench.feed(AckArrived(STORE, 1), now_ms=1000)
    assert bench.outbox.next_deadline_ms() == 1000 + 7 * DAY_MS
    bench.feed(DeadlinePassed(), now_ms=999 + 7 * DAY_MS)
    assert bench.outbox.oldest_held == 1
    bench.feed(DeadlinePassed(), now_ms=1000 + 7 * DAY_MS)
    assert bench.outbox.oldest_held == 2
    assert not bench.kept.rows


@pytest.mark.parametrize("began_ms", [0, 30 * DAY_MS, -30 * DAY_MS])
def test_a_restart_with_another_clock_makes_no_report_older_or_younger(began_ms: int) -> None:
    bench = Bench()
    bench.queue(2)
    bench.feed(AckArrived(STORE, 1), now_ms=1 * DAY_MS)
    bench.feed(AckArrived(STORE, 2), now_ms=3 * DAY_MS)
    bench.restart()
    bench.feed(SendingHeld(), now_ms=began_ms)
    assert bench.outbox.next_deadline_ms() == began_ms + 5 * DAY_MS
    bench.feed(DeadlinePassed(), now_ms=began_ms + 5 * DAY_MS - 1)
    assert bench.outbox.oldest_held == 1
    bench.feed(DeadlinePassed(), now_ms=began_ms + 5 * DAY_MS)
    assert bench.outbox.oldest_held == 2
    assert bench.outbox.next_deadline_ms() == began_ms + 7 * DAY_MS


def test_the_size_limit_ends_the_keeping_of_acknowledged_reports_and_of_nothing_else() -> None:
    bench = Bench(OutboxLimits(bytes_max=1000))
    bench.feed(SendingResumed())
    bench.queue(3)
    bench.feed(AckArrived(STORE, 3))
    assert not bench.is_full()
    bench.queue(20, start=4)
    assert bench.outbox.oldest_held == 4
    assert bench.is_full()
    assert bench.outbox.unacknowledged == 20
    assert len(bench.kept.rows) == 20
    bench.feed(AckArrived(STORE, 23))
    assert not bench.is_full()


def test_without_an_acknowledgement_the_first_report_is_sent_again_ever_more_patiently() -> None:
    bench = Bench()
    bench.feed(SendingResumed())
    bench.queue(2)
    assert bench.take_sent() == [1, 2]
    pauses, now_ms = [], 0
    for _ in range(7):
        due = bench.outbox.next_deadline_ms()
        assert due is not None
        pauses.append(due - now_ms)
        now_ms = due
        bench.feed(DeadlinePassed(), now_ms)
        assert bench.take_sent() == [1]
    assert pauses == [5_000, 10_000, 20_000, 40_000, 80_000, 120_000, 120_000]


def test_where_everything_was_lost_the_window_is_sent_again_once_the_first_got_through() -> None:
    bench = Bench()
    bench.feed(SendingResumed())
    bench.queue(3)
    bench.take_sent()
    bench.feed(DeadlinePassed(), 5_000)
    assert bench.take_sent() == [1]
    bench.feed(AckArrived(STORE, 1), 5_010)
    due = bench.outbox.next_deadline_ms()
    assert due is not None
    assert due < 5_010 + 5_000
    bench.feed(DeadlinePassed(), due)
    assert bench.take_sent() == [2, 3]


def test_it_says_since_when_nothing_gets_through() -> None:
    bench = Bench()
    bench.feed(SendingResumed())
    bench.feed(ReportQueued(report(1)), now_ms=100)
    assert bench.not_through_since_ms() is None
    bench.feed(SendingHeld(), now_ms=200)
    assert bench.not_through_since_ms() == 100
    bench.feed(SendingResumed(), now_ms=300)
    bench.feed(DeadlinePassed(), now_ms=300 + 5_000)
    assert bench.not_through_since_ms() == 100
    bench.feed(AckArrived(STORE, 1), now_ms=6_000)
    assert bench.not_through_since_ms() is None


def test_a_repeated_acknowledgement_asks_again_but_not_hotly() -> None:
    """The collector answers every report after a gap with the same number; one going back is enough."""
    bench = Bench()
    bench.feed(SendingResumed())
    bench.queue(5)
    bench.take_sent()
    for _ in range(4):
        bench.feed(AckArrived(STORE, 0), now_ms=10)
    assert bench.take_sent() == []
    for _ in range(4):
        bench.feed(AckArrived(STORE, 0), now_ms=600)
    assert bench.take_sent() == [1, 2, 3, 4, 5]


def test_a_collector_that_says_the_same_again_and_again_is_asked_ever_more_seldom() -> None:
    bench = Bench()
    bench.feed(SendingResumed())
    bench.queue(3)
    repeated_ms = []
    bench.take_sent()
    for now_ms in range(600, 12_000, 600):
        bench.feed(AckArrived(STORE, 0), now_ms)
        if bench.take_sent():
            repeated_ms.append(now_ms)
    gaps_ms = [later - earlier for earlier, later in pairwise([0, *repeated_ms])]
    assert gaps_ms[:4] == [600, 1200, 2400, 4200]
    bench.feed(AckArrived(STORE, 1), repeated_ms[-1] + 100)
    bench.feed(AckArrived(STORE, 1), repeated_ms[-1] + 600)
    assert bench.take_sent() == [2, 3], "something new was stored, so the pause is short again"


def test_a_collector_that_is_behind_is_not_put_further_behind() -> None:
    """Twenty outboxes have more to tell than it can store in time: nearly everything is sent once."""
    collector: deque[tuple[Bench, int]] = deque()
    benches = [Bench() for _ in range(20)]
    for bench in benches:
        bench.feed(SendingResumed())
        bench.queue(60)
    sent = stored = 0
    for now_ms in range(0, 120_000, 50):
        for bench in benches:
            due = bench.outbox.next_deadline_ms()
            if due is not None and due <= now_ms:
                bench.feed(DeadlinePassed(), now_ms)
            numbers = bench.take_sent()
            sent += len(numbers)
            collector.extend((bench, number) for number in numbers)
        if collector:
            bench, number = collector.popleft()
            is_next = number == bench.outbox.stored_seq + 1
            stored += is_next
            bench.feed(AckArrived(STORE, bench.outbox.stored_seq + is_next), now_ms)
    assert stored == 20 * 60
    assert sent < 1.2 * stored


def test_nothing_is_sent_while_held_but_a_probe() -> None:
    bench = Bench()
    bench.feed(SendingResumed())
    bench.feed(SendingHeld())
    bench.queue(3)
    assert bench.take_sent() == []
    assert bench.outbox.next_deadline_ms() is None
    bench.feed(ProbeWanted())
    assert bench.take_sent() == [1]
    bench.feed(SendingResumed())
    assert bench.take_sent() == [1, 2, 3]


def test_a_new_connection_begins_with_what_is_not_acknowledged() -> None:
    """What the old one carried may be lost."""
    bench = Bench()
    bench.feed(SendingResumed())
    bench.queue(5)
    bench.feed(AckArrived(STORE, 2))
    bench.take_sent()
    bench.feed(SendingHeld())
    bench.feed(SendingResumed())
    assert bench.take_sent() == [3, 4, 5]


def test_a_probe_with_nothing_to_say_sends_nothing() -> None:
    bench = Bench()
    bench.feed(ProbeWanted())
    assert bench.take_sent() == []


def test_an_acknowledgement_ahead_is_adopted_so_that_no_number_is_used_twice() -> None:
    """This journal is an older copy: its later life gave 6 to 40, and those numbers are never given again."""
    bench = Bench()
    bench.feed(SendingResumed())
    bench.queue(5)
    bench.feed(AckArrived(STORE, 5))
    bench.take_sent()
    bench.feed(AckArrived(STORE, 40))
    assert bench.outbox.unacknowledged == 0
    bench.queue(1, start=6)
    assert [(s.seq, s.oldest_held) for s in bench.sent] == [(41, 41)]
    assert [row.seq for row in bench.kept.rows.values()] == [41]
    bench.restart()
    assert bench.outbox.next_seq == 42


def test_what_an_older_copy_told_before_it_heard_of_its_later_life_is_told_again() -> None:
    """A device whose journal came back from before its attempt told the attempt's beginning under a number that the
    collector had: the report was lost, and the device waited an hour for an assignment that nobody made."""
    bench = Bench()
    bench.feed(SendingResumed())
    bench.queue(WINDOW + 3)
    bench.feed(ReportQueued(tick(10)))
    reports = [send.report for send in bench.sent]
    bench.take_sent()
    bench.feed(AckArrived(STORE, 40))
    assert bench.outbox.unacknowledged == WINDOW + 4
    assert [s.seq for s in bench.sent] == list(range(41, 41 + WINDOW))
    assert [s.report for s in bench.sent] == reports
    bench.restart()
    bench.sent.clear()
    bench.feed(SendingResumed())
    assert [s.report for s in bench.sent] == reports
    bench.feed(AckArrived(STORE, 40 + WINDOW))
    assert [s.seq for s in bench.sent][-4:] == [41 + WINDOW + n for n in range(4)]
    assert bench.sent[-1].report == tick(10)


def test_after_an_adoption_nothing_below_is_offered_again() -> None:
    bench = Bench()
    bench.feed(SendingResumed())
    bench.queue(5)
    bench.feed(AckArrived(STORE, 5))
    bench.feed(AckArrived(STORE, 40))
    bench.queue(1, start=6)
    bench.take_sent()
    bench.feed(AckArrived(STORE, 2))
    assert [(s.seq, s.oldest_held) for s in bench.sent] == [(41, 41)]


def test_an_absurd_acknowledgement_is_counted_and_nothing_else() -> None:
    bench = Bench()
    bench.queue(1)
    assert bench.feed(AckArrived(STORE, AHEAD_MAX + 2)) == []
    assert bench.outbox.refused_acks == 1
    assert bench.outbox.next_seq == 2


def test_a_restart_goes_on_where_the_journal_stands() -> None:
    bench = Bench()
    bench.feed(SendingResumed())
    bench.queue(40)
    bench.feed(AckArrived(STORE, 6))
    bench.restart()
    assert bench.outbox.unacknowledged == 34
    assert bench.outbox.oldest_held == 1
    bench.feed(SendingResumed())
    assert bench.take_sent() == list(range(7, 7 + WINDOW))


# The chain, and what an older copy of a journal learns from it.


def test_each_report_names_the_digest_of_the_one_before_it_however_often_it_is_sent() -> None:
    """Also once the one before it is acknowledged, forgotten, or only in the journal."""
    bench = Bench()
    bench.feed(SendingResumed())
    bench.queue(6)
    digests = plain_chain(6)
    assert [s.after for s in bench.sent] == [None, *digests[:5]]
    assert [row.digest for row in bench.kept.rows.values()] == digests
    bench.feed(AckArrived(STORE, 3, digests[2]))
    bench.feed(AckArrived(STORE, 4, digests[3]), now_ms=DAY_MS)
    for restarts in (False, True):
        if restarts:
            bench.restart()
        bench.sent.clear()
        bench.feed(SendingResumed(), now_ms=DAY_MS)
        assert [(s.seq, s.after) for s in bench.sent] == [(5, digests[3]), (6, digests[4])]
    bench.feed(AckArrived(STORE, 2, digests[1]), now_ms=DAY_MS)
    assert [(s.seq, s.after) for s in bench.sent][-4:] == list(
        zip(range(3, 7), digests[1:5], strict=True)
    )
    bench.feed(AckArrived(STORE, 6, digests[5]), now_ms=DAY_MS)
    bench.feed(DeadlinePassed(), now_ms=9 * DAY_MS)
    assert not bench.kept.rows
    bench.restart()
    bench.feed(SendingResumed(), now_ms=9 * DAY_MS)
    bench.queue(1, start=7)
    assert [(s.seq, s.after) for s in bench.sent] == [(7, digests[5])]


def older_copy(acknowledged: int, numbered: int) -> tuple[Bench, list[str]]:
    """A journal that came back from when it had so many reports, with what its later life told from there."""
    bench = Bench()
    bench.feed(SendingResumed())
    bench.queue(numbered)
    digests = plain_chain(numbered)
    if acknowledged:
        bench.feed(AckArrived(STORE, acknowledged, digests[acknowledged - 1]))
    later = [report(100 + n) for n in range(20)]
    return bench, digests + chain(later, digests[-1] if digests else None, first=numbered + 1)


@pytest.mark.parametrize("stored", [4, 5, 6])
@pytest.mark.parametrize("acknowledged", [0, 2])
def test_numbers_that_the_store_has_with_other_content_free_nothing_and_are_told_anew(
    acknowledged: int, stored: int
) -> None:
    """It numbered three reports of its own, before it could hear that its later life had used their numbers."""
    bench, history = older_copy(acknowledged, numbered=3)
    bench.queue(3, start=4)
    bench.sent.clear()
    bench.feed(AckArrived(STORE, stored, history[stored - 1]))
    told = [report(number) for number in range(acknowledged + 1, 7)]
    assert [s.report for s in bench.sent] == told
    again = chain(told, history[stored - 1], first=stored + 1)
    assert [s.seq for s in bench.sent] == list(range(stored + 1, stored + 1 + len(told)))
    assert [s.after for s in bench.sent] == [history[stored - 1], *again[:-1]]
    assert {s.oldest_held for s in bench.sent} == {stored + 1}
    bench.restart()
    bench.feed(SendingResumed())
    assert [s.after for s in bench.sent] == [history[stored - 1], *again[:-1]]
    bench.feed(AckArrived(STORE, stored + len(told), again[-1]))
    assert bench.outbox.unacknowledged == 0


def test_what_both_lives_have_told_is_told_once() -> None:
    bench, history = older_copy(acknowledged=0, numbered=3)
    bench.feed(AckArrived(STORE, 3, history[2]))
    assert bench.outbox.unacknowledged == 0
    bench.sent.clear()
    bench.feed(AckArrived(STORE, 5, history[4]))
    bench.queue(1, start=4)
    assert [(s.seq, s.after) for s in bench.sent] == [(6, history[4])]


def test_a_later_life_may_go_on_while_its_older_copy_tells_anew() -> None:
    """What was under way when the copy was put in its place still arrives."""
    bench, history = older_copy(acknowledged=3, numbered=3)
    bench.queue(2, start=4)
    for stored in (4, 5, 6):
        bench.sent.clear()
        bench.feed(AckArrived(STORE, stored, history[stored - 1]))
        assert [(s.seq, s.report) for s in bench.sent] == [
            (stored + 1, report(4)),
            (stored + 2, report(5)),
        ]
    bench.feed(AckArrived(STORE, 8, chain([report(4), report(5)], history[5], first=7)[-1]))
    assert bench.outbox.unacknowledged == 0


def test_a_tick_that_had_a_number_is_not_replaced_when_it_is_told_anew() -> None:
    bench, history = older_copy(acknowledged=3, numbered=3)
    ticks = [tick(10), tick(20)]
    for one in ticks:
        bench.feed(ReportQueued(one))
    bench.feed(AckArrived(STORE, 5, history[4]))
    assert bench.replaced == 0
    assert [s.report for s in bench.sent][-2:] == ticks


def test_an_acknowledgement_without_a_digest_is_believed() -> None:
    """A collector that does not say whose reports it has says what collectors always said."""
    bench, _ = older_copy(acknowledged=2, numbered=6)
    bench.feed(AckArrived(STORE, 5))
    assert bench.outbox.unacknowledged == 1
    bench.feed(AckArrived(STORE, 40))
    bench.restart()
    bench.feed(SendingResumed())
    bench.queue(1, start=7)
    assert [(s.seq, s.after is None) for s in bench.sent] == [(41, True), (42, False)]


def test_a_lower_acknowledgement_of_the_same_history_sends_again_and_tells_nothing_anew() -> None:
    bench, history = older_copy(acknowledged=6, numbered=6)
    bench.sent.clear()
    bench.feed(AckArrived(STORE, 4, history[3]))
    assert [(s.seq, s.after) for s in bench.sent] == [(5, history[3]), (6, history[4])]


@pytest.mark.parametrize("stored", [4, 6])
def test_a_store_that_lost_what_it_had_and_heard_another_story_is_told_all_that_is_held(
    stored: int,
) -> None:
    """Both came back from copies, so what was acknowledged is not sure; the journal is asked for its content."""
    bench, history = older_copy(acknowledged=6, numbered=6)
    bench.queue(1, start=7)
    other = chain((report(200 + n) for n in range(stored - 1)), history[0], first=2)
    bench.fetching = deque()
    bench.feed(AckArrived(STORE, stored, other[-1]))
    bench.sent.clear()
    bench.answer_fetch()
    assert [s.seq for s in bench.sent] == list(range(1, 8)), "as it is, until it is answered"
    bench.sent.clear()
    bench.feed(AckArrived(STORE, stored, other[-1]))
    assert [(s.seq, s.report) for s in bench.sent] == [
        (stored + number, report(number)) for number in range(1, 8)
    ]
    assert bench.sent[0].after == other[-1]


def test_ticks_that_wait_keep_their_places_when_the_reports_before_them_are_told_anew() -> None:
    bench, history = older_copy(acknowledged=3, numbered=3)
    bench.feed(ReportQueued(tick(10)))
    bench.queue(WINDOW - 1, start=11)
    for number in (90, 91):
        bench.feed(ReportQueued(tick(number)))
    assert bench.replaced == 1
    bench.feed(AckArrived(STORE, 5, history[4]))
    bench.feed(ReportQueued(tick(92)))
    bench.feed(AckArrived(STORE, 5 + WINDOW, None))
    assert [s.report for s in bench.sent][-1:] == [tick(92)]


def test_what_an_older_agent_numbered_names_nothing_and_the_next_report_names_it() -> None:
    bench = Bench()
    old = [digest(STREAM, seq, report(seq)) for seq in (1, 2)]
    rows = [
        Numbered(position=seq, seq=seq, report=report(seq), digest=known)
        for seq, known in enumerate(old, start=1)
    ]
    bench.outbox = Outbox(
        STREAM, OutboxState(next_position=3, next_seq=3, numbered=rows, chained_from=3)
    )
    bench.feed(SendingResumed())
    bench.queue(1, start=3)
    assert [s.after for s in bench.sent] == [None, None, old[1]]


class Receiver:
    """A collector's intake: takes what continues its story, jumps where the device holds no more, answers everything."""

    def __init__(self) -> None:
        self.stored: list[SendReport] = []

    @property
    def last(self) -> int:
        return self.stored[-1].seq if self.stored else 0

    @property
    def ack(self) -> AckArrived:
        return AckArrived(STORE, self.last, self._digest)

    @property
    def _digest(self) -> str | None:
        if not self.stored:
            return None
        last = self.stored[-1]
        return digest(STREAM, last.seq, last.report, last.after)

    def take(self, send: SendReport) -> AckArrived:
        if send.seq == self.last + 1:
            if send.after == self._digest:
                self.stored.append(send)
        elif send.seq > self.last and send.seq == send.oldest_held:
            self.stored.append(send)
        return self.ack


class LossyWorld:
    """A bench and a receiver, with a line between them that a test may abuse."""

    def __init__(self) -> None:
        self.bench = Bench()
        self.receiver = Receiver()
        self.queued: list[Report] = []
        self.acks: deque[AckArrived] = deque()
        self.copies: list[tuple[Kept, list[Report]]] = []
        self.on_its_way: deque[SendReport] = deque()
        """What an earlier life sent."""
        self.number = 0
        self.now_ms = 0
        self.bench.feed(SendingResumed())

    def queue(self) -> None:
        self._report(report(self.number + 1))

    def tick(self) -> None:
        self._report(tick(self.number + 1))

    def _report(self, new: Report) -> None:
        self.number += 1
        effects = self.bench.feed(ReportQueued(new), self.now_ms)
        if any(isinstance(e, DropReport) for e in effects):
            # The tick that was replaced is the last one of the item.
            del self.queued[
                max(i for i, r in enumerate(self.queued) if isinstance(r.body, ItemAdvanced))
            ]
        self.queued.append(new)

    def deliver(self) -> None:
        if self.bench.sent:
            self.acks.append(self.receiver.take(self.bench.sent.popleft()))

    def repeat(self) -> None:
        if self.bench.sent:
            self.acks.append(self.receiver.take(self.bench.sent[0]))

    def lose(self) -> None:
        if self.bench.sent:
            self.bench.sent.popleft()

    def deliver_ack(self) -> None:
        if self.acks:
            self.bench.feed(self.acks.popleft(), self.now_ms)

    def repeat_ack(self) -> None:
        if self.acks:
            self.bench.feed(self.acks[0], self.now_ms)

    def lose_ack(self) -> None:
        if self.acks:
            self.acks.popleft()

    def restart(self) -> None:
        self.bench.restart()
        self.bench.feed(SendingResumed(), self.now_ms)

    def reconnect(self) -> None:
        self.bench.sent.clear()
        self.bench.feed(SendingResumed(), self.now_ms)

    def hold(self) -> None:
        self.bench.feed(SendingHeld(), self.now_ms)

    def wait(self) -> None:
        self.now_ms += 120_000
        self.bench.feed(DeadlinePassed(), self.now_ms)

    def backup(self) -> None:
        """The collector comes back from an older copy of its store."""
        self.receiver.stored = self.receiver.stored[: len(self.receiver.stored) // 2]

    def copy_journal(self) -> None:
        self.copies.append((self.bench.copy_journal(), self.queued.copy()))

    def restore_journal(self) -> None:
        """The journal becomes one of the copies that were ever made of it; what was on its way still is."""
        if self.copies:
            copy, queued = self.copies[self.number % len(self.copies)]
            self.queued = queued.copy()
            self.on_its_way += self.bench.sent
            self.bench.restart_from(copy)
            self.bench.feed(SendingResumed(), self.now_ms)

    def deliver_late(self) -> None:
        if self.on_its_way:
            self.acks.append(self.receiver.take(self.on_its_way.popleft()))

    def faults_stop(self) -> None:
        """From now on all goes well, so everything has to get through."""
        self.reconnect()
        # A birth is answered with the current acknowledgement: so the outbox learns of a restored backup.
        self.bench.feed(self.receiver.ack, self.now_ms)
        for _ in range(2_000):
            if self.bench.waiting() == 0:
                return
            self.now_ms += 1000
            while self.bench.sent:
                self.bench.feed(self.receiver.take(self.bench.sent.popleft()), self.now_ms)
            due = self.bench.outbox.next_deadline_ms()
            if due is not None and due <= self.now_ms:
                self.bench.feed(DeadlinePassed(), self.now_ms)
        raise AssertionError("the outbox does not get its reports through")


Operations = list[tuple[Callable[[LossyWorld], None], int]]

EVERY_DAY = (
    LossyWorld.queue,
    LossyWorld.tick,
    LossyWorld.deliver,
    LossyWorld.repeat,
    LossyWorld.lose,
    LossyWorld.deliver_ack,
    LossyWorld.repeat_ack,
    LossyWorld.lose_ack,
    LossyWorld.restart,
    LossyWorld.reconnect,
    LossyWorld.hold,
    LossyWorld.wait,
)
JOURNAL_COPIES = (
    LossyWorld.copy_journal,
    LossyWorld.restore_journal,
    LossyWorld.deliver_late,
)


def operations(*kinds: Callable[[LossyWorld], None]) -> st.SearchStrategy[Operations]:
    one = st.tuples(st.sampled_from(kinds), st.integers(1, 40))
    return st.lists(one, max_size=60)


def after(happened: Operations) -> LossyWorld:
    """The world after all this, and after all went well for long enough."""
    world = LossyWorld()
    for operation, times in happened:
        for _ in range(times):
            world.now_ms += 50
            operation(world)
    world.faults_stop()
    return world


@settings(max_examples=300)
@given(operations(*EVERY_DAY, *JOURNAL_COPIES))
def test_the_receiver_gets_all_that_a_journal_still_says_although_it_was_an_older_copy(
    happened: Operations,
) -> None:
    """Under everything but the loss of what is stored: told twice perhaps, and in vain never."""
    world = after(happened)
    stored = [send.report for send in world.receiver.stored]
    assert [r for r in world.queued if r not in stored] == []
    numbers = [send.seq for send in world.receiver.stored]
    assert numbers == list(range(1, len(stored) + 1)), "nothing had to be recorded as lost"


@settings(max_examples=150)
@given(operations(*EVERY_DAY, *JOURNAL_COPIES, LossyWorld.backup))
def test_an_outbox_comes_to_rest_whatever_came_back_from_older_copies(
    happened: Operations,
) -> None:
    world = after(happened)
    held = [(row.seq, row.digest) for row in world.bench.kept.rows.values()]
    stored = [(s.seq, digest(STREAM, s.seq, s.report, s.after)) for s in world.receiver.stored]
    assert [one for one in held if one not in stored] == []


@settings(max_examples=150)
@given(operations(*EVERY_DAY, LossyWorld.backup))
def test_the_receiver_gets_exactly_what_was_queued_in_order(happened: Operations) -> None:
    """Under loss, duplication, restarts, and a store restored from a backup: nothing lost, doubled or reordered."""
    world = after(happened)
    assert [send.report for send in world.receiver.stored] == world.queued
    numbers = [send.seq for send in world.receiver.stored]
    assert numbers == list(range(1, len(world.queued) + 1))
