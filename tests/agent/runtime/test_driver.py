"""The driver: persist, act, publish; restarts anywhere; a broker that fails; hostile messages; a full disk; goodbye."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from agent.core import effects as do
from agent.core.batch import Batch, Entry
from agent.core.events import (
    AssignmentArrived,
    AttemptBegan,
    CommandReceived,
    Event,
    Limits,
    LogsCollected,
    Restarted,
    StepFinished,
    StepMoved,
    StepResult,
)
from agent.core.link import LinkLimits
from agent.core.outbox import NumberReport, OutboxLimits
from agent.core.pace import Patience
from agent.runtime.clock import DeviceClock, SteadyClock
from agent.runtime.driver import Driver, DriverOptions, Outcome
from agent.runtime.ports import (
    DeviceReport,
    JournalFailed,
)
from agent.signatures import JwsVerifier
from agent.wire import events as wire_events
from agent.wire.assignment import Assignment
from agent.wire.codec import decode, digest, encode
from agent.wire.events import MessageRefused
from agent.wire.messages import (
    Ack,
    CollectLogs,
    CollectorState,
    Command,
    ExtendTimeout,
    ResetDevice,
    Signed,
    Status,
)
from agent.wire.progress import CollectedLogs, Progress, Reporting
from agent.wire.topics import Channel, collector_topic, device_topic, partition_of
from agent.wire.vocabulary import Choice, Context, EndState, Gate, PersonAction
from simulator.verify.disk import Kept
from tests.agent.fakes import (
    STORE,
    TENANT,
    Diary,
    FakeArchive,
    FakeBroker,
    FakeCollector,
    FakeTransport,
    MemoryJournal,
    PowerCut,
    ScriptedEndpoint,
    Signer,
    admitted,
)

DEVICE = "PC-1"
SPEED = 5_000.0
QUICK = LinkLimits(backoff_ms=5, backoff_ms_max=20, refused_ms=40, stable_ms=0, probe_ms=10)
QUICK_OUTBOX = OutboxLimits(patience=Patience(late_ms=20, late_ms_max=100, repeat_ms=5))
SIGNER = Signer()


def loop_s() -> float:
    """Seconds of the running loop, which every clock of a driver here follows."""
    return asyncio.get_running_loop().time()


@dataclass
class World:
    """A device with everything around it; `driver` builds a new agent for it."""

    diary: Diary = field(default_factory=Diary)
    broker: FakeBroker = field(default_factory=FakeBroker)
    journal: MemoryJournal = field(init=False)
    endpoint: ScriptedEndpoint = field(init=False)
    transport: FakeTransport = field(init=False)
    archive: FakeArchive = field(init=False)
    collector: FakeCollector = field(init=False)

    def __post_init__(self) -> None:
        self.journal = MemoryJournal(self.diary)
        self.endpoint = ScriptedEndpoint(DEVICE, self.diary)
        self.transport = FakeTransport(self.broker, self.diary)
        self.archive = FakeArchive(self.diary)
        self.collector = FakeCollector(self.broker, SIGNER, admitted("portal", "office"))

    def options(self, **changes: Any) -> DriverOptions:
        plain = DriverOptions(
            device=DEVICE,
            tenant=TENANT,
            agent_version="1.0",
            link_limits=QUICK,
            outbox_limits=QUICK_OUTBOX,
            journal_retry_ms=1,
            journal_retry_ms_max=2,
        )
        return replace(plain, **changes)

    def driver(self, *, speed: float = SPEED, connected: bool = True, **changes: Any) -> Driver:
        return Driver(
            self.options(**changes),
            self.endpoint,
            self.journal,
            DeviceClock(speed, monotonic=loop_s),
            JwsVerifier([SIGNER.trusted]),
            self.transport if connected else None,
            archive=self.archive,
            steady=SteadyClock(monotonic=loop_s).now_ms,
        )

    def power_returns(self, cut_at: int | None = None) -> None:
        """A new agent process: what is durable stays, everything else begins anew."""
        self.diary = Diary(cut_at)
        self.journal.diary = self.diary
        self.archive = FakeArchive(self.diary)
        self.endpoint = self.endpoint.restarted(self.diary)
        self.transport = FakeTransport(self.broker, self.diary)

    @property
    def kept(self) -> Any:
        return self.journal.devices[DEVICE]

    def stored(self) -> list[wire_events.Event]:
        return self.collector.events(self.kept.stream)

    def stored_bodies(self) -> list[wire_events.Body]:
        return [event.report.body for event in self.stored()]

    def births(self) -> int:
        return sum(presence.state == "online" for presence in self.collector.presences)

    def audit(self) -> None:
        """What the store has is what the journal has, number by number."""
        stored = {e.seq: digest(e.stream, e.seq, e.report, e.after) for e in self.stored()}
        kept = {row.seq: row.digest for row in self.kept.rows.values()}
        assert stored == kept
        assert list(stored) == list(range(1, len(stored) + 1))

    def command(self, action: Any, command_id: str = "c-1", **changes: Any) -> bytes:
        now = datetime.now(UTC)
        command = Command(
            id=command_id,
            device=DEVICE,
            attempt=self.kept.entries[0].event.attempt,
            action=action,
            issued_by="help desk",
            issued_at=now,
            expires_at=now + timedelta(hours=1),
            attempt_ms_max=10**9,
        ).model_copy(update=changes)
        return SIGNER.sign(command, Channel.COMMAND)

    def send(self, channel: Channel, payload: bytes, command: str | None = None) -> None:
        self.broker.publish(
            str(device_topic(TENANT, DEVICE, channel, command)), payload, retain=True
        )


@pytest.fixture
def world() -> World:
    return World()


@contextlib.asynccontextmanager
async def running(driver: Driver) -> AsyncIterator[asyncio.Task[Outcome]]:
    task = asyncio.create_task(driver.run(), name="driver under test")
    try:
        yield task
    finally:
        driver.stop()
        await task


async def until(
    driver: Driver, wanted: Callable[[Progress, Reporting], bool]
) -> tuple[Progress, Reporting]:
    """The first snapshot that is as wanted."""
    async with asyncio.timeout(10), contextlib.aclosing(_generator(driver)) as snapshots:
        async for progress, reporting in snapshots:
            if wanted(progress, reporting):
                return progress, reporting
    raise AssertionError("the driver ended before")


def _generator(driver: Driver) -> Any:
    return driver.snapshots()


def published(about: object) -> tuple[str, bytes]:
    assert isinstance(about, tuple)
    topic, payload = about
    return str(topic), bytes(payload)


async def test_a_device_enrolls_and_the_store_has_every_report(world: World) -> None:
    outcome = await world.driver().run()
    assert (outcome.end_state, outcome.gate) == (EndState.SUCCEEDED, Gate.RELEASED)
    assert outcome.unacknowledged == 0
    assert {"portal", "office"} <= world.endpoint.installed
    world.audit()


async def test_nothing_is_acted_on_or_published_before_it_is_durable(world: World) -> None:
    """Every effect and every numbered report follows a commit that holds its cause."""
    await world.driver().run()
    numbered: set[int] = set()
    inputs = 0
    acted_for = 0
    for what, about in world.diary.lines:
        if what == "commit":
            assert isinstance(about, Batch)
            numbered |= {c.seq for c in about.outbox if isinstance(c, NumberReport)}
            inputs += about.entry is not None
        elif what == "act":
            assert inputs > 0
            acted_for = inputs
        elif what == "publish":
            topic, payload = published(about)
            if topic.endswith("/event"):
                assert decode(wire_events.Event, payload).seq in numbered
    assert acted_for > 10
    first_act = next(i for i, line in enumerate(world.diary.lines) if line[0] == "act")
    first_gate = world.diary.lines[first_act][1]
    assert isinstance(first_gate, do.SetGate)
    assert world.diary.lines[first_act - 1][0] in ("commit", "publish", "connect")


async def test_the_session_number_is_durable_before_the_connection(world: World) -> None:
    await world.driver().run()
    lines = world.diary.lines
    connected = next(i for i, line in enumerate(lines) if line[0] == "connect")
    assert any(isinstance(about, Batch) and about.session == 1 for _, about in lines[:connected])


async def test_a_power_cut_between_any_two_effects_loses_nothing(world: World) -> None:
    """Cut before every single line of the diary, then let the device finish: audit, gate and end are the same."""
    await world.driver().run()
    total = len(world.diary.lines)
    assert total > 60
    cuts = 0
    for cut_at in range(total):
        cut = World(diary=Diary(cut_at))
        try:
            await cut.driver().run()
        except PowerCut:
            cuts += 1
        cut.broker.break_all()
        cut.power_returns()
        outcome = await asyncio.wait_for(cut.driver().run(), 10)
        assert outcome.gate is Gate.RELEASED, f"cut before line {cut_at}"
        assert outcome.end_state is EndState.SUCCEEDED
        cut.audit()
        opened = cut.endpoint.gates.index(Gate.RELEASED)
        assert Gate.LOCKED not in cut.endpoint.gates[opened:]
    # The last lines, goodbye among them, may come in one status more or less.
    assert cuts >= total - 3


async def test_a_restart_says_so_and_detects_what_ran(world: World) -> None:
    world.endpoint.is_silent = True
    driver = world.driver()
    async with running(driver):
        await until(driver, lambda p, _: p.percent == 0 and p.phase is not None)
    world.power_returns()
    await world.driver().run()
    restarts = [e.event for e in world.kept.entries if isinstance(e.event, Restarted)]
    assert restarts == [Restarted(planned=False)]
    steps = [a for what, a in world.diary.lines if what == "act" and isinstance(a, do.RunStep)]
    assert steps[0].detect_first


async def test_a_restart_comes_before_the_deadlines_that_passed_meanwhile(world: World) -> None:
    """A deadline first would start the step, and the restart would start it once more."""
    assigned = Assignment(
        device=DEVICE,
        attempt="a-1",
        store=STORE,
        term=1,
        version=1,
        issued_at=datetime.now(UTC),
        decision=admitted("portal"),
    )
    failed = StepFinished(item="entra_join", run=2, result=StepResult.FAILED)
    events: tuple[tuple[int, Event], ...] = (
        (0, AttemptBegan(attempt="a-1", facts=world.endpoint.facts())),
        (0, AssignmentArrived(assignment=assigned)),
        (1_000, StepFinished(item="tpm_attestation", run=1, result=StepResult.COMPLETED)),
        (2_000, failed),
        # The next try was due during this restart, and the power went right after it.
        (600_000, Restarted(planned=True)),
    )
    entries = [Entry(n, at_ms, 0, "1.0", event) for n, (at_ms, event) in enumerate(events, 1)]
    world.journal.devices[DEVICE] = Kept("stream-1", entries=entries)
    world.endpoint.is_silent = True
    driver = world.driver()
    async with running(driver):
        await until(driver, lambda p, _: _tries(p) == 2)
    runs = [a for what, a in world.diary.lines if what == "act" and isinstance(a, do.RunStep)]
    assert [(step.item, step.run) for step in runs] == [("entra_join", 3)]


def _tries(progress: Progress) -> int:
    return max((item.attempt for item in progress.items()), default=0)


async def test_running_time_goes_on_where_it_stood(world: World) -> None:
    world.endpoint.is_silent = True
    driver = world.driver(speed=5.0)
    async with running(driver):
        await until(driver, lambda p, _: p.phase is not None and p.attempt_ms > 5_000)
    stood_ms = world.kept.entries[-1].at_ms
    world.power_returns()
    await world.driver().run()
    stamps = [entry.at_ms for entry in world.kept.entries]
    assert stamps == sorted(stamps)
    assert stamps[-1] - stood_ms < 3_600_000


async def test_without_a_broker_the_reports_are_kept_for_later(world: World) -> None:
    decision = admitted("portal", "office", "browser")
    outcome = await world.driver(connected=False, decision=decision).run()
    assert outcome.end_state is EndState.SUCCEEDED
    assert outcome.unacknowledged > 32
    assert world.stored() == []
    world.power_returns()
    assert (await world.driver().run()).unacknowledged == 0
    world.audit()


async def test_reports_catch_up_in_order_after_the_broker_died_and_returned(world: World) -> None:
    driver = world.driver()
    async with running(driver) as task:
        await until(driver, lambda p, r: r.connected and p.phase is not None)
        world.broker.is_up = False
        world.broker.break_all()
        _, reporting = await until(driver, lambda p, r: bool(p.end_state and r.problem))
        assert not reporting.connected
        assert reporting.unacknowledged > 0
        assert reporting.not_through_since is not None
        assert "No connection to the broker" in reporting.problem
        world.broker.is_up = True
        outcome = await asyncio.wait_for(asyncio.shield(task), 10)
    assert outcome.unacknowledged == 0
    world.audit()


async def test_lost_reports_and_acknowledgements_are_sent_again(world: World) -> None:
    """The broker confirms and then loses a third of all messages."""
    chance = random.Random(7)
    world.broker.lose = lambda topic, _: (
        topic.endswith(("/event", "/ack")) and chance.random() < 0.33
    )
    assert (await world.driver().run()).unacknowledged == 0
    world.audit()


async def test_a_broker_that_forgot_everything_costs_nothing(world: World) -> None:
    """The assignment is lost with the broker's memory; the next birth brings it again."""
    first = True

    def lose(topic: str, _: bytes) -> bool:
        nonlocal first
        lost = first and topic.endswith("/assignment")
        first = first and not lost
        return lost

    world.broker.lose = lose
    driver = world.driver()
    async with running(driver) as task:
        await until(driver, lambda p, r: r.connected and r.unacknowledged == 0)
        world.broker.retained.clear()
        world.broker.break_all()
        outcome = await asyncio.wait_for(asyncio.shield(task), 10)
    assert outcome.end_state is EndState.SUCCEEDED


