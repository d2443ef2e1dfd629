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
    NumberReport,
    OutboxLimits,
    ProbeWanted,
    ReportQueued,
    SendingHeld,
    SendingResumed,
    SendReport,
)
from agent.wire.codec import digest
from agent.wire.events import ItemAdvanced, Report
from tests.agent.core.outbox_bench import STORE, Bench
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
    assert ForgetReports(3) in effects
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


def test_without_an_acknowledgement_the_window_is_sent_again_ever_more_patiently() -> None:
    limits = OutboxLimits()
    bench = Bench(limits)
    bench.feed(SendingResumed())
    bench.queue(2)
    pauses, now_ms = [], 0
    for _ in range(7):
        bench.take_sent()
        due = bench.outbox.next_deadline_ms()
        assert due is not None
        pauses.append(due - now_ms)
        now_ms = due
        bench.feed(DeadlinePassed(), now_ms)
        assert bench.take_sent() == [1, 2]
    assert pauses == [5_000, 10_000, 20_000, 40_000, 80_000, 120_000, 120_000]
    bench.feed(AckArrived(STORE, 1), now_ms)
    assert bench.outbox.next_deadline_ms() == now_ms + limits.resend_after_ms


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


def test_a_collector_that_is_behind_is_not_put_further_behind() -> None:
    """The same acknowledgement again and again, later than the pause: the window is repeated ever more seldom."""
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
    bench.feed(AckArrived(STORE, 1), 12_000)
    bench.feed(AckArrived(STORE, 1), 12_600)
    assert bench.take_sent() == [2, 3], "something new was stored, so the pause is short again"


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


class Receiver:
    """A collector's intake: takes what is next, jumps where the device holds no more, answers everything."""

    def __init__(self) -> None:
        self.stored: list[SendReport] = []

    @property
    def last(self) -> int:
        return self.stored[-1].seq if self.stored else 0

    def take(self, send: SendReport) -> int:
        if send.seq == self.last + 1:
            self.stored.append(send)
        return self.last


class LossyWorld:
    """A bench and a receiver, with a line between them that a test may abuse."""

    def __init__(self) -> None:
        self.bench = Bench()
        self.receiver = Receiver()
        self.queued: list[Report] = []
        self.acks: deque[int] = deque()
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
            self.bench.feed(AckArrived(STORE, self.acks.popleft()), self.now_ms)

    def repeat_ack(self) -> None:
        if self.acks:
            self.bench.feed(AckArrived(STORE, self.acks[0]), self.now_ms)

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

    def faults_stop(self) -> None:
        """From now on all goes well, so everything has to get through."""
        self.reconnect()
        # A birth is answered with the current acknowledgement: so the outbox learns of a restored backup.
        self.bench.feed(AckArrived(STORE, self.receiver.last), self.now_ms)
        for _ in range(2_000):
            if self.bench.waiting() == 0:
                return
            self.now_ms += 1000
            while self.bench.sent:
                stored = self.receiver.take(self.bench.sent.popleft())
                self.bench.feed(AckArrived(STORE, stored), self.now_ms)
            due = self.bench.outbox.next_deadline_ms()
            if due is not None and due <= self.now_ms:
                self.bench.feed(DeadlinePassed(), self.now_ms)
        raise AssertionError("the outbox does not get its reports through")


OPERATIONS = st.tuples(
    st.sampled_from(
        [
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
            LossyWorld.backup,
        ]
    ),
    st.integers(1, 40),
)


@settings(max_examples=150)
@given(st.lists(OPERATIONS, max_size=60))
def test_the_receiver_gets_exactly_what_was_queued_in_order(
    operations: list[tuple[Callable[[LossyWorld], None], int]],
) -> None:
    """Under loss, duplication, restarts, and a store restored from a backup: nothing lost, doubled or reordered."""
    world = LossyWorld()
    for operation, times in operations:
        for _ in range(times):
            world.now_ms += 50
            operation(world)
    world.faults_stop()
    assert [send.report for send in world.receiver.stored] == world.queued
    numbers = [send.seq for send in world.receiver.stored]
    assert numbers == list(range(1, len(world.queued) + 1))
