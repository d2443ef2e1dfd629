"""Two real collectors over one real PostgreSQL and one real Mosquitto, a fleet, and what may strike the two."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from broker_config.readiness import free_port
from simulator.scenario_file import SHIPPED

ROOT = Path(__file__).parents[2]
LEASE_S = 2
LOOK_S = 0.05
DEPOSED = "another collector owns the partition now"
LET_GO = "the leases ran out and the store can't be asked"
ZEROS = ("events_lost", "events_stored_twice", "gate_violations", "unfinished")


@dataclass
class Shared:
    """What the two have in common, as its database tells."""

    connection: psycopg.Connection[tuple[object, ...]]

    def stored(self) -> int:
        return self._number("SELECT count(*) FROM events")

    def owned(self) -> dict[str, int]:
        """How many partitions each collector holds by a lease that runs."""
        found = self.connection.execute(
            "SELECT owner, count(*) FROM partitions WHERE owner IS NOT NULL"
            " AND expires_ms > extract(epoch FROM clock_timestamp()) * 1000 GROUP BY owner"
        )
        return {str(owner): int(str(count)) for owner, count in found}

    def until(self, happened: Callable[[Shared], bool], what: str) -> None:
        """Wait for it; a minute is more than any of it takes."""
        deadline_s = time.monotonic() + 60
        while not happened(self):
            assert time.monotonic() < deadline_s, f"{what} did not happen; {self.owned()}"
            # Other processes' leases can only be asked for.
            time.sleep(LOOK_S)

    def _number(self, query: str) -> int:
        (found,) = self.connection.execute(query.encode()).fetchone() or (0,)
        return int(str(found))


def program(module: str, command: str, options: Mapping[str, object]) -> list[str]:
    """The command line of a program of ours."""
    words = [str(word) for option in options.items() for word in option]
    return [sys.executable, "-m", module, command, *words]


@dataclass
class RunningCollector:
    """`esp-collector serve` as a process of its own, at an address that stays."""

    data: Path
    broker: str
    database: str
    port: int
    process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def name(self) -> str:
        return (self.data / "collector-id").read_text().strip()

    @property
    def log(self) -> str:
        return (self.data / "log").read_text()

    def start(self) -> None:
        with (self.data / "log").open("a") as log:
            options = {
                "--data": self.data,
                "--broker": self.broker,
                "--database": self.database,
                "--port": self.port,
                "--lease-seconds": LEASE_S,
                "--setup": ROOT / "docs" / "examples" / "setup.toml",
            }
            self.process = subprocess.Popen(
                program("collector", "serve", options),
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=ROOT,
            )

    def until_ready(self) -> None:
        assert self.process is not None
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("ready "), self.log

    def strike(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)
        if number is signal.SIGKILL:
            self.stop()

    def stop(self) -> None:
        if self.process is None:
            return
        for number in (signal.SIGCONT, signal.SIGTERM):
            self.process.send_signal(number)
        self.process.wait(timeout=30)
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.process = None


@contextmanager
def mosquitto() -> Iterator[str]:
    broker = subprocess.Popen(
        [sys.executable, "-m", "broker_config", "run", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=ROOT,
    )
    try:
        assert broker.stdout is not None
        yield broker.stdout.readline().split()[1]
    finally:
        broker.terminate()
        broker.wait(15)
        assert broker.stdout is not None
        broker.stdout.close()


@contextmanager
def fleet(
    broker: str, collector: RunningCollector, *, devices: int, speed: float, limit_s: float
) -> Iterator[subprocess.Popen[str]]:
    """Devices that enroll, and the audit of what became of their reports as JSON at the end."""
    options = {
        "--devices": devices,
        "--speed": speed,
        "--limit": limit_s,
        "--broker": broker,
        "--collector": collector.url,
        "--token-file": collector.data / "token",
        "--trust": collector.data / "keys" / "public.pem",
    }
    running = subprocess.Popen(
        [*program("simulator", "run", options), "--json", str(SHIPPED / "demo.toml")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    try:
        yield running
    finally:
        running.kill()
        running.communicate()


@dataclass
class Pair:
    """Broker, two collectors that sign with the same key, and a look at their database."""

    broker: str
    collectors: tuple[RunningCollector, RunningCollector]
    shared: Shared

    def until_shared(self) -> None:
        """Each has its half."""
        self.shared.until(_halves, "sharing")


@contextmanager
def running_pair(folder: Path, database: str) -> Iterator[Pair]:
    """Both ready, until the context ends."""
    with ExitStack() as stack:
        broker = stack.enter_context(mosquitto())
        collectors: list[RunningCollector] = []
        for name in ("a", "b"):
            (folder / name).mkdir()
            one = RunningCollector(folder / name, broker, database, free_port("127.0.0.1"))
            if collectors:
                shutil.copytree(collectors[0].data / "keys", one.data / "keys")
            stack.callback(one.stop)
            one.start()
            # The first one makes the key.
            one.until_ready()
            collectors.append(one)
        conninfo = database.replace("postgresql+psycopg", "postgresql")
        shared = Shared(stack.enter_context(psycopg.connect(conninfo, autocommit=True)))
        first, second = collectors
        yield Pair(broker, (first, second), shared)


def _halves(shared: Shared) -> bool:
    return sorted(shared.owned().values()) == [8, 8]


def killed_and_followed(pair: Pair, struck: RunningCollector, other: RunningCollector) -> None:
    """The other one takes over once the lease ran out; then the killed one comes back."""
    struck.strike(signal.SIGKILL)
    pair.shared.until(lambda s: s.owned() == {other.name: 16}, "taking over from the dead")
    struck.start()
    struck.until_ready()


def killed_and_started_again(pair: Pair, struck: RunningCollector, other: RunningCollector) -> None:
    """It is back within its lease."""
    struck.strike(signal.SIGKILL)
    struck.start()
    struck.until_ready()


def killed_while_taking_over(pair: Pair, struck: RunningCollector, other: RunningCollector) -> None:
    """The other one is killed at the moment at which the first dead one's leases become its own."""
    struck.strike(signal.SIGKILL)
    pair.shared.until(lambda s: s.owned().get(other.name, 0) > 8, "taking over from the dead")
    other.strike(signal.SIGKILL)
    for one in (struck, other):
        one.start()
        one.until_ready()


def halted_past_the_lease(pair: Pair, struck: RunningCollector, other: RunningCollector) -> None:
    """It wakes up believing that it owns what it no longer does."""
    struck.strike(signal.SIGSTOP)
    pair.shared.until(lambda s: s.owned() == {other.name: 16}, "taking over from the halted")
    struck.strike(signal.SIGCONT)


STRIKES = (
    killed_and_followed,
    killed_and_started_again,
    killed_while_taking_over,
    halted_past_the_lease,
)


def until_busy(pair: Pair, running: subprocess.Popen[str], draws: random.Random) -> bool:
    """Some more reports are stored, so that the next strike comes somewhere in the work; False when the fleet is over."""
    goal = pair.shared.stored() + draws.randrange(1, 40)
    pair.shared.until(lambda s: s.stored() >= goal or running.poll() is not None, "reporting")
    return running.poll() is None


def audited(running: subprocess.Popen[str], timeout_s: float) -> dict[str, Any]:
    """What the fleet says at its end."""
    out, err = running.communicate(timeout=timeout_s)
    assert out, err
    found: dict[str, Any] = json.loads(out)
    return found
