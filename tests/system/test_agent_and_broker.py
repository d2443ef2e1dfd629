"""The agent as a program beside a real Mosquitto with accounts and a real collector: outage, hostility, and neither."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from agent.assembly import AgentPlan, build_agent, build_tls, build_transport
from agent.commands.run import answer_screens
from agent.exit_codes import ExitCode
from agent.given import load_identity, parse_broker
from agent.journal import iterate_reports
from agent.runtime.driver import Driver
from agent.runtime.ports import Connection
from agent.signatures import read_account
from agent.wire.assignment import Assignment, Refused
from agent.wire.codec import PAYLOAD_BYTES_MAX, decode, encode
from agent.wire.messages import Ack, CollectLogs, Command
from agent.wire.progress import Progress, Reporting
from agent.wire.topics import Channel, device_topic, partition_of
from agent.wire.vocabulary import EnrollmentType, Gate
from broker_config.access import Role
from broker_config.deployment import Deployment, init, issue_device, trusted_key
from broker_config.readiness import free_port
from broker_config.running import find_mosquitto
from collector.keys import load_or_make
from tests.agent.fakes import Signer
from tests.broker_config.brokers import children_of
from tests.collector.fleet import Reporter, event_topic, failure

pytestmark = [pytest.mark.system, pytest.mark.timeout(120)]

needs_mosquitto = [
    pytest.mark.mosquitto,
    pytest.mark.skipif(find_mosquitto() is None, reason="Mosquitto is not installed"),
]
ROOT = Path(__file__).parents[2]
TENANT = "acme"
DEVICE = "PC-1"
DEEP = b'{"schema": "esp.ack/1", "x": ' + b"[" * 30_000 + b"]" * 30_000 + b"}"


@asynccontextmanager
async def program(*arguments: str | Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """One of our programs, ended with the block."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        *map(str, arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=ROOT,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        await process.communicate()


async def ready(process: asyncio.subprocess.Process) -> str:
    """The address at which a program serves."""
    assert process.stdout is not None
    word, _, url = (await asyncio.wait_for(process.stdout.readline(), 30)).decode().partition(" ")
    assert word == "ready", await process.communicate()
    return url.strip()


@dataclass
class Site:
    """A broker's directory and a collector's, with one device; programs are started by the tests."""

    broker: Deployment
    collector: Path
    state: Path

    @property
    def identity(self) -> Path:
        return self.broker.device_identity(DEVICE)

    @property
    def journal(self) -> Path:
        return self.state / f"{DEVICE}.journal.sqlite3"

    def serve(self) -> tuple[str | Path, ...]:
        """The arguments of the collector."""
        own = self.broker.service_identity(Role.COLLECTOR)
        setup = ROOT / "docs" / "examples" / "setup.toml"
        where = ("--data", self.collector, "--identity", own, "--port", "0")
        return ("collector", "serve", *where, "--setup", setup)

    def forget_retained(self) -> None:
        """Everything that the broker kept is gone."""
        shutil.rmtree(self.broker.data)
        self.broker.data.mkdir()

    async def stored(self) -> list[dict[str, object]]:
        """Everything that the collector exports."""
        async with program("collector", "export", "--data", self.collector) as process:
            told, _ = await process.communicate()
        return [json.loads(line) for line in told.splitlines()]

    async def audit(self) -> int:
        """The collector has every report of the journal in order, and none twice; how many that are."""
        kept = [
            {
                "record": "report",
                "device": row.device,
                "stream": row.stream,
                "seq": row.seq,
                "digest": row.digest,
                "times": 1,
            }
            for row in iterate_reports(self.journal)
        ]
        assert [row["seq"] for row in kept] == list(range(1, len(kept) + 1))
        stored = await self.stored()
        assert [row for row in stored if row.get("device") == DEVICE] == kept
        return len(kept)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    broker = Deployment(tmp_path / "broker")
    init(broker.directory, {"tenant": TENANT, "port": free_port("127.0.0.1")})
    collector = tmp_path / "collector"
    load_or_make(collector / "keys")
    issue_device(broker.directory, DEVICE, [trusted_key(collector / "keys" / "public.pem")])
    return Site(broker, collector, tmp_path / "state")


def enroll(state: Path, *more: str | Path) -> tuple[str | Path, ...]:
    """The arguments of an agent without a screen, whose person presses every button that goes on."""
    who = ("--platform", "windows_autopilot", "--user", "jane.smith@company.com")
    return ("agent", "run", *who, "--no-screen", "--yes", "--state-dir", state, *more)


