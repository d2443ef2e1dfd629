"""What happens to one item: it starts, moves, is judged, waits for its next try, and settles."""

from __future__ import annotations

from typing import Final

from agent.core import outcomes
from agent.core.effects import AskPerson, CancelStep
from agent.core.estimate import credit, learn
from agent.core.events import MINUTE_MS, StepMoved
from agent.core.flows import Expiry
from agent.core.outcomes import Outcome, Verdict
from agent.core.person_screens import SPAN_LIMIT_MS
from agent.core.state import ItemRun, Mode
from agent.core.turn import Turn
from agent.wire.progress import Failure
from agent.wire.vocabulary import SATISFIED_STATES, ItemKind, ItemState, PersonAction

REBOOTS_MAX: Final = 4
"""The loop breaker stops the fifth restart for one item."""

# Names of the module for the members that are asked about most: Python 3.11 finds them ten times as fast.
_APP: Final = ItemKind.APP
_DOWNLOADING: Final = ItemState.DOWNLOADING
_INSTALLING: Final = ItemState.INSTALLING
_VERIFYING: Final = ItemState.VERIFYING
_DONE: Final = ItemState.DONE
_WAITING_FOR_PERSON: Final = ItemState.WAITING_FOR_PERSON
_SATISFIED: Final = Verdict.SATISFIED
_PROCEED: Final = PersonAction.PROCEED


def start(turn: Turn, item: ItemRun) -> None:
    """Start an item: run its step, or put up its person screen."""
    item.moved_ms = turn.now_ms
    if item.plan.step.closes_budget:
        turn.attempt.budget_deadline_ms = None
    if turn.attempt.running_plan.spans:
        _open_spans(turn, item)
    if item.plan.screen is not None:
        portal = item.plan.screen.section is not None
        limit_ms = SPAN_LIMIT_MS if portal else turn.attempt.limits.nobody_comes_back_ms
        item.deadline_ms = turn.now_ms + limit_ms
        _change(turn, item, _WAITING_FOR_PERSON)
        _ask(turn, item)
        return
    item.attempt += 1
    if item.detect_first:
        _run(turn, item, _VERIFYING)
    else:
        _run(turn, item, _DOWNLOADING if item.plan.kind is _APP else _INSTALLING)


def move(turn: Turn, item: ItemRun, event: StepMoved) -> None:
    """Note what a running item does now; every tenth percent is reported."""
    item.moved_ms = turn.now_ms
    before = item.percent or 0 if event.state is item.state else 0
    item.percent = None if event.percent is None else max(before, min(100, event.percent))
    if item.percent:
        credit(turn.attempt, item, item.percent / 100)
    if event.state is not item.state:
        _change(turn, item, event.state)
    elif item.percent is not None and item.percent // 10 > before // 10:
        turn.report(turn.blueprints.advanced(item, item.percent))


def conclude(turn: Turn, item: ItemRun, outcome: Outcome) -> None:
    """Do what the judgement of a finished run asks for."""
    if outcome.verdict is _SATISFIED:
        if outcome.state is _DONE:
            learn(turn.attempt, item, turn.now_ms)
        item.reboot = outcome.reboot
        settle(turn, item, outcome.state, note=outcome.note)
        return
    match outcome.verdict:
        case Verdict.HARD_REBOOT:
            _want_reboot(turn, item)
        case Verdict.TRY_AGAIN:
            _try_again(turn, item, outcome)


def out_of_time(turn: Turn, item: ItemRun) -> None:
    """One try used up its own time cap."""
    cancel(turn, item)
    failure = outcomes.item_timed_out(item.plan)
    _try_again(turn, item, Outcome(Verdict.TRY_AGAIN, ItemState.TIMED_OUT, None, failure))


def settle(
    turn: Turn,
    item: ItemRun,
    state: ItemState,
    failure: Failure | None = None,
    note: str | None = None,
) -> None:
    """Let an item end, whichever way."""
    item.deadline_ms = None
    item.failure = failure
    item.note = note
    if state in SATISFIED_STATES:
        item.percent = None
        credit(turn.attempt, item, 1.0)
    plan = turn.attempt.running_plan
    if plan.spans:
        _close_spans(turn, item)
    if plan.expiries:
        _turn_expiries(turn, item, state)
    _change(turn, item, state)


