"""Real faults on a small fleet of real processes: what `esp-sim chaos` does and says, and that it leaves nothing behind."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from simulator.live.chaos import ChaosOptions, ChaosRun
from simulator.live.chaos_faults import FaultKind
from simulator.live.chaos_outage import Outage
from simulator.live.chaos_site import has_mosquitto
from simulator.scenario_file import SHIPPED, load_scenario

pytestmark = [pytest.mark.system, pytest.mark.timeout(150)]

DEMO = SHIPPED / "demo.toml"
ZEROS = ("events_lost", "events_stored_twice", "gate_violations", "unfinished", "unrecovered")
MAYBE = frozenset({FaultKind.DISK_FULL})
"""Strikes nobody when no agent has anything to write just then."""


SLOW = "6"
"""A seed whose first four devices take seven minutes of their time at least: none of them is through at once."""


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "simulator", "chaos", str(DEMO), *map(str, arguments), "--json"]


def left_over(folder: Path) -> list[str]:
    """The processes that have the run's folder on their command line."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in line:
            found.append(line)
    return found


def expected_kinds() -> set[str]:
    without = MAYBE if has_mosquitto() else MAYBE | {FaultKind.BROKER_KILLED}
    return {kind.value for kind in FaultKind if kind not in without}


def test_faults_of_every_kind_end_with_four_zeros_and_everyone_recovered(tmp_path: Path) -> None:
    fleet = ["--devices", "12", "--workers", "3", "--alone", "2", "--speed", "150", "--seed", "5"]
    faults = ["--faults", "16", "--every", "0.8"]
    done = subprocess.run(
        command(*fleet, *faults, "--data", tmp_path / "run"),
        capture_output=True,
        text=True,
        timeout=140,
        check=False,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    figures: dict[str, Any] = json.loads(done.stdout)
    assert {name: figures[name] for name in ZEROS} == dict.fromkeys(ZEROS, 0)
    assert figures["problems"] == []
    assert figures["devices"] == 12
    assert figures["events_created"] == figures["events_stored"] > 0
    assert figures["faults"] + figures["faults_missed"] == 16
    assert expected_kinds() <= figures["by_kind"].keys()
    assert figures["settled_s"] <= figures["settle_bound_s"]
    assert 0 < figures["recovery_s"]["p50"] <= figures["recovery_s"]["max"]
    assert all(fault["agents"] > 0 for fault in figures["fault_log"])
    assert left_over(tmp_path) == []


def test_a_fleet_that_can_t_finish_in_time_fails(tmp_path: Path) -> None:
    few = ["--devices", "2", "--workers", "1", "--speed", "2", "--faults", "1", "--every", "0.1"]
    few += ["--seed", SLOW]
    done = subprocess.run(
        command(*few, "--settle", "1", "--data", tmp_path / "run"),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 1, done.stderr + done.stdout
    figures = json.loads(done.stdout)
    assert (figures["unfinished"], figures["settled_s"]) == (2, None)
    assert figures["events_lost"] == figures["events_stored_twice"] == 0
    assert left_over(tmp_path) == []


def test_ctrl_c_ends_it_with_the_summary_so_far_and_no_process_left(tmp_path: Path) -> None:
    fleet = ["--devices", "4", "--workers", "2", "--speed", "5", "--every", "0.3", "--seed", SLOW]
    running = subprocess.Popen(
        command(*fleet, "--data", tmp_path / "run"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert running.stderr is not None
    for line in running.stderr:
        if "fault 3:" in line or " 3 of " in line:
            break
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=60)
    assert running.returncode == 130, err
    figures = json.loads(out)
    assert figures["unfinished"] == 4
    assert figures["faults"] >= 1
    assert figures["gate_violations"] == 0
    assert left_over(tmp_path) == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--outage", "broker:10m"], "say it like collector:10m"),
        (["--data", str(Path(__file__).parent)], "is not empty; name a new folder"),
        (["--broker", "http://here"], "--broker"),
    ],
)
def test_what_can_t_be_used_is_said_in_one_line(arguments: list[str], says: str) -> None:
    done = subprocess.run(
        command(*arguments), capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 2
    assert says in done.stderr
    assert done.stderr.count("\n") == 1


async def test_a_fleet_returns_from_an_outage_and_everything_is_stored(tmp_path: Path) -> None:
    scenario = load_scenario(DEMO)
    options = ChaosOptions(
        scenario=scenario,
        scenario_file=DEMO,
        devices=8,
        faults=1,
        seed=3,
        speed=150,
        workers=2,
        every_s=1,
        data=tmp_path / "run",
        outage=Outage("collector", 10, calm_s=1, watch_s=3),
    )
    summary = await ChaosRun(options).run(lambda _: None, lambda _: None)
    assert summary.is_good, summary.as_json()
    herd = summary.herd
    assert herd is not None
    assert herd.agents >= 5
    assert herd.away_s >= 4
    assert sum(herd.returned) >= herd.agents - 2
    assert herd.attempts_meanwhile == 0, "the connections to the broker stay"
    assert summary.felt == []
