"""Brokers for tests: the embedded one as a process of its own, and some that misbehave."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CONNACK_5 = bytes([0x20, 3, 0, 0, 0])
"""The broker accepts, without properties (OASIS MQTT 5, section 3.2)."""


@contextmanager
def broker(*arguments: str | Path) -> Iterator[str]:
    """`esp-broker run` as a process of its own, while the block runs; gives its URL."""
    process = subprocess.Popen(
        [sys.executable, "-m", "broker_config", "run", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    try:
        ready, url = process.stdout.readline().split()
        assert ready == "ready"
        yield url
    finally:
        process.terminate()
        process.wait(10)
        process.stdout.close()


@contextmanager
def embedded_broker() -> Iterator[int]:
    """Runs while the block runs, and what it leaves open ends with it; gives its port."""
    with broker("--port", "0", "--embedded") as url:
        yield int(url.rpartition(":")[2])


@dataclass(frozen=True, slots=True)
class SilentBroker:
    """Accepts connections, listens, and never says a word."""

    port: int
    heard: asyncio.Queue[bytes]


@asynccontextmanager
async def silent_broker() -> AsyncIterator[SilentBroker]:
    """Runs while the block runs."""
    heard: asyncio.Queue[bytes] = asyncio.Queue()

    class Listener(asyncio.Protocol):
        def data_received(self, data: bytes) -> None:
            heard.put_nowait(data)

    server = await asyncio.get_running_loop().create_server(Listener, "127.0.0.1", 0)
    async with server:
        yield SilentBroker(server.sockets[0].getsockname()[1], heard)


@asynccontextmanager
async def dying_broker(dies: asyncio.Event) -> AsyncIterator[int]:
    """Accepts a session of MQTT 5, and ends it once `dies` is set; gives its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1024)
        writer.write(CONNACK_5)
        await dies.wait()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with asyncio.timeout(10), server:
        yield server.sockets[0].getsockname()[1]


@contextmanager
def no_complaints() -> Iterator[None]:
    """Fails when the event loop has to report an exception that nobody handled or looked at."""
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, told: complaints.append(told))
    yield
    gc.collect()
    assert complaints == []


async def cancelled_in_time(task: asyncio.Task[None]) -> None:
    """Cancel a task, which has a second to end."""
    task.cancel()
    done, _ = await asyncio.wait([task], timeout=1)
    assert done == {task}
    assert task.cancelled()
