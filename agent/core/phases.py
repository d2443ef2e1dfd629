"""The course of an attempt: what starts now, when a phase is over, when the gate opens, and how it all ends."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Final

from agent.core import effects as do
from agent.core import outcomes, permissions
from agent.core.events import MINUTE_MS
from agent.core.items import (
    cancel_all,
    settle,
    start,
    try_anew,
)
from agent.core.state import SETTLED_STATES, ItemRun, Mode
from agent.core.turn import Turn
from agent.wire import events as report
from agent.wire.progress import Failure
from agent.wire.vocabulary import (
    SATISFIED_STATES,
    SUCCESS_STATES,
    UNSATISFIED_STATES,
    WORKING_STATES,
    Choice,
    EndState,
    FailureKind,
    Gate,
    GateCause,
    ItemState,
    Phase,
    RebootKind,
    RowState,
    Section,
)

REBOOT_WAIT_MS: Final = 15 * MINUTE_MS
"""A restart that has not happened by then is given up, and setup goes on without it."""

# Names of the module for the members that are asked about most: Python 3.11 finds them ten times as fast.
_WORKING: Final = Mode.WORKING
_ENDED: Final = Mode.ENDED
_NOT_STARTED: Final = ItemState.NOT_STARTED
_REBOOT_REQUIRED: Final = ItemState.REBOOT_REQUIRED
_SOFT: Final = RebootKind.SOFT


def advance(turn: Turn) -> None:
    """Decide what starts now; the only place that does."""
    attempt = turn.attempt
    while attempt.mode is _WORKING:
        left = [i for i in attempt.waited_for if i.state not in SATISFIED_STATES]
        states = [i.state for i in left]
        failed: list[ItemRun] = []
        if not UNSATISFIED_STATES.isdisjoint(states):
            failed = [i for i in left if i.state in UNSATISFIED_STATES and i.plan.blocking]
        news = [i for i in failed if not i.is_left] if failed else failed
        if news:
            _fail(turn, news[0])
        elif _REBOOT_REQUIRED in states:
            if not WORKING_STATES.isdisjoint(states):
                return
            _reboot(turn, RebootKind.HARD)
        elif _start_ready(turn, left):
            continue
        elif _are_open(left):
            return
        elif _owes_restart(turn):
            _reboot(turn, _SOFT)
        elif [i for i in left if not i.is_settled]:
            return
        elif failed:
            _fail(turn, failed[0])
        else:
            _finish_phase(turn)


def _fail(turn: Turn, item: ItemRun) -> None:
    assert item.failure is not None, "an unsatisfied item says why"
    if item.plan.step.wipes_on_failure:
        reset_device(turn, item.failure)
    else:
        stop(turn, item.failure)


def _start_ready(turn: Turn, items: list[ItemRun]) -> bool:
    """Start what may start; True when something settled at once, so that there is more to decide."""
    attempt = turn.attempt
    is_over = attempt.mode is _ENDED
    after: tuple[str, ...] = ()
    in_turn = True
    busy: set[str | None] | None = None
    for item in items:
        if item.state is not _NOT_STARTED:
            continue
        plan = item.plan
        if plan.after is not after:
            # All items of a block have the same tuple. After the end only dependencies count.
            after = plan.after
            in_turn = is_over or attempt.are_settled(after)
        if not in_turn or (plan.step.after_restart and _owes_restart(turn)):
            continue
        if plan.needs or plan.unmet is not None:
            if not _needs_are_settled(turn, item):
                continue
            hopeless = _why_hopeless(turn, item)
            if hopeless is not None:
                item.is_left = any(attempt.items[n].is_left for n in plan.needs)
                settle(turn, item, ItemState.CANCELLED, hopeless)
                return True
        if plan.lane is None:
            start(turn, item)
            continue
        if busy is None:
            busy = attempt.busy_lanes()
        if plan.lane not in busy:
            start(turn, item)
            busy.add(plan.lane)
    return False


def _needs_are_settled(turn: Turn, item: ItemRun) -> bool:
    return turn.attempt.are_settled(item.plan.needs)


def _why_hopeless(turn: Turn, item: ItemRun) -> Failure | None:
    """Why it makes no sense to attempt an item: what it depends on is not there and will not be."""
    if item.plan.unmet is not None:
        return outcomes.dependency_not_installed(item.plan, item.plan.unmet)
    for name in item.plan.needs:
        needed = turn.attempt.items[name]
        if needed.is_unsatisfied:
            return outcomes.dependency_failed(item.plan, needed.plan.name)
        if needed.state is ItemState.SKIPPED:
            return outcomes.dependency_not_applicable(item.plan, needed.plan.name)
    return None


def _owes_restart(turn: Turn) -> bool:
    """Whether a restart was put off to the end of this phase."""
    return _SOFT in [i.reboot for i in turn.attempt.waited_for]


def _finish_phase(turn: Turn) -> None:
    attempt = turn.attempt
    assert attempt.phase is not None, "a phase that finishes has begun"
    done = all(i.is_satisfied for i in attempt.waited_for)
    set_phase(turn, attempt.phase, RowState.SUCCEEDED if done else RowState.FAILED)
    _review_gate(turn)
    match attempt.phase:
        case Phase.DEVICE_PREPARATION:
            enter(turn, Phase.DEVICE_SETUP)
        case Phase.DEVICE_SETUP:
            enter(turn, Phase.ACCOUNT_SETUP)
        case Phase.ACCOUNT_SETUP:
            end_attempt(
                turn, EndState.SUCCEEDED_ON_RETRY if attempt.retried else EndState.SUCCEEDED
            )


def _review_gate(turn: Turn) -> None:
    """Open the gate when nothing holds it any more: the only place that releases it for work done."""
    attempt = turn.attempt
    if attempt.gate is not Gate.LOCKED:
        return
    profile = attempt.running_plan.profile
    account = profile.account_setup
    if attempt.phase is Phase.ACCOUNT_SETUP:
        set_gate(turn, Gate.RELEASED, GateCause.SETUP_COMPLETE)
    elif account.show_progress and account.block_until_complete:
        return
    elif attempt.phase is Phase.DEVICE_SETUP:
        set_gate(turn, Gate.RELEASED, GateCause.DEVICE_SETUP_COMPLETE)
    elif not profile.device_setup.show_progress:
        set_gate(turn, Gate.RELEASED, GateCause.NOTHING_TO_SHOW)


def enter(turn: Turn, phase: Phase) -> None:
    """Go on to a phase: its budget, and what may be chosen in it."""
    attempt = turn.attempt
    attempt.enter(phase)
    set_phase(turn, phase, RowState.IN_PROGRESS)
    if phase is not Phase.DEVICE_SETUP:
        attempt.budget_deadline_ms = None
    open_budget(turn)
    if phase is Phase.ACCOUNT_SETUP or permissions.why_not(attempt, Choice.CONTINUE_ANYWAY) is None:
        offer(turn)


def open_budget(turn: Turn) -> None:
    """Start the context's budget, unless a person has to open it and has not."""
    attempt = turn.attempt
    if attempt.budget_deadline_ms is not None:
        return
    if not [i for i in attempt.waited_for if i.plan.step.opens_budget and not i.is_satisfied]:
        budget_ms = attempt.running_plan.budget_ms(attempt.running_phase.context)
        attempt.budget_deadline_ms = turn.now_ms + budget_ms


