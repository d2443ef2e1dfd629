"""The whole collector as a process of its own, against real brokers, killed and started again."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from agent.wire.codec import decode, encode
from agent.wire.events import Event
from agent.wire.messages import Ack, CollectorState, Signed, Status
from agent.wire.topics import Channel, collector_topic, device_topic, partition_of
from collector.subscriber.mqtt import BrokerAddress, MqttBroker
from collector.subscriber.ports import Connection, Will
from tests.collector.board.page_of_the_seed import AT, some_progress
from tests.collector.fleet import TENANT, Reporter, event_topic

pytestmark = [pytest.mark.system, pytest.mark.timeout(120)]

BROKERS = [
    pytest.param("--embedded", id="embedded"),
    pytest.param(
        "--mosquitto",
        id="mosquitto",
        marks=[
            pytest.mark.mosquitto,
            pytest.mark.skipif(
                shutil.which("mosquitto") is None, reason="Mosquitto is not installed"
            ),
        ],
    ),
]


@asynccontextmanager
async def program(*arguments: str | Path) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """A program of ours with the URL that it said to be ready at."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        *(str(argument) for argument in arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    try:
        assert process.stdout is not None
        line = (await asyncio.wait_for(process.stdout.readline(), timeout=60)).decode()
        assert line.startswith("ready "), f"said {line!r} instead"
        yield process, line.removeprefix("ready ").strip()
    finally:
        if process.returncode is None:
            process.terminate()
        await process.communicate()


@pytest.fixture(params=BROKERS)
async def broker(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    options = [request.param] if request.param == "--embedded" else []
    async with program("broker_config", "run", "--port", "0", *options) as (_, url):
        yield url


def serving(directory: Path, broker: str) -> tuple[str | Path, ...]:
    where = ("--data", directory, "--broker", broker, "--tenant", TENANT, "--port", "0")
    return ("collector", "serve", *where)


class Endpoint:
    """The device's side of the wire: sends, and waits for acknowledgements."""

    def __init__(self, connection: Connection, device: Reporter) -> None:
        self._connection = connection
        self._device = device
        self._messages = connection.messages()

    async def send(self, *events: Event) -> None:
        for event in events:
            # Retained by this port, which intake has to treat as any other report.
            await self._connection.publish(event_topic(event), encode(event))

    async def until_acknowledged(self, seq: int) -> Ack:
        while True:
            message = await asyncio.wait_for(anext(self._messages), timeout=30)
            if message.topic.endswith("/ack"):
                ack = decode(Ack, message.payload)
                if ack.stored_seq >= seq:
                    return ack

    async def until_assigned(self) -> Signed:
        while True:
            message = await asyncio.wait_for(anext(self._messages), timeout=30)
            if message.topic.endswith("/assignment"):
                return decode(Signed, message.payload)


@asynccontextmanager
async def endpoint(broker: str, device: Reporter) -> AsyncIterator[Endpoint]:
    will = Will(str(device_topic(TENANT, device.device, Channel.PRESENCE)), b"")
    async with MqttBroker(BrokerAddress.of(broker)).connect(f"d-{device.device}", will) as opened:
        filters = [
            str(device_topic(TENANT, device.device, channel))
            for channel in (Channel.ACK, Channel.ASSIGNMENT)
        ]
        await opened.subscribe(filters)
        yield Endpoint(opened, device)


async def exported(directory: Path) -> list[tuple[int, int]]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "collector",
        "export",
        "--data",
        str(directory),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    told, _ = await process.communicate()
    rows = [json.loads(line) for line in told.splitlines()]
    return [(row["seq"], row["times"]) for row in rows if row["record"] == "report"]


async def test_a_killed_collector_loses_and_doubles_nothing(broker: str, tmp_path: Path) -> None:
    device = Reporter()
    async with endpoint(broker, device) as client:
        async with program(*serving(tmp_path, broker)) as (process, _):
            await client.send(device.begin())
            await client.until_acknowledged(1)
            await client.until_assigned()
            await client.send(*(device.move(n) for n in range(1, 20)))
            process.send_signal(signal.SIGKILL)
            await process.wait()
        async with program(*serving(tmp_path, broker)) as (process, url):
            # What a device does that was not acknowledged: it sends everything again.
            await client.send(*device.sent, device.end())
            assert (await client.until_acknowledged(21)).term == 2
            status = await answer(url, tmp_path, "/api/devices/enrollment-status")
            assert status["overview"]["enrolled"] == 1
            process.terminate()
            await process.wait()
            assert process.returncode == 0
    assert await exported(tmp_path) == [(n, 1) for n in range(1, 22)]


async def answer(url: str, directory: Path, path: str) -> dict[str, dict[str, int]]:
    headers = {"Authorization": f"Bearer {(directory / 'token').read_text().strip()}"}
    async with httpx.AsyncClient(base_url=url, headers=headers, trust_env=False) as client:
        response = await client.get(path)
        assert response.status_code == 200, response.text
        found: dict[str, dict[str, int]] = response.json()
        return found


async def test_the_wills_say_that_a_killed_collector_is_gone(broker: str, tmp_path: Path) -> None:
    partition = partition_of("DESKTOP-NEW001")
    own = str(collector_topic(TENANT, partition))
    async with MqttBroker(BrokerAddress.of(broker)).connect("looker", None) as looker:
        await looker.subscribe([own])
        messages = looker.messages()

        async def heard() -> CollectorState:
            while True:
                message = await asyncio.wait_for(anext(messages), timeout=30)
                if message.topic == own:
                    return decode(CollectorState, message.payload)

        async with program(*serving(tmp_path, broker)) as (process, _):
            assert (await heard()).state == "online"
            process.send_signal(signal.SIGKILL)
            while (await heard()).state != "offline":
                pass


async def test_a_devices_screen_can_be_watched_through_the_api(broker: str, tmp_path: Path) -> None:
    device = Reporter()
    progress = some_progress(device.device)
    status = Status(device=device.device, stream="s", session=1, device_time=AT, progress=progress)
    topic = str(device_topic(TENANT, device.device, Channel.STATUS))
    async with MqttBroker(BrokerAddress.of(broker)).connect("d", None) as client:
        await client.publish(topic, encode(status))
        async with program(*serving(tmp_path, broker)) as (_, url):
            headers = {"Authorization": f"Bearer {(tmp_path / 'token').read_text().strip()}"}
            async with (
                httpx.AsyncClient(base_url=url, headers=headers, trust_env=False) as api,
                api.stream("GET", f"/api/devices/{device.device}/screen") as response,
            ):
                line = await anext(response.aiter_lines())
                assert decode(Status, line).progress == progress
