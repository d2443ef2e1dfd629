"""The collector's adapter for MQTT where a broker misbehaves."""

from __future__ import annotations

import asyncio

import pytest

from collector.subscriber.mqtt import BrokerAddress, MqttBroker, _MqttConnection
from collector.subscriber.ports import BrokerLost, Will
from tests.agent.brokers import (
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