async def line_with(stream: asyncio.StreamReader | None, pattern: str) -> str:
    """The next line that matches; what a program says is the only sign of how far it is."""
    assert stream is not None
    async with asyncio.timeout(40):
        while line := (await stream.readline()).decode():
            if re.search(pattern, line):
                return line
    raise AssertionError(f"the program ended without saying {pattern}")


class TestWithMosquitto:
    """With our configuration, its accounts and its rights."""

    pytestmark = needs_mosquitto

    async def test_a_broker_that_dies_and_forgets_costs_nothing(self, site: Site) -> None:
        """Killed in the middle of an enrollment, which goes on meanwhile, and begun anew without its memory."""
        async with program("broker_config", "run", site.broker.directory) as broker:
            url = await ready(broker)
            async with program(*site.serve()) as collector:
                await ready(collector)
                flags = ("--identity", site.identity, "--speed", "120", "--json")
                async with program(*enroll(site.state, *flags)) as agent:
                    await line_with(agent.stderr, r"Installing Apps.*gate locked")
                    (mosquitto,) = children_of(broker.pid)
                    os.kill(mosquitto, signal.SIGKILL)
                    await broker.wait()
                    site.forget_retained()
                    await line_with(agent.stderr, "No connection to the broker")
                    await line_with(agent.stderr, r"gate locked")
                    async with program("broker_config", "run", site.broker.directory) as again:
                        assert await ready(again) == url
                        told, said = await asyncio.wait_for(agent.communicate(), 90)
                        assert agent.returncode == ExitCode.OPEN, said.decode()
        assert json.loads(told)["gate"] == Gate.RELEASED
        assert json.loads(told)["unacknowledged"] == 0
        assert await site.audit() > 20

    async def test_hostile_payloads_are_counted_and_disturb_nobody(self, site: Site) -> None:
        """On both sides, by reason; device and collector go on to the end."""
        issue_device(site.broker.directory, "PC-2", None)
        async with (
            program("broker_config", "run", site.broker.directory) as broker,
            program(*site.serve()) as collector,
        ):
            await ready(broker)
            api = await ready(collector)
            agent = build_agent(plan_of(site))
            running = asyncio.create_task(agent.driver.run(), name="agent")
            try:
                await until(
                    agent.driver, lambda p, r: p.prompt is not None and not r.unacknowledged
                )
                expected = await attack_device(site, agent.driver.progress.attempt)
                await until(agent.driver, lambda _, __: agent.driver.refused == expected)
                await attack_collector(site)
                counted = await refused_by(api, site.collector)
                assert counted == {
                    "oversized": 1,
                    "not_json": 2,
                    "unknown_schema": 1,
                    "invalid": 1,
                    "wrong_device": 1,
                    "wrong_partition": 1,
                }
                person = asyncio.create_task(answer_screens(agent.driver), name="person")
                outcome = await asyncio.wait_for(running, 60)
                await person
            finally:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)
                agent.close()
        assert (outcome.gate, outcome.unacknowledged) == (Gate.RELEASED, 0)
        assert await site.audit() > 20


async def test_without_any_broker_the_gate_opens_all_the_same(tmp_path: Path) -> None:
    """With the example of the documents; what there is to report is kept."""
    example = ROOT / "docs" / "examples" / "assignment.json"
    flags = ("--device", DEVICE, "--assignment", example, "--speed", "3000", "--json")
    async with program(*enroll(tmp_path, *flags)) as agent:
        told, said = await asyncio.wait_for(agent.communicate(), 60)
        assert agent.returncode == ExitCode.OPEN, said.decode()
    outcome = json.loads(told)
    assert (outcome["end_state"], outcome["gate"]) == ("succeeded", "released")
    kept = list(iterate_reports(tmp_path / f"{DEVICE}.journal.sqlite3"))
    assert len(kept) == outcome["unacknowledged"] > 20


def plan_of(site: Site) -> AgentPlan:
    identity = load_identity(site.identity)
    assert identity.broker is not None
    return AgentPlan(
        device=DEVICE,
        enrollment_type=EnrollmentType.WINDOWS_AUTOPILOT,
        user="jane.smith@company.com",
        tenant=TENANT,
        broker=parse_broker(identity.broker),
        identity=identity,
        identity_file=site.identity,
        state_dir=site.state,
        speed=600,
    )


async def until(driver: Driver, holds: Callable[[Progress, Reporting], bool]) -> None:
    async with asyncio.timeout(30):
        async for progress, reporting in driver.snapshots():
            if holds(progress, reporting):
                return
    raise AssertionError("the driver ended")


