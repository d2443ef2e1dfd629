"""The running collector: builds store, subscriber and API from settings, and stops them together."""

from __future__ import annotations

import asyncio
import secrets
import signal
import socket
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog
import uvicorn

from agent.core.link import LinkLimits
from agent.wire.messages import Status
from collector.api import Services, make_app
from collector.clock import ScaledClock
from collector.desk import Desk
from collector.device_commands import CommandRow, Commands
from collector.janitor import CLEAR_AFTER_HOURS, HOUR_MS
from collector.keys import Signer, load_or_make, load_or_make_token
from collector.listening import CannotListen, TlsFiles, check_host, listen, url_of
from collector.metrics import Metrics
from collector.operations import Operations
from collector.profiles.setup import Setup
from collector.store.leases import LEASE_MS, Leases
from collector.store.store import Store
from collector.subscriber.inbound import Inbound
from collector.subscriber.mqtt import BrokerAddress, MqttBroker
from collector.subscriber.ports import Broker, BrokerLost, BrokerRefused
from collector.subscriber.subscriber import Subscriber
from collector.subscriber.watcher import Watcher
from collector.upkeep.data_directory import DataInUse, collector_id

LOG = structlog.get_logger("collector.service")

LINK_LIMITS: Final = LinkLimits(backoff_ms_max=5_000)
"""A whole fleet waits for sixteen connections, which are no herd: they come back sooner than those of devices."""


class CannotServe(Exception):
    """The collector can't start: one sentence with the remedy."""


@dataclass(frozen=True, slots=True)
class ServeSettings:
    """What `serve` was asked for. `port` 0 takes a free one."""

    data: Path
    broker: BrokerAddress
    tenant: str
    host: str = "127.0.0.1"
    port: int = 0
    database: str | None = None
    """None keeps a SQLite file in the data directory."""
    setup: Setup | None = None
    speed: float = 1.0
    clear_after_hours: int = CLEAR_AFTER_HOURS
    lease_ms: int = LEASE_MS
    tls: TlsFiles | None = None
    allow_plain_http: bool = False
    """Send tokens in the clear over an address that other machines reach."""
    keep_days: int | None = None
    """How long the reports of ended attempts are kept; None keeps them for good."""


def database_url(data: Path) -> str:
    """The store that lies in a data directory."""
    return f"sqlite:///{data / 'store.sqlite'}"


@dataclass(frozen=True, slots=True)
class _Courier:
    """The API's way to the devices."""

    subscriber: Subscriber
    inbound: Inbound
    watcher: Watcher

    @property
    def online_partitions(self) -> int:
        return self.subscriber.online_partitions

    @property
    def is_storing(self) -> bool:
        return self.subscriber.is_storing

    async def send(self, command: CommandRow) -> None:
        self.subscriber.say([self.inbound.command(command)])

    async def reassign(self, device: str, attempt: str) -> None:
        await self.subscriber.reassign(device, attempt)

    def statuses(self, device: str) -> AsyncIterator[Status]:
        return self.watcher.statuses(device)


class _Server(uvicorn.Server):
    """Leaves the signals to whoever runs it."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(settings: ServeSettings, on_ready: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM; `on_ready` gets the API's URL once API and broker are there.

    Raises:
        CannotServe: the address is taken, or the broker refuses the account.
        StoreFailed: the store can't be opened.
        KeyRefused: the signing key can't be read.
    """
    try:
        check_host(settings.host, settings.tls, allow_plain_http=settings.allow_plain_http)
    except CannotListen as refused:
        raise CannotServe(str(refused)) from None
    settings.data.mkdir(parents=True, exist_ok=True, mode=0o700)
    signer = load_or_make(settings.data / "keys")
    token = load_or_make_token(settings.data / "token", secrets.token_urlsafe(32))
    async with AsyncExitStack() as stack:
        name = stack.enter_context(_alone(settings.data))
        listener = _listener(settings)
        stack.callback(listener.close)
        wall = ScaledClock()
        url = settings.database or database_url(settings.data)
        store = Store(url, now_ms=wall.now_ms())
        stack.callback(store.close)
        leases = Leases(store.database, name, settings.lease_ms)
        await _run(settings, store, leases, signer, token, listener, on_ready)


