"""The collector at the broker: an owner for each partition that it holds a lease on, one queue, one committer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, TypeVar

import structlog

from agent.core import link
from collector.janitor import CLEAR_AFTER_HOURS, HOUR_MS
from collector.metrics import Metrics
from collector.store.database import StoreFailed
from collector.store.leases import Leases
from collector.store.records import Key
from collector.subscriber.backlog import Backlog
from collector.subscriber.inbound import Inbound, Said, Taken
from collector.subscriber.partition import PartitionOwner
from collector.subscriber.ports import Broker

LOG = structlog.get_logger("collector.subscriber")

QUEUE_MAX: Final = 5_000
BATCH_MAX: Final = 2_000
GROUP_S: Final = 0.04
"""How far apart commits begin while there is much to do: what a commit costs by itself is shared by all that is in it."""
ADMIT_S: Final = 0.2
"""How far apart attempts are admitted while many begin: what the rules are is looked up once for all of them."""
SWEEP_S: Final = 30.0
CLEAN_S: Final = 300.0
STORE_RETRY_S: Final = 1.0
TENDS_PER_LEASE: Final = 4
"""So often is a lease renewed within its term, so that one or two slow answers of the store lose nothing."""

T = TypeVar("T")


class Subscriber:
    """Owns partitions, takes in what their devices say, and says what they have to know."""

    def __init__(
        self,
        *,
        tenant: str,
        store: str,
        leases: Leases,
        terms: Mapping[str, int],
        broker: Broker,
        inbound: Inbound,
        metrics: Metrics,
        limits: link.LinkLimits | None = None,
        queue_max: int = QUEUE_MAX,
        clear_after_ms: int = CLEAR_AFTER_HOURS * HOUR_MS,
    ) -> None:
        """Work under these leases and those that come.

        Args:
            terms: partition and term of the leases that this process holds now.
            clear_after_ms: how long after its end a device's retained messages stay, by the collector's clock.
        """
        self._terms: dict[str, int] = {}
        self._leases = leases
        self._renewed_s = time.monotonic()
        self._clear_after_ms = clear_after_ms
        self._inbound = inbound
        self._metrics = metrics
        self._queue: asyncio.Queue[Taken] = asyncio.Queue(queue_max)
        self._backlog = Backlog()
        metrics.queue_depth.set_function(lambda: self._queue.qsize() + self._backlog.in_hand)
        metrics.oldest_waiting_seconds.set_function(self._backlog.oldest_s)
        metrics.lease_age_seconds.set_function(lambda: time.monotonic() - self._renewed_s)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store")
        self._welcomes: set[asyncio.Future[None]] = set()
        self._applicants: dict[Key, None] = {}
        self._any_applied = asyncio.Event()
        self.is_storing = True
        """False while the database refuses what arrives."""
        self.owners: dict[str, PartitionOwner] = {}
        self._running: dict[str, asyncio.Task[None]] = {}
        self._new_owner = partial(
            PartitionOwner,
            tenant=tenant,
            store=store,
            broker=broker,
            queue=self._queue,
            welcome=self._begin_welcome,
            still_owns=self._still_owns,
            metrics=metrics,
            limits=limits,
        )
        for partition, term in terms.items():
            self._own(partition, term)

    async def run(self) -> None:
        """Work until cancelled; then say goodbye and hand the leases over."""
        try:
            async with asyncio.TaskGroup() as group:
                for partition, owner in self.owners.items():
                    self._start(group, partition, owner)
                group.create_task(self._commit_forever(), name="committer")
                group.create_task(self._admit_forever(), name="admission")
                group.create_task(self._tend_forever(group), name="leases")
                group.create_task(_repeat(self._sweep, SWEEP_S), name="sweeper")
                group.create_task(_repeat(self.clean, CLEAN_S), name="janitor")
        finally:
            for welcome in self._welcomes:
                welcome.cancel()
            left = self._thread.submit(self._leases.leave, dict(self._terms))
            self._thread.shutdown(wait=True)
            problem = left.exception()
            if isinstance(problem, StoreFailed):
                LOG.warning("the leases run out by themselves", problem=str(problem))
            elif problem is not None:
                raise problem

    async def ready(self) -> None:
        """Return once every owned partition is subscribed to and announced."""
        await asyncio.gather(*(owner.online.wait() for owner in self.owners.values()))

    # Leases

    def _own(self, partition: str, term: int) -> PartitionOwner:
        self._terms[partition] = term
        owner = self._new_owner(partition=partition, term=term)
        self.owners[partition] = owner
        self._metrics.partitions_owned.set(len(self.owners))
        return owner

    def _start(self, group: asyncio.TaskGroup, partition: str, owner: PartitionOwner) -> None:
        task = group.create_task(owner.run(), name=f"partition-{partition}")
        self._running[partition] = task

    def _disown(self, partition: str) -> PartitionOwner:
        self._terms.pop(partition)
        owner = self.owners.pop(partition)
        self._metrics.partitions_owned.set(len(self.owners))
        return owner

    async def _tend_forever(self, group: asyncio.TaskGroup) -> None:
        while True:
            await asyncio.sleep(self._leases.lease_ms / 1000 / TENDS_PER_LEASE)
            await self._tend(group)

    async def _tend(self, group: asyncio.TaskGroup) -> None:
        """Renew the leases, begin with those that were free, and hand over what is more than a fair share."""
        asked_s = time.monotonic()
        try:
            tended = await self.in_store_thread(lambda: self._leases.tend(dict(self._terms)))
        except StoreFailed as failure:
            LOG.warning("could not renew the leases", problem=str(failure))
            if time.monotonic() - self._renewed_s > self._leases.lease_ms / 1000:
                await self._let_go("the leases ran out and the store can't be asked")
            return
        self._renewed_s = asked_s
        for partition in sorted(tended.lost):
            self._depose(partition)
        for partition, term in tended.taken.items():
            LOG.info("owns a partition", partition=partition, term=term)
            self._start(group, partition, self._own(partition, term))
        if tended.surplus:
            await self._hand_over(tended.surplus)
        if tended.collectors > 1:
            self.say(await self.in_store_thread(lambda: self._inbound.errands(self._terms)))

    async def _hand_over(self, partitions: Sequence[str]) -> None:
        """Say goodbye first, so that devices hold their reports until the next owner is there."""
        LOG.info("hands partitions over", partitions=list(partitions))
        held = {partition: self._terms[partition] for partition in partitions}
        await self._quit(partitions)
        try:
            await self.in_store_thread(lambda: self._leases.release(held))
        except StoreFailed as failure:
            LOG.warning("the leases run out by themselves", problem=str(failure))

    async def _let_go(self, reason: str) -> None:
        if self.owners:
            LOG.error(reason, partitions=sorted(self.owners))
            await self._quit(tuple(self.owners))

    async def _quit(self, partitions: Sequence[str]) -> None:
        for partition in partitions:
            self._disown(partition)
        tasks = [self._running.pop(partition) for partition in partitions]
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    def _depose(self, partition: str) -> None:
        if partition in self.owners:
            LOG.error("another collector owns the partition now", partition=partition)
            self._disown(partition).depose()
            self._running.pop(partition)

    @property
    def online_partitions(self) -> int:
        """How many partitions have an open connection."""
        return sum(owner.online.is_set() for owner in self.owners.values())

    def say(self, said: Iterable[Said]) -> None:
        """Publish through the partitions' connections; without one it is said when it returns."""
        for one in said:
            owner = self.owners.get(one.partition)
            if owner is not None and not owner.is_deposed:
                sent = None if one.command is None else partial(self._sent, one.command)
                owner.voice.say(one.topic, one.payload, sent)

    def _sent(self, command: str) -> None:
        task = asyncio.ensure_future(self._note_sent(command))
        self._welcomes.add(task)
        task.add_done_callback(self._welcomes.discard)

    async def _note_sent(self, command: str) -> None:
        try:
            await self.in_store_thread(partial(self._inbound.sent, command))
        except StoreFailed as failure:
            LOG.warning("could not note a command as sent", command=command, problem=str(failure))

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
        begun_s = float("-inf")
        while True:
            was_left_over = not self._queue.empty()
            batch = [await self._queue.get()]
            self._backlog.first_taken(was_left_over=was_left_over)
            await asyncio.sleep(max(0.0, begun_s + GROUP_S - time.monotonic()))
            begun_s = time.monotonic()
            while len(batch) < BATCH_MAX and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            self._backlog.batch_taken(len(batch), self._queue.qsize())
            outcome = await self.in_store_thread(partial(self._inbound.take, batch, self._terms))
            for partition, term in outcome.lost.items():
                if self._terms.get(partition) == term:
                    self._depose(partition)
            self.say(outcome.said)
            self._apply(outcome.started)
            self.is_storing = outcome.stored
            if outcome.stored:
                self._metrics.lag_seconds.observe(self._backlog.committed())
            else:
                # A full disk does not get better by being asked faster; meanwhile devices hold what they have.
                await asyncio.sleep(STORE_RETRY_S)

    def _apply(self, attempts: Iterable[Key]) -> None:
        self._applicants.update(dict.fromkeys(attempts))
        if self._applicants:
            self._any_applied.set()

    async def _admit_forever(self) -> None:
        """Beside the commits, so that no acknowledgement waits for a decision."""
        while True:
            await self._any_applied.wait()
            applicants = tuple(self._applicants)
            self._applicants.clear()
            self._any_applied.clear()
            decide = partial(self._inbound.admit, applicants, self._terms)
            self.say(await self.in_store_thread(decide))
            await asyncio.sleep(ADMIT_S)

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
        owners = [self.owners.get(one.partition) for one in said]
        published = [
            owner.publish(one.topic, one.payload)
            for owner, one in zip(owners, said, strict=True)
            if owner is not None
        ]
        return None not in owners and all(await asyncio.gather(*published))


async def _repeat(work: Callable[[], Awaitable[None]], pause_s: float) -> None:
    while True:
        try:
            await work()
        except StoreFailed as failure:
            LOG.warning("could not tidy up at the broker", problem=str(failure))
        await asyncio.sleep(pause_s)
