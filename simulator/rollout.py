"""What the administrator of a scenario decided: who gets which profile and items, and who is refused."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from agent.core.events import HOUR_MS, MINUTE_MS, Limits
from agent.wire.assignment import Admitted, AssignedItem, PersonScreens
from agent.wire.vocabulary import EnrollmentType
from collector.admission import AdmissionRules, Standing
from simulator.population import SimulatedDevice
from simulator.scenario import AssignedKind, CatalogueItem, Scenario, assigned_item
from simulator.step_times import step_seconds


class Rollout:
    """The decisions of one scenario; made once for a whole fleet."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.rules = AdmissionRules(
            device_limit=scenario.admission.device_limit,
            minimum_os=dict(scenario.admission.minimum_os),
        )
        self.limits = limits_of(scenario)
        self._offers: dict[tuple[EnrollmentType, frozenset[str]], Admitted] = {}

    def offer(self, device: SimulatedDevice) -> Admitted:
        """What this device gets when it is admitted: the highest-priority profile of its groups, and its items."""
        key = (device.facts.enrollment_type, device.groups)
        if key not in self._offers:
            self._offers[key] = self._make_offer(*key)
        return self._offers[key].model_copy(update={"user": device.facts.user})

    def standing(self, device: SimulatedDevice) -> Standing:
        """What is known about the device and its user before they apply."""
        others = self.scenario.admission.device_limit if device.user_is_at_limit else 0
        return Standing(owner=device.enrolled_with, other_devices=others)

    def items(self, enrollment_type: EnrollmentType) -> tuple[AssignedItem, ...]:
        """What devices of this type get, in the catalogue's order."""
        return tuple(
            assigned_item(kind, item, self._expected_s(kind, item, enrollment_type))
            for kind, item in self.scenario.items_of(enrollment_type)
        )

    def screens(self, enrollment_type: EnrollmentType) -> PersonScreens:
        """The optional person screens of this type."""
        return self.scenario.screens.get(enrollment_type, PersonScreens())

    def _make_offer(self, enrollment_type: EnrollmentType, groups: frozenset[str]) -> Admitted:
        chosen = min(
            (entry for entry in self.scenario.profiles if groups.intersection(entry.groups)),
            key=lambda entry: entry.priority,
        )
        return Admitted(
            organization=self.scenario.organization,
            profile=chosen.profile,
            items=self.items(enrollment_type),
            screens=self.screens(enrollment_type),
        )

    def _expected_s(
        self, kind: AssignedKind, item: CatalogueItem, enrollment_type: EnrollmentType
    ) -> int:
        """The median time of this item on the type's usual hardware and the usual network."""
        download_s = item.size_bytes * 8 / 1e6 / self.scenario.network.megabits_per_second
        work_s = step_seconds(item.id, kind) if item.time is None else item.time.median_s
        return max(1, round(download_s + work_s / self._pace(enrollment_type)))

    def _pace(self, enrollment_type: EnrollmentType) -> float:
        """The pace of half of the type's devices at least; 1 when the scenario has none of it."""
        paces = sorted(
            (population.pace, population.weight)
            for population in self.scenario.population
            if population.type is enrollment_type
        )
        half = sum(weight for _, weight in paces) / 2
        for pace, weight in paces:
            half -= weight
            if half <= 0:
                return pace
        return 1


def limits_of(scenario: Scenario) -> Limits:
    """The machine's limits under this scenario."""
    limits = scenario.limits
    return Limits(
        assignment_wait_ms=round(limits.assignment_wait_minutes * MINUTE_MS),
        nobody_comes_back_ms=round(limits.nobody_comes_back_minutes / 60 * HOUR_MS),
    )


def collector_setup(rollout: Rollout, devices: Iterable[SimulatedDevice]) -> dict[str, Any]:
    """The same decisions as the content of a collector's setup file, for these devices."""
    scenario = rollout.scenario
    members: dict[str, list[str]] = {group.name: [] for group in scenario.groups}
    enrolled: dict[str, str] = {}
    for device in devices:
        for group in device.groups & members.keys():
            members[group].append(device.id)
        if device.enrolled_with is not None:
            enrolled[device.id] = device.enrolled_with
        if device.user_is_at_limit and device.facts.user is not None:
            for number in range(1, scenario.admission.device_limit + 1):
                enrolled[f"{device.id}-OTHER{number:03}"] = device.facts.user
    return {
        "organization": scenario.organization,
        "admission": rollout.rules.model_dump(mode="json"),
        "profiles": [
            {
                **entry.profile.model_dump(mode="json", exclude={"graph"}),
                "assigned_groups": list(entry.groups),
                "priority": entry.priority,
            }
            for entry in scenario.profiles
        ],
        "catalogue": {
            enrollment_type.value: {
                "items": [i.model_dump(mode="json") for i in rollout.items(enrollment_type)],
                "screens": rollout.screens(enrollment_type).model_dump(mode="json"),
            }
            for enrollment_type in EnrollmentType
        },
        "groups": {name: {"devices": devices_in} for name, devices_in in members.items()},
        "enrolled": enrolled,
    }
