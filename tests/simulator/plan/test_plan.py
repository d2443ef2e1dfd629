from __future__ import annotations

import json
import tomllib
from math import exp, log
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from simulator.cli import app
from simulator.plan.report import plan_of
from simulator.scenario import Scenario
from simulator.scenario_file import SHIPPED, load_scenario, read_scenario
from simulator.starter.text import STARTER
from tests.simulator.whatif.fleets import figures_of

STARTER_TEXT = STARTER.read_text(encoding="utf-8")


def changed(*changes: tuple[str, str]) -> Scenario:
    """The starter with some texts of it replaced."""
    text = STARTER_TEXT
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    return read_scenario(tomllib.loads(text), "starter.toml")


def warnings(scenario: Scenario) -> dict[str, str]:
    found: dict[str, str] = {}
    for warning in plan_of(scenario)["warnings"]:
        found[warning["key"]] = found.get(warning["key"], "") + warning["sentence"]
    return found


def way(plan: dict[str, Any], kind: str) -> dict[str, Any]:
    found: dict[str, Any] = next(w for w in plan["ways"] if w["type"] == kind)
    return found


def test_the_plan_says_what_devices_go_through_in_which_order_and_what_blocks() -> None:
    windows = way(plan_of(changed()), "windows_autopilot")
    steps = {step["id"]: step for step in windows["steps"]}
    assert set(windows["blocking"]) == {
        "security-baseline",
        "m365-apps",
        "company-portal",
        "vpn-client",
        "vcredist",
    }
    assert steps["vpn-client"]["needs"] == ["vcredist"]
    assert steps["vpn-client"]["begins_s"] + 0.2 >= (
        steps["vcredist"]["begins_s"]
        + steps["vcredist"]["download_s"]
        + steps["vcredist"]["work_s"]
    )
    assert steps["m365-apps"]["work_s"] == pytest.approx(480 * exp(log(1.3) ** 2 / 2), abs=0.1)
    assert steps["m365-apps"]["download_s"] == pytest.approx(2400 * 2**20 * 8 / 80e6, abs=0.1)
    assert steps["m365-apps"]["limit_s"] == 3600
    assert steps["sign_in"]["work_s"] == pytest.approx(60 * exp(log(2) ** 2 / 2), abs=0.1)
    assert way(plan_of(changed()), "ios")["background"] == ["authenticator"]


@pytest.mark.parametrize("kind", ["windows_autopilot", "ios"])
def test_the_times_to_expect_are_those_of_a_run(kind: str) -> None:
    """On a line of its own, with nothing that fails: within a tenth of the average of a fleet."""
    scenario = changed(
        ("megabits_per_second = 500\n", "\n"),
        ("failure = 0.0005", "failure = 0"),
        ("silent = 0.001", "silent = 0"),
    )
    contexts = way(plan_of(scenario), kind)["contexts"]
    steps = way(plan_of(scenario), kind)["steps"]
    expected_min = max(s["begins_s"] + s["download_s"] + s["work_s"] for s in steps) / 60
    run = figures_of(scenario, devices=400, seed=2)["by_type"][kind]["minutes"]["mean"]
    assert expected_min == pytest.approx(run, rel=0.1)
    assert contexts["device"]["needs_s"] / 60 < expected_min


def test_who_is_refused_is_counted() -> None:
    scenario = changed(
        ('version = "10.0.22631", weight = 3', 'version = "10.0.10000", weight = 3'),
        ("device_limit = 5", "device_limit = 5\nreused = 0.5\nnot_released = 0.5"),
    )
    plan = plan_of(scenario)
    refused = {(r["type"], r["reason"]): r["devices"] for r in plan["refused"]}
    windows = plan["by_type"]["windows_autopilot"]["devices"]
    assert 0.2 * windows < refused["windows_autopilot", "os_not_supported"] < 0.4 * windows
    assert refused["windows_autopilot", "different_user"] > 0
    assert warnings(scenario)["admission.minimum_os.windows_autopilot"].startswith(
        "every device with Windows 11 10.0.10000 is refused"
    )


def test_when_devices_are_switched_on_is_a_curve_that_has_them_all() -> None:
    curve = plan_of(changed())["start"]
    counts = [entry["devices"] for entry in curve]
    assert sum(counts) == 500
    assert max(counts) > 2 * counts[0]
    assert curve[-1]["from_minute"] < 90