async def test_a_collector_restored_from_a_backup_gets_the_rest_again(world: World) -> None:
    await world.driver().run()
    del world.collector.stored[world.kept.stream][5:]
    world.power_returns()
    driver = world.driver(linger_ms=2_000)
    async with running(driver) as task:
        await asyncio.wait_for(asyncio.shield(task), 10)
    world.power_returns()
    await world.driver().run()
    world.audit()


async def test_a_refused_device_says_so_and_tries_again(world: World) -> None:
    world.broker.refusal = "Not authorized"
    driver = world.driver()
    async with running(driver) as task:
        _, reporting = await until(driver, lambda _, r: bool(r.problem))
        assert "refuses this account: Not authorized" in reporting.problem
        world.broker.refusal = None
        assert (await asyncio.wait_for(asyncio.shield(task), 10)).unacknowledged == 0


async def test_a_refused_publish_ends_the_session_and_is_shown(world: World) -> None:
    world.broker.publish_refusal = "may not publish"
    driver = world.driver()
    async with running(driver):
        _, reporting = await until(driver, lambda _, r: "refuses" in r.problem)
        assert "may not publish" in reporting.problem


async def test_birth_and_goodbye_and_the_last_status_are_published_in_this_order(
    world: World,
) -> None:
    await world.driver().run()
    publications = [published(a) for what, a in world.diary.lines if what == "publish"]
    topics = [topic.rsplit("/", 1)[1] for topic, _ in publications]
    assert topics[0] == "presence"
    assert topics[-2:] == ["status", "presence"]
    last = decode(Status, publications[-2][1])
    assert last.progress.end_state is EndState.SUCCEEDED
    assert [p.state for p in world.collector.presences] == ["online", "goodbye"]
    assert not world.broker.connections


