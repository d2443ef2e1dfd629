from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from simulator.cli import app
from simulator.scenario_file import load_scenario
from simulator.scenario_schema import schema_text
from simulator.scenario_starter import STARTER, starter_text
from simulator.whatif import what_if


def call(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner(mix_stderr=False).invoke(app, list(arguments))
    return result.exit_code, result.stdout, result.stderr


def test_a_new_scenario_is_good_and_nothing_in_it_looks_wrong(tmp_path: Path) -> None:
    path = tmp_path / "contoso.toml"
    code, out, err = call("new", str(path))
    assert (code, err) == (0, "")
    assert f"esp-sim check {path}" in out
    assert load_scenario(path).name == "contoso"
    code, out, _ = call("check", str(path), "--json")
    assert code == 0
    assert json.loads(out)["warnings"] == []


def test_its_schema_stands_where_its_first_line_says(tmp_path: Path) -> None:
    path = tmp_path / "contoso.toml"
    call("new", str(path))
    first = path.read_text(encoding="utf-8").splitlines()[0]
    assert (tmp_path / first.removeprefix("#:schema ")).read_text(encoding="utf-8") == schema_text()


def test_it_is_small_and_whole_and_every_block_says_what_it_is_for() -> None:
    data = tomllib.loads(starter_text())
    counts = {key: len(data[key]) for key in ("sites", "population", "apps", "profiles", "persons")}
    assert counts == {"sites": 1, "population": 2, "apps": 5, "profiles": 1, "persons": 1}
    headings = [line for line in starter_text().splitlines() if line.startswith("# --- ")]
    assert len(headings) >= 8


def test_what_becomes_of_it_is_plausible() -> None:
    """A small company of today: hardly anybody fails, Autopilot takes twenty to forty minutes, a phone takes a few."""
    figures = what_if(load_scenario(STARTER), devices=400, seed=3, jobs=1)["by_type"]
    assert 0.96 <= figures["windows_autopilot"]["success_rate"] <= 1
    assert 15 <= figures["windows_autopilot"]["minutes"]["p50"] <= 40
    assert 0.96 <= figures["ios"]["success_rate"] <= 1
    assert 3 <= figures["ios"]["minutes"]["p50"] <= 10


def test_a_file_that_is_there_is_not_overwritten_without_force(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("precious", encoding="utf-8")
    code, out, err = call("new", str(path))
    assert (code, out) == (2, "")
    assert err == (
        f"esp-sim: {path}: is there already; choose another name, or overwrite it with --force\n"
    )
    assert path.read_text(encoding="utf-8") == "precious"
    assert not (tmp_path / "scenario.schema.json").exists()
    assert call("new", str(path), "--force")[0] == 0
    assert load_scenario(path).name == "mine"


@pytest.mark.parametrize(
    ("name", "remedy"),
    [("my company.toml", "use letters, digits"), ("no/such.toml", "another place")],
)
def test_a_name_or_place_that_can_not_be_used_is_one_sentence(
    name: str, remedy: str, tmp_path: Path
) -> None:
    code, out, err = call("new", str(tmp_path / name))
    assert (code, out) == (2, "")
    assert remedy in err
    assert err.count("\n") == 1


def test_without_a_file_it_is_printed() -> None:
    assert call("new") == (0, STARTER.read_text(encoding="utf-8"), "")