@pytest.mark.parametrize(
    ("old", "new", "key", "expected"),
    [
        (
            "timeout_minutes = 60",
            "timeout_minutes = 15",
            "profiles[0].profile.timeout_minutes",
            (
                "Windows (Autopilot), standard: device setup usually takes 20 minutes and the profile waits 15, so that more "
                "than half of them will not be ready in time"
            ),
        ),
        (
            "timeout_minutes = 60",
            "timeout_minutes = 24",
            "profiles[0].profile.timeout_minutes",
            "the slower ones will not be ready in time",
        ),
        (
            "megabits_per_second = 500",
            "megabits_per_second = 50",
            "sites[0].megabits_per_second",
            "of them can't have theirs in time whatever else happens; add a cache",
        ),
        (
            "size_mb = 2400",
            "size_mb = 2400\ninstall_limit_minutes = 90",
            "profiles[0].profile.timeout_minutes",
            "before a single try of these is stopped: Microsoft 365 Apps;",
        ),
        (
            "size_mb = 2400",
            "size_mb = 2400\ninstall_limit_minutes = 5",
            "apps[0].install_limit_minutes",
            "a usual try takes 12 minutes on Windows (Autopilot), standard, download included, and is stopped after 5",
        ),
        (
            '"company-portal", "vpn-client"]',
            '"company-portal", "authenticator"]',
            "profiles[0].profile.blocking_apps",
            "'authenticator' holds up no device",
        ),
        (
            "[hardware.notebook]",
            "[hardware.tablet]\n[hardware.notebook]",
            "hardware.tablet",
            "no population has it",
        ),
        ("[persons.office]", "[persons.shop]\n[persons.office]", "persons.shop", "no population"),
        (
            "[persons.office.screens.sign_in]",
            "[persons.office.screens.reseal]\nsilent = 0\n[persons.office.screens.sign_in]",
            "persons.office.screens.reseal",
            "no device shows this screen",
        ),
        (
            "[persons.office]",
            "[steps.domain_join]\n[persons.office]",
            "steps.domain_join",
            "no device comes to this step",
        ),
        (
            "[persons.office]",
            "[targets.macos_ade]\nsuccess_rate = 1\nminutes = 9\n[persons.office]",
            "targets.macos_ade",
            "no population enrolls this way",
        ),
        (
            "[admission]",
            '[[groups]]\nname = "Pilots"\nshare = 0.1\n[admission]',
            "groups[0]",
            "no profile is for it",
        ),
    ],
)
def test_what_looks_wrong_is_a_warning_with_key_and_remedy(
    old: str, new: str, key: str, expected: str
) -> None:
    assert key not in warnings(changed())
    found = warnings(changed((old, new)))
    assert expected in found[key]


def test_a_site_that_is_warned_about_fails_in_a_run_and_one_that_is_not_does_not() -> None:
    """The warning is about what happens: most of such devices run out of time."""
    slow = changed(("megabits_per_second = 500", "megabits_per_second = 50"))
    assert "sites[0].megabits_per_second" in warnings(slow)
    good, bad = (
        figures_of(s, devices=120, seed=1)["by_type"]["windows_autopilot"]["success_rate"]
        for s in (changed(), slow)
    )
    assert good > 0.9
    assert bad < 0.6


def test_a_cache_takes_the_load_off_the_line() -> None:
    slow = ("megabits_per_second = 500", "megabits_per_second = 50\ncache = {}")
    assert "sites[0].megabits_per_second" not in warnings(changed(slow))


def test_the_page_for_people_has_the_same_in_words(tmp_path: Path) -> None:
    path = tmp_path / "starter.toml"
    path.write_text(STARTER_TEXT.replace("timeout_minutes = 60", "timeout_minutes = 15"))
    result = CliRunner(mix_stderr=False).invoke(app, ["check", str(path)])
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == f"{path}: 2 warnings."
    assert "Windows (Autopilot), standard on notebook: 402 devices, Default ESP" in lines
    assert any("VPN Client" in line and "needs vcredist" in line for line in lines)
    assert any(line.startswith("  08:44") for line in lines)
    assert sum(line.startswith("Warning: profiles[0].") for line in lines) == 2


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.toml")), ids=lambda p: p.stem)
def test_every_shipped_scenario_has_a_plan(path: Path) -> None:
    scenario = load_scenario(path)
    plan = json.loads(json.dumps(plan_of(scenario)))
    assert sum(w["devices"] for w in plan["ways"]) == plan["looked_at"]
    assert sum(plan["by_profile"].values()) == plan["looked_at"]


def test_an_account_app_begins_after_device_setup_even_where_all_that_it_needs_was_there_before() -> (
    None
):
    """Windows without Autopilot has nothing but its items in account setup."""
    scenario = changed(
        ('type = "windows_autopilot"', 'type = "windows_manual"'),
        ('types = ["windows_autopilot"]', 'types = ["windows_manual"]'),
        ('windows_autopilot = "10.0.19045"\n', ""),
        ('"vpn-client"]', '"vpn-client", "notes"]'),
        ("block_until_complete = false", "block_until_complete = true"),
        (
            'id = "vcredist"',
            'id = "notes"\nname = "Notes"\ntypes = ["windows_manual"]\ncontext = "account"\ndepends_on = ["vcredist"]\n\n[[apps]]\nid = "vcredist"',
        ),
    )
    steps = {step["id"]: step for step in way(plan_of(scenario), "windows_manual")["steps"]}
    device = [s for s in steps.values() if s["phase"] == "device_setup"]
    assert steps["notes"]["begins_s"] >= max(s["begins_s"] + s["work_s"] for s in device) - 0.2
