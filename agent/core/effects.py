"""The outputs of the enrollment machine, in the imperative: what the driver has to carry out, in this order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from agent.wire.events import Body
from agent.wire.vocabulary import (
    Choice,
    Context,
    Gate,
    GateCause,
    ItemKind,
    PersonAction,
    RebootKind,
    Stage,
)


@dataclass(frozen=True, slots=True)
class RunStep:
    """Carry out one step and answer with `StepMoved` and one `StepFinished` that carry the same `run`."""

    item: str
    name: str
    kind: ItemKind
    context: Context
    run: int
    """Grows with every run of any step in the attempt; an answer with an older one is ignored."""
    attempt: int
    """Which try of this item it is, from 1."""
    detect_first: bool
    """True for every app, and for whatever ran before: what is already there is detected, not installed again."""
    size_bytes: int = 0
    replaces: tuple[str, ...] = ()
    """Older apps that are removed first."""


@dataclass(frozen=True, slots=True)
class CancelStep:
    """Stop a running step; nothing it says afterwards counts."""

    item: str
    run: int


class Report(NamedTuple):
    """Report one fact. The driver adds the wall clock and hands it to the outbox.

    By far the most frequent effect, and a tuple is made in less than half the time that a frozen dataclass takes.
    """

    attempt: str
    attempt_ms: int
    stage: Stage
    percent: int
    body: Body


@dataclass(frozen=True, slots=True)
class SetGate:
    """Put the gate into this state; asserted again after every restart."""

    gate: Gate
    cause: GateCause


@dataclass(frozen=True, slots=True)
class AskPerson:
    """A person screen is up. A screen draws it from Progress; a simulated person acts on this."""

    item: str
    screen: str
    actions: tuple[PersonAction, ...]


@dataclass(frozen=True, slots=True)
class OfferChoices:
    """Something may be chosen (the error screen, or an offer to leave early). A simulated person acts on this."""

    choices: tuple[Choice, ...]
    items: tuple[str, ...]
    """Items that may be tried again one by one."""
    error: bool
    """True for the error screen, False for an offer while setup goes on."""


@dataclass(frozen=True, slots=True)
class Reboot:
    """Restart the device; the state is stored already. Answer with `Restarted(planned=True)`."""

    kind: RebootKind
    items: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ResetDevice:
    """Wipe what the enrollment put on the device, then begin a new attempt with `AttemptBegan`."""


@dataclass(frozen=True, slots=True)
class CollectLogs:
    """Write a log archive and answer with `LogsCollected`."""

    command: str | None = None


@dataclass(frozen=True, slots=True)
class AskForAssignment:
    """Ask the collector for the newest assignment; the answer comes as `AssignmentArrived`."""


Effect = (
    RunStep
    | CancelStep
    | Report
    | SetGate
    | AskPerson
    | OfferChoices
    | Reboot
    | ResetDevice
    | CollectLogs
    | AskForAssignment
)

EndpointEffect = RunStep | CancelStep | SetGate | AskPerson | OfferChoices | Reboot | ResetDevice
"""What the endpoint carries out; the driver itself deals with `Report`, `CollectLogs` and `AskForAssignment`."""
