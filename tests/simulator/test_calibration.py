from __future__ import annotations

import pytest

from agent.wire.vocabulary import EnrollmentType
from simulator.population import fleet
from simulator.scenario_file import SHIPPED, load_scenario
from simulator.tally import Tally
from simulator.whatif import run_cohort

COMPANY = load_scenario(SHIPPED / "company.toml")
DEVICES = 3000


@pytest.fixture(scope="module")
def tally() -> Tally:
    return run_cohort(COMPANY, COMPANY.seed, 0, DEVICES)


@pytest.mark.parametrize("kind", EnrollmentType)
def test_the_company_comes_out_near_the_pages_figures(tally: Tally, kind: EnrollmentType) -> None:
    """Two percent for the rate, a tenth for the mean: what a fleet of this size can show."""
    target, figures = COMPANY.targets[kind], tally.of(kind)
    assert figures.success_rate == pytest.approx(target.success_rate, abs=0.02)
    assert figures.as_json()["minutes"]["mean"] == pytest.approx(target.minutes, rel=0.1)


def test_the_types_have_the_pages_proportions() -> None:
    page = {
        EnrollmentType.WINDOWS_AUTOPILOT: 4234,
        EnrollmentType.WINDOWS_MANUAL: 1234,
        EnrollmentType.MACOS_ADE: 567,
        EnrollmentType.IOS: 1456,
        EnrollmentType.ANDROID_ENTERPRISE: 965,
    }
    kinds = [device.facts.enrollment_type for device in fleet(COMPANY, 1, 1000)]
    for kind, total in page.items():
        assert kinds.count(kind) == pytest.approx(1000 * total / 8456, abs=3)


def test_the_profiles_are_the_pages() -> None:
    profiles = {entry.profile.name: entry for entry in COMPANY.profiles}
    described = {
        name: (len(entry.profile.blocking_apps), entry.profile.timeout_minutes, entry.groups)
        for name, entry in profiles.items()
    }
    assert described == {
        "Default ESP": (3, 60, ("All Devices",)),
        "Executive ESP": (5, 90, ("Executives",)),
        "Kiosk ESP": (2, 30, ("Kiosk Devices",)),
    }
    names = {app.id: app.name for app in COMPANY.apps}
    default = profiles["Default ESP"].profile.blocking_apps
    assert [names[app] for app in default] == ["Microsoft 365 Apps", "Company Portal", "VPN Client"]
