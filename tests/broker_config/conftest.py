"""Fixtures that start real brokers, and end what is left of them."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from broker_config.deployment import Deployment, init, issue_device
from broker_config.mosquitto import listeners, with_ports
from broker_config.readiness import free_port, until_ready
from broker_config.running import find_mosquitto
from tests.broker_config.brokers import (
    REPOSITORY,
    TENANT,
    A,
    B,
    BrokerDidNotStart,
    RunningBroker,
    StartBroker,
    World,
    esp_broker,
)


@pytest.fixture
def start_broker(tmp_path: Path) -> Iterator[StartBroker]:
    """Starts brokers, and ends what is left of them."""
    started: list[RunningBroker] = []

    def start(*arguments: str | Path) -> RunningBroker:
        log = tmp_path / f"broker-{len(started)}.log"
        with log.open("w") as stderr:
            process = subprocess.Popen(
                esp_broker("run", *arguments),
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                cwd=REPOSITORY,
            )
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line.startswith("ready "):
            process.stdout.close()
            process.wait(timeout=15)
            raise BrokerDidNotStart(log.read_text())
        port = urlsplit(line.split()[1]).port
        assert port is not None
        running = RunningBroker(process, port, log)
        started.append(running)
        return running

    yield start
    for running in started:
        if running.process.poll() is None:
            running.stop()
        assert running.process.stdout is not None
        running.process.stdout.close()


@pytest.fixture
def mosquitto() -> str:
    """The installed Mosquitto; without it the test is skipped."""
    program = find_mosquitto()
    if program is None:
        pytest.skip("Mosquitto is not installed; .ci/run installs it")
    return program


@pytest.fixture(scope="session")
def issued(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hardened broker's directory with two devices; certificates are made once for all tests."""
    directory = tmp_path_factory.mktemp("issued") / "broker"
    init(directory, {"tenant": TENANT})
    for name in (A, B):
        issue_device(directory, name, None)
    return directory


@pytest.fixture
def world(tmp_path: Path, issued: Path, mosquitto: str) -> Iterator[World]:
    """A Mosquitto that serves a copy of that directory."""
    directory = tmp_path / "broker"
    shutil.copytree(issued, directory)
    text = (directory / "mosquitto.conf").read_text().replace(str(issued), str(directory))
    ports = {found.port: free_port(found.host) for found in listeners(text)}
    (directory / "mosquitto.conf").write_text(with_ports(text, ports))
    log = tmp_path / "mosquitto.log"
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [mosquitto, "-c", str(directory / "mosquitto.conf")], stderr=stderr
        )
    asyncio.run(asyncio.wait_for(_both_listening(list(ports.values())), 10))
    device_port, service_port = ports.values()
    yield World(Deployment(directory), process, log, device_port, service_port)
    process.terminate()
    process.wait(timeout=15)


async def _both_listening(ports: list[int]) -> None:
    for port in ports:
        await until_ready("127.0.0.1", port, is_tls=True)
