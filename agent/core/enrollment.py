"""The enrollment machine: every rule about what happens next to a device lives here and in the modules it calls.

The law of this file: an event and a time go in, effects come out, and nothing else is read or written. The same
events at the same times give the same effects, so a journal of events *is* the state.

How to read it. `TABLE` at the end says what each mode does with each event, and why not for the rest. Handlers
change the attempt and call `_advance`, the one place that decides what starts: it stops at the error screen when a
blocking item has failed, restarts the device when an item wants that, starts what is ready, and moves on to the next
phase. Time only enters through `now_ms`; `next_deadline_ms` says when `DeadlinePassed` is due.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from operator import itemgetter
from typing import Any, Final

from agent.core import checkpoint, outcomes, permissions
from agent.core import effects as do
from agent.core.blueprints import Blueprints
from agent.core.effects import Effect
from agent.core.events import (
    MINUTE_MS,
    AssignmentArrived,
    AttemptBegan,
    CommandReceived,
    DeadlinePassed,
    EmergencyExitUsed,
    Event,
    LogsCollected,
    PersonActed,
    PersonChose,
    Restarted,
    StepFinished,
    StepMoved,
)
from agent.core.flows import Expiry
from agent.core.items import (
    cancel,
    cancel_all,
    conclude,
    expire,
    move,
    out_of_time,
    resume_all,
    settle,
    start,
    try_anew,
)
from agent.core.person_screens import SPAN_LIMIT_MS, AbandonmentRow
from agent.core.snapshot import Shown, progress_of
from agent.core.state import Attempt, ItemRun, Mode
from agent.core.turn import Turn
from agent.wire import events as report
from agent.wire.assignment import Admitted, Assignment, Refused
from agent.wire.messages import (
    CollectLogs,
    Command,
    CommandAction,
    ContinueAnyway,
    ExtendTimeout,
    RefreshAssignment,
    ResetDevice,
    RetryItem,
    RetryPhase,
    SkipAccountSetup,
)
from agent.wire.progress import CollectedLogs, Failure, Progress
from agent.wire.vocabulary import (
    EXCEEDED_30_MINUTES,
    SUCCESS_STATES,
    UNSATISFIED_STATES,
    WORKING_STATES,
    Choice,
    Context,
    EndState,
    FailureKind,
    Gate,
    GateCause,
    ItemState,
    PersonAction,
    Phase,
    RebootKind,
    RowState,
    Section,
)

REBOOT_WAIT_MS: Final = 15 * MINUTE_MS
"""A restart that has not happened by then is given up, and setup goes on without it."""

_CHOICE_OF_COMMAND: Final = {
    "retry_phase": Choice.TRY_AGAIN,
    "continue_anyway": Choice.CONTINUE_ANYWAY,
    "reset_device": Choice.RESET_DEVICE,
    "skip_account_setup": Choice.SKIP_ACCOUNT_SETUP,
}


Handler = Callable[["Enrollment", Any], None]

_time_of = itemgetter(0)


class Enrollment:
    """The enrollment of one device, attempt after attempt; a fleet's machines may share their blueprints."""

    def __init__(self, blueprints: Blueprints | None = None) -> None:
        self._turn = Turn(Blueprints() if blueprints is None else blueprints)
        self._number = 0
        self._executed: set[str] = set()
        self._refusal: str | None = None
        self._shown = Shown()
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
        return self._turn.attempt.mode if self._turn.has_attempt else Mode.IDLE

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
        return self.mode is Mode.ENDED and not any(
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
        return progress_of(self._turn.attempt, self._turn.now_ms + passed_ms, self._shown)

    def next_deadline_ms(self) -> int | None:
        """When `DeadlinePassed` is due, in device running time."""
        if not self._knows_deadline:
            found = self._deadlines()
            self._deadline_ms = min(found, key=_time_of)[0] if found else None
            self._knows_deadline = True
        return self._deadline_ms

    def handle(self, event: Event, now_ms: int) -> Sequence[Effect]:
        """Take one event at one moment; the effects are to be carried out in order, after they are durable."""
        self._turn.begin(now_ms)
        self._refusal = None
        # A step that says what it does now, which is most of what happens, moves no deadline.
        if not (isinstance(event, StepMoved) and event.state in WORKING_STATES):
            self._knows_deadline = False
        entry = TABLE[self.mode].get(type(event), UNEXPECTED)
        if isinstance(entry, str):
            self._refusal = entry
        else:
            entry(self, event)
        return self._turn.effects

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
            if self.mode is Mode.ENDED:
                cancel_all(self._turn)
            else:
                self._end(EndState.SUPERSEDED)
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
        self._set_gate(Gate.LOCKED, GateCause.ENROLLMENT_BEGAN)

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
                self._end(EndState.REFUSED, failure)
            case Admitted() as admitted:
                self._admit(assignment, admitted)

    def _admit(self, assignment: Assignment, admitted: Admitted) -> None:
        attempt = self._turn.attempt
        try:
            plan = self._turn.blueprints.plan(attempt.facts, admitted)
        except ValueError as error:
            self._end(EndState.FAILED, outcomes.bad_assignment(str(error)))
            return
        known = attempt.items
        for gone in known.keys() - plan.items.keys():
            cancel(self._turn, known[gone])
        attempt.plan = plan
        attempt.set_items({i.id: known.get(i.id) or ItemRun(i) for i in plan.items.values()})
        for item in attempt.items.values():
            item.plan = plan.items[item.plan.id]
            self._place(item)
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
            attempt.mode = Mode.WORKING
            attempt.wait_deadline_ms = None
            self._enter(Phase.DEVICE_PREPARATION)
        self._advance()

    def _place(self, item: ItemRun) -> None:
        """What is new and belongs to a phase that is over is waited for by the one that runs."""
        running = self._turn.attempt.phase
        if running is None or item.is_settled:
            return
        phases = list(Phase)
        if phases.index(item.plan.phase) < phases.index(running):
            item.phase = running

    # Phases.

    def _enter(self, phase: Phase) -> None:
        attempt = self._turn.attempt
        attempt.phase = phase
        self._set_phase(phase, RowState.IN_PROGRESS)
        if phase is not Phase.DEVICE_SETUP:
            attempt.budget_deadline_ms = None
        self._open_budget()
        if phase is Phase.ACCOUNT_SETUP or self._may(Choice.CONTINUE_ANYWAY):
            self._offer()

    def _open_budget(self) -> None:
        """Start the context's budget, unless a person has to open it and has not."""
        attempt = self._turn.attempt
        waits = any(i.plan.step.opens_budget and not i.is_satisfied for i in attempt.in_phase())
        if attempt.budget_deadline_ms is None and not waits:
            budget_ms = attempt.running_plan.budget_ms(attempt.running_phase.context)
            attempt.budget_deadline_ms = self._turn.now_ms + budget_ms

    def _offer(self) -> None:
        """Offer what may be chosen while setup goes on."""
        choices = permissions.ways_out(self._turn.attempt)
        if choices:
            self._turn.do(do.OfferChoices(choices, (), error=False))

    def _advance(self) -> None:
        """Decide what starts now; the only place that does."""
        attempt = self._turn.attempt
        while attempt.mode is Mode.WORKING:
            left = attempt.left_in_phase()
            failed = [i for i in left if i.state in UNSATISFIED_STATES and i.plan.blocking]
            news = next((i for i in failed if not i.is_left), None)
            if news is not None:
                self._fail(news)
            elif ItemState.REBOOT_REQUIRED in [i.state for i in left]:
                if any(i.is_working for i in left):
                    return
                self._reboot(RebootKind.HARD)
            elif self._start_ready(left):
                continue
            elif [i for i in left if not (i.is_settled or i.plan.step.after_restart)]:
                return
            elif self._owes_restart():
                self._reboot(RebootKind.SOFT)
            elif [i for i in left if not i.is_settled]:
                return
            elif failed:
                self._fail(failed[0])
            else:
                self._finish_phase()

    def _fail(self, item: ItemRun) -> None:
        assert item.failure is not None, "an unsatisfied item says why"
        if item.plan.step.wipes_on_failure:
            self._reset(item.failure)
        else:
            self._stop(item.failure)

    def _owes_restart(self) -> bool:
        """Whether a restart was put off to the end of this phase."""
        return RebootKind.SOFT in [i.reboot for i in self._turn.attempt.in_phase()]

    def _start_ready(self, items: list[ItemRun]) -> bool:
        """Start what may start; True when something settled at once, so that there is more to decide."""
        attempt = self._turn.attempt
        after: tuple[str, ...] = ()
        in_turn = True
        for item in items:
            if item.state is not ItemState.NOT_STARTED:
                continue
            plan = item.plan
            if plan.after is not after:
                # All items of a block have the same tuple. After the end only dependencies count.
                after = plan.after
                in_turn = attempt.mode is Mode.ENDED or attempt.are_settled(after)
            if not in_turn or not self._is_ready(item):
                continue
            hopeless = self._hopeless(item)
            if hopeless is not None:
                item.is_left = any(attempt.items[n].is_left for n in plan.needs)
                settle(self._turn, item, ItemState.CANCELLED, hopeless)
                return True
            if attempt.lane_is_free(plan.lane):
                start(self._turn, item)
        return False

    def _hopeless(self, item: ItemRun) -> Failure | None:
        """Why it makes no sense to attempt an item: what it depends on is not there and will not be."""
        if item.plan.unmet is not None:
            return outcomes.dependency_not_installed(item.plan, item.plan.unmet)
        for name in item.plan.needs:
            needed = self._turn.attempt.items[name]
            if needed.is_unsatisfied:
                return outcomes.dependency_failed(item.plan, needed.plan.name)
            if needed.state is ItemState.SKIPPED:
                return outcomes.dependency_not_applicable(item.plan, needed.plan.name)
        return None

    def _is_ready(self, item: ItemRun) -> bool:
        """Whether an item whose turn it is has all that it needs settled, and no restart has to happen first."""
        plan = item.plan
        if plan.step.after_restart and self._owes_restart():
            return False
        return not plan.needs or self._turn.attempt.are_settled(plan.needs)

    def _finish_phase(self) -> None:
        attempt = self._turn.attempt
        assert attempt.phase is not None, "a phase that finishes has begun"
        done = all(i.is_satisfied for i in attempt.in_phase())
        self._set_phase(attempt.phase, RowState.SUCCEEDED if done else RowState.FAILED)
        self._review_gate()
        match attempt.phase:
            case Phase.DEVICE_PREPARATION:
                self._enter(Phase.DEVICE_SETUP)
            case Phase.DEVICE_SETUP:
                self._enter(Phase.ACCOUNT_SETUP)
            case Phase.ACCOUNT_SETUP:
                self._end(EndState.SUCCEEDED_ON_RETRY if attempt.retried else EndState.SUCCEEDED)

    def _review_gate(self) -> None:
        """Open the gate when nothing holds it any more: the only place that releases it for work done."""
        attempt = self._turn.attempt
        if attempt.gate is not Gate.LOCKED:
            return
        profile = attempt.running_plan.profile
        account = profile.account_setup
        if attempt.phase is Phase.ACCOUNT_SETUP:
            self._set_gate(Gate.RELEASED, GateCause.SETUP_COMPLETE)
        elif account.show_progress and account.block_until_complete:
            return
        elif attempt.phase is Phase.DEVICE_SETUP:
            self._set_gate(Gate.RELEASED, GateCause.DEVICE_SETUP_COMPLETE)
        elif not profile.device_setup.show_progress:
            self._set_gate(Gate.RELEASED, GateCause.NOTHING_TO_SHOW)

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
        self._go_on()

    def _running(self, name: str, run: int) -> ItemRun | None:
        item = self._turn.attempt.items.get(name)
        if item is None:
            self._refusal = f"'{name}' is not part of this attempt"
        elif not item.is_working or item.run != run:
            self._refusal = f"run {run} of '{name}' is over; what it says now does not count"
        else:
            return item
        return None

    def _go_on(self) -> None:
        if self.mode is Mode.ENDED:
            self._work_in_background()
        else:
            self._advance()

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
            self._open_budget()
            self._advance()
        else:
            failure = outcomes.person_stopped(screen.title, event.action.label, silent=False)
            self._abandon(item, failure, event.action.label)

    def _span_over(self, span: AbandonmentRow) -> None:
        """A row of the report used up its 30 minutes, whoever was slow."""
        attempt = self._turn.attempt
        inside = attempt.waiting_screen() or attempt.items[span.end]
        failure = outcomes.person_stopped(inside.plan.name, EXCEEDED_30_MINUTES, silent=True)
        self._end(
            EndState.ABANDONED,
            failure,
            section=span.section,
            action_name=span.action_name,
            user_action=EXCEEDED_30_MINUTES,
        )

    def _screen_over(self, item: ItemRun) -> None:
        """Nobody answered a person screen in time."""
        minutes = (self._turn.now_ms - item.moved_ms) // MINUTE_MS
        what = EXCEEDED_30_MINUTES if minutes == 30 else f"Exceeded {minutes // 60} hours"
        self._abandon(item, outcomes.person_stopped(item.plan.name, what, silent=True), what)

    def _abandon(self, item: ItemRun, failure: Failure, user_action: str) -> None:
        screen = item.plan.screen
        assert screen is not None, "only a person screen is abandoned"
        self._end(
            EndState.ABANDONED,
            failure,
            section=screen.section,
            action_name=screen.action_name,
            user_action=user_action,
        )

    # The error screen, choices and commands.

    def _stop(self, failure: Failure) -> None:
        """Bring up the error screen; with no way out of it the attempt ends at once."""
        attempt = self._turn.attempt
        assert attempt.phase is not None, "only a phase fails"
        attempt.mode = Mode.STOPPED
        attempt.failure = failure
        attempt.budget_deadline_ms = None
        attempt.wait_deadline_ms = self._turn.now_ms + attempt.limits.nobody_comes_back_ms
        self._set_phase(attempt.phase, RowState.FAILED)
        if not permissions.ways_out(attempt):
            self._give_up()
            return
        choices, items = permissions.offered(attempt), permissions.retryable(attempt)
        self._turn.report(
            report.ErrorScreenShown(
                phase=attempt.phase, failure=failure, failed_items=items, choices=choices
            )
        )
        self._turn.do(do.OfferChoices(choices, items, error=True))

    def _give_up(self) -> None:
        failure = self._turn.attempt.failure
        assert failure is not None, "the error screen says why"
        timed_out = failure.kind is FailureKind.SETUP_TIMED_OUT
        self._end(EndState.TIMED_OUT if timed_out else EndState.FAILED, failure)

    def _person_chose(self, event: PersonChose) -> None:
        """Do what the person chose, if it is allowed now."""
        self._refusal = self._choose(event.choice, event.item, command=None)

    def _choose(self, choice: Choice, item: str | None, command: str | None) -> str | None:
        """Carry out a choice; the answer is None, or why not."""
        if choice is Choice.TRY_ITEM_AGAIN and item is None:
            return "say which item to try again"
        refusal = permissions.why_not(self._turn.attempt, choice, item)
        if refusal is not None:
            return refusal
        self._turn.report(report.ChoiceMade(choice=choice, item=item, command=command))
        match choice:
            case Choice.TRY_AGAIN:
                self._retry([i for i in self._turn.attempt.in_phase() if not i.is_satisfied])
            case Choice.TRY_ITEM_AGAIN:
                self._retry([i for i in self._turn.attempt.in_phase() if i.plan.id == item])
            case Choice.CONTINUE_ANYWAY:
                self._bypass(GateCause.CONTINUED_ANYWAY)
            case Choice.RESET_DEVICE:
                self._reset(self._turn.attempt.failure)
            case Choice.SKIP_ACCOUNT_SETUP:
                self._skip_account_setup()
            case Choice.COLLECT_LOGS:
                self._collect_logs(command)
        return None

    def _retry(self, items: list[ItemRun]) -> None:
        """Back to work with a new budget; what is there already will be detected.

        Other items that failed are left as they are, and bring the error screen back once nothing else can be done.
        """
        attempt = self._turn.attempt
        for item in attempt.in_phase():
            item.is_left = item.is_unsatisfied
        for item in self._with_needs(items):
            item.is_left = False
            item.phase = attempt.running_phase
            try_anew(self._turn, item)
        attempt.mode = Mode.WORKING
        attempt.retried = True
        attempt.failure = None
        attempt.wait_deadline_ms = None
        # How long the error screen was up is nobody's silence.
        attempt.spans = dict.fromkeys(attempt.spans, self._turn.now_ms + SPAN_LIMIT_MS)
        self._set_phase(attempt.running_phase, RowState.IN_PROGRESS)
        self._open_budget()
        self._advance()

    def _with_needs(self, items: list[ItemRun]) -> list[ItemRun]:
        """Those that failed among these items and all that they need, of earlier phases too."""
        waiting, found = list(items), dict[str, ItemRun]()
        while waiting:
            item = waiting.pop()
            if item.is_unsatisfied and item.plan.id not in found:
                found[item.plan.id] = item
                waiting += [self._turn.attempt.items[n] for n in item.plan.needs]
        return list(found.values())

    def _bypass(self, cause: GateCause) -> None:
        self._set_gate(Gate.BYPASSED, cause)
        self._end(EndState.BYPASSED, self._turn.attempt.failure)

    def _reset(self, failure: Failure | None) -> None:
        self._end(EndState.RESET, failure)
        self._turn.do(do.ResetDevice())

    def _skip_account_setup(self) -> None:
        attempt = self._turn.attempt
        self._set_phase(Phase.ACCOUNT_SETUP, RowState.SKIPPED)
        for item in attempt.in_phase():
            if not item.is_settled and item.plan.phase is Phase.ACCOUNT_SETUP:
                cancel(self._turn, item)
                settle(self._turn, item, ItemState.SKIPPED)
        if attempt.gate is Gate.LOCKED:
            self._set_gate(Gate.RELEASED, GateCause.ACCOUNT_SETUP_SKIPPED)
        self._end(EndState.SUCCEEDED_ON_RETRY if attempt.retried else EndState.SUCCEEDED)

    def _collect_logs(self, command: str | None) -> None:
        self._turn.attempt.logs_wanted.append(command)
        self._turn.do(do.CollectLogs(command))

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
            return
        self._executed.add(command.id)
        reason = permissions.why_not_command(attempt, event, self._turn.now_ms) or self._execute(
            command
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

    def _execute(self, command: Command) -> str | None:
        """Carry out a command; the answer is None, or why not."""
        action: CommandAction = command.action
        match action:
            case ExtendTimeout(context=context, minutes=minutes):
                return self._extend(context, minutes)
            case CollectLogs():
                # A help desk may look at logs at any time: the profile's permission is about the person's button.
                self._collect_logs(command.id)
                return None
            case RefreshAssignment():
                return self._refresh()
            case RetryItem(item=item):
                return self._choose(Choice.TRY_ITEM_AGAIN, item, command.id)
            case RetryPhase() | ContinueAnyway() | ResetDevice() | SkipAccountSetup():
                return self._choose(_CHOICE_OF_COMMAND[action.kind], None, command.id)

    def _refresh(self) -> str | None:
        if self.mode is Mode.ENDED:
            return OVER
        self._turn.do(do.AskForAssignment())
        return None

    def _extend(self, context: Context, minutes: int) -> str | None:
        attempt = self._turn.attempt
        if attempt.budget_deadline_ms is None or attempt.phase is None:
            return "no time budget is running"
        if attempt.phase.context is not context:
            return f"the {attempt.phase.context.value} context is running, not the {context.value} context"
        attempt.budget_deadline_ms += minutes * MINUTE_MS
        return None

    def _emergency_exit(self, _: EmergencyExitUsed) -> None:
        """Let the person out through the documented emergency exit."""
        if self._turn.attempt.gate is Gate.LOCKED:
            self._set_gate(Gate.BYPASSED, GateCause.EMERGENCY_EXIT)
        if self.mode is not Mode.ENDED:
            self._end(EndState.BYPASSED, self._turn.attempt.failure)

    # Ends, background work, restarts.

    def _end(
        self,
        end_state: EndState,
        failure: Failure | None = None,
        *,
        section: Section | None = None,
        action_name: str | None = None,
        user_action: str | None = None,
    ) -> None:
        attempt = self._turn.attempt
        background = end_state in SUCCESS_STATES
        if not background:
            cancel_all(self._turn)
        if end_state in (EndState.SUCCEEDED, EndState.SUCCEEDED_ON_RETRY):
            attempt.percent = 100
        attempt.mode = Mode.ENDED
        attempt.end_state = end_state
        attempt.failure = failure
        attempt.wait_deadline_ms = attempt.budget_deadline_ms = None
        attempt.spans.clear()
        attempt.expiries.clear()
        for item in attempt.under_way:
            if not (background and (item.is_working or item.state is ItemState.WAITING_TO_RETRY)):
                item.deadline_ms = None
        self._turn.report(
            report.AttemptEnded(
                end_state=end_state,
                phase=attempt.phase,
                failure=failure,
                account_setup=attempt.phase_states[Phase.ACCOUNT_SETUP],
                section=section,
                action_name=action_name,
                user_action=user_action,
            )
        )
        if background:
            for item in attempt.items.values():
                if item.is_unsatisfied and item.plan.is_assigned:
                    try_anew(self._turn, item)
            self._work_in_background()

    def _work_in_background(self) -> None:
        """After the gate is open, go on with the assigned items that are not there yet."""
        attempt = self._turn.attempt
        if attempt.end_state not in SUCCESS_STATES:
            return
        items = attempt.items.values()
        left = [i for i in items if i.state is ItemState.NOT_STARTED and i.plan.is_assigned]
        while self._start_ready(left):
            continue

    def _reboot(self, kind: RebootKind) -> None:
        """Restart the device for all items that want it; the state that follows is stored before it happens."""
        attempt = self._turn.attempt
        wanting = [
            i for i in attempt.in_phase() if i.reboot or i.state is ItemState.REBOOT_REQUIRED
        ]
        for item in wanting:
            item.reboot = None
        names = tuple(i.plan.id for i in wanting)
        attempt.mode = Mode.RESTARTING
        attempt.wait_deadline_ms = self._turn.now_ms + REBOOT_WAIT_MS
        self._turn.report(report.RebootPlanned(reboot=kind, items=names))
        self._turn.do(do.Reboot(kind, names))

    def _restarted(self, event: Restarted) -> None:
        """Assert gate, prompts and unfinished work again; what was running is detected first."""
        attempt = self._turn.attempt
        self._turn.report(report.AgentRestarted(planned=event.planned))
        self._turn.do(do.SetGate(attempt.gate, attempt.gate_cause))
        if attempt.mode is Mode.RESTARTING:
            attempt.mode = Mode.WORKING
            attempt.wait_deadline_ms = None
        for command in attempt.logs_wanted:
            self._turn.do(do.CollectLogs(command))
        resume_all(self._turn)
        if attempt.mode is Mode.STOPPED:
            choices, items = permissions.offered(attempt), permissions.retryable(attempt)
            self._turn.do(do.OfferChoices(choices, items, error=True))
        elif attempt.mode is Mode.WORKING:
            self._offer()
        elif attempt.end_state is EndState.RESET:
            self._turn.do(do.ResetDevice())
        self._go_on()

    # Deadlines.

    def _deadlines(self) -> list[tuple[int, Handler, Any]]:
        """Every deadline that can be the next, what happens at it and to what; those of equal time happen in this order.

        Of the items only the one that is due first counts; of equal ones that is the first in the plan.
        """
        found: list[tuple[int, Handler, Any]] = []
        if not self._turn.has_attempt:
            return found
        attempt = self._turn.attempt
        working = attempt.mode is Mode.WORKING
        if working and attempt.spans:
            found += [
                (attempt.spans[span.id], Enrollment._span_over, span)
                for span in attempt.running_plan.spans
                if span.id in attempt.spans
            ]
        if working and attempt.expiries:
            found += [
                (attempt.expiries[expiry.opens], Enrollment._expired, expiry)
                for expiry in attempt.running_plan.expiries
                if expiry.opens in attempt.expiries
            ]
        if attempt.wait_deadline_ms is not None:
            found.append((attempt.wait_deadline_ms, Enrollment._wait_over, None))
        if attempt.budget_deadline_ms is not None and working:
            found.append((attempt.budget_deadline_ms, Enrollment._budget_over, None))
        # At the error screen and during a restart nothing new starts and nobody is asked.
        item = attempt.first_due(working_only=not working and attempt.mode is not Mode.ENDED)
        if item is not None and item.deadline_ms is not None:
            found.append((item.deadline_ms, Enrollment._item_over, item))
        return found

    def _deadline_passed(self, _: DeadlinePassed) -> None:
        """Do what is due, earliest first, until nothing is."""
        self._refusal = "no deadline has passed"
        while found := self._deadlines():
            at_ms, act, subject = min(found, key=_time_of)
            if at_ms > self._turn.now_ms:
                return
            self._refusal = None
            act(self, subject)

    def _expired(self, expiry: Expiry) -> None:
        del self._turn.attempt.expiries[expiry.opens]
        expire(self._turn, expiry)
        self._advance()

    def _wait_over(self, _: None) -> None:
        attempt = self._turn.attempt
        if attempt.mode is Mode.RESTARTING:
            attempt.mode = Mode.WORKING
            attempt.wait_deadline_ms = None
            resume_all(self._turn)
            self._advance()
        elif attempt.mode is Mode.STOPPED:
            self._give_up()
        else:
            minutes = attempt.limits.assignment_wait_ms // MINUTE_MS
            self._end(EndState.TIMED_OUT, outcomes.no_assignment(minutes))

    def _budget_over(self, _: None) -> None:
        """The context's time is used up: what runs ends as timed out, and the screen says which."""
        attempt = self._turn.attempt
        attempt.budget_deadline_ms = None
        items = [i for i in attempt.in_phase() if not i.is_settled]
        running = [i for i in items if i.state is not ItemState.NOT_STARTED]
        names = tuple(i.plan.name for i in running)
        minutes = attempt.running_plan.budget_ms(attempt.running_phase.context) // MINUTE_MS
        failure = outcomes.setup_timed_out(minutes, names)
        for item in running:
            cancel(self._turn, item)
            stopped = outcomes.stopped_by_budget(item.plan, minutes)
            settle(self._turn, item, ItemState.TIMED_OUT, stopped)
        if any(i.plan.blocking for i in items):
            self._stop(failure)
            return
        for item in items:
            if item.state is ItemState.NOT_STARTED:
                stopped = outcomes.stopped_by_budget(item.plan, minutes)
                settle(self._turn, item, ItemState.CANCELLED, stopped)
        self._advance()

    def _item_over(self, item: ItemRun) -> None:
        if item.state is ItemState.WAITING_FOR_PERSON:
            self._screen_over(item)
        elif item.state is ItemState.WAITING_TO_RETRY:
            self._next_try(item)
        else:
            out_of_time(self._turn, item)
            self._go_on()

    def _next_try(self, item: ItemRun) -> None:
        item.deadline_ms = None
        self._turn.attempt.set_state(item, ItemState.NOT_STARTED)
        self._go_on()

    # Small things.

    def _may(self, choice: Choice) -> bool:
        return permissions.why_not(self._turn.attempt, choice) is None

    def _set_phase(self, phase: Phase, state: RowState) -> None:
        self._turn.attempt.phase_states[phase] = state
        self._turn.report(report.PhaseChanged(phase=phase, state=state))

    def _set_gate(self, gate: Gate, cause: GateCause) -> None:
        attempt = self._turn.attempt
        attempt.gate, attempt.gate_cause = gate, cause
        self._turn.do(do.SetGate(gate, cause))
        self._turn.report(report.GateChanged(gate=gate, cause=cause))


NO_ATTEMPT: Final = "no attempt has begun"
NO_PLAN: Final = "the device has no assignment yet"
OVER: Final = "the attempt has ended"
RESTARTING: Final = "the device is restarting"
UNEXPECTED: Final = "this event is not known here"

_ANY_TIME: Final[dict[type, Handler | str]] = {
    AttemptBegan: Enrollment._begin,
    CommandReceived: Enrollment._command_received,
    LogsCollected: Enrollment._logs_collected,
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
