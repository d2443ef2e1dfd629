"""What mutual TLS costs a fleet: connecting, memory, and everybody coming back at once, against plain TCP in one run.

    python -m benchmarks.tls --json

Clients are the agent's own transport, in one process, with one TLS context each as devices have them; the broker is
Mosquitto with the configuration of `esp-broker init`, and for plain TCP the same with TLS left out. CPU is taken from the
processes themselves, because a machine that others use as well tells little by the clock. A second part floods the
broker as one device, and measures how long others wait for a confirmation before, during and after.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import resource
import shutil
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from agent.assembly import build_tls
from agent.given import load_identity
from agent.mqtt_transport import BrokerAddress, MqttConnection, MqttTransport, SpokenVersion
from agent.runtime.ports import Will
from agent.wire.topics import Channel, device_filters, device_topic
from broker_config.deployment import Deployment, init, issue_device
from broker_config.mosquitto import listeners, with_ports
from broker_config.readiness import connect_packet, free_port, until_ready
from broker_config.running import find_mosquitto

TENANT = "bench"
AT_ONCE = 50
LATENCY_PROBES = 200
FLOOD_MESSAGES = 60_000


@dataclass(frozen=True, slots=True)
class Figures:
    """What one kind of connection cost. Seconds of CPU are of both sides, each in its own process."""

    connects_per_second: float
    client_cpu_ms_per_connect: float
    broker_cpu_ms_per_connect: float
    client_kib_per_connection: float
    broker_kib_per_connection: float
    storm_seconds: float
    storm_client_cpu_ms_per_connect: float
    storm_broker_cpu_ms_per_connect: float


@dataclass(frozen=True, slots=True)
class Broker:
    """A Mosquitto of the benchmark."""

    process: subprocess.Popen[bytes]
    port: int

    def cpu_s(self) -> float:
        """Processor time so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def kib(self) -> int:
        """Resident memory."""
        return _resident_kib(self.process.pid)


def main() -> None:
    """Run it and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--agents", type=int, default=1_000)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--one", choices=["plain", "tls"], help=argparse.SUPPRESS)
    parser.add_argument("--dir", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one is not None:
        print(json.dumps(asdict(asyncio.run(_measure(given.dir, given.one, given.agents)))))
        return
    program = find_mosquitto()
    if program is None:
        sys.exit("benchmarks.tls: Mosquitto is not installed")
    _raise_open_files()
    with tempfile.TemporaryDirectory(prefix="esp-bench-") as folder:
        directory = Path(folder) / "broker"
        init(directory, {"tenant": TENANT})
        for number in range(given.agents):
            issue_device(directory, _name(number), None)
        # A process of its own for each, so that neither's memory is the other's.
        found = {kind: _in_a_process(directory, kind, given.agents) for kind in ("plain", "tls")}
        latency = asyncio.run(_flood(directory))
    ratio = {
        name: round(found["tls"][name] / max(found["plain"][name], 1e-9), 2)
        for name in found["tls"]
    }
    told = {"agents": given.agents, **found, "tls_to_plain": ratio, "flood": latency}
    if given.json:
        print(json.dumps(told))
        return
    for name, value in ratio.items():
        print(
            f"{name:<34} plain {found['plain'][name]:>9} tls {found['tls'][name]:>9} ratio {value}"
        )
    print(json.dumps(latency))


def _in_a_process(directory: Path, kind: str, agents: int) -> dict[str, float]:
    arguments = [sys.executable, "-m", "benchmarks.tls", "--one", kind, "--agents", str(agents)]
    ended = subprocess.run(
        [*arguments, "--dir", str(directory)], stdout=subprocess.PIPE, text=True, check=True
    )
    figures: dict[str, float] = json.loads(ended.stdout)
    return figures


async def _measure(directory: Path, kind: str, agents: int) -> Figures:
    with _mosquitto(directory, is_tls=kind == "tls") as broker:
        await until_ready("127.0.0.1", broker.port, is_tls=True)
        contexts = [
            _context(directory, number) if kind == "tls" else None for number in range(agents)
        ]
        # The first connection loads what all share.
        async with _connected(broker, "warm-up", None if kind == "plain" else contexts[0]):
            pass
        before_kib, before_broker_kib = _resident_kib(os.getpid()), broker.kib()
        async with AsyncExitStack() as stack:
            wall_s, client_s, broker_s = await _connect_all(broker, contexts, stack)
            client_kib = (_resident_kib(os.getpid()) - before_kib) / agents
            broker_kib = (broker.kib() - before_broker_kib) / agents
        async with AsyncExitStack() as stack:
            storm_s, storm_client_s, storm_broker_s = await _connect_all(
                broker, contexts, stack, at_once=agents
            )
    return Figures(
        connects_per_second=round(agents / wall_s, 1),
        client_cpu_ms_per_connect=round(1000 * client_s / agents, 3),
        broker_cpu_ms_per_connect=round(1000 * broker_s / agents, 3),
        client_kib_per_connection=round(client_kib, 1),
        broker_kib_per_connection=round(broker_kib, 1),
        storm_seconds=round(storm_s, 2),
        storm_client_cpu_ms_per_connect=round(1000 * storm_client_s / agents, 3),
        storm_broker_cpu_ms_per_connect=round(1000 * storm_broker_s / agents, 3),
    )


async def _connect_all(
    broker: Broker,
    contexts: list[ssl.SSLContext | None],
    stack: AsyncExitStack,
    at_once: int = AT_ONCE,
) -> tuple[float, float, float]:
    """Connect and subscribe everybody; seconds by the clock, of our processor time and of the broker's."""
    gate = asyncio.Semaphore(at_once)

    async def one(number: int) -> None:
        async with gate:
            connecting = _connected(broker, _name(number), contexts[number])
            connection = await stack.enter_async_context(connecting)
            await connection.subscribe(device_filters(TENANT, _name(number)))

    began = time.monotonic(), time.process_time(), broker.cpu_s()
    await asyncio.gather(*(one(number) for number in range(len(contexts))))
    return (
        time.monotonic() - began[0],
        time.process_time() - began[1],
        broker.cpu_s() - began[2],
    )


