"""The driver: the asyncio shell that runs one device's three machines, persists, acts and publishes, in this order.

One task owns the machines, so nothing here needs a lock. It takes what is due, one input at a time: the enrollment
machine answers with effects, the outbox numbers the reports among them, one transaction makes all of it durable, then
the endpoint acts and the session publishes. Between two inputs it sleeps until the earliest deadline of the three.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import TypeVar, assert_never

from agent.core import link as links
from agent.core import outbox as outboxes
from agent.core.batch import Batch, Entry
from agent.core.blueprints import Blueprints
from agent.core.effects import (
    AskForAssignment,
    CancelStep,
    CollectLogs,
    Effect,
    EndpointEffect,
    ResetDevice,
)
from agent.core.effects import Report as ReportFact
from agent.core.enrollment import Enrollment
from agent.core.events import (
    AssignmentArrived,
    AttemptBegan,
    CommandReceived,
    EmergencyExitUsed,
    Event,
    Limits,
    LogsCollected,
    MessageRefused,
    PersonActed,
    PersonChose,
    Restarted,
)
from agent.core.inbox import Inbox
from agent.core.link import Link, LinkState
from agent.core.outbox import FetchReports, Outbox, SendReport
from agent.core.publications import Publications
from agent.core.retelling import Retelling, told_otherwise
from agent.core.shell import (
    CHECKPOINT_BYTES_MAX,
    CHECKPOINTS_KEPT,
    StatusPace,
    begins_anew,
    digest_of,
    earliest,
    input_batch,
    is_answer_to,
    is_due,
    is_of_the_wiped,
    is_urgent,
    next_input,
    outbox_batch,
    passed_ms,
    progress_at,
    report_of,
)
from agent.core.state import Mode
from agent.runtime.alarm import Alarm
from agent.runtime.clock import SteadyClock
from agent.runtime.identifiers import new_id
from agent.runtime.outgoing import Outgoing
from agent.runtime.ports import (
    ArchiveFailed,
    Clock,
    DeviceReport,
    Endpoint,
    Incoming,
    Journal,
    JournalFailed,
    JournalState,
    JournalUnreadable,
    LogArchive,
    Transport,
    Verifier,
    Will,
)
from agent.runtime.reception import Reception
from agent.runtime.session import Session
from agent.wire.assignment import Admitted, Assignment, Refused
from agent.wire.messages import Ack, CollectorState
from agent.wire.progress import Failure, Progress, Reporting
from agent.wire.topics import device_filters
from agent.wire.vocabulary import Choice, EndState, Gate, PersonAction

T = TypeVar("T")

logger = logging.getLogger(__name__)

INCOMING_MAX = 64
PROBLEM_LENGTH_MAX = 2_000
"""What a report may carry of a reason."""
LOCAL_STORE = "local"
"""The store that an assignment from a file says it comes from."""


def _beside_checkpoints() -> outboxes.OutboxLimits:
    """What the stated size of a journal leaves for reports when the checkpoints have taken all that they may."""
    limits = outboxes.OutboxLimits()
    taken = CHECKPOINTS_KEPT * CHECKPOINT_BYTES_MAX
    return replace(limits, bytes_max=limits.bytes_max - taken)


@dataclass(frozen=True, slots=True, kw_only=True)
class DriverOptions:
    """What is decided once, before the driver runs. Times are real milliseconds unless they say otherwise."""

    device: str
    tenant: str = "default"
    agent_version: str
    limits: Limits = field(default_factory=Limits)
    outbox_limits: outboxes.OutboxLimits = field(default_factory=_beside_checkpoints)
    link_limits: links.LinkLimits = field(default_factory=links.LinkLimits)
    broker: str = ""
    """How the screen names the broker."""
    decision: Admitted | Refused | None = None
    """An assignment that was given by file: used for every attempt, and no broker is asked."""
    comes_back: bool = False
    """Start a new attempt when the journal's last one ended with the gate locked."""
    exit_on_release: bool = False
    """End as soon as the gate is open or the attempt is over; what was not reported is reported next time."""
    linger_ms: int | None = None
    """How long to stay for reports after everything else is done; None: until they are through."""
    goodbye_ms: int = 10_000
    """How long the farewell may take."""
    archive_ms: int = 60_000
    """How long a log archive may take; setup waits for it, and goes on without it after that."""
    wakes_every_ms: int = 0
    """Look at what is due at multiples of this only: a fleet's agents then wake together. 0: whenever something is."""
    journal_retry_ms: int = 1_000
    journal_retry_ms_max: int = 30_000


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended."""

    attempt: str | None
    end_state: EndState | None
    gate: Gate
    unacknowledged: int
    failure: Failure | None = None
    """What ended the attempt, or what the error screen was about."""


class Driver:
    """Runs one device until it is settled and everything is reported.

    Args:
        transport: None works without a broker; reports are kept for a later run.
        archive: None answers every wish for logs with a sentence that none are kept.
        draw: numbers in [0, 1) for the back-off.
        identifier: makes the ids of attempts and of a new stream.
        blueprints: shared by the devices of one process, for one that begins with an empty journal; None shares nothing.
    """

    def __init__(
        self,
        options: DriverOptions,
        endpoint: Endpoint,
        journal: Journal,
        clock: Clock,
        verifier: Verifier,
        transport: Transport | None = None,
        *,
        archive: LogArchive | None = None,
        steady: Callable[[], int] | None = None,
        draw: Callable[[], float] = random.random,
        identifier: Callable[[], str] = new_id,
        blueprints: Blueprints | None = None,
    ) -> None:
        self._options = options
        self._endpoint = endpoint
        self._journal = journal
        self._clock = clock
        self._verifier = verifier
        self._transport = transport
        self._archive = archive
        self._steady = SteadyClock().now_ms if steady is None else steady
        self._draw = draw
        self._identifier = identifier
        self._machine = Enrollment(blueprints)
        self._link = Link()
        self._outbox: Outbox
        self._reception: Reception
        self._publications: Publications
        self._inbox = Inbox()
        self._outgoing: Outgoing
        self._incoming: deque[Incoming] = deque()
        self._room: asyncio.Future[None] | None = None
        """Whoever has more to hand in than `INCOMING_MAX` waits for this."""
        self._link_events: deque[links.Event] = deque()
        self._answers: dict[int, asyncio.Future[str | None]] = {}
        self._watchers: set[asyncio.Event] = set()
        self._alarm = Alarm(options.wakes_every_ms / 1000)
        self._session: asyncio.Task[None] | None = None
        self._crash: BaseException | None = None
        self._entries = 0
        self._handled_ms = 0
        self._status_pace = StatusPace()
        self._settled_ms: int | None = None
        self._storage_problem = ""
        self._stop_wanted = asyncio.Event()
        self._is_over = False

    # What a screen and a supervisor may look at and call.

    @property
    def progress(self) -> Progress:
        """The snapshot of now; an assertion before the first attempt began."""
        return progress_at(self._machine, self._handled_ms, self._clock.now_ms())

    @property
    def reporting(self) -> Reporting:
        """How the reports get through."""
        since_ms = self._outbox.not_through_since_ms if self._transport else None
        return Reporting(
            connected=self._link.is_connected,
            broker=self._options.broker,
            collector_online=self._link.peer_online,
            unacknowledged=self._outbox.unacknowledged,
            not_through_since=None if since_ms is None else _utc(since_ms),
            problem=self._problem(),
        )

    @property
    def refused(self) -> dict[str, int]:
        """How many incoming messages were refused, by reason."""
        nonsense = {"ack_ahead": self._outbox.refused_acks} if self._outbox.refused_acks else {}
        return {**self._reception.refused, **nonsense}

    @property
    def is_storing(self) -> bool:
        """False while nothing goes on because the journal can't be written."""
        return not self._storage_problem

    @property
    def stream(self) -> str:
        """The id of this journal's stream of reports."""
        return self._outbox.stream

    async def snapshots(self) -> AsyncIterator[tuple[Progress, Reporting]]:
        """What to draw: at once, at every change, and once a second; ends with the driver."""
        changed = asyncio.Event()
        changed.set()
        self._watchers.add(changed)
        try:
            while True:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(changed.wait(), 1.0)
                changed.clear()
                if self._machine.attempt is not None:
                    yield self.progress, self.reporting
                if self._is_over:
                    return
        finally:
            self._watchers.discard(changed)

    async def person_acted(self, item: str, action: PersonAction) -> str | None:
        """The person answered a person screen. Returns when it is durable: None, or why it was refused."""
        return await self._ask(PersonActed(item=item, action=action))

    async def person_chose(self, choice: Choice, item: str | None = None) -> str | None:
        """The person made a choice. Returns when it is durable: None, or why it was refused."""
        return await self._ask(PersonChose(choice=choice, item=item))

    async def emergency_exit(self) -> str | None:
        """The person used the emergency exit. Returns when it is durable: None, or why it was refused."""
        return await self._ask(EmergencyExitUsed())

    def stop(self) -> None:
        """End soon, with a goodbye; the gate stays as it is."""
        self._stop_wanted.set()
        self._alarm.ring()

    async def stop_wanted(self) -> None:
        """Wait until somebody asks the driver to stop, even after it has ended by itself."""
        await self._stop_wanted.wait()

    async def run(self) -> Outcome:
        """Enroll this device.

        Raises:
            JournalUnreadable: the journal can't be used.
            JournalFailed: somebody asked it to stop while the journal could not be written. What was not stored was
                not done either, and the next run begins before it.
        """
        try:
            self._restore(await self._load())
            logger.info(
                "agent %s goes on after %d inputs, stream %s",
                self._options.agent_version,
                self._entries,
                self._outbox.stream,
            )
            await self._start()
            while not self._is_done():
                await self._sleep()
                await self._turn()
            await self._leave()
        finally:
            await self._tear_down()
        return Outcome(
            self._machine.attempt,
            self._machine.end_state,
            self._machine.gate,
            self._outbox.unacknowledged,
            self._machine.progress.failure if self._machine.attempt else None,
        )

    # Beginning.

    def _restore(self, state: JournalState) -> None:
        if state.entries or state.checkpoints:
            self._machine = self._retold(state)
        self._outbox = Outbox(state.stream, state.outbox, self._options.outbox_limits)
        self._link = Link(state.session, self._options.link_limits)
        self._reception = Reception(
            self._options.tenant, self._options.device, state.stream, self._verifier
        )
        self._publications = Publications(
            self._options.tenant,
            self._options.device,
            self._options.agent_version,
            self._machine,
            self._outbox,
            self._link,
        )
        self._outgoing = Outgoing(self._publications.report)
        off_ms = 0
        for entry in state.entries:
            self._note_received(entry.event)
        self._handled_ms = self._machine.handled_ms
        if state.entries and self._machine.mode is Mode.RESTARTING:
            off_ms = self._clock.wall_ms() - state.entries[-1].wall_ms
        self._clock.restore(self._handled_ms, off_ms)

    def _retold(self, state: JournalState) -> Enrollment:
        """The machine as the journal left it, and a warning where this version understands it otherwise.

        Raises:
            JournalUnreadable: this version fails at an input, and no checkpoint makes up for it.
        """
        version = self._options.agent_version
        retelling = Retelling(state.entries, state.checkpoints)
        for _ in retelling:
            pass
        if retelling.is_lost:
            raise JournalUnreadable(_not_understood(state.name, retelling, version))
        otherwise = told_otherwise(retelling, version)
        if otherwise:
            logger.warning("%s; `esp-agent replay` shows it", otherwise)
        self._entries = retelling.last_n
        return retelling.machine

    async def _start(self) -> None:
        self._endpoint.attach(self._post)
        if self._entries == 0:
            self._begin_attempt(self._clock.now_ms())
        else:
            planned = self._machine.mode is Mode.RESTARTING
            # Before any deadline that passed meanwhile: that would start what is taken up again here.
            await self._step(Restarted(planned=planned), self._clock.now_ms())
            if self._machine.mode is Mode.WAITING_FOR_ASSIGNMENT:
                self._give_local_assignment(self._clock.now_ms())
            if begins_anew(self._machine, comes_back=self._options.comes_back):
                self._begin_attempt(self._clock.now_ms())
        if self._transport is not None:
            self._tell_link(links.Started())

    def _begin_attempt(self, at_ms: int) -> None:
        began = AttemptBegan(
            attempt=self._identifier(),
            facts=self._endpoint.facts(),
            limits=self._options.limits,
        )
        self._inbox.put(began, at_ms)

    # The loop.

    async def _turn(self) -> None:
        """Do one thing of each kind that is due; what may have taken time is followed by a new look at the clock."""
        self._raise_crash()
        now_ms = self._steady()
        if self._link_events:
            await self._follow_link(self._link_events.popleft(), now_ms)
            now_ms = self._steady()
        elif self._incoming:
            await self._take(self._next_incoming(), now_ms)
            now_ms = self._steady()
        elif is_due(self._link.next_deadline_ms(), now_ms):
            await self._follow_link(links.DeadlinePassed(self._draw()), now_ms)
            now_ms = self._steady()
        if is_due(self._outbox.next_deadline_ms(), now_ms):
            await self._feed_outbox(outboxes.DeadlinePassed(), now_ms)
            now_ms = self._steady()
        due = next_input(self._inbox, self._machine.next_deadline_ms(), self._clock.now_ms())
        if due is not None:
            await self._step(*due)
            now_ms = self._steady()
        if is_due(self._status_pace.next_ms, now_ms) and self._link.is_connected:
            self._publish_status()

    async def _sleep(self) -> None:
        """Wait for the earliest deadline, or for something to arrive; not at all where something is due already."""
        self._alarm.quiet()
        has_news = self._link_events or self._stop_wanted.is_set() or self._crash is not None
        if has_news or self._incoming:
            return
        delay_s = self._seconds_to_next()
        if delay_s != 0:
            await self._alarm.sleep(delay_s)

    def _seconds_to_next(self) -> float | None:
        steady_ms = earliest(
            (
                self._link.next_deadline_ms(),
                self._outbox.next_deadline_ms(),
                self._status_pace.next_ms if self._link.is_connected else None,
                None if self._settled_ms is None else self._linger_until_ms(),
            )
        )
        running_ms = earliest((self._inbox.next_ms, self._machine.next_deadline_ms()))
        delay_s = None if running_ms is None else self._clock.seconds_until(running_ms)
        if steady_ms is None or delay_s == 0:
            return delay_s
        steady_s = max(0.0, (steady_ms - self._steady()) / 1000)
        return steady_s if delay_s is None else min(delay_s, steady_s)

    def _is_done(self) -> bool:
        if self._stop_wanted.is_set():
            return True
        ended = self._machine.end_state is not None
        if self._options.exit_on_release and (ended or self._machine.gate is not Gate.LOCKED):
            return True
        if not self._machine.is_settled or self._inbox:
            self._settled_ms = None
            return False
        if self._transport is None or self._outbox.unacknowledged == 0:
            return True
        if self._settled_ms is None:
            self._settled_ms = self._steady()
        return is_due(self._linger_until_ms(), self._steady())

    def _linger_until_ms(self) -> int | None:
        if self._settled_ms is None or self._options.linger_ms is None:
            return None
        return self._settled_ms + self._options.linger_ms

    # One input: persist, act, publish.

    async def _step(self, event: Event, stamp_ms: int) -> None:
        at_ms = max(stamp_ms, self._handled_ms)
        effects = self._machine.handle(event, at_ms)
        self._handled_ms = at_ms
        refusal = self._machine.refusal
        if refusal is not None and not effects:
            logger.debug("%s changed nothing: %s", type(event).__name__, refusal)
            self._answer(event, refusal)
            return
        facts: list[ReportFact] = []
        actions: list[EndpointEffect | CollectLogs | AskForAssignment] = []
        for effect in effects:
            if isinstance(effect, ReportFact):
                facts.append(effect)
            else:
                actions.append(effect)
        outbox_effects = self._queue_reports(facts)
        entry = self._next_entry(event, at_ms, effects)
        await self._commit(input_batch(entry, self._machine, actions, outbox_effects))
        self._note_received(event)
        for action in actions:
            if isinstance(action, CollectLogs):
                await self._collect_logs(action.command, at_ms)
            else:
                self._act(action, at_ms)
        await self._publish_reports(outbox_effects)
        if isinstance(event, AttemptBegan):
            self._give_local_assignment(at_ms)
        self._status_pace.changed(self._steady(), at_once=is_urgent(effects))
        self._answer(event, None)
        self._changed()

    def _queue_reports(self, facts: Sequence[ReportFact]) -> list[outboxes.Effect]:
        now_ms, wall_ms = self._steady(), self._clock.wall_ms()
        effects: list[outboxes.Effect] = []
        for fact in facts:
            effects += self._outbox.handle(outboxes.ReportQueued(report_of(fact, wall_ms)), now_ms)
        return effects

    def _next_entry(self, event: Event, at_ms: int, effects: Sequence[Effect]) -> Entry:
        self._entries += 1
        version = self._options.agent_version
        digest = digest_of(self._machine, self._entries, effects)
        return Entry(self._entries, at_ms, self._clock.wall_ms(), version, event, digest)

    def _note_received(self, event: Event) -> None:
        """Remember what was taken over, so that the retained copy of it is not taken again."""
        if isinstance(event, AssignmentArrived):
            self._reception.note_assignment(event.assignment)

    def _act(self, action: EndpointEffect | AskForAssignment, at_ms: int) -> None:
        match action:
            case AskForAssignment():
                self._publish_birth()
                return
            case CancelStep(item=item, run=run):
                self._inbox.discard(lambda e: is_answer_to(e, item, run))
            case ResetDevice():
                self._inbox.discard(is_of_the_wiped)
            case _:
                pass
        self._endpoint.act(action, at_ms)
        if isinstance(action, ResetDevice):
            self._begin_attempt(at_ms)

    async def _collect_logs(self, command: str | None, at_ms: int) -> None:
        """Write a log archive of this moment, and tell the machine of it as of this moment.

        No other input is taken meanwhile, so that journal and snapshot in the archive say the same, and so that a
        fleet in real time has its events in the order that simulated time gives them.
        """
        path, problem = "", "this agent keeps no log archives"
        if self._archive is not None:
            path, problem = await self._write_archive(self._archive, command, at_ms)
        if problem:
            logger.warning("no log archive was written: %s", problem)
        else:
            logger.info("a log archive was written: %s", path)
        collected = LogsCollected(path=path, command=command, problem=problem[:PROBLEM_LENGTH_MAX])
        self._inbox.put(collected, at_ms)

    async def _write_archive(
        self, archive: LogArchive, command: str | None, at_ms: int
    ) -> tuple[str, str]:
        """Where the archive is, or why there is none."""
        limit_s = self._options.archive_ms / 1000
        writing = asyncio.create_task(
            archive.write(self._report_of_itself(command, at_ms)),
            name=f"log archive of {self._options.device}",
        )
        try:
            # Unlike a timeout, this does not wait for what a dead disk holds.
            await asyncio.wait({writing}, timeout=limit_s)
            if writing.done():
                return await writing, ""
        except ArchiveFailed as failure:
            return "", str(failure)
        finally:
            writing.cancel()
        return "", (
            f"the log archive was not written within {limit_s:.0f} seconds; "
            "check the disk that --logs names, then collect the logs again"
        )

    def _report_of_itself(self, command: str | None, at_ms: int) -> DeviceReport:
        return DeviceReport(
            facts=self._endpoint.facts(),
            progress=self.progress,
            reporting=self.reporting,
            at_ms=at_ms,
            wall_ms=self._clock.wall_ms(),
            command=command,
            link={"state": self._link.state.value, "session": self._link.session},
            outbox={
                "stream": self._outbox.stream,
                "unacknowledged": self._outbox.unacknowledged,
                "stored_seq": self._outbox.stored_seq,
                "next_seq": self._outbox.next_seq,
                "oldest_held": self._outbox.oldest_held,
                "size_bytes": self._outbox.size_bytes,
            },
            refused=self.refused,
        )

    def _give_local_assignment(self, at_ms: int) -> None:
        decision, attempt = self._options.decision, self._machine.attempt
        if decision is None or attempt is None:
            return
        assignment = Assignment(
            device=self._options.device,
            attempt=attempt,
            store=LOCAL_STORE,
            term=0,
            version=1,
            issued_at=_utc(self._clock.wall_ms()),
            decision=decision,
        )
        self._inbox.put(AssignmentArrived(assignment=assignment), at_ms)

    async def _load(self) -> JournalState:
        """What the journal holds; a first start has to write it, which waits for room as everything does."""
        stream = self._identifier()
        return await self._when_it_works(lambda: self._journal.load(self._options.device, stream))

    async def _commit(self, batch: Batch) -> None:
        """Make a batch durable, however long that takes: nothing is acted on or published before."""
        await self._when_it_works(partial(self._journal.commit, self._options.device, batch))

    async def _when_it_works(self, work: Callable[[], Awaitable[T]]) -> T:
        pause_ms = self._options.journal_retry_ms
        while True:
            try:
                done = await work()
            except JournalFailed as failure:
                if self._stop_wanted.is_set():
                    raise
                self._tell_storage(failure)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stop_wanted.wait(), pause_ms / 1000)
                pause_ms = min(2 * pause_ms, self._options.journal_retry_ms_max)
            else:
                self._storage_works()
                return done

    def _tell_storage(self, failure: JournalFailed) -> None:
        if not self._storage_problem:
            logger.error("nothing goes on until the journal can be written: %s", failure)
        self._storage_problem = (
            f"Setup is paused because the device can't store its progress ({failure}). "
            "Make room on the disk; it goes on by itself."
        )
        self._changed()

    def _storage_works(self) -> None:
        if self._storage_problem:
            logger.info("the journal can be written again")
            self._storage_problem = ""
            self._changed()

    # Outbox.

    async def _feed_outbox(self, event: outboxes.Event, now_ms: int) -> None:
        effects = self._outbox.handle(event, now_ms)
        batch = outbox_batch(effects)
        if batch is not None:
            await self._commit(batch)
        await self._publish_reports(effects)
        self._changed()

    async def _publish_reports(self, effects: Sequence[outboxes.Effect]) -> None:
        for effect in effects:
            match effect:
                case SendReport():
                    self._outgoing.report(effect)
                case FetchReports(first=first, last=last):
                    await self._fetch(first, last)
                case _:
                    pass

    async def _fetch(self, first: int, last: int) -> None:
        try:
            reports = await self._journal.fetch(self._options.device, first, last)
        except JournalFailed as failure:
            # Asked for again with the next resend.
            self._tell_storage(failure)
            reports = ()
        await self._feed_outbox(outboxes.ReportsFetched(reports), self._steady())

    # Link.

    async def _follow_link(self, event: links.Event, now_ms: int) -> None:
        before = self._link.state
        was_connecting = before is LinkState.CONNECTING
        effects = self._link.handle(event, now_ms)
        if self._link.state is not before:
            logger.info(
                "the link is %s after %s: %s",
                self._link.state.value,
                type(event).__name__,
                self._link.problem or "no problem",
            )
        for effect in effects:
            await self._follow(effect, now_ms)
        if was_connecting and self._link.state is LinkState.CLOSED and self._session is not None:
            # One that is open ends by itself once it is idle; one that still connects is cut off.
            self._session.cancel()
        self._changed()

    async def _follow(self, effect: links.Effect, now_ms: int) -> None:
        match effect:
            case links.OpenConnection(session=session):
                await self._commit(Batch(session=session))
                self._open_session(session)
            case links.CloseConnection():
                self._outgoing.close()
            case links.PublishBirth():
                self._publish_birth()
                self._status_pace.changed(now_ms, at_once=True)
            case links.PublishGoodbye():
                self._publish_status()
                self._outgoing.goodbye(self._publications.presence("goodbye"))
            case links.ResumeSending():
                await self._feed_outbox(outboxes.SendingResumed(), now_ms)
            case links.HoldSending():
                await self._feed_outbox(outboxes.SendingHeld(), now_ms)
                self._outgoing.drop_reports()
            case links.SendProbe():
                await self._feed_outbox(outboxes.ProbeWanted(), now_ms)
            case _:
                assert_never(effect)

    def _open_session(self, number: int) -> None:
        assert self._transport is not None, "only a link that was started opens connections"
        self._outgoing = Outgoing(self._publications.report)
        session = Session(
            self._transport,
            self._options.device,
            device_filters(self._options.tenant, self._options.device),
            self._outgoing,
            tell=self._tell_link,
            receive=self._receive,
            draw=self._draw,
        )
        lost = self._publications.presence("lost")
        self._session = asyncio.create_task(
            session.run(Will(lost.topic, lost.payload)),
            name=f"session {number} of {self._options.device}",
        )
        self._session.add_done_callback(self._session_ended)

    def _session_ended(self, session: asyncio.Task[None]) -> None:
        """What a session could not explain to the link is a programmer's mistake, and ends the driver."""
        if not session.cancelled() and session.exception() is not None:
            self._crash = session.exception()
            self._alarm.ring()

    def _raise_crash(self) -> None:
        if self._crash is not None:
            raise self._crash

    def _tell_link(self, event: links.Event) -> None:
        self._link_events.append(event)
        self._alarm.ring()

    async def _receive(self, incoming: Incoming) -> None:
        while len(self._incoming) >= INCOMING_MAX:
            self._room = asyncio.get_running_loop().create_future()
            await self._room
        self._incoming.append(incoming)
        self._alarm.ring()

    def _next_incoming(self) -> Incoming:
        if self._room is not None and not self._room.done():
            self._room.set_result(None)
        return self._incoming.popleft()

    async def _take(self, incoming: Incoming, now_ms: int) -> None:
        received = self._reception.read(incoming, self._machine.attempt, self._clock.wall_ms())
        match received:
            case None:
                pass
            case Ack(store=store, stored_seq=stored_seq, digest=digest):
                await self._feed_outbox(outboxes.AckArrived(store, stored_seq, digest), now_ms)
                await self._follow_link(links.PeerAnswered(), now_ms)
            case CollectorState(state=state, store=store, term=term):
                seen = links.PeerSeen(state == "online", store, term, self._draw())
                await self._follow_link(seen, now_ms)
            case Assignment():
                self._post(AssignmentArrived(assignment=received), None)
            case CommandReceived() | MessageRefused():
                self._post(received, None)
            case _:
                assert_never(received)

    # Publishing.

    def _publish_birth(self) -> None:
        if self._link.is_connected:
            self._outgoing.birth(self._publications.presence("online"))

    def _publish_status(self) -> None:
        if self._machine.attempt is None:
            self._status_pace.dropped()
            return
        self._status_pace.told(self._steady())
        age_ms = passed_ms(self._machine, self._handled_ms, self._clock.now_ms())
        self._outgoing.status(self._publications.status(age_ms, self._clock.wall_ms()))

    # Events from outside.

    def _post(self, event: Event, at_ms: int | None) -> None:
        self._inbox.put(event, self._clock.now_ms() if at_ms is None else at_ms)
        self._alarm.ring()

    async def _ask(self, event: Event) -> str | None:
        if self._is_over:
            return "the agent has ended"
        answer: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        self._answers[id(event)] = answer
        self._post(event, None)
        return await answer

    def _answer(self, event: Event, refusal: str | None) -> None:
        answer = self._answers.pop(id(event), None)
        if answer is not None and not answer.done():
            answer.set_result(refusal)

    def _changed(self) -> None:
        for watcher in self._watchers:
            watcher.set()

    def _problem(self) -> str:
        if self._storage_problem:
            return self._storage_problem
        if self._outbox.is_full:
            return (
                f"{self._outbox.unacknowledged} reports wait to be sent, more than the size limit allows for; "
                "none is lost, but the collector has to be reached soon."
            )
        return self._link.problem if self._transport else ""

    # Ending.

    async def _leave(self) -> None:
        """Say goodbye and close the connection; a broker that does not answer is not waited for long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._options.goodbye_ms / 1000):
                await self._follow_link(links.GoodbyeWanted(), self._steady())
                while self._link.state is LinkState.LEAVING:
                    if self._link_events:
                        await self._follow_link(self._link_events.popleft(), self._steady())
                        continue
                    await self._alarm.sleep(None)
                    self._alarm.quiet()
                    self._raise_crash()
                if self._session is not None:
                    await asyncio.gather(self._session, return_exceptions=True)

    async def _tear_down(self) -> None:
        self._is_over = True
        self._alarm.stop()
        if self._session is not None:
            self._session.cancel()
            await asyncio.gather(self._session, return_exceptions=True)
        for answer in self._answers.values():
            if not answer.done():
                answer.set_result("the agent has ended")
        self._answers.clear()
        self._changed()


def _not_understood(name: str, retelling: Retelling, version: str) -> str:
    """Why the agent does not go on, and what to do about it."""
    n, writer = retelling.failed, retelling.writer_of(retelling.failed) or version
    remedy = f"start agent {writer} again"
    if writer == version:
        remedy = "keep a copy of the file for whoever maintains the agent"
    return (
        f"{name}: this agent ({version}) can't go on from input {n}, which agent {writer} wrote "
        f"({retelling.failure}), and no state that was kept makes up for it; nothing was changed, and the gate stays "
        f"as it is. Do this: {remedy}, or begin anew with --set-aside, which keeps the file"
    )


def _utc(unix_ms: int) -> datetime:
    return datetime.fromtimestamp(unix_ms / 1000, UTC)
