"""Fakes of the driver's ports: a journal, a broker with its collector, an endpoint, and what they all write down."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from agent.core import effects as do
from agent.core.batch import Batch
from agent.core.effects import EndpointEffect
from agent.core.events import DeviceFacts, PersonActed, StepFinished, StepMoved, StepResult
from agent.runtime.ports import (
    ArchiveFailed,
    Connection,
    DeviceReport,
    Incoming,
    JournalFailed,
    JournalState,
    Post,
    TransportLost,
    TransportRefused,
    Will,
)
from agent.wire.assignment import Admitted, AssignedItem, Assignment
from agent.wire.codec import SIGNATURE_TYPES, decode, digest, encode
from agent.wire.events import AttemptStarted, Event, Report
from agent.wire.identity import TrustedKey, key_id
from agent.wire.messages import Ack, Command, Presence, Signed
from agent.wire.profile import EspProfile
from agent.wire.topics import Channel, DeviceTopic, device_topic, parse
from agent.wire.vocabulary import EnrollmentType, Gate, ItemState, PersonAction
from simulator.verify.disk import Kept

TENANT = "tests"
STORE = "store-1"


class PowerCut(Exception):
    """The power goes: nothing after this happens."""


class Diary:
    """What happened in which order, over all fakes; cuts the power before its n-th line."""

    def __init__(self, cut_at: int | None = None) -> None:
        self.lines: list[tuple[str, object]] = []
        self.cut_at = cut_at

    def write(self, what: str, about: object) -> None:
        """Add a line, or cut the power instead."""
        if self.cut_at is not None and len(self.lines) >= self.cut_at:
            raise PowerCut
        self.lines.append((what, about))


class MemoryJournal:
    """A journal without a disk, which keeps the same promises while the process lives."""

    def __init__(self, diary: Diary | None = None) -> None:
        self.devices: dict[str, Kept] = {}
        self.diary = Diary() if diary is None else diary
        self.failures = 0
        """How many commits and first loads fail from now on, as on a full disk."""

    async def load(self, device: str, new_stream: str) -> JournalState:
        if self.failures and device not in self.devices:
            self.failures -= 1
            raise JournalFailed("database or disk is full")
        kept = self.devices.setdefault(device, Kept(new_stream))
        return JournalState(
            device=device,
            stream=kept.stream,
            session=kept.session,
            entries=tuple(kept.entries),
            outbox=kept.outbox(),
            executed=frozenset(kept.executed),
            checkpoints=tuple(kept.checkpoints),
        )

    async def commit(self, device: str, batch: Batch) -> None:
        if self.failures:
            self.failures -= 1
            raise JournalFailed("database or disk is full")
        self.diary.write("commit", batch)
        kept = self.devices[device]
        kept.take(batch)

    async def fetch(self, device: str, first: int, last: int) -> Sequence[tuple[int, Report]]:
        return self.devices[device].fetch(first, last)


class FakeArchive:
    """Writes log archives into the diary; `problem` makes it fail, `is_hung` makes it never end."""

    def __init__(self, diary: Diary) -> None:
        self.diary = diary
        self.problem = ""
        self.is_hung = False

    async def write(self, report: DeviceReport) -> str:
        self.diary.write("archive", report)
        if self.is_hung:
            await asyncio.Event().wait()
        if self.problem:
            raise ArchiveFailed(self.problem)
        return f"/logs/{report.facts.device}-{report.command}.zip"


class FakeBroker:
    """Delivers at once to whoever subscribed, keeps retained messages, and publishes wills."""

    def __init__(self) -> None:
        self.connections: set[FakeConnection] = set()
        self.retained: dict[str, bytes] = {}
        self.listeners: list[Callable[[str, bytes], None]] = []
        self.is_up = True
        self.refusal: str | None = None
        self.publish_refusal: str | None = None
        self.lose: Callable[[str, bytes], bool] = lambda _topic, _payload: False

    def publish(self, topic: str, payload: bytes, *, retain: bool) -> None:
        if self.lose(topic, payload):
            return
        if retain:
            self.retained[topic] = payload
        for listener in self.listeners:
            listener(topic, payload)
        for connection in self.connections:
            if connection.wants(topic):
                connection.deliver(Incoming(topic, payload, retained=False))

    def break_all(self) -> None:
        """Break every connection; the wills are published."""
        for connection in list(self.connections):
            connection.cut()
            self.drop(connection)

    def drop(self, connection: FakeConnection) -> None:
        self.connections.discard(connection)
        if connection.will is not None:
            self.publish(connection.will.topic, connection.will.payload, retain=True)


class FakeConnection:
    """One session with the fake broker."""

    def __init__(self, broker: FakeBroker, will: Will | None, diary: Diary) -> None:
        self._broker = broker
        self.will = will
        self._diary = diary
        self._filters: list[list[str]] = []
        self._arrived: deque[Incoming | None] = deque()
        self._news = asyncio.Event()
        self._is_cut = False

    def wants(self, topic: str) -> bool:
        parts = topic.split("/")
        return any(
            len(f) == len(parts) and all(a in ("+", b) for a, b in zip(f, parts, strict=True))
            for f in self._filters
        )

    def deliver(self, incoming: Incoming) -> None:
        self._arrived.append(incoming)
        self._news.set()

    def cut(self) -> None:
        self._is_cut = True
        self._news.set()

    async def subscribe(self, filters: Sequence[str]) -> None:
        self._filters += [f.split("/") for f in filters]
        for topic, payload in self._broker.retained.items():
            if self.wants(topic):
                self.deliver(Incoming(topic, payload, retained=True))

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> asyncio.Future[None]:
        confirmation: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._is_cut:
            confirmation.set_exception(TransportLost("the broker is gone"))
        elif self._broker.publish_refusal is not None:
            confirmation.set_exception(TransportRefused(self._broker.publish_refusal))
        else:
            self._diary.write("publish", (topic, payload))
            self._broker.publish(topic, payload, retain=retain)
            confirmation.set_result(None)
        return confirmation

    async def messages(self) -> AsyncIterator[Incoming]:
        while True:
            while self._arrived:
                incoming = self._arrived.popleft()
                assert incoming is not None
                yield incoming
            if self._is_cut:
                raise TransportLost("the broker is gone")
            self._news.clear()
            await self._news.wait()


class FakeTransport:
    """Connects to the fake broker."""

    def __init__(self, broker: FakeBroker, diary: Diary | None = None) -> None:
        self._broker = broker
        self._diary = Diary() if diary is None else diary
        self.attempts = 0

    @asynccontextmanager
    async def connect(self, client_id: str, will: Will | None) -> AsyncIterator[Connection]:
        self.attempts += 1
        if self._broker.refusal is not None:
            raise TransportRefused(self._broker.refusal)
        if not self._broker.is_up:
            raise TransportLost("connection refused")
        self._diary.write("connect", client_id)
        connection = FakeConnection(self._broker, will, self._diary)
        self._broker.connections.add(connection)
        try:
            yield connection
        except BaseException:
            if connection in self._broker.connections:
                self._broker.drop(connection)
            raise
        self._broker.connections.discard(connection)


class Signer:
    """Signs assignments and commands as a collector does."""

    def __init__(self) -> None:
        self.key = Ed25519PrivateKey.generate()
        public = self.key.public_key()
        pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
        self.trusted = TrustedKey(kid=key_id(public.public_bytes_raw()), public_key=pem)

    def sign(self, message: Assignment | Command, channel: Channel) -> bytes:
        return self.sign_bytes(encode(message), SIGNATURE_TYPES[channel])

    def sign_bytes(self, payload: bytes, typ: str) -> bytes:
        compact = jwt.PyJWS().encode(
            payload, self.key, algorithm="EdDSA", headers={"kid": self.trusted.kid, "typ": typ}
        )
        return encode(Signed.from_compact(compact))


class FakeCollector:
    """Stores what comes in order, acknowledges it, answers births, and admits everybody."""

    def __init__(self, broker: FakeBroker, signer: Signer, decision: Admitted) -> None:
        self.broker = broker
        self.signer = signer
        self.decision = decision
        self.stored: dict[str, list[Event]] = {}
        self.presences: list[Presence] = []
        self.assignments: dict[str, bytes] = {}
        self.is_silent = False
        broker.listeners.append(self._hear)

    def events(self, stream: str) -> list[Event]:
        return self.stored.get(stream, [])

    def _hear(self, topic: str, payload: bytes) -> None:
        where = parse(topic)
        if self.is_silent or not isinstance(where, DeviceTopic) or not payload:
            return
        if where.channel is Channel.EVENT:
            self._take(decode(Event, payload))
        elif where.channel is Channel.PRESENCE:
            presence = decode(Presence, payload)
            self.presences.append(presence)
            if presence.state == "online":
                self.acknowledge(presence.device, presence.stream)
                assignment = self.assignments.get(presence.attempt or "")
                if assignment is not None:
                    self._publish(presence.device, Channel.ASSIGNMENT, assignment)

    def _take(self, event: Event) -> None:
        stored = self.stored.setdefault(event.stream, [])
        last = stored[-1].seq if stored else 0
        if event.seq == last + 1 or (event.seq > last + 1 and event.oldest_held == event.seq):
            if event.seq == last + 1 and stored and event.after is not None:
                assert event.after == _digest(stored[-1]), "a report names the one before it"
            stored.append(event)
            if isinstance(event.report.body, AttemptStarted):
                self._admit(event)
        self.acknowledge(event.device, event.stream)

    def _admit(self, event: Event) -> None:
        assignment = Assignment(
            device=event.device,
            attempt=event.report.attempt,
            store=STORE,
            term=1,
            version=len(self.assignments) + 1,
            issued_at=datetime.now(UTC),
            decision=self.decision,
        )
        signed = self.signer.sign(assignment, Channel.ASSIGNMENT)
        self.assignments[event.report.attempt] = signed
        self._publish(event.device, Channel.ASSIGNMENT, signed)

    def acknowledge(self, device: str, stream: str) -> None:
        stored = self.stored.get(stream, [])
        last = stored[-1].seq if stored else 0
        known = _digest(stored[-1]) if stored else None
        ack = Ack(device=device, store=STORE, term=1, stream=stream, stored_seq=last, digest=known)
        self._publish(device, Channel.ACK, encode(ack))

    def _publish(self, device: str, channel: Channel, payload: bytes) -> None:
        self.broker.publish(str(device_topic(TENANT, device, channel)), payload, retain=True)


def _digest(event: Event) -> str:
    return digest(event.stream, event.seq, event.report, event.after)


class ScriptedEndpoint:
    """Finishes every step after a second of device time; what is installed outlives the agent."""

    def __init__(self, device: str, diary: Diary | None = None) -> None:
        self.device = device
        self.diary = Diary() if diary is None else diary
        self.installed: set[str] = set()
        self.gates: list[Gate] = []
        self.fails: set[str] = set()
        self.is_silent = False
        self.answers_prompts = True
        self._post: Post | None = None

    def restarted(self, diary: Diary) -> ScriptedEndpoint:
        """The same device under a new agent."""
        again = ScriptedEndpoint(self.device, diary)
        again.installed, again.gates, again.fails = self.installed, self.gates, self.fails
        return again

    def facts(self) -> DeviceFacts:
        return DeviceFacts(
            device=self.device,
            enrollment_type=EnrollmentType.WINDOWS_AUTOPILOT,
            platform="Windows 11",
            os_version="10.0.26100",
            agent_version="1.0",
            user="ada@example.com",
        )

    def attach(self, post: Post) -> None:
        self._post = post

    def post(self, event: object, at_ms: int | None = None) -> None:
        """Say something without being asked."""
        assert self._post is not None
        self._post(event, at_ms)  # type: ignore[arg-type]

    def act(self, effect: EndpointEffect, at_ms: int) -> None:
        self.diary.write("act", effect)
        match effect:
            case do.SetGate(gate=gate):
                self.gates.append(gate)
            case do.RunStep() if not self.is_silent:
                self._run(effect, at_ms)
            case do.AskPerson(item=item, actions=actions) if self.answers_prompts:
                assert PersonAction.PROCEED in actions
                self.post(PersonActed(item=item, action=PersonAction.PROCEED), at_ms + 1000)
            case do.ResetDevice():
                self.installed.clear()
            case _:
                pass

    def _run(self, step: do.RunStep, at_ms: int) -> None:
        moved = StepMoved(item=step.item, run=step.run, state=ItemState.INSTALLING, percent=40)
        self.post(moved, at_ms + 500)
        if step.item in self.fails:
            self.post(
                StepFinished(
                    item=step.item,
                    run=step.run,
                    result=StepResult.COMPLETED,
                    exit_code=1603,
                    detected=False,
                ),
                at_ms + 1000,
            )
            return
        known = step.detect_first and step.item in self.installed
        self.installed.add(step.item)
        result = StepResult.ALREADY_PRESENT if known else StepResult.COMPLETED
        self.post(
            StepFinished(item=step.item, run=step.run, result=result, exit_code=0, detected=True),
            at_ms + 1000,
        )


def admitted(*apps: str) -> Admitted:
    """A plain assignment of these apps, all of them blocking."""
    return Admitted(
        profile=EspProfile(id="default", name="Default ESP"),
        items=tuple(AssignedItem(id=app, name=app.title(), expected_seconds=2) for app in apps),
    )
