"""Who and what a fleet is made of: device number n of a scenario, the same in every run, shard and fleet size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import islice
from typing import Final

from agent.core.events import HOUR_MS, MINUTE_MS, DeviceFacts
from agent.wire.vocabulary import EnrollmentType
from simulator.draws import Draws, even_position, pick_at
from simulator.scenario import (
    HardwareClass,
    Network,
    OperatingSystem,
    Person,
    Population,
    Scenario,
    Site,
)
from simulator.user_names import user_name
from simulator.working_hours import after_working, time_of_day_ms

ALL_DEVICES: Final = "All Devices"
COHORT: Final = 100
"""Devices of a cohort where a scenario has no sites."""
AGENT_VERSION: Final = version("enrollment-agent")
_UNKNOWN: Final = HardwareClass()


@dataclass(frozen=True, slots=True)
class Cohort:
    """Neighbouring devices that may influence each other, and no others: what a shard takes whole.

    It is a small value that pickles cheaply; `devices_of` makes its devices.
    """

    number: int
    """Its place among the scenario's cohorts, from 0."""
    first: int
    """The index of its first device."""
    count: int
    site: int | None = None
    """The index of its site in the scenario; None when the scenario has none."""


@dataclass(frozen=True, slots=True)
class SimulatedDevice:
    """One device with its person, as the scenario's draws made them."""

    index: int
    facts: DeviceFacts
    groups: frozenset[str]
    person: Person
    population: Population
    hardware_class: str
    """The name of its hardware class; empty when the scenario says nothing of it."""
    hardware: HardwareClass
    starts_at_ms: int
    begins_ms: int
    """When the run begins, counted from the Monday at midnight before it."""
    network: Network
    megabits_per_second: float
    cohort: int
    """The number of its cohort."""
    site: Site | None
    """Where it is; the devices of one cohort share that site's line."""
    enrolled_with: str | None
    """The other user with whom it is enrolled already."""
    other_devices: int
    """How many devices its user had enrolled before the run."""
    draws: Draws

    @property
    def id(self) -> str:
        """The device's name, which is its id on the wire."""
        return self.facts.device

    @property
    def week_ms(self) -> int:
        """When it is switched on, counted from the Monday at midnight before the run."""
        return self.begins_ms + self.starts_at_ms

    @property
    def shares_a_line(self) -> bool:
        """True when the downloads of other devices change this one's."""
        return self.site is not None and self.site.megabits_per_second is not None


def cohorts(scenario: Scenario, seed: int, devices: int) -> Sequence[Cohort]:
    """The first so many devices of a scenario, divided into cohorts in the order of their devices.

    More devices make the last cohort larger and append others; they change no earlier one.
    """
    del seed
    found = []
    for cohort in _endless_cohorts(scenario):
        left = devices - cohort.first
        if left <= 0:
            break
        found.append(Cohort(cohort.number, cohort.first, min(left, cohort.count), cohort.site))
    return found


def _endless_cohorts(scenario: Scenario) -> Iterator[Cohort]:
    """One site after another, each time of the kind that lags most behind its weight."""
    first = number = 0
    made = [0] * len(scenario.sites)
    weights = [site.weight for site in scenario.sites]
    while True:
        site, count = None, COHORT
        if weights:
            # What it would have after this one, per weight: the smallest is furthest behind.
            site = min(
                (index for index, weight in enumerate(weights) if weight > 0),
                key=lambda i: ((made[i] + scenario.sites[i].devices) / weights[i], i),
            )
            count = scenario.sites[site].devices
            made[site] += count
        yield Cohort(number, first, count, site)
        first, number = first + count, number + 1


