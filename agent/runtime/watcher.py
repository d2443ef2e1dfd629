"""The watcher: follows another device's screen through its retained status, without the device knowing."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Callable

from agent.core import link as links
from agent.core.link import Link
from agent.runtime.clock import SteadyClock
from agent.runtime.ports import Incoming, Transport, TransportLost
from agent.wire.codec import PayloadRefused, decode
from agent.wire.messages import Presence, Status
from agent.wire.progress import Progress, Reporting
from agent.wire.topics import Channel, DeviceTopic, parse, watcher_filters


class Watcher:
    """One device as it looks from outside; reconnects by itself.

    Args:
        client_id: of this watcher, not of the device.
    """

    def __init__(
        self,
        transport: Transport,
        client_id: str,
        tenant: str,
        device: str,
        broker: str = "",
        *,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._transport = transport
        self._client_id = client_id
        self._tenant = tenant
        self._device = device
        self._broker = broker
        self._now_ms = SteadyClock().now_ms
        self._draw = draw
        self._link = Link()
        self._status: Status | None = None
        self._presence: Presence | None = None

    async def snapshots(self) -> AsyncGenerator[tuple[Progress, Reporting], None]:
        """What the device's screen shows, whenever it changes; never ends by itself.

        Raises:
            TransportRefused: the broker refuses this watcher.
        """
        self._link.handle(links.Started(), self._now_ms())
        while True:
            try:
                async for _ in self._session():
                    if self._status is not None:
                        yield self._status.progress, self.reporting
            except TransportLost as loss:
                self._link.handle(links.ConnectionLost(str(loss), self._draw()), self._now_ms())
            if self._status is not None:
                yield self._status.progress, self.reporting
            until_ms = self._link.next_deadline_ms() or self._now_ms()
            await asyncio.sleep(max(0, until_ms - self._now_ms()) / 1000)
            self._link.handle(links.DeadlinePassed(self._draw()), self._now_ms())

    @property
    def is_connected(self) -> bool:
        """Whether the broker lets this watcher listen."""
        return self._link.is_connected

    @property
    def reporting(self) -> Reporting:
        """Whether the device is connected, as far as can be told from here."""
        presence = self._presence
        problem = self._link.problem
        if presence is not None and presence.state == "lost":
            problem = "The device has lost its connection; this is what it showed last."
        elif presence is not None and presence.state == "goodbye":
            problem = "The device's agent has ended; this is what it showed last."
        return Reporting(
            connected=self._link.is_connected
            and presence is not None
            and presence.state == "online",
            broker=self._broker,
            problem=problem,
        )

    async def _session(self) -> AsyncIterator[None]:
        async with self._transport.connect(self._client_id, None) as connection:
            await connection.subscribe(watcher_filters(self._tenant, self._device))
            self._link.handle(links.ConnectionOpened(), self._now_ms())
            async for incoming in connection.messages():
                if self._take(incoming):
                    yield

    def _take(self, incoming: Incoming) -> bool:
        """Read one message; False when it changes nothing."""
        try:
            topic = parse(incoming.topic)
            if not isinstance(topic, DeviceTopic) or topic.device != self._device:
                return False
            if topic.channel is Channel.STATUS and incoming.payload:
                self._status = decode(Status, incoming.payload)
            elif topic.channel is Channel.PRESENCE and incoming.payload:
                self._take_presence(decode(Presence, incoming.payload))
            else:
                return False
        except (ValueError, PayloadRefused):
            return False
        return True

    def _take_presence(self, presence: Presence) -> None:
        known = self._presence
        # A late will of an older session says nothing about the current one.
        is_late = (
            known is not None
            and presence.stream == known.stream
            and presence.session < known.session
        )
        if not is_late:
            self._presence = presence


async def first_snapshot(watcher: Watcher, timeout_s: float) -> tuple[Progress, Reporting] | None:
    """What the device shows now; None when nothing was heard of it in time. Raises `TransportRefused`."""
    snapshots = watcher.snapshots()
    try:
        async with asyncio.timeout(timeout_s):
            return await anext(snapshots)
    except TimeoutError:
        return None
    finally:
        await snapshots.aclose()
