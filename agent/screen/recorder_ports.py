"""What the flight recorder plays: recordings of devices, one moment for each input that a journal holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from agent.wire.progress import Progress
from agent.wire.vocabulary import EndState, Phase


@dataclass(frozen=True, slots=True)
class Mark:
    """What the time line knows of one input."""

    at_ms: int
    """Device running time."""
    wall_ms: int
    """The device's wall clock, milliseconds since 1970."""
    attempt: int
    """The number of the attempt, from 1."""
    begins: bool
    """Whether the attempt begins here."""
    phase: Phase | None
    """None before the first phase and after the end."""
    changes: bool
    """Whether something was reported besides the tick of a running item."""
    fails: bool
    """Whether something failed or ran out of time here."""
    ends: EndState | None
    """How the attempt ended, if it did so here."""


@dataclass(frozen=True, slots=True)
class Scene:
    """One input in plain words, and what was reported because of it."""

    said: str
    reported: tuple[str, ...]


class Tape(Protocol):
    """The recording of one device. A place counts its inputs from 0."""

    @property
    def device(self) -> str:
        """The device's id."""
        ...

    @property
    def marks(self) -> Sequence[Mark]:
        """One for each input that can be shown."""
        ...

    @property
    def notes(self) -> Sequence[str]:
        """What to know about the recording as a whole: what is missing, who wrote it; one sentence each."""
        ...

    def scene(self, place: int) -> Scene:
        """What happened at a place."""
        ...

    def progress(self, place: int, passed_ms: int) -> Progress:
        """What the device looked like so long after a place."""
        ...


class Shelf(Protocol):
    """The recordings of one file."""

    @property
    def devices(self) -> Sequence[str]:
        """All devices; at least one."""
        ...

    def tape(self, device: str) -> Tape:
        """Read one recording; may take seconds, so not for an event loop."""
        ...
