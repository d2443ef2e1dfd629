"""The simulated collector: leases, commits, answers and commands, by the collector's own pure decisions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from agent.wire.assignment import Admitted, Assignment
from agent.wire.codec import decode, encode
from agent.wire.events import AttemptEnded
from agent.wire.messages import (
    Ack,
    CollectLogs,
    CollectorState,
    Command,
    CommandAction,
    ContinueAnyway,
    ExtendTimeout,
    Presence,
    RefreshAssignment,
    ResetDevice,
    RetryItem,
    RetryPhase,
    SkipAccountSetup,
)
from agent.wire.topics import (
    Channel,
    DeviceTopic,
    collector_filters,
    collector_topic,
    device_topic,
    parse,
    partition_of,
)
from agent.wire.vocabulary import Context
from collector import admission, intake
from collector.attempts import AttemptView
from collector.intake import Accepted, Decision, StreamRow
from collector.intake import Refused as RefusedPayload
from simulator.verify.broker import KEEP_ALIVE_MS, Broker, Connection
from simulator.verify.plan import TENANT, DevicePlan, WorldPlan
from simulator.verify.seal import sealed
from simulator.verify.store import (
    STORE,
    Arrival,
    Assigned,
    Key,
    Overtaken,
    Store,
    TermLost,
    Transaction,
)
from simulator.verify.world import EPOCH_MS, HOUR_MS, MINUTE_MS, World

COMMIT_MS: Final = (5, 120)
"""How long a commit takes; what arrives meanwhile goes into the next."""
ANSWER_MS: Final = (0, 30)
"""From a commit to its answers."""
ADMIT_MS: Final = (5, 200)
"""How long a decision on an attempt takes; the user is locked meanwhile."""
RECONNECT_MS: Final = (500, 20_000)
SWEEP_MS: Final = 5 * MINUTE_MS
COMMAND_VALID_MS: Final = HOUR_MS


@dataclass(frozen=True, slots=True)
class Taken:
    """One message with the lease under which it came in."""

    partition: str
    term: int
    topic: str
    payload: bytes


class Collector:
    """One collector process. Several may run over one store."""

    def __init__(
        self, name: str, world: World, broker: Broker, store: Store, plan: WorldPlan
    ) -> None:
        self.name = name
        self._world = world
        self._broker = broker
        self._store = store
        self._plans: dict[str, DevicePlan] = {p.device: p for p in plan.devices}
        self._rules = plan.rules
        self._partitions = sorted({partition_of(device) for device in self._plans})
        self.life = 0
        """Counts the lives of the process."""
        self._paused: list[Callable[[], None]] | None = None
        self._queue: list[Taken] = []
        self._is_committing = False
        self.terms: dict[str, int] = {}
        self._connections: dict[str, Connection] = {}
        self.is_running = False
        self.after_commit: tuple[Callable[[], None], bool] | None = None
        """What befalls it between a commit and the answers; True waits for the end of an attempt."""

    # Its life.

    def start(self) -> None:
        """A new process: own every partition, connect, and tell the devices all they may have missed."""
        self.stop()
        self.is_running = True
        self.terms = self._store.claim(self._partitions)
        self._world.trace.note(self._world.now_ms, self.name, "claims", str(self.terms))
        for partition in self._partitions:
            self._connect(partition)
        self._later(SWEEP_MS, self._sweep)

    def stop(self) -> None:
        """The process dies: what was not committed is gone."""
        self.life += 1
        self.is_running, self._is_committing = False, False
        self._paused = None
        self._queue.clear()
        self.terms = {}
        for connection in list(self._connections.values()):
            self._broker.break_connection(connection, "the collector died")
        self._connections.clear()

    def pause(self) -> None:
        """The process stands still; its connections stay until their keep-alive runs out."""
        self._paused = []
        for connection in list(self._connections.values()):
            self._world.after(KEEP_ALIVE_MS, self._give_up(connection))

    def wake(self) -> None:
        """The process goes on where it was, whatever happened meanwhile."""
        waiting, self._paused = self._paused or [], None
        for action in waiting:
            self._do(action)

    @property
    def is_paused(self) -> bool:
        """Whether it stands still."""
        return self._paused is not None

    def within(self, life: int, action: Callable[[], None]) -> None:
        """Do something that belongs to one life of the process."""
        if self.life == life:
            self._do(action)

    def _give_up(self, connection: Connection) -> Callable[[], None]:
        def give_up() -> None:
            if self.is_paused and connection.is_known:
                self._broker.break_connection(connection, "keep-alive")

        return give_up

    def _do(self, action: Callable[[], None]) -> None:
        """Do something unless the process stands still; then it is done on waking up."""
        if self._paused is None:
            action()
        else:
            self._paused.append(action)

    def _later(self, delay_ms: int, action: Callable[[], None]) -> None:
        """Do something in this life of the process."""
        life = self.life

        self._world.after(delay_ms, lambda: self.within(life, action))

    def _span(self, span: tuple[int, int], purpose: str) -> int:
        return self._world.between(*span, self.name, purpose)

    # Connections.

    def _connect(self, partition: str) -> None:
        if not self._still_owns(partition):
            self._depose(partition)
            return
        self._broker.connect(_Owner(self, partition).connection)

    def opened(self, partition: str, connection: Connection) -> None:
        """A partition's connection is open."""
        if partition not in self.terms:
            self._broker.disconnect(connection)
            return
        self._connections[partition] = connection
        self._say(
            partition, str(collector_topic(TENANT, partition)), self.state(partition, "online")
        )
        self._later(self._span(ANSWER_MS, "welcome"), lambda: self._welcome(partition))

    def closed(self, partition: str, connection: Connection, reason: str) -> None:
        """A partition's connection is gone."""
        word = f"partition {partition} closed"
        self._world.trace.note(self._world.now_ms, self.name, word, reason)
        if self._connections.get(partition) is connection:
            del self._connections[partition]
        if partition in self.terms:
            delay_ms = self._span(RECONNECT_MS, "reconnect")
            self._later(delay_ms, lambda: self._connect(partition))

    def _still_owns(self, partition: str) -> bool:
        term = self.terms.get(partition)
        return term is not None and self._store.holds.terms.get(partition) == term

    def _depose(self, partition: str) -> None:
        self.terms.pop(partition, None)
        connection = self._connections.pop(partition, None)
        self._world.trace.note(self._world.now_ms, self.name, "deposed", partition)
        if connection is not None:
            self._broker.disconnect(connection)
        if not self.terms:
            self.is_running = False

    def state(self, partition: str, state: str) -> bytes:
        """What this collector says of itself in one of its partitions."""
        return encode(
            CollectorState.model_validate(
                {
                    "partition": partition,
                    "store": STORE,
                    "term": self.terms[partition],
                    "state": state,
                }
            )
        )

    def received(self, partition: str, topic: str, payload: bytes) -> None:
        """A message arrived in a partition."""
        term = self.terms.get(partition)
        if term is None or not payload:
            return
        if topic == str(collector_topic(TENANT, partition)):
            self._heard_of_owner(partition, payload)
            return
        self._queue.append(Taken(partition, term, topic, payload))
        if not self._is_committing:
            self._is_committing = True
            self._later(self._span(ANSWER_MS, "queue"), self._take)

    def _heard_of_owner(self, partition: str, payload: bytes) -> None:
        state = decode(CollectorState, payload)
        is_mine = state.term == self.terms.get(partition)
        if not is_mine and not self._still_owns(partition):
            self._depose(partition)
        elif state.state == "offline" or not is_mine:
            topic = str(collector_topic(TENANT, partition))
            self._say(partition, topic, self.state(partition, "online"))

    # Taking in: read, commit, answer.

    def _take(self) -> None:
        taken, self._queue = self._queue, []
        arrivals: list[Arrival] = []
        for one in taken:
            topic = parse(one.topic)
            assert isinstance(topic, DeviceTopic), "a collector hears of devices only"
            if topic.channel is Channel.PRESENCE:
                self._take_presence(decode(Presence, one.payload))
                continue
            incoming = intake.read(TENANT, one.topic, one.payload)
            assert not isinstance(incoming, RefusedPayload), f"refused: {incoming}"
            arrivals.append(Arrival(one.partition, one.term, incoming))
        if arrivals:
            self._begin(arrivals)
        else:
            self._next_batch()

    def _begin(self, arrivals: Sequence[Arrival]) -> None:
        transaction = self._store.begin(arrivals)

        def commit() -> None:
            try:
                committed = self._store.commit(transaction)
            except TermLost as lost:
                self._depose(lost.partition)
                rest = [a for a in arrivals if a.partition != lost.partition]
                if rest:
                    self._begin(rest)
                else:
                    self._next_batch()
                return
            except Overtaken:
                self._next_batch()
                return
            self._world.watch.stored(self.name, transaction, self._store)
            for decision in committed.decisions:
                word = type(decision).__name__
                row = decision.row
                self._world.trace.note(
                    self._world.now_ms, self.name, f"{word} {row.device}", str(row.last_seq)
                )
            self._later(
                self._span(ANSWER_MS, "answer"),
                lambda: self._answer(committed.rows, committed.started, committed.answered),
            )
            self._next_batch()
            self._befall(transaction)

        self._later(self._span(COMMIT_MS, "commit"), commit)

    def _befall(self, transaction: Transaction) -> None:
        if self.after_commit is None:
            return
        strike, at_an_end = self.after_commit
        if not at_an_end or any(_is_end(decision) for decision in transaction.decisions):
            self.after_commit = None
            strike()

    def _next_batch(self) -> None:
        if self._queue:
            self._later(0, self._take)
        else:
            self._is_committing = False

    def _answer(
        self,
        rows: Mapping[Key, StreamRow],
        started: Sequence[Key],
        answered: Sequence[tuple[str, str]],
    ) -> None:
        for row in rows.values():
            self._say_ack(row)
        for key in started:
            self._admit(key)
        for device, command in answered:
            self._say_of(device, Channel.COMMAND, b"", command)

    def _take_presence(self, presence: Presence) -> None:
        kept = self._store.keep_presence(
            presence.device, presence.stream, presence.session, presence.state
        )
        self._world.watch.presence(presence, believed=kept)
        if kept and presence.state == "online":
            self._later(
                self._span(ANSWER_MS, "birth"),
                lambda: self._answer_birth(presence.device, presence.stream),
            )

    def _answer_birth(self, device: str, stream: str) -> None:
        """A birth is a question: how far am I stored, what was decided, what am I to do?"""
        self._say_ack(self._store.stream(device, stream))
        for view in self._store.open_of(device):
            self._admit((view.device, view.attempt))
        self._say_commands(device)

    def _welcome(self, partition: str) -> None:
        for view in self._store.views():
            if view.end_state is None and partition_of(view.device) == partition:
                self._say_ack(self._store.stream(view.device, view.stream))
                self._admit((view.device, view.attempt))
                self._say_commands(view.device)

    # Admission: the user is locked while it is decided.

    def _admit(self, key: Key) -> None:
        known = self._store.holds.assigned.get(key)
        if known is not None:
            self._say_assignment(known)
            return
        started = self._store.holds.started.get(key)
        if started is None or not self._store.is_open(key):
            return
        user = (started.user or "").casefold()
        if user in self._store.locked_users:
            self._later(self._span(ADMIT_MS, "locked"), lambda: self._admit(key))
            return
        self._store.locked_users.add(user)
        standing = self._store.standing(key[0], started.user)
        decision = admission.decide(started, standing, self._rules, self._plans[key[0]].offer)
        holds = self._store.holds

        def decided() -> None:
            # A process that dies or pauses in the middle loses its transaction, and the lock with it.
            if self._store.holds is not holds:
                return
            self._store.locked_users.discard(user)
            if self.life != life or self.is_paused or key in self._store.holds.assigned:
                return
            if not self._store.is_open(key):
                return
            assigned = self._store.decide(key, decision)
            self._world.watch.decided(key[0], started, assigned, self._store)
            word = f"decides on {key[0]}"
            self._world.trace.note(self._world.now_ms, self.name, word, decision.outcome)
            self._later(self._span(ANSWER_MS, "decided"), lambda: self._say_assignment(assigned))

        life = self.life
        self._world.after(self._span(ADMIT_MS, "admit"), decided)

    # The help desk.

    def command(self, view: AttemptView, action: CommandAction, number: int) -> None:
        """The help desk wants something of a device."""
        issued = datetime.fromtimestamp(self._world.wall_ms / 1000, UTC)
        valid_until = (self._world.wall_ms + COMMAND_VALID_MS) / 1000
        command = Command(
            id=f"command-{number}",
            device=view.device,
            attempt=view.attempt,
            action=action,
            issued_by="help desk",
            issued_at=issued,
            expires_at=datetime.fromtimestamp(valid_until, UTC),
            attempt_ms_max=view.attempt_ms + COMMAND_VALID_MS,
        )
        self._store.holds.commands[command.id] = command
        self._world.trace.note(
            self._world.now_ms, self.name, f"command {command.id}", f"{view.device} {action.kind}"
        )
        if isinstance(action, RefreshAssignment):
            known = self._store.holds.assigned.get((view.device, view.attempt))
            if known is not None and isinstance(known.decision, Admitted):
                fresh = self._plans[view.device].refreshed
                self._say_assignment(self._store.decide((view.device, view.attempt), fresh))
        self._say_command(command)

    def _say_commands(self, device: str) -> None:
        for command in self._store.waiting(device, self._world.wall_ms):
            self._say_command(command)

    def _sweep(self) -> None:
        """Take commands that are over out of the broker."""
        for command in self._store.holds.commands.values():
            over = command.expires_at.timestamp() * 1000 <= self._world.wall_ms
            topic = str(device_topic(TENANT, command.device, Channel.COMMAND, command.id))
            if (
                over or command.id in self._store.holds.answered
            ) and topic in self._broker.retained:
                self._say_of(command.device, Channel.COMMAND, b"", command.id)
        self._later(SWEEP_MS, self._sweep)

    # Saying.

    def _say_ack(self, row: StreamRow) -> None:
        term = self.terms.get(partition_of(row.device))
        if term is None:
            return
        self._world.watch.acknowledged(row)
        ack = Ack(
            device=row.device,
            store=STORE,
            term=term,
            stream=row.stream,
            stored_seq=row.last_seq,
            digest=row.last_digest or None,
        )
        self._say_of(row.device, Channel.ACK, encode(ack))

    def _say_assignment(self, assigned: Assigned) -> None:
        term = self.terms.get(partition_of(assigned.device))
        if term is None:
            return
        message = Assignment(
            device=assigned.device,
            attempt=assigned.attempt,
            store=STORE,
            term=term,
            version=assigned.version,
            issued_at=datetime.fromtimestamp(EPOCH_MS / 1000, UTC),
            decision=assigned.decision,
        )
        signed = sealed(encode(message), Channel.ASSIGNMENT)
        self._say_of(assigned.device, Channel.ASSIGNMENT, signed)

    def _say_command(self, command: Command) -> None:
        signed = sealed(encode(command), Channel.COMMAND)
        self._say_of(command.device, Channel.COMMAND, signed, command.id)

    def _say_of(
        self, device: str, channel: Channel, payload: bytes, command: str | None = None
    ) -> None:
        topic = device_topic(TENANT, device, channel, command)
        self._say(topic.partition, str(topic), payload)

    def _say(self, partition: str, topic: str, payload: bytes) -> None:
        connection = self._connections.get(partition)
        if connection is not None and connection.is_open:
            self._broker.publish(connection, topic, payload, retain=True)


