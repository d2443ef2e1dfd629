"""An outbox on a bench: with its journal, and with what it wants to send laid out to be looked at."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from copy import deepcopy

from agent.core.outbox import (
    DropReport,
    Effect,
    Event,
    FetchReports,
    Outbox,
    OutboxLimits,
    ReportQueued,
    ReportsFetched,
    SendReport,
)
from agent.wire.codec import digest
from agent.wire.events import Report
from simulator.verify.disk import Kept
from tests.agent.reports import report

STORE = "store-1"
STREAM = "stream-1"


def chain(reports: Iterable[Report], after: str | None = None, first: int = 1) -> list[str]:
    """The digests of reports that follow each other from a number on."""
    digests: list[str] = []
    for seq, one in enumerate(reports, start=first):
        after = digest(STREAM, seq, one, after)
        digests.append(after)
    return digests


def plain_chain(count: int) -> list[str]:
    """The digests of the reports that `Bench.queue(count)` queues first."""
    return chain(report(number) for number in range(1, count + 1))


class Bench:
    """An outbox with its journal, and what it wants to send."""

    def __init__(self, limits: OutboxLimits | None = None) -> None:
        self.limits = limits
        self.kept = Kept(STREAM)
        self.outbox = Outbox(STREAM, limits=limits)
        self.sent: deque[SendReport] = deque()
        self.replaced = 0
        self.fetching: deque[FetchReports] | None = None
        """Where questions to the journal wait, once a test wants its answers late."""

    def feed(self, event: Event, now_ms: int = 0) -> Sequence[Effect]:
        """Feed one event, and do for the effects what a journal does; the effects of this event alone."""
        effects = self.outbox.handle(event, now_ms)
        for effect in effects:
            if isinstance(effect, SendReport):
                self.sent.append(effect)
            elif not isinstance(effect, FetchReports):
                self.kept.apply(effect)
        self.replaced += sum(isinstance(e, DropReport) for e in effects)
        for effect in effects:
            if isinstance(effect, FetchReports):
                self._fetch(effect, now_ms)
        return effects

    def answer_fetch(self, now_ms: int = 0) -> None:
        """Let the journal answer the one question that waits."""
        assert self.fetching is not None
        self._answer(self.fetching.popleft(), now_ms)

    def _fetch(self, wanted: FetchReports, now_ms: int) -> None:
        if self.fetching is None:
            self._answer(wanted, now_ms)
        else:
            self.fetching.append(wanted)

    def _answer(self, wanted: FetchReports, now_ms: int) -> None:
        self.feed(ReportsFetched(self.kept.fetch(wanted.first, wanted.last)), now_ms)

    def queue(self, count: int, start: int = 1) -> None:
        for number in range(start, start + count):
            self.feed(ReportQueued(report(number)))

    def take_sent(self) -> list[int]:
        numbers = [send.seq for send in self.sent]
        self.sent.clear()
        return numbers

    def waiting(self) -> int:
        return self.outbox.unacknowledged

    def is_full(self) -> bool:
        return self.outbox.is_full

    def not_through_since_ms(self) -> int | None:
        return self.outbox.not_through_since_ms

    def restart(self) -> None:
        self.outbox = Outbox(STREAM, self.kept.outbox(), self.limits)
        self.sent.clear()

    def copy_journal(self) -> Kept:
        """The journal as it is now."""
        return deepcopy(self.kept)

    def restart_from(self, copy: Kept) -> None:
        """Somebody puts a copy in the journal's place."""
        self.kept = deepcopy(copy)
        self.restart()