def cancel(turn: Turn, item: ItemRun) -> None:
    """Stop an item's step if one runs."""
    if item.is_working:
        turn.do(CancelStep(item.plan.id, item.run))


def cancel_all(turn: Turn) -> None:
    """Let everything that is under way end as cancelled."""
    for item in turn.attempt.under_way:
        cancel(turn, item)
        settle(turn, item, ItemState.CANCELLED)


def try_anew(turn: Turn, item: ItemRun) -> None:
    """Forget that an item failed; what is there by now will be detected, not installed twice."""
    turn.attempt.set_state(item, ItemState.NOT_STARTED)
    item.attempt = 0
    item.failure = None
    item.detect_first = True


def expire(turn: Turn, expiry: Expiry) -> None:
    """What was not used in time is gone: begin again from where the person gets it."""
    for name in expiry.again:
        item = turn.attempt.items[name]
        cancel(turn, item)
        if item.state is not ItemState.NOT_STARTED:
            item.deadline_ms = None
            item.attempt = 0
            item.failure = None
            item.detect_first = False
            item.note = expiry.note
            _change(turn, item, ItemState.NOT_STARTED)


def resume_all(turn: Turn) -> None:
    """After a restart: detect what was running, ask again what was asked."""
    for item in turn.attempt.under_way:
        if item.is_working or item.state is ItemState.REBOOT_REQUIRED:
            item.detect_first = True
            item.attempt = max(1, item.attempt)
            _run(turn, item, _VERIFYING)
        elif item.state is _WAITING_FOR_PERSON and turn.attempt.mode is Mode.WORKING:
            _ask(turn, item)


def _run(turn: Turn, item: ItemRun, state: ItemState) -> None:
    attempt, plan = turn.attempt, item.plan
    attempt.runs += 1
    item.run = attempt.runs
    item.began_ms = turn.now_ms
    item.percent = None
    if plan.limit_ms is not None:
        item.deadline_ms = turn.now_ms + plan.limit_ms
    _change(turn, item, state)
    turn.do(turn.blueprints.step(item))


def _ask(turn: Turn, item: ItemRun) -> None:
    screen = item.plan.screen
    assert screen is not None, "only a person screen asks"
    turn.do(AskPerson(item.plan.id, screen.id, (_PROCEED, *screen.halts)))


def _want_reboot(turn: Turn, item: ItemRun) -> None:
    item.deadline_ms = None
    item.reboots += 1
    if item.reboots > REBOOTS_MAX:
        failure = outcomes.reboot_loop(item.plan, item.reboots)
        settle(turn, item, ItemState.FAILED, failure)
    else:
        _change(turn, item, ItemState.REBOOT_REQUIRED)


def _try_again(turn: Turn, item: ItemRun, outcome: Outcome) -> None:
    """Wait for the next try, or settle as failed when all tries are used up."""
    if item.attempt >= item.plan.tries:
        settle(turn, item, outcome.state, outcome.failure)
        return
    item.failure = outcome.failure
    item.detect_first = True
    pause_ms = outcomes.pause_before_retry_ms(item.plan, item.attempt, outcome)
    item.deadline_ms = turn.now_ms + pause_ms
    _change(turn, item, ItemState.WAITING_TO_RETRY)


def _open_spans(turn: Turn, item: ItemRun) -> None:
    for span in turn.attempt.running_plan.spans:
        if span.start == item.plan.id:
            turn.attempt.spans.setdefault(span.id, turn.now_ms + SPAN_LIMIT_MS)


def _close_spans(turn: Turn, item: ItemRun) -> None:
    for span in turn.attempt.running_plan.spans:
        if span.end == item.plan.id:
            turn.attempt.spans.pop(span.id, None)


def _turn_expiries(turn: Turn, item: ItemRun, state: ItemState) -> None:
    """Something that expires has arrived, or was used in time."""
    for expiry in turn.attempt.running_plan.expiries:
        if expiry.opens == item.plan.id and state in SATISFIED_STATES:
            turn.attempt.expiries[expiry.opens] = turn.now_ms + expiry.limit_min * MINUTE_MS
        elif expiry.closes == item.plan.id:
            turn.attempt.expiries.pop(expiry.opens, None)


def _change(turn: Turn, item: ItemRun, state: ItemState) -> None:
    turn.attempt.set_state(item, state)
    item.moved_ms = item.since_ms = turn.now_ms
    turn.report(turn.blueprints.changed(item))