async def test_a_broken_connection_leaves_the_will_of_its_session(world: World) -> None:
    driver = world.driver()
    async with running(driver):
        await until(driver, lambda _, r: bool(world.collector.presences))
        world.broker.break_all()
        await until(driver, lambda _, r: len(world.collector.presences) == 3)
    states = [(p.state, p.session) for p in world.collector.presences]
    assert states[:3] == [("online", 1), ("lost", 1), ("online", 2)]


async def test_status_goes_out_at_most_once_a_second(world: World) -> None:
    await world.driver().run()
    topics = [published(a)[0] for what, a in world.diary.lines if what == "publish"]
    assert sum(topic.endswith("/status") for topic in topics) <= 3


async def test_an_offline_collector_is_held_for_and_a_probe_finds_it_back(world: World) -> None:
    partition = partition_of(DEVICE)
    state = CollectorState(partition=partition, store=STORE, term=1, state="offline")
    topic = str(collector_topic(TENANT, partition))
    world.broker.publish(topic, encode(state), retain=True)
    world.collector.is_silent = True
    driver = world.driver()
    async with running(driver) as task:
        await until(driver, lambda _, r: r.collector_online is False)
        world.collector.is_silent = False
        outcome = await asyncio.wait_for(asyncio.shield(task), 10)
    assert outcome.unacknowledged == 0
    world.audit()


