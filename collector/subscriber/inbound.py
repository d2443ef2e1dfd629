"""Turns a batch of delivered messages into stored facts, and those into what has to be said in return."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from typing import Final

import structlog

from agent.wire.assignment import Assignment
from agent.wire.codec import PayloadRefused, decode, encode, encode_ack
from agent.wire.events import MessageRefused
from agent.wire.messages import Presence, RefreshAssignment
from agent.wire.topics import RETAINED, Channel, DeviceTopic, device_topic, parse, partition_of
from collector.clock import Clock
from collector.decisions import Assigned
from collector.desk import Desk
from collector.device_commands import CommandRow, Commands
from collector.intake import (
    TOPICS_MAX,
    Accepted,
    Duplicate,
    Fork,
    Readable,
    Reader,
    Reason,
    Refused,
    StreamRow,
    Unreadable,
)
from collector.janitor import due
from collector.keys import Signer
from collector.metrics import Metrics
from collector.refusals import meaning
from collector.store.database import StoreFailed
from collector.store.records import Arrival, Committed, Key, RefusedPayload, TermLost
from collector.store.store import Store
from collector.subscriber.ports import Delivered

LOG = structlog.get_logger("collector.inbound")

CLEAN_MAX: Final = 100
WELCOME_MAX: Final = 500
"""So many devices are looked up at once."""
_PRESENCE: Final = f"/{Channel.PRESENCE.value}"


@dataclass(frozen=True, slots=True)
class Taken:
    """One message with the ownership under which it came in."""

    partition: str
    term: int
    message: Delivered


@dataclass(frozen=True, slots=True)
class Said:
    """A retained message to publish; an empty payload clears the topic."""

    partition: str
    topic: str
    payload: bytes
    command: str | None = None
    """The command that this message is; its sender wants to know when the broker has it."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a batch led to. `lost` are the partitions that turned out to have another owner, with the term that ended."""

    said: tuple[Said, ...]
    started: tuple[Key, ...] = ()
    """Device and attempt of each attempt that waits to be admitted."""
    lost: Mapping[str, int] = field(default_factory=dict)
    stored: bool = True
    """False when the database took nothing of it; devices send it again."""


@dataclass(frozen=True, slots=True)
class Cleaning:
    """Everything that the broker keeps of some devices, to be cleared; chosen at `at_ms`."""

    at_ms: int
    said: dict[str, tuple[Said, ...]]
    """By device."""


@dataclass(slots=True)
class _Sorted:
    """A batch by what its messages are."""

    arrivals: list[Arrival]
    refused: list[RefusedPayload]
    presences: list[Presence]


