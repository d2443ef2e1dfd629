"""Simulated worlds in which the agent's own driver runs on every device, on an event loop whose time leaps.

Everything else is the simulation's: broker, collectors, faults, disks and checkers. So whatever the simulation says of
its shell can be said of the driver, and the two can be compared.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final
from unittest.mock import patch

from agent.core.batch import Batch
from agent.core.effects import Effect, EndpointEffect
from agent.core.enrollment import Enrollment
from agent.core.events import DeviceFacts, Event
from agent.core.outbox import SendReport
from agent.core.publications import Publication, Publications
from agent.core.shell import counted_reboot_ms
from agent.core.state import Mode
from agent.runtime import driver as drivers
from agent.runtime.driver import Driver, DriverOptions
from agent.runtime.ports import (
    Connection,
    DeviceReport,
    Incoming,
    JournalFailed,
    JournalState,
    Post,
    TransportLost,
    Will,
)
from agent.wire.events import Report
from agent.wire.topics import device_filters
from simulator.verify import broker as brokers
from simulator.verify import device as devices
from simulator.verify import run, seal
from simulator.verify.disk import DiskFull, Kept
from simulator.verify.plan import TENANT, WorldPlan
from simulator.verify.run import Simulation, Verdict
from simulator.verify.shell import ARCHIVE_MS, GOODBYE_MS, Body, Doing, PowerCut, note_input
from simulator.verify.watch import Watch
from simulator.verify.world import STEPS_MAX, World

WRITES: Final = 5
"""How often the loop goes round while the disk writes; the session gets through what it has to write."""
FIRST_IDENTIFIER: Final = "not used: the disk has its stream already"


class LeapingLoop(asyncio.SelectorEventLoop):
    """An event loop that never waits: when nothing is ready, `leap` says what time it is."""

    world: LoopWorld
    """Whose time it tells."""
    tied_ms: int | None = None
    """When first a timer of a driver and something else were due at once: what comes first then is nobody's rule."""

    def __init__(self) -> None:
        self.now_ms = 0
        self.leap: Callable[[int | None], None] = lambda _: None
        super().__init__(_LeapingSelector(self))
        self._clock_resolution = 1e-6

    def time(self) -> float:
        """Seconds of the world."""
        return self.now_ms / 1000


class _LeapingSelector(selectors.SelectSelector):
    def __init__(self, loop: LeapingLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if not ready and (timeout is None or timeout > 0):
            wait_ms = None if timeout is None else max(1, round(timeout * 1000))
            self._loop.leap(None if wait_ms is None else self._loop.now_ms + wait_ms)
        return ready


class LoopWorld(World):
    """A world whose time is the loop's: what is due happens whenever no task has anything to do."""

    loop: LeapingLoop

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.loop.world = self

    @property
    def now_ms(self) -> int:
        """See `World.now_ms`."""
        return self.loop.now_ms

    @now_ms.setter
    def now_ms(self, now_ms: int) -> None:
        assert now_ms >= self.loop.now_ms, "time goes forward"
        self.loop.now_ms = now_ms

    def run_until(self, until_ms: int, is_over: Callable[[], bool] = lambda: False) -> None:
        """See `World.run_until`."""
        over = self.loop.create_future()

        def leap(timer_ms: int | None) -> None:
            if over.done():
                return
            if self.look_again:
                self.look_again = False
                if is_over():
                    over.set_result(None)
                    return
            next_ms = self._kernel.next_ms()
            due_ms = min((at for at in (next_ms, timer_ms) if at is not None), default=None)
            if due_ms is None or due_ms > until_ms:
                self.now_ms = max(self.now_ms, until_ms)
                over.set_result(None)
            elif due_ms == timer_ms:
                # A timer was set before what arrives at the same moment was sent.
                self.now_ms = due_ms
                if due_ms == next_ms and self.loop.tied_ms is None:
                    self.loop.tied_ms = due_ms
            else:
                self._act(due_ms)

        self.look_again = True
        self.loop.leap = leap
        self.loop.run_until_complete(over)

    def _act(self, at_ms: int) -> None:
        """What is due at one moment happens before anybody looks at it, as in `World.run_until`."""
        self.now_ms = at_ms
        while self._kernel.next_ms() == at_ms:
            _, action = self._kernel.take()
            self.steps += 1
            assert self.steps < STEPS_MAX, "a world has an end"
            action()


class HeardPublications(Publications):
    """Tells the checkers what is about to leave."""

    def report(self, send: SendReport) -> Publication:
        """See `Publications.report`."""
        _watch().published(self._device, send.seq, send.report)
        return super().report(send)

    def status(self, passed_ms: int, wall_ms: int) -> Publication:
        """See `Publications.status`."""
        _watch().status(self._device, self._machine.progress_after(passed_ms))
        return super().status(passed_ms, wall_ms)


def _watch() -> Watch:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, LeapingLoop), "a driver lives on a loop whose time leaps"
    return loop.world.watch


