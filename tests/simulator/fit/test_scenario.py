from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import Any, Final

import pytest

from simulator.fit.distribution import fit_times
from simulator.fit.document import with_values
from simulator.fit.findings import Finding, Verdict
from simulator.fit.history import History
from simulator.fit.scenario import Fitted, fit_scenario
from simulator.scenario import Scenario
from simulator.scenario_file import read_scenario
from tests.simulator.fit.histories import history_of, told_by
from tests.simulator.whatif.fleets import figures_of

SCENARIO: Final = """
name = "fitting"
[start]
pattern = "even"
[network]
megabits_per_second = {megabits}
spread = {line_spread}
failure = {failure}
[hardware.new]
pace = 1
[hardware.old]
pace = {pace}

[[population]]
type = "windows_autopilot"
weight = 50
device = "NEW-{{n:06}}"
model = "New"
hardware = {{ new = 1 }}
person = "office"
os = [{{ name = "Windows 11", version = "10.0.26100" }}]
[[population]]
type = "windows_autopilot"
weight = 20
device = "OLD-{{n:06}}"
model = "Old"
hardware = {{ old = 1 }}
person = "office"
os = [{{ name = "Windows 11", version = "10.0.26100" }}]
[[population]]
type = "ios"
weight = 30
device = "iPhone-{{n:06}}"
person = "phone"
os = [{{ name = "iOS 18", version = "18.3" }}]

[[profiles]]
priority = 1
[profiles.profile]
id = "esp"
name = "ESP"
timeout_minutes = 25
[profiles.profile.error_handling]
allow_retry = true
allow_continue = true

[[policies]]
id = "baseline"
name = "Baseline"
time = {{ median_s = {policy}, spread = 1.4 }}

[[apps]]
id = "office"
name = "Office"
types = ["windows_autopilot"]
size_mb = 900
time = {{ median_s = {office}, spread = {office_spread} }}
faults = [
  {{ kind = "installer_failed", chance = {chance}, recovery = {recovery}, exit_code = 1603 }},
  {{ kind = "installer_failed", chance = {busy}, recovery = 0.9, exit_code = 1618 }},
  {{ kind = "not_detected", chance = {undetected}, recovery = 0.5 }},
]
[[apps]]
id = "agent"
name = "Agent"
types = ["windows_autopilot"]
install_limit_minutes = 6
time = {{ median_s = {agent}, spread = 1.5 }}
faults = [{{ kind = "hangs", chance = {hangs}, recovery = {hang_recovery} }}]
[[apps]]
id = "portal"
name = "Portal"
size_mb = 60
time = {{ median_s = 20 }}
{portal_faults}
[steps.entra_join]
time = {{ median_s = {join}, spread = 1.6 }}

[persons.office]
answer = {{ median_s = {answer}, spread = 2 }}
silent = {silent}
[persons.office.error_screen]
answer = {{ median_s = {error}, spread = 1.8 }}
[persons.phone]
answer = {{ median_s = 9, spread = 1.7 }}
silent = {phone_silent}
halt = {{ cancel = {cancel}, postpone = 0.01 }}
returns = 0
"""

TRUTH: Final[Mapping[str, Any]] = {
    "megabits": 90,
    "line_spread": 1.7,
    "failure": 0.01,
    "pace": 0.6,
    "policy": 45,
    "office": 400,
    "office_spread": 1.5,
    "chance": 0.12,
    "recovery": 0.6,
    "busy": 0.06,
    "undetected": 0.08,
    "agent": 120,
    "hangs": 0.06,
    "hang_recovery": 0.7,
    "portal_faults": 'faults = [{ kind = "download_failed", chance = 0.05, recovery = 0.8 }]',
    "join": 70,
    "answer": 40,
    "silent": 0.05,
    "error": 100,
    "phone_silent": 0.02,
    "cancel": 0.05,
}
GUESS: Final[Mapping[str, Any]] = {
    "megabits": 30,
    "line_spread": 1.2,
    "failure": 0.05,
    "pace": 0.9,
    "policy": 20,
    "office": 200,
    "office_spread": 1.2,
    "chance": 0.01,
    "recovery": 0.2,
    "busy": 0.3,
    "undetected": 0.01,
    "agent": 60,
    "hangs": 0.3,
    "hang_recovery": 0.2,
    "portal_faults": "",
    "join": 20,
    "answer": 10,
    "silent": 0.3,
    "error": 30,
    "phone_silent": 0.2,
    "cancel": 0.5,
}
"""A scenario that is wrong in every number that is to be fitted, and does not know one of the faults."""

