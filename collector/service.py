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
from collector.commands import CommandRow, Commands
from collector.desk import Desk
from collector.inbound import Inbound
from collector.janitor import CLEAR_AFTER_HOURS, HOUR_MS
from collector.keys import Signer, load_or_make, load_or_make_token
from collector.metrics import Metrics
from collector.mqtt import BrokerAddress, MqttBroker
from collector.ports import Broker, BrokerLost, BrokerRefused
from collector.setup import Setup
from collector.store import Store
from collector.subscriber import Subscriber
from collector.watcher import Watcher

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
    settings.data.mkdir(parents=True, exist_ok=True, mode=0o700)
    signer = load_or_make(settings.data / "keys")
    token = load_or_make_token(settings.data / "token", secrets.token_urlsafe(32))
    listener = _listen(settings.host, settings.port)
    async with AsyncExitStack() as stack:
        stack.callback(listener.close)
        wall = ScaledClock()
        url = settings.database or database_url(settings.data)
        store = Store(url, now_ms=wall.now_ms())
        stack.callback(store.close)
        await _run(settings, store, signer, token, listener, on_ready)


async def _run(
    settings: ServeSettings,
    store: Store,
    signer: Signer,
    token: str,
    listener: socket.socket,
    on_ready: Callable[[str], None],
) -> None:
    clock = ScaledClock(origin_ms=store.made_ms, speed=settings.speed)
    desk, commands, metrics = Desk(store.database), Commands(store.database), Metrics()
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
    )
    subscriber = Subscriber(
        tenant=settings.tenant,
        store=store.id,
        terms=store.claim(),
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
    config = uvicorn.Config(
        make_app(given),
        log_config=None,
        access_log=False,
        lifespan="off",
        # A screen is watched for as long as somebody looks; nobody waits for that to end.
        timeout_graceful_shutdown=2,
    )
    await _together(_Server(config), listener, subscriber, on_ready)


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
    on_ready: Callable[[str], None],
) -> None:
    stopped = _stop_on_signals()
    tasks = {
        asyncio.create_task(server.serve([listener]), name="api"),
        asyncio.create_task(subscriber.run(), name="subscriber"),
        asyncio.create_task(stopped.wait(), name="stopped"),
    }
    ready = asyncio.create_task(subscriber.ready(), name="ready")
    try:
        await asyncio.wait({*tasks, ready}, return_when=asyncio.FIRST_COMPLETED)
        if ready.done():
            host, port = listener.getsockname()[:2]
            on_ready(f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}")
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


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise CannotServe(
            f"can't listen on {host}:{port} ({error.strerror}); choose another --port, or 0 for a free one"
        ) from None
    listener.listen(128)
    return listener
