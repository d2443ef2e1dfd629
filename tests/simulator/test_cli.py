from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from simulator.cli import app
from simulator.scenario_file import SHIPPED

COMPANY = str(SHIPPED / "company.toml")


def call(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner(mix_stderr=False).invoke(app, list(arguments))
    return result.exit_code, result.stdout, result.stderr


@pytest.mark.parametrize("command", ["run", "whatif", "check"])
def test_a_bad_scenario_is_one_message_and_exit_code_2(command: str, tmp_path: Path) -> None:
    bad = tmp_path / "bad.toml"
    bad.write_text((SHIPPED / "company.toml").read_text().replace("seed = 2026", "sead = 2026"))
    code, out, err = call(command, str(bad))
    assert code == 2
    assert out == ""
    assert err == f"esp-sim: {bad}: sead: unknown key; did you mean 'seed'?\n"


def test_check_says_what_a_scenario_would_run() -> None:
    code, out, _ = call("check", COMPANY, "--json")
    plan = json.loads(out)
    assert code == 0
    assert plan["name"] == "company"
    assert sum(entry["devices"] for entry in plan["by_type"].values()) == plan["devices"]
    assert set(plan["by_profile"]) == {"Default ESP", "Executive ESP", "Kiosk ESP"}
    code, out, _ = call("check", COMPANY)
    assert code == 0
    assert "Windows (Autopilot)" in out


def test_whatif_prints_one_json_object_on_stdout() -> None:
    code, out, _ = call(
        "whatif", COMPANY, "--devices", "20", "--seed", "4", "--jobs", "1", "--json"
    )
    assert code == 0
    assert json.loads(out)["devices"] == 20
    assert json.loads(out)["seed"] == 4


def test_whatif_prints_a_table_for_people() -> None:
    code, out, _ = call("whatif", COMPANY, "--devices", "20", "--jobs", "1")
    assert code == 0
    assert "20 devices, seed 2026" in out
    assert "The gate waited for" in out
    assert max(len(line) for line in out.splitlines() if "esp-sim whatif" not in line) <= 80
    assert "Standard" not in out


def test_whatif_has_a_row_for_each_variant_of_a_type() -> None:
    path = str(SHIPPED / "variants.toml")
    code, out, _ = call("whatif", path, "--devices", "40", "--jobs", "1")
    assert code == 0
    for words in ("Standard", "Hybrid join", "Self-deploying", "Fully managed", "Dedicated"):
        assert f"  {words}" in out


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--broker", "http://here"], "write mqtt://host:port"),
        (["--broker", "mqtt://127.0.0.1:1"], "nobody answers there"),
        (["--collector", "http://127.0.0.1:1"], "needs --broker, --token-file and --trust"),
        (["--data", "{full}"], "is not empty; name a new folder"),
        (["--identities", "{full}"], "esp-broker device"),
    ],
)
def test_an_option_that_can_not_be_used_is_said_with_its_remedy(
    arguments: list[str], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "something").touch()
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    given = [argument.format(full=tmp_path) for argument in arguments]
    code, out, err = call("run", COMPANY, "--devices", "1", "--json", *given)
    assert (code, out) == (2, "")
    assert err.startswith("esp-sim: ")
    assert expected in err
    assert "Traceback" not in err
    assert list((tmp_path / "temporary").iterdir()) == []


def test_version_and_help() -> None:
    assert call("--version")[1].startswith("esp-sim ")
    for command in ("run", "whatif", "check"):
        code, out, _ = call(command, "--help")
        assert code == 0
        assert "Example" in out
