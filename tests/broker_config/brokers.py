"""Real brokers for tests, started through our own command line on free ports."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiomqtt

REPOSITORY = Path(__file__).parents[2]


def esp_broker(*arguments: str | Path) -> list[str]:
    """The command line of our program."""
    return [sys.executable, "-m", "broker_config", *map(str, arguments)]


def call(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run our program to its end."""
    return subprocess.run(
        esp_broker(*arguments),
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        check=False,
        timeout=30,
    )


@dataclass
class RunningBroker:
    """`esp-broker run` as a process of its own."""

    process: subprocess.Popen[str]
    port: int
    log: Path

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Ask it to end; its exit code."""
        self.process.send_signal(number)
        return self.process.wait(timeout=15)


class BrokerDidNotStart(Exception):
    """`esp-broker run` ended before it was ready."""


StartBroker = Callable[..., RunningBroker]


@dataclass(frozen=True)
class Account:
    """How somebody signs in."""

    port: int
    username: str | None = None
    password: str | None = None


def account_of(identity_file: Path, port: int) -> Account:
    """The account in an identity file."""
    content = json.loads(identity_file.read_text())
    return Account(port, content["username"], content["password"])


@asynccontextmanager
async def signed_in(
    account: Account, client_id: str | None = None
) -> AsyncIterator[aiomqtt.Client]:
    """A client of MQTT 3.1.1."""
    async with aiomqtt.Client(
        "127.0.0.1",
        account.port,
        username=account.username,
        password=account.password,
        identifier=client_id,
        protocol=aiomqtt.ProtocolVersion.V311,
        timeout=10,
    ) as client:
        yield client


def raw_connection(account: Account, will: tuple[str, bytes] | None = None) -> socket.socket:
    """A connection of MQTT 3.1.1 without a library, to be cut off or misused (OASIS MQTT 3.1.1 §3.1)."""
    assert account.username is not None
    assert account.password is not None
    flags = 0b1100_0010 | (0b0010_1100 if will else 0)
    fields = [b"raw", *((will[0].encode(), will[1]) if will else ())]
    fields += [account.username.encode(), account.password.encode()]
    body = b"\x00\x04MQTT\x04" + bytes([flags]) + struct.pack(">H", 60)
    body += b"".join(struct.pack(">H", len(field)) + field for field in fields)
    opened = socket.create_connection(("127.0.0.1", account.port), timeout=10)
    opened.sendall(packet(0x10, body))
    assert opened.recv(4) == b"\x20\x02\x00\x00"
    return opened


def packet(kind: int, body: bytes) -> bytes:
    """A packet with its remaining length (OASIS MQTT 3.1.1 §2.2.3)."""
    length, rest = b"", len(body)
    while True:
        rest, digit = divmod(rest, 128)
        length += bytes([digit | (0x80 if rest else 0)])
        if not rest:
            return bytes([kind]) + length + body


async def topics_until(client: aiomqtt.Client, last: str) -> list[str]:
    """The topics that arrive, up to `last`: what came before it has arrived, and what did not is not coming."""
    seen: list[str] = []
    async with asyncio.timeout(10):
        async for message in client.messages:
            seen.append(str(message.topic))
            if seen[-1] == last:
                return seen
    raise AssertionError("the connection ended")


def process_alive(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def children_of(pid: int) -> list[int]:
    """The processes that a process started."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in children.read_text().split()]


def is_root() -> bool:
    """Root ignores the modes of files."""
    return os.geteuid() == 0
