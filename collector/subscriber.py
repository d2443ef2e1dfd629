"""The collector at the broker: one connection for each partition that it owns, one queue, one committer."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Final, TypeVar

import structlog

from agent.core import link
from agent.wire.codec import PayloadRefused, decode, encode
from agent.wire.messages import CollectorState
from agent.wire.topics import collector_filters, collector_topic, parse
from collector.database import StoreFailed
from collector.inbound import Inbound, Said, Taken
from collector.janitor import CLEAR_AFTER_HOURS, HOUR_MS
from collector.metrics import Metrics
from collector.ports import Broker, BrokerLost, BrokerRefused, Connection, Delivered, Will

LOG = structlog.get_logger("collector.subscriber")

QUEUE_MAX: Final = 5_000
BATCH_MAX: Final = 500
PUBLISH_MAX: Final = 100
SWEEP_S: Final = 30.0
CLEAN_S: Final = 300.0
STORE_RETRY_S: Final = 1.0

T = TypeVar("T")


def _now_ms() -> int:
    return time.monotonic_ns() // 1_000_000


class Voice:
    """What one partition has to publish: at most one message a topic, the newest, for all of it is retained state."""

    def __init__(self) -> None:
        self._waiting: dict[str, bytes] = {}
        self._any = asyncio.Event()

    def say(self, topic: str, payload: bytes) -> None:
        """Publish this as soon as there is a connection."""
        self._waiting.pop(topic, None)
        self._waiting[topic] = payload
        self._any.set()

    def forget(self) -> None:
        """Drop what waits: whoever returns says everything anew."""
        self._waiting.clear()
        self._any.clear()

    async def speak(self, connection: Connection) -> None:
        """Publish what waits, and what comes, until the connection breaks."""
        while True:
            await self._any.wait()
            topics = list(self._waiting)[:PUBLISH_MAX]
            batch = [(topic, self._waiting.pop(topic)) for topic in topics]
            if not self._waiting:
                self._any.clear()
            await asyncio.gather(*(connection.publish(topic, data) for topic, data in batch))


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
                await self._queue.put(Taken(self.partition, self.term, message))
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


class Subscriber:
    """Owns partitions, takes in what their devices say, and says what they have to know."""

    def __init__(
        self,
        *,
        tenant: str,
        store: str,
        terms: dict[str, int],
        broker: Broker,
        inbound: Inbound,
        metrics: Metrics,
        limits: link.LinkLimits | None = None,
        queue_max: int = QUEUE_MAX,
        clear_after_ms: int = CLEAR_AFTER_HOURS * HOUR_MS,
    ) -> None:
        """`clear_after_ms`: how long after its end a device's retained messages stay, by the collector's clock."""
        self._terms = dict(terms)
        self._clear_after_ms = clear_after_ms
        self._inbound = inbound
        self._metrics = metrics
        self._queue: asyncio.Queue[Taken] = asyncio.Queue(queue_max)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store")
        self._welcomes: set[asyncio.Future[None]] = set()
        self.is_storing = True
        """False while the database refuses what arrives."""
        self.owners = {
            partition: PartitionOwner(
                tenant=tenant,
                partition=partition,
                store=store,
                term=term,
                broker=broker,
                queue=self._queue,
                welcome=self._begin_welcome,
                still_owns=self._still_owns,
                metrics=metrics,
                limits=limits,
            )
            for partition, term in terms.items()
        }

    async def run(self) -> None:
        """Work until cancelled, or until every partition has another owner."""
        try:
            async with asyncio.TaskGroup() as group:
                committer = group.create_task(self._commit_forever(), name="committer")
                sweeper = group.create_task(_repeat(self._sweep, SWEEP_S), name="sweeper")
                janitor = group.create_task(_repeat(self.clean, CLEAN_S), name="janitor")
                owners = [
                    group.create_task(owner.run(), name=f"partition-{p}")
                    for p, owner in self.owners.items()
                ]
                await asyncio.wait(owners)
                committer.cancel()
                sweeper.cancel()
                janitor.cancel()
        finally:
            for welcome in self._welcomes:
                welcome.cancel()
            self._thread.shutdown(wait=True)

    async def ready(self) -> None:
        """Return once every partition is subscribed to and announced."""
        await asyncio.gather(*(owner.online.wait() for owner in self.owners.values()))

    @property
    def online_partitions(self) -> int:
        """How many partitions have an open connection."""
        return sum(owner.online.is_set() for owner in self.owners.values())

    def say(self, said: Iterable[Said]) -> None:
        """Publish through the partitions' connections; without one it is said when it returns."""
        for one in said:
            owner = self.owners.get(one.partition)
            if owner is not None and not owner.is_deposed:
                owner.voice.say(one.topic, one.payload)

    async def in_store_thread(self, work: Callable[[], T]) -> T:
        """Do something with the store between two commits."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def reassign(self, device: str, attempt: str) -> None:
        """Choose profile and items anew for an open attempt, and send the result."""
        self.say(
            await self.in_store_thread(
                lambda: self._inbound.reassigned(device, attempt, self._terms)
            )
        )

    async def _commit_forever(self) -> None:
        while True:
            batch = [await self._queue.get()]
            while len(batch) < BATCH_MAX and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            self._metrics.queue_depth.set(self._queue.qsize())
            outcome = await self.in_store_thread(partial(self._inbound.take, batch, self._terms))
            for partition in outcome.lost:
                self._depose(partition)
            self.say(outcome.said)
            self.is_storing = outcome.stored
            if not outcome.stored:
                # A full disk does not get better by being asked faster; meanwhile devices hold what they have.
                await asyncio.sleep(STORE_RETRY_S)

    def _depose(self, partition: str) -> None:
        LOG.error("another collector owns the partition now", partition=partition)
        self._terms.pop(partition, None)
        self.owners[partition].depose()

    async def _still_owns(self, partition: str, term: int) -> bool:
        try:
            return await self.in_store_thread(lambda: self._inbound.term(partition)) == term
        except StoreFailed as failure:
            # Whoever can't ask keeps what it has: no commit gets through without the store either.
            LOG.warning("could not check the owner", partition=partition, problem=str(failure))
            return True

    def _begin_welcome(self, partition: str) -> asyncio.Future[None]:
        task = asyncio.ensure_future(self._welcome(partition))
        self._welcomes.add(task)
        task.add_done_callback(self._welcomes.discard)
        return task

    async def _welcome(self, partition: str) -> None:
        try:
            self.say(
                await self.in_store_thread(
                    lambda: list(self._inbound.welcome(partition, self._terms))
                )
            )
        except StoreFailed as failure:
            LOG.warning("could not greet the devices", partition=partition, problem=str(failure))

    async def _sweep(self) -> None:
        """Take commands that are over out of the broker."""
        for command, said in await self.in_store_thread(self._inbound.to_clear):
            owner = self.owners.get(said.partition)
            if owner is not None and await owner.publish(said.topic, said.payload):
                await self.in_store_thread(partial(self._inbound.cleared, command))

    async def clean(self) -> None:
        """Take out of the broker what it keeps of devices that ended long ago."""
        cleaning = await self.in_store_thread(
            lambda: self._inbound.to_clean(self._clear_after_ms, self._terms)
        )
        # All at once, so that nothing which is said to a device that returns now is overtaken by its clearing.
        done = await asyncio.gather(*(self._publish_all(said) for said in cleaning.said.values()))
        devices = [device for device, ok in zip(cleaning.said, done, strict=True) if ok]
        await self.in_store_thread(partial(self._inbound.cleaned, devices, cleaning.at_ms))

    async def _publish_all(self, said: Sequence[Said]) -> bool:
        """Whether the broker has all of it."""
        published = [self.owners[one.partition].publish(one.topic, one.payload) for one in said]
        return all(await asyncio.gather(*published))


async def _repeat(work: Callable[[], Awaitable[None]], pause_s: float) -> None:
    while True:
        try:
            await work()
        except StoreFailed as failure:
            LOG.warning("could not tidy up at the broker", problem=str(failure))
        await asyncio.sleep(pause_s)
