"""What an MQTT client alone costs a collector: `python -m benchmarks.ingest_clients NAME PORT TENANT` hears and answers.

It does with each report what a collector does at the broker, and nothing else: it takes the report from one of sixteen
connections, and publishes an acknowledgement, retained at QoS 1. `benchmarks.ingest --clients` compares the figures.
"""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import sys
from collections.abc import Awaitable, Callable
from typing import Any, Final

import aiomqtt
import gmqtt
import uvloop
from gmqtt.mqtt.constants import MQTTv50
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion

from agent.wire.topics import PARTITIONS, Channel, collector_filters

RECEIVE_MAX: Final = 2_000


def answer(topic: str, payload: bytes) -> tuple[str, bytes]:
    """The acknowledgement of a report."""
    seq = json.loads(payload)["seq"]
    return topic.removesuffix(Channel.EVENT.value) + Channel.ACK.value, b'{"stored_seq":%d}' % seq


async def with_aiomqtt(port: int, filters: tuple[str, ...], name: str) -> None:
    """As the agent does, with what came meanwhile answered together."""
    async with aiomqtt.Client(
        "127.0.0.1", port, identifier=name, protocol=aiomqtt.ProtocolVersion.V5, clean_start=True
    ) as client:
        logging.getLogger("mqtt").setLevel(logging.CRITICAL)
        await client.subscribe([(f, 1) for f in filters])
        tell(name)
        answers: list[tuple[str, bytes]] = []
        async for message in client.messages:
            if isinstance(message.payload, bytes):
                answers.append(answer(message.topic.value, message.payload))
            if not len(client.messages) or len(answers) >= 20:
                await asyncio.gather(
                    *(client.publish(topic, data, qos=1, retain=True) for topic, data in answers)
                )
                answers.clear()


async def with_paho(port: int, filters: tuple[str, ...], name: str) -> None:
    """The library below aiomqtt, with its socket in our loop, as its documentation shows."""
    loop = asyncio.get_running_loop()
    client = paho.Client(CallbackAPIVersion.VERSION2, name, protocol=paho.MQTTv5)
    client.max_inflight_messages_set(RECEIVE_MAX)
    subscribed = asyncio.Event()

    def opened(_: object, __: object, sock: Any) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        loop.add_reader(sock, client.loop_read)

    def writes(_: object, __: object, sock: Any) -> None:
        loop.add_writer(sock, client.loop_write)

    def written(_: object, __: object, sock: Any) -> None:
        loop.remove_writer(sock)

    def connected(*_: object) -> None:
        client.subscribe([(f, 1) for f in filters])

    def heard(_: object, __: object, message: paho.MQTTMessage) -> None:
        topic, data = answer(message.topic, bytes(message.payload))
        client.publish(topic, data, qos=1, retain=True)

    client.on_socket_open = opened
    client.on_socket_register_write = writes
    client.on_socket_unregister_write = written
    client.on_message = heard
    client.on_connect = connected
    client.on_subscribe = lambda *_: subscribed.set()
    client.connect("127.0.0.1", port, clean_start=True)
    await subscribed.wait()
    tell(name)
    # It keeps the connection alive for a minute by itself, which is longer than this takes.
    await asyncio.Event().wait()


async def with_gmqtt(port: int, filters: tuple[str, ...], name: str) -> None:
    """A library on asyncio's own transports."""
    logging.getLogger("gmqtt").setLevel(logging.CRITICAL)
    client: Any = gmqtt.Client(name, clean_session=True, receive_maximum=RECEIVE_MAX)
    subscribed = asyncio.Event()

    def heard(_: object, topic: str, payload: bytes, __: int, ___: object) -> None:
        where, data = answer(topic, payload)
        client.publish(where, data, qos=1, retain=True)

    client.on_message = heard
    client.on_subscribe = lambda *_: subscribed.set()
    await client.connect("127.0.0.1", port, version=MQTTv50)
    client.subscribe([gmqtt.Subscription(f, qos=1) for f in filters])
    await subscribed.wait()
    tell(name)
    await asyncio.Event().wait()


CLIENTS: Final[dict[str, Callable[[int, tuple[str, ...], str], Awaitable[None]]]] = {
    "aiomqtt": with_aiomqtt,
    "paho": with_paho,
    "gmqtt": with_gmqtt,
}


def tell(name: str) -> None:
    """The last connection to be subscribed says that all are."""
    if name.endswith(PARTITIONS[-1]):
        print("ready", flush=True)


async def run(client: str, port: int, tenant: str) -> None:
    """One connection after the other, then all at once."""
    async with asyncio.TaskGroup() as group:
        for partition in PARTITIONS:
            filters = collector_filters(tenant, partition)
            group.create_task(_one(client, port, filters, f"client-{partition}"))
            await asyncio.sleep(0)


async def _one(client: str, port: int, filters: tuple[str, ...], name: str) -> None:
    await CLIENTS[client](port, filters, name)


def main() -> None:
    """The program."""
    client, port, tenant = sys.argv[1:]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(client, int(port), tenant))


if __name__ == "__main__":
    main()
