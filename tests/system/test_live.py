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

from agent.assembly import build_transport, parse_broker
from agent.wire.topics import Channel, device_topic
from agent.wire.vocabulary import EndState
from simulator.ground_truth import Presence
from simulator.live.run import Address, LiveOptions, LiveRun
from simulator.scenario_file import SHIPPED, load_scenario

pytestmark = pytest.mark.system

DEMO = SHIPPED / "demo.toml"
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
        self._unlock_early()
        with contextlib.closing(sqlite3.connect(self._store)) as store, store:
            self._lose_one(store)
            self._store_one_too_often(store)

    def _unlock_early(self) -> None:
        fleet = self._run.fleet
        assert fleet is not None
        member = next(
            m
            for m in fleet.members
            if m.outcome is not None and m.outcome.end_state is EndState.SUCCEEDED
        )
        opened_ms = member.truth.gates[-1].at_ms
        member.truth.presences["company-portal"] = [Presence(opened_ms + 1)]

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
        scenario=scenario, devices=4, seed=3, speed=600, data=tmp_path / "run", limit_s=40
    )
    run = LiveRun(options)
    summary = await run.run(Saboteur(run, tmp_path / "run").show, lambda _, __: None)
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
    assert took_s < 4
