"""The enrollment machine: every rule about what happens next to a device lives here and in the modules it calls.

The law of this file: an event and a time go in, effects come out, and nothing else is read or written. The same
events at the same times give the same effects, so a journal of events *is* the state.

How to read it. `TABLE` at the end says what each mode does with each event, and why not for the rest. Handlers
change the attempt and call `advance` (`agent.core.phases`), the one place that decides what starts: it stops at the
error screen when a blocking item has failed, restarts the device when an item wants that, starts what is ready, and
moves on to the next phase. What may be chosen and commanded is carried out in `agent.core.choices`. Time only enters
through `now_ms`; `next_deadline_ms` says when `DeadlinePassed` is due, and `agent.core.deadlines` what happens then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from operator import itemgetter
from typing import Any, Final

from agent.core import checkpoint, outcomes, permissions
from agent.core import effects as do
from agent.core.blueprints import Blueprints
from agent.core.choices import OVER, choose, execute
from agent.core.deadlines import abandon, deadlines_of
from agent.core.effects import Effect
from agent.core.events import (
    AssignmentArrived,
    AttemptBegan,
    CommandReceived,
    DeadlinePassed,
    EmergencyExitUsed,
    Event,
    LogsCollected,
    MessageRefused,
    PersonActed,
    PersonChose,
    Restarted,
    StepFinished,
    StepMoved,
)
from agent.core.items import (
    cancel,
    cancel_all,
    conclude,
    move,
    resume_all,
    settle,
)
from agent.core.phases import advance, end_attempt, enter, go_on, offer, open_budget, set_gate
from agent.core.plan import Plan
from agent.core.progress_text import ProgressText
from agent.core.snapshot import progress_of
from agent.core.state import Attempt, ItemRun, Mode
from agent.core.turn import Turn
from agent.wire import events as report
from agent.wire.assignment import Admitted, Assignment, Refused
from agent.wire.progress import CollectedLogs, Progress
from agent.wire.vocabulary import (
    WORKING_STATES,
    Choice,
    EndState,
    Gate,
    GateCause,
    ItemState,
    MessageKind,
    PersonAction,
    Phase,
    RefusalReason,
)

Handler = Callable[["Enrollment", Any], None]

# Names of the module for the members that are asked about most: Python 3.11 finds them ten times as fast.
_IDLE: Final = Mode.IDLE
_WORKING: Final = Mode.WORKING
_ENDED: Final = Mode.ENDED

_time_of = itemgetter(0)


class Enrollment:
    """The enrollment of one device, attempt after attempt; a fleet's machines may share their blueprints."""

    def __init__(self, blueprints: Blueprints | None = None) -> None:
        self._turn = Turn(Blueprints() if blueprints is None else blueprints)
        self._number = 0
        self._executed: set[str] = set()
        self._refusal: str | None = None
        self._progress_text = ProgressText()
        self._knows_deadline = False
        self._deadline_ms: int | None = None
        """What `next_deadline_ms` found; looked for anew after whatever may have moved it."""

    # What the world may look at.

    @property
    def attempt(self) -> str | None:
        """The id of the newest attempt."""
        return self._turn.attempt.id if self._turn.has_attempt else None

    @property
    def mode(self) -> Mode:
        """Where the newest attempt is."""
        return self._turn.attempt.mode if self._turn.has_attempt else _IDLE

    @property
    def end_state(self) -> EndState | None:
        """How the newest attempt ended."""
        return self._turn.attempt.end_state if self._turn.has_attempt else None

    @property
    def gate(self) -> Gate:
        """Whether a person may use the device."""
        return self._turn.attempt.gate if self._turn.has_attempt else Gate.LOCKED

    @property
    def handled_ms(self) -> int:
        """When the last event was handled, in device running time; 0 before the first."""
        return self._turn.now_ms

    @property
    def is_settled(self) -> bool:
        """The newest attempt has ended and nothing runs in the background any more."""
        return self.mode is _ENDED and not any(
            i.is_working or i.state is ItemState.WAITING_TO_RETRY
            for i in self._turn.attempt.under_way
        )

    @property
    def executed(self) -> frozenset[str]:
        """The ids of all commands that were answered, over all attempts."""
        return frozenset(self._executed)

    @property
    def refusal(self) -> str | None:
        """Why the last event changed nothing; None when it was taken."""
        return self._refusal

    @property
    def progress(self) -> Progress:
        """The snapshot that everybody looks at, as of the last event."""
        return self.progress_after(0)

    def progress_after(self, passed_ms: int) -> Progress:
        """The same when so much time has passed since the last event."""
        assert self._turn.has_attempt, "the first event of a device is AttemptBegan"
        return progress_of(self._turn.attempt, self._turn.now_ms + passed_ms)

    def progress_text_after(self, passed_ms: int) -> str:
        """The same snapshot as JSON without what is None; what is as it was is not written anew."""
        assert self._turn.has_attempt, "the first event of a device is AttemptBegan"
        return self._progress_text.write(self._turn.attempt, self._turn.now_ms + passed_ms)

    def next_deadline_ms(self) -> int | None:
        """When `DeadlinePassed` is due, in device running time."""
        if not self._knows_deadline:
            found = deadlines_of(self._turn)
            self._deadline_ms = min(found, key=_time_of)[0] if found else None
            self._knows_deadline = True
        return self._deadline_ms

    def handle(self, event: Event, now_ms: int) -> Sequence[Effect]:
        """Take one event at one moment; the effects are to be carried out in order, after they are durable."""
        turn = self._turn
        turn.begin(now_ms)
        self._refusal = None
        # A step that says what it does now, which is most of what happens, moves no deadline.
        if not (isinstance(event, StepMoved) and event.state in WORKING_STATES):
            self._knows_deadline = False
        mode = turn.attempt.mode if turn.has_attempt else _IDLE
        entry = TABLE[mode].get(type(event), UNEXPECTED)
        if isinstance(entry, str):
            self._refusal = entry
        else:
            entry(self, event)
        return turn.effects

    def checkpoint(self) -> bytes:
        """All that this machine remembers, for `restored`."""
        turn = self._turn
        return checkpoint.written(
            checkpoint.Memory(
                now_ms=turn.now_ms,
                number=self._number,
                executed=self._executed,
                refusal=self._refusal,
                attempt=turn.attempt if turn.has_attempt else None,
            )
        )

    @classmethod
    def restored(cls, content: bytes) -> Enrollment:
        """A machine that goes on as the one that gave this checkpoint would have. Raises `CheckpointUnreadable`."""
        memory = checkpoint.read(content)
        machine = cls()
        machine._turn.begin(memory.now_ms)
        if memory.attempt is not None:
            machine._turn.take_up(memory.attempt)
        machine._number = memory.number
        machine._executed = set(memory.executed)
        machine._refusal = memory.refusal
        return machine

    # Beginning and assignment.

    def _begin(self, event: AttemptBegan) -> None:
        """Begin an attempt; one that is still open is superseded."""
        runs = 0
        if self._turn.has_attempt:
            if self.mode is _ENDED:
                cancel_all(self._turn)
            else:
                end_attempt(self._turn, EndState.SUPERSEDED)
            runs = self._turn.attempt.runs
        self._number += 1
        self._turn.take_up(
            Attempt(
                id=event.attempt,
                number=self._number,
                facts=event.facts,
                limits=event.limits,
                began_ms=self._turn.now_ms,
                runs=runs,
                wait_deadline_ms=self._turn.now_ms + event.limits.assignment_wait_ms,
            )
        )
        facts = event.facts
        self._turn.report(
            report.AttemptStarted(
                enrollment_type=facts.enrollment_type,
                variant=facts.variant,
                platform=facts.platform,
                os_version=facts.os_version,
                user=facts.user,
                model=facts.model,
                serial=facts.serial,
                number=self._number,
                agent_version=facts.agent_version,
            )
        )
        set_gate(self._turn, Gate.LOCKED, GateCause.ENROLLMENT_BEGAN)

    def _take_assignment(self, event: AssignmentArrived) -> None:
        """Make the plan and start, or end as refused; in the middle of an attempt, keep what is done."""
        attempt, assignment = self._turn.attempt, event.assignment
        refusal = permissions.why_not_assignment(attempt, assignment)
        if refusal is not None:
            self._refusal = refusal
            return
        attempt.store, attempt.version = assignment.store, assignment.version
        match assignment.decision:
            case Refused(failure=failure):
                end_attempt(self._turn, EndState.REFUSED, failure)
            case Admitted() as admitted:
                self._admit(assignment, admitted)

    def _admit(self, assignment: Assignment, admitted: Admitted) -> None:
        attempt = self._turn.attempt
        try:
            plan = self._turn.blueprints.plan(attempt.facts, admitted)
        except ValueError as error:
            end_attempt(self._turn, EndState.FAILED, outcomes.bad_assignment(str(error)))
            return
        self._take_plan(attempt, plan)
        for item in attempt.items.values():
            if item.plan.skip is not None and not item.is_settled:
                cancel(self._turn, item)
                settle(self._turn, item, ItemState.SKIPPED, note=item.plan.skip)
        attempt.work_ms = sum(i.expected_ms for i in plan.items.values() if i.tracked)
        attempt.credited_ms = sum(i.credited_ms for i in attempt.items.values() if i.plan.tracked)
        self._turn.report(
            report.AssignmentApplied(
                store=assignment.store,
                version=assignment.version,
                profile=admitted.profile.id,
                profile_name=admitted.profile.name,
                items=len(plan.items),
                blocking=sum(i.blocking for i in plan.items.values()),
            )
        )
        if attempt.mode is Mode.WAITING_FOR_ASSIGNMENT:
            attempt.mode = _WORKING
            attempt.wait_deadline_ms = None
            enter(self._turn, Phase.DEVICE_PREPARATION)
        advance(self._turn)

    def _take_plan(self, attempt: Attempt, plan: Plan) -> None:
        """Keep what goes on, stop what is gone, and begin what is new."""
        for name, item in attempt.items.items():
            if name in plan.items:
                item.plan = plan.items[name]
            else:
                cancel(self._turn, item)
        known = attempt.items
        attempt.plan = plan
        attempt.set_items({n: known.get(n) or ItemRun(i) for n, i in plan.items.items()})
        if attempt.phase is None:
            return
        # What is new and belongs to a phase that is over is waited for by the one that runs.
        phases = list(Phase)
        over = phases[: phases.index(attempt.phase)]
        for item in attempt.items.values():
            if item.plan.phase in over and not item.is_settled:
                attempt.wait_for(item)

    # Phases.

    # Items.

    def _step_moved(self, event: StepMoved) -> None:
        """Note what a running step does now."""
        item = self._running(event.item, event.run)
        if item is None:
            return
        move(self._turn, item, event)

    def _step_finished(self, event: StepFinished) -> None:
        """Judge the end of a running step and go on."""
        item = self._running(event.item, event.run)
        if item is None:
            return
        conclude(self._turn, item, outcomes.judge(item.plan, event))
        go_on(self._turn)

    def _running(self, name: str, run: int) -> ItemRun | None:
        item = self._turn.attempt.items.get(name)
        if item is None:
            self._refusal = f"'{name}' is not part of this attempt"
        elif item.run != run or item.state not in WORKING_STATES:
            self._refusal = f"run {run} of '{name}' is over; what it says now does not count"
        else:
            return item
        return None

    # Persons.

    def _person_acted(self, event: PersonActed) -> None:
        """Take the answer to a person screen: go on, or end as abandoned."""
        item = self._turn.attempt.items.get(event.item)
        if item is None or item.state is not ItemState.WAITING_FOR_PERSON:
            self._refusal = f"'{event.item}' is not waiting for a person"
            return
        screen = item.plan.screen
        assert screen is not None, "only a person screen waits for a person"
        if event.action is not PersonAction.PROCEED and event.action not in screen.halts:
            self._refusal = f"'{event.action.value}' can't be chosen on '{screen.title}'"
            return
        self._turn.report(
            report.PersonAnswered(
                screen=screen.id,
                action=event.action.label,
                section=screen.section,
                action_name=screen.action_name,
                waited_ms=self._turn.now_ms - item.moved_ms,
            )
        )
        if event.action is PersonAction.PROCEED:
            settle(self._turn, item, ItemState.DONE)
            open_budget(self._turn)
            advance(self._turn)
        else:
            failure = outcomes.person_stopped(screen.title, event.action.label, silent=False)
            abandon(self._turn, item, failure, event.action.label)

    # The error screen, choices and commands.

    def _person_chose(self, event: PersonChose) -> None:
        """Do what the person chose, if it is allowed now."""
        self._refusal = choose(self._turn, event.choice, event.item, command=None)

    def _logs_collected(self, event: LogsCollected) -> None:
        """Report where the log archive is."""
        attempt = self._turn.attempt
        if event.command in attempt.logs_wanted:
            attempt.logs_wanted.remove(event.command)
        attempt.logs = CollectedLogs(path=event.path, problem=event.problem)
        self._turn.report(
            report.LogsCollected(path=event.path, command=event.command, problem=event.problem)
        )

    def _command_received(self, event: CommandReceived) -> None:
        """Execute a command once and answer it once, whatever is delivered again."""
        attempt, command = self._turn.attempt, event.command
        if command.id in self._executed:
            self._refusal = f"command '{command.id}' was answered before"
            if permissions.is_late_again(attempt, event, self._turn.now_ms):
                self._tell_refused(MessageKind.COMMAND, RefusalReason.REPLAYED)
            return
        self._executed.add(command.id)
        reason = permissions.why_not_command(attempt, event, self._turn.now_ms) or execute(
            self._turn, command
        )
        self._refusal = reason
        self._turn.report(
            report.CommandAnswered(
                command=command.id,
                action=command.action.kind,
                executed=reason is None,
                reason=reason or "",
            )
        )

    def _message_refused(self, event: MessageRefused) -> None:
        """Report it, once for each kind of message and reason in an attempt."""
        if not self._tell_refused(event.message, event.reason):
            self._refusal = "this was reported before"

    def _tell_refused(self, message: MessageKind, reason: RefusalReason) -> bool:
        told = self._turn.attempt.refused
        if (message, reason) in told:
            return False
        told.append((message, reason))
        self._turn.report(report.MessageRefused(message=message, reason=reason))
        return True

    def _emergency_exit(self, _: EmergencyExitUsed) -> None:
        """Let the person out through the documented emergency exit."""
        if self._turn.attempt.gate is Gate.LOCKED:
            set_gate(self._turn, Gate.BYPASSED, GateCause.EMERGENCY_EXIT)
        if self.mode is not _ENDED:
            end_attempt(self._turn, EndState.BYPASSED, self._turn.attempt.failure)

    # Ends, background work, restarts.

    def _restarted(self, event: Restarted) -> None:
        """Assert gate, prompts and unfinished work again; what was running is detected first."""
        attempt = self._turn.attempt
        self._turn.report(report.AgentRestarted(planned=event.planned))
        self._turn.do(do.SetGate(attempt.gate, attempt.gate_cause))
        if attempt.mode is Mode.RESTARTING:
            attempt.mode = _WORKING
            attempt.wait_deadline_ms = None
        for command in attempt.logs_wanted:
            self._turn.do(do.CollectLogs(command))
        resume_all(self._turn)
        if attempt.mode is Mode.STOPPED:
            choices, items = permissions.offered(attempt), permissions.retryable(attempt)
            self._turn.do(do.OfferChoices(choices, items, error=True))
        elif attempt.mode is _WORKING:
            offer(self._turn)
        elif attempt.end_state is EndState.RESET:
            self._turn.do(do.ResetDevice())
        go_on(self._turn)

    # Deadlines.

    def _deadline_passed(self, _: DeadlinePassed) -> None:
        """Do what is due, earliest first, until nothing is."""
        self._refusal = "no deadline has passed"
        while found := deadlines_of(self._turn):
            at_ms, act, subject = min(found, key=_time_of)
            if at_ms > self._turn.now_ms:
                return
            self._refusal = None
            act(self._turn, subject)

    # Small things.

    def _may(self, choice: Choice) -> bool:
        return permissions.why_not(self._turn.attempt, choice) is None