def offer(turn: Turn) -> None:
    """Offer what may be chosen while setup goes on."""
    choices = permissions.ways_out(turn.attempt)
    if choices:
        turn.do(do.OfferChoices(choices, (), error=False))


def stop(turn: Turn, failure: Failure) -> None:
    """Bring up the error screen; with no way out of it the attempt ends at once."""
    attempt = turn.attempt
    assert attempt.phase is not None, "only a phase fails"
    attempt.mode = Mode.STOPPED
    attempt.failure = failure
    attempt.budget_deadline_ms = None
    attempt.wait_deadline_ms = turn.now_ms + attempt.limits.nobody_comes_back_ms
    set_phase(turn, attempt.phase, RowState.FAILED)
    if not permissions.ways_out(attempt):
        give_up(turn)
        return
    choices, items = permissions.offered(attempt), permissions.retryable(attempt)
    turn.report(
        report.ErrorScreenShown(
            phase=attempt.phase, failure=failure, failed_items=items, choices=choices
        )
    )
    turn.do(do.OfferChoices(choices, items, error=True))


def give_up(turn: Turn) -> None:
    """End an attempt that failed, for nobody does anything about it."""
    failure = turn.attempt.failure
    assert failure is not None, "the error screen says why"
    timed_out = failure.kind is FailureKind.SETUP_TIMED_OUT
    end_attempt(turn, EndState.TIMED_OUT if timed_out else EndState.FAILED, failure)


