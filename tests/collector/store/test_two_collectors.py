"""Two real collectors over one real PostgreSQL and one real Mosquitto: killed and halted under a fleet, nothing is lost."""

from __future__ import annotations

import json
import os
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

import psycopg
import pytest

from broker_config.readiness import free_port
from broker_config.running import find_mosquitto
from simulator.scenario_file import SHIPPED
from tests.collector.postgres import Server

ROOT = Path(__file__).parents[3]
ROUNDS = int(os.environ.get("ESP_COLLECTOR_ROUNDS", "1"))
"""How often each collector is struck; `ESP_COLLECTOR_ROUNDS=20` is a long evening for the two."""
pytestmark = [
    pytest.mark.system,
    pytest.mark.mosquitto,
    pytest.mark.timeout(150 * ROUNDS),
    pytest.mark.skipif(find_mosquitto() is None, reason="Mosquitto is not installed"),
]

DEVICES = 40
LEASE_S = 2
LOOK_S = 0.05


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
def fleet(broker: str, collector: RunningCollector) -> Iterator[subprocess.Popen[str]]:
    options = {
        "--devices": DEVICES,
        "--speed": 200 / ROUNDS,
        "--limit": 120 * ROUNDS,
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


@pytest.fixture
def pair(tmp_path: Path, postgres: Server) -> Iterator[tuple[str, list[RunningCollector], Shared]]:
    """Broker, two collectors that sign with the same key, and a look at their database."""
    with ExitStack() as stack:
        broker = stack.enter_context(mosquitto())
        url = postgres.fresh()
        collectors: list[RunningCollector] = []
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
            one = RunningCollector(tmp_path / name, broker, url, free_port("127.0.0.1"))
            if collectors:
                shutil.copytree(collectors[0].data / "keys", one.data / "keys")
            stack.callback(one.stop)
            one.start()
            # The first one makes the key.
            one.until_ready()
            collectors.append(one)
        conninfo = url.replace("postgresql+psycopg", "postgresql")
        shared = Shared(stack.enter_context(psycopg.connect(conninfo, autocommit=True)))
        yield broker, collectors, shared


def halves(shared: Shared) -> bool:
    return sorted(shared.owned().values()) == [8, 8]


def test_either_of_two_may_be_killed_or_halted_at_any_point(
    pair: tuple[str, list[RunningCollector], Shared],
) -> None:
    broker, (first, second), shared = pair
    draws = random.Random(int(time.time()))
    shared.until(halves, "sharing")
    with fleet(broker, first) as running:
        for number in range(ROUNDS):
            killed, halted = (second, first) if number % 2 == 0 else (first, second)
            _kill_and_follow(shared, killed, halted, draws)
            _halt_past_the_lease(shared, halted, killed)
        out, err = running.communicate(timeout=140 * ROUNDS)
    figures = json.loads(out)
    zeros = ("events_lost", "events_stored_twice", "gate_violations", "unfinished")
    assert {name: figures[name] for name in zeros} == dict.fromkeys(zeros, 0), err
    assert figures["events_created"] == figures["events_stored"] == shared.stored() > 0


def _kill_and_follow(
    shared: Shared, killed: RunningCollector, other: RunningCollector, draws: random.Random
) -> None:
    """Killed at a random point of the work; the other takes over once the lease ran out."""
    goal = shared.stored() + draws.randrange(1, 40)
    shared.until(lambda s: s.stored() >= goal, "reporting")
    killed.strike(signal.SIGKILL)
    shared.until(lambda s: s.owned() == {other.name: 16}, "taking over from the dead")
    killed.start()
    killed.until_ready()
    shared.until(halves, "sharing again")


def _halt_past_the_lease(shared: Shared, halted: RunningCollector, other: RunningCollector) -> None:
    """It wakes up believing that it owns what it no longer does."""
    deposed = halted.log.count("another collector owns the partition now")
    halted.strike(signal.SIGSTOP)
    shared.until(lambda s: s.owned() == {other.name: 16}, "taking over from the halted")
    halted.strike(signal.SIGCONT)
    shared.until(halves, "sharing again")
    assert halted.log.count("another collector owns the partition now") >= deposed + 8
