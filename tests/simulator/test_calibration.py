from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest

from agent.core.effects import Effect, Report
from agent.core.events import Event
from agent.wire.events import AttemptEnded
from agent.wire.vocabulary import SUCCESS_STATES, EnrollmentType, FailureKind
from simulator.cohort import enroll_cohort
from simulator.counting import DeviceTally
from simulator.device import VirtualDevice
from simulator.population import Cohort, fleet, simulated_device
from simulator.rollout import Rollout
from simulator.scenario import Duration, HardwareClass, Scenario
from simulator.scenario_file import SHIPPED, load_scenario
from simulator.tally import Tally
from simulator.whatif.figures import type_figures

COMPANY = load_scenario(SHIPPED / "company.toml")
DEVICES = 2000
TIMED = 200
"""Devices of which the times are compared with and without a cause: they are the same ones, so that few are enough."""


@dataclass
class Fleet:
    """What became of some devices."""

    tally: Tally = field(default_factory=Tally)
    failed: dict[int, list[FailureKind]] = field(default_factory=dict)
    """What attempts failed of, by the index of the device."""

    def minutes(self, kind: EnrollmentType) -> float:
        found = type_figures(self.tally.of(kind))["minutes"]["mean"]
        assert isinstance(found, float)
        return found


class Watch(DeviceTally):
    """Counts, and notes what the attempts of one device failed of."""

    def __init__(self, fleet: Fleet, device: VirtualDevice) -> None:
        super().__init__(fleet.tally, device)
        self._failed = fleet.failed.setdefault(device.device.index, [])

    def watch(self, at_ms: int, event: Event, effects: Sequence[Effect]) -> None:
        super().watch(at_ms, event, effects)
        for effect in effects:
            body = effect.body if isinstance(effect, Report) else None
            if isinstance(body, AttemptEnded) and body.failure is not None:
                self._failed.append(body.failure.kind)


def enrolled(scenario: Scenario, devices: int) -> Fleet:
    found = Fleet()
    cohort = Cohort(0, 0, devices)
    enroll_cohort(Rollout(scenario), scenario.seed, cohort, lambda device: Watch(found, device))
    return found


@pytest.fixture(scope="module")
def company() -> Fleet:
    return enrolled(COMPANY, DEVICES)


@pytest.fixture(scope="module")
def some() -> Fleet:
    return enrolled(COMPANY, TIMED)


@pytest.mark.parametrize("kind", EnrollmentType)
def test_the_company_comes_out_near_the_pages_figures(company: Fleet, kind: EnrollmentType) -> None:
    """Three standard errors for the rate, a tenth for the mean: what a fleet of this size can show."""
    target, figures = COMPANY.targets[kind], company.tally.of(kind)
    variance = target.success_rate * (1 - target.success_rate) / figures.devices
    assert figures.success_rate == pytest.approx(target.success_rate, abs=3 * math.sqrt(variance))
    assert company.minutes(kind) == pytest.approx(target.minutes, rel=0.1)


Change = Callable[[Scenario], Scenario]


def without_persons(**habits: object) -> Change:
    def change(scenario: Scenario) -> Scenario:
        persons = {
            name: person.model_copy(update={k: v for k, v in habits.items() if k != "screens"})
            for name, person in scenario.persons.items()
        }
        if "screens" in habits:
            persons = {n: p.model_copy(update={"screens": {}}) for n, p in persons.items()}
        return scenario.model_copy(update={"persons": persons})

    return change


def with_network(**changes: float) -> Change:
    def change(scenario: Scenario) -> Scenario:
        return scenario.model_copy(update={"network": scenario.network.model_copy(update=changes)})

    return change


def on_one_hardware(scenario: Scenario) -> Scenario:
    classes = {name: HardwareClass(pace=1) for name in scenario.hardware}
    return scenario.model_copy(update={"hardware": classes})


def with_every_version(scenario: Scenario) -> Scenario:
    rules = scenario.admission.model_copy(update={"minimum_os": {}})
    return scenario.model_copy(update={"admission": rules})


def without_the_largest_app(scenario: Scenario) -> Scenario:
    apps = tuple(
        app.model_copy(update={"size_mb": 0, "time": None}) if app.id == "m365-apps" else app
        for app in scenario.apps
    )
    return scenario.model_copy(update={"apps": apps})


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (without_persons(other_devices={0: 1.0}), FailureKind.DEVICE_LIMIT_EXCEEDED),
        (with_every_version, FailureKind.OS_NOT_SUPPORTED),
        (without_persons(halt={}, screens={}), FailureKind.USER_CANCELLED),
        (with_network(weak=0, failure=0), FailureKind.NETWORK_TIMEOUT),
    ],
    ids=["few devices", "every version", "willing people", "a good network"],
)
def test_each_reason_follows_from_its_cause(
    company: Fleet, change: Change, reason: FailureKind
) -> None:
    """The devices that fail of it, enrolled once more without its cause, fail of it no more, and most succeed."""
    failed = [index for index, kinds in company.failed.items() if reason in kinds]
    assert failed
    scenario = change(COMPANY)
    states = []
    for index in failed:
        again = VirtualDevice(Rollout(scenario), simulated_device(scenario, COMPANY.seed, index))
        found = Fleet()
        again.run(Watch(found, again).watch)
        assert reason not in found.failed[index]
        states.append(again.end_state)
    assert sum(state in SUCCESS_STATES for state in states) >= 0.8 * len(failed)


@pytest.mark.parametrize(
    ("change", "kinds"),
    [
        (on_one_hardware, (EnrollmentType.WINDOWS_AUTOPILOT, EnrollmentType.WINDOWS_MANUAL)),
        (with_network(megabits_per_second=3000.0), (EnrollmentType.WINDOWS_AUTOPILOT,)),
        (without_the_largest_app, (EnrollmentType.WINDOWS_AUTOPILOT, EnrollmentType.MACOS_ADE)),
        (
            without_persons(answer=Duration(median_s=1), words_per_minute=None, screens={}),
            (EnrollmentType.IOS, EnrollmentType.ANDROID_ENTERPRISE, EnrollmentType.MACOS_ADE),
        ),
    ],
    ids=["hardware", "network", "apps", "people"],
)
def test_the_times_follow_from_hardware_network_apps_and_people(
    some: Fleet, change: Change, kinds: Sequence[EnrollmentType]
) -> None:
    """The same devices without the cause are through at least a twentieth sooner."""
    changed = enrolled(change(COMPANY), TIMED)
    for kind in kinds:
        assert changed.minutes(kind) < 0.95 * some.minutes(kind)


def test_no_enrollment_type_has_a_time_or_hardware_that_is_its_own_answer() -> None:
    """Whatever a type's items take, they take for all types that get them; what differs is what devices are made of."""
    shared = [app for app in COMPANY.apps if len(app.types) > 1]
    assert len(shared) >= 6
    assert all(len(population.hardware) > 1 for population in COMPANY.population)


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