class _Owner:
    """One partition's end of its connection, in one life of the process."""

    def __init__(self, collector: Collector, partition: str) -> None:
        self._collector = collector
        self._partition = partition
        self._life = collector.life
        topic = str(collector_topic(TENANT, partition))
        self.connection = Connection(
            self,
            f"{collector.name}-{partition}",
            collector_filters(TENANT, partition),
            (topic, collector.state(partition, "offline")),
        )

    def opened(self) -> None:
        """See `Client.opened`."""
        collector = self._collector
        collector.within(self._life, lambda: collector.opened(self._partition, self.connection))

    def closed(self, reason: str) -> None:
        """See `Client.closed`."""
        collector = self._collector
        collector.within(
            self._life, lambda: collector.closed(self._partition, self.connection, reason)
        )

    def received(self, topic: str, payload: bytes) -> None:
        """See `Client.received`."""
        collector = self._collector
        collector.within(self._life, lambda: collector.received(self._partition, topic, payload))


def _is_end(decision: Decision) -> bool:
    return isinstance(decision, Accepted) and isinstance(decision.event.report.body, AttemptEnded)


def wishes(world: World, plan: DevicePlan) -> Iterator[CommandAction]:
    """What a help desk wants of a device, one thing after another."""
    item = plan.offer.items[0].id if plan.offer.items else "none"
    every: tuple[CommandAction, ...] = (
        RetryPhase(),
        RetryItem(item=item),
        ExtendTimeout(context=Context.DEVICE, minutes=15),
        ExtendTimeout(context=Context.ACCOUNT, minutes=15),
        CollectLogs(),
        CollectLogs(),
        RefreshAssignment(),
        ContinueAnyway(),
        SkipAccountSetup(),
        ResetDevice(),
    )
    while True:
        yield every[int(world.uniform(plan.device, "wish") * len(every))]
