"""The inputs of the enrollment machine, in the past tense: all that can happen to an enrollment."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from agent.wire.assignment import Assignment
from agent.wire.codec import JsonCodec
from agent.wire.messages import Command
from agent.wire.vocabulary import (
    Architecture,
    Choice,
    EnrollmentType,
    FailureKind,
    ItemState,
    MessageKind,
    PersonAction,
    RefusalReason,
    Variant,
)

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """What a device is made of; None for what is not known."""

    architecture: Architecture | None = None
    disk_free_mb: int | None = None
    memory_mb: int | None = None
    processors: int | None = None
    """Logical ones."""
    processor_mhz: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceFacts:
    """What the device knows of itself when an attempt begins."""

    device: str
    enrollment_type: EnrollmentType
    platform: str
    """The platform with its version as people say it: `Windows 11`, `macOS 14`."""
    os_version: str
    """The full version that admission compares: `10.0.22631`, `14.5`."""
    agent_version: str
    variant: Variant = Variant.STANDARD
    user: str | None = None
    manufacturer: str | None = None
    model: str | None = None
    serial: str | None = None
    hardware: Hardware | None = None
    """What requirement rules look at; None where nobody measured it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long the machine waits where no profile says so."""

    assignment_wait_ms: int = 60 * MINUTE_MS
    nobody_comes_back_ms: int = 24 * HOUR_MS
    """The error screen and the sign-in screen end the attempt after this."""


class StepResult(StrEnum):
    """What the endpoint says of a step that has ended; what follows from it is the machine's to decide."""

    COMPLETED = "completed"
    ALREADY_PRESENT = "already_present"
    NOT_APPLICABLE = "not_applicable"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptBegan:
    """A new attempt: the first one, one after a reset, or a person who came back."""

    kind: Literal["attempt_began"] = "attempt_began"
    attempt: str
    facts: DeviceFacts
    limits: Limits = Limits()


@dataclass(frozen=True, slots=True, kw_only=True)
class AssignmentArrived:
    """A verified assignment for this device."""

    kind: Literal["assignment_arrived"] = "assignment_arrived"
    assignment: Assignment


@dataclass(frozen=True, slots=True, kw_only=True)
class StepMoved:
    """A running step says what it does now. `run` is the number that `RunStep` gave it."""

    kind: Literal["step_moved"] = "step_moved"
    item: str
    run: int
    state: ItemState
    """One of downloading, installing, verifying."""
    percent: int | None = None
    """How much of the item's whole work is done, if the endpoint can tell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFinished:
    """A step ended.

    For an installer `exit_code` and `detected` are its raw results: detection decides over the exit code.
    For a step that failed, `failure`, `code` and `detail` say how.
    """

    kind: Literal["step_finished"] = "step_finished"
    item: str
    run: int
    result: StepResult
    exit_code: int | None = None
    detected: bool | None = None
    failure: FailureKind | None = None
    code: str | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonActed:
    """A person answered the person screen of `item`."""

    kind: Literal["person_acted"] = "person_acted"
    item: str
    action: PersonAction


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonChose:
    """A person chose something that the screen offered."""

    kind: Literal["person_chose"] = "person_chose"
    choice: Choice
    item: str | None = None
    """The item of `try_item_again`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandReceived:
    """A verified command for this device; `expired` by the wall clock of whoever received it."""

    kind: Literal["command_received"] = "command_received"
    command: Command
    expired: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LogsCollected:
    """The log archive asked for by `CollectLogs` was written, or could not be."""

    kind: Literal["logs_collected"] = "logs_collected"
    path: str
    """Empty when there is none."""
    command: str | None = None
    problem: str = ""
    """Why there is none; empty when there is one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageRefused:
    """A message on one of the device's own topics was refused, for a reason that normal life does not have."""

    kind: Literal["message_refused"] = "message_refused"
    message: MessageKind
    reason: RefusalReason


@dataclass(frozen=True, slots=True, kw_only=True)
class Restarted:
    """The agent runs again: after a planned reboot, or after a crash or power cut."""

    kind: Literal["restarted"] = "restarted"
    planned: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadlinePassed:
    """The time that `next_deadline_ms` named has come."""

    kind: Literal["deadline_passed"] = "deadline_passed"


@dataclass(frozen=True, slots=True, kw_only=True)
class EmergencyExitUsed:
    """The documented emergency exit was used; it is off unless the agent was started with it."""

    kind: Literal["emergency_exit_used"] = "emergency_exit_used"


Event = (
    AttemptBegan
    | AssignmentArrived
    | StepMoved
    | StepFinished
    | PersonActed
    | PersonChose
    | CommandReceived
    | LogsCollected
    | MessageRefused
    | Restarted
    | DeadlinePassed
    | EmergencyExitUsed
)

EVENT_CODEC: JsonCodec[Event] = JsonCodec(Event)
"""How a journal keeps an input. `kind` tells the members apart."""