DEVICES: Final = 2500


def scenario(values: Mapping[str, Any]) -> Scenario:
    return read_scenario(tomllib.loads(SCENARIO.format(**values)), "fitting.toml")


@pytest.fixture(scope="module")
def history() -> History:
    return history_of(told_by(scenario(TRUTH), DEVICES, seed=4))


@pytest.fixture(scope="module")
def fitted(history: History) -> Fitted:
    return fit_scenario(scenario(GUESS), history)


def finding(fitted: Fitted, label: str) -> Finding:
    found = [f for f in fitted.findings if f.label == label]
    assert len(found) == 1, [f.label for f in fitted.findings]
    return found[0]


TIMES: Final = [
    ("policies baseline time", 45, 1.4),
    ("apps office time", 400, 1.5),
    ("apps agent time", 120, 1.5),
    ("apps portal time", 20, 1.4),
    ("steps entra_join time", 70, 1.6),
    ("persons office answer", 40, 2),
    ("persons phone answer", 9, 1.7),
    ("persons office error_screen answer", 100, 1.8),
]


@pytest.mark.parametrize(("label", "median_s", "spread"), TIMES)
def test_times_come_back(fitted: Fitted, label: str, median_s: float, spread: float) -> None:
    """Within five percent, although budgets and limits cut many off and the guess was far away."""
    found = finding(fitted, label)
    assert found.is_used
    assert found.value["median_s"] == pytest.approx(median_s, rel=0.05)
    assert found.value["spread"] == pytest.approx(spread, rel=0.05)
    assert found.distance is not None
    assert found.distance < 0.06


CHANCES: Final = [
    ("apps office installer_failed 1603 chance", 0.12),
    ("apps office installer_failed 1603 recovery", 0.6),
    ("apps office installer_failed 1618 chance", 0.06),
    ("apps office not_detected chance", 0.08),
    ("apps agent hangs chance", 0.06),
    ("apps agent hangs recovery", 0.7),
    ("apps portal download_failed chance", 0.05),
    ("apps portal download_failed recovery", 0.8),
    ("network failure", 0.01),
    ("persons office silent", 0.05),
    ("persons phone silent", 0.02),
    ("persons phone halt cancel", 0.05),
]


@pytest.mark.parametrize(("label", "chance"), CHANCES)
def test_chances_come_back(fitted: Fitted, label: str, chance: float) -> None:
    """Within four standard errors of the count that they rest on: the intervals say how sure they are."""
    found = finding(fitted, label)
    assert found.is_used, found
    error = (chance * (1 - chance) / found.count) ** 0.5
    assert abs(found.value - chance) < 4 * error + 0.001
    assert found.low <= found.value <= found.high
    assert found.low < chance * 1.3
    assert found.high > chance * 0.7


def test_most_intervals_have_the_truth_in_them(fitted: Fitted) -> None:
    truths = {label: median for label, median, _ in TIMES} | dict(CHANCES)
    inside = [
        finding(fitted, label).low <= truth <= finding(fitted, label).high
        for label, truth in truths.items()
    ]
    assert sum(inside) >= len(inside) - 3


def test_the_pace_of_hardware_comes_back_from_what_it_shares_with_other_hardware(
    fitted: Fitted,
) -> None:
    assert finding(fitted, "hardware old pace").value == pytest.approx(0.6, rel=0.04)


def test_the_network_comes_back(fitted: Fitted) -> None:
    assert finding(fitted, "network megabits_per_second").value == pytest.approx(90, rel=0.05)
    assert finding(fitted, "network spread").value == pytest.approx(1.7, rel=0.05)


def test_a_fault_that_the_scenario_does_not_know_is_added(fitted: Fitted) -> None:
    assert finding(fitted, "apps portal download_failed kind").path == (
        "apps",
        2,
        "faults",
        0,
        "kind",
    )
    assert finding(fitted, "apps portal download_failed kind").value == "download_failed"


