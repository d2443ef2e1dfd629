"""What a person or the help desk chose: tried again, left early, begun anew, or more time."""

from __future__ import annotations

from typing import Final

from agent.core import effects as do
from agent.core import permissions
from agent.core.events import MINUTE_MS
from agent.core.items import (
    cancel,
    settle,
    try_anew,
)
from agent.core.person_screens import SPAN_LIMIT_MS
from agent.core.phases import (
    advance,
    end_attempt,
    open_budget,
    reset_device,
    set_gate,
    set_phase,
)
from agent.core.state import ItemRun, Mode
from agent.core.turn import Turn
from agent.wire import events as report
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
from agent.wire.vocabulary import (
    Choice,
    Context,
    EndState,
    Gate,
    GateCause,
    ItemState,
    Phase,
    RowState,
)

_CHOICE_OF_COMMAND: Final = {
    "retry_phase": Choice.TRY_AGAIN,
    "continue_anyway": Choice.CONTINUE_ANYWAY,
    "reset_device": Choice.RESET_DEVICE,
    "skip_account_setup": Choice.SKIP_ACCOUNT_SETUP,
}

OVER: Final = "the attempt has ended"

# Names of the module for the members that are asked about most: Python 3.11 finds them ten times as fast.
_WORKING: Final = Mode.WORKING
_ENDED: Final = Mode.ENDED


def choose(turn: Turn, choice: Choice, item: str | None, command: str | None) -> str | None:
    """Carry out a choice; the answer is None, or why not."""
    if choice is Choice.TRY_ITEM_AGAIN and item is None:
        return "say which item to try again"
    refusal = permissions.why_not(turn.attempt, choice, item)
    if refusal is not None:
        return refusal
    turn.report(report.ChoiceMade(choice=choice, item=item, command=command))
    match choice:
        case Choice.TRY_AGAIN:
            _retry(turn, [i for i in turn.attempt.waited_for if not i.is_satisfied])
        case Choice.TRY_ITEM_AGAIN:
            _retry(turn, [i for i in turn.attempt.waited_for if i.plan.id == item])
        case Choice.CONTINUE_ANYWAY:
            _bypass(turn, GateCause.CONTINUED_ANYWAY)
        case Choice.RESET_DEVICE:
            reset_device(turn, turn.attempt.failure)
        case Choice.SKIP_ACCOUNT_SETUP:
            _skip_account_setup(turn)
        case Choice.COLLECT_LOGS:
            _collect_logs(turn, command)
    return None


def _retry(turn: Turn, items: list[ItemRun]) -> None:
    """Back to work with a new budget; what is there already will be detected.

    Other items that failed are left as they are, and bring the error screen back once nothing else can be done.
    """
    attempt = turn.attempt
    for item in attempt.waited_for:
        item.is_left = item.is_unsatisfied
    for item in _with_needs(turn, items):
        item.is_left = False
        attempt.wait_for(item)
        try_anew(turn, item)
    attempt.mode = _WORKING
    attempt.retried = True
    attempt.failure = None
    attempt.wait_deadline_ms = None
    # How long the error screen was up is nobody's silence.
    attempt.spans = dict.fromkeys(attempt.spans, turn.now_ms + SPAN_LIMIT_MS)
    set_phase(turn, attempt.running_phase, RowState.IN_PROGRESS)
    open_budget(turn)
    advance(turn)


def _with_needs(turn: Turn, items: list[ItemRun]) -> list[ItemRun]:
    """Those that failed among these items and all that they need, of earlier phases too."""
    waiting, found = list(items), dict[str, ItemRun]()
    while waiting:
        item = waiting.pop()
        if item.is_unsatisfied and item.plan.id not in found:
            found[item.plan.id] = item
            waiting += [turn.attempt.items[n] for n in item.plan.needs]
    return list(found.values())


def _bypass(turn: Turn, cause: GateCause) -> None:
    set_gate(turn, Gate.BYPASSED, cause)
    end_attempt(turn, EndState.BYPASSED, turn.attempt.failure)


def _skip_account_setup(turn: Turn) -> None:
    attempt = turn.attempt
    set_phase(turn, Phase.ACCOUNT_SETUP, RowState.SKIPPED)
    for item in attempt.waited_for:
        if not item.is_settled and item.plan.phase is Phase.ACCOUNT_SETUP:
            cancel(turn, item)
            settle(turn, item, ItemState.SKIPPED)
    if attempt.gate is Gate.LOCKED:
        set_gate(turn, Gate.RELEASED, GateCause.ACCOUNT_SETUP_SKIPPED)
    end_attempt(turn, EndState.SUCCEEDED_ON_RETRY if attempt.retried else EndState.SUCCEEDED)


def _collect_logs(turn: Turn, command: str | None) -> None:
    turn.attempt.logs_wanted.append(command)
    turn.do(do.CollectLogs(command))


def execute(turn: Turn, command: Command) -> str | None:
    """Carry out a command; the answer is None, or why not."""
    action: CommandAction = command.action
    match action:
        case ExtendTimeout(context=context, minutes=minutes):
            return _extend(turn, context, minutes)
        case CollectLogs():
            # A help desk may look at logs at any time: the profile's permission is about the person's button.
            _collect_logs(turn, command.id)
            return None
        case RefreshAssignment():
            return _refresh(turn)
        case RetryItem(item=item):
            return choose(turn, Choice.TRY_ITEM_AGAIN, item, command.id)
        case RetryPhase() | ContinueAnyway() | ResetDevice() | SkipAccountSetup():
            return choose(turn, _CHOICE_OF_COMMAND[action.kind], None, command.id)


def _refresh(turn: Turn) -> str | None:
    if turn.attempt.mode is _ENDED:
        return OVER
    turn.do(do.AskForAssignment())
    return None


def _extend(turn: Turn, context: Context, minutes: int) -> str | None:
    attempt = turn.attempt
    if attempt.budget_deadline_ms is None or attempt.phase is None:
        return "no time budget is running"
    if attempt.phase.context is not context:
        return (
            f"the {attempt.phase.context.value} context is running, not the {context.value} context"
        )
    attempt.budget_deadline_ms += minutes * MINUTE_MS
    return None
