"""A stolen device, and a broker in the wrong hands, beside a real Mosquitto, a real collector and an agent that enrolls."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import aiomqtt
import httpx
import pytest

from agent.assembly import Agent, build_agent, build_tls
from agent.commands.run import answer_screens
from agent.core.events import HOUR_MS, Limits
from agent.signatures import read_account
from agent.wire.assignment import Admitted
from agent.wire.codec import encode
from agent.wire.messages import ContinueAnyway
from agent.wire.profile import EspProfile
from agent.wire.topics import Channel, collector_topic, device_topic, partition_of
from agent.wire.vocabulary import Gate
from broker_config.access import Role
from broker_config.deployment import issue_device
from broker_config.readiness import connect_packet
from collector.keys import Rotation, load_or_make, rotate
from tests.agent.fakes import Signer
from tests.broker_config.brokers import packet
from tests.system.test_agent_and_broker import (
    DEVICE,
    TENANT,
    Site,
    attack_collector,
    credible,
    needs_mosquitto,
    plan_of,
    program,
    ready,
    refused_by,
    site,
    until,
)

__all__ = ["site"]
pytestmark = [pytest.mark.system, pytest.mark.timeout(120), *needs_mosquitto]
THIEF = "PC-2"
MANY = range(10_000)


@dataclass
class Running:
    """Everything runs, and the device waits for its person."""

    site: Site
    agent: Agent
    api: str
    port: int

    def tls(self, identity: Path) -> ssl.SSLContext:
        return build_tls(read_account(identity), identity)

    @asynccontextmanager
    async def thief(self, client_id: str = THIEF) -> AsyncIterator[aiomqtt.Client]:
        """The stolen device, with its own valid certificate."""
        identity = self.site.broker.device_identity(THIEF)
        tls = self.tls(identity)
        async with aiomqtt.Client(
            "127.0.0.1", self.port, identifier=client_id, tls_context=tls, timeout=10
        ) as client:
            yield client

    @asynccontextmanager
    async def collector(self) -> AsyncIterator[aiomqtt.Client]:
        """Whoever has the broker in his hands, and may write anything on it."""
        identity = self.site.broker.service_identity(Role.COLLECTOR)
        tls = self.tls(identity)
        async with aiomqtt.Client(
            "127.0.0.1", self.port + 1, identifier="wrong-hands", tls_context=tls, timeout=10
        ) as client:
            yield client


@asynccontextmanager
async def running(site: Site) -> AsyncIterator[Running]:
    issue_device(site.broker.directory, THIEF, None)
    async with (
        program("broker_config", "run", site.broker.directory) as broker,
        program(*site.serve()) as collector,
    ):
        url = await ready(broker)
        api = await ready(collector)
        agent = build_agent(plan_of(site))
        task = asyncio.create_task(agent.driver.run(), name="agent")
        try:
            await until(agent.driver, lambda p, r: p.prompt is not None and not r.unacknowledged)
            yield Running(site, agent, api, int(url.rpartition(":")[2]))
            person = asyncio.create_task(answer_screens(agent.driver), name="person")
            outcome = await asyncio.wait_for(task, 60)
            await person
            assert (outcome.gate, outcome.unacknowledged) == (Gate.RELEASED, 0)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            agent.close()
    assert await site.audit() > 20


async def denials(site: Site, device: str, at_least: int) -> int:
    """How many forbidden publishes of a device were counted."""
    async with asyncio.timeout(20):
        while True:
            with contextlib.suppress(FileNotFoundError, KeyError):
                found = int(json.loads(site.broker.counts.read_text())[device]["denied"])
                if found >= at_least:
                    return found
            await asyncio.sleep(0.05)


async def test_a_stolen_device_harms_only_its_own_record(site: Site) -> None:
    """It writes for A, reads of A, joins groups, takes names, plants commands, lies in its envelopes: A enrolls."""
    async with running(site) as world:
        others = [
            str(device_topic(TENANT, DEVICE, c, "c-1" if c is Channel.COMMAND else None))
            for c in Channel
        ]
        own = str(device_topic(TENANT, THIEF, Channel.COMMAND, "c-1"))
        state = str(collector_topic(TENANT, partition_of(THIEF)))
        async with world.thief() as thief:
            for group in ("collector", "esp-collector"):
                await thief.subscribe(f"$share/{group}/esp/1/{TENANT}/+/+/event", qos=1)
            for wanted in ("#", "esp/1/#", "$SYS/#", *others):
                await thief.subscribe(wanted, qos=1)
            for name in (*others, own, state):
                await thief.publish(name, b'{"forged": true}', qos=1, retain=True)
            async with world.thief(client_id=DEVICE):
                assert world.agent.driver.reporting.connected
        assert await denials(site, THIEF, len(others) + 2) == len(others) + 2
        await attack_collector(site)
        assert (await refused_by(world.api, site.collector))["wrong_device"] == 1
        assert (await refused_by(world.api, site.collector))["wrong_partition"] == 1
        assert world.agent.driver.refused == {}


async def test_a_flood_and_ten_thousand_subscriptions_end_the_connection(site: Site) -> None:
    """The device is cut off, loses its rights, and the operator reads why; the other one enrolls."""
    async with running(site) as world:
        name = str(device_topic(TENANT, THIEF, Channel.EVENT)).encode()
        await until_cut_off(world, THIEF, packet(0x30, field(name) + b"x") * 500)
        assert f"user {THIEF}\ntopic deny #" in site.broker.access.read_text()
        issue_device(site.broker.directory, "PC-3", None)
        filters = b"".join(field(b"a/%d" % number) + b"\x00" for number in MANY)
        await until_cut_off(world, "PC-3", packet(0x82, b"\x00\x01" + filters[:60_000]))
        assert "user PC-3\ntopic deny #" in site.broker.access.read_text()
    assert "topic deny" not in site.broker.access.read_text()


def field(text: bytes) -> bytes:
    """A string of MQTT 3.1.1, section 1.5.3."""
    return len(text).to_bytes(2, "big") + text


async def until_cut_off(world: Running, device: str, said: bytes) -> None:
    """Say the same again and again until the broker hangs up."""
    tls = world.tls(world.site.broker.device_identity(device))
    reader, writer = await asyncio.open_connection("127.0.0.1", world.port, ssl=tls)
    writer.write(connect_packet(device.encode()))
    await reader.readexactly(4)
    heard = asyncio.create_task(reader.read(), name="until the end")
    with contextlib.suppress(OSError):
        async with asyncio.timeout(30):
            while not heard.done():
                writer.write(said)
                await writer.drain()
                await asyncio.sleep(0)
    await asyncio.gather(heard, return_exceptions=True)
    writer.close()


async def test_a_broker_in_the_wrong_hands_can_not_move_a_device(site: Site) -> None:
    """Whoever writes as the collector, without its key or with what it signed before: refused and reported, or answered."""
    async with running(site) as world:
        attempt = world.agent.driver.progress.attempt
        signer, stranger = load_or_make(site.collector / "keys"), Signer()
        assignment, command = credible(attempt, "good")
        assignment = assignment.model_copy(update={"decision": nothing_to_install()})
        leave = command.model_copy(update={"action": ContinueAnyway()})
        past = command.issued_at - timedelta(hours=1)
        expired = command.model_copy(update={"id": "late", "expires_at": past})
        other = command.model_copy(update={"id": "other", "attempt": "another"})
        old = encode(signer.sign(command.model_copy(update={"id": "old", "attempt_ms_max": 1})))
        elsewhere = command.model_copy(update={"device": THIEF})
        altered = signer.sign(command)
        altered = altered.model_copy(update={"payload": signer.sign(leave).payload})
        good = encode(signer.sign(command))
        said = [
            ("good", encode(leave)),  # unsigned
            ("good", encode(altered)),
            ("good", stranger.sign(leave, Channel.COMMAND)),
            ("good", stranger.sign(leave, Channel.COMMAND)),  # reported once
            ("good", encode(signer.sign(elsewhere))),
            ("misdirected", good),
            ("late", encode(signer.sign(expired))),
            ("other", encode(signer.sign(other))),
            ("old", old),
            ("old", old),  # replayed when its time was over
            ("good", good),
            ("good", good),  # replayed
        ]
        theirs = assignment.model_copy(update={"attempt": "another"})
        changed = signer.sign(credible(attempt, "good")[0])
        changed = changed.model_copy(update={"payload": signer.sign(assignment).payload})
        async with world.collector() as client:
            await client.subscribe(str(device_topic(TENANT, DEVICE, Channel.EVENT)), qos=1)
            for name, payload in said:
                topic = device_topic(TENANT, DEVICE, Channel.COMMAND, name)
                # Retained, so that every connection brings it again.
                await client.publish(str(topic), payload, qos=1, retain=True)
            topic = device_topic(TENANT, DEVICE, Channel.ASSIGNMENT)
            for payload in (
                encode(assignment),
                encode(changed),
                stranger.sign(assignment, Channel.ASSIGNMENT),
                encode(signer.sign(theirs)),
            ):
                await client.publish(str(topic), payload, qos=1)
            told = await answers(client, 4)
        assert told == {"late": False, "other": False, "old": False, "good": True}
        refused = {
            "invalid": 2,
            "signature": 5,
            "other_device": 1,
            "other_command": 1,
            "other_attempt": 1,
        }
        driver = world.agent.driver
        await until(driver, lambda _, r: driver.refused == refused and not r.unacknowledged)
        assert sorted(await reported(world)) == [
            "assignment signature",
            "assignment unknown_key",
            "assignment unsigned",
            "command other_command",
            "command other_device",
            "command replayed",
            "command signature",
            "command unknown_key",
            "command unsigned",
        ]


async def test_a_broker_in_the_wrong_hands_can_not_unlock_a_device(site: Site) -> None:
    """It waits for its assignment, and gets forged ones that would open the gate: the real one comes and opens it."""
    async with program("broker_config", "run", site.broker.directory) as broker:
        port = int((await ready(broker)).rpartition(":")[2])
        agent = build_agent(plan_of(site))
        driver = agent.driver
        # An hour is six seconds at this speed, which a collector may take to start.
        driver._options = replace(driver._options, limits=Limits(assignment_wait_ms=100 * HOUR_MS))
        task = asyncio.create_task(driver.run(), name="agent")
        try:
            await until(driver, lambda p, r: r.connected)
            world = Running(site, agent, "", port)
            await plant_ways_out(world)
            await until(driver, lambda _, __: driver.refused == {"signature": 3})
            assert (driver.progress.gate, driver.progress.phase) == (Gate.LOCKED, None)
            async with program(*site.serve()) as collector:
                world.api = await ready(collector)
                person = asyncio.create_task(answer_screens(driver), name="person")
                outcome = await asyncio.wait_for(task, 60)
                await person
                told = await reported(world)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            agent.close()
    assert (outcome.gate, outcome.unacknowledged) == (Gate.RELEASED, 0)
    assert sorted(told) == ["assignment signature", "assignment unknown_key", "command unknown_key"]
    assert await site.audit() > 20


async def plant_ways_out(world: Running) -> None:
    """An assignment with nothing to install, forged and under a signature of another, and a command to let the person in."""
    attempt = world.agent.driver.progress.attempt
    signer, stranger = load_or_make(world.site.collector / "keys"), Signer()
    refusal, command = credible(attempt, "way-out")
    empty = refusal.model_copy(update={"decision": nothing_to_install()})
    changed = signer.sign(refusal).model_copy(update={"payload": signer.sign(empty).payload})
    leave = command.model_copy(update={"action": ContinueAnyway()})
    where = device_topic(TENANT, DEVICE, Channel.ASSIGNMENT)
    way_out = device_topic(TENANT, DEVICE, Channel.COMMAND, "way-out")
    async with world.collector() as client:
        for topic, payload in (
            (where, encode(changed)),
            (where, stranger.sign(empty, Channel.ASSIGNMENT)),
            (way_out, stranger.sign(leave, Channel.COMMAND)),
        ):
            await client.publish(str(topic), payload, qos=1, retain=True)


def nothing_to_install() -> Admitted:
    """What would open the gate at once."""
    return Admitted(profile=EspProfile(id="default", name="Default ESP"))


async def reported(world: Running) -> list[str]:
    """What the collector's store has of messages that the device refused; each says what to do."""
    token = (world.site.collector / "token").read_text().strip()
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(base_url=world.api, headers=headers, trust_env=False) as client:
        history = (await client.get(f"/api/devices/{DEVICE}?limit=500")).json()
        metrics = (await client.get("/metrics")).text
    found = [one for one in history["reports"] if one["kind"] == "message_refused"]
    assert all("esp-broker check" in one["meaning"] for one in found)
    counted = re.findall(r"esp_collector_refused_by_devices_total\{.*\} (\d+)", metrics)
    assert sum(map(int, counted)) == len(found)
    return [f"{one['body']['message']} {one['body']['reason']}" for one in found]


async def answers(client: aiomqtt.Client, count: int) -> dict[str, bool]:
    """What the device reports of that many commands: whether each was executed."""
    told: dict[str, bool] = {}
    async with asyncio.timeout(30):
        async for message in client.messages:
            body = json.loads(bytes(message.payload))["report"]["body"]
            if body["kind"] == "command_answered":
                assert body["command"] not in told, "each command is answered once"
                told[body["command"]] = body["executed"]
                if len(told) == count:
                    return told
    raise AssertionError("the connection ended")


def test_keys_change_while_devices_enroll(site: Site) -> None:
    """A device that was given both keys believes the collector before and after it switched."""
    keys = site.collector / "keys"
    old = load_or_make(keys)
    trusted = rotate(keys, Rotation.PREPARE)
    path, _ = issue_device(site.broker.directory, DEVICE, trusted)
    kept = json.loads(path.read_text())["trusted_keys"]
    rotate(keys, Rotation.SWITCH)
    assert {key["kid"] for key in kept} == {
        old.trusted_key.kid,
        load_or_make(keys).trusted_key.kid,
    }
