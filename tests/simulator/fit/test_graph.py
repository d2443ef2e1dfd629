from __future__ import annotations

import csv
import io
import json
import random
from collections.abc import Mapping
from typing import Any

import pytest

from simulator.fit.graph import NOTES, Rows, RowsRefused, rows_of_csv, rows_of_json
from simulator.scenario_file import load_scenario
from simulator.starter.text import STARTER


def row(state: str = "success", **more: str) -> dict[str, str]:
    return {
        "deviceSerialNumber": "1",
        "deploymentState": state,
        "deploymentDuration": "PT40M",
        "deploymentTotalDuration": "PT50M",
        "deviceSetupDuration": "PT30M",
        "accountSetupDuration": "PT5M",
        "enrollmentFailureDetails": "",
    } | more


def read(*rows: Mapping[str, Any]) -> Rows:
    found = Rows()
    found.add(rows)
    return found


def duration(seconds: float) -> str:
    minutes, rest = divmod(seconds, 60)
    return f"PT{int(minutes // 60)}H{int(minutes % 60)}M{rest:.3f}S"


def test_phases_success_rate_and_failures_come_back() -> None:
    """2,000 deployments of known times; every tenth runs out of time, and for half of these people click past."""
    chance = random.Random(3)
    rows = []
    for number in range(2000):
        setup_s = 1500 * 1.4 ** chance.gauss(0, 1)
        timed_out = setup_s > 2700
        state = ("successWithTimeout" if number % 2 else "failure") if timed_out else "success"
        setup_s = min(setup_s, 2700)
        rows.append(
            row(
                state,
                deviceSetupDuration=duration(setup_s),
                deploymentDuration=duration(setup_s + 300),
                enrollmentFailureDetails="0x800705B4" if state == "failure" else "",
            )
        )
    found = read(*rows)
    phases = dict(found.phases())
    setup = phases["device setup"]
    assert setup.cut_off > 50
    assert setup.median_s == pytest.approx(1500, rel=0.03)
    assert setup.spread == pytest.approx(1.4, rel=0.05)
    shares = dict(found.shares())
    failures = found.states["failure"]
    assert shares["failure"].count == 2000
    assert shares["failure: 0x800705B4"].hits == failures
    values = {f.label: f.value for f in found.findings(load_scenario(STARTER))}
    assert values["targets windows_autopilot success_rate"] == pytest.approx(
        1 - failures / 2000, abs=0.001
    )
    assert values["targets windows_autopilot minutes"] == pytest.approx(32, rel=0.05)


def test_only_targets_follow_from_such_rows_and_that_is_said() -> None:
    found = read(*[row() for _ in range(40)])
    assert {f.path[0] for f in found.findings(load_scenario(STARTER))} == {"targets"}
    assert "no app's time" in NOTES[0]


def test_a_phase_that_succeeded_in_a_deployment_that_failed_took_its_own_time() -> None:
    failed = row("failure", deviceSetupStatus="success", accountSetupStatus="failure")
    found = read(*[failed for _ in range(3)], *[row() for _ in range(3)])
    phases = dict(found.phases())
    assert (phases["device setup"].count, phases["device setup"].cut_off) == (6, 0)
    assert (phases["account setup"].count, phases["account setup"].cut_off) == (3, 3)


def test_deployments_that_have_not_ended_count_for_nothing() -> None:
    found = read(row("inProgress"), row("notAttempted"), row("unknown"), row(""), row("success"))
    assert (found.count, found.judged, found.succeeded) == (5, 1, 1)


def test_a_list_graphs_answer_and_csv_are_the_same() -> None:
    rows = [row(), row("failure", enrollmentFailureDetails="0x80180014")]
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=rows[0])
    writer.writeheader()
    writer.writerows(rows)
    expected = read(*rows)
    assert read(*rows_of_json(json.dumps(rows))) == expected
    assert read(*rows_of_json(json.dumps({"value": rows}))) == expected
    assert read(*rows_of_csv("\ufeff" + text.getvalue())) == expected


def test_states_may_be_numbers() -> None:
    assert read(row("7"), row("3"), row("4")).states == {
        "successOnRetry": 1,
        "failure": 1,
        "successWithTimeout": 1,
    }


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("PT1H2M3.5S", 3723.5), ("P1DT1S", 86401), ("PT0.75S", 0.75), ("PT90M", 5400)],
)
def test_durations_are_iso_8601(text: str, seconds: float) -> None:
    assert read(row(deviceSetupDuration=text)).finished_s["deviceSetupDuration"] == [seconds]


@pytest.mark.parametrize("text", ["", "PT0S", "-PT5S"])
def test_a_phase_of_no_length_says_nothing(text: str) -> None:
    assert read(row(deviceSetupDuration=text)).finished_s["deviceSetupDuration"] == []


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([{"deviceSerialNumber": "1"}], "row 1: deploymentState is missing; export that column"),
        ([row(), row("done")], "row 2: deploymentState 'done' is not known; use one of: unknown"),
        ([row(deviceSetupDuration="40 minutes")], "row 1: deviceSetupDuration '40 minutes' is no"),
        ([row(deviceSetupDuration="PT")], "write it as ISO 8601 has it, as in PT1H2M30S"),
    ],
)
def test_a_row_that_can_not_be_used_is_one_sentence(
    rows: list[dict[str, str]], expected: str
) -> None:
    with pytest.raises(RowsRefused) as refused:
        read(*rows)
    assert expected in str(refused.value)


@pytest.mark.parametrize("text", ["{}", "[1]", '{"value": 3}', "[", '"rows"'])
def test_what_holds_no_rows_is_refused(text: str) -> None:
    with pytest.raises(RowsRefused):
        rows_of_json(text)
