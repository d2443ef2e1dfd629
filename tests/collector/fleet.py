"""Devices that report as real ones do, and a store with everything around it: what the collector's tests are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import update

from agent.wire.codec import digest, encode
from agent.wire.events import (
    AttemptEnded,
    AttemptStarted,
    Body,
    ErrorScreenShown,
    Event,
    PhaseChanged,
    Report,
)
from agent.wire.messages import Presence
from agent.wire.progress import Failure
from agent.wire.topics import Channel, device_topic, partition_of
from agent.wire.vocabulary import (
    Choice,
    EndState,
    EnrollmentType,
    FailureKind,
    Phase,
    RowState,
    Stage,
)
from collector.clock import Clock
from collector.desk import Desk
from collector.device_commands import Commands
from collector.intake import Readable, read
from collector.keys import Signer, load_or_make
from collector.metrics import Metrics
from collector.store import schema
from collector.store.leases import Leases
from collector.store.records import Arrival
from collector.store.store import Store
from collector.subscriber.inbound import Inbound
from collector.subscriber.ports import Delivered

TENANT = "acme"
NOON_MS = 1_750_000_000_000
DEVICE_TIME = datetime(2025, 6, 15, 12, tzinfo=UTC)


@dataclass
class SetClock:
    """A clock that stands still until it is set."""

    at_ms: int = NOON_MS

    def now_ms(self) -> int:
        return self.at_ms

    def wall_ms(self) -> int:
        return self.at_ms


@dataclass
class Reporter:
    """One device with its stream: numbers its reports as the outbox does."""

    device: str = "DESKTOP-NEW001"
    stream: str = "stream-1"
    enrollment_type: EnrollmentType = EnrollmentType.WINDOWS_AUTOPILOT
    platform: str = "Windows 11"
    os_version: str = "10.0.22631"
    user: str | None = "john.doe@company.com"
    attempt: str = "attempt-1"
    number: int = 0
    seq: int = 0
    oldest_held: int = 1
    session: int = 1
    last_digest: str | None = None
    sent: list[Event] = field(default_factory=list)

    def event(
        self,
        body: Body,
        *,
        attempt_ms: int = 0,
        stage: Stage = Stage.DEVICE_SETUP,
        percent: int = 0,
    ) -> Event:
        """The next numbered report."""
        self.seq += 1
        made = Event(
            device=self.device,
            stream=self.stream,
            seq=self.seq,
            oldest_held=self.oldest_held,
            after=self.last_digest,
            session=self.session,
            report=Report(
                attempt=self.attempt,
                attempt_ms=attempt_ms,
                device_time=DEVICE_TIME,
                stage=stage,
                percent=percent,
                body=body,
            ),
        )
        self.last_digest = digest(made.stream, made.seq, made.report, made.after)
        self.sent.append(made)
        return made

    def begin(self, attempt: str | None = None) -> Event:
        """A new attempt begins."""
        self.number += 1
        self.attempt = attempt or f"{self.device}-attempt-{self.number}"
        body = AttemptStarted(
            enrollment_type=self.enrollment_type,
            platform=self.platform,
            os_version=self.os_version,
            user=self.user,
            number=self.number,
            agent_version="0.1.0",
        )
        return self.event(body, stage=Stage.WAITING_FOR_ASSIGNMENT)

    def move(
        self, percent: int, stage: Stage = Stage.INSTALLING_APPS, attempt_ms: int = 60_000
    ) -> Event:
        """Device setup goes on."""
        body = PhaseChanged(phase=Phase.DEVICE_SETUP, state=RowState.IN_PROGRESS)
        return self.event(body, stage=stage, percent=percent, attempt_ms=attempt_ms)

    def stop(self, problem: Failure) -> Event:
        """The error screen comes up."""
        body = ErrorScreenShown(
            phase=Phase.DEVICE_SETUP,
            failure=problem,
            failed_items=(),
            choices=(Choice.TRY_AGAIN,),
        )
        return self.event(body, stage=Stage.NEEDS_ATTENTION, percent=60)

    def end(
        self,
        end_state: EndState = EndState.SUCCEEDED,
        *,
        minutes: float = 45,
        problem: Failure | None = None,
    ) -> Event:
        """The attempt ends."""
        body = AttemptEnded(end_state=end_state, failure=problem)
        return self.event(
            body, stage=Stage.FINISHED, percent=100, attempt_ms=round(minutes * 60_000)
        )

    def birth(self) -> Presence:
        """The device is online."""
        return Presence(
            device=self.device,
            stream=self.stream,
            session=self.session,
            state="online",
            agent_version="0.1.0",
        )


def failure(kind: FailureKind = FailureKind.INSTALLER_FAILED, code: str = "0x80070643") -> Failure:
    """Something that went wrong."""
    return Failure(kind=kind, code=code, person="It failed.", engineer="Exit code 1603.")


def event_topic(event: Event) -> str:
    """Where a device publishes its reports."""
    return str(device_topic(TENANT, event.device, Channel.EVENT))


def delivered(event: Event) -> Delivered:
    """A report as the broker delivers it."""
    return Delivered(event_topic(event), encode(event), retained=False)


def delivered_birth(presence: Presence) -> Delivered:
    """A birth as the broker delivers it."""
    topic = str(device_topic(TENANT, presence.device, Channel.PRESENCE))
    return Delivered(topic, encode(presence), retained=False)


def arrival(event: Event, term: int = 1) -> Arrival:
    """A report at the owner of its partition."""
    incoming = read(TENANT, event_topic(event), encode(event))
    assert isinstance(incoming, Readable)
    return Arrival(partition_of(event.device), term, incoming)


@dataclass
class Office:
    """A store with everything around it but broker and API."""

    store: Store
    desk: Desk
    commands: Commands
    signer: Signer
    metrics: Metrics
    clock: SetClock
    leases: Leases
    terms: dict[str, int]
    inbound: Inbound

    @classmethod
    def open(
        cls,
        directory: Path,
        clock: SetClock | None = None,
        *,
        url: str | None = None,
        owner: str = "office",
    ) -> Office:
        """Open the store in this directory, or at this URL, as a collector does when it starts."""
        told = clock or SetClock()
        store = Store(url or f"sqlite:///{directory / 'store.sqlite'}", now_ms=told.now_ms())
        desk, commands, metrics = Desk(store.database), Commands(store.database), Metrics()
        signer = load_or_make(directory / "keys")
        inbound = Inbound(
            tenant=TENANT,
            store=store,
            desk=desk,
            commands=commands,
            signer=signer,
            clock=_as_clock(told),
            metrics=metrics,
        )
        leases = Leases(store.database, owner)
        terms = leases.tend({}).taken
        return cls(store, desk, commands, signer, metrics, told, leases, terms, inbound)

    def take_in(self, events: Sequence[Event]) -> None:
        """Commit these reports as they are."""
        arrivals = [arrival(e, self.terms[partition_of(e.device)]) for e in events]
        self.store.commit(arrivals, self.clock.now_ms())

    def close(self) -> None:
        """As when the collector stops."""
        self.store.close()


def take_over(office: Office, partition: str) -> None:
    """Another collector owns the partition from now on, as after this one's lease ran out."""
    table = schema.PARTITIONS
    with office.store.database.writing() as connection:
        connection.execute(
            update(table)
            .where(table.c.partition == partition)
            .values(term=table.c.term + 1, owner="another", expires_ms=2**53)
        )


def _as_clock(clock: SetClock) -> Clock:
    return clock
