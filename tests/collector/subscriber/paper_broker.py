"""A broker on paper: retained messages, wills and filters, and a record of everything in order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from collector.subscriber.ports import BrokerLost, BrokerRefused, Connection, Delivered, Will


def matches(wanted: str, topic: str) -> bool:
    """Whether a topic falls under a filter with `+`."""
    parts, have = wanted.split("/"), topic.split("/")
    return len(parts) == len(have) and all(p in ("+", h) for p, h in zip(parts, have, strict=True))


@dataclass(eq=False)
class PaperConnection:
    """One session."""

    broker: PaperBroker
    client_id: str
    will: Will | None
    filters: list[str] = field(default_factory=list)
    inbox: asyncio.Queue[Delivered | None] = field(default_factory=asyncio.Queue)

    async def subscribe(self, filters: Sequence[str]) -> None:
        if self.broker.refuses:
            await self.broker.note(("refused", self.client_id, ""))
            raise BrokerRefused("not authorized")
        await self.broker.note(("subscribe", self.client_id, ",".join(filters)))
        self.filters += filters
        for topic, payload in self.broker.retained.items():
            if self.broker.leaks or any(matches(f, topic) for f in filters):
                self.inbox.put_nowait(Delivered(topic, payload, retained=True))

    async def publish(self, topic: str, payload: bytes) -> None:
        if self not in self.broker.connections:
            raise BrokerLost("gone")
        await self.broker.publish(topic, payload, retain=True)

    async def publish_all(self, messages: Sequence[tuple[str, bytes]]) -> None:
        for topic, payload in messages:
            await self.publish(topic, payload)

    async def messages(self) -> AsyncIterator[Delivered]:
        while True:
            message = await self.inbox.get()
            if message is None:
                raise BrokerLost("the connection broke")
            yield message


@dataclass(eq=False)
class PaperBroker:
    """Never relies on time: whoever waits is woken by what happens."""

    retained: dict[str, bytes] = field(default_factory=dict)
    connections: list[PaperConnection] = field(default_factory=list)
    log: list[tuple[str, str, str | bytes]] = field(default_factory=list)
    refuses: bool = False
    leaks: bool = False
    """Deliver retained messages that nobody asked for, as amqtt does."""
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    @asynccontextmanager
    async def connect(self, client_id: str, will: Will | None) -> AsyncIterator[Connection]:
        connection = PaperConnection(self, client_id, will)
        self.connections.append(connection)
        try:
            yield connection
        finally:
            if connection in self.connections:
                self.connections.remove(connection)

    async def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        if retain and payload:
            self.retained[topic] = payload
        elif retain:
            self.retained.pop(topic, None)
        for connection in self.connections:
            if any(matches(f, topic) for f in connection.filters):
                connection.inbox.put_nowait(Delivered(topic, payload, retained=False))
        await self.note(("publish", topic, payload))

    async def drop(self, client_id: str) -> None:
        """The connection breaks; the broker publishes its will."""
        for connection in [c for c in self.connections if c.client_id == client_id]:
            self.connections.remove(connection)
            connection.inbox.put_nowait(None)
            if connection.will is not None:
                await self.publish(connection.will.topic, connection.will.payload, retain=True)

    async def note(self, entry: tuple[str, str, str | bytes]) -> None:
        async with self._changed:
            self.log.append(entry)
            self._changed.notify_all()

    async def until(self, happened: Callable[[], bool]) -> None:
        """Wait until something that happened at the broker makes this true."""
        async with self._changed:
            await asyncio.wait_for(self._changed.wait_for(happened), timeout=10)

    async def payload(self, topic: str) -> bytes:
        """The retained message of a topic, as soon as there is one."""
        await self.until(lambda: topic in self.retained)
        return self.retained[topic]

    def said(self, topic: str) -> list[bytes]:
        """Everything that was published on a topic."""
        return [
            p
            for kind, t, p in self.log
            if kind == "publish" and t == topic and isinstance(p, bytes)
        ]