class ProductionAgent:
    """One life of the agent as its driver leads it. Looks to the device like the simulation's `Agent`."""

    is_waiting = False

    def __init__(self, body: Body, world: World, broker: brokers.Broker, kept: Kept) -> None:
        assert isinstance(world, LoopWorld), "a driver lives on a loop"
        plan = body.plan
        self.body, self.world, self.broker, self.kept = body, world, broker, kept
        self.device = plan.device
        self.writer: LoopSession | None = None
        self.clock = LoopClock(body, world, _running_ms(kept, body.wall_ms()))
        self.endpoint = LoopEndpoint(self)
        self.is_dead = False
        self.last_effects: Sequence[Effect] = ()
        self._identifiers = 0
        steady_offset_ms = body.wall_ms() - world.now_ms
        self.driver = Driver(
            DriverOptions(
                device=plan.device,
                tenant=TENANT,
                agent_version=plan.facts.agent_version,
                limits=plan.limits,
                comes_back=plan.comes_back,
                goodbye_ms=GOODBYE_MS,
            ),
            self.endpoint,
            LoopJournal(self),
            self.clock,
            LoopVerifier(),
            LoopTransport(self),
            archive=LoopArchive(self),
            steady=lambda: world.now_ms + steady_offset_ms,
            draw=self.draw,
            identifier=self._identifier,
        )
        self._task: asyncio.Task[Any] | None = None

    @property
    def running_ms(self) -> int:
        """See `Agent.running_ms`."""
        return self.clock.now_ms()

    @property
    def machine(self) -> Enrollment:
        """See `Agent.machine`."""
        return self.driver._machine

    @property
    def outbox(self) -> Any:
        """See `Agent.outbox`."""
        return self.driver._outbox

    @property
    def link(self) -> Any:
        """See `Agent.link`."""
        return self.driver._link

    @property
    def is_over(self) -> bool:
        """See `Agent.is_over`."""
        return self.machine.is_settled and not self.driver._inbox

    def life(self) -> Doing[None]:
        """See `Agent.life`."""
        self._task = self.world.loop.create_task(self.driver.run(), name=self.device)
        self._task.add_done_callback(self._ended)
        while not self._task.done():
            yield None
        self._task.result()

    def _ended(self, task: asyncio.Task[Any]) -> None:
        if not task.cancelled():
            # Whoever is dead has nobody who asks how it ended.
            task.exception()
        self.body.wake()

    def listen(self) -> None:
        """Remember what each input from here on is answered with."""
        machine, handle = self.machine, self.machine.handle

        def handled(event: Event, now_ms: int) -> Sequence[Effect]:
            self.last_effects = handle(event, now_ms)
            return self.last_effects

        machine.handle = handled  # type: ignore[method-assign]

    def tell(self, event: Event) -> None:
        """See `Agent.tell`."""
        self.driver._post(event, None)

    def kill(self) -> None:
        """The power is gone: it does nothing more."""
        self.is_dead = True
        if self._task is not None:
            self._task.cancel()

    def alive(self) -> None:
        """Nothing is done after death."""
        if self.is_dead:
            raise asyncio.CancelledError

    def moment(self) -> None:
        """The power may go here."""
        self.alive()
        try:
            self.body.moment()
        except PowerCut:
            self.is_dead = True
            raise

    def draw(self) -> float:
        """A number for the link."""
        return self.world.uniform(self.device, "link")

    def _identifier(self) -> str:
        self._identifiers += 1
        return FIRST_IDENTIFIER if self._identifiers == 1 else self.body.new_attempt()


