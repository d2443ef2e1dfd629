"""`esp-broker run`: ready when it answers, gone when it is told, and no broker left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from pathlib import Path

import pytest

from broker_config import running
from broker_config.deployment import init
from tests.broker_config.brokers import (
    Account,
    BrokerDidNotStart,
    StartBroker,
    call,
    children_of,
    process_alive,
    raw_connection,
    signed_in,
    topics_until,
)

EMBEDDED = ("--embedded", "--port", "0")
MOSQUITTO = ("--port", "0")
BOTH = pytest.mark.parametrize(
    "arguments", [pytest.param(EMBEDDED, id="embedded"), pytest.param(MOSQUITTO, id="mosquitto")]
)


def need(arguments: tuple[str, ...], request: pytest.FixtureRequest) -> None:
    """Skip where this broker is not installed."""
    if arguments is MOSQUITTO:
        request.getfixturevalue("mosquitto")


@BOTH
async def test_ready_means_that_clients_are_served(
    arguments: tuple[str, ...], start_broker: StartBroker, request: pytest.FixtureRequest
) -> None:
    """Right after the ready line a client of MQTT 3.1.1 publishes, subscribes and gets what was retained."""
    need(arguments, request)
    broker = start_broker(*arguments)
    async with signed_in(Account(broker.port)) as client:
        await client.publish("esp/1/t/0/D/status", b"kept", qos=1, retain=True)
        await client.subscribe("esp/1/t/0/+/status", qos=1)
        assert await topics_until(client, "esp/1/t/0/D/status") == ["esp/1/t/0/D/status"]


@BOTH
async def test_nobody_gets_what_only_others_subscribed_to(
    arguments: tuple[str, ...], start_broker: StartBroker, request: pytest.FixtureRequest
) -> None:
    """What is retained reaches a client by its own filters alone."""
    need(arguments, request)
    broker = start_broker(*arguments)
    async with signed_in(Account(broker.port)) as other:
        await other.publish("esp/1/t/0/A/status", b"confidential", qos=1, retain=True)
        await other.publish("esp/1/t/0/B/status", b"own", qos=1, retain=True)
        await other.subscribe("esp/1/t/0/A/status", qos=1)
        async with signed_in(Account(broker.port)) as client:
            await client.subscribe("esp/1/t/0/B/status", qos=1)
            seen = await topics_until(client, "esp/1/t/0/B/status")
        assert seen == ["esp/1/t/0/B/status"]


@BOTH
async def test_many_may_connect_and_subscribe_at_once(
    arguments: tuple[str, ...], start_broker: StartBroker, request: pytest.FixtureRequest
) -> None:
    """A client that connects while others subscribe is served like any other."""
    need(arguments, request)
    broker = start_broker(*arguments)
    async with signed_in(Account(broker.port)) as first:
        for n in range(40):
            await first.publish(f"esp/1/t/0/D{n}/status", b"kept", qos=1, retain=True)

    async def look(n: int) -> list[str]:
        async with signed_in(Account(broker.port)) as client:
            await client.subscribe(f"esp/1/t/0/D{n}/status", qos=1)
            return await topics_until(client, f"esp/1/t/0/D{n}/status")

    async with asyncio.timeout(20):
        seen = await asyncio.gather(*(look(n) for n in range(40)))
    assert seen == [[f"esp/1/t/0/D{n}/status"] for n in range(40)]


@BOTH
async def test_a_will_is_published(
    arguments: tuple[str, ...], start_broker: StartBroker, request: pytest.FixtureRequest
) -> None:
    """A connection that dies leaves its will to those who listen."""
    need(arguments, request)
    broker = start_broker(*arguments)
    async with signed_in(Account(broker.port)) as listener:
        await listener.subscribe("esp/1/t/0/D/presence", qos=1)
        raw_connection(Account(broker.port), ("esp/1/t/0/D/presence", b"lost")).close()
        await topics_until(listener, "esp/1/t/0/D/presence")


@BOTH
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_everything(
    arguments: tuple[str, ...],
    number: signal.Signals,
    start_broker: StartBroker,
    request: pytest.FixtureRequest,
) -> None:
    """The program exits with 0, its child is gone, and the port is free again."""
    need(arguments, request)
    broker = start_broker(*arguments)
    children = children_of(broker.process.pid)
    assert len(children) == (0 if arguments is EMBEDDED else 1)
    assert broker.stop(number) == 0
    assert not any(process_alive(child) for child in children)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", broker.port))


async def test_mosquitto_does_not_outlive_a_killed_parent(
    mosquitto: str, start_broker: StartBroker
) -> None:
    """Even SIGKILL leaves no broker behind."""
    broker = start_broker(*MOSQUITTO)
    (child,) = children_of(broker.process.pid)
    descriptor = os.pidfd_open(child)
    broker.process.kill()
    broker.process.wait()
    os.set_blocking(descriptor, False)
    try:
        await _gone(descriptor)
    finally:
        os.close(descriptor)
    assert not process_alive(child)


async def _gone(descriptor: int) -> None:
    """A process's descriptor becomes readable when it has ended."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(descriptor, ended.set)
    try:
        async with asyncio.timeout(10):
            await ended.wait()
    finally:
        loop.remove_reader(descriptor)


