"""What the driver needs of the world: an endpoint, a journal, a transport, a clock, a verifier and a log archive."""

from __future__ import annotations

from asyncio import Future
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from agent.core.batch import Batch, Checkpoint, Entry
from agent.core.effects import EndpointEffect
from agent.core.events import DeviceFacts, Event
from agent.core.outbox import OutboxState
from agent.wire.events import Report
from agent.wire.progress import Progress, Reporting

Post = Callable[[Event, int | None], None]
"""Hands an event to the driver, with the device time (ms) it is scheduled for; None means now."""


class Endpoint(Protocol):
    """What carries out a step on this machine: real installs, or simulated ones."""

    def facts(self) -> DeviceFacts:
        """What the device knows of itself."""
        ...

    def attach(self, post: Post) -> None:
        """Where to send events; called once before the first `act`."""
        ...

    def act(self, effect: EndpointEffect, at_ms: int) -> None:
        """Begin to carry out one effect; never blocks. `at_ms` is the device time of the input that caused it."""
        ...


class Clock(Protocol):
    """Device running time in milliseconds, and the wall clock.

    Running time goes on through planned reboots (clamped to 10 minutes each), never through unplanned off time, and
    no wall-clock jump moves it.
    """

    def now_ms(self) -> int:
        """Device running time."""
        ...

    def wall_ms(self) -> int:
        """The wall clock, milliseconds since 1970."""
        ...

    def restore(self, base_ms: int, off_ms: int = 0) -> None:
        """Go on from this running time; called once, before anything else reads the clock.

        `off_ms` is how long a planned reboot took, in real time; it counts as running time up to 10 minutes.
        """
        ...

    def seconds_until(self, at_ms: int) -> float:
        """How many real seconds to wait until the running time is `at_ms`; 0 when it has passed."""
        ...


@dataclass(frozen=True, slots=True)
class Incoming:
    """One MQTT message as it arrived."""

    topic: str
    payload: bytes
    retained: bool


class Connection(Protocol):
    """An open MQTT session."""

    async def subscribe(self, filters: Sequence[str]) -> None:
        """Subscribe at QoS 1. Raises `TransportRefused` when the broker refuses one."""
        ...

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> Future[None]:
        """Publish at QoS 1; done when the broker has it, which frees nothing.

        Fails with `TransportLost` or `TransportRefused`.
        """
        ...

    def messages(self) -> AsyncIterator[Incoming]:
        """What arrives, until the connection ends. Raises `TransportLost` when it breaks."""
        ...


@dataclass(frozen=True, slots=True)
class Will:
    """What the broker publishes, retained, when the connection dies."""

    topic: str
    payload: bytes


class Transport(Protocol):
    """Opens MQTT sessions; always clean, never relying on what a broker remembers but retained messages."""

    def connect(self, client_id: str, will: Will | None) -> AbstractAsyncContextManager[Connection]:
        """Raises `TransportRefused` for credentials or rights, `TransportLost` for everything else."""
        ...


class TransportLost(Exception):
    """The connection failed or broke; trying again may help."""


class TransportRefused(Exception):
    """The broker refuses this identity or topic; trying again soon does not help."""


class Verifier(Protocol):
    """Checks signatures with the key that came with the device's identity."""

    def verify(self, compact: str, typ: str) -> bytes:
        """The payload of a compact JWS whose header says `typ`. Raises `agent.core.reading.SignatureRefused`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalState:
    """All that a journal holds of one device: enough to fold the machine and restore the outbox."""

    device: str
    stream: str
    session: int
    """The last session number that was made durable; 0 before the first connection."""
    entries: Sequence[Entry]
    outbox: OutboxState
    executed: frozenset[str]
    checkpoints: Sequence[Checkpoint] = ()
    """The newest ones; they make up for inputs before them that this version can't read and that are left out."""
    name: str = "the journal"
    """How to name it to a person."""


class Journal(Protocol):
    """Keeps what must survive a power cut; one journal may hold many devices."""

    async def load(self, device: str, new_stream: str) -> JournalState:
        """What is kept of a device; one not seen before begins with the stream id given.

        Raises:
            JournalUnreadable: it can't be used.
            JournalFailed: one not seen before can't be written now.
        """
        ...

    async def commit(self, device: str, batch: Batch) -> None:
        """Returns once the batch is durable. Raises `JournalFailed`; nothing of the batch is kept then.

        A lazy batch without an input is written behind those before it, and nobody waits; what it says comes again.
        """
        ...

    async def fetch(self, device: str, first: int, last: int) -> Sequence[tuple[int, Report]]:
        """The numbered reports from `first` to `last`, by number. Raises `JournalFailed`."""
        ...


class JournalCopies(Protocol):
    """What a log archive needs of a journal."""

    async def copy_device(self, device: str, path: str) -> None:
        """Copy all that is kept of one device, as it is at one moment, into a new journal file at `path`.

        Raises `JournalFailed`; an unfinished file may be left then.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceReport:
    """What the agent knows of itself at the moment for which a log archive is written; nothing here is secret."""

    facts: DeviceFacts
    progress: Progress
    reporting: Reporting
    at_ms: int
    """Device running time."""
    wall_ms: int
    command: str | None
    """The command that asked for the archive; None for the person at the device."""
    link: Mapping[str, str | int]
    outbox: Mapping[str, str | int]
    refused: Mapping[str, int]
    """How many incoming messages were refused, by reason."""


class LogArchive(Protocol):
    """Writes down what a support person needs to see why a device is stuck."""

    async def write(self, report: DeviceReport) -> str:
        """Write an archive as a whole, or none; the path of it. Raises `ArchiveFailed`."""
        ...


class ArchiveFailed(Exception):
    """No log archive was written: one sentence with the reason and the remedy."""


class JournalFailed(Exception):
    """The journal can't be written or read now, for example because the disk is full; trying again may help."""


class JournalUnreadable(Exception):
    """The journal file is torn, foreign, newer than this agent, or in use; names the file and the remedy."""
