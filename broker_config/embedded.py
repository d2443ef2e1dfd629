"""The embedded broker, for demonstrations and tests on one machine: amqtt, held to loopback and kept quiet.

Traits of amqtt 0.11 that decide where it may be used:
- it speaks MQTT 3.1.1 only; a CONNECT of version 5 is refused when it is bare, and met with silence when it
  carries a will or properties;
- left to itself it sends retained messages to every client that connects, whether it subscribed to them or not,
  and drops a client that connects while another subscribes; `_CarefulBroker` mends both;
- it knows no rights by user name and delivers nothing to shared subscriptions;
- everything is in memory: a restart forgets retained messages and sessions;
- it carries about 1,200 connections and 5,000 messages a second.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

from amqtt.broker import Broker
from amqtt.contexts import BrokerConfig, ListenerConfig, ListenerType
from amqtt.errors import AMQTTError
from amqtt.session import Session

from broker_config.problems import BrokerProblem
from broker_config.readiness import check_port, free_port

ANONYMOUS = "amqtt.plugins.authentication.AnonymousAuthPlugin"


def configuration(host: str, port: int) -> BrokerConfig:
    """One listener, anonymous clients, and none of amqtt's default plugins.

    Left out are the packet loggers and the `$SYS` publisher: amqtt ends the message loop of a client that
    publishes below `$`, and its `$SYS` messages would reach clients that never asked for them.
    """
    address = f"[{host}]" if ":" in host else host
    return BrokerConfig(
        listeners={"default": ListenerConfig(type=ListenerType.TCP, bind=f"{address}:{port}")},
        plugins={ANONYMOUS: {"allow_anonymous": True}},
    )


class _Subscriptions(dict[str, list[tuple[Session, int]]]):
    """Walked over a copy: amqtt awaits in the middle of its walks, and others subscribe meanwhile."""

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self.keys()))

    def items(self) -> Any:
        """The pairs of this moment."""
        return tuple(super().items())


class _CarefulBroker(Broker):
    """amqtt's broker without two of its traits that would lose messages or show them to strangers."""

    def __init__(self, config: BrokerConfig) -> None:
        super().__init__(config)
        self._subscriptions = _Subscriptions()

    async def _publish_retained_messages_for_subscription(
        self, subscription: tuple[str, int], session: Session
    ) -> None:
        """On connecting, amqtt walks everybody's filters; only the client's own ones may bring it something."""
        holders = self._subscriptions.get(subscription[0], ())
        if any(holder.client_id == session.client_id for holder, _ in holders):
            await super()._publish_retained_messages_for_subscription(subscription, session)


@asynccontextmanager
async def embedded_broker(host: str, port: int) -> AsyncIterator[int]:
    """Run the broker while the block runs; gives the port, which is a free one when 0 was asked for.

    Raises:
        BrokerProblem: the port is taken or the address is not this machine's.
    """
    chosen = port or free_port(host)
    check_port(host, chosen)
    _quieten()
    broker = _CarefulBroker(configuration(host, chosen))
    try:
        await broker.start()
    except AMQTTError as error:
        raise BrokerProblem(f"the embedded broker did not start: {error}") from error
    try:
        yield chosen
    finally:
        await broker.shutdown()


def _quieten() -> None:
    """amqtt logs every connection, and every client that goes away without a DISCONNECT as a warning."""
    for name in ("amqtt", "transitions"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