def test_a_broker_that_dies_is_reported(mosquitto: str, start_broker: StartBroker) -> None:
    """When Mosquitto ends by itself the program says so and ends with 2."""
    broker = start_broker(*MOSQUITTO)
    (child,) = children_of(broker.process.pid)
    os.kill(child, signal.SIGKILL)
    assert broker.process.wait(timeout=15) == 2
    assert "Mosquitto ended with code -9" in broker.log.read_text()


@BOTH
def test_a_port_in_use_is_named(
    arguments: tuple[str, ...], start_broker: StartBroker, request: pytest.FixtureRequest
) -> None:
    """The message names the port and the remedy; nothing claims to be ready on somebody else's port."""
    need(arguments, request)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(BrokerDidNotStart, match=f"port {port} .* is in use.*--port"):
            start_broker(*arguments[:-1], str(port))


def test_a_port_taken_by_another_broker_is_not_ready(start_broker: StartBroker) -> None:
    """A second broker on the same port does not take the first one's answer for its own."""
    first = start_broker(*EMBEDDED)
    with pytest.raises(BrokerDidNotStart, match="is in use"):
        start_broker("--embedded", "--port", str(first.port))


def test_a_directory_without_a_broker(tmp_path: Path) -> None:
    """The message tells how to make one."""
    refused = call("run", tmp_path)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "esp-broker init" in refused.stderr


def test_the_embedded_broker_does_not_stand_in_for_rights(tmp_path: Path) -> None:
    """A hardened directory is never served by a broker that knows no rights."""
    init(tmp_path / "broker", {})
    refused = call("run", tmp_path / "broker", "--embedded", "--port", "0")
    assert refused.returncode == 2
    assert "knows no accounts" in refused.stderr


def test_a_network_address_needs_a_warning(start_broker: StartBroker) -> None:
    """The embedded broker listens elsewhere only when told to, and then names the risk."""
    broker = start_broker(*EMBEDDED, "--host", "0.0.0.0")  # noqa: S104
    assert "may read every device's reports" in broker.log.read_text()


def test_an_address_of_another_machine() -> None:
    """An address that is not ours is one sentence."""
    refused = call("run", "--embedded", "--port", "0", "--host", "192.0.2.7")
    assert refused.returncode == 2
    assert "no address of this machine" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_the_log_stays_quiet(start_broker: StartBroker) -> None:
    """A client that breaks off, and one that speaks no MQTT, leave no traceback in the embedded broker's log."""
    broker = start_broker(*EMBEDDED)
    for data in (b"", b"GET / HTTP/1.1\r\n\r\n", b"\x10\xff\xff\xff\xff\x7f"):
        with socket.create_connection(("127.0.0.1", broker.port)) as client:
            client.sendall(data)
    assert broker.stop() == 0
    assert broker.log.read_text() == ""


FORGETFUL = """
import signal, sys
heard = []
def hear(*_):
    heard.append(True)
    if len(heard) == 2:
        sys.exit(0)
signal.signal(signal.SIGTERM, hear)
print("running", flush=True)
while True:
    signal.pause()
"""


async def test_a_broker_that_forgets_a_signal_is_asked_again_before_it_is_killed() -> None:
    """Mosquitto 2.0 forgets one that comes right after its word that it runs, and what it keeps would be lost."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", FORGETFUL, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    await process.stdout.readline()
    await running._end(process)
    assert process.returncode == 0
