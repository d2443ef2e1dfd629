"""`esp-sim verify`: what it prints, how it ends, and what it says to a mistake."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from simulator.cli import app
from tests.simulator.verify.mutants import MUTANTS

runner = CliRunner()


def test_some_worlds_as_json() -> None:
    result = runner.invoke(app, ["verify", "--seeds", "2", "--jobs", "1", "--json"])
    assert result.exit_code == 0
    figures = json.loads(result.stdout)
    assert set(figures) == {
        "seeds", "violations", "device_hours", "events", "faults", "met", "never_met", "trace",
        "seconds",
    }  # fmt: skip
    assert (figures["seeds"], figures["violations"]) == (2, [])


def test_a_shard_takes_its_part() -> None:
    result = runner.invoke(
        app, ["verify", "--seeds", "3", "--shard", "2/3", "--jobs", "1", "--json"]
    )
    assert json.loads(result.stdout)["seeds"] == 1


def test_one_world_line_by_line() -> None:
    result = runner.invoke(app, ["verify", "--seed", "1", "--trace"])
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert any("attempt_began" in line for line in lines)
    assert lines[-1] == "every property held"


def test_a_world_that_fails_names_the_command_that_replays_it() -> None:
    bug = next(m for m in MUTANTS if "before it is committed" in m.name)
    with bug.apply():
        result = runner.invoke(app, ["verify", "--seeds", "1", "--jobs", "1"])
        replayed = runner.invoke(app, ["verify", "--seed", "1", "--trace"])
    assert result.exit_code == 1
    assert "esp-sim verify --seed 1 --trace" in result.stdout
    assert replayed.exit_code == 1
    assert replayed.stdout.splitlines()[-1].startswith("violated: committed first: device-")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--shard", "4/3"], "--shard 4/3: write which part of how many"),
        (["--shard", "two"], "--shard two: write which part of how many"),
        (["--trace"], "look at one world; add --seed"),
        (["--seed", "1", "--without", "rain"], "there is no fault 'rain'; choose from: message"),
        (["--seed", "1", "--device", "mine"], "seed 1 has no device 'mine'; choose from: device-1"),
    ],
)
def test_a_mistake_is_named_with_its_remedy(arguments: list[str], sentence: str) -> None:
    result = runner.invoke(app, ["verify", *arguments])
    assert result.exit_code == 2
    assert sentence in result.output
    assert "Traceback" not in result.output