class Inbound:
    """Blocks while it works with the store, so it belongs into a thread of its own."""

    def __init__(
        self,
        *,
        tenant: str,
        store: Store,
        desk: Desk,
        commands: Commands,
        signer: Signer,
        clock: Clock,
        metrics: Metrics,
        heard: Callable[[Committed], None] | None = None,
    ) -> None:
        """`heard` is told of each commit, in the thread that made it."""
        self._heard = heard
        self._tenant = tenant
        self._reader = Reader(tenant)
        self._ack_topics: dict[str, tuple[str, str]] = {}
        """Partition and topic, by device."""
        self._store = store
        self._desk = desk
        self._commands = commands
        self._signer = signer
        self._clock = clock
        self._metrics = metrics
        self._told: set[str] = set()

    def take(self, batch: Sequence[Taken], terms: Mapping[str, int]) -> Outcome:
        """Store what arrived, then answer. Nothing is acknowledged that is not committed.

        What came in under a lease that ended meanwhile is left to the partition's next owner.
        """
        sorted_ = self._sort([one for one in batch if terms.get(one.partition) == one.term])
        if sorted_.refused:
            # One line for a batch: whoever floods the collector is not to fill its disk as well.
            LOG.warning(
                "payloads refused",
                count=len(sorted_.refused),
                first=str(sorted_.refused[0].refused.sentence)[:200],
                topic=sorted_.refused[0].topic[:200],
            )
        said: list[Said] = []
        started: list[Key] = []
        lost: dict[str, int] = {}
        stored = True
        for part in self._committed(sorted_.arrivals, lost):
            if part is None:
                stored = False
            else:
                said += self._answers(part, terms)
                started += part.started
        try:
            self._store.record_refusals(sorted_.refused, self._clock.now_ms())
            counting = self._store.record_presences(sorted_.presences, self._clock.now_ms())
            born = [(p.device, p.stream) for p in counting if p.state == "online"]
            answered, undecided = self.answer_births(born, terms)
            said += answered
            started += undecided
        except StoreFailed as failure:
            self._store_failed(failure)
            stored = False
        return Outcome(tuple(said), tuple(started), lost, stored)

    # Sorting

    def _sort(self, batch: Sequence[Taken]) -> _Sorted:
        sorted_ = _Sorted([], [], [])
        for taken in batch:
            message = taken.message
            if _is_presence(message.topic):
                self._sort_presence(taken, sorted_)
                continue
            incoming = self._reader.read(message.topic, message.payload)
            match incoming:
                case Refused():
                    self._refuse(sorted_, message, incoming)
                case Readable() | Unreadable():
                    sorted_.arrivals.append(Arrival(taken.partition, taken.term, incoming))
        return sorted_

    def _sort_presence(self, taken: Taken, sorted_: _Sorted) -> None:
        message = taken.message
        if not message.payload:
            return
        topic = parse(message.topic)
        assert isinstance(topic, DeviceTopic), "only a device has a presence"
        try:
            presence = decode(Presence, message.payload)
        except PayloadRefused as refused:
            self._refuse(sorted_, message, Refused(Reason(refused.reason), str(refused)))
            return
        if (presence.device, topic.tenant) != (topic.device, self._tenant):
            sentence = f"the topic is of '{topic.device}', the payload of '{presence.device}'"
            self._refuse(sorted_, message, Refused(Reason.WRONG_DEVICE, sentence))
        elif topic.partition != partition_of(presence.device):
            sentence = f"'{presence.device}' does not belong to partition {topic.partition}"
            self._refuse(sorted_, message, Refused(Reason.WRONG_PARTITION, sentence))
        else:
            sorted_.presences.append(presence)

    def _refuse(self, sorted_: _Sorted, message: Delivered, refused: Refused) -> None:
        self._metrics.refused(refused.reason)
        sorted_.refused.append(
            RefusedPayload(message.topic, refused, len(message.payload), message.payload[:1024])
        )

    # Storing

    def _committed(
        self, arrivals: Sequence[Arrival], lost: dict[str, int]
    ) -> Iterator[Committed | None]:
        """The whole batch in one commit; device by device when the database refuses it, so that no one blocks others."""
        try:
            if arrivals:
                yield self._commit(arrivals)
        except TermLost as other_owner:
            lost[other_owner.partition] = other_owner.term
            rest = [a for a in arrivals if a.partition != other_owner.partition]
            yield from self._committed(rest, lost)
        except StoreFailed as failure:
            self._store_failed(failure)
            groups = _by_device(arrivals)
            if len(groups) == 1:
                yield None
                return
            for group in groups:
                yield from self._committed(group, lost)

    def _commit(self, arrivals: Sequence[Arrival]) -> Committed:
        begun = time.perf_counter()
        committed = self._store.commit(arrivals, self._clock.now_ms())
        self._metrics.commit_seconds.observe(time.perf_counter() - begun)
        self._metrics.decided(committed.decisions)
        if self._heard is not None:
            self._heard(committed)
        for decision in committed.decisions:
            if isinstance(decision, Duplicate) and decision.conflicting:
                LOG.error(
                    "a number came again with another content; two journals share one stream",
                    device=decision.row.device,
                    stream=decision.row.stream,
                )
            elif isinstance(decision, Accepted):
                self._note_refusal(decision)
        for device, stream in sorted(_forked(committed)):
            LOG.warning(
                "reports continue another story than the stored one; the device is told",
                device=device,
                stream=stream,
            )
        return committed

    def _note_refusal(self, accepted: Accepted) -> None:
        body = accepted.event.report.body
        if isinstance(body, MessageRefused):
            self._metrics.refused_by_device(body)
            device = accepted.event.device
            LOG.warning("a device refused a message", device=device, problem=meaning(body))

    def _store_failed(self, failure: StoreFailed) -> None:
        self._metrics.store_failures.inc()
        LOG.error("the store failed; devices keep what was not stored", problem=str(failure))

    # Answering

    def _answers(self, committed: Committed, terms: Mapping[str, int]) -> Iterator[Said]:
        for row in committed.rows.values():
            yield from self._ack(row, terms)
        for device, command in committed.answered:
            yield self.clearing(device, command)

    def admit(self, attempts: Sequence[Key], terms: Mapping[str, int]) -> list[Said]:
        """Decide on attempts that have begun, and say what was decided."""
        try:
            decided = self._desk.admit(attempts, self._clock.now_ms())
        except StoreFailed as failure:
            # The attempts stay without a decision until their devices are born again or the collector returns.
            self._store_failed(failure)
            return []
        return [said for one in decided for said in self._assignment(one, terms)]

    def answer_births(
        self, born: Sequence[Key], terms: Mapping[str, int]
    ) -> tuple[list[Said], list[Key]]:
        """A birth is a question: how far am I stored, what was decided, what am I to do?

        Takes devices with their streams. Returns what to say at once, and the open attempts, for `admit` to tell of.
        """
        if not born:
            return [], []
        devices = sorted({device for device, _ in born})
        said = [one for row in self._store.streams(born) for one in self._ack(row, terms)]
        said += self._commands_of(devices)
        views = self._store.open_attempts(devices)
        return said, [(view.device, view.attempt) for view in views]

    def welcome(self, partition: str, terms: Mapping[str, int]) -> Iterator[Said]:
        """What a partition has to be told when its collector returns: the broker may have forgotten everything."""
        views = [v for v in self._store.open_attempts() if partition_of(v.device) == partition]
        for start in range(0, len(views), WELCOME_MAX):
            some = views[start : start + WELCOME_MAX]
            for row in self._store.streams([(view.device, view.stream) for view in some]):
                yield from self._ack(row, terms)
            attempts = [(view.device, view.attempt) for view in some]
            for assigned in self._desk.admit(attempts, self._clock.now_ms()):
                yield from self._assignment(assigned, terms)
            yield from self._commands_of(sorted({view.device for view in some}))

    def _ack(self, row: StreamRow, terms: Mapping[str, int]) -> Iterator[Said]:
        partition, topic = self._ack_topic(row.device)
        term = terms.get(partition)
        if term is None:
            return
        ack = encode_ack(
            row.device, self._store.id, term, row.stream, row.last_seq, row.last_digest or None
        )
        self._metrics.acknowledgements.inc()
        yield Said(partition, topic, ack)

    def _ack_topic(self, device: str) -> tuple[str, str]:
        known = self._ack_topics.get(device)
        if known is None:
            if len(self._ack_topics) >= TOPICS_MAX:
                self._ack_topics.clear()
            topic = device_topic(self._tenant, device, Channel.ACK)
            known = self._ack_topics[device] = topic.partition, str(topic)
        return known

    def _assignment(self, assigned: Assigned, terms: Mapping[str, int]) -> Iterator[Said]:
        term = terms.get(partition_of(assigned.device))
        if term is None:
            return
        message = Assignment(
            device=assigned.device,
            attempt=assigned.attempt,
            store=self._store.id,
            term=term,
            version=assigned.version,
            issued_at=datetime.fromtimestamp(assigned.issued_ms / 1000, UTC),
            decision=assigned.decision,
        )
        # It fits: the desk refuses what would not.
        yield self._said(assigned.device, Channel.ASSIGNMENT, encode(self._signer.sign(message)))

    def reassigned(self, device: str, attempt: str, terms: Mapping[str, int]) -> list[Said]:
        """Choose anew for an open attempt and say it."""
        assigned = self._desk.refresh(device, attempt, self._clock.now_ms())
        return [] if assigned is None else list(self._assignment(assigned, terms))

    def _commands_of(self, devices: Sequence[str]) -> list[Said]:
        waiting = self._commands.waiting(devices, self._clock.wall_ms())
        return [self.command(row) for row in waiting]

    def command(self, row: CommandRow) -> Said:
        """A command as it is published."""
        self._told.add(row.id)
        topic = device_topic(self._tenant, row.device, Channel.COMMAND, row.id)
        payload = encode(self._signer.sign(row.message))
        return Said(topic.partition, str(topic), payload, row.id)

    def sent(self, command: str) -> None:
        """The broker has this command."""
        self._commands.sent(command, self._clock.wall_ms())

    def clearing(self, device: str, command: str) -> Said:
        """Take a command's message out of the broker."""
        return self._said(device, Channel.COMMAND, b"", command)

    def errands(self, terms: Mapping[str, int]) -> list[Said]:
        """The commands that another collector's API took for devices of the owned partitions, each told once."""
        waiting = self._store.waiting_commands(self._clock.wall_ms())
        self._told.intersection_update(waiting)
        said: list[Said] = []
        for command, device in waiting.items():
            if command in self._told or partition_of(device) not in terms:
                continue
            row = self._commands.get(command)
            if row is not None:
                if isinstance(row.action, RefreshAssignment):
                    key = (row.device, row.attempt)
                    for assigned in self._desk.admit([key], self._clock.now_ms()):
                        said += self._assignment(assigned, terms)
                said.append(self.command(row))
        return said

    def term(self, partition: str) -> int:
        """The term of the partition's present owner."""
        return self._store.term(partition)

    def to_clear(self) -> list[tuple[str, Said]]:
        """The commands that are over and still lie in the broker."""
        found = self._commands.to_clear(self._clock.wall_ms())
        return [(command, self.clearing(device, command)) for device, command in found]

    def cleared(self, command: str) -> None:
        """The broker has the clearing."""
        self._commands.cleared(command)

    def to_clean(self, after_ms: int, terms: Mapping[str, int]) -> Cleaning:
        """The devices of the owned partitions whose end is more than `after_ms` ago; only so many at a time."""
        now_ms = self._clock.now_ms()
        leftovers = self._store.leftovers(now_ms - after_ms)
        mine = (one for one in leftovers if partition_of(one.device) in terms)
        chosen = list(islice(due(mine, now_ms, after_ms), CLEAN_MAX))
        return Cleaning(now_ms, {device: tuple(self._emptied(device)) for device in chosen})

    def _emptied(self, device: str) -> Iterator[Said]:
        for channel in RETAINED - {Channel.COMMAND}:
            yield self._said(device, channel, b"")
        for command in self._commands.lying(device):
            yield self.clearing(device, command)

    def cleaned(self, devices: Sequence[str], at_ms: int) -> None:
        """The broker has the cleaning."""
        self._store.record_cleared(devices, at_ms)

    def _said(
        self, device: str, channel: Channel, payload: bytes, command: str | None = None
    ) -> Said:
        topic = device_topic(self._tenant, device, channel, command)
        return Said(topic.partition, str(topic), payload)


def _is_presence(topic: str) -> bool:
    # Most of what arrives are reports, and those are taken apart later.
    if not topic.endswith(_PRESENCE):
        return False
    try:
        parsed = parse(topic)
    except ValueError:
        return False
    return isinstance(parsed, DeviceTopic) and parsed.channel is Channel.PRESENCE


def _forked(committed: Committed) -> set[tuple[str, str]]:
    """Device and stream of each journal that turned out to be an older copy of itself."""
    forks = (one.row for one in committed.decisions if isinstance(one, Fork))
    return {(row.device, row.stream) for row in forks}


def _by_device(arrivals: Sequence[Arrival]) -> list[list[Arrival]]:
    groups: dict[str, list[Arrival]] = {}
    for arrival in arrivals:
        groups.setdefault(arrival.key[0], []).append(arrival)
    return list(groups.values())
