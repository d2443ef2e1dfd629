"""The benchmark of mutual TLS measures what it says: two brokers, one of which wants certificates, and a flood that ends."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest

from benchmarks import tls
from broker_config.check import WELCOME
from broker_config.deployment import init, issue_device
from broker_config.readiness import connect_packet, free_port, until_ready
from broker_config.running import find_mosquitto

AGENTS = 3

pytestmark = [
    pytest.mark.system,
    pytest.mark.mosquitto,
    pytest.mark.skipif(find_mosquitto() is None, reason="Mosquitto is not installed"),
]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("bench") / "broker"
    init(made, {"tenant": tls.TENANT, "port": free_port("127.0.0.1")})
    for number in range(AGENTS):
        issue_device(made, f"PC-{number:05}", None)
    return made


@pytest.mark.parametrize("kind", ["plain", "tls"])
async def test_a_few_agents_connect_twice(directory: Path, kind: str) -> None:
    """Of so few neither the broker's time nor memory has to be seen; their own time is never nothing."""
    figures = await tls._measure(directory, kind, AGENTS)
    assert figures.connects_per_second > 0
    assert figures.client_cpu_ms_per_connect > 0
    assert figures.storm_client_cpu_ms_per_connect > 0
    assert figures.broker_cpu_ms_per_connect >= 0


async def test_only_the_one_with_tls_asks_for_a_certificate(directory: Path) -> None:
    for is_tls in (False, True):
        with tls._mosquitto(directory, is_tls=is_tls) as broker:
            await until_ready("127.0.0.1", broker.port, is_tls=True)
            reader, writer = await asyncio.open_connection("127.0.0.1", broker.port)
            writer.write(connect_packet(b"nobody"))
            answer = b""
            with contextlib.suppress(ConnectionResetError):
                answer = await reader.read(4)
            writer.close()
        assert (answer == WELCOME) is not is_tls


async def test_the_flood_is_cut_off_and_the_other_device_is_served(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls, "LATENCY_PROBES", 5)
    found = await tls._flood(directory)
    assert found.pop("cut_off") is True
    assert all(value > 0 for value in found.values())
