"""Progress: the one frozen snapshot that screen, board, status topic and tests look at."""

from __future__ import annotations

from agent.wire.base import (
    Code,
    Count,
    CustomMessage,
    DeviceId,
    Identifier,
    Milliseconds,
    Name,
    Percent,
    Seconds,
    Text,
    Timestamp,
    UserName,
    Wire,
)
from agent.wire.vocabulary import (
    SATISFIED_STATES,
    UNSATISFIED_STATES,
    Choice,
    EndState,
    EnrollmentType,
    FailureKind,
    Gate,
    ItemKind,
    ItemState,
    PersonAction,
    Phase,
    RowState,
    Section,
    Stage,
    Variant,
)


class Failure(Wire):
    """What went wrong: a kind to count, a code to search for, a sentence for the person and one for the engineer."""

    kind: FailureKind
    code: Code
    """In the platform's own form, for example `0x87D1041C`."""
    person: Text
    engineer: Text
    item: Identifier | None = None


class ItemProgress(Wire):
    """One tracked thing inside a row. Times are attempt time, in milliseconds."""

    id: Identifier
    name: Name
    kind: ItemKind
    state: ItemState
    blocking: bool
    activity: Text
    """What it does now, as a short phrase for the person."""
    attempt: Count = 0
    """Which try this is; 0 before the first."""
    attempts_max: Count = 1
    percent: Percent | None = None
    deadline_ms: Milliseconds | None = None
    moved_ms: Milliseconds = 0
    failure: Failure | None = None
    note: Text | None = None
    """Why it is as it is, where nothing failed: why it was skipped, why it begins again."""
    waits_for: tuple[Name, ...] = ()
    """Names of the items that have to be done before this one starts."""


class RowProgress(Wire):
    """A row of the screen: a step group with its items."""

    id: Identifier
    title: Name
    state: RowState
    verb: Name
    """`applied`, `added`, `installed` or `completed`; a row reads "3 of 5 installed"."""
    done: Count
    total: Count | None = None
    """None while the list is still being identified."""
    items: tuple[ItemProgress, ...] = ()

    @property
    def text(self) -> str:
        """The row's count as the screen prints it."""
        if self.total is None:
            return "Identifying"
        if self.total == 0:
            return "No setup needed"
        return f"{self.done} of {self.total} {self.verb}"


class PhaseProgress(Wire):
    """One of the three phases with its rows."""

    phase: Phase
    state: RowState
    shown: bool
    """False when the profile does not show progress for this phase's context."""
    rows: tuple[RowProgress, ...] = ()


class PromptAction(Wire):
    """One button of a person screen."""

    action: PersonAction
    label: Name


class Prompt(Wire):
    """A person screen that waits: what it says and what may be pressed."""

    item: Identifier
    screen: Identifier
    title: Name
    text: Text
    note: Text | None = None
    """What happened that makes the screen come again."""
    actions: tuple[PromptAction, ...]
    section: Section | None = None
    action_name: Name | None = None
    deadline_ms: Milliseconds | None = None


class ErrorScreen(Wire):
    """The error screen: what happened, what was done about it, and what may be chosen."""

    title: Name
    message: CustomMessage
    failures: tuple[Failure, ...]
    """Empty when the profile hides error details from the person."""
    deadline_ms: Milliseconds | None = None


class CollectedLogs(Wire):
    """What became of the newest log archive of an attempt."""

    path: Text
    """Where it is on the device; empty when it could not be written."""
    problem: Text = ""
    """Why it could not be written; empty when it is there."""


class Remaining(Wire):
    """The remaining time as a range, in seconds."""

    low_s: Seconds
    high_s: Seconds


class Progress(Wire):
    """Everything about one attempt that anybody outside the machine may look at. Times are attempt time, in milliseconds."""

    device: DeviceId
    user: UserName | None = None
    enrollment_type: EnrollmentType
    variant: Variant | None = None
    """How this type of device comes in; None for the type's most common way."""
    platform: Name
    """The platform with its version, for example `Windows 11`."""
    attempt: Identifier
    attempt_number: Count
    attempt_ms: Milliseconds
    phase: Phase | None = None
    stage: Stage
    percent: Percent
    gate: Gate
    phases: tuple[PhaseProgress, ...] = ()
    remaining: Remaining | None = None
    """None when it is not known, for example while a person is waited for."""
    deadline_ms: Milliseconds | None = None
    """When the running context's budget ends."""
    organization: Name | None = None
    """None until an assignment says it."""
    profile_name: Name | None = None
    prompt: Prompt | None = None
    error: ErrorScreen | None = None
    choices: tuple[Choice, ...] = ()
    retryable: tuple[Identifier, ...] = ()
    """Items that may be tried again one by one."""
    end_state: EndState | None = None
    failure: Failure | None = None
    """The failure that ended the attempt or brought up the error screen."""
    custom_message: str | None = None
    show_details: bool = True
    """False: the person sees sentences but no codes; reports keep them."""
    logs: CollectedLogs | None = None
    """None until logs were collected in this attempt."""
    items_left_out: Count = 0
    """How many items this snapshot does not list because it would not fit into a message; rows still count them."""

    def items(self) -> tuple[ItemProgress, ...]:
        """All items, in the screen's order."""
        return tuple(i for p in self.phases for r in p.rows for i in r.items)


_MESSAGE_SHORT = 2_000
_FAILURES_SHORT = 5
_FIRST_TO_GO = {state: 1 for state in ItemState if state not in UNSATISFIED_STATES} | {
    ItemState.NOT_STARTED: 2,
    **dict.fromkeys(SATISFIED_STATES, 3),
}


def shortened(progress: Progress, items_max: int) -> Progress:
    """The same snapshot with at most so many items: what failed stays longest, what is done goes first."""
    ranked = sorted(progress.items(), key=lambda i: _FIRST_TO_GO.get(i.state, 0))
    kept = {item.id for item in ranked[:items_max]}
    phases = tuple(
        phase.model_copy(update={"rows": tuple(_shortened_row(r, kept) for r in phase.rows)})
        for phase in progress.phases
    )
    error = progress.error
    return progress.model_copy(
        update={
            "phases": phases,
            "items_left_out": progress.items_left_out + len(ranked) - len(kept),
            "retryable": tuple(i for i in progress.retryable if i in kept),
            "custom_message": (progress.custom_message or "")[:_MESSAGE_SHORT] or None,
            "error": error
            and error.model_copy(
                update={
                    "message": error.message[:_MESSAGE_SHORT],
                    "failures": error.failures[:_FAILURES_SHORT],
                }
            ),
        }
    )


def _shortened_row(row: RowProgress, kept: set[str]) -> RowProgress:
    return row.model_copy(update={"items": tuple(i for i in row.items if i.id in kept)})


class Reporting(Wire):
    """How the reports get through, for the screen: a snapshot of link and outbox."""

    connected: bool = False
    broker: Text = ""
    collector_online: bool | None = None
    """None when the collector has not been heard of."""
    unacknowledged: Count = 0
    not_through_since: Timestamp | None = None
    """Since when a report has been waiting without any acknowledgement arriving."""
    problem: Text = ""
    """One sentence when something needs attention, for example refused credentials."""