@asynccontextmanager
async def _connected(
    broker: Broker, name: str, tls: ssl.SSLContext | None
) -> AsyncIterator[MqttConnection]:
    address = BrokerAddress("127.0.0.1", broker.port, tls=tls is not None)
    transport = MqttTransport(address, tls=tls, spoken=SpokenVersion("5"), timeout_s=120)
    will = Will(str(device_topic(TENANT, name, Channel.PRESENCE)), b"{}")
    async with transport.connect(name, will) as connection:
        yield connection


async def _flood(directory: Path) -> dict[str, float | bool]:
    """One device floods through `esp-broker run`; another waits for its confirmations meanwhile."""
    program = [sys.executable, "-m", "broker_config", "run", str(directory), "--port", "0"]
    process = await asyncio.create_subprocess_exec(
        *program, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    assert process.stdout is not None
    try:
        port = int((await process.stdout.readline()).decode().rpartition(":")[2])
        address = BrokerAddress("127.0.0.1", port, tls=True)
        transport = MqttTransport(address, tls=_context(directory, 0), spoken=SpokenVersion("5"))
        async with transport.connect(_name(0), None) as quiet:
            before = await _latencies_ms(quiet, LATENCY_PROBES)
            began_s = time.monotonic()
            attack = asyncio.create_task(_attack(directory, port))
            during: list[float] = []
            while not attack.done():
                during += await _latencies_ms(quiet, 1)
            cut_off = attack.result()
            flood_s = time.monotonic() - began_s
            after = await _latencies_ms(quiet, LATENCY_PROBES)
    finally:
        process.terminate()
        await process.wait()
    median = statistics.median
    return {
        "cut_off": cut_off,
        "seconds_until_cut_off": round(flood_s, 2),
        "before_ms": round(median(before), 3),
        "during_ms": round(median(during), 3),
        "during_worst_ms": round(max(during), 1),
        "after_ms": round(median(after), 3),
        "during_to_before": round(median(during) / median(before), 2),
        "after_to_before": round(median(after) / median(before), 2),
    }


async def _latencies_ms(connection: MqttConnection, count: int) -> list[float]:
    topic = str(device_topic(TENANT, _name(0), Channel.EVENT))
    found = []
    for _ in range(count):
        began_s = time.perf_counter()
        await connection.publish(topic, b"{}")
        found.append(1000 * (time.perf_counter() - began_s))
    return found


async def _attack(directory: Path, port: int) -> bool:
    """Publish at QoS 0 as fast as the broker takes it; True when it ended the connection before the end."""
    name = _name(1)
    topic = str(device_topic(TENANT, name, Channel.EVENT)).encode()
    body = len(topic).to_bytes(2, "big") + topic + b"x" * 8
    burst = (bytes([0x30, len(body)]) + body) * 100
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=_context(directory, 1), server_hostname="127.0.0.1"
    )
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        writer.write(connect_packet(name.encode()))
        await reader.readexactly(4)
        for _ in range(FLOOD_MESSAGES // 100):
            writer.write(burst)
            await writer.drain()
            if reader.at_eof():
                break
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(10):
                await reader.read()
    ended = reader.at_eof() or writer.is_closing()
    writer.close()
    return ended


@contextmanager
def _mosquitto(directory: Path, *, is_tls: bool) -> Iterator[Broker]:
    program = find_mosquitto()
    assert program is not None, "it was looked for"
    text = Deployment(directory).configuration.read_text()
    ports = {found.port: free_port("127.0.0.1") for found in listeners(text)}
    text = with_ports(text, ports)
    if not is_tls:
        left_out = ("cafile", "certfile", "keyfile", "crlfile", "require_", "use_", "tls_", "acl_")
        text = "\n".join(line for line in text.splitlines() if not line.startswith(left_out))
        text = text.replace("allow_anonymous false", "allow_anonymous true")
    file = directory / "bench.conf"
    file.write_text(text + "\n")
    shutil.rmtree(Deployment(directory).data)
    Deployment(directory).data.mkdir()
    process = subprocess.Popen([program, "-c", str(file)], stderr=subprocess.DEVNULL)
    try:
        yield Broker(process, next(iter(ports.values())))
    finally:
        process.terminate()
        process.wait()


def _context(directory: Path, number: int) -> ssl.SSLContext:
    path = Deployment(directory).device_identity(_name(number))
    return build_tls(load_identity(path), path)


def _name(number: int) -> str:
    return f"PC-{number:05}"


def _resident_kib(pid: int) -> int:
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.partition("VmRSS:")[2].split()[0])


def _raise_open_files() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


if __name__ == "__main__":
    main()
