"""A line between agents and broker: what it counts, and what its failures look like from both ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.live.chaos_network import Carries, Line, Meter, PublishCounter, Published

CONNECT = b"\x10\x03abc"
REPORT = b"\x32\x05hello"
STATE = b"\x33\x05hello"
LONG_REPORT = b"\x32\xc8\x01" + b"x" * 200
PINGREQ = b"\xc0\x00"
STREAM = CONNECT + REPORT + STATE + LONG_REPORT + PINGREQ + STATE


@given(cuts=st.lists(st.integers(0, len(STREAM)), max_size=20))
def test_publishes_are_counted_however_the_stream_is_cut(cuts: list[int]) -> None:
    counter = PublishCounter()
    edges = [0, *sorted(cuts), len(STREAM)]
    pieces = [counter.feed(STREAM[first:last]) for first, last in pairwise(edges)]
    assert sum(piece.reports for piece in pieces) == 2
    assert sum(piece.states for piece in pieces) == 2


def test_what_a_publish_carries_is_not_taken_for_packets() -> None:
    inner = b"\x32" + bytes([len(REPORT)]) + REPORT
    assert PublishCounter().feed(inner) == Published(reports=1)


@asynccontextmanager
async def far_end() -> AsyncIterator[tuple[str, int]]:
    """A server that sends back what it gets."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1_000):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[:2]


@asynccontextmanager
async def line_up(meter: Meter | None = None) -> AsyncIterator[Calls]:
    async with far_end() as upstream, AsyncExitStack() as stack:
        line = Line(meter)
        line.upstream = upstream
        await line.up()
        stack.push_async_callback(line.down)
        yield Calls(line, stack)


class Calls:
    """Makes connections through a line, and closes them in the end."""

    def __init__(self, line: Line, stack: AsyncExitStack) -> None:
        self.line = line
        self._stack = stack

    async def client(self) -> Client:
        host, port = self.line.url.removeprefix("mqtt://").split(":")
        client = Client(*await asyncio.open_connection(host, int(port)))
        self._stack.callback(client.writer.close)
        return client


class Client:
    """One connection through the line."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def echoed(self, data: bytes) -> bytes:
        self.writer.write(data)
        await self.writer.drain()
        return await asyncio.wait_for(self.reader.readexactly(len(data)), 5)

    async def is_cut(self) -> bool:
        try:
            return await asyncio.wait_for(self.reader.read(1), 5) == b""
        except OSError:
            return True


async def test_a_line_carries_both_ways_and_counts_what_clients_do() -> None:
    meter = Meter(lambda: 7.5)
    async with line_up(meter) as calls:
        client = await calls.client()
        assert await client.echoed(STREAM) == STREAM
        assert (meter.attempts[7], meter.reports[7], meter.states[7]) == (1, 2, 2)
        assert meter.connected == 1


async def test_a_connection_returns_once_with_its_first_report() -> None:
    meter = Meter(lambda: 7.5)
    async with line_up(meter) as calls:
        client = await calls.client()
        await client.echoed(REPORT)
        meter.watch_return()
        await client.echoed(STATE)
        assert meter.returned[7] == 0
        await client.echoed(REPORT)
        await client.echoed(REPORT)
        assert meter.returned[7] == 1


async def test_a_cut_line_takes_new_connections_at_once() -> None:
    async with line_up() as calls:
        first = await calls.client()
        await first.echoed(b"one")
        await calls.line.cut()
        assert await first.is_cut()
        second = await calls.client()
        assert await second.echoed(b"two") == b"two"


async def test_a_line_that_is_down_refuses_and_comes_back_on_its_port() -> None:
    async with line_up() as calls:
        first = await calls.client()
        await first.echoed(b"one")
        url = calls.line.url
        await calls.line.down()
        assert await first.is_cut()
        with pytest.raises(ConnectionRefusedError):
            await calls.client()
        await calls.line.up()
        assert calls.line.url == url
        second = await calls.client()
        assert await second.echoed(b"two") == b"two"


async def test_a_silent_line_delivers_later_what_was_said_meanwhile() -> None:
    async with line_up() as calls:
        client = await calls.client()
        await client.echoed(b"one")
        await calls.line.carry(Carries.NOTHING_YET)
        client.writer.write(b"two")
        answer = asyncio.create_task(client.reader.readexactly(3))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(answer), 0.1)
        await calls.line.carry(Carries.ALL)
        assert await asyncio.wait_for(answer, 5) == b"two"


async def test_what_is_lost_stays_lost_and_the_connection_ends() -> None:
    async with line_up() as calls:
        client = await calls.client()
        await client.echoed(b"one")
        await calls.line.carry(Carries.NOTHING)
        client.writer.write(b"two")
        await client.writer.drain()
        await calls.line.carry(Carries.ALL)
        assert await client.is_cut()


async def test_without_a_broker_a_connection_ends_as_soon_as_it_is_made() -> None:
    async with line_up() as calls:
        calls.line.upstream = None
        client = await calls.client()
        assert await client.is_cut()
