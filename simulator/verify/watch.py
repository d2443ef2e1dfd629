"""How a world is watched: the hooks that tell of everything that happens, and what a violation is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from agent.core.batch import Batch
from agent.core.effects import Effect, EndpointEffect
from agent.core.events import (
    Event,
)
from agent.wire.events import (
    AttemptStarted,
    Report,
)
from agent.wire.messages import Presence
from agent.wire.progress import Progress
from agent.wire.vocabulary import MessageKind, RefusalReason
from collector.intake import StreamRow
from simulator.ground_truth import GroundTruth
from simulator.verify.disk import Kept
from simulator.verify.plan import WorldPlan
from simulator.verify.store import Assigned, Store, Transaction

Finding = tuple[MessageKind, RefusalReason]
"""What a device has to report of a message that it refused."""


class Violation(Exception):
    """A property does not hold: which one, and one sentence."""

    def __init__(self, checker: str, sentence: str) -> None:
        super().__init__(f"{checker}: {sentence}")
        self.checker = checker
        self.sentence = sentence


class Checker:
    """Hears of everything that happens; a property overrides what it needs. Times are device running time (ms)."""

    name: ClassVar[str]

    def __init__(self, plan: WorldPlan) -> None:
        self.plan = plan

    def violated(self, sentence: str) -> Violation:
        """What to raise."""
        return Violation(self.name, sentence)

    def booted(self, device: str, kept: Kept, running_ms: int) -> None:
        """The device goes on from what its journal holds, at this running time."""

    def input(self, device: str, at_ms: int, event: Event) -> None:
        """The machine answered an input; nothing of it is durable yet."""

    def took(
        self, device: str, at_ms: int, event: Event, effects: Sequence[Effect], refusal: str | None
    ) -> None:
        """An input with what it caused is in the journal; nothing is done about it yet."""

    def committed(self, device: str, batch: Batch) -> None:
        """A batch is in the journal."""

    def acted(self, device: str, at_ms: int, effect: EndpointEffect, truth: GroundTruth) -> None:
        """The endpoint is about to carry out an effect."""

    def published(self, device: str, seq: int, report: Report) -> None:
        """A report leaves the device."""

    def status(self, device: str, progress: Progress) -> None:
        """A snapshot is about to leave the device."""

    def planted(self, topic: str, payload: bytes, finding: Finding | None) -> None:
        """The intruder wrote something; what its reader has to report of it, unless normal life may bring it too."""

    def heard(self, device: str, at_ms: int, topic: str, payload: bytes) -> None:
        """A message reached the agent."""

    def journal_restored(self, device: str) -> None:
        """The journal was replaced by an older copy."""

    def stored(self, collector: str, transaction: Transaction, store: Store) -> None:
        """A commit went through."""

    def store_restored(self, store: Store) -> None:
        """The store was replaced by a backup."""

    def acknowledged(self, row: StreamRow) -> None:
        """An acknowledgement leaves a collector."""

    def decided(
        self, device: str, started: AttemptStarted, assigned: Assigned, store: Store
    ) -> None:
        """An attempt was decided on."""

    def presence(self, presence: Presence, *, believed: bool) -> None:
        """The collector heard of a device's session."""

    def at_the_end(self, end: End) -> None:
        """Faults have stopped long ago and everything should be quiet."""


class ExcusesRestored(Checker):
    """A property that a device can't keep once its journal was an older copy: that tells of two lives."""

    def __init__(self, plan: WorldPlan) -> None:
        super().__init__(plan)
        self.restored: set[str] = set()

    def journal_restored(self, device: str) -> None:
        """Excused from here on."""
        self.restored.add(device)


@dataclass(frozen=True, slots=True)
class End:
    """What there is once everything should be quiet."""

    store: Store
    journals: dict[str, Kept]
    """By device; read back from the bytes."""
    statuses: dict[str, Progress]
    """The retained status of each device."""
    unfinished: dict[str, str]
    """Devices that are not through, and what they wait for."""

    def reports(self, device: str) -> list[Report]:
        """What is stored of a device, in its order."""
        stream = self.journals[device].stream
        return [e.report for e in self.store.holds.events.get((device, stream), ())]


class Watch(Checker):
    """Passes everything on to those who want it."""

    name = "watch"

    def __init__(self, plan: WorldPlan, checkers: Sequence[Checker]) -> None:
        super().__init__(plan)
        self.checkers = checkers
        for hook in _HOOKS:
            listening = [
                getattr(c, hook)
                for c in checkers
                if getattr(type(c), hook) is not getattr(Checker, hook)
            ]
            setattr(self, hook, _all_of(listening))


def _all_of(listening: Sequence[object]) -> object:
    if len(listening) == 1:
        return listening[0]

    def tell(*args: object, **kwargs: object) -> None:
        for listen in listening:
            listen(*args, **kwargs)  # type: ignore[operator]

    return tell


_HOOKS = tuple(
    name
    for name, value in vars(Checker).items()
    if callable(value) and not name.startswith("_") and name != "violated"
)