@contextmanager
def _alone(data: Path) -> Iterator[str]:
    try:
        with collector_id(data) as name:
            yield name
    except DataInUse as in_use:
        raise CannotServe(str(in_use)) from None


async def _run(
    settings: ServeSettings,
    store: Store,
    leases: Leases,
    signer: Signer,
    token: str,
    listener: socket.socket,
    on_ready: Callable[[str], None],
) -> None:
    clock = ScaledClock(origin_ms=store.made_ms, speed=settings.speed)
    desk, commands, metrics = Desk(store.database), Commands(store.database), Metrics()
    operations = Operations(store.database, clock, metrics, keep_days=settings.keep_days)
    if settings.setup is not None:
        desk.apply(settings.setup, clock.now_ms())
    broker = MqttBroker(settings.broker)
    await _try_account(broker, settings.broker)
    inbound = Inbound(
        tenant=settings.tenant,
        store=store,
        desk=desk,
        commands=commands,
        signer=signer,
        clock=clock,
        metrics=metrics,
        heard=operations.watch.hear,
    )
    subscriber = Subscriber(
        tenant=settings.tenant,
        store=store.id,
        leases=leases,
        terms=leases.tend({}).taken,
        broker=broker,
        inbound=inbound,
        metrics=metrics,
        limits=LINK_LIMITS,
        clear_after_ms=settings.clear_after_hours * HOUR_MS,
    )
    given = Services(
        store=store,
        desk=desk,
        commands=commands,
        clock=clock,
        metrics=metrics,
        courier=_Courier(subscriber, inbound, Watcher(broker, settings.tenant)),
        token=token,
        speed=settings.speed,
    )
    app = make_app(given)
    app.state.operations = operations
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        # A screen is watched for as long as somebody looks; nobody waits for that to end.
        timeout_graceful_shutdown=2,
        # What runs where is nobody's business who has no token.
        server_header=False,
        **({} if settings.tls is None else settings.tls.server_options),
    )
    url = url_of(listener, settings.tls)
    await _together(_Server(config), listener, subscriber, operations, url, on_ready)


async def _try_account(broker: Broker, address: BrokerAddress) -> None:
    """A wrong account is told at once; a broker that is not there yet is waited for."""
    try:
        async with broker.connect(f"esp-collector-asks-{uuid.uuid4()}", None):
            return
    except BrokerRefused as refused:
        who = f"account '{address.username}'" if address.username else "client without an account"
        raise CannotServe(
            f"the broker at {address.host}:{address.port} refuses this {who} ({refused}); "
            "give the file that `esp-broker init` wrote as --identity"
        ) from None
    except BrokerLost as lost:
        LOG.warning("the broker is not there yet", problem=str(lost))


async def _together(
    server: _Server,
    listener: socket.socket,
    subscriber: Subscriber,
    operations: Operations,
    url: str,
    on_ready: Callable[[str], None],
) -> None:
    stopped = _stop_on_signals()
    tasks = {
        asyncio.create_task(server.serve([listener]), name="api"),
        asyncio.create_task(subscriber.run(), name="subscriber"),
        asyncio.create_task(operations.run(), name="operations"),
        asyncio.create_task(stopped.wait(), name="stopped"),
    }
    ready = asyncio.create_task(subscriber.ready(), name="ready")
    try:
        await asyncio.wait({*tasks, ready}, return_when=asyncio.FIRST_COMPLETED)
        if ready.done():
            on_ready(url)
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        server.should_exit = True
        ready.cancel()
        for task in tasks:
            if task.get_name() != "api":
                task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    for result in results:
        if isinstance(result, Exception):
            raise result


def _stop_on_signals() -> asyncio.Event:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with suppress(NotImplementedError):  # Windows has no signal handlers in its loop.
            loop.add_signal_handler(number, stopped.set)
    return stopped


def _listener(settings: ServeSettings) -> socket.socket:
    try:
        return listen(settings.host, settings.port)
    except CannotListen as refused:
        raise CannotServe(str(refused)) from None
