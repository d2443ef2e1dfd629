"""The frozen Progress of an attempt: the only view that anybody outside the machine gets."""

from __future__ import annotations

from operator import attrgetter, is_
from typing import Final

from agent.core.estimate import remaining
from agent.core.permissions import offered, retryable
from agent.core.plan import PhasePlan, Plan, RowPlan
from agent.core.state import Attempt, ItemRun, Mode
from agent.wire.progress import (
    ErrorScreen,
    ItemProgress,
    PhaseProgress,
    Progress,
    Prompt,
    PromptAction,
    RowProgress,
)
from agent.wire.vocabulary import (
    WORKING_STATES,
    Choice,
    FailureKind,
    ItemKind,
    ItemState,
    PersonAction,
    Phase,
    RowState,
    Stage,
    Variant,
)

STANDARD_MESSAGE: Final = (
    "Setup could not be completed. Please try again or contact your support person for help."
)
"""What the page says when the profile has no message of its own."""

_STAGE_OF_KIND: Final = {
    ItemKind.POLICY: Stage.APPLYING_POLICIES,
    ItemKind.CERTIFICATE: Stage.INSTALLING_CERTIFICATES,
    ItemKind.NETWORK: Stage.CONNECTING_NETWORKS,
    ItemKind.APP: Stage.INSTALLING_APPS,
    ItemKind.SCREEN: Stage.WAITING_FOR_PERSON,
}

_STAGE_OF_PHASE: Final = {
    Phase.DEVICE_PREPARATION: Stage.PREPARING,
    Phase.DEVICE_SETUP: Stage.DEVICE_SETUP,
    Phase.ACCOUNT_SETUP: Stage.ACCOUNT_SETUP,
}

_STAGE_OF_MODE: Final = {
    Mode.WAITING_FOR_ASSIGNMENT: Stage.WAITING_FOR_ASSIGNMENT,
    Mode.RESTARTING: Stage.RESTARTING,
    Mode.STOPPED: Stage.NEEDS_ATTENTION,
    Mode.ENDED: Stage.FINISHED,
}

_AT_WORK: Final = WORKING_STATES | {ItemState.WAITING_FOR_PERSON}
"""States of the item that the stage is about."""

# Names of the module for the members that are asked about most: Python 3.11 finds them ten times as fast.
_WORKING: Final = Mode.WORKING

_ACTIVITY: Final = {
    ItemState.NOT_STARTED: "Waiting",
    ItemState.WAITING_FOR_PERSON: "Waiting for an answer",
    ItemState.WAITING_TO_RETRY: "Trying again soon",
    ItemState.DOWNLOADING: "Downloading",
    ItemState.INSTALLING: "Installing",
    ItemState.VERIFYING: "Checking",
    ItemState.REBOOT_REQUIRED: "Restart needed",
    ItemState.DONE: "Done",
    ItemState.ALREADY_PRESENT: "Already there",
    ItemState.SKIPPED: "Left out",
    ItemState.FAILED: "Failed",
    ItemState.NOT_DETECTED: "Not found after installing",
    ItemState.TIMED_OUT: "Took too long",
    ItemState.CANCELLED: "Cancelled",
}

_APPLYING: Final = {
    ItemKind.POLICY: "Applying",
    ItemKind.CERTIFICATE: "Applying",
    ItemKind.NETWORK: "Adding",
    ItemKind.STEP: "Working",
}


def stage_of(attempt: Attempt) -> Stage:
    """What the active-enrollments table shows."""
    if attempt.mode is not _WORKING:
        return _STAGE_OF_MODE[attempt.mode]
    assert attempt.phase is not None, "a working attempt is in a phase"
    for item in attempt.under_way:
        if item.state in _AT_WORK:
            return _STAGE_OF_KIND.get(item.plan.kind) or _STAGE_OF_PHASE[attempt.phase]
    return _STAGE_OF_PHASE[attempt.phase]


