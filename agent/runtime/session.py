"""One MQTT session of a device: connect, subscribe, read and write until it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from agent.core import link
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
        writer = _Writer(connection, self._outgoing, self._tell)
        reader = asyncio.create_task(self._read(connection), name=f"reader of {self._client_id}")
        reader.add_done_callback(writer.reader_ended)
        try:
            await writer.over
        finally:
            writer.stop()
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)

    async def _read(self, connection: Connection) -> None:
        async for incoming in connection.messages():
            await self._receive(incoming)


class _Writer:
    """Publishes what waits, one departure after another: the next leaves once the broker has all of the one before.

    It is a few callbacks instead of a task: with a task, what a fleet says cost as much waking as saying.
    """

    def __init__(self, connection: Connection, outgoing: Outgoing, tell: Tell) -> None:
        self._loop = asyncio.get_running_loop()
        self._connection = connection
        self._outgoing = outgoing
        self._tell = tell
        self._on_the_way = 0
        self._is_called = False
        self._says_goodbye = False
        self.over: asyncio.Future[None] = self._loop.create_future()
        """Done when the connection is to be ended; what broke it or went wrong is its exception."""
        outgoing.tell(self._call)
        self._call()

    def stop(self) -> None:
        """Nothing is published any more."""
        self._outgoing.tell(None)
        if not self.over.done():
            self.over.cancel()

    def reader_ended(self, reader: asyncio.Task[None]) -> None:
        """The connection has brought its last message."""
        if reader.cancelled() or self.over.done():
            return
        failure = reader.exception() or TransportLost("the broker ended the connection")
        self.over.set_exception(failure)

    def _call(self) -> None:
        """There is something new: it leaves in the next turn of the loop, with what comes until then."""
        if not self._is_called and not self._on_the_way:
            self._is_called = True
            self._loop.call_soon(self._look)

    def _look(self) -> None:
        self._is_called = False
        if self.over.done():
            return
        try:
            self._leave()
        except Exception as mistake:  # noqa: BLE001 - the session's task passes it on, as it would its own.
            self.over.set_exception(mistake)

    def _leave(self) -> None:
        departure = self._outgoing.take()
        if departure is None:
            if self._outgoing.is_closed:
                self.over.set_result(None)
            return
        self._says_goodbye = departure.is_goodbye
        self._on_the_way = len(departure.publications)
        for publication in departure.publications:
            confirmation = self._connection.publish(
                publication.topic, publication.payload, retain=publication.retain
            )
            confirmation.add_done_callback(self._confirmed)

    def _confirmed(self, confirmation: asyncio.Future[None]) -> None:
        given_up = confirmation.cancelled()
        failure = TransportLost("a message was given up") if given_up else confirmation.exception()
        if self.over.done():
            return
        if failure is not None:
            self.over.set_exception(failure)
            return
        self._on_the_way -= 1
        if not self._on_the_way:
            if self._says_goodbye:
                self._tell(link.GoodbyeSaid())
            self._look()
