"""A few hundred worlds hold, and say the same however they are run; the rest is `make verify`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from agent.core.state import Mode
from simulator.verify.faults import KINDS, NONE
from simulator.verify.plan import draw_world
from simulator.verify.report import CHUNK, verify
from simulator.verify.run import run_world
from tests.simulator.verify.mutants import JOURNALS_COME_BACK

SEEDS = 200


@pytest.fixture(scope="module")
def figures() -> dict[str, Any]:
    return verify(list(range(1, SEEDS + 1)))


@pytest.mark.timeout(300)
def test_every_property_holds_in_every_world(figures: dict[str, Any]) -> None:
    assert figures["violations"] == []
    assert figures["seeds"] == SEEDS
    assert figures["device_hours"] > 5 * SEEDS


def test_every_kind_of_fault_strikes(figures: dict[str, Any]) -> None:
    assert set(figures["faults"]) == set(KINDS)
    assert [kind for kind, times in figures["faults"].items() if times == 0] == []


@pytest.mark.timeout(120)
def test_nothing_is_told_in_vain_where_journals_come_back_as_older_copies() -> None:
    """Chance meets such worlds seldom; without the chain of reports most of these lose some."""
    strikes = 0
    for seed in range(1, 11):
        verdict = run_world(replace(draw_world(seed), faults=JOURNALS_COME_BACK))
        assert verdict.violation is None, f"seed {seed}"
        strikes += verdict.happened["journal_restores_share"]
    assert strikes > 100


def test_the_worlds_meet_what_the_machine_has_rules_for(figures: dict[str, Any]) -> None:
    """All effects, all ends, and all inputs but those that take more worlds than these."""
    met = figures["met"]
    assert figures["never_met"] == [k for kinds in met.values() for k, n in kinds.items() if n == 0]
    assert all(met["effects"].values())
    assert all(met["ends"].values())
    modes = Counter(kind.split()[0] for kind, times in met["inputs"].items() if times)
    assert sum(modes.values()) > 0.75 * len(met["inputs"])
    assert set(modes) == {mode.value for mode in Mode}


def test_any_division_comes_to_the_same() -> None:
    """On one process or two, in one part or three: counts and hash add up."""
    seeds = list(range(1, CHUNK + 3))
    whole = verify(seeds, jobs=2)
    parts = [verify(seeds[part::3]) for part in range(3)]
    assert sum(p["events"] for p in parts) == whole["events"]
    assert sum(int(p["trace"], 16) for p in parts) % 2**128 == int(whole["trace"], 16)


def test_the_order_of_hashes_changes_nothing() -> None:
    """Python draws the order of its sets anew in each process, unless it is told how."""
    traces = {_trace_under(hash_seed) for hash_seed in ("1", "2")}
    assert traces == {verify([1, 2, 3])["trace"]}


def _trace_under(hash_seed: str) -> str:
    ran = subprocess.run(
        [sys.executable, "-m", "simulator", "verify", "--seeds", "3", "--jobs", "1", "--json"],
        env=os.environ | {"PYTHONHASHSEED": hash_seed},
        capture_output=True,
        check=True,
        text=True,
    )
    return str(json.loads(ran.stdout)["trace"])


def test_two_seeds_are_two_worlds() -> None:
    assert run_world(draw_world(1)).trace != run_world(draw_world(2)).trace


def test_the_lines_of_a_trace_change_nothing() -> None:
    silent, loud = run_world(draw_world(3)), run_world(draw_world(3), keeps_lines=True)
    assert silent.trace == loud.trace
    assert silent.lines == []
    assert len(loud.lines) == loud.events > 100


def test_a_world_without_faults_has_none() -> None:
    plan = replace(draw_world(5), faults=NONE)
    verdict = run_world(plan)
    assert verdict.violation is None
    assert not verdict.happened


def test_leaving_a_device_out_leaves_the_others_as_they_are() -> None:
    """Draws are keyed, so a smaller world is the same world with less in it."""
    plan = next(p for p in map(draw_world, range(1, 50)) if len(p.devices) > 1)
    last = plan.devices[-1]
    assert plan.smaller(devices=(last.device,)).devices == (last,)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"without": ("gremlins",)}, "there is no fault 'gremlins'; choose from: message_delays"),
        ({"devices": ("device-9",)}, "seed 1 has no device 'device-9'; choose from: device-1"),
    ],
)
def test_a_smaller_world_has_to_be_part_of_the_whole(
    wrong: dict[str, tuple[str, ...]], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        draw_world(1).smaller(**wrong)
