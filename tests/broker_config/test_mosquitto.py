"""A real Mosquitto with our configuration keeps what the rules promise."""

from __future__ import annotations

import ssl
import struct
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import aiomqtt
import pytest

from agent.wire.codec import PAYLOAD_BYTES_MAX
from agent.wire.topics import (
    Channel,
    DeviceTopic,
    collector_topic,
    partition_of,
)
from broker_config.access import Role
from broker_config.deployment import Deployment, init, issue_device
from tests.broker_config.brokers import (
    TENANT,
    A,
    B,
    BrokerDidNotStart,
    StartBroker,
    World,
    packet,
    raw_connection,
    signed_in,
    topic,
    topics_until,
)

pytestmark = pytest.mark.mosquitto


@pytest.fixture
async def collector(world: World) -> AsyncIterator[aiomqtt.Client]:
    """The collector's client, which hears everything that reaches the tenant."""
    async with signed_in(world.service(Role.COLLECTOR)) as client:
        await client.subscribe("esp/1/#", qos=1)
        yield client


async def test_what_a_device_publishes_for_itself_arrives(
    world: World, collector: aiomqtt.Client
) -> None:
    """The rights are no wider than needed, and no narrower."""
    written = [topic(A, channel) for channel in (Channel.EVENT, Channel.STATUS, Channel.PRESENCE)]
    async with signed_in(world.device(A)) as device:
        for name in written:
            await device.publish(name, b"{}", qos=1)
    assert await topics_until(collector, written[-1]) == written


async def test_a_device_writes_nothing_for_another(world: World, collector: aiomqtt.Client) -> None:
    """B's publishes to every channel of A, to its own inbound channels and to the collector's topic reach nobody."""
    forbidden = [
        *(topic(A, channel) for channel in Channel),
        *(topic(B, channel) for channel in (Channel.ACK, Channel.ASSIGNMENT, Channel.COMMAND)),
        str(collector_topic(TENANT, partition_of(B))),
        str(DeviceTopic("other", partition_of(B), B, Channel.EVENT)),
        f"esp/1/{TENANT}/no-partition/{B}/event",
        f"esp/1/{TENANT}/{partition_of(B)}/{B}/event/more",
    ]
    allowed = topic(B, Channel.PRESENCE)
    async with signed_in(world.device(B)) as device:
        for name in forbidden:
            await device.publish(name, b"forged", qos=1, retain=True)
        await device.publish(allowed, b"{}", qos=1)
    assert await topics_until(collector, allowed) == [allowed]


async def test_a_device_reads_nothing_of_another(world: World, collector: aiomqtt.Client) -> None:
    """B subscribes to A's channels and to everything; what arrives is B's own alone, live and retained."""
    for channel in (Channel.ACK, Channel.ASSIGNMENT, Channel.COMMAND):
        await collector.publish(topic(A, channel), b"{}", qos=1, retain=True)
    async with signed_in(world.device(A)) as device:
        await device.publish(topic(A, Channel.STATUS), b"{}", qos=1, retain=True)
    async with signed_in(world.device(B)) as device:
        for wanted in ("#", "esp/1/#", "$SYS/#", "+/+/+/+/+/+", *(topic(A, c) for c in Channel)):
            await device.subscribe(wanted, qos=1)
        for channel in (Channel.ACK, Channel.ASSIGNMENT, Channel.COMMAND):
            await collector.publish(topic(A, channel), b"{}", qos=1)
        await collector.publish(topic(B, Channel.ACK), b"{}", qos=1)
        assert set(await topics_until(device, topic(B, Channel.ACK))) == {topic(B, Channel.ACK)}


async def test_a_forbidden_will_reaches_nobody(world: World, collector: aiomqtt.Client) -> None:
    """B's will on A's presence is dropped when B's connection dies."""
    # Closing the socket without a DISCONNECT is what releases a will.
    raw_connection(world.device(B), will=(topic(A, Channel.PRESENCE), b"lost")).close()
    raw_connection(world.device(B), will=(topic(B, Channel.PRESENCE), b"lost")).close()
    own = topic(B, Channel.PRESENCE)
    assert await topics_until(collector, own) == [own]


async def test_nobody_takes_over_a_connection_by_its_client_id(
    world: World, collector: aiomqtt.Client
) -> None:
    """B connects with A's client id, and A stays connected and goes on reporting."""
    async with signed_in(world.device(A), client_id=A) as first:
        async with signed_in(world.device(B), client_id=A) as second:
            await second.publish(topic(B, Channel.EVENT), b"{}", qos=1)
            await topics_until(collector, topic(B, Channel.EVENT))
        await first.publish(topic(A, Channel.EVENT), b"{}", qos=1)
        await topics_until(collector, topic(A, Channel.EVENT))


