"""Two collectors over one store in one process, one of which is struck at any chosen point of what it does with the store."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final, Literal

import psycopg
import pytest
from sqlalchemy import Engine, delete, event, func, select, update

from agent.wire.codec import decode, digest
from agent.wire.messages import Ack
from agent.wire.topics import Channel, DeviceTopic, parse, partition_of
from collector.desk import Desk
from collector.device_commands import Commands
from collector.keys import Signer
from collector.metrics import Metrics
from collector.store import schema
from collector.store.database import StoreFailed
from collector.store.following import Following
from collector.store.leases import LEASE_MS, Leases
from collector.store.memory import Memory
from collector.store.numbering import before_removal
from collector.store.store import Store
from collector.subscriber.inbound import Inbound, Said, Taken
from tests.collector.fleet import TENANT, Reporter, SetClock, delivered, delivered_birth

KEPT, GIVEN = "2", "b"
"""Of two collectors the first keeps the lower half of the partitions and hands over the upper one."""
PARTITIONS: Final = (KEPT, GIVEN)

Strike = Literal["killed", "killed and started again", "halted", "halted and cut off"]


class Killed(BaseException):
    """The process is gone."""


@dataclass
class Collector:
    """What a collector does between broker and store, one step after the other."""

    world: World
    owner: str
    store: Store
    inbound: Inbound
    leases: Leases
    terms: dict[str, int] = field(default_factory=dict)

    def tend(self) -> None:
        """As `Subscriber` does a few times in a lease."""
        with suppress(StoreFailed):
            tended = self.leases.tend(dict(self.terms))
            for partition in tended.lost:
                self.terms.pop(partition, None)
            self.terms |= tended.taken
            for lease in tended.taken.items():
                assert self.world.taken.setdefault(lease, self.owner) == self.owner, "one term, two"
            for partition in set(tended.taken) & set(PARTITIONS):
                self._say(list(self.inbound.welcome(partition, self.terms)))
            if tended.surplus:
                self.leases.release({p: self.terms.pop(p) for p in tended.surplus})

    def take(self, *, births: bool = False) -> None:
        """What the devices of its partitions hold, in one batch."""
        batch = [
            Taken(partition, self.terms[partition], message)
            for device in self.world.devices
            if (partition := partition_of(device.device)) in self.terms
            for message in (
                *(delivered(one) for one in device.sent[self.world.acked[device.device] :]),
                *([delivered_birth(device.birth())] if births else []),
            )
        ]
        stale = {one.partition for one in batch if self._is_stale(one.partition)}
        outcome = self.inbound.take(batch, dict(self.terms))
        with_reports = {one.partition for one in batch if one.message.topic.endswith("/event")}
        assert stale & with_reports <= set(outcome.lost), "stored under a term that was over"
        for partition, term in outcome.lost.items():
            if self.terms.get(partition) == term:
                self.terms.pop(partition)
        self._say(outcome.said)
        self._say(self.inbound.admit(outcome.started, dict(self.terms)))

    def _is_stale(self, partition: str) -> bool:
        return self.world.stores["b"].term(partition) != self.terms[partition]

    def leave(self) -> None:
        """As at its end."""
        with suppress(StoreFailed):
            self.leases.leave(dict(self.terms))
            self.terms.clear()

    def _say(self, said: Sequence[Said]) -> None:
        for one in said:
            if self.owner == "a" and self.world.is_watched:
                self.world.point()
            self.world.hear(one)


@dataclass
class World:
    """Two devices, a broker that remembers, and a time that leases run by."""

    url: str
    stores: Mapping[str, Store]
    signer: Signer
    number: int
    strike: Strike
    at: int | None
    """The point at which the first collector is struck; None counts them."""
    offset_ms: int = 0
    points: int = 0
    is_watched: bool = False
    is_over: bool = False
    """Whether the first collector has just committed."""
    before: str = ""
    """What the point before came before."""
    struck_at: str = ""
    """The statement, or what else, that the strike came before."""
    devices: list[Reporter] = field(default_factory=list)
    acked: dict[str, int] = field(default_factory=dict)
    retained: dict[str, bytes] = field(default_factory=dict)
    taken: dict[tuple[str, int], str] = field(default_factory=dict)
    """Who took which partition under which term."""
    others: list[Collector] = field(default_factory=list)
    followers: list[Follower] = field(default_factory=list)
    session: int | None = None
    """The database session of the first collector that is in the middle of a transaction."""

    def __post_init__(self) -> None:
        for partition in PARTITIONS:
            name = next(
                name for n in count() if partition_of(name := f"W{self.number}-{n}") == partition
            )
            self.devices.append(Reporter(device=name, stream=name))
            self.acked[name] = 0

    def collector(self, owner: str, patch: pytest.MonkeyPatch) -> Collector:
        """One that has just been started: it remembers nothing. Connections are those of the one before."""
        clock = SetClock()
        store = self.stores[owner]
        patch.setattr(store, "_memory", Memory())
        inbound = Inbound(
            tenant=TENANT,
            store=store,
            desk=Desk(store.database),
            commands=Commands(store.database),
            signer=self.signer,
            clock=clock,
            metrics=Metrics(),
        )
        return Collector(self, owner, store, inbound, Leases(store.database, owner))

    def point(self, what: str = "say", session: int | None = None) -> None:
        """The first collector comes to a point at which it may be struck.

        What the database undoes when a process is killed is nothing new, so only what follows a commit is a point for
        that, and the commit itself. A halted one keeps its locks, so each statement that may take any is a point.
        """
        is_over, self.is_over = self.is_over, what == "COMMIT"
        if self.strike.startswith("killed"):
            counts = what in ("say", "COMMIT") or is_over
        else:
            is_reading = what.startswith("SELECT") and " FOR " not in what and "pg_" not in what
            counts = what != self.before and not is_reading
            # Between two transactions there is no session to end, and standing still there is a point of its own kind.
            counts &= session is not None or self.strike == "halted"
            self.before = what
        if not counts:
            return
        self.points += 1
        if self.points != self.at:
            return
        self.struck_at, self.session = what, session
        if self.strike.startswith("killed"):
            raise Killed
        # It stands still for longer than its lease, and the other one lives on.
        self.offset_ms += LEASE_MS + 1
        if self.strike == "halted and cut off" and session is not None:
            self.cut_off(session)
        for other in self.others:
            other.tend()
            other.take(births=True)
            for follower in self.followers:
                follower.look()
            other.tend()

    def cut_off(self, session: int) -> None:
        """The server ends a session that stands still in the middle of a transaction."""
        conninfo = self.url.replace("postgresql+psycopg", "postgresql")
        with psycopg.connect(conninfo, autocommit=True) as connection:
            connection.execute("SELECT pg_terminate_backend(%s, 10000)", (session,))

    def hear(self, said: Said) -> None:
        """The broker keeps it; a device looks at its acknowledgements, of which none may promise too much."""
        topic = parse(said.topic)
        assert isinstance(topic, DeviceTopic)
        self.retained[said.topic] = said.payload
        if topic.channel is not Channel.ACK or topic.device not in self.acked:
            return
        ack = decode(Ack, said.payload)
        stored = self.others[0].store.stream(ack.device, ack.stream)
        assert stored.last_seq >= ack.stored_seq, "acknowledged and not stored"
        self.acked[ack.device] = max(self.acked[ack.device], ack.stored_seq)

    def assigned(self) -> int:
        """How many of the devices have heard a decision."""
        return sum(
            topic.endswith("/assignment") and bool(payload)
            for topic, payload in self.retained.items()
        )


@contextmanager
def watched(world: World, collector: Collector) -> Iterator[None]:
    """Each statement and each commit of this collector is a point."""

    def before_statement(_c: Any, cursor: Any, statement: str, *_: Any) -> None:
        world.point(statement, _session(cursor.connection))

    def before_commit(connection: Any) -> None:
        world.point("COMMIT", _session(connection.connection.dbapi_connection))

    # What only reads is undone by nobody and locks nothing.
    writer: Engine = collector.store.database._writer
    listeners: list[tuple[Engine, str, Callable[..., Any]]] = [
        (writer, "before_cursor_execute", before_statement),
        (writer, "commit", before_commit),
    ]
    for listener in listeners:
        event.listen(*listener)
    world.is_watched = True
    try:
        yield
    finally:
        world.is_watched = False
        for listener in listeners:
            event.remove(*listener)


def _session(connection: Any) -> int | None:
    info = getattr(connection, "info", None)
    return None if info is None else int(info.backend_pid)


@dataclass
class Follower:
    """Reads as webhooks, live updates and the stuck watch do."""

    following: Following
    position: int
    seen: list[tuple[str, int]] = field(default_factory=list)

    def look(self) -> None:
        """What is new."""
        newest = self.following.newest()
        if newest > self.position:
            found = self.following.after(self.position, newest, limit=1_000)
            self.seen += [(one.device, one.seq) for one in found]
            self.position = newest


def judge(world: World, survivor: Collector, follower: Follower) -> None:
    """Nothing lost, nothing twice, nothing promised or decided that is not there."""
    where = f"{world.strike} at point {world.points if world.at is None else world.at}: {world.struck_at}"
    for device in world.devices:
        names = (device.device, device.stream)
        stored = [
            (row.seq, row.times, row.digest)
            for row in survivor.store.stored_rows()
            if (row.device, row.stream) == names
        ]
        sent = [(e.seq, 1, digest(e.stream, e.seq, e.report, e.after)) for e in device.sent]
        assert stored == sent, where
        assert survivor.store.losses(device.device) == [], where
        assert world.acked[device.device] == len(device.sent), where
        attempts = survivor.store.device_attempts(device.device)
        derived = [v for v in survivor.store.derive() if v.device == device.device]
        assert attempts == derived, where
        assert len(attempts) == 1, where
        seen = [seq for name, seq in follower.seen if name == device.device]
        assert seen == [event.seq for event in device.sent], where
        table = schema.ASSIGNMENTS
        with survivor.store.database.reading() as connection:
            decisions = connection.execute(
                select(func.count()).where(table.c.device == device.device)
            ).scalar_one()
        assert decisions == 1, where
    assert world.assigned() == len(world.devices), where


def begin_anew(store: Store) -> None:
    """No device is known and no partition has an owner; numbers and terms go on."""
    with store.database.writing() as connection:
        before_removal(connection)
        for table in (
            schema.EVENTS,
            schema.STREAMS,
            schema.ATTEMPTS,
            schema.ASSIGNMENTS,
            schema.PRESENCE,
        ):
            connection.execute(delete(table))
        connection.execute(update(schema.PARTITIONS).values(owner=None, expires_ms=0))
        connection.execute(delete(schema.COLLECTORS))
