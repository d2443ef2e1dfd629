"""The device's shell: the three machines composed as the agent's driver composes them, on simulated time.

One generator runs one life of the agent, from power-on until it ends or the power goes. It yields when it waits: the
time of the world at which to go on, or None for whenever something arrives. Where the driver awaits, this yields;
between any two effects it asks whether the power is still there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Sequence
from typing import Final, Protocol, TypeVar, assert_never

from agent.core import link as links
from agent.core import outbox as outboxes
from agent.core.batch import Batch, Entry
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
    Event,
    LogsCollected,
    MessageRefused,
    PersonActed,
    PersonChose,
    Restarted,
    StepFinished,
    StepMoved,
)
from agent.core.fingerprint import is_told_otherwise
from agent.core.inbox import Inbox
from agent.core.link import Link, LinkState
from agent.core.outbox import FetchReports, Outbox, SendReport
from agent.core.publications import Publication, Publications
from agent.core.reading import NotForUs, Reader, Received
from agent.core.shell import (
    StatusPace,
    begins_anew,
    counted_reboot_ms,
    digest_of,
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
from agent.wire import events as wire_events
from agent.wire.assignment import Assignment
from agent.wire.messages import Ack, CollectorState
from agent.wire.topics import device_filters
from simulator.verify import coverage, seal
from simulator.verify.broker import Broker
from simulator.verify.disk import DiskFull, Kept
from simulator.verify.plan import TENANT, DevicePlan
from simulator.verify.world import World
from simulator.verify.writer import Writer

GOODBYE_MS: Final = 10_000
ARCHIVE_MS: Final = 3_000
"""How long a log archive takes; no input is taken meanwhile."""
JOURNAL_RETRY_MS: Final = 1_000
JOURNAL_RETRY_MS_MAX: Final = 30_000
TURNS_MAX: Final = 10_000
"""More than an agent does at one moment of the world."""

T = TypeVar("T")
Doing = Generator[int | None, None, T]
"""Something that may have to wait on its way to a T."""


class PowerCut(Exception):
    """The power goes: nothing after this happens."""


class Body(Protocol):
    """The device around the agent: all that a power cut leaves as it is."""

    plan: DevicePlan

    def wall_ms(self) -> int:
        """What its wall clock says."""
        ...

    def moment(self) -> None:
        """A moment between two effects. Raises `PowerCut`."""
        ...

    def commit(self, batch: Batch) -> None:
        """Keep a batch. Raises `DiskFull`, `PowerCut`."""
        ...

    def fetch(self, first: int, last: int) -> Sequence[tuple[int, wire_events.Report]]:
        """Read numbered reports back."""
        ...

    def act(self, effect: EndpointEffect, at_ms: int) -> Sequence[tuple[int, Event]]:
        """Carry out one effect; what follows, with its times."""
        ...

    def new_attempt(self) -> str:
        """The id of another attempt."""
        ...

    def wake(self) -> None:
        """Something arrived for the agent."""
        ...


class Agent:
    """One life of the agent on one device."""

    def __init__(self, body: Body, world: World, broker: Broker, kept: Kept) -> None:
        self._body = body
        self._world = world
        self._broker = broker
        self._plan = body.plan
        self.device = body.plan.device
        self.machine = Enrollment()
        self.outbox = Outbox(kept.stream, kept.outbox())
        self.link = Link(kept.session)
        self.writer: Writer | None = None
        self._reader = Reader(TENANT, self.device, kept.stream, seal.verify)
        self._agent_version = body.plan.facts.agent_version
        self._publications = Publications(
            TENANT, self.device, self._agent_version, self.machine, self.outbox, self.link
        )
        self._inbox = Inbox()
        self._incoming: deque[tuple[str, bytes]] = deque()
        self._link_events: deque[links.Event] = deque()
        self._steady_offset_ms = body.wall_ms() - world.now_ms
        self._entries = 0
        self.handled_ms = 0
        self._status_pace = StatusPace()
        self.is_waiting = False
        """It waits for a time and nothing else: for room on the disk, or for a log archive."""
        self._restore(kept)
        self._deadline_ms = self.machine.next_deadline_ms()
        """The machine's next deadline; it changes with an input only."""

    # What the world looks at and calls.

    @property
    def running_ms(self) -> int:
        """Device running time."""
        return self._base_ms + self._world.now_ms - self._begun_ms

    @property
    def is_done(self) -> bool:
        """Everything is over and stored, as far as the agent knows."""
        return self.is_over and self.outbox.unacknowledged == 0

    @property
    def is_over(self) -> bool:
        """Nothing more will happen to the enrollment."""
        return self.machine.is_settled and not self._inbox

    def life(self) -> Doing[None]:
        """Run until everything is over and stored."""
        yield from self._start()
        turns = 0
        while not self.is_done:
            turns += 1
            assert turns < TURNS_MAX, f"{self.device} goes round in circles"
            if not (yield from self._turn()):
                turns = 0
                self._write()
                yield self._next_ms()
        yield from self._leave()

    def tell_link(self, event: links.Event) -> None:
        """See `Speaker.tell_link`."""
        self._link_events.append(event)
        self._body.wake()

    def tell(self, event: Event) -> None:
        """Somebody at the device does something that nobody asked for."""
        self._inbox.put(event, self.running_ms)
        self._body.wake()

    def receive(self, topic: str, payload: bytes) -> None:
        """See `Speaker.receive`."""
        self._world.watch.heard(self.device, self.running_ms, topic, payload)
        self._incoming.append((topic, payload))
        self._body.wake()

    def wake(self) -> None:
        """See `Speaker.wake`."""
        self._body.wake()

    def draw(self) -> float:
        """See `Speaker.draw`."""
        return self._world.uniform(self.device, "link")

    # Beginning.

    def _restore(self, kept: Kept) -> None:
        off_ms = 0
        for entry in kept.entries:
            self.machine.handle(entry.event, entry.at_ms)
            self._note_received(entry.event)
            assert not is_told_otherwise(entry.digest, self.machine), (
                f"{self.device} folds input {entry.n} otherwise than it told of it"
            )
        if kept.entries:
            last = kept.entries[-1]
            self._entries, self.handled_ms = last.n, last.at_ms
            if self.machine.mode is Mode.RESTARTING:
                off_ms = self._body.wall_ms() - last.wall_ms
        self._base_ms = self.handled_ms + counted_reboot_ms(off_ms)
        self._begun_ms = self._world.now_ms

    def _start(self) -> Doing[None]:
        if self._entries == 0:
            self._begin_attempt(self.running_ms)
        else:
            planned = self.machine.mode is Mode.RESTARTING
            yield from self._step(Restarted(planned=planned), self.running_ms)
            if begins_anew(self.machine, comes_back=self._plan.comes_back):
                self._begin_attempt(self.running_ms)
        self.tell_link(links.Started())

    def _begin_attempt(self, at_ms: int) -> None:
        began = AttemptBegan(
            attempt=self._body.new_attempt(), facts=self._plan.facts, limits=self._plan.limits
        )
        self._inbox.put(began, at_ms)

    # The loop.

    def _turn(self) -> Doing[bool]:
        """Do one thing of each kind that is due; False when nothing is."""
        did_link = yield from self._turn_link()
        did_outbox = yield from self._turn_outbox()
        did_device = yield from self._turn_device()
        did_status = self._turn_status()
        return did_link or did_outbox or did_device or did_status

    def _turn_link(self) -> Doing[bool]:
        now_ms = self._steady_ms
        if self._link_events:
            yield from self._follow_link(self._link_events.popleft(), now_ms)
        elif self._incoming:
            yield from self._take(*self._incoming.popleft(), now_ms)
        elif is_due(self.link.next_deadline_ms(), now_ms):
            yield from self._follow_link(links.DeadlinePassed(self.draw()), now_ms)
        else:
            return False
        return True

    def _turn_outbox(self) -> Doing[bool]:
        now_ms = self._steady_ms
        if not is_due(self.outbox.next_deadline_ms(), now_ms):
            return False
        yield from self._feed_outbox(outboxes.DeadlinePassed(), now_ms)
        return True

    def _turn_device(self) -> Doing[bool]:
        due = next_input(self._inbox, self._deadline_ms, self.running_ms)
        if due is None:
            return False
        yield from self._step(*due)
        return True

    def _turn_status(self) -> bool:
        due_ms = self._next_status_ms()
        if not is_due(due_ms, self._steady_ms):
            return False
        self._publish_status()
        return True

    def _next_status_ms(self) -> int | None:
        return self._status_pace.next_ms if self.link.is_connected else None

    def _next_ms(self) -> int | None:
        """When the world has to wake this agent; None when only a message can."""
        if self._link_events or self._incoming:
            return self._world.now_ms
        steady = (
            self.link.next_deadline_ms(),
            self.outbox.next_deadline_ms(),
            self._next_status_ms(),
        )
        running = (self._inbox.next_ms, self._deadline_ms)
        times = [at_ms - self._steady_offset_ms for at_ms in steady if at_ms is not None]
        times += [at_ms - self._base_ms + self._begun_ms for at_ms in running if at_ms is not None]
        return min(times, default=None)

    @property
    def _steady_ms(self) -> int:
        return self._world.now_ms + self._steady_offset_ms

    # One input: persist, act, publish.

    def _step(self, event: Event, stamp_ms: int) -> Doing[None]:
        at_ms, mode = max(stamp_ms, self.handled_ms), self.machine.mode
        effects = self.machine.handle(event, at_ms)
        self.handled_ms, self._deadline_ms = at_ms, self.machine.next_deadline_ms()
        coverage.count(self._world.met, mode, event, effects)
        if self.machine.refusal is not None and not effects:
            return
        refusal = self.machine.refusal
        self._world.watch.input(self.device, at_ms, event)
        outbox_effects = self._queue_reports([e for e in effects if isinstance(e, ReportFact)])
        actions = [e for e in effects if not isinstance(e, ReportFact)]
        entry = self._next_entry(event, at_ms, effects)
        yield from self._commit(input_batch(entry, self.machine, actions, outbox_effects))
        self._world.watch.took(self.device, at_ms, event, effects, refusal)
        note_input(self._world, self.device, at_ms, event, effects)
        self._note_received(event)
        for action in actions:
            self._body.moment()
            if isinstance(action, CollectLogs):
                yield from self._collect_logs(action.command, at_ms)
            else:
                self._act(action, at_ms)
        self._body.moment()
        yield from self._publish_reports(outbox_effects)
        self._status_pace.changed(self._steady_ms, at_once=is_urgent(effects))

    def _queue_reports(self, facts: Sequence[ReportFact]) -> list[outboxes.Effect]:
        now_ms, wall_ms = self._steady_ms, self._body.wall_ms()
        effects: list[outboxes.Effect] = []
        for fact in facts:
            effects += self.outbox.handle(outboxes.ReportQueued(report_of(fact, wall_ms)), now_ms)
        return effects

    def _next_entry(self, event: Event, at_ms: int, effects: Sequence[Effect]) -> Entry:
        self._entries += 1
        digest = digest_of(self.machine, self._entries, effects)
        wall_ms = self._body.wall_ms()
        return Entry(self._entries, at_ms, wall_ms, self._agent_version, event, digest)

    def _note_received(self, event: Event) -> None:
        if isinstance(event, AssignmentArrived):
            self._reader.note_assignment(event.assignment)

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
        for event_ms, event in self._body.act(action, at_ms):
            self._inbox.put(event, event_ms)
        if isinstance(action, ResetDevice):
            self._begin_attempt(at_ms)

    def _collect_logs(self, command: str | None, at_ms: int) -> Doing[None]:
        """Write a log archive of this moment; no other input is taken meanwhile."""
        yield from self._wait(ARCHIVE_MS)
        self._body.moment()
        self._inbox.put(LogsCollected(path=f"simulated:{at_ms}.zip", command=command), at_ms)

    def _write(self) -> None:
        """Let the session write, as it does whenever the agent waits: for its disk, or for what comes next."""
        if self.writer is not None:
            self.writer.write()

    def _wait(self, wait_ms: int) -> Doing[None]:
        self._write()
        self.is_waiting = True
        yield self._world.now_ms + wait_ms
        self.is_waiting = False

    def _commit(self, batch: Batch) -> Doing[None]:
        """Make a batch durable, however long that takes: nothing is acted on or published before."""
        pause_ms = JOURNAL_RETRY_MS
        self._write()
        self._body.moment()
        while True:
            try:
                self._body.commit(batch)
            except DiskFull:
                yield from self._wait(pause_ms)
                self._body.moment()
                pause_ms = min(2 * pause_ms, JOURNAL_RETRY_MS_MAX)
            else:
                return

    # Outbox.

    def _feed_outbox(self, event: outboxes.Event, now_ms: int) -> Doing[None]:
        effects = self.outbox.handle(event, now_ms)
        batch = outbox_batch(effects)
        if batch is not None:
            yield from self._commit(batch)
            self._body.moment()
        yield from self._publish_reports(effects)

    def _publish_reports(self, effects: Sequence[outboxes.Effect]) -> Doing[None]:
        for effect in effects:
            match effect:
                case SendReport():
                    if self.writer is not None:
                        self.writer.report(effect)
                case FetchReports(first=first, last=last):
                    fetched = outboxes.ReportsFetched(self._body.fetch(first, last))
                    yield from self._feed_outbox(fetched, self._steady_ms)
                case _:
                    pass

    def publication(self, send: SendReport) -> Publication:
        """See `Speaker.publication`."""
        self._world.watch.published(self.device, send.seq, send.report)
        return self._publications.report(send)

    # Link.

    def _follow_link(self, event: links.Event, now_ms: int) -> Doing[None]:
        before = self.link.state
        effects = self.link.handle(event, now_ms)
        if self.link.state is not before:
            word = f"link {type(event).__name__}"
            self._world.trace.note(self._world.now_ms, self.device, word, self.link.state)
        for effect in effects:
            yield from self._follow(effect, now_ms)

    def _follow(self, effect: links.Effect, now_ms: int) -> Doing[None]:
        match effect:
            case links.OpenConnection(session=session):
                yield from self._commit(Batch(session=session))
                self._body.moment()
                self._open_session()
            case links.CloseConnection():
                if self.writer is not None:
                    self.writer.close()
            case links.PublishBirth():
                self._publish_birth()
                self._status_pace.changed(now_ms, at_once=True)
            case links.PublishGoodbye():
                self._publish_status()
                if self.writer is not None:
                    self.writer.goodbye(self._publications.presence("goodbye"))
            case links.ResumeSending():
                yield from self._feed_outbox(outboxes.SendingResumed(), now_ms)
            case links.HoldSending():
                yield from self._feed_outbox(outboxes.SendingHeld(), now_ms)
                if self.writer is not None:
                    self.writer.drop_reports()
            case links.SendProbe():
                yield from self._feed_outbox(outboxes.ProbeWanted(), now_ms)
            case _:
                assert_never(effect)

    def _open_session(self) -> None:
        filters = device_filters(TENANT, self.device)
        will = self._publications.presence("lost")
        self.writer = Writer(self._broker, self, self.device, filters, will)
        self._broker.connect(self.writer.connection)

    def _take(self, topic: str, payload: bytes, now_ms: int) -> Doing[None]:
        received = self._read(topic, payload)
        match received:
            case None:
                pass
            case Ack(store=store, stored_seq=stored_seq, digest=digest):
                yield from self._feed_outbox(outboxes.AckArrived(store, stored_seq, digest), now_ms)
                yield from self._follow_link(links.PeerAnswered(), now_ms)
            case CollectorState(state=state, store=store, term=term):
                seen = links.PeerSeen(state == "online", store, term, self.draw())
                yield from self._follow_link(seen, now_ms)
            case Assignment():
                self._inbox.put(AssignmentArrived(assignment=received), self.running_ms)
            case CommandReceived() | MessageRefused():
                self._inbox.put(received, self.running_ms)
            case _:
                assert_never(received)

    def _read(self, topic: str, payload: bytes) -> Received | None:
        """The message, or what there is to tell of it; None when there is nothing to do about it."""
        try:
            return self._reader.read(topic, payload, self.machine.attempt, self._body.wall_ms())
        except NotForUs as refusal:
            return refusal.to_tell

    # Publishing.

    def _publish_birth(self) -> None:
        if self.link.is_connected and self.writer is not None:
            self.writer.birth(self._publications.presence("online"))

    def _publish_status(self) -> None:
        if self.machine.attempt is None or self.writer is None:
            self._status_pace.dropped()
            return
        self._status_pace.told(self._steady_ms)
        progress = progress_at(self.machine, self.handled_ms, self.running_ms)
        self._world.watch.status(self.device, progress)
        age_ms = passed_ms(self.machine, self.handled_ms, self.running_ms)
        self.writer.status(self._publications.status(age_ms, self._body.wall_ms()))

    # Ending.

    def _leave(self) -> Doing[None]:
        """Say goodbye and close the connection; a broker that does not answer is not waited for long."""
        until_ms = self._world.now_ms + GOODBYE_MS
        yield from self._follow_link(links.GoodbyeWanted(), self._steady_ms)
        while self.link.state is LinkState.LEAVING and self._world.now_ms < until_ms:
            self._write()
            if self._link_events:
                yield from self._follow_link(self._link_events.popleft(), self._steady_ms)
            else:
                yield until_ms
        if self.writer is not None:
            self.writer.write()
            self.writer.end()


