"""The reports: one numbered fact each, in an envelope that lets the collector order and check them."""

from __future__ import annotations

import json
from functools import cached_property
from typing import Annotated, Final, Literal

from pydantic import Field

from agent.wire.base import (
    Count,
    DeviceId,
    Digest,
    Identifier,
    Message,
    Milliseconds,
    Name,
    Percent,
    Seq,
    Text,
    Timestamp,
    UserName,
    Wire,
)
from agent.wire.progress import Failure
from agent.wire.vocabulary import (
    Choice,
    EndState,
    EnrollmentType,
    Gate,
    GateCause,
    ItemKind,
    ItemState,
    MessageKind,
    Phase,
    RebootKind,
    RefusalReason,
    RowState,
    Section,
    Stage,
    Variant,
)

_CANONICAL: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"))


class Fact(Wire):
    """What a report tells. It is written once, however many devices of a simulation tell it."""

    @cached_property
    def text(self) -> str:
        """As JSON, without what is None."""
        return self.model_dump_json(exclude_none=True)

    @cached_property
    def canonical(self) -> str:
        """As compact JSON with sorted keys, in ASCII, with what is None."""
        return _CANONICAL.encode(self.model_dump(mode="json"))


class AttemptStarted(Fact):
    """An attempt began; admission decides from these facts."""

    kind: Literal["attempt_started"] = "attempt_started"
    enrollment_type: EnrollmentType
    variant: Variant = Variant.STANDARD
    platform: Name
    os_version: Name
    user: UserName | None = None
    model: Name | None = None
    serial: Name | None = None
    number: Count = 1
    """Which attempt of this stream, from 1."""
    agent_version: Name


class AssignmentApplied(Fact):
    """The assignment was taken over and the plan is made."""

    kind: Literal["assignment_applied"] = "assignment_applied"
    store: Identifier
    version: Count
    profile: Identifier
    profile_name: Name
    items: Count
    blocking: Count


class PhaseChanged(Fact):
    """A phase moved to another state."""

    kind: Literal["phase_changed"] = "phase_changed"
    phase: Phase
    state: RowState


class ItemChanged(Fact):
    """An item moved to another state."""

    kind: Literal["item_changed"] = "item_changed"
    item: Identifier
    name: Name
    item_kind: ItemKind
    phase: Phase
    row: Identifier
    blocking: bool
    state: ItemState
    attempt: Count
    attempts_max: Count
    failure: Failure | None = None
    note: Text | None = None
    """Why it is as it is, where nothing failed."""


class ItemAdvanced(Fact):
    """A tick of a running item: the only report that a newer one may replace before it is numbered."""

    kind: Literal["item_advanced"] = "item_advanced"
    item: Identifier
    item_percent: Percent


class PersonAnswered(Fact):
    """A person answered a person screen."""

    kind: Literal["person_answered"] = "person_answered"
    screen: Identifier
    action: Name
    section: Section | None = None
    action_name: Name | None = None
    waited_ms: Milliseconds


class ErrorScreenShown(Fact):
    """The error screen came up."""

    kind: Literal["error_screen_shown"] = "error_screen_shown"
    phase: Phase
    failure: Failure
    failed_items: tuple[Identifier, ...]
    choices: tuple[Choice, ...]


class ChoiceMade(Fact):
    """A choice was made, by the person or by a command."""

    kind: Literal["choice_made"] = "choice_made"
    choice: Choice
    item: Identifier | None = None
    command: Identifier | None = None
    """The command that made it; None for the person at the device."""


class GateChanged(Fact):
    """The gate changed."""

    kind: Literal["gate_changed"] = "gate_changed"
    gate: Gate
    cause: GateCause


class RebootPlanned(Fact):
    """The device is about to restart on purpose."""

    kind: Literal["reboot_planned"] = "reboot_planned"
    reboot: RebootKind
    items: tuple[Identifier, ...]


class AgentRestarted(Fact):
    """The agent runs again after a restart of the device or of itself."""

    kind: Literal["agent_restarted"] = "agent_restarted"
    planned: bool


class CommandAnswered(Fact):
    """A command was executed or refused; each command is answered once."""

    kind: Literal["command_answered"] = "command_answered"
    command: Identifier
    action: Name
    executed: bool
    reason: Text = ""
    """Why it was refused; empty when it was executed."""


class LogsCollected(Fact):
    """A log archive was written on the device, or could not be."""

    kind: Literal["logs_collected"] = "logs_collected"
    path: Text
    """Where it is on the device; empty when there is none."""
    command: Identifier | None = None
    problem: Text = ""
    """Why there is none; empty when there is one."""


class MessageRefused(Fact):
    """The device refused a message on one of its own topics; told once for each message and reason of an attempt."""

    kind: Literal["message_refused"] = "message_refused"
    message: MessageKind
    reason: RefusalReason


class AttemptEnded(Fact):
    """The attempt ended; the only report of an attempt that carries its end state."""

    kind: Literal["attempt_ended"] = "attempt_ended"
    end_state: EndState
    phase: Phase | None = None
    failure: Failure | None = None
    account_setup: RowState = RowState.NOT_STARTED
    section: Section | None = None
    action_name: Name | None = None
    user_action: Name | None = None
    """For an abandonment: what the person did, as the incomplete-enrollments report prints it."""


Body = Annotated[
    AttemptStarted
    | AssignmentApplied
    | PhaseChanged
    | ItemChanged
    | ItemAdvanced
    | PersonAnswered
    | ErrorScreenShown
    | ChoiceMade
    | GateChanged
    | RebootPlanned
    | AgentRestarted
    | CommandAnswered
    | LogsCollected
    | MessageRefused
    | AttemptEnded,
    Field(discriminator="kind"),
]


class Report(Wire):
    """What the outbox keeps: the part of an event that never changes once it happened."""

    attempt: Identifier
    attempt_ms: Milliseconds
    device_time: Timestamp
    """The device's own wall clock, for people; nothing is ordered by it."""
    stage: Stage
    percent: Percent
    """Stage and overall progress right after this fact: what the active-enrollments table shows."""
    body: Body


class Event(Message):
    """The `event` channel: one report of one stream."""

    schema_: Literal["esp.event/1"] = Field("esp.event/1", alias="schema")
    device: DeviceId
    stream: Identifier
    seq: Seq
    oldest_held: Seq
    """The lowest number that the device still holds; everything below it can't be sent again."""
    after: Digest | None = None
    """The digest of the report before it in the stream; none for number 1, and where the device does not know it."""
    session: Count
    report: Report