async def test_a_command_is_executed_once_although_it_stays_retained(world: World) -> None:
    world.endpoint.is_silent = True
    driver = world.driver()
    async with running(driver):
        await until(driver, lambda p, r: p.deadline_ms is not None)
        world.send(Channel.COMMAND, world.command(CollectLogs()), "c-1")
        world.send(Channel.COMMAND, world.command(CollectLogs()), "c-1")
        await until(driver, lambda p, r: bool(world.kept.executed))
        world.broker.break_all()
        await until(driver, lambda p, r: world.births() == 2 and r.unacknowledged == 0)
    received = [e for e in world.kept.entries if isinstance(e.event, CommandReceived)]
    assert len(received) == 1
    assert world.kept.executed == {"c-1"}
    assert [report.command for report in archives(world)] == ["c-1"]


def archives(world: World) -> list[DeviceReport]:
    """What the log archives were written of, as far as they were begun."""
    return [a for _, a in world.diary.lines if isinstance(a, DeviceReport)]


def collected(world: World) -> list[LogsCollected]:
    return [e.event for e in world.kept.entries if isinstance(e.event, LogsCollected)]


async def test_the_archive_s_path_reaches_the_collector_and_the_screen(world: World) -> None:
    """It is written of the moment at which it was asked for, once that is durable; its answer is the next input."""
    world.endpoint.is_silent = True
    driver = world.driver()
    async with running(driver):
        await until(driver, lambda p, r: p.deadline_ms is not None)
        world.send(Channel.COMMAND, world.command(CollectLogs()), "c-1")
        progress, _ = await until(driver, lambda p, r: p.logs is not None and not r.unacknowledged)
    where = "/logs/PC-1-c-1.zip"
    assert progress.logs == CollectedLogs(path=where)
    answer = wire_events.LogsCollected(path=where, command="c-1")
    assert [b for b in world.stored_bodies() if isinstance(b, wire_events.LogsCollected)] == [
        answer
    ]
    asked, answered = [
        (place, entry)
        for place, entry in enumerate(world.kept.entries)
        if isinstance(entry.event, CommandReceived | LogsCollected)
    ]
    assert answered[0] == asked[0] + 1
    (report,) = archives(world)
    assert report.at_ms == asked[1].at_ms == answered[1].at_ms
    assert report.outbox["stream"] == world.kept.stream
    assert (report.progress.device, report.facts.device) == (DEVICE, DEVICE)
    begun = next(i for i, line in enumerate(world.diary.lines) if line[1] is report)
    kept = [b.entry for _, b in world.diary.lines[:begun] if isinstance(b, Batch) and b.entry]
    assert isinstance(kept[-1].event, CommandReceived)