def _running_ms(kept: Kept, wall_ms: int) -> int:
    """Where running time goes on, as the driver has to find it too."""
    if not kept.entries:
        return 0
    machine = Enrollment()
    for entry in kept.entries:
        machine.handle(entry.event, entry.at_ms)
    last = kept.entries[-1]
    off_ms = wall_ms - last.wall_ms if machine.mode is Mode.RESTARTING else 0
    return last.at_ms + counted_reboot_ms(off_ms)


class LoopClock:
    """Running time on the world's time."""

    def __init__(self, body: Body, world: World, base_ms: int) -> None:
        self._body, self._world, self._base_ms = body, world, base_ms
        self._begun_ms = world.now_ms

    def now_ms(self) -> int:
        return self._base_ms + self._world.now_ms - self._begun_ms

    def wall_ms(self) -> int:
        return self._body.wall_ms()

    def restore(self, base_ms: int, off_ms: int = 0) -> None:
        assert base_ms + counted_reboot_ms(off_ms) == self._base_ms, "time went on elsewhere"

    def seconds_until(self, at_ms: int) -> float:
        return max(0, at_ms - self.now_ms()) / 1000


class LoopEndpoint:
    """The simulated device as the driver's endpoint."""

    def __init__(self, agent: ProductionAgent) -> None:
        self._agent = agent
        self._post: Post

    def facts(self) -> DeviceFacts:
        return self._agent.body.plan.facts

    def attach(self, post: Post) -> None:
        self._post = post
        self._agent.listen()

    def act(self, effect: EndpointEffect, at_ms: int) -> None:
        self._agent.moment()
        for event_ms, event in self._agent.body.act(effect, at_ms):
            self._post(event, event_ms)


class LoopJournal:
    """The simulated disk as the driver's journal."""

    def __init__(self, agent: ProductionAgent) -> None:
        self._agent = agent

    async def load(self, device: str, new_stream: str) -> JournalState:
        kept = self._agent.kept
        return JournalState(
            device=device,
            stream=kept.stream,
            session=kept.session,
            entries=tuple(kept.entries),
            outbox=kept.outbox(),
            executed=frozenset(kept.executed),
        )

    async def commit(self, device: str, batch: Batch) -> None:
        agent = self._agent
        agent.alive()
        for _ in range(WRITES):
            await asyncio.sleep(0)
        agent.alive()
        entry, machine = batch.entry, agent.machine
        watch = agent.world.watch
        if entry is not None:
            watch.input(device, entry.at_ms, entry.event)
        try:
            agent.body.commit(batch)
        except DiskFull:
            raise JournalFailed("there is no room") from None
        except PowerCut:
            agent.is_dead = True
            raise
        if entry is not None:
            effects = agent.last_effects
            watch.took(device, entry.at_ms, entry.event, effects, machine.refusal)
            note_input(agent.world, device, entry.at_ms, entry.event, effects)

    async def fetch(self, device: str, first: int, last: int) -> Sequence[tuple[int, Report]]:
        return self._agent.body.fetch(first, last)


class LoopArchive:
    """Takes as long as the simulation's."""

    def __init__(self, agent: ProductionAgent) -> None:
        self._agent = agent

    async def write(self, report: DeviceReport) -> str:
        await asyncio.sleep(ARCHIVE_MS / 1000)
        return f"simulated:{report.at_ms}.zip"


class LoopVerifier:
    """The world's own signatures."""

    def verify(self, compact: str, typ: str) -> bytes:
        return seal.verify(compact, typ)


class LoopTransport:
    """The simulated broker as the driver's transport."""

    def __init__(self, agent: ProductionAgent) -> None:
        self._agent = agent

    @asynccontextmanager
    async def connect(self, client_id: str, will: Will | None) -> AsyncIterator[Connection]:
        assert will is not None, "every session has a will"
        session = LoopSession(self._agent, client_id, will)
        self._agent.writer = session
        self._agent.broker.connect(session.connection)
        try:
            await session.is_opened
            yield session
        finally:
            session.end()