@asynccontextmanager
async def signed_in(identity: Path) -> AsyncIterator[Connection]:
    account = read_account(identity)
    assert account.broker is not None
    tls = build_tls(account, identity)
    transport = build_transport(parse_broker(account.broker), account, tls=tls)
    async with transport.connect("hostile", None) as connection:
        yield connection


def credible(attempt: str, command_id: str) -> tuple[Assignment, Command]:
    """What a collector could say to the device in this attempt; whether it is taken is decided by the signature."""
    now = datetime.now(UTC)
    assignment = Assignment(
        device=DEVICE,
        attempt=attempt,
        store="s",
        term=9,
        version=9,
        issued_at=now,
        decision=Refused(failure=failure()),
    )
    command = Command(
        id=command_id,
        device=DEVICE,
        attempt=attempt,
        action=CollectLogs(),
        issued_by="nobody",
        issued_at=now,
        expires_at=now + timedelta(hours=1),
        attempt_ms_max=10**9,
    )
    return assignment, command


async def attack_device(site: Site, attempt: str) -> dict[str, int]:
    """Whoever has the collector's account, but not its key; how often the device has to refuse, by reason."""
    trusted, stranger = load_or_make(site.collector / "keys"), Signer()
    assignment, command = credible(attempt, "c-1")
    signed = trusted.sign(assignment)
    altered = signed.model_copy(update={"payload": signed.payload[:-8] + "AAAAAAAA"})
    ack = encode(Ack(device="PC-2", store="s", term=9, stream="s", stored_seq=1))
    other = assignment.model_copy(update={"device": "PC-2"})
    messages = {
        "oversized": [(Channel.ASSIGNMENT, b"x" * (PAYLOAD_BYTES_MAX + 1))],
        "not_json": [(Channel.ACK, b"\xff\xfe{"), (Channel.ACK, DEEP)],
        "unknown_schema": [(Channel.ACK, ack.replace(b"esp.ack/1", b"esp.ack/2"))],
        "invalid": [(Channel.ASSIGNMENT, encode(assignment)), (Channel.COMMAND, encode(command))],
        "signature": [
            (Channel.ASSIGNMENT, stranger.sign(assignment, Channel.ASSIGNMENT)),
            (Channel.ASSIGNMENT, encode(altered)),
            (Channel.COMMAND, stranger.sign(command, Channel.COMMAND)),
            (Channel.COMMAND, encode(signed)),
        ],
        "other_device": [(Channel.ACK, ack), (Channel.ASSIGNMENT, encode(trusted.sign(other)))],
    }
    async with signed_in(site.broker.service_identity(Role.COLLECTOR)) as connection:
        for channel, payload in (message for kind in messages.values() for message in kind):
            name = "c-1" if channel is Channel.COMMAND else None
            await connection.publish(str(device_topic(TENANT, DEVICE, channel, name)), payload)
    return {reason: len(kind) for reason, kind in messages.items()}


async def attack_collector(site: Site) -> None:
    """A device that reports nonsense, and at last something true, which is acknowledged."""
    device = Reporter(device="PC-2")
    first = device.begin()
    good, topic = encode(first), event_topic(first)
    elsewhere = next(p for p in "01" if p != partition_of("PC-2"))
    messages = [
        (topic, b"x" * (PAYLOAD_BYTES_MAX + 1)),
        (topic, b"\xff\xfe{"),
        (topic, DEEP),
        (topic, good.replace(b"esp.event/1", b"esp.event/2")),
        (topic, b'{"schema": "esp.event/1"}'),
        (topic, good.replace(b'"PC-2"', b'"PC-1"')),
        (topic.replace(f"/{partition_of('PC-2')}/", f"/{elsewhere}/"), good),
    ]
    async with signed_in(site.broker.device_identity("PC-2")) as connection:
        await connection.subscribe([str(device_topic(TENANT, "PC-2", Channel.ACK))])
        for name, payload in messages:
            await connection.publish(name, payload)
        await connection.publish(topic, good)
        async with asyncio.timeout(20):
            async for incoming in connection.messages():
                if decode(Ack, incoming.payload).stored_seq == 1:
                    return


async def refused_by(api: str, collector: Path) -> dict[str, int]:
    """What the collector's own figures say, but for the zeros."""
    token = (collector / "token").read_text().strip()
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(base_url=api, headers=headers, trust_env=False) as client:
        text = (await client.get("/metrics")).text
    found = re.findall(r'refused_payloads_total\{reason="(\w+)"\} (\d+)', text)
    return {reason: int(count) for reason, count in found if int(count)}
