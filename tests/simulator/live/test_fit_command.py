from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from simulator.cli import app
from simulator.scenario_file import load_scenario
from simulator.starter.text import STARTER
from tests.simulator.fit.histories import exported, told_by

GRAPH = "deploymentState,deploymentDuration,deviceSetupDuration\n" + "success,PT40M,PT30M\n" * 40


def call(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner(mix_stderr=False).invoke(app, ["fit", *arguments])
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("reports") / "reports.jsonl"
    path.write_text("".join(exported(told_by(load_scenario(STARTER), 60, seed=2))))
    return path


@pytest.fixture
def base(tmp_path: Path) -> Path:
    path = tmp_path / "base.toml"
    text = STARTER.read_text(encoding="utf-8")
    path.write_text(text.replace("median_s = 480", "median_s = 100"), encoding="utf-8")
    return path


def test_a_fitted_scenario_is_written_with_its_comments(
    reports: Path, base: Path, tmp_path: Path
) -> None:
    out, part = tmp_path / "fitted.toml", tmp_path / "part.toml"
    code, printed, err = call(
        str(reports), "--scenario", str(base), "--out", str(out), "--fragment", str(part)
    )
    assert (code, err) == (0, "")
    fitted = load_scenario(out)
    assert fitted.apps[0].time is not None
    assert fitted.apps[0].time.median_s == pytest.approx(480, rel=0.15)
    assert "# --- The people: how fast they answer" in out.read_text(encoding="utf-8")
    ids = {a["id"]: a for a in tomllib.loads(part.read_text(encoding="utf-8"))["apps"]}
    assert ids["m365-apps"]["time"]["median_s"] == fitted.apps[0].time.median_s
    line = next(line for line in printed.splitlines() if line.startswith("apps m365-apps time"))
    assert "100 s × 1.3" in line
    assert line.rstrip().endswith("good")
    assert "too few: fewer than 20 times, or fewer than 30 cases" in printed
    assert "Not fitted: network megabits_per_second: devices share a line" in printed


def test_json_has_every_finding_with_its_evidence(reports: Path, base: Path) -> None:
    code, out, _ = call(str(reports), "--scenario", str(base), "--json")
    assert code == 0
    found = json.loads(out)
    assert found["devices"] == 60
    office = next(f for f in found["findings"] if f["label"] == "apps m365-apps time")
    assert office["path"] == ["apps", 0, "time"]
    assert office["before"] == {"median_s": 100, "spread": 1.3}
    assert office["low"] < office["value"]["median_s"] < office["high"]
    assert office["count"] > 30
    assert 0 < office["distance"] < 0.3
    assert office["used"]


def test_rows_of_graph_fill_the_targets_and_say_what_they_can_not_say(
    base: Path, tmp_path: Path
) -> None:
    rows, out = tmp_path / "events.csv", tmp_path / "fitted.toml"
    rows.write_text(GRAPH, encoding="utf-8")
    code, printed, _ = call(str(rows), "--scenario", str(base), "--out", str(out))
    assert code == 0
    assert "device setup" in printed
    assert "Not fitted: these rows hold phases and not items" in printed
    target = load_scenario(out).targets
    assert {kind.value: t.minutes for kind, t in target.items()} == {"windows_autopilot": 40}


def test_files_that_are_there_are_not_overwritten_without_force(
    reports: Path, base: Path, tmp_path: Path
) -> None:
    out = tmp_path / "mine.toml"
    out.write_text("precious", encoding="utf-8")
    arguments = (str(reports), "--scenario", str(base), "--out", str(out))
    code, printed, err = call(*arguments)
    assert (code, printed) == (2, "")
    assert "overwrite it with --force" in err
    assert out.read_text(encoding="utf-8") == "precious"
    assert call(*arguments, "--force")[0] == 0


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", "nothing is in these files"),
        (
            '{"device": "D1", "stream": "s", "seq": 1}\n',
            "line 1 is no report: report: field required",
        ),
        (
            '{"record":"report","device":"D1","stream":"s","seq":1,"digest":"0"}\n',
            "it has digests only; export it with --reports",
        ),
        ('{"device": "D1"}\n{"device"', "line 1 is no report"),
        ('{"value": 1}', "has no list of rows"),
        ("a,b\n1,2\n", "row 1: deploymentState is missing"),
        ("deploymentState\nwell\n", "deploymentState 'well' is not known"),
        ("SQLite format 3\0and nothing else", "torn or no journal at all"),
    ],
)
def test_a_file_that_can_not_be_used_is_one_sentence(
    content: str, expected: str, base: Path, tmp_path: Path
) -> None:
    path = tmp_path / "history"
    path.write_text(content, encoding="utf-8")
    code, out, err = call(str(path), "--scenario", str(base))
    assert (code, out) == (2, "")
    assert expected in err
    assert err.count("\n") == 1


def test_reports_and_rows_do_not_go_together(reports: Path, base: Path, tmp_path: Path) -> None:
    rows = tmp_path / "events.csv"
    rows.write_text(GRAPH, encoding="utf-8")
    code, _, err = call(str(reports), str(rows), "--scenario", str(base))
    assert code == 2
    assert "do not go together" in err


def test_a_file_that_is_not_there_is_one_sentence(base: Path, tmp_path: Path) -> None:
    code, _, err = call(str(tmp_path / "none.jsonl"), "--scenario", str(base))
    assert code == 2
    assert "can't be read: No such file" in err
