"""The virtual engine's benchmark runs, compares like with like, and prints what its readers rely on."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from agent.wire.vocabulary import EndState
from benchmarks import virtual
from benchmarks.virtual_simpy import NotModelled, SimpyDevice
from simulator.population import fleet
from simulator.rollout import Rollout
from simulator.scenario import Scenario
from simulator.scenario_file import SHIPPED, load_scenario


@pytest.fixture(scope="module")
def company() -> Scenario:
    return load_scenario(SHIPPED / "company.toml")


def keys_of(figures: dict[str, Any]) -> set[str]:
    nested = (keys_of(value) for value in figures.values() if isinstance(value, dict))
    return set(figures).union(*nested)


def test_json_has_the_documented_keys(capsys: pytest.CaptureFixture[str]) -> None:
    virtual.main(["--json", "--small", "20", "--large", "40", "--compared", "20"])
    figures = json.loads(capsys.readouterr().out)
    assert keys_of(figures) <= set(re.findall(r"`(\w+)`", virtual.__doc__ or ""))
    assert (figures["benchmark"], figures["scenario"]) == ("virtual", "company")
    assert (figures["small"]["devices"], figures["large"]["devices"]) == (20, 40)
    assert figures["small"]["peak_rss_mb"] > 10
    assert figures["compared"]["devices"] + figures["compared"]["left_out"] == 20
    assert all(value > 0 for value in figures["ratios"].values())
    virtual._print_figures(figures)
    assert "engine to SimPy" in capsys.readouterr().out


def test_the_simpy_model_brings_devices_to_the_same_end_at_the_same_millisecond(
    company: Scenario,
) -> None:
    rollout = Rollout(company)
    compared, refused = 0, 0
    for device in fleet(company, 7, 150):
        try:
            theirs = SimpyDevice(rollout, device, with_reports=True).run()
        except NotModelled:
            continue
        ours = virtual.life_of(rollout, device)
        assert theirs.end_state is ours.end_state
        assert theirs.ended_ms == ours.ended_ms
        assert theirs.opened_ms == ours.opened_ms
        compared += 1
        refused += theirs.end_state is EndState.REFUSED
        assert theirs.reports or theirs.end_state is EndState.REFUSED
    assert compared > 100


def test_the_profile_says_which_files_take_the_time(capsys: pytest.CaptureFixture[str]) -> None:
    virtual.main(["--profile", "--small", "5"])
    printed = capsys.readouterr().out
    assert "agent/core/enrollment.py" in printed
    assert "simulator/device.py" in printed
