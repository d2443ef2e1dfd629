"""A device on paper that can lose its power at any moment: what survives is one object, what does not is another."""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final
from zlib import crc32

from agent.core import effects as do
from agent.core import outbox as outboxes
from agent.core.effects import Effect
from agent.core.enrollment import Enrollment
from agent.core.events import (
    EVENT_CODEC,
    AssignmentArrived,
    AttemptBegan,
    CommandReceived,
    DeadlinePassed,
    Event,
    LogsCollected,
    PersonActed,
    PersonChose,
    Restarted,
    StepFinished,
    StepMoved,
    StepResult,
)
from agent.core.outbox import FetchReports, Outbox, SendReport
from agent.core.shell import is_answer_to, is_of_the_wiped
from agent.core.state import Mode
from agent.wire.assignment import Admitted, AssignedItem, Assignment, PersonScreens
from agent.wire.codec import digest
from agent.wire.events import AttemptStarted, Body, CommandAnswered, ItemAdvanced, Report
from agent.wire.messages import Command, CommandAction, RefreshAssignment
from agent.wire.vocabulary import (
    Choice,
    EnrollmentType,
    Gate,
    ItemKind,
    ItemState,
    PersonAction,
    Variant,
)
from simulator.verify.disk import Kept
from tests.agent.core.script import LONG_AGO, facts, profile

STEP_MS: Final = 10_000
REBOOT_MS: Final = 30_000
OFF_MS: Final = 60_000
"""How long the device stays without power after a crash; none of it is running time."""
NETWORK_MS: Final = 200
TURNS_MAX: Final = 5_000
BOOTS_MAX: Final = 50
STORE: Final = "store-1"
STREAM: Final = "stream-1"
LANDS: Final = frozenset({0, 3010})
"""The exit codes of installers that leave their app on the device here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """What becomes of messages."""

    loses_report: int = 0
    """One of so many is lost; 0 loses none."""
    loses_ack: int = 0
    acks_every: int = 1
    offline_until_settled: bool = False
    """Nothing gets through until the enrollment is over, and the assignment comes from a file."""
    forgets_at: int = 0
    """Having stored so many, the collector once comes back from a backup with half of them."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What the help desk asks for once it has read so many reports like this."""

    is_like: Callable[[Body], bool]
    action: CommandAction
    count: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """How an enrollment goes when nobody cuts the power."""

    enrollment_type: EnrollmentType
    variant: Variant
    admitted: Admitted
    exit_codes: Mapping[str, Sequence[int | None]] = field(default_factory=dict)
    """What each installer ends with, run by run, the last one for good; None hangs."""
    choices: Sequence[tuple[Choice, str | None]] = ()
    """What the person chooses at one error screen after the other."""
    leaves: Choice | None = None
    """What the person takes as soon as it is offered while setup goes on."""
    wishes: Sequence[Wish] = ()
    added: Sequence[AssignedItem] = ()
    """What a refreshed assignment has in addition."""
    network: Network = Network()


