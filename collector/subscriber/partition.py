"""One owned partition at the broker: its connection, its announcements, and what it hands to the queue."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Final

import structlog

from agent.core import link
from agent.wire.codec import PayloadRefused, decode, encode
from agent.wire.messages import CollectorState
from agent.wire.topics import collector_filters, collector_topic, parse
from collector.metrics import Metrics
from collector.subscriber.inbound import Taken
from collector.subscriber.ports import (
    Broker,
    BrokerLost,
    BrokerRefused,
    Connection,
    Delivered,
    Will,
)

LOG = structlog.get_logger("collector.partition")

PUBLISH_MAX: Final = 500


def _now_ms() -> int:
    return time.monotonic_ns() // 1_000_000


class Voice:
    """What one partition has to publish: at most one message a topic, the newest, for all of it is retained state."""

    def __init__(self) -> None:
        self._waiting: dict[str, bytes] = {}
        self._told_when_sent: dict[str, Callable[[], None]] = {}
        self._any = asyncio.Event()

    def say(self, topic: str, payload: bytes, when_sent: Callable[[], None] | None = None) -> None:
        """Publish this as soon as there is a connection; `when_sent` is called once the broker has it."""
        self._waiting.pop(topic, None)
        if when_sent is not None:
            self._told_when_sent[topic] = when_sent
        elif self._told_when_sent:
            self._told_when_sent.pop(topic, None)
        self._waiting[topic] = payload
        self._any.set()

    def forget(self) -> None:
        """Drop what waits: whoever returns says everything anew."""
        self._waiting.clear()
        self._told_when_sent.clear()
        self._any.clear()

    async def speak(self, connection: Connection) -> None:
        """Publish what waits, and what comes, until the connection breaks."""
        while True:
            await self._any.wait()
            topics = list(self._waiting)[:PUBLISH_MAX]
            batch = [(topic, self._waiting.pop(topic)) for topic in topics]
            if not self._waiting:
                self._any.clear()
            # What is said anew meanwhile is to be told of anew.
            asked = self._taken_up(topics) if self._told_when_sent else ()
            await connection.publish_all(batch)
            for tell in asked:
                tell()

    def _taken_up(self, topics: Sequence[str]) -> list[Callable[[], None]]:
        return [self._told_when_sent.pop(t) for t in topics if t in self._told_when_sent]


class PartitionOwner:
    """One owned partition: keeps its connection, announces it, and hands what arrives to the queue."""

    def __init__(
        self,
        *,
        tenant: str,
        partition: str,
        store: str,
        term: int,
        broker: Broker,
        queue: asyncio.Queue[Taken],
        welcome: Callable[[str], object],
        still_owns: Callable[[str, int], Awaitable[bool]],
        metrics: Metrics,
        limits: link.LinkLimits | None = None,
    ) -> None:
        self.partition = partition
        self.term = term
        self.voice = Voice()
        self.online = asyncio.Event()
        self._tenant = tenant
        self._store = store
        self._broker = broker
        self._queue = queue
        self._welcome = welcome
        self._still_owns = still_owns
        self._connection: Connection | None = None
        self._metrics = metrics
        self._link = link.Link(limits=limits)
        self._topic = str(collector_topic(tenant, partition))
        self._deposed = asyncio.Event()
        self._complained = False

    @property
    def problem(self) -> str:
        """One sentence on why there is no connection; empty while there is one."""
        return (
            "another collector owns the partition" if self._deposed.is_set() else self._link.problem
        )

    @property
    def is_deposed(self) -> bool:
        """True once another collector owns the partition."""
        return self._deposed.is_set()

    def depose(self) -> None:
        """Another collector owns the partition now; this one says no more."""
        self._deposed.set()

    async def publish(self, topic: str, payload: bytes) -> bool:
        """Publish now; False when that was not possible."""
        try:
            if self._connection is not None:
                await self._connection.publish(topic, payload)
                return True
        except BrokerLost as error:
            LOG.info("not published", topic=topic, problem=str(error))
        return False

    async def run(self) -> None:
        """Stay connected until the task is cancelled or the partition has another owner."""
        self._feed(link.Started())
        while await self._is_owner():
            try:
                await self._session()
            except BrokerLost as error:
                self._feed(link.ConnectionLost(str(error), random.random()))
            except BrokerRefused as error:
                self._feed(link.ConnectionRefused(str(error), random.random()))
            if not self._deposed.is_set():
                self._complain()
                await self._wait()

    def _feed(self, event: link.Event) -> None:
        self._link.handle(event, _now_ms())

    def _complain(self) -> None:
        """One line for a trouble, however often it is tried again."""
        if not self._complained:
            LOG.warning("no connection", partition=self.partition, problem=self._link.problem)
        self._complained = True

    async def _wait(self) -> None:
        deadline_ms = self._link.next_deadline_ms()
        assert deadline_ms is not None, "a link without a connection knows when to try again"
        with suppress(TimeoutError):
            await asyncio.wait_for(
                self._deposed.wait(), timeout=max(0, deadline_ms - _now_ms()) / 1000
            )
        self._feed(link.DeadlinePassed(random.random()))

    async def _is_owner(self) -> bool:
        """Asked before every connection: two that both believe to be the owner would end each other's sessions."""
        if not self._deposed.is_set() and not await self._still_owns(self.partition, self.term):
            self.depose()
        return not self._deposed.is_set()

    async def _session(self) -> None:
        will = Will(self._topic, self._state("offline"))
        client_id = f"esp-collector-{self._tenant}-{self.partition}"
        async with self._broker.connect(client_id, will) as connection:
            # Whoever hears "online" may send at once, so the subscription comes first.
            await connection.subscribe(collector_filters(self._tenant, self.partition))
            self.voice.forget()
            await connection.publish(self._topic, self._state("online"))
            self._feed(link.ConnectionOpened())
            self._connection = connection
            self._complained = False
            self.online.set()
            self._metrics.partitions_online.inc()
            try:
                await self._serve(connection)
            finally:
                self._connection = None
                self.online.clear()
                self._metrics.partitions_online.dec()

    async def _serve(self, connection: Connection) -> None:
        tasks = [
            asyncio.create_task(self._listen(connection), name=f"listen-{self.partition}"),
            asyncio.create_task(self.voice.speak(connection), name=f"speak-{self.partition}"),
            asyncio.create_task(self._deposed.wait(), name=f"deposed-{self.partition}"),
        ]
        self._welcome(self.partition)
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        except asyncio.CancelledError:
            await self._say_goodbye(connection)
            raise
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _say_goodbye(self, connection: Connection) -> None:
        """A clean end suppresses the will, so the planned one says itself that nobody is there."""
        if self._deposed.is_set():
            return
        self._feed(link.GoodbyeWanted())
        with suppress(BrokerLost):
            await connection.publish(self._topic, self._state("offline"))
        self._feed(link.GoodbyeSaid())

    async def _listen(self, connection: Connection) -> None:
        async for message in connection.messages():
            if message.topic == self._topic:
                await self._heard_of_owner(message)
            elif self._is_mine(message):
                # Waiting here is the back-pressure: a device goes on when its reports are acknowledged.
                taken = Taken(self.partition, self.term, message)
                if self._queue.full():
                    await self._queue.put(taken)
                else:
                    self._queue.put_nowait(taken)
        raise BrokerLost("the connection ended")

    def _is_mine(self, message: Delivered) -> bool:
        """Some brokers deliver retained messages that nobody asked for; those are another partition's."""
        if not message.retained:
            return True
        try:
            return parse(message.topic).partition == self.partition
        except ValueError:
            return False

    async def _heard_of_owner(self, message: Delivered) -> None:
        try:
            state = decode(CollectorState, message.payload)
        except PayloadRefused:
            # Cleared or overwritten by nobody of ours: devices have to hear again who is there.
            self.voice.say(self._topic, self._state("online"))
            return
        # The store decides who owns the partition; a message alone deposes nobody.
        is_mine = (state.store, state.term) == (self._store, self.term)
        if not is_mine and not await self._is_owner():
            return
        if state.state == "offline" or (state.store == self._store and not is_mine):
            self.voice.say(self._topic, self._state("online"))

    def _state(self, state: str) -> bytes:
        return encode(
            CollectorState.model_validate(
                {
                    "partition": self.partition,
                    "store": self._store,
                    "term": self.term,
                    "state": state,
                }
            )
        )