NO_ATTEMPT: Final = "no attempt has begun"
NO_PLAN: Final = "the device has no assignment yet"
RESTARTING: Final = "the device is restarting"
UNEXPECTED: Final = "this event is not known here"

_ANY_TIME: Final[dict[type, Handler | str]] = {
    AttemptBegan: Enrollment._begin,
    CommandReceived: Enrollment._command_received,
    LogsCollected: Enrollment._logs_collected,
    MessageRefused: Enrollment._message_refused,
    Restarted: Enrollment._restarted,
    DeadlinePassed: Enrollment._deadline_passed,
    EmergencyExitUsed: Enrollment._emergency_exit,
}

_AT_WORK: Final[dict[type, Handler | str]] = {
    **_ANY_TIME,
    AssignmentArrived: Enrollment._take_assignment,
    StepMoved: Enrollment._step_moved,
    StepFinished: Enrollment._step_finished,
    PersonActed: Enrollment._person_acted,
    PersonChose: Enrollment._person_chose,
}

TABLE: Final[dict[Mode, dict[type, Handler | str]]] = {
    Mode.IDLE: {
        **dict.fromkeys(_AT_WORK, NO_ATTEMPT),
        AttemptBegan: Enrollment._begin,
    },
    Mode.WAITING_FOR_ASSIGNMENT: {
        **_AT_WORK,
        StepMoved: NO_PLAN,
        StepFinished: NO_PLAN,
        PersonActed: NO_PLAN,
        PersonChose: NO_PLAN,
    },
    Mode.WORKING: _AT_WORK,
    Mode.RESTARTING: {
        **_AT_WORK,
        StepMoved: RESTARTING,
        StepFinished: RESTARTING,
        PersonActed: RESTARTING,
    },
    Mode.STOPPED: _AT_WORK,
    Mode.ENDED: {
        **_AT_WORK,
        AssignmentArrived: OVER,
        PersonActed: OVER,
    },
}
"""What each mode does with each event: a handler, or the sentence that refuses it."""


def transitions() -> Iterator[tuple[str, str, str]]:
    """The table in words: mode, event, and what is done with it or why it is refused."""
    for mode, entries in TABLE.items():
        for event, entry in sorted(entries.items(), key=lambda e: e[0].__name__):
            if isinstance(entry, str):
                yield mode.value, event.__name__, f"refused: {entry}"
            else:
                yield mode.value, event.__name__, (entry.__doc__ or "").strip()
