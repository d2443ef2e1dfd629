from __future__ import annotations

import tomllib
from typing import Any

import pytest

from simulator.fit.document import fragment, with_values
from simulator.fit.findings import Finding, KeyPath, Verdict
from simulator.scenario_file import read_scenario
from simulator.starter.text import EVERY_KEY, STARTER

TEXT = STARTER.read_text(encoding="utf-8")


def found(*path: str | int, value: Any) -> Finding:
    return Finding(tuple(path), "a key", value, None, 100, 0, 1, Verdict.GOOD)


def at(data: Any, path: KeyPath) -> Any:
    for part in path:
        data = data[part]
    return data


FINDINGS = [
    found("apps", 0, "time", value={"median_s": 500.0, "spread": 1.25}),
    found("apps", 0, "faults", 0, "chance", value=0.02),
    found("apps", 0, "faults", 0, "recovery", value=0.5),
    found("apps", 0, "faults", 1, "chance", value=0.03),
    found("apps", 0, "faults", 1, "kind", value="installer_failed"),
    found("apps", 0, "faults", 1, "exit_code", value=1618),
    found("apps", 3, "time", value={"median_s": 70.0, "spread": 1.5}),
    found("apps", 4, "faults", 0, "chance", value=0.01),
    found("apps", 4, "faults", 0, "kind", value="download_failed"),
    found("network", "megabits_per_second", value=95.5),
    found("hardware", "notebook", "pace", value=0.9),
    found("steps", "entra_join", "time", value={"median_s": 66.0, "spread": 1.5}),
    found("persons", "office", "silent", value=0.004),
    found("persons", "office", "halt", "cancel", value=0.02),
    found(
        "persons", "office", "screens", "sign_in", "answer", value={"median_s": 80.0, "spread": 2.0}
    ),
    found("targets", "ios", "success_rate", value=0.99),
    found("targets", "ios", "minutes", value=6.0),
]


def test_values_go_where_they_belong_and_the_scenario_stays_good() -> None:
    text = with_values(TEXT, FINDINGS)
    data = tomllib.loads(text)
    for finding in FINDINGS:
        assert at(data, finding.path) == finding.value
    assert read_scenario(data, "fitted.toml").apps[0].faults[1].exit_code == 1618


def test_everything_else_stays_as_it_is_comments_included() -> None:
    """Only lines with a fitted value change, and nothing is lost."""
    before, after = TEXT.splitlines(), with_values(TEXT, FINDINGS).splitlines()
    comments = [line.partition("#")[2] for line in before if "#" in line]
    assert [c for c in comments if not any(c in line for line in after)] == []
    gone = [line for line in before if line not in after]
    assert len(gone) == 7
    untouched = tomllib.loads(TEXT)
    data = tomllib.loads(with_values(TEXT, FINDINGS))
    for key in ("start", "sites", "population", "profiles", "admission", "policies"):
        assert data[key] == untouched[key]


def test_without_findings_a_file_does_not_change() -> None:
    for path in (STARTER, EVERY_KEY):
        text = path.read_text(encoding="utf-8")
        assert with_values(text, []) == text


def test_whole_numbers_have_no_point() -> None:
    assert "median_s = 500," in with_values(TEXT, FINDINGS)


def test_a_fragment_has_the_values_alone_and_names_items_and_faults() -> None:
    data = tomllib.loads(fragment(TEXT, FINDINGS))
    apps = {app["id"]: app for app in data["apps"]}
    assert set(apps) == {"m365-apps", "vcredist", "authenticator"}
    assert apps["m365-apps"]["time"] == {"median_s": 500, "spread": 1.25}
    assert apps["m365-apps"]["faults"] == [
        {"kind": "installer_failed", "exit_code": 1603, "chance": 0.02, "recovery": 0.5},
        {"kind": "installer_failed", "exit_code": 1618, "chance": 0.03},
    ]
    assert apps["authenticator"]["faults"] == [{"kind": "download_failed", "chance": 0.01}]
    assert data["network"] == {"megabits_per_second": 95.5}
    assert data["persons"]["office"]["screens"]["sign_in"]["answer"]["median_s"] == 80
    assert set(data) == {"apps", "network", "hardware", "steps", "persons", "targets"}


@pytest.mark.parametrize(
    "old", ["[network]\nmegabits_per_second = 80", "network = { megabits_per_second = 80 }"]
)
def test_a_table_may_be_written_either_way(old: str) -> None:
    text = with_values(f"{old}\n", [found("network", "megabits_per_second", value=95.5)])
    assert text == f"{old.replace('80', '95.5')}\n"
