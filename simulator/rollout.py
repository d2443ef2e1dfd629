"""What the administrator of a scenario decided: who gets which profile and items, and who is refused."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

from agent.core.blueprints import SharedBlueprints
from agent.core.events import HOUR_MS, MINUTE_MS, Limits
from agent.wire.assignment import Admitted, AssignedItem, PersonScreens
from agent.wire.vocabulary import EnrollmentType, Variant
from collector.admission import AdmissionRules, Standing
from simulator.habitat import Habitat
from simulator.population import SimulatedDevice
from simulator.scenario import AssignedKind, CatalogueItem, Population, Scenario, assigned_item
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
        self.blueprints = SharedBlueprints()
        self._offers: dict[tuple[EnrollmentType, frozenset[str]], Admitted] = {}
        self._habitats: dict[tuple[EnrollmentType, Variant, str], Habitat] = {}

    def habitat(self, device: SimulatedDevice) -> Habitat:
        """What this device runs in; neighbours of a type, variant and hardware class have most of it in common."""
        key = (device.facts.enrollment_type, device.facts.variant, device.hardware_class)
        neighbour = self._habitats.get(key)
        habitat = Habitat.of(self.scenario, device, neighbour)
        if neighbour is None:
            self._habitats[key] = habitat
        return habitat

    def offer(self, device: SimulatedDevice) -> Admitted:
        """What this device gets when it is admitted: the highest-priority profile of its groups, and its items."""
        key = (device.facts.enrollment_type, device.groups)
        if key not in self._offers:
            self._offers[key] = self._make_offer(*key)
        return self._offers[key].model_copy(update={"user": device.facts.user})

    def standing(self, device: SimulatedDevice, enrolled: int = 0) -> Standing:
        """What is known about the device and its user when they apply.

        `enrolled` counts the user's other devices that were enrolled or are enrolling in this run.
        """
        return Standing(owner=device.enrolled_with, other_devices=device.other_devices + enrolled)

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
        """The pace in the middle of the type's devices, their geometric mean; 1 when the scenario has none of it."""
        paces = [
            (pace, population.weight * share)
            for population in self.scenario.population
            if population.type is enrollment_type
            for pace, share in self._paces(population)
        ]
        whole = sum(weight for _, weight in paces)
        return math.prod(pace ** (weight / whole) for pace, weight in paces) if whole else 1.0

    def _paces(self, population: Population) -> Iterator[tuple[float, float]]:
        """The paces of a population's devices, each with its share of them."""
        whole = sum(population.hardware.values())
        for name, weight in population.hardware.items():
            yield self.scenario.hardware[name].pace, weight / whole
        if not population.hardware:
            yield 1, 1


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
    users: set[str] = set()
    for device in devices:
        for group in device.groups & members.keys():
            members[group].append(device.id)
        if device.enrolled_with is not None:
            enrolled[device.id] = device.enrolled_with
        if device.facts.user is not None and device.facts.user not in users:
            users.add(device.facts.user)
            for number in range(1, device.other_devices + 1):
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