class Shown:
    """The parts of the last snapshot, for those that are the same in the next one: most are."""

    __slots__ = ("items", "phases", "rows")

    def __init__(self) -> None:
        self.items: dict[str, tuple[tuple[object, ...], ItemProgress]] = {}
        self.rows: dict[tuple[Phase, str], tuple[tuple[object, ...], RowProgress]] = {}
        self.phases: dict[Phase, PhaseProgress] = {}


_told_of = attrgetter(
    "plan", "state", "attempt", "percent", "deadline_ms", "moved_ms", "failure", "note"
)
"""What is told of an item follows from these, from when the attempt began, and from what the item waits for."""

_ITEM_FIELDS: Final = set(ItemProgress.model_fields)
"""One for all: which fields were given is nobody's question, and half of what an item's progress takes in memory."""


def progress_of(attempt: Attempt, now_ms: int, shown: Shown | None = None) -> Progress:
    """The whole snapshot; parts that `shown` has and that are as they were are taken from there."""
    plan = attempt.plan
    shown = Shown() if shown is None else shown
    choices = offered(attempt)
    return Progress(
        device=attempt.facts.device,
        user=plan.user if plan else attempt.facts.user,
        enrollment_type=attempt.facts.enrollment_type,
        variant=None if attempt.facts.variant is Variant.STANDARD else attempt.facts.variant,
        platform=attempt.facts.platform,
        attempt=attempt.id,
        attempt_number=attempt.number,
        attempt_ms=now_ms - attempt.began_ms,
        phase=attempt.phase,
        stage=stage_of(attempt),
        percent=attempt.percent,
        gate=attempt.gate,
        phases=tuple(_phase(attempt, plan, p, shown) for p in plan.phases) if plan else (),
        remaining=remaining(attempt, now_ms),
        deadline_ms=_since_begin(attempt, attempt.budget_deadline_ms),
        profile_name=plan.profile.name if plan else None,
        prompt=_prompt(attempt),
        error=_error(attempt),
        choices=choices,
        retryable=retryable(attempt) if Choice.TRY_ITEM_AGAIN in choices else (),
        end_state=attempt.end_state,
        failure=attempt.failure,
        logs=attempt.logs,
        organization=plan.organization if plan else None,
        custom_message=plan.profile.custom_message if plan else None,
        show_details=plan.profile.error_handling.show_details if plan else True,
    )


def _since_begin(attempt: Attempt, at_ms: int | None) -> int | None:
    return None if at_ms is None else max(0, at_ms - attempt.began_ms)


def _phase(attempt: Attempt, plan: Plan, phase: PhasePlan, shown: Shown) -> PhaseProgress:
    state = attempt.phase_states[phase.phase]
    rows = [_row(attempt, plan, phase.phase, row, shown) for row in phase.rows]
    last = shown.phases.get(phase.phase)
    if (
        last is not None
        and last.state is state
        and last.shown is phase.shown
        and len(last.rows) == len(rows)
        and all(map(is_, last.rows, rows))
    ):
        return last
    fresh = PhaseProgress(phase=phase.phase, state=state, shown=phase.shown, rows=tuple(rows))
    shown.phases[phase.phase] = fresh
    return fresh


def _row(attempt: Attempt, plan: Plan, phase: Phase, row: RowPlan, shown: Shown) -> RowProgress:
    items = [attempt.items[i] for i in row.items]
    # All that a row says follows from these, and most of them are the very same objects as the last time.
    told = (
        row,
        attempt.began_ms,
        attempt.phase_states[phase],
        [*map(_told_of, items)],
        [_waits_for(attempt, plan, i) for i in items if i.plan.needs],
    )
    last = shown.rows.get((phase, row.id))
    if last is not None and last[0] == told:
        return last[1]
    tracked = [i for i in items if i.plan.tracked]
    fresh = RowProgress(
        id=row.id,
        title=row.title,
        state=_row_state(attempt, phase, tracked),
        verb=row.verb,
        done=sum(i.is_satisfied for i in tracked),
        total=len(tracked),
        items=tuple([_item(attempt, plan, i, shown) for i in items]),
    )
    shown.rows[phase, row.id] = (told, fresh)
    return fresh


