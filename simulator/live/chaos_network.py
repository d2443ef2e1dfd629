"""The network between agents, collector and broker: lines on loopback that can be cut, taken down, silenced or made to lose all."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

LOOPBACK: Final = "127.0.0.1"
CHUNK_BYTES: Final = 65_536
_PUBLISH: Final = 3
"""The packet type of PUBLISH, in the upper half of the first byte of MQTT's fixed header."""
_RETAIN: Final = 0x01
"""What tells a state, which is retained, from a report, which is not."""


class Carries(StrEnum):
    """What becomes of the bytes on a line."""

    ALL = "all"
    NOTHING_YET = "nothing yet"
    """They wait: the connections stay, and nobody hears anything."""
    NOTHING = "nothing"
    """They are lost, which a connection does not survive: it is cut when the line carries again."""


@dataclass(frozen=True, slots=True)
class Published:
    """How many PUBLISH packets there are."""

    reports: int = 0
    states: int = 0
    """Retained ones: status and presence."""


class Meter:
    """Counts what clients do, by whole seconds of `clock`."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.attempts: Counter[int] = Counter()
        self.reports: Counter[int] = Counter()
        self.states: Counter[int] = Counter()
        self.returned: Counter[int] = Counter()
        """Connections that sent their first report since `watch_return`."""
        self.connected = 0
        self.returns_watched = 0

    def watch_return(self) -> None:
        """From now on, count when each connection sends its first report."""
        self.returns_watched += 1
        self.returned.clear()

    def attempt(self) -> None:
        """A client connects."""
        self.attempts[int(self._clock())] += 1

    def published(self, published: Published, *, is_first: bool) -> None:
        """A client has published; `is_first` says that it had sent no report since `watch_return`."""
        second = int(self._clock())
        self.reports[second] += published.reports
        self.states[second] += published.states
        self.returned[second] += is_first


class MeteredClient:
    """Counts what one client publishes, in its stream of bytes, however that is cut into pieces."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._counter = PublishCounter()
        self._returned = 0

    def feed(self, data: bytes) -> None:
        """See what is in this piece."""
        published = self._counter.feed(data)
        if published != Published():
            is_first = bool(published.reports) and self._returned < self._meter.returns_watched
            if is_first:
                self._returned = self._meter.returns_watched
            self._meter.published(published, is_first=is_first)


class PublishCounter:
    """Finds the PUBLISH packets in one client's stream of bytes."""

    def __init__(self) -> None:
        self._first: int | None = None
        self._length = 0
        self._shift = 0
        self._left = 0

    def feed(self, data: bytes) -> Published:
        """How many PUBLISH packets have their header complete with this piece."""
        reports = states = position = 0
        while position < len(data):
            if self._left:
                taken = min(self._left, len(data) - position)
                self._left -= taken
                position += taken
            elif self._first is None:
                self._first = data[position]
                position += 1
            else:
                first = self._header_ended_by(data[position])
                position += 1
                if first is not None and first >> 4 == _PUBLISH:
                    states += first & _RETAIN
                    reports += not first & _RETAIN
        return Published(reports, states)

    def _header_ended_by(self, byte: int) -> int | None:
        """Take one byte of the remaining length (MQTT 5.0, 1.5.5), seven bits each; the first byte when it ends it."""
        self._length |= (byte & 0x7F) << self._shift
        self._shift += 7
        if byte & 0x80:
            return None
        first = self._first
        self._left, self._first, self._length, self._shift = self._length, None, 0, 0
        return first


class Line:
    """A TCP line to the broker with a port of its own. `upstream` may change while it runs."""

    def __init__(self, meter: Meter | None = None) -> None:
        self.upstream: tuple[str, int] | None = None
        """Host and port; None while there is no broker."""
        self._meter = meter
        self._port = 0
        self._server: asyncio.Server | None = None
        self._carries = Carries.ALL
        self._carrying = asyncio.Event()
        self._carrying.set()
        self._calls: dict[asyncio.Task[None], list[asyncio.StreamWriter]] = {}

    @property
    def url(self) -> str:
        """The broker as those who use this line know it."""
        return f"mqtt://{LOOPBACK}:{self._port}"

    async def up(self) -> None:
        """Take connections; on the same port as before."""
        self._server = await asyncio.start_server(
            self._accept, LOOPBACK, self._port, limit=CHUNK_BYTES, backlog=2_048
        )
        self._port = self._server.sockets[0].getsockname()[1]

    async def down(self) -> None:
        """Refuse connections, and cut those that there are."""
        if self._server is not None:
            self._server.close()
            self._server = None
        await self.cut()

    async def cut(self) -> None:
        """Cut every connection, without a word to either side."""
        calls = list(self._calls.items())
        for _, writers in calls:
            for writer in writers:
                writer.transport.abort()
        for call, _ in calls:
            call.cancel()
        await asyncio.gather(*(call for call, _ in calls), return_exceptions=True)

    async def carry(self, what: Carries) -> None:
        """Change what becomes of the bytes."""
        had_lost = self._carries is Carries.NOTHING
        self._carries = what
        if what is Carries.NOTHING_YET:
            self._carrying.clear()
        else:
            self._carrying.set()
        if had_lost and what is Carries.ALL:
            await self.cut()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        call = asyncio.current_task()
        assert call is not None, "a connection is served by a task"
        self._calls[call] = [writer]
        if self._meter is not None:
            self._meter.attempt()
        try:
            await self._connect(reader, writer, self._calls[call])
        except (OSError, asyncio.CancelledError):
            # The end of a connection is all that its two sides learn, as on any network.
            pass
        finally:
            for each in self._calls.pop(call):
                each.transport.abort()

    async def _connect(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        writers: list[asyncio.StreamWriter],
    ) -> None:
        if self.upstream is None:
            return
        far_reader, far_writer = await asyncio.open_connection(*self.upstream, limit=CHUNK_BYTES)
        writers.append(far_writer)
        metered = None if self._meter is None else MeteredClient(self._meter)
        pumps = [
            asyncio.create_task(self._pump(reader, far_writer, metered)),
            asyncio.create_task(self._pump(far_reader, writer, None)),
        ]
        if self._meter is not None:
            self._meter.connected += 1
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if self._meter is not None:
                self._meter.connected -= 1
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            for each in writers:
                with contextlib.suppress(OSError):
                    each.close()

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        metered: MeteredClient | None,
    ) -> None:
        while data := await reader.read(CHUNK_BYTES):
            await self._carrying.wait()
            if self._carries is Carries.NOTHING:
                continue
            if metered is not None:
                metered.feed(data)
            writer.write(data)
            await writer.drain()
