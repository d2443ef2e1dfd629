"""The deadlines of an attempt: which is the next, and what happens when it comes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from agent.core import outcomes
from agent.core.events import MINUTE_MS
from agent.core.flows import Expiry
from agent.core.items import (
    cancel,
    expire,
    out_of_time,
    resume_all,
    settle,
)
from agent.core.person_screens import AbandonmentRow
from agent.core.phases import advance, end_attempt, give_up, go_on, stop
from agent.core.state import ItemRun, Mode
from agent.core.turn import Turn
from agent.wire.progress import Failure
from agent.wire.vocabulary import (
    EXCEEDED_30_MINUTES,
    EndState,
    ItemState,
    MessageKind,
)

Handler = Callable[[Turn, Any], None]

# Names of the module for the members that are asked about most: Python 3.11 finds them ten times as fast.
_WORKING: Final = Mode.WORKING
_ENDED: Final = Mode.ENDED
_NOT_STARTED: Final = ItemState.NOT_STARTED


def deadlines_of(turn: Turn) -> list[tuple[int, Handler, Any]]:
    """Every deadline that can be the next, what happens at it and to what; those of equal time happen in this order.

    Of the items only the one that is due first counts; of equal ones that is the first in the plan.
    """
    found: list[tuple[int, Handler, Any]] = []
    if not turn.has_attempt:
        return found
    attempt = turn.attempt
    working = attempt.mode is _WORKING
    if working and attempt.spans:
        found += [
            (attempt.spans[span.id], _span_over, span)
            for span in attempt.running_plan.spans
            if span.id in attempt.spans
        ]
    if working and attempt.expiries:
        found += [
            (attempt.expiries[expiry.opens], _expired, expiry)
            for expiry in attempt.running_plan.expiries
            if expiry.opens in attempt.expiries
        ]
    if attempt.wait_deadline_ms is not None:
        found.append((attempt.wait_deadline_ms, _wait_over, None))
    if attempt.budget_deadline_ms is not None and working:
        found.append((attempt.budget_deadline_ms, _budget_over, None))
    # At the error screen and during a restart nothing new starts and nobody is asked.
    item = attempt.first_due(working_only=not working and attempt.mode is not _ENDED)
    if item is not None and item.deadline_ms is not None:
        found.append((item.deadline_ms, _item_over, item))
    return found


def _span_over(turn: Turn, span: AbandonmentRow) -> None:
    """A row of the report used up its 30 minutes, whoever was slow."""
    attempt = turn.attempt
    inside = attempt.waiting_screen() or attempt.items[span.end]
    failure = outcomes.person_stopped(inside.plan.name, EXCEEDED_30_MINUTES, silent=True)
    end_attempt(
        turn,
        EndState.ABANDONED,
        failure,
        section=span.section,
        action_name=span.action_name,
        user_action=EXCEEDED_30_MINUTES,
    )


def _screen_over(turn: Turn, item: ItemRun) -> None:
    """Nobody answered a person screen in time."""
    minutes = (turn.now_ms - item.moved_ms) // MINUTE_MS
    what = EXCEEDED_30_MINUTES if minutes == 30 else f"Exceeded {minutes // 60} hours"
    abandon(turn, item, outcomes.person_stopped(item.plan.name, what, silent=True), what)


def abandon(turn: Turn, item: ItemRun, failure: Failure, user_action: str) -> None:
    """End the attempt at a person screen."""
    screen = item.plan.screen
    assert screen is not None, "only a person screen is abandoned"
    end_attempt(
        turn,
        EndState.ABANDONED,
        failure,
        section=screen.section,
        action_name=screen.action_name,
        user_action=user_action,
    )


def _expired(turn: Turn, expiry: Expiry) -> None:
    del turn.attempt.expiries[expiry.opens]
    expire(turn, expiry)
    advance(turn)


def _wait_over(turn: Turn, _: None) -> None:
    attempt = turn.attempt
    if attempt.mode is Mode.RESTARTING:
        attempt.mode = _WORKING
        attempt.wait_deadline_ms = None
        resume_all(turn)
        advance(turn)
    elif attempt.mode is Mode.STOPPED:
        give_up(turn)
    else:
        minutes = attempt.limits.assignment_wait_ms // MINUTE_MS
        refused = [why for what, why in attempt.refused if what is MessageKind.ASSIGNMENT]
        end_attempt(turn, EndState.TIMED_OUT, outcomes.no_assignment(minutes, refused))


def _budget_over(turn: Turn, _: None) -> None:
    """The context's time is used up: what runs ends as timed out, and the screen says which."""
    attempt = turn.attempt
    attempt.budget_deadline_ms = None
    items = [i for i in attempt.waited_for if not i.is_settled]
    running = [i for i in items if i.state is not _NOT_STARTED]
    names = tuple(i.plan.name for i in running)
    minutes = attempt.running_plan.budget_ms(attempt.running_phase.context) // MINUTE_MS
    failure = outcomes.setup_timed_out(minutes, names)
    for item in running:
        cancel(turn, item)
        stopped = outcomes.stopped_by_budget(item.plan, minutes)
        settle(turn, item, ItemState.TIMED_OUT, stopped)
    if any(i.plan.blocking for i in items):
        stop(turn, failure)
        return
    for item in items:
        if item.state is _NOT_STARTED:
            stopped = outcomes.stopped_by_budget(item.plan, minutes)
            settle(turn, item, ItemState.CANCELLED, stopped)
    advance(turn)


def _item_over(turn: Turn, item: ItemRun) -> None:
    if item.state is ItemState.WAITING_FOR_PERSON:
        _screen_over(turn, item)
    elif item.state is ItemState.WAITING_TO_RETRY:
        _next_try(turn, item)
    else:
        out_of_time(turn, item)
        go_on(turn)


def _next_try(turn: Turn, item: ItemRun) -> None:
    item.deadline_ms = None
    turn.attempt.set_state(item, _NOT_STARTED)
    go_on(turn)