@dataclass
class Collector:
    """Takes reports in their order, answers attempts and commands, and acknowledges now and then."""

    story: Story
    device: str
    stored: list[Report] = field(default_factory=list)
    digests: list[str] = field(default_factory=list)
    """Of what is stored; each covers the one before."""
    assignment: Assignment | None = None
    seen: Counter[int] = field(default_factory=Counter)
    """How many reports like that of each wish were read."""
    issued: dict[int, Command] = field(default_factory=dict)
    answered: set[str] = field(default_factory=set)
    received: int = 0
    acks: int = 0
    has_forgotten: bool = False

    def copy(self) -> Collector:
        """What another life of the same moment starts from."""
        return replace(
            self,
            stored=self.stored.copy(),
            digests=self.digests.copy(),
            seen=self.seen.copy(),
            issued=self.issued.copy(),
            answered=self.answered.copy(),
        )

    def standing(self) -> outboxes.AckArrived:
        """How far it has come."""
        return outboxes.AckArrived(
            STORE, len(self.stored), self.digests[-1] if self.stored else None
        )

    def receive(self, send: SendReport) -> outboxes.AckArrived | None:
        """Take one report; the acknowledgement, unless this is not the moment or the message is lost."""
        network = self.story.network
        self.received += 1
        if _is_lost(self.received, network.loses_report):
            return None
        last = len(self.stored)
        is_new = send.seq == last + 1
        if is_new:
            assert send.after == self.standing().digest, "a report names the one before it"
            self.stored.append(send.report)
            self.digests.append(digest(STREAM, send.seq, send.report, send.after))
            self._read(send.report)
        elif send.seq <= last:
            assert self.stored[send.seq - 1] == send.report, f"number {send.seq} was given twice"
        if network.forgets_at and send.seq == network.forgets_at and not self.has_forgotten:
            self.has_forgotten = True
            del self.stored[network.forgets_at // 2 :], self.digests[network.forgets_at // 2 :]
            return self.standing()
        if is_new and send.seq % network.acks_every:
            return None
        self.acks += 1
        return None if _is_lost(self.acks, network.loses_ack) else self.standing()

    def _read(self, read: Report) -> None:
        body = read.body
        if isinstance(body, AttemptStarted) and not self._knows(read.attempt):
            self._assign(read.attempt, self.story.admitted)
        if isinstance(body, CommandAnswered):
            self.answered.add(body.command)
        for number, wish in enumerate(self.story.wishes):
            self.seen[number] += wish.is_like(body)
            if number not in self.issued and self.seen[number] == wish.count:
                self.issued[number] = self._command(number, wish.action, read.attempt)
                if isinstance(wish.action, RefreshAssignment):
                    self._assign(read.attempt, self._refreshed())

    def _refreshed(self) -> Admitted:
        items = (*self.story.admitted.items, *self.story.added)
        return self.story.admitted.model_copy(update={"items": items})

    def _knows(self, attempt: str) -> bool:
        return self.assignment is not None and self.assignment.attempt == attempt

    def _assign(self, attempt: str, admitted: Admitted) -> None:
        version = 1 if self.assignment is None else self.assignment.version + 1
        self.assignment = assignment_for(self.device, attempt, version, admitted)

    def _command(self, number: int, action: CommandAction, attempt: str) -> Command:
        return Command(
            id=f"command-{number}",
            device=self.device,
            attempt=attempt,
            action=action,
            issued_by="help desk",
            issued_at=LONG_AGO,
            expires_at=LONG_AGO,
            attempt_ms_max=10**9,
        )

    def retained(self) -> Iterator[Event]:
        """What a device gets when it subscribes: its assignment, and the commands not answered."""
        if self.assignment is not None:
            yield AssignmentArrived(assignment=self.assignment)
        for command in self.issued.values():
            if command.id not in self.answered:
                yield CommandReceived(command=command)


def _is_lost(message: int, one_in: int) -> bool:
    """Losses look like chance, or the same report could be lost for ever."""
    return one_in > 0 and crc32(str(message).encode()) % one_in == 0


def assignment_for(device: str, attempt: str, version: int, admitted: Admitted) -> Assignment:
    """An assignment of the one store there is."""
    return Assignment(
        device=device,
        attempt=attempt,
        store=STORE,
        term=1,
        version=version,
        issued_at=LONG_AGO,
        decision=admitted,
    )


@dataclass
class Disk:
    """A journal in memory: everything in it went through JSON, and a batch is kept whole or not at all."""

    outbox: Kept = field(default_factory=lambda: Kept(STREAM))
    inputs: list[tuple[Event, int]] = field(default_factory=list)
    """With their running times, in milliseconds."""

    def copy(self) -> Disk:
        """The same content on another disk."""
        return Disk(deepcopy(self.outbox), self.inputs.copy())


@dataclass
class World:
    """What a power cut leaves as it is: the disk, the device, the person, the collector."""

    story: Story
    collector: Collector
    disk: Disk = field(default_factory=Disk)
    flushed: Disk | None = None
    """What is on the disk for certain, while the newest batches were written lazily."""
    present: set[str] = field(default_factory=set)
    installed: Counter[str] = field(default_factory=Counter)
    endings: Counter[str] = field(default_factory=Counter)
    """How many runs of each item ended and were heard of."""
    last_run: int = 0
    gates: list[Gate] = field(default_factory=list)
    choices_made: int = 0
    attempts: int = 0
    steady_ms: int = 1_000_000
    is_online: bool = True

    def copy(self) -> World:
        """Another life of this world."""
        return replace(
            self,
            collector=self.collector.copy(),
            disk=self.disk.copy(),
            flushed=None if self.flushed is None else self.flushed.copy(),
            present=self.present.copy(),
            installed=self.installed.copy(),
            endings=self.endings.copy(),
            gates=self.gates.copy(),
        )

    def after_power_cuts(self) -> Iterator[World]:
        """What there may be after the power went now: what was written lazily is there or not."""
        yield self.copy()
        if self.flushed is not None:
            cut = self.copy()
            assert cut.flushed is not None
            cut.disk, cut.flushed = cut.flushed, None
            yield cut


def new_world(story: Story) -> World:
    """A device just out of its box."""
    device = facts(story.enrollment_type).device
    world = World(story, Collector(story, device))
    world.is_online = not story.network.offline_until_settled
    return world


OnMoment = Callable[[World], None]
"""Looks at the world between two things that the agent does."""


class PowerCut(Exception):
    """Raised by whoever looks: nothing after this happens."""


class Agent:
    """What runs between two losses of power: the machines, composed as `agent.runtime.driver` composes them."""

    def __init__(self, world: World, on_moment: OnMoment) -> None:
        self._world = world
        self._on_moment = on_moment
        self.machine = Enrollment()
        self._inbox: list[tuple[int, int, Event]] = []
        self._arrivals = 0
        self._acks: deque[outboxes.AckArrived] = deque()
        self._reboots = False
        kept = world.disk.outbox
        self._outbox = Outbox(kept.stream, kept.outbox())
        self._now_ms = 0
        self._facts: list[do.Report] = []
        """What this journal's inputs ever brought about, by folding and since."""
        for event, at_ms in world.disk.inputs:
            self._note_facts(self.machine.handle(event, at_ms))
            self._now_ms = at_ms
        self._handled_ms = self._now_ms

    def run(self) -> bool:
        """Go on until all is over and reported; False when the device restarts before."""
        self._start()
        for _ in range(TURNS_MAX):
            if self._reboots:
                return False
            if not self._turn():
                return True
        raise AssertionError("the device does not come to rest")

    def check_reports(self) -> None:
        """The collector has each report once and in order; only ticks may be left out."""
        stored = deque(map(_told, self._world.collector.stored))
        for fact in self._facts:
            if stored and stored[0] == _told(fact):
                stored.popleft()
            else:
                assert isinstance(fact.body, ItemAdvanced), f"missing: {fact}"
        assert not stored, f"never happened, or told twice: {stored[0]}"

    def _start(self) -> None:
        world, planned = self._world, self.machine.mode is Mode.RESTARTING
        if not world.disk.inputs:
            self._begin_attempt()
        else:
            off_ms = REBOOT_MS if planned else 0
            world.steady_ms += off_ms or OFF_MS
            self._now_ms += off_ms
            self._step(Restarted(planned=planned), self._now_ms)
            if self.machine.mode is Mode.WAITING_FOR_ASSIGNMENT:
                self._give_local_assignment()
        if world.is_online:
            self._connect()

    def _connect(self) -> None:
        self._feed_outbox(outboxes.SendingResumed())
        if self._world.collector.stored:
            self._acks.append(self._world.collector.standing())
        self._receive_retained()

    def _receive_retained(self) -> None:
        for event in self._world.collector.retained():
            # At least once is what the network promises.
            self._post(event, NETWORK_MS)
            self._post(event, 2 * NETWORK_MS)

    # The loop.

    def _turn(self) -> bool:
        """Take what comes first; of the same moment, events before deadlines."""
        if self._acks:
            self._feed_outbox(self._acks.popleft())
            return True
        event_ms = self._inbox[0][0] if self._inbox else None
        if self.machine.is_settled and event_ms is None and not self._world.is_online:
            self._world.is_online = True
            self._connect()
            return True
        if self.machine.is_settled and event_ms is None and not self._outbox.unacknowledged:
            return False
        deadline_ms, resend_ms = self.machine.next_deadline_ms(), self._resend_ms()
        due_ms = min(at_ms for at_ms in (event_ms, deadline_ms, resend_ms) if at_ms is not None)
        self._pass_time(due_ms)
        if due_ms == resend_ms:
            self._feed_outbox(outboxes.DeadlinePassed())
        elif due_ms == event_ms:
            at_ms, _, event = heapq.heappop(self._inbox)
            self._happen(event)
            self._step(event, at_ms)
        else:
            self._step(DeadlinePassed(), due_ms)
        return True

    def _resend_ms(self) -> int | None:
        at_ms = self._outbox.next_deadline_ms()
        return None if at_ms is None else at_ms - self._world.steady_ms + self._now_ms

    def _pass_time(self, until_ms: int) -> None:
        passed_ms = max(0, until_ms - self._now_ms)
        self._now_ms += passed_ms
        self._world.steady_ms += passed_ms

    def _post(self, event: Event, in_ms: int) -> None:
        self._arrivals += 1
        heapq.heappush(self._inbox, (self._now_ms + in_ms, self._arrivals, event))

    def _discard(self, unwanted: Callable[[Event], bool]) -> None:
        self._inbox = [entry for entry in self._inbox if not unwanted(entry[2])]
        heapq.heapify(self._inbox)

    # One input: persist, act, publish.

    def _step(self, event: Event, stamp_ms: int) -> None:
        at_ms = self._handled_ms = max(stamp_ms, self._handled_ms)
        effects = self.machine.handle(event, at_ms)
        if self.machine.refusal is not None and not effects:
            return
        actions = [e for e in effects if not isinstance(e, do.Report)]
        sends = self._queue_reports(self._note_facts(effects))
        gives_number = any(isinstance(e, outboxes.NumberReport) for e in sends)
        lazy = isinstance(event, StepMoved) and not actions and not gives_number
        self._commit(sends, lazy=lazy, entry=(_read_back(event), at_ms))
        self._was_heard(event)
        self._moment()
        for action in actions:
            self._act(action)
            self._moment()
        self._publish(sends)
        if isinstance(event, AttemptBegan):
            self._give_local_assignment()

    def _note_facts(self, effects: Sequence[Effect]) -> Sequence[do.Report]:
        facts = [e for e in effects if isinstance(e, do.Report)]
        self._facts += facts
        return facts

    def _queue_reports(self, queued: Sequence[do.Report]) -> list[outboxes.Effect]:
        device_time = datetime.fromtimestamp(self._world.steady_ms / 1000, UTC)
        effects: list[outboxes.Effect] = []
        for fact in queued:
            report = Report(
                attempt=fact.attempt,
                attempt_ms=fact.attempt_ms,
                device_time=device_time,
                stage=fact.stage,
                percent=fact.percent,
                body=fact.body,
            )
            queue = outboxes.ReportQueued(report)
            effects += self._outbox.handle(queue, self._world.steady_ms)
        return effects

    def _feed_outbox(self, event: outboxes.Event) -> None:
        effects = self._outbox.handle(event, self._world.steady_ms)
        durable = [e for e in effects if not isinstance(e, SendReport | FetchReports)]
        if durable:
            lazy = not any(isinstance(e, outboxes.NumberReport) for e in durable)
            self._commit(durable, lazy=lazy)
            self._moment()
        self._publish(effects)

    def _commit(
        self,
        outbox: Sequence[outboxes.Effect],
        *,
        lazy: bool,
        entry: tuple[Event, int] | None = None,
    ) -> None:
        world = self._world
        if not lazy:
            world.flushed = None
        elif world.flushed is None:
            world.flushed = world.disk.copy()
        if entry is not None:
            world.disk.inputs.append(entry)
        for change in outbox:
            if not isinstance(change, SendReport | FetchReports):
                world.disk.outbox.apply(change)

    def _publish(self, effects: Sequence[outboxes.Effect]) -> None:
        for effect in effects:
            if isinstance(effect, SendReport):
                self._send(effect)
            elif isinstance(effect, FetchReports):
                found = self._world.disk.outbox.fetch(effect.first, effect.last)
                self._feed_outbox(outboxes.ReportsFetched(found))

    def _send(self, send: SendReport) -> None:
        collector = self._world.collector
        before = (collector.assignment, len(collector.issued))
        ack = collector.receive(send)
        if ack is not None:
            self._acks.append(ack)
        if before != (collector.assignment, len(collector.issued)):
            self._receive_retained()
        self._moment()

    def _moment(self) -> None:
        self._on_moment(self._world)

    # The endpoint and the person.

    def _happen(self, event: Event) -> None:
        """What an installer leaves on the device is there, whether the agent hears of it or not."""
        world = self._world
        if (
            isinstance(event, StepFinished)
            and event.result is StepResult.COMPLETED
            and event.detected
        ):
            assert event.item not in world.present, f"{event.item} was installed twice"
            world.present.add(event.item)
            world.installed[event.item] += 1
            self._moment()

    def _was_heard(self, event: Event) -> None:
        if isinstance(event, StepFinished) and event.result is StepResult.COMPLETED:
            self._world.endings[event.item] += 1
        elif isinstance(event, PersonChose) and self.machine.refusal is None:
            self._world.choices_made += 1
            if event.choice is Choice.COLLECT_LOGS:
                # The same error screen is still up.
                self._choose_next()

    def _act(self, action: Effect) -> None:
        match action:
            case do.RunStep():
                self._run_step(action)
            case do.CancelStep(item=item, run=run):
                self._discard(lambda e: is_answer_to(e, item, run))
            case do.SetGate(gate=gate):
                if self._world.gates[-1:] != [gate]:
                    self._world.gates.append(gate)
            case do.AskPerson(item=item):
                self._post(PersonActed(item=item, action=PersonAction.PROCEED), STEP_MS)
            case do.OfferChoices():
                self._offer(action)
            case do.Reboot():
                self._reboots = True
            case do.ResetDevice():
                self._discard(is_of_the_wiped)
                self._world.present.clear()
                self._begin_attempt()
            case do.CollectLogs(command=command):
                self._post(LogsCollected(path="/logs.zip", command=command), STEP_MS)
            case do.AskForAssignment():
                self._receive_retained()
            case do.Report():
                raise AssertionError("reports go through the outbox")

    def _run_step(self, step: do.RunStep) -> None:
        world = self._world
        assert step.run > world.last_run, "a number of a run was used twice"
        world.last_run = step.run
        if step.detect_first and step.item in world.present:
            present = StepFinished(item=step.item, run=step.run, result=StepResult.ALREADY_PRESENT)
            self._post(present, STEP_MS)
            return
        if step.kind is ItemKind.APP:
            for share in (0.4, 0.8):
                moved = StepMoved(
                    item=step.item,
                    run=step.run,
                    state=ItemState.INSTALLING,
                    percent=int(100 * share),
                )
                self._post(moved, int(STEP_MS * share))
        codes = world.story.exit_codes.get(step.item, (0,))
        code = codes[min(world.endings[step.item], len(codes) - 1)]
        if code is not None:
            finished = StepFinished(
                item=step.item,
                run=step.run,
                result=StepResult.COMPLETED,
                exit_code=code,
                detected=code in LANDS,
            )
            self._post(finished, STEP_MS)

    def _offer(self, offer: do.OfferChoices) -> None:
        leaves = self._world.story.leaves
        if offer.error:
            self._choose_next()
        elif leaves is not None and leaves in offer.choices:
            self._post(PersonChose(choice=leaves), STEP_MS // 2)

    def _choose_next(self) -> None:
        story, made = self._world.story, self._world.choices_made
        if made < len(story.choices):
            choice, item = story.choices[made]
            self._post(PersonChose(choice=choice, item=item), STEP_MS)

    def _begin_attempt(self) -> None:
        world = self._world
        world.attempts += 1
        device = facts(world.story.enrollment_type, world.story.variant)
        self._post(AttemptBegan(attempt=f"attempt-{world.attempts}", facts=device), 0)

    def _give_local_assignment(self) -> None:
        story, attempt = self._world.story, self.machine.attempt
        if story.network.offline_until_settled and attempt is not None:
            assignment = assignment_for(self._world.collector.device, attempt, 1, story.admitted)
            self._post(AssignmentArrived(assignment=assignment), 0)


def _read_back(event: Event) -> Event:
    return EVENT_CODEC.loads(EVENT_CODEC.dumps(event))


def live(world: World, on_moment: OnMoment = lambda _: None) -> Agent:
    """Let a device live until all is over and reported, restarts included; the last agent."""
    for _ in range(BOOTS_MAX):
        agent = Agent(world, on_moment)
        if agent.run():
            return agent
    raise AssertionError("the device restarts for ever")


def _told(fact: Report | do.Report) -> tuple[str, int, str, int, Body]:
    return fact.attempt, fact.attempt_ms, fact.stage, fact.percent, fact.body


def admitted(items: Sequence[AssignedItem], screens: PersonScreens, **settings: Any) -> Admitted:
    """A positive answer to an attempt."""
    return Admitted(
        profile=profile(**settings),
        items=tuple(items),
        screens=screens,
        user="john.doe@company.com",
    )