@pytest.mark.parametrize("cause", ["it fails", "it hangs", "there is none"])
async def test_a_missing_archive_is_told_with_the_reason_and_setup_goes_on(
    world: World, cause: str
) -> None:
    world.archive.problem = "no room " + 3_000 * "x" if cause == "it fails" else ""
    world.archive.is_hung = cause == "it hangs"
    driver = world.driver(archive_ms=20)
    if cause == "there is none":
        driver = Driver(
            world.options(),
            world.endpoint,
            world.journal,
            DeviceClock(SPEED, monotonic=loop_s),
            JwsVerifier([SIGNER.trusted]),
            world.transport,
            steady=SteadyClock(monotonic=loop_s).now_ms,
        )
    world.endpoint.answers_prompts = False
    world.endpoint.is_silent = True
    async with running(driver) as task:
        await until(driver, lambda p, r: p.deadline_ms is not None)
        world.send(Channel.COMMAND, world.command(CollectLogs()), "c-1")
        progress, _ = await until(driver, lambda p, r: p.logs is not None and not r.unacknowledged)
        assert not task.done()
    assert progress.logs is not None
    told = progress.logs.problem
    expected = {"it fails": "no room", "it hangs": "within 0 seconds", "there is none": "keeps no"}
    assert expected[cause] in told
    assert (progress.logs.path, len(told) <= 2_000) == ("", True)
    (body,) = [b for b in world.stored_bodies() if isinstance(b, wire_events.LogsCollected)]
    assert (body.path, body.problem, body.command) == ("", told, "c-1")
    world.audit()


async def test_a_power_cut_at_any_point_of_collecting_logs_collects_them_in_the_end() -> None:
    """Cut before each line from the command on: whatever was lost is written again, and told once."""
    cuts = 0
    for line in range(12):
        cut = World()
        cut.endpoint.is_silent = True
        driver = cut.driver()
        task = asyncio.create_task(driver.run())
        await until(driver, lambda p, r: p.deadline_ms is not None and not r.unacknowledged)
        cut.diary.cut_at = len(cut.diary.lines) + line
        cut.send(Channel.COMMAND, cut.command(CollectLogs()), "c-1")
        told = asyncio.create_task(until(driver, lambda p, r: p.logs is not None))
        await asyncio.wait({task, told}, return_when=asyncio.FIRST_COMPLETED)
        driver.stop()
        await asyncio.gather(task, told, return_exceptions=True)
        cuts += not collected(cut)
        cut.broker.break_all()
        cut.power_returns()
        again = cut.driver()
        async with running(again):
            await until(again, lambda p, r: p.logs is not None and not r.unacknowledged)
        assert collected(cut) == [LogsCollected(path="/logs/PC-1-c-1.zip", command="c-1")]
        answers = [b for b in cut.stored_bodies() if isinstance(b, wire_events.LogsCollected)]
        assert len(answers) == 1, f"cut before line {line}"
        cut.audit()
    assert cuts >= 3


