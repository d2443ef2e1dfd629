"""Real brokers for tests, started through our own command line on free ports."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import ssl
import struct
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiomqtt

from agent.wire.topics import Channel, device_topic
from broker_config.access import Role
from broker_config.deployment import Deployment

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

TENANT = "acme"
A = "PHONE-A"
B = "PHONE-B"


@dataclass(frozen=True)
class Account:
    """How somebody signs in: by a certificate, or as nobody."""

    port: int
    tls: ssl.SSLContext | None = None


def account_of(identity_file: Path, port: int) -> Account:
    """The account in an identity file."""
    content = json.loads(identity_file.read_text())
    folder = identity_file.parent
    context = ssl.create_default_context(cafile=folder / content["ca_file"])
    context.load_cert_chain(folder / content["certificate_file"], folder / content["key_file"])
    return Account(port, context)


@asynccontextmanager
async def signed_in(
    account: Account,
    client_id: str | None = None,
    protocol: aiomqtt.ProtocolVersion = aiomqtt.ProtocolVersion.V311,
) -> AsyncIterator[aiomqtt.Client]:
    """A client of MQTT 3.1.1, or of another version."""
    async with aiomqtt.Client(
        "127.0.0.1",
        account.port,
        tls_context=account.tls,
        identifier=client_id,
        protocol=protocol,
        timeout=10,
    ) as client:
        yield client


def raw_connection(account: Account, will: tuple[str, bytes] | None = None) -> socket.socket:
    """A connection of MQTT 3.1.1 without a library, to be cut off or misused (OASIS MQTT 3.1.1 §3.1)."""
    flags = 0b0000_0010 | (0b0010_1100 if will else 0)
    fields = [b"raw", *((will[0].encode(), will[1]) if will else ())]
    body = b"\x00\x04MQTT\x04" + bytes([flags]) + struct.pack(">H", 60)
    body += b"".join(struct.pack(">H", len(field)) + field for field in fields)
    opened = socket.create_connection(("127.0.0.1", account.port), timeout=10)
    if account.tls is not None:
        opened = account.tls.wrap_socket(opened, server_hostname="127.0.0.1")
    try:
        opened.sendall(packet(0x10, body))
        assert opened.recv(4) == b"\x20\x02\x00\x00"
    except BaseException:
        opened.close()
        raise
    return opened


@dataclass
class World:
    """A hardened broker with two devices, a collector and a help desk."""

    deployment: Deployment
    process: subprocess.Popen[bytes]
    log: Path
    port: int
    service_port: int

    def device(self, name: str) -> Account:
        """A device's account."""
        return account_of(self.deployment.device_identity(name), self.port)

    def service(self, role: Role) -> Account:
        """The account of collector or help desk."""
        return account_of(self.deployment.service_identity(role), self.service_port)

    async def says(self, pattern: str) -> str:
        """The first line of the broker's log that has this in it."""
        async with asyncio.timeout(10):
            while True:
                for line in self.log.read_text().splitlines():
                    if re.search(pattern, line):
                        return line
                await asyncio.sleep(0.01)


def topic(device: str, channel: Channel) -> str:
    """A topic of a device; a command has the id `c-1`."""
    return str(device_topic(TENANT, device, channel, "c-1" if channel is Channel.COMMAND else None))


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