def test_steps_that_take_their_usual_time_are_left_alone(fitted: Fitted) -> None:
    found = finding(fitted, "steps mdm_enrollment time")
    assert found.verdict is Verdict.AS_USUAL
    assert not found.is_used


def test_ignoring_what_was_cut_off_biases_the_median(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An installer of up to four minutes on a page with a limit of six: only the quick ones end."""
    tight = {**TRUTH, "agent": 300, "hangs": 0, "hang_recovery": 0.5}
    told = history_of(told_by(scenario(tight), 600, seed=9))
    right = finding(fit_scenario(scenario(GUESS), told), "apps agent time")
    assert right.value["median_s"] == pytest.approx(300, rel=0.08)
    monkeypatch.setattr(
        "simulator.fit.items.fit_times", lambda finished, _cut_off, **_: fit_times(finished)
    )
    wrong = finding(fit_scenario(scenario(GUESS), told), "apps agent time")
    assert wrong.value["median_s"] < 0.85 * 300


def test_a_scenario_that_is_right_stays_as_it_is(history: History) -> None:
    """Nothing that is used is far from the truth that the history was made with."""
    found = fit_scenario(scenario(TRUTH), history)
    for each in found.used:
        if isinstance(each.before, float) and each.path[0] != "targets":
            assert each.low * 0.7 <= each.before <= each.high * 1.3, each


def test_the_fitted_scenario_behaves_like_the_fleet_that_was_reported(fitted: Fitted) -> None:
    """Success rates and times of a run, with a seed that nothing was fitted to; the guess is far away from both."""
    guess = SCENARIO.format(**GUESS)
    written = read_scenario(tomllib.loads(with_values(guess, fitted.used)), "fitted.toml")
    truth, copy, before = (
        figures_of(given, devices=1000, seed=77)["by_type"]
        for given in (scenario(TRUTH), written, scenario(GUESS))
    )
    for kind in ("windows_autopilot", "ios"):
        rate, minutes = truth[kind]["success_rate"], truth[kind]["minutes"]["p50"]
        assert copy[kind]["success_rate"] == pytest.approx(rate, abs=0.04)
        assert copy[kind]["minutes"]["p50"] == pytest.approx(minutes, rel=0.05)
        assert abs(before[kind]["success_rate"] - rate) > 0.08


def test_targets_are_what_the_fleet_came_to(fitted: Fitted, history: History) -> None:
    assert finding(fitted, "targets ios success_rate").count > 500
    assert 0 < finding(fitted, "targets windows_autopilot success_rate").value < 1
    assert finding(fitted, "targets windows_autopilot minutes").value > 10


def test_what_the_scenario_does_not_have_is_said(history: History) -> None:
    text = SCENARIO.format(**GUESS).replace('id = "agent"', 'id = "other"')
    text = text.replace('type = "ios"', 'type = "macos_ade"')
    notes = fit_scenario(read_scenario(tomllib.loads(text), "x"), history).notes
    assert "agent: the scenario has no such item; add it, then fit again" in notes
    assert any("iOS/iPadOS (standard): the scenario has no such population" in n for n in notes)


def test_people_who_keep_hours_are_not_called_silent(history: History) -> None:
    text = SCENARIO.format(**GUESS).replace("[persons.office]\n", "[persons.office]\nhours = {}\n")
    found = fit_scenario(read_scenario(tomllib.loads(text), "x"), history)
    assert not [f for f in found.findings if f.label == "persons office silent"]
    assert any(note.startswith("persons office: keeps hours") for note in found.notes)


def test_downloads_on_a_shared_line_say_nothing_of_the_own_line(history: History) -> None:
    text = SCENARIO.format(**GUESS) + '[[sites]]\nname = "Office"\nmegabits_per_second = 100\n'
    found = fit_scenario(read_scenario(tomllib.loads(text), "x"), history)
    assert not [f for f in found.findings if f.label.startswith("network megabits")]
    assert any(
        note.startswith("network megabits_per_second: devices share") for note in found.notes
    )


def test_a_small_history_is_said_to_be_small() -> None:
    found = fit_scenario(scenario(GUESS), history_of(told_by(scenario(TRUTH), 10, seed=1)))
    assert finding(found, "apps office time").verdict is Verdict.TOO_FEW
    assert not finding(found, "apps office time").is_used
    assert finding(found, "apps office installer_failed 1603 chance").verdict is Verdict.TOO_FEW