def cohort_of(scenario: Scenario, index: int) -> Cohort:
    """The cohort of one device, in a fleet that has all of it."""
    if not scenario.sites:
        return Cohort(index // COHORT, index // COHORT * COHORT, COHORT)
    return next(c for c in _endless_cohorts(scenario) if index < c.first + c.count)


def devices_of(scenario: Scenario, seed: int, cohort: Cohort) -> Iterator[SimulatedDevice]:
    """The devices of one cohort, by their index."""
    owners = islice(_owners(scenario, seed, cohort), cohort.count)
    for index, owner in enumerate(owners, cohort.first):
        yield _device(scenario, seed, index, cohort, owner)


def fleet(scenario: Scenario, seed: int, devices: int) -> Iterator[SimulatedDevice]:
    """The first so many devices of a scenario."""
    for cohort in cohorts(scenario, seed, devices):
        yield from devices_of(scenario, seed, cohort)


def simulated_device(scenario: Scenario, seed: int, index: int) -> SimulatedDevice:
    """Device number `index`, from 0."""
    cohort = cohort_of(scenario, index)
    place = index - cohort.first
    owner = next(islice(_owners(scenario, seed, cohort), place, None))
    return _device(scenario, seed, index, cohort, owner)


def _owners(scenario: Scenario, seed: int, cohort: Cohort) -> Iterator[int]:
    """For each device of the cohort, the index of its user's first device: neighbours have the same user."""
    weights = scenario.users.devices
    first = cohort.first
    while True:
        count = _number(weights, seed, first, "devices")
        yield from (first for _ in range(count))
        first += count


def _number(weights: dict[int, float], seed: int, owner: int, purpose: str) -> int:
    if len(weights) == 1:
        return next(iter(weights))
    return Draws(seed, f"user {owner}").pick(weights, purpose)


def _device(
    scenario: Scenario, seed: int, index: int, cohort: Cohort, owner: int
) -> SimulatedDevice:
    draws = Draws(seed, index)
    population = _population(scenario, seed, index)
    system = _system(population, draws)
    hardware_class = draws.pick(population.hardware, "hardware") if population.hardware else ""
    hardware = scenario.hardware.get(hardware_class, _UNKNOWN)
    site = None if cohort.site is None else scenario.sites[cohort.site]
    network = scenario.network if site is None or site.network is None else site.network
    return SimulatedDevice(
        index=index,
        facts=_facts(scenario, population, system, hardware, index, owner),
        groups=frozenset(_groups(scenario, population.type, draws)),
        person=scenario.persons[population.person],
        population=population,
        hardware_class=hardware_class,
        hardware=hardware,
        starts_at_ms=_start(scenario, seed, draws, index, cohort, site),
        begins_ms=time_of_day_ms(scenario.begins),
        network=network,
        megabits_per_second=draws.spread(network.megabits_per_second, network.spread, "bandwidth"),
        cohort=cohort.number,
        site=site,
        enrolled_with=_former_owner(scenario, draws, index),
        other_devices=_other_devices(scenario, seed, index, owner, population),
        draws=draws,
    )


def _other_devices(
    scenario: Scenario, seed: int, index: int, owner: int, population: Population
) -> int:
    """How many the user had before, who is of the archetype that goes with the first device of the run."""
    first = population if owner == index else _population(scenario, seed, owner)
    return _number(scenario.persons[first.person].other_devices, seed, owner, "other_devices")


def _former_owner(scenario: Scenario, draws: Draws, index: int) -> str | None:
    admission = scenario.admission
    if draws.chance(admission.reused, "reused") and draws.chance(
        admission.not_released, "not_released"
    ):
        return f"former.owner{index + 1}@{scenario.user_domain}"
    return None


def _population(scenario: Scenario, seed: int, index: int) -> Population:
    weights = {number: population.weight for number, population in enumerate(scenario.population)}
    return scenario.population[pick_at(even_position(seed, index, "population"), weights)]


def _system(population: Population, draws: Draws) -> OperatingSystem:
    weights = {number: system.weight for number, system in enumerate(population.os)}
    return population.os[draws.pick(weights, "os")]


def _facts(
    scenario: Scenario,
    population: Population,
    system: OperatingSystem,
    hardware: HardwareClass,
    index: int,
    owner: int,
) -> DeviceFacts:
    return DeviceFacts(
        device=population.device.format(n=index + 1),
        enrollment_type=population.type,
        variant=population.variant,
        platform=system.name,
        os_version=system.version,
        agent_version=AGENT_VERSION,
        user=f"{user_name(owner)}@{scenario.user_domain}",
        manufacturer=population.manufacturer,
        model=population.model,
        serial=f"SIM{index + 1:09}",
        hardware=hardware.facts,
    )


def _groups(scenario: Scenario, kind: EnrollmentType, draws: Draws) -> Iterator[str]:
    yield ALL_DEVICES
    for group in scenario.groups:
        if kind in group.types and draws.chance(group.share, "group", group.name):
            yield group.name


def _start(
    scenario: Scenario, seed: int, draws: Draws, index: int, cohort: Cohort, site: Site | None
) -> int:
    start = scenario.start if site is None or site.start is None else site.start
    place = index if site is None else index - cohort.first
    after_ms = round(start.after_minutes * MINUTE_MS)
    match start.pattern:
        case "at_once":
            return after_ms
        case "even":
            share = even_position(seed, index, "start")
        case "morning":
            # A triangle: the sum of two positions is most often in the middle.
            share = (draws.uniform("start") + draws.uniform("start", "", 1)) / 2
        case "rolling":
            begins_ms = time_of_day_ms(scenario.begins)
            work_ms = int((place + draws.uniform("start")) / start.per_hour * HOUR_MS)
            return after_working(start.hours, begins_ms + after_ms, work_ms) - begins_ms
        case "truckload":
            return after_ms + int((place + draws.uniform("start")) * start.seconds_apart * 1000)
    return after_ms + int(share * start.over_minutes * MINUTE_MS)