async def test_the_collector_opens_a_connection_for_each_partition(world: World) -> None:
    """One account, sixteen connections at once: none pushes another out."""
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(
                signed_in(world.service(Role.COLLECTOR), client_id=f"collector-{number:x}")
            )
            for number in range(16)
        ]
        for number, client in enumerate(clients):
            own = str(collector_topic(TENANT, f"{number:x}"))
            await client.subscribe(own, qos=1)
            await client.publish(own, b"{}", qos=1, retain=True)
            await topics_until(client, own)


async def test_the_help_desk_looks_and_touches_nothing(
    world: World, collector: aiomqtt.Client
) -> None:
    """It sees a screen; neither a command nor a report of its own gets through."""
    async with signed_in(world.service(Role.HELP_DESK)) as desk:
        await desk.subscribe("esp/1/#", qos=1)
        for channel in Channel:
            await desk.publish(topic(A, channel), b"forged", qos=1)
        async with signed_in(world.device(A)) as device:
            await device.publish(topic(A, Channel.EVENT), b"{}", qos=1)
            await device.publish(topic(A, Channel.STATUS), b"{}", qos=1)
        assert await topics_until(desk, topic(A, Channel.STATUS)) == [topic(A, Channel.STATUS)]
    seen = await topics_until(collector, topic(A, Channel.STATUS))
    assert seen == [topic(A, Channel.EVENT), topic(A, Channel.STATUS)]


async def test_an_oversized_packet_ends_the_connection_that_sent_it(
    world: World, collector: aiomqtt.Client
) -> None:
    """The largest payload of the contract passes; a packet beyond the limit cuts its sender off, and nobody else."""
    largest = topic(A, Channel.STATUS)
    async with signed_in(world.device(A)) as device:
        await device.publish(largest, b"x" * PAYLOAD_BYTES_MAX, qos=1)
    assert await topics_until(collector, largest) == [largest]
    name = topic(B, Channel.STATUS).encode()
    content = struct.pack(">H", len(name)) + name + b"x" * (PAYLOAD_BYTES_MAX + 2048)
    # Whether the broker's reset overtakes the rest of the packet is a matter of timing.
    with (
        raw_connection(world.device(B)) as cut_off,
        suppress(ConnectionResetError, BrokenPipeError, ssl.SSLEOFError),
    ):
        cut_off.sendall(packet(0x30, content))
        assert cut_off.recv(1) == b""
    async with signed_in(world.device(A)) as device:
        await device.publish(topic(A, Channel.EVENT), b"{}", qos=1)
    assert await topics_until(collector, topic(A, Channel.EVENT)) == [topic(A, Channel.EVENT)]


async def test_a_device_made_while_the_broker_runs_gets_in(world: World) -> None:
    """Its certificate is all that it needs: no restart, and nobody is disconnected."""
    async with signed_in(world.device(A)) as waiting:
        issue_device(world.deployment.directory, "PHONE-C", None)
        async with signed_in(world.device("PHONE-C")):
            await waiting.publish(topic(A, Channel.EVENT), b"{}", qos=1)


def test_mosquitto_has_no_complaint(world: World) -> None:
    """Mosquitto reads the generated configuration without an error; its warnings are the two that we know."""
    lines = [line.partition(": ")[2] for line in world.log.read_text().splitlines()]
    known = (
        "Warning: Mosquitto should not be run as root",
        "Warning: ACL pattern 'esp/1/acme/+/collector'",
    )
    complaints = [
        line
        for line in lines
        if line.startswith(("Error", "Warning")) and not line.startswith(known)
    ]
    assert complaints == []


def test_retained_messages_survive_a_restart(
    tmp_path: Path, mosquitto: str, start_broker: StartBroker
) -> None:
    """What Mosquitto keeps lies in our data folder."""
    init(tmp_path / "broker", {})
    broker = start_broker(tmp_path / "broker", "--port", "0")
    assert broker.stop() == 0
    assert [file.name for file in Deployment(tmp_path / "broker").data.iterdir()] == [
        "mosquitto.db"
    ]


def test_what_mosquitto_refuses_is_said(
    tmp_path: Path, mosquitto: str, start_broker: StartBroker
) -> None:
    """A mistake in an edited configuration comes back in Mosquitto's own words, with exit code 2."""
    init(tmp_path / "broker", {"development": True})
    configuration = Deployment(tmp_path / "broker").configuration
    configuration.write_text(configuration.read_text() + "\nmax_packet_sise 10\n")
    with pytest.raises(
        BrokerDidNotStart, match=r"esp-broker: Mosquitto ended with code .*max_packet_sise"
    ):
        start_broker(tmp_path / "broker", "--port", "0")
