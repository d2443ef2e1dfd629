"""Fixtures that start real brokers, and end what is left of them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from broker_config.running import find_mosquitto
from tests.broker_config.brokers import (
    REPOSITORY,
    BrokerDidNotStart,
    RunningBroker,
    StartBroker,
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
