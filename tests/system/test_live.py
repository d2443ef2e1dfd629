"""A small fleet through our real programs: broker, collector and the real agents."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from agent.assembly import build_transport
from agent.given import parse_broker
from agent.wire.topics import Channel, device_topic
from agent.wire.vocabulary import EndState
from simulator.live.run import LiveRun
from simulator.live.run_options import Address, LiveOptions
from simulator.scenario_file import SHIPPED, load_scenario

pytestmark = pytest.mark.system

DEMO = SHIPPED / "demo.toml"
LOAD = SHIPPED / "load.toml"
ZEROS = ("events_lost", "events_stored_twice", "gate_violations", "unfinished")


def esp_sim(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "simulator", *arguments],
        capture_output=True,
        text=True,
        timeout=55,
        check=False,
    )


def figures_of(done: subprocess.CompletedProcess[str]) -> dict[str, object]:
    assert done.returncode == 0, done.stderr + done.stdout
    figures = json.loads(done.stdout)
    assert {name: figures[name] for name in ZEROS} == dict.fromkeys(ZEROS, 0)
    assert figures["events_created"] == figures["events_stored"] > 0
    return dict(figures)


def test_a_fleet_on_the_embedded_broker_gives_four_zeros() -> None:
    done = esp_sim("run", str(DEMO), "--devices", "12", "--speed", "600", "--limit", "40", "--json")
    figures = figures_of(done)
    assert figures["devices"] == 12
    assert "devices are through" in done.stderr


@pytest.fixture
def mosquitto() -> Iterator[str]:
    """A Mosquitto with our configuration, on a free port."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
    if shutil.which("mosquitto", path=path) is None:
        pytest.skip("Mosquitto is not installed")
    broker = subprocess.Popen(
        [sys.executable, "-m", "broker_config", "run", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert broker.stdout is not None
        yield broker.stdout.readline().split()[1]
    finally:
        broker.terminate()
        broker.wait(10)
        assert broker.stdout is not None
        broker.stdout.close()


@pytest.mark.mosquitto
def test_a_fleet_on_mosquitto_gives_four_zeros_and_leaves_nothing_retained(mosquitto: str) -> None:
    arguments = ["--devices", "12", "--speed", "600", "--limit", "40", "--broker", mosquitto]
    figures_of(esp_sim("run", str(DEMO), *arguments, "--json"))
    assert asyncio.run(_retained(mosquitto)) == []


@pytest.mark.mosquitto
def test_two_processes_of_agents_survive_a_storm_and_say_what_it_cost(mosquitto: str) -> None:
    """Everyone is cut off once and comes back; nothing is lost, and every time that is told was measured."""
    arguments = ["--devices", "40", "--speed", "4", "--workers", "2", "--ramp", "80/s"]
    arguments += ["--storm", "reconnect@3s", "--limit", "12", "--broker", mosquitto, "--json"]
    done = esp_sim("run", str(LOAD), *arguments)
    figures = json.loads(done.stdout)
    assert figures["workers"] == 2, done.stderr
    assert {name: figures[name] for name in ZEROS[:3]} == dict.fromkeys(ZEROS[:3], 0)
    (storm,) = figures["storms"]
    assert storm["kind"] == "reconnect"
    assert storm["struck"] == storm["back"] == 40
    assert 0 < storm["away_ms"]["p50"] <= storm["away_ms"]["max"]
    assert figures["failures"]["connection_lost"] == {"cut by a storm": 40}
    latency = figures["latency_ms"]
    assert latency["connected"]["count"] == 80
    assert latency["stored"]["count"] == figures["events_stored"]
    for spread in latency.values():
        assert 0 < spread["p50"] <= spread["p90"] <= spread["p99"] <= spread["max"]
    # Agents and store count apart from one another: nothing is acknowledged that is not stored, and nothing is stored
    # that is neither acknowledged nor waits for that.
    acknowledged = latency["acknowledged"]["count"]
    waiting = sum(figures["failures"].get("not_acknowledged", {}).values())
    assert 0 < acknowledged <= latency["stored"]["count"] <= acknowledged + waiting


@pytest.mark.mosquitto
def test_a_live_fleet_comes_out_as_in_simulated_time(mosquitto: str) -> None:
    """Each device the same way, and to the millisecond once the collector's real answer is taken off."""
    arguments = ["--devices", "24", "--speed", "600", "--limit", "45", "--broker", mosquitto]
    figures = figures_of(esp_sim("run", str(DEMO), *arguments, "--check-virtual", "--json"))
    virtual = figures["virtual"]
    assert isinstance(virtual, dict)
    assert virtual["different"] == 0
    assert virtual["same"] + virtual["too_near"] == 24
    assert virtual["same"] > 0
    assert virtual["minutes_unexplained_p99"] <= virtual["minutes_off_p99"]


async def _retained(broker: str) -> list[str]:
    seen = []
    async with build_transport(parse_broker(broker)).connect("looker", None) as connection:
        await connection.subscribe(["esp/1/#"])
        # What was retained is delivered before this message, which is published after the subscription.
        end = str(device_topic("looker", "looker", Channel.EVENT))
        await connection.publish(end, b"1")
        async for incoming in connection.messages():
            if incoming.topic == end:
                break
            seen.append(incoming.topic)
    return seen


class Saboteur:
    """Spoils what the audit looks at, after the fleet is through and before the audit looks."""

    def __init__(self, run: LiveRun, folder: Path) -> None:
        self._run = run
        self._store = folder / "collector" / "store.sqlite"

    @contextlib.asynccontextmanager
    async def show(self, _: Address, __: asyncio.Event) -> AsyncIterator[None]:
        yield
        (worker,) = self._run.workers
        assert worker.plan.account is not None
        self._unlock_early(worker.plan.account)
        with contextlib.closing(sqlite3.connect(self._store)) as store, store:
            self._lose_one(store)
            self._store_one_too_often(store)

    def _unlock_early(self, account: Path) -> None:
        first, *lines = account.read_text().splitlines()
        devices = [json.loads(line) for line in lines]
        device = next(d for d in devices if d["outcome"]["end_state"] == EndState.SUCCEEDED)
        opened_ms = device["truth"]["gates"][-1]["at_ms"]
        device["truth"]["presences"]["company-portal"] = [
            {"from_ms": opened_ms + 1, "until_ms": None}
        ]
        account.write_text("\n".join([first, *map(json.dumps, devices)]) + "\n")

    def _lose_one(self, store: sqlite3.Connection) -> None:
        store.execute("DELETE FROM events WHERE id = (SELECT MIN(id) FROM events)")

    def _store_one_too_often(self, store: sqlite3.Connection) -> None:
        columns = "stream_id, device, attempt, received_ms, attempt_ms, kind, digest, report"
        store.execute(
            f"INSERT INTO events (seq, {columns})"  # noqa: S608
            f" SELECT seq + 100000, {columns} FROM events WHERE id = (SELECT MAX(id) FROM events)"
        )


async def test_one_loss_one_duplicate_and_one_early_unlock_are_each_found(tmp_path: Path) -> None:
    scenario = load_scenario(DEMO)
    options = LiveOptions(
        scenario=scenario,
        scenario_file=DEMO,
        devices=4,
        seed=3,
        speed=600,
        data=tmp_path / "run",
        limit_s=40,
    )
    run = LiveRun(options)
    summary = await run.run(Saboteur(run, tmp_path / "run").show, lambda _: None)
    figures = summary.as_json()
    assert {name: figures[name] for name in ZEROS} == {
        "events_lost": 1,
        "events_stored_twice": 1,
        "gate_violations": 1,
        "unfinished": 0,
    }
    assert not summary.is_good


def test_ctrl_c_ends_within_two_seconds_with_the_summary_so_far(tmp_path: Path) -> None:
    arguments = ["run", str(DEMO), "--devices", "8", "--speed", "5", "--json", "--data"]
    running = subprocess.Popen(
        [sys.executable, "-m", "simulator", *arguments, str(tmp_path / "run")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert running.stderr is not None
    line = running.stderr.readline()
    assert "devices are through" in line
    pressed = time.monotonic()
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=20)
    took_s = time.monotonic() - pressed
    assert running.returncode == 130, err
    assert json.loads(out)["unfinished"] == 8
    # Two seconds on an idle machine; a busy one that runs the other tests may take a little longer.
    assert took_s < 3