class LoopSession:
    """One session: the broker's client at one end, the driver's connection at the other."""

    def __init__(self, agent: ProductionAgent, client_id: str, will: Will) -> None:
        self._agent = agent
        filters = device_filters(TENANT, client_id)
        self.connection = brokers.Connection(self, client_id, filters, (will.topic, will.payload))
        loop = agent.world.loop
        self.is_opened: asyncio.Future[None] = loop.create_future()
        self._is_lost: asyncio.Future[None] = loop.create_future()
        self._arrived: asyncio.Queue[Incoming | None] = asyncio.Queue()
        self.is_over = False

    # The driver's end.

    async def subscribe(self, filters: Sequence[str]) -> None:
        assert tuple(filters) == self.connection.filters, "a session asks for its device's topics"

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> asyncio.Future[None]:
        sent: asyncio.Future[None] = self._agent.world.loop.create_future()
        if self._agent.is_dead:
            return sent

        def lost(end: asyncio.Future[None]) -> None:
            if not end.cancelled() and not sent.done():
                sent.set_exception(TransportLost(str(end.exception())))

        self._is_lost.add_done_callback(lost)
        if not self._is_lost.done():
            self._agent.broker.publish(
                self.connection,
                topic,
                payload,
                retain=retain,
                acknowledged=lambda: _settle(sent),
            )
        return sent

    async def messages(self) -> AsyncIterator[Incoming]:
        agent = self._agent
        while (incoming := await self._arrived.get()) is not None:
            _watch().heard(agent.device, agent.running_ms, incoming.topic, incoming.payload)
            yield incoming
        raise TransportLost(str(self._is_lost.exception()))

    def end(self) -> None:
        """The driver is done with it."""
        for future in (self.is_opened, self._is_lost):
            if future.done():
                future.exception()
            else:
                future.cancel()
        if not self.is_over:
            self.is_over = True
            if self.connection.is_open:
                self._agent.broker.disconnect(self.connection)

    # The broker's end: see `brokers.Client`.

    def opened(self) -> None:
        if self.is_over:
            self._agent.broker.disconnect(self.connection)
        elif not self.is_opened.done():
            self.is_opened.set_result(None)

    def closed(self, reason: str) -> None:
        if self.is_over:
            return
        self.is_over = True
        self._is_lost.set_exception(TransportLost(reason))
        self._arrived.put_nowait(None)
        if not self.is_opened.done():
            self.is_opened.set_exception(TransportLost(reason))

    def received(self, topic: str, payload: bytes) -> None:
        if not self.is_over:
            self._arrived.put_nowait(Incoming(topic, payload, retained=False))


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


class ProductionDevice(devices.Device):
    """A device whose agent is a task: what loses its power has to be stopped."""

    def power_off(self, reason: str) -> None:
        """See `Device.power_off`."""
        agent: Any = self.agent
        if agent is not None:
            agent.kill()
        super().power_off(reason)


@contextmanager
def on_a_loop() -> Iterator[LeapingLoop]:
    """Let simulations run the agent's driver."""
    loop = LeapingLoop()
    world = type("World", (LoopWorld,), {"loop": loop})
    try:
        with (
            patch.object(run, "World", world),
            patch.object(run, "Device", ProductionDevice),
            patch.object(devices, "Agent", ProductionAgent),
            patch.object(drivers, "Publications", HeardPublications),
        ):
            yield loop
    finally:
        _end_tasks(loop)
        loop.close()


def _end_tasks(loop: LeapingLoop) -> None:
    loop.leap = lambda timer_ms: setattr(loop, "now_ms", timer_ms or loop.now_ms)
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.wait(tasks))


def run_in_production(plan: WorldPlan, *, keeps_lines: bool = False) -> Verdict:
    """One run of one world with the agent's driver on every device."""
    with on_a_loop():
        return Simulation(plan, keeps_lines=keeps_lines).run()
