"""The outbox machine: numbers reports, keeps them until they are stored for good, and sends them in order.

The law of the outbox:

- Reports leave in the order in which they were queued. One gets its number when it enters the window of 32
  unacknowledged ones; the number is durable before the report is sent and belongs to it for ever. Each names the
  digest of the one before it, so that no two histories of one stream are ever stored mixed.
- Only the collector's acknowledgement frees. A higher one frees and admits more; a lower one means that the collector
  lost something, so everything after it is sent again, as far back as it is still held.
- Acknowledged reports are kept for 7 more days of running time, the oldest going first when the size limit is reached.
  Time switched off and jumps of a clock make none of them older. Reports that are not acknowledged are never dropped:
  past the limit the outbox keeps them and says that it is full.
- An acknowledgement beyond every number given, or with another digest than this journal has under its number, means
  that the journal is an older copy of itself: its later life used those numbers. What was acknowledged before the
  copy was taken is the same in both lives, so it counts as stored; the next number is the one after the
  acknowledgement, with its digest before it; and nothing at or below it is offered again, for its content may differ
  from what is stored. All else is told under new numbers, in its order: of a report that this life has numbered
  nobody knows whether the other told it too, and twice told is better than lost. The numbers that it had are void:
  intake refuses what still comes under them. Where such a store says that it has no more than it acknowledged before,
  nothing is sure, and all that is held is told again.
- What is sent again, and when, is the business of the `Pace`: a collector that is behind is not put further behind.
- The content of an acknowledged report is not held in memory. When it is needed again, `FetchReports` asks for it.

Time is the monotonic time of whoever drives the machine, in milliseconds; after each restart it may begin anywhere.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, assert_never

from agent.core.pace import Again, Pace, Patience
from agent.wire.codec import digest, report_text
from agent.wire.events import (
    Body,
    ChoiceMade,
    ErrorScreenShown,
    ItemAdvanced,
    ItemChanged,
    RebootPlanned,
    Report,
)

WINDOW = 32
"""How many numbered reports may wait for an acknowledgement."""
AHEAD_MAX = 1_000_000
"""An acknowledgement further beyond the last number than this is nonsense: no device reports so much."""
DAY_MS = 24 * 60 * 60 * 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxLimits:
    """How much is kept, how long, and how patiently it is sent again."""

    kept_ms: int = 7 * DAY_MS
    bytes_max: int = 16 * 1024 * 1024
    patience: Patience = field(default_factory=Patience)


@dataclass(frozen=True, slots=True)
class ReportQueued:
    """A fact to report."""

    report: Report


@dataclass(frozen=True, slots=True)
class AckArrived:
    """The collector says how far this stream is stored."""

    store: str
    stored_seq: int
    digest: str | None = None
    """Of the report that is stored under this number; None when the collector does not say."""


@dataclass(frozen=True, slots=True)
class SendingResumed:
    """A connection is open and somebody listens; what was sent before may be lost."""


@dataclass(frozen=True, slots=True)
class SendingHeld:
    """The connection is gone, or the collector says that it is."""


@dataclass(frozen=True, slots=True)
class ProbeWanted:
    """Although sending is held: send one report, to see whether it gets through."""


@dataclass(frozen=True, slots=True)
class ReportsFetched:
    """The answer to `FetchReports`: number and content."""

    reports: Sequence[tuple[int, Report]]


@dataclass(frozen=True, slots=True)
class DeadlinePassed:
    """The time that `next_deadline_ms` named has come."""


Event = (
    ReportQueued
    | AckArrived
    | SendingResumed
    | SendingHeld
    | ProbeWanted
    | ReportsFetched
    | DeadlinePassed
)


@dataclass(frozen=True, slots=True)
class KeepReport:
    """Store a new report, still without a number."""

    position: int
    """Grows with every report of the stream; the order of the queue."""
    report: Report
    content: str
    """The report as JSON."""


@dataclass(frozen=True, slots=True)
class DropReport:
    """Remove a report without a number: a progress tick that a newer one replaced, or one that moves in the queue."""

    position: int


@dataclass(frozen=True, slots=True)
class NumberReport:
    """Give a stored report its number and the digest by which it can be audited."""

    position: int
    seq: int
    digest: str


@dataclass(frozen=True, slots=True)
class MarkAcknowledged:
    """Everything numbered up to `through` is acknowledged; what was not before, is since `at_ms` of running time."""

    through: int
    at_ms: int


@dataclass(frozen=True, slots=True)
class UnmarkAcknowledged:
    """Nothing numbered above `above` is acknowledged any more."""

    above: int


@dataclass(frozen=True, slots=True)
class ForgetReports:
    """Remove everything numbered up to `through`."""

    through: int
    digest: str | None = None
    """Of the report before the oldest that is held from now on, for the next one to name; None when unknown."""


@dataclass(frozen=True, slots=True)
class RememberStored:
    """Store what the collector said last, and the next number to give."""

    store: str
    stored_seq: int
    next_seq: int


@dataclass(frozen=True, slots=True)
class FetchReports:
    """Read these numbered reports back and answer with `ReportsFetched`."""

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class SendReport:
    """Publish one report, once everything durable of the same answer is durable."""

    seq: int
    oldest_held: int
    report: Report
    after: str | None = None
    """The digest of the report before it; None for the first, and where that is not known."""
    content: str = field(default="", compare=False, repr=False)
    """The report as JSON, where it is at hand."""


Durable = (
    KeepReport
    | DropReport
    | NumberReport
    | MarkAcknowledged
    | UnmarkAcknowledged
    | ForgetReports
    | RememberStored
)
"""What a journal has to store, in this order."""
Effect = Durable | FetchReports | SendReport


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """An acknowledged report that is still kept."""

    seq: int
    size_bytes: int
    at_ms: int
    """Running time; it goes on from the newest of them after a restart."""
    digest: str


@dataclass(frozen=True, slots=True)
class Numbered:
    """A report that is numbered and not acknowledged."""

    position: int
    seq: int
    report: Report
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxState:
    """What a journal holds of an outbox; the defaults are those of a new stream."""

    next_position: int = 1
    next_seq: int = 1
    stored_seq: int = 0
    store: str | None = None
    held_after: str | None = None
    """The digest of the report before the oldest that is held; None when there is none, or it is not known."""
    chained_from: int = 1
    """Reports below this number were numbered by an agent that did not chain them; they name none before them."""
    acknowledged: Sequence[Acknowledged] = ()
    numbered: Sequence[Numbered] = ()
    queued: Sequence[tuple[int, Report]] = ()
    """Position and content of each report without a number."""


class _Kept(NamedTuple):
    """A tuple, because each report makes two, and a frozen dataclass takes three times as long."""

    position: int
    report: Report | None
    """None while only the journal has the content."""
    size_bytes: int
    digest: str = ""
    """Empty as long as it has no number."""
    content: str = ""
    """The report as JSON until it is acknowledged, if it was made in this life of the agent."""


@dataclass(frozen=True, slots=True)
class _Run:
    """Consecutive reports that one acknowledgement freed."""

    first: int
    sizes_bytes: tuple[int, ...]
    digests: tuple[str, ...]
    at_ms: int

    @property
    def last(self) -> int:
        return self.first + len(self.sizes_bytes) - 1


def content_of(report: Report) -> str:
    """A report as the journal keeps it."""
    return report_text(report)


class Outbox:
    """The outbox of one stream.

    Args:
        stream: the id of the stream; part of every digest.
        state: what the journal holds of it.
    """

    def __init__(
        self,
        stream: str,
        state: OutboxState | None = None,
        limits: OutboxLimits | None = None,
    ) -> None:
        state = OutboxState() if state is None else state
        self.stream = stream
        self._limits = OutboxLimits() if limits is None else limits
        self._next_position = state.next_position
        self._next_seq = state.next_seq
        self._stored_seq = state.stored_seq
        self._store = state.store
        self._held_after = state.held_after
        self._chained_from = state.chained_from
        self._queue: deque[_Kept] = deque()
        self._numbered: dict[int, _Kept] = {}
        self._runs: deque[_Run] = deque()
        self._ticks: dict[tuple[str, str], int] = {}
        self._bytes = 0
        self._can_send = False
        self._fetching = False
        self._pace = Pace(self._limits.patience)
        self._waiting_since_ms: int | None = None
        self._refused_acks = 0
        self._ran_before_ms = max((row.at_ms for row in state.acknowledged), default=0)
        self._began_ms: int | None = None
        self._deadline_ms: int | None = None
        """It changes with an event only, and is asked for much more often."""
        self._restore(state)
        self._oldest_held = self._first_held()
        self._cursor = self._base + 1

    # What others may look at.

    @property
    def unacknowledged(self) -> int:
        """How many reports wait to be stored, numbered or not."""
        return len(self._queue) + self._next_seq - 1 - self._base

    @property
    def stored_seq(self) -> int:
        """What the collector said last: everything up to this number is stored."""
        return self._stored_seq

    @property
    def next_seq(self) -> int:
        """The number that the next report to enter the window will get."""
        return self._next_seq

    @property
    def oldest_held(self) -> int:
        """The lowest number still held; `next_seq` when none is."""
        return self._oldest_held

    @property
    def is_full(self) -> bool:
        """True when what waits to be stored is larger than the size limit."""
        return self._bytes > self._limits.bytes_max

    @property
    def size_bytes(self) -> int:
        """How much content is held, acknowledged or not."""
        return self._bytes

    @property
    def refused_acks(self) -> int:
        """How many acknowledgements were nonsense."""
        return self._refused_acks

    @property
    def not_through_since_ms(self) -> int | None:
        """Since when reports wait in vain: sending is held, or had to be repeated. None while all goes well."""
        if not self._pace.is_late and self._can_send:
            return None
        return self._waiting_since_ms

    def next_deadline_ms(self) -> int | None:
        """When to feed `DeadlinePassed`; None when there is nothing to wait for."""
        return self._deadline_ms

    # The machine.

    def handle(self, event: Event, now_ms: int) -> Sequence[Effect]:
        """Take one event; the effects are to be made durable first, then sent, in this order."""
        effects: list[Effect] = []
        if self._began_ms is None:
            self._began_ms = now_ms
        match event:
            case ReportQueued(report=report):
                self._keep(report, effects)
            case AckArrived():
                self._acknowledge(event, now_ms, effects)
            case SendingResumed():
                self._can_send = True
                self._go_to_base()
            case SendingHeld():
                self._can_send = False
                self._pace.held()
            case ProbeWanted():
                self._probe(effects)
            case ReportsFetched(reports=reports):
                self._take_fetched(reports)
            case DeadlinePassed():
                self._send_again(self._pace.due(now_ms), effects)
            case _:
                assert_never(event)
        self._forget_old(now_ms, effects)
        self._admit(effects)
        self._send(now_ms, effects)
        self._note_waiting(now_ms)
        self._deadline_ms = self._find_deadline()
        return effects

    @property
    def _base(self) -> int:
        """Everything up to here is stored, or is no longer held and can't be offered again."""
        return max(self._stored_seq, self._oldest_held - 1)

    def _running_ms(self, now_ms: int) -> int:
        """How long this outbox has run in all its lives, as far as it was written down."""
        assert self._began_ms is not None, "an outbox runs from its first event"
        return self._ran_before_ms + now_ms - self._began_ms

    def _find_deadline(self) -> int | None:
        late_ms, old_ms = self._pace.deadline_ms, self._forget_at_ms()
        if late_ms is None or old_ms is None:
            return old_ms if late_ms is None else late_ms
        return min(late_ms, old_ms)

    def _forget_at_ms(self) -> int | None:
        """When the oldest acknowledged reports have been kept for long enough, in the driver's time."""
        if not self._runs or self._began_ms is None:
            return None
        kept_until_ms = self._runs[0].at_ms + self._limits.kept_ms
        return kept_until_ms - self._ran_before_ms + self._began_ms

    def _restore(self, state: OutboxState) -> None:
        for row in state.acknowledged:
            last = self._runs[-1] if self._runs else None
            if last is not None and last.at_ms == row.at_ms and last.last + 1 == row.seq:
                self._runs[-1] = replace(
                    last,
                    sizes_bytes=(*last.sizes_bytes, row.size_bytes),
                    digests=(*last.digests, row.digest),
                )
            else:
                self._runs.append(_Run(row.seq, (row.size_bytes,), (row.digest,), row.at_ms))
            self._bytes += row.size_bytes
        for one in state.numbered:
            size_bytes = len(content_of(one.report))
            self._numbered[one.seq] = _Kept(one.position, one.report, size_bytes, one.digest)
            self._bytes += size_bytes
        for position, report in state.queued:
            kept = _Kept(position, report, len(content_of(report)))
            self._queue.append(kept)
            self._bytes += kept.size_bytes
            self._note_tick(position, report)

    def _first_held(self) -> int:
        if self._runs:
            return self._runs[0].first
        return min(self._numbered, default=self._next_seq)

    def _keep(self, report: Report, effects: list[Effect]) -> None:
        replaced = self._note_tick(self._next_position, report)
        if replaced is not None:
            self._drop_queued(replaced)
            effects.append(DropReport(replaced))
        content = content_of(report)
        self._queue.append(_Kept(self._next_position, report, len(content), content=content))
        self._bytes += len(content)
        effects.append(KeepReport(self._next_position, report, content))
        self._next_position += 1

    def _note_tick(self, position: int, report: Report) -> int | None:
        """Remember a tick that may be replaced; the position of the one that this report replaces, if any."""
        if isinstance(report.body, ItemAdvanced):
            key = (report.attempt, report.body.item)
            replaced = self._ticks.get(key)
            self._ticks[key] = position
            return replaced
        for item in _items_of(report.body):
            self._ticks.pop((report.attempt, item), None)
        return None

    def _drop_queued(self, position: int) -> None:
        # A tick that may be replaced is young, so it is looked for from the young end.
        for index in range(len(self._queue) - 1, -1, -1):
            if self._queue[index].position == position:
                self._bytes -= self._queue[index].size_bytes
                del self._queue[index]
                return
        raise AssertionError("a tick that may be replaced is in the queue")

    def _acknowledge(self, ack: AckArrived, now_ms: int, effects: list[Effect]) -> None:
        last_numbered = self._next_seq - 1
        if ack.stored_seq > last_numbered + AHEAD_MAX:
            self._refused_acks += 1
            return
        before = (self._store, self._stored_seq)
        if ack.stored_seq > last_numbered or self._is_of_another_life(ack):
            self._follow_other_life(ack, effects)
        elif ack.stored_seq > self._stored_seq:
            self._free(ack.stored_seq, now_ms, effects)
        elif ack.stored_seq < self._stored_seq:
            self._take_back(ack.stored_seq, effects)
        else:
            self._send_again(self._pace.repeated(now_ms), effects)
        self._store = ack.store
        if before != (self._store, self._stored_seq):
            effects.append(RememberStored(ack.store, self._stored_seq, self._next_seq))

    def _free(self, through: int, now_ms: int, effects: list[Effect]) -> None:
        first = self._base + 1
        freed = [self._numbered.pop(seq) for seq in range(first, through + 1)]
        self._stored_seq = through
        if freed:
            running_ms = self._running_ms(now_ms)
            sizes, digests = tuple(k.size_bytes for k in freed), tuple(k.digest for k in freed)
            self._runs.append(_Run(first, sizes, digests, running_ms))
            effects.append(MarkAcknowledged(through, running_ms))
            self._waiting_since_ms = None
            self._pace.answered(through, now_ms)
        self._cursor = max(self._cursor, self._base + 1)

    def _take_back(self, stored_seq: int, effects: list[Effect]) -> None:
        self._stored_seq = stored_seq
        for seq, size, known in self._runs_above(stored_seq):
            self._numbered[seq] = _Kept(0, None, size, known)
        effects.append(UnmarkAcknowledged(stored_seq))
        self._go_to_base()

    def _runs_above(self, stored_seq: int) -> Iterator[tuple[int, int, str]]:
        """Take the acknowledged reports above a number out of the runs: number, size and digest of each."""
        while self._runs and self._runs[-1].last > stored_seq:
            run = self._runs.pop()
            stays = max(0, stored_seq + 1 - run.first)
            if stays:
                self._runs.append(
                    replace(run, sizes_bytes=run.sizes_bytes[:stays], digests=run.digests[:stays])
                )
            taken = range(run.first + stays, run.last + 1)
            yield from zip(taken, run.sizes_bytes[stays:], run.digests[stays:], strict=True)

    def _is_of_another_life(self, ack: AckArrived) -> bool:
        """Whether another report is stored under this number than the one that this journal has there."""
        known = self._digest_of(ack.stored_seq)
        return known is not None and ack.digest is not None and known != ack.digest

    def _digest_of(self, seq: int) -> str | None:
        """The digest of a report that is held, or of the one right before; None where it is not known."""
        if seq == self._oldest_held - 1:
            return self._held_after
        if seq in self._numbered:
            return self._numbered[seq].digest
        for run in reversed(self._runs):
            if run.first <= seq <= run.last:
                return run.digests[seq - run.first]
        return None

    def _after(self, seq: int) -> str | None:
        """What a report names as the one before it; the same whenever it is sent, for its own digest covers it."""
        return None if seq < self._chained_from else self._digest_of(seq - 1)

    def _follow_other_life(self, ack: AckArrived, effects: list[Effect]) -> None:
        if ack.stored_seq <= self._stored_seq and self._runs:
            # The store has lost what it acknowledged, and was told another story since: nothing held is sure.
            self._take_back(self._oldest_held - 1, effects)
        absent = [seq for seq, kept in self._numbered.items() if kept.report is None]
        if absent:
            # What can't be told anew yet is sent as it is, and answered by the same acknowledgement.
            self._ask_for(min(absent), max(absent), effects)
        else:
            self._adopt_later_life(ack, effects)

    def _adopt_later_life(self, ack: AckArrived, effects: list[Effect]) -> None:
        again = [self._numbered[seq] for seq in sorted(self._numbered)]
        effects.append(ForgetReports(self._next_seq - 1, ack.digest))
        self._runs.clear()
        self._numbered.clear()
        self._bytes = sum(kept.size_bytes for kept in self._queue)
        self._stored_seq = ack.stored_seq
        self._next_seq = ack.stored_seq + 1
        self._held_after = ack.digest
        self._oldest_held = self._next_seq
        self._cursor = self._next_seq
        if again:
            self._queue_before(again, effects)
        self._waiting_since_ms = None
        self._pace.nothing_waits()

    def _queue_before(self, reports: Sequence[_Kept], effects: list[Effect]) -> None:
        """Queue reports anew before those that wait; the order of the queue is that of its positions."""
        waiting = tuple(self._queue)
        effects.extend(DropReport(kept.position) for kept in self._queue)
        self._queue.clear()
        self._ticks.clear()
        self._bytes = 0
        for kept in (*reports, *waiting):
            assert kept.report is not None, "a report that waits is held whole"
            self._keep(kept.report, effects)
            if kept.digest:
                # What had a number is told whole: no tick of it is replaced.
                self._ticks.clear()

    def _send_again(self, again: Again, effects: list[Effect]) -> None:
        match again:
            case Again.NOTHING:
                pass
            case Again.FIRST:
                self._probe(effects)
            case Again.ALL:
                self._go_to_base()
            case _:
                assert_never(again)

    def _go_to_base(self) -> None:
        self._cursor = self._base + 1
        self._pace.held()

    def _probe(self, effects: list[Effect]) -> None:
        first = self._base + 1
        if first >= self._next_seq:
            return
        kept = self._numbered[first]
        if kept.report is None:
            self._fetch(first, effects)
        else:
            effects.append(self._sent(first, kept.report, kept.content))

    def _take_fetched(self, reports: Sequence[tuple[int, Report]]) -> None:
        self._fetching = False
        for seq, report in reports:
            # A report that was acknowledged in the meantime is not wanted any more.
            if seq in self._numbered:
                self._numbered[seq] = self._numbered[seq]._replace(report=report)

    def _forget_old(self, now_ms: int, effects: list[Effect]) -> None:
        through = None
        ran_out_ms = self._running_ms(now_ms) - self._limits.kept_ms
        while self._runs and (
            self._runs[0].at_ms <= ran_out_ms or self._bytes > self._limits.bytes_max
        ):
            run = self._runs.popleft()
            self._bytes -= sum(run.sizes_bytes)
            through, self._held_after = run.last, run.digests[-1]
        if through is not None:
            self._oldest_held = through + 1
            effects.append(ForgetReports(through, self._held_after))

    def _admit(self, effects: list[Effect]) -> None:
        while self._queue and self._next_seq - 1 - self._base < WINDOW:
            kept = self._queue.popleft()
            report = kept.report
            assert report is not None, "a report without a number is held whole"
            if isinstance(report.body, ItemAdvanced):
                key = (report.attempt, report.body.item)
                if self._ticks.get(key) == kept.position:
                    del self._ticks[key]
            seq = self._next_seq
            told = digest(self.stream, seq, report, self._after(seq))
            self._numbered[seq] = _Kept(
                kept.position, report, kept.size_bytes, told, content=kept.content
            )
            self._next_seq += 1
            effects.append(NumberReport(kept.position, seq, told))

    def _send(self, now_ms: int, effects: list[Effect]) -> None:
        if not self._can_send:
            return
        while self._cursor <= min(self._next_seq - 1, self._base + WINDOW):
            kept = self._numbered[self._cursor]
            if kept.report is None:
                self._fetch(self._cursor, effects)
                break
            self._pace.sent(self._cursor, now_ms)
            effects.append(self._sent(self._cursor, kept.report, kept.content))
            self._cursor += 1

    def _sent(self, seq: int, report: Report, content: str) -> SendReport:
        return SendReport(seq, self._oldest_held, report, self._after(seq), content)

    def _fetch(self, first: int, effects: list[Effect]) -> None:
        last = first
        while last + 1 <= self._base + WINDOW and self._is_absent(last + 1):
            last += 1
        self._ask_for(first, last, effects)

    def _ask_for(self, first: int, last: int, effects: list[Effect]) -> None:
        if not self._fetching:
            self._fetching = True
            effects.append(FetchReports(first, last))

    def _is_absent(self, seq: int) -> bool:
        kept = self._numbered.get(seq)
        return kept is not None and kept.report is None

    def _note_waiting(self, now_ms: int) -> None:
        if self.unacknowledged == 0:
            self._waiting_since_ms = None
            self._pace.nothing_waits()
        elif self._waiting_since_ms is None:
            self._waiting_since_ms = now_ms


def _items_of(body: Body) -> tuple[str, ...]:
    match body:
        case ItemChanged(item=item) | ItemAdvanced(item=item):
            return (item,)
        case ChoiceMade(item=item) if item is not None:
            return (item,)
        case ErrorScreenShown(failed_items=items) | RebootPlanned(items=items):
            return items
        case _:
            return ()