async def test_an_expired_command_is_handed_on_as_expired(world: World) -> None:
    world.endpoint.is_silent = True
    driver = world.driver()
    async with running(driver):
        await until(driver, lambda p, r: p.phase is not None)
        old = datetime.now(UTC) - timedelta(seconds=1)
        extend = ExtendTimeout(context=Context.DEVICE, minutes=5)
        world.send(Channel.COMMAND, world.command(extend, expires_at=old), "c-1")
        await until(driver, lambda p, r: len(world.kept.entries) > 2)
    received = [e.event for e in world.kept.entries if isinstance(e.event, CommandReceived)]
    assert [event.expired for event in received] == [True]


async def test_a_reset_begins_a_new_attempt_in_the_same_stream(world: World) -> None:
    plain = world.collector.decision.profile
    errors = plain.error_handling.model_copy(update={"allow_reset": True})
    profile = plain.model_copy(update={"error_handling": errors})
    world.collector.decision = world.collector.decision.model_copy(update={"profile": profile})
    world.endpoint.fails.add("portal")
    driver = world.driver(speed=50_000.0)
    async with running(driver) as task:
        await until(driver, lambda p, r: p.error is not None)
        world.endpoint.fails.clear()
        world.send(Channel.COMMAND, world.command(ResetDevice()), "c-1")
        outcome = await asyncio.wait_for(asyncio.shield(task), 10)
    attempts = [e.event for e in world.kept.entries if isinstance(e.event, AttemptBegan)]
    assert len({a.attempt for a in attempts}) == 2
    assert outcome.end_state is EndState.SUCCEEDED
    assert outcome.attempt == attempts[-1].attempt
    world.audit()


def hostile_messages(world: World) -> dict[str, list[tuple[Channel, bytes, str | None]]]:
    """By the reason they are refused for."""
    attempt = world.kept.entries[0].event.attempt
    assignment = Assignment(
        device=DEVICE,
        attempt=attempt,
        store=STORE,
        term=1,
        version=50,
        issued_at=datetime.now(UTC),
        decision=admitted("malware"),
    )
    signed = SIGNER.sign(assignment, Channel.ASSIGNMENT)
    altered = decode(Signed, signed)
    flipped = "A" if altered.signature[5] != "A" else "B"
    forged = altered.model_copy(
        update={"signature": altered.signature[:5] + flipped + altered.signature[6:]}
    )
    elsewhere = assignment.model_copy(update={"device": "PC-2"})
    before = assignment.model_copy(update={"attempt": "attempt-of-old"})
    ack = Ack(device="PC-2", store=STORE, term=1, stream=world.kept.stream, stored_seq=1)
    ahead = ack.model_copy(update={"device": DEVICE, "stored_seq": 10**9})
    other_command = world.command(CollectLogs(), device="PC-2")
    return {
        "ack_ahead": [(Channel.ACK, encode(ahead), None)],
        "not_json": [(Channel.ACK, b"\xff\xfe{", None)],
        "invalid": [
            (Channel.ACK, b'{"schema": "esp.ack/1"}', None),
            (Channel.ASSIGNMENT, encode(assignment), None),
        ],
        "unknown_schema": [(Channel.ACK, encode(ack).replace(b"esp.ack/1", b"esp.ack/2"), None)],
        "oversized": [(Channel.ASSIGNMENT, b'{"a": "' + b"x" * 70_000 + b'"}', None)],
        "signature": [
            (Channel.ASSIGNMENT, encode(forged), None),
            (Channel.ASSIGNMENT, Signer().sign(assignment, Channel.ASSIGNMENT), None),
            (Channel.COMMAND, signed, "c-9"),
        ],
        "other_device": [
            (Channel.ACK, encode(ack), None),
            (Channel.ASSIGNMENT, SIGNER.sign(elsewhere, Channel.ASSIGNMENT), None),
            (Channel.COMMAND, other_command, "c-1"),
        ],
        "other_attempt": [(Channel.ASSIGNMENT, SIGNER.sign(before, Channel.ASSIGNMENT), None)],
        "other_command": [(Channel.COMMAND, world.command(CollectLogs()), "c-2")],
    }


TOLD = {
    "ack unreadable",
    "ack other_device",
    "assignment unsigned",
    "assignment signature",
    "assignment unknown_key",
    "assignment other_device",
    "command signature",
    "command other_device",
    "command other_command",
}


def told(world: World) -> list[str]:
    """What the collector heard of refused messages."""
    bodies = [event.report.body for event in world.collector.events(world.kept.stream)]
    return [f"{b.message} {b.reason}" for b in bodies if isinstance(b, MessageRefused)]