def reset_device(turn: Turn, failure: Failure | None) -> None:
    """End the attempt and have the device wiped."""
    end_attempt(turn, EndState.RESET, failure)
    turn.do(do.ResetDevice())


def end_attempt(
    turn: Turn,
    end_state: EndState,
    failure: Failure | None = None,
    *,
    section: Section | None = None,
    action_name: str | None = None,
    user_action: str | None = None,
) -> None:
    """End the attempt, whichever way; after a success the rest goes on in the background."""
    attempt = turn.attempt
    background = end_state in SUCCESS_STATES
    if not background:
        cancel_all(turn)
    if end_state in (EndState.SUCCEEDED, EndState.SUCCEEDED_ON_RETRY):
        attempt.percent = 100
    attempt.mode = _ENDED
    attempt.end_state = end_state
    attempt.failure = failure
    attempt.wait_deadline_ms = attempt.budget_deadline_ms = None
    attempt.spans.clear()
    attempt.expiries.clear()
    for item in attempt.under_way:
        if not (background and (item.is_working or item.state is ItemState.WAITING_TO_RETRY)):
            item.deadline_ms = None
    turn.report(
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
                try_anew(turn, item)
        _work_in_background(turn)


def _work_in_background(turn: Turn) -> None:
    """After the gate is open, go on with the assigned items that are not there yet."""
    attempt = turn.attempt
    if attempt.end_state not in SUCCESS_STATES:
        return
    items = attempt.items.values()
    left = [i for i in items if i.state is _NOT_STARTED and i.plan.is_assigned]
    while _start_ready(turn, left):
        continue


def go_on(turn: Turn) -> None:
    """Decide what starts now that something has ended."""
    if turn.attempt.mode is _ENDED:
        _work_in_background(turn)
    else:
        advance(turn)


def _reboot(turn: Turn, kind: RebootKind) -> None:
    """Restart the device for all items that want it; the state that follows is stored before it happens."""
    attempt = turn.attempt
    wanting = [i for i in attempt.waited_for if i.reboot or i.state is _REBOOT_REQUIRED]
    for item in wanting:
        item.reboot = None
    names = tuple(i.plan.id for i in wanting)
    attempt.mode = Mode.RESTARTING
    attempt.wait_deadline_ms = turn.now_ms + REBOOT_WAIT_MS
    turn.report(report.RebootPlanned(reboot=kind, items=names))
    turn.do(do.Reboot(kind, names))


def set_phase(turn: Turn, phase: Phase, state: RowState) -> None:
    """Bring a phase into a state and say so."""
    turn.attempt.phase_states[phase] = state
    turn.report(_phase_changed(phase, state))


def set_gate(turn: Turn, gate: Gate, cause: GateCause) -> None:
    """Put the gate into a state and say so."""
    attempt = turn.attempt
    attempt.gate, attempt.gate_cause = gate, cause
    turn.do(do.SetGate(gate, cause))
    turn.report(_gate_changed(gate, cause))


def _are_open(items: Iterable[ItemRun]) -> bool:
    """Whether one of these has not ended, and need not wait for the restart."""
    # Asked at every step's end: `any` takes twice as long.
    for item in items:
        if item.state not in SETTLED_STATES and not item.plan.step.after_restart:
            return True
    return False


@cache
def _phase_changed(phase: Phase, state: RowState) -> report.PhaseChanged:
    """One of a few, and each attempt has seven of them."""
    return report.PhaseChanged(phase=phase, state=state)


@cache
def _gate_changed(gate: Gate, cause: GateCause) -> report.GateChanged:
    return report.GateChanged(gate=gate, cause=cause)