def _row_state(attempt: Attempt, phase: Phase, items: list[ItemRun]) -> RowState:
    if any(i.is_unsatisfied for i in items):
        return RowState.FAILED
    if all(i.is_satisfied for i in items):
        started = attempt.phase_states[phase] is not RowState.NOT_STARTED
        return RowState.SUCCEEDED if items or started else RowState.NOT_STARTED
    if attempt.phase_states[phase] is RowState.SKIPPED:
        return RowState.SKIPPED
    if all(i.state is ItemState.NOT_STARTED for i in items):
        return RowState.NOT_STARTED
    return RowState.IN_PROGRESS


def _item(attempt: Attempt, plan: Plan, item: ItemRun, shown: Shown) -> ItemProgress:
    waits_for = _waits_for(attempt, plan, item) if item.plan.needs else ()
    told = (attempt.began_ms, waits_for, *_told_of(item))
    last = shown.items.get(item.plan.id)
    if last is not None and last[0] == told:
        return last[1]
    fresh = ItemProgress(
        id=item.plan.id,
        name=item.plan.name,
        kind=item.plan.kind,
        state=item.state,
        blocking=item.plan.blocking,
        activity=_activity(item),
        attempt=item.attempt,
        attempts_max=item.plan.tries,
        percent=item.percent,
        deadline_ms=_since_begin(attempt, item.deadline_ms),
        moved_ms=max(0, item.moved_ms - attempt.began_ms),
        failure=item.failure,
        note=item.note,
        waits_for=waits_for,
    )
    object.__setattr__(fresh, "__pydantic_fields_set__", _ITEM_FIELDS)
    shown.items[item.plan.id] = (told, fresh)
    return fresh


def _activity(item: ItemRun) -> str:
    if item.state is ItemState.NOT_STARTED and not item.plan.tracked:
        return "Installs after setup"
    if item.state is ItemState.INSTALLING:
        return _APPLYING.get(item.plan.kind, "Installing")
    if item.failure is not None and item.failure.kind is FailureKind.DEPENDENCY_FAILED:
        return "Not attempted"
    return _ACTIVITY[item.state]


def _waits_for(attempt: Attempt, plan: Plan, item: ItemRun) -> tuple[str, ...]:
    if item.state is not ItemState.NOT_STARTED:
        return ()
    return tuple(plan.items[n].name for n in item.plan.needs if not attempt.items[n].is_satisfied)


def _prompt(attempt: Attempt) -> Prompt | None:
    item = attempt.waiting_screen()
    if item is None or attempt.mode is not _WORKING or item.plan.screen is None:
        return None
    screen = item.plan.screen
    deadlines = list(attempt.spans.values())
    if item.deadline_ms is not None:
        deadlines.append(item.deadline_ms)
    return Prompt(
        item=item.plan.id,
        screen=screen.id,
        title=screen.title,
        text=screen.text,
        note=item.note,
        actions=(
            PromptAction(action=PersonAction.PROCEED, label=screen.proceed),
            *(PromptAction(action=a, label=_HALT_LABELS.get(a, a.label)) for a in screen.halts),
        ),
        section=screen.section,
        action_name=screen.action_name,
        deadline_ms=_since_begin(attempt, min(deadlines, default=None)),
    )


_HALT_LABELS: Final = {PersonAction.CLOSE: "Close"}


def _error(attempt: Attempt) -> ErrorScreen | None:
    if attempt.mode is not Mode.STOPPED or attempt.plan is None or attempt.failure is None:
        return None
    profile = attempt.plan.profile
    shown = profile.error_handling.show_details
    failures = tuple(i.failure for i in attempt.waited_for if i.is_unsatisfied and i.failure)
    return ErrorScreen(
        title="Something needs your attention",
        message=profile.custom_message or STANDARD_MESSAGE,
        failures=(failures or (attempt.failure,)) if shown else (),
        deadline_ms=_since_begin(attempt, attempt.wait_deadline_ms),
    )
