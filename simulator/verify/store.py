"""The collectors' store in memory: what two collectors share, a backup copies, and every commit is compared with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from agent.wire.assignment import Admitted, Refused
from agent.wire.events import AttemptStarted, CommandAnswered, Report
from agent.wire.messages import Command
from agent.wire.vocabulary import SUCCESS_STATES
from collector import intake, precedence
from collector.admission import Standing, same_user
from collector.attempts import Attempts, AttemptView, StoredReport
from collector.intake import Accepted, Decision, Incoming, Loss, Readable, SetAside, StreamRow

STORE: Final = "store-1"

Key = tuple[str, str]
"""Device and stream, or device and attempt."""


class TermLost(Exception):
    """Another collector owns the partition now; nothing was committed."""

    def __init__(self, partition: str) -> None:
        super().__init__(partition)
        self.partition = partition


class Overtaken(Exception):
    """A stream was moved by somebody else meanwhile; nothing was committed."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """One report as it arrived at the owner of its partition."""

    partition: str
    term: int
    incoming: Incoming

    @property
    def key(self) -> Key:
        """Device and stream."""
        if isinstance(self.incoming, Readable):
            return self.incoming.event.device, self.incoming.event.stream
        return self.incoming.envelope.device, self.incoming.envelope.stream


@dataclass(frozen=True, slots=True)
class Assigned:
    """A stored decision on one attempt."""

    version: int
    device: str
    attempt: str
    decision: Admitted | Refused


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """One stored report with its number and fingerprint."""

    seq: int
    digest: str
    report: Report


@dataclass(slots=True)
class Contents:
    """All that the store holds."""

    terms: dict[str, int] = field(default_factory=dict)
    streams: dict[Key, StreamRow] = field(default_factory=dict)
    events: dict[Key, list[StoredEvent]] = field(default_factory=dict)
    losses: list[tuple[Key, Loss]] = field(default_factory=list)
    views: list[AttemptView] = field(default_factory=list)
    started: dict[Key, AttemptStarted] = field(default_factory=dict)
    assigned: dict[Key, Assigned] = field(default_factory=dict)
    commands: dict[str, Command] = field(default_factory=dict)
    answered: dict[str, bool] = field(default_factory=dict)
    presence: dict[Key, tuple[int, str]] = field(default_factory=dict)
    orders: int = 0
    versions: int = 0

    def copy(self) -> Contents:
        """A backup."""
        return Contents(
            terms=dict(self.terms),
            streams=dict(self.streams),
            events={key: list(events) for key, events in self.events.items()},
            losses=list(self.losses),
            views=list(self.views),
            started=dict(self.started),
            assigned=dict(self.assigned),
            commands=dict(self.commands),
            answered=dict(self.answered),
            presence=dict(self.presence),
            orders=self.orders,
            versions=self.versions,
        )


@dataclass(frozen=True, slots=True)
class Transaction:
    """What a commit has read and means to write."""

    arrivals: Sequence[Arrival]
    before: dict[Key, StreamRow]
    after: dict[Key, StreamRow]
    decisions: Sequence[Decision]


@dataclass(frozen=True, slots=True)
class Committed:
    """What a commit did."""

    rows: dict[Key, StreamRow]
    decisions: Sequence[Decision]
    started: Sequence[Key]
    answered: Sequence[tuple[str, str]]


class Store:
    """The store of one world."""

    def __init__(self) -> None:
        self.holds = Contents()
        self._attempts = Attempts()
        self.locked_users: set[str] = set()

    def restore(self, backup: Contents) -> None:
        """The store is as it was when this backup was made."""
        self.holds = backup.copy()
        self._attempts = Attempts.of(self.holds.views)
        self.locked_users.clear()

    def backup(self) -> Contents:
        """A copy of everything."""
        self.holds.views = self._attempts.all()
        return self.holds.copy()

    # Leases.

    def claim(self, partitions: Iterable[str]) -> dict[str, int]:
        """Own these partitions from now on."""
        terms = {partition: self.holds.terms.get(partition, 0) + 1 for partition in partitions}
        self.holds.terms.update(terms)
        return terms

    # Taking in, in two steps that others may come between.

    def begin(self, arrivals: Sequence[Arrival]) -> Transaction:
        """Read the streams and fold what arrived into their rows."""
        before = {a.key: self.stream(*a.key) for a in arrivals}
        after = dict(before)
        decisions = []
        for arrival in arrivals:
            decision = intake.fold(after[arrival.key], arrival.incoming)
            after[arrival.key] = decision.row
            decisions.append(decision)
        return Transaction(arrivals, before, after, decisions)

    def commit(self, transaction: Transaction) -> Committed:
        """Write it, all or nothing, if leases and streams are still as they were.

        Raises:
            TermLost: a partition has another owner.
            Overtaken: a stream is not where it was read to be.
        """
        for arrival in transaction.arrivals:
            current = self.holds.terms.get(arrival.partition)
            if not precedence.may_commit(arrival.term, current):
                raise TermLost(arrival.partition)
        for key, row in transaction.before.items():
            if transaction.after[key] != row and self.stream(*key).last_seq != row.last_seq:
                raise Overtaken
        started, answered = [], []
        for arrival, decision in zip(transaction.arrivals, transaction.decisions, strict=True):
            for report in self._keep(arrival, decision):
                device = arrival.key[0]
                if isinstance(report.body, AttemptStarted):
                    self.holds.started.setdefault((device, report.attempt), report.body)
                    started.append((device, report.attempt))
                elif isinstance(report.body, CommandAnswered):
                    self.holds.answered.setdefault(report.body.command, report.body.executed)
                    answered.append((device, report.body.command))
        self.holds.streams.update(
            {k: row for k, row in transaction.after.items() if row != transaction.before[k]}
        )
        return Committed(transaction.after, transaction.decisions, started, answered)

    def _keep(self, arrival: Arrival, decision: Decision) -> list[Report]:
        match decision:
            case Accepted(event=event, digest=content, loss=loss):
                if loss is not None:
                    self.holds.losses.append((arrival.key, loss))
                self.holds.orders += 1
                self.holds.events.setdefault(arrival.key, []).append(
                    StoredEvent(event.seq, content, event.report)
                )
                self._attempts.apply(
                    StoredReport(self.holds.orders, event.device, event.stream, 0, event.report)
                )
                return [event.report]
            case SetAside(losses=losses):
                self.holds.losses += [(arrival.key, loss) for loss in losses]
                return []
            case _:
                return []

    def keep_presence(self, device: str, stream: str, session: int, state: str) -> bool:
        """Keep what a device said of itself; False when the word came too late."""
        known = self.holds.presence.get((device, stream))
        if not precedence.counts(session, None if known is None else known[0]):
            return False
        self.holds.presence[device, stream] = (session, state)
        return True

    # Looking.

    def stream(self, device: str, stream: str) -> StreamRow:
        """How far one stream is stored."""
        return self.holds.streams.get((device, stream)) or StreamRow(device, stream)

    def views(self) -> list[AttemptView]:
        """Every attempt, in the order of their first reports."""
        return self._attempts.all()

    def open_of(self, device: str) -> list[AttemptView]:
        """The device's attempts that have not ended."""
        return [v for v in self.views() if v.device == device and v.end_state is None]

    def is_open(self, key: Key) -> bool:
        """Whether an attempt is known and has not ended."""
        view = self._attempts.get(*key)
        return view is not None and view.end_state is None

    def standing(self, device: str, user: str | None) -> Standing:
        """What is known of a device and its user; by the same rules as the desk's queries."""
        owners: dict[str, str] = {}
        held: set[str] = set()
        for view in self.views():
            if view.end_state in SUCCESS_STATES and view.user is not None:
                owners[view.device] = view.user
            assigned = self.holds.assigned.get((view.device, view.attempt))
            admitted = assigned is not None and isinstance(assigned.decision, Admitted)
            if view.end_state is None and admitted and same_user(view.user, user):
                held.add(view.device)
        held |= {d for d, owner in owners.items() if same_user(owner, user)}
        return Standing(
            owner=owners.get(device),
            other_devices=0 if user is None else len(held - {device}),
        )

    # Deciding.

    def decide(self, key: Key, decision: Admitted | Refused) -> Assigned:
        """Keep a decision under the next version."""
        self.holds.versions += 1
        self.holds.assigned[key] = Assigned(self.holds.versions, *key, decision)
        return self.holds.assigned[key]

    def waiting(self, device: str, wall_ms: int) -> list[Command]:
        """The commands that the device still has to answer, the oldest first."""
        return [
            c
            for c in self.holds.commands.values()
            if c.device == device
            and c.id not in self.holds.answered
            and c.expires_at.timestamp() * 1000 > wall_ms
        ]
