"""The frozen Progress of an attempt: the only view that anybody outside the machine gets."""

from __future__ import annotations

from collections.abc import Sequence
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
    SATISFIED_STATES,
    UNSATISFIED_STATES,
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
_STOPPED: Final = Mode.STOPPED
_NOT_STARTED: Final = ItemState.NOT_STARTED
_INSTALLING: Final = ItemState.INSTALLING
_STANDARD: Final = Variant.STANDARD

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


def progress_of(attempt: Attempt, now_ms: int) -> Progress:
    """The whole snapshot."""
    plan = attempt.plan
    return head_of(
        attempt, now_ms, tuple(_phase(attempt, plan, p) for p in plan.phases) if plan else ()
    )


def head_of(attempt: Attempt, now_ms: int, phases: tuple[PhaseProgress, ...] = ()) -> Progress:
    """What a snapshot says besides its phases, with the phases given."""
    plan, facts = attempt.plan, attempt.facts
    profile = plan.profile if plan else None
    choices = offered(attempt)
    return Progress(
        device=facts.device,
        user=plan.user if plan else facts.user,
        enrollment_type=facts.enrollment_type,
        variant=None if facts.variant is _STANDARD else facts.variant,
        platform=facts.platform,
        attempt=attempt.id,
        attempt_number=attempt.number,
        attempt_ms=now_ms - attempt.began_ms,
        phase=attempt.phase,
        stage=stage_of(attempt),
        percent=attempt.percent,
        gate=attempt.gate,
        phases=phases,
        remaining=remaining(attempt, now_ms),
        deadline_ms=_since_begin(attempt, attempt.budget_deadline_ms),
        profile_name=profile.name if profile else None,
        prompt=_prompt(attempt),
        error=_error(attempt),
        choices=choices,
        retryable=retryable(attempt) if choices and Choice.TRY_ITEM_AGAIN in choices else (),
        end_state=attempt.end_state,
        failure=attempt.failure,
        logs=attempt.logs,
        organization=plan.organization if plan else None,
        custom_message=profile.custom_message if profile else None,
        show_details=profile.error_handling.show_details if profile else True,
    )


def _since_begin(attempt: Attempt, at_ms: int | None) -> int | None:
    return None if at_ms is None else max(0, at_ms - attempt.began_ms)


def _phase(attempt: Attempt, plan: Plan, phase: PhasePlan) -> PhaseProgress:
    rows = []
    for row in phase.rows:
        items = [attempt.items[name] for name in row.items]
        told = tuple([item_of(attempt, plan, item) for item in items])
        rows.append(row_of(attempt, phase.phase, row, items, told))
    return PhaseProgress(
        phase=phase.phase,
        state=attempt.phase_states[phase.phase],
        shown=phase.shown,
        rows=tuple(rows),
    )


def row_of(
    attempt: Attempt,
    phase: Phase,
    row: RowPlan,
    items: Sequence[ItemRun],
    told: tuple[ItemProgress, ...] = (),
) -> RowProgress:
    """A row, which counts these items and says of them what is told."""
    tracked = [item.state for item in items if item.plan.tracked]
    return RowProgress(
        id=row.id,
        title=row.title,
        state=_row_state(attempt.phase_states[phase], tracked),
        verb=row.verb,
        done=len([state for state in tracked if state in SATISFIED_STATES]),
        total=len(tracked),
        items=told,
    )


def _row_state(phase: RowState, items: Sequence[ItemState]) -> RowState:
    if not UNSATISFIED_STATES.isdisjoint(items):
        return RowState.FAILED
    if SATISFIED_STATES.issuperset(items):
        started = phase is not RowState.NOT_STARTED
        return RowState.SUCCEEDED if items or started else RowState.NOT_STARTED
    if phase is RowState.SKIPPED:
        return RowState.SKIPPED
    if all(state is _NOT_STARTED for state in items):
        return RowState.NOT_STARTED
    return RowState.IN_PROGRESS


def item_of(attempt: Attempt, plan: Plan, item: ItemRun) -> ItemProgress:
    """One item. All that is told of it follows from its own fields, and from `waits_for`."""
    return ItemProgress(
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
        waits_for=waits_for(attempt, plan, item) if item.plan.needs else (),
    )


def _activity(item: ItemRun) -> str:
    if item.state is _NOT_STARTED and not item.plan.tracked:
        return "Installs after setup"
    if item.state is _INSTALLING:
        return _APPLYING.get(item.plan.kind, "Installing")
    if item.failure is not None and item.failure.kind is FailureKind.DEPENDENCY_FAILED:
        return "Not attempted"
    return _ACTIVITY[item.state]


def waits_for(attempt: Attempt, plan: Plan, item: ItemRun) -> tuple[str, ...]:
    """The names of the items that have to be done before it starts."""
    if item.state is not _NOT_STARTED:
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
    if attempt.mode is not _STOPPED or attempt.plan is None or attempt.failure is None:
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