def note_input(
    world: World, device: str, at_ms: int, event: Event, effects: Sequence[Effect]
) -> None:
    """Write an input that is durable into the trace, with what follows from it."""
    said, done = f"{at_ms} {_said(event)}", " ".join(map(_done, effects))
    world.trace.note(world.now_ms, device, said, done)


def _said(event: Event) -> str:
    """An input in a few words, for the trace."""
    match event:
        case StepMoved(item=item, state=state, percent=percent):
            return f"{event.kind} {item} {state.value} {percent}"
        case StepFinished(item=item, result=result):
            return f"{event.kind} {item} {result.value}"
        case PersonActed(item=item, action=action):
            return f"{event.kind} {item} {action.value}"
        case PersonChose(choice=choice):
            return f"{event.kind} {choice.value}"
        case CommandReceived(command=command):
            return f"{event.kind} {command.action.kind} {command.id}"
        case AssignmentArrived(assignment=assignment):
            return f"{event.kind} version {assignment.version}"
        case MessageRefused(message=message, reason=reason):
            return f"{event.kind} {message.value} {reason.value}"
        case _:
            return event.kind


def _done(effect: Effect) -> str:
    """An effect in a few words."""
    match effect:
        case ReportFact(body=wire_events.ItemChanged(item=item, state=state)):
            return f"{item}={state.value}"
        case ReportFact(body=wire_events.GateChanged(gate=gate)):
            return f"gate={gate.value}"
        case ReportFact(body=wire_events.PhaseChanged(phase=phase, state=row)):
            return f"{phase.value}={row.value}"
        case ReportFact(body=wire_events.AttemptEnded(end_state=end_state)):
            return f"end={end_state.value}"
        case ReportFact(body=body):
            return body.kind
        case _:
            return type(effect).__name__