@pytest.mark.rule("refused-messages")
async def test_hostile_messages_are_counted_told_once_and_change_nothing_else(
    world: World,
) -> None:
    world.endpoint.is_silent = True
    driver = world.driver()
    async with running(driver):
        await until(driver, lambda p, r: p.phase is not None and r.unacknowledged == 0)
        entries = len(world.kept.entries)
        hostile = hostile_messages(world)
        for messages in hostile.values():
            for channel, payload, command in messages:
                world.send(channel, payload, command)
        expected = {reason: len(messages) for reason, messages in hostile.items()}
        world.send(Channel.COMMAND, world.command(CollectLogs(), "last"), "last")
        await until(driver, lambda p, r: p.logs is not None)
        assert driver.refused == expected
        # The last command and the answer to it, and what there was to tell.
        assert len(world.kept.entries) == entries + 2 + len(TOLD)
        await until(driver, lambda p, r: r.unacknowledged == 0)
    assert sorted(told(world)) == sorted(TOLD)
    world.power_returns()
    world.endpoint.is_silent = True
    driver = world.driver()
    async with running(driver):
        await until(driver, lambda p, r: r.connected and r.unacknowledged == 0)
        entries = len(world.kept.entries)
        for _ in range(3):
            for channel, payload, command in hostile["signature"]:
                world.send(channel, payload, command)
        await until(driver, lambda p, r: driver.refused.get("signature", 0) >= 9)
        assert len(world.kept.entries) == entries
    assert sorted(told(world)) == sorted(TOLD)


async def test_an_older_assignment_of_the_same_store_is_refused_also_after_a_restart(
    world: World,
) -> None:
    world.endpoint.is_silent = True
    driver = world.driver()
    async with running(driver):
        await until(driver, lambda p, r: p.phase is not None)
        attempt = world.kept.entries[0].event.attempt
        newer = Assignment(
            device=DEVICE,
            attempt=attempt,
            store=STORE,
            term=1,
            version=5,
            issued_at=datetime.now(UTC),
            decision=admitted("portal"),
        )
        world.send(Channel.ASSIGNMENT, SIGNER.sign(newer, Channel.ASSIGNMENT))
        await until(driver, lambda p, r: _assigned(world) == [1, 5])
    world.power_returns()
    driver = world.driver()
    async with running(driver):
        await until(driver, lambda p, r: r.connected)
        older = newer.model_copy(update={"version": 4})
        world.send(Channel.ASSIGNMENT, SIGNER.sign(older, Channel.ASSIGNMENT))
        await until(driver, lambda p, r: "older_version" in driver.refused)
    assert _assigned(world) == [1, 5]


def _assigned(world: World) -> list[int]:
    return [
        entry.event.assignment.version
        for entry in world.kept.entries
        if isinstance(entry.event, AssignmentArrived)
    ]


async def test_a_full_disk_keeps_the_gate_tells_and_goes_on(world: World) -> None:
    world.endpoint.is_silent = True
    driver = world.driver()
    async with running(driver) as task:
        await until(driver, lambda p, r: p.phase is not None)
        gates = list(world.endpoint.gates)
        world.journal.failures = 20
        acts = sum(what == "act" for what, _ in world.diary.lines)
        world.endpoint.is_silent = False
        world.endpoint.post(Restarted(planned=False))
        _, reporting = await until(driver, lambda p, r: bool(r.problem))
        assert "can't store its progress" in reporting.problem
        assert world.endpoint.gates == gates
        assert sum(what == "act" for what, _ in world.diary.lines) == acts
        outcome = await asyncio.wait_for(asyncio.shield(task), 10)
    assert outcome.end_state is EndState.SUCCEEDED
    assert world.journal.failures == 0
    world.audit()


async def test_a_disk_that_is_full_at_the_first_start_is_waited_for(world: World) -> None:
    world.journal.failures = 20
    outcome = await asyncio.wait_for(world.driver().run(), 10)
    assert outcome.end_state is EndState.SUCCEEDED
    assert world.journal.failures == 0
    world.audit()


async def test_an_agent_whose_disk_is_full_can_be_stopped_and_goes_on_later(world: World) -> None:
    world.endpoint.is_silent = True
    driver = world.driver()
    task = asyncio.create_task(driver.run(), name="driver under test")
    await until(driver, lambda p, r: p.phase is not None)
    world.journal.failures = 1_000_000
    world.endpoint.post(Restarted(planned=False))
    await until(driver, lambda p, r: bool(r.problem))
    kept, gates = list(world.kept.entries), list(world.endpoint.gates)
    driver.stop()
    with pytest.raises(JournalFailed):
        await asyncio.wait_for(task, 10)
    assert (world.kept.entries, world.endpoint.gates) == (kept, gates)
    world.journal.failures = 0
    world.power_returns()
    world.endpoint.is_silent = False
    outcome = await asyncio.wait_for(world.driver().run(), 10)
    assert outcome.end_state is EndState.SUCCEEDED
    world.audit()


