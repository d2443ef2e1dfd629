"""One MQTT session of a device: connect, subscribe, read and write until it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from agent.core import link
from agent.core.publications import Publication
from agent.runtime.outgoing import Outgoing
from agent.runtime.ports import (
    Connection,
    Incoming,
    Transport,
    TransportLost,
    TransportRefused,
    Will,
)

Tell = Callable[[link.Event], None]
Receive = Callable[[Incoming], Awaitable[None]]
Draw = Callable[[], float]


class Session:
    """Carries messages both ways, and tells the link what becomes of the connection.

    Args:
        client_id: the device's own, so that the broker ends a stale connection of the same device.
        draw: a number in [0, 1) for the link's back-off.
    """

    def __init__(
        self,
        transport: Transport,
        client_id: str,
        filters: Sequence[str],
        outgoing: Outgoing,
        *,
        tell: Tell,
        receive: Receive,
        draw: Draw,
    ) -> None:
        self._transport = transport
        self._client_id = client_id
        self._filters = filters
        self._outgoing = outgoing
        self._tell = tell
        self._receive = receive
        self._draw = draw

    async def run(self, will: Will) -> None:
        """Connect and carry messages until the connection ends; how it ended is told to the link."""
        try:
            async with self._transport.connect(self._client_id, will) as connection:
                await connection.subscribe(self._filters)
                self._tell(link.ConnectionOpened())
                await self._carry(connection)
        except TransportRefused as refusal:
            self._tell(link.ConnectionRefused(str(refusal), self._draw()))
        except TransportLost as loss:
            self._tell(link.ConnectionLost(str(loss), self._draw()))

    async def _carry(self, connection: Connection) -> None:
        reader = asyncio.create_task(self._read(connection), name=f"reader of {self._client_id}")
        reader.add_done_callback(lambda _: self._outgoing.wake())
        try:
            while not reader.done():
                if await self._write(connection):
                    continue
                if self._outgoing.is_closed:
                    return
                await self._outgoing.wait()
            reader.result()
            raise TransportLost("the broker ended the connection")
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)

    async def _read(self, connection: Connection) -> None:
        async for incoming in connection.messages():
            await self._receive(incoming)

    async def _write(self, connection: Connection) -> bool:
        """Publish what is next; False when nothing waits."""
        departure = self._outgoing.take()
        if departure is None:
            return False
        await _publish_all(connection, departure.publications)
        if departure.is_goodbye:
            self._tell(link.GoodbyeSaid())
        return True


async def _publish_all(connection: Connection, publications: Sequence[Publication]) -> None:
    """Publish in this order, without waiting for the broker between two of them."""
    on_the_way = [connection.publish(p.topic, p.payload, retain=p.retain) for p in publications]
    if len(on_the_way) == 1:
        await on_the_way[0]
        return
    for outcome in await asyncio.gather(*on_the_way, return_exceptions=True):
        if outcome is not None:
            raise outcome
