"""What a journal is given to keep: the same for the disk of a device and for the one of a simulated world."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agent.core.events import Event
from agent.core.outbox import Durable


@dataclass(frozen=True, slots=True)
class Entry:
    """One input of the enrollment machine, as the journal keeps it."""

    n: int
    """Counts the inputs of one device from 1."""
    at_ms: int
    """Device running time."""
    wall_ms: int
    machine_version: str
    event: Event
    digest: str | None = None
    """The fingerprint of what the version that wrote this told right after it; None for most inputs."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """All that the machine remembered right after one input, as `Enrollment.checkpoint` gave it."""

    n: int
    """The input."""
    content: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What one transaction makes durable for one device; all of it or nothing."""

    entry: Entry | None = None
    checkpoint: Checkpoint | None = None
    """What a journal keeps of this kind: this one and the one before it."""
    outbox: Sequence[Durable] = ()
    executed: Sequence[str] = ()
    """Ids of commands that this input executed."""
    session: int | None = None
    lazy: bool = False
    """True when a power cut may take it: order is kept, only the wait for the disk is spared."""