async def test_a_person_s_answer_returns_when_it_is_durable_or_says_why_not(world: World) -> None:
    world.endpoint.answers_prompts = False
    driver = world.driver()
    async with running(driver) as task:
        progress, _ = await until(driver, lambda p, r: p.prompt is not None)
        assert progress.prompt is not None
        assert await driver.person_chose(Choice.RESET_DEVICE) is not None
        assert await driver.person_acted("no-such-item", PersonAction.PROCEED) is not None
        assert await driver.person_acted(progress.prompt.item, PersonAction.PROCEED) is None
        kinds = [entry.event.kind for entry in world.kept.entries]
        assert kinds.count("person_acted") == 1
        await asyncio.wait_for(asyncio.shield(task), 10)
    assert await driver.person_chose(Choice.TRY_AGAIN) == "the agent has ended"


async def test_the_emergency_exit_opens_the_gate_and_is_reported(world: World) -> None:
    world.endpoint.is_silent = True
    driver = world.driver(speed=50_000.0)
    async with running(driver) as task:
        await until(driver, lambda p, r: p.phase is not None)
        assert await driver.emergency_exit() is None
        outcome = await asyncio.wait_for(asyncio.shield(task), 10)
    assert outcome.gate is Gate.BYPASSED
    assert any(
        isinstance(b, wire_events.GateChanged) and b.gate is Gate.BYPASSED
        for b in world.stored_bodies()
    )


@pytest.mark.rule("after-release")
async def test_exit_on_release_ends_at_once_and_the_rest_is_reported_next_time(
    world: World,
) -> None:
    world.collector.is_silent = True
    outcome = await world.driver(decision=admitted("portal"), exit_on_release=True).run()
    assert outcome.gate is Gate.RELEASED
    assert outcome.unacknowledged > 0


@pytest.mark.rule("after-release")
async def test_linger_bounds_the_stay(world: World) -> None:
    world.collector.is_silent = True
    driver = world.driver(decision=admitted("portal"), linger_ms=30)
    outcome = await asyncio.wait_for(driver.run(), 10)
    assert outcome.end_state is EndState.SUCCEEDED
    assert outcome.unacknowledged > 0


async def test_stopping_says_goodbye_and_leaves_the_gate_alone(world: World) -> None:
    world.endpoint.is_silent = True
    driver = world.driver()
    async with running(driver):
        await until(driver, lambda p, r: r.connected and p.phase is not None)
    assert world.collector.presences[-1].state == "goodbye"
    assert world.endpoint.gates == [Gate.LOCKED]


@pytest.mark.rule("coming-back")
async def test_a_person_who_comes_back_begins_a_new_attempt(world: World) -> None:
    world.endpoint.fails = {"portal"}
    driver = world.driver(limits=Limits(nobody_comes_back_ms=60_000))
    first = await asyncio.wait_for(driver.run(), 10)
    assert (first.end_state, first.gate) == (EndState.FAILED, Gate.LOCKED)
    world.endpoint.fails = set()
    world.power_returns()
    second = await asyncio.wait_for(world.driver(comes_back=True).run(), 10)
    assert second.end_state is EndState.SUCCEEDED
    assert second.attempt != first.attempt
    world.audit()


async def test_ticks_may_be_lazy_and_nothing_else_is(world: World) -> None:
    await world.driver().run()
    batches = [about for what, about in world.diary.lines if isinstance(about, Batch)]
    for batch in batches:
        gives_number = any(isinstance(change, NumberReport) for change in batch.outbox)
        if batch.entry is not None:
            is_tick = isinstance(batch.entry.event, StepMoved)
            assert not batch.lazy or (is_tick and not gives_number)
        elif gives_number or batch.session is not None:
            assert not batch.lazy


async def test_a_mistake_in_a_session_ends_the_driver_instead_of_hanging_it(world: World) -> None:
    def explode(topic: str, payload: bytes) -> bool:
        raise ZeroDivisionError

    world.broker.lose = explode
    with pytest.raises(ZeroDivisionError):
        await asyncio.wait_for(world.driver().run(), 10)


async def test_few_tasks_are_needed(world: World) -> None:
    world.endpoint.is_silent = True
    before = len(asyncio.all_tasks())
    driver = world.driver()
    async with running(driver):
        await until(driver, lambda p, r: r.connected and p.phase is not None)
        assert len(asyncio.all_tasks()) - before <= 3
