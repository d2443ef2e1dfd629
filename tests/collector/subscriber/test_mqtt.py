"""The collector's adapter for MQTT where a broker misbehaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from collector.subscriber.mqtt import BrokerAddress, MqttBroker, _MqttConnection
from collector.subscriber.ports import BrokerLost, Will
from collector.subscriber.writing import Writer
from tests.agent.brokers import (
    CONNACK_5,
    cancelled_in_time,
    dying_broker,
    no_complaints,
    silent_broker,
)


def broker_at(port: int) -> MqttBroker:
    return MqttBroker(BrokerAddress("127.0.0.1", port))


async def connect_once(broker: MqttBroker, will: Will | None) -> None:
    async with broker.connect("collector", will):
        pass


async def test_an_attempt_to_connect_can_be_cancelled_at_once() -> None:
    """Also while the broker keeps silent; nothing is left behind, and nothing complains of it."""
    async with silent_broker() as silent:
        broker = broker_at(silent.port)
        for will in (None, Will("will", b"lost")):
            with no_complaints():
                attempt = asyncio.create_task(connect_once(broker, will), name="to be cancelled")
                await silent.heard.get()
                await cancelled_in_time(attempt)
        assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_broker_that_dies_unnoticed_is_no_complaint() -> None:
    """Whoever leaves the connection has no need to look why it broke."""
    dies = asyncio.Event()
    with no_complaints():
        async with (
            dying_broker(dies) as port,
            broker_at(port).connect("collector", None) as connection,
        ):
            assert isinstance(connection, _MqttConnection)
            dies.set()
            await asyncio.wait([connection._lost])


async def test_an_end_that_comes_together_with_the_acceptance_is_no_connection() -> None:
    """aiomqtt alone would take it for an open one, on which nothing ever arrives."""
    dies = asyncio.Event()
    dies.set()
    with no_complaints():
        async with dying_broker(dies) as port:
            with pytest.raises(BrokerLost):
                async with broker_at(port).connect("collector", None):
                    pass


DISCONNECT_5 = bytes([0xE0, 2, 0, 0])


class Protocol:
    """Where the library writes to."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.write_data: Callable[[bytes], None] = self.sent.append


async def test_what_is_written_in_one_turn_is_sent_at_once() -> None:
    protocol = Protocol()
    writer = Writer(protocol)
    for turn in (b"ab", b"c"):
        for byte in turn:
            protocol.write_data(bytes([byte]))
        await asyncio.sleep(0)
    protocol.write_data(b"d")
    writer.end()
    protocol.write_data(b"e")
    assert protocol.sent == [b"ab", b"c", b"d", b"e"]


class Deliverer:
    """A broker that accepts one session and delivers what a test gives it."""

    def __init__(self) -> None:
        self.port = 0
        self.ended: asyncio.Queue[bytes] = asyncio.Queue()
        """All that was heard on each connection that is over."""
        self._writers: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        await reader.read(1024)
        writer.write(CONNACK_5)
        self.ended.put_nowait(await reader.read())
        writer.close()

    def deliver(self, *payloads: bytes) -> None:
        for number, payload in enumerate(payloads, start=1):
            body = b"\0\1t" + bytes([0, number, 0]) + payload
            self._writers[-1].write(bytes([0x32, len(body)]) + body)


@asynccontextmanager
async def deliverer() -> AsyncIterator[Deliverer]:
    broker = Deliverer()
    server = await asyncio.start_server(broker.serve, "127.0.0.1", 0)
    async with asyncio.timeout(30), server:
        broker.port = server.sockets[0].getsockname()[1]
        yield broker


async def test_the_farewell_is_said_before_the_connection_is_closed() -> None:
    """Without it the broker would publish the will of a collector that ended as planned."""
    async with deliverer() as broker:
        async with broker_at(broker.port).connect("collector", None):
            pass
        # It asked for the version before, on a connection of its own.
        assert [(await broker.ended.get())[-4:] for _ in range(2)] == [DISCONNECT_5] * 2


async def test_it_reads_on_after_a_rest() -> None:
    async with (
        deliverer() as broker,
        broker_at(broker.port).connect("collector", None) as connection,
    ):
        messages = connection.messages()
        for payload in (b"first", b"second", b"third"):
            broker.deliver(payload)
            assert (await anext(messages)).payload == payload


async def test_a_full_inbox_is_emptied_before_more_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("collector.subscriber.mqtt.INCOMING_MAX", 4)
    async with (
        deliverer() as broker,
        broker_at(broker.port).connect("collector", None) as connection,
    ):
        assert isinstance(connection, _MqttConnection)
        sent = [b"%d" % n for n in range(12)]
        broker.deliver(*sent[:6])
        await connection._arrived.wait()
        assert connection._resting is not None, "it has just read"
        connection._resting.cancel()
        connection._rested()
        assert connection._is_paused
        broker.deliver(*sent[6:])
        for _ in range(100):
            await asyncio.sleep(0)
        assert len(connection._inbox) == 6
        messages = connection.messages()
        assert [(await anext(messages)).payload for _ in sent] == sent
