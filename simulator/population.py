"""Who and what a fleet is made of: device number n of a scenario, the same in every run, shard and fleet size."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from typing import Final

from agent.core.events import MINUTE_MS, DeviceFacts
from agent.wire.vocabulary import EnrollmentType
from simulator.draws import Draws, even_position, pick_at
from simulator.scenario import OperatingSystem, Person, Population, Scenario

ALL_DEVICES: Final = "All Devices"
AGENT_VERSION: Final = version("enrollment-agent")

_FIRST = [
    "john",
    "jane",
    "bob",
    "alice",
    "maria",
    "peter",
    "anna",
    "lucas",
    "emma",
    "noah",
    "olivia",
    "liam",
    "sofia",
    "ethan",
    "mia",
    "oliver",
    "ava",
    "elena",
    "james",
    "amara",
    "diego",
    "chen",
    "fatima",
    "yuki",
    "ivan",
    "leila",
    "omar",
    "priya",
    "kofi",
    "ingrid",
    "marco",
    "nina",
    "pavel",
    "rosa",
    "samir",
    "tomas",
    "uma",
    "victor",
    "wanda",
    "zoe",
]
_LAST = [
    "doe",
    "smith",
    "jones",
    "garcia",
    "miller",
    "davis",
    "lopez",
    "wilson",
    "moore",
    "taylor",
    "lee",
    "white",
    "harris",
    "clark",
    "lewis",
    "young",
    "king",
    "wright",
    "hill",
    "green",
    "adams",
    "baker",
    "nelson",
    "carter",
    "mitchell",
    "perez",
    "roberts",
    "turner",
    "phillips",
    "campbell",
    "parker",
    "evans",
    "edwards",
    "collins",
    "stewart",
    "morris",
    "rogers",
    "reed",
    "cook",
    "bell",
]


@dataclass(frozen=True, slots=True)
class SimulatedDevice:
    """One device with its person, as the scenario's draws made them."""

    index: int
    facts: DeviceFacts
    groups: frozenset[str]
    person: Person
    population: Population
    starts_at_ms: int
    megabits_per_second: float
    enrolled_with: str | None
    """The other user with whom it is enrolled already."""
    user_is_at_limit: bool
    draws: Draws

    @property
    def id(self) -> str:
        """The device's name, which is its id on the wire."""
        return self.facts.device


def fleet(scenario: Scenario, seed: int, devices: int) -> Iterator[SimulatedDevice]:
    """The first so many devices of a scenario."""
    for index in range(devices):
        yield simulated_device(scenario, seed, index)


def simulated_device(scenario: Scenario, seed: int, index: int) -> SimulatedDevice:
    """Device number `index`, from 0."""
    draws = Draws(seed, index)
    population = _population(scenario, seed, index)
    system = _system(population, draws)
    facts = _facts(scenario, population, system, index)
    admission = scenario.admission
    trouble = draws.uniform("admission")
    other = trouble < admission.different_user_share
    limit = not other and trouble < admission.different_user_share + admission.device_limit_share
    return SimulatedDevice(
        index=index,
        facts=facts,
        groups=frozenset(_groups(scenario, population.type, draws)),
        person=scenario.persons[population.person],
        population=population,
        starts_at_ms=_start(scenario, seed, index),
        megabits_per_second=draws.spread(
            scenario.network.megabits_per_second, scenario.network.spread, "bandwidth"
        ),
        enrolled_with=f"former.owner{index + 1}@{scenario.user_domain}" if other else None,
        user_is_at_limit=limit,
        draws=draws,
    )


def _population(scenario: Scenario, seed: int, index: int) -> Population:
    weights = {number: population.weight for number, population in enumerate(scenario.population)}
    return scenario.population[pick_at(even_position(seed, index, "population"), weights)]


def _system(population: Population, draws: Draws) -> OperatingSystem:
    weights = {number: system.weight for number, system in enumerate(population.os)}
    return population.os[draws.pick(weights, "os")]


def _facts(
    scenario: Scenario, population: Population, system: OperatingSystem, index: int
) -> DeviceFacts:
    return DeviceFacts(
        device=population.device.format(n=index + 1),
        enrollment_type=population.type,
        variant=population.variant,
        platform=system.name,
        os_version=system.version,
        agent_version=AGENT_VERSION,
        user=_user(scenario, index),
        manufacturer=population.manufacturer,
        model=population.model,
        serial=f"SIM{index + 1:09}",
        hardware=None if population.hardware is None else population.hardware.facts,
    )


def _user(scenario: Scenario, index: int) -> str:
    """Each device has a user of its own; the names repeat with a number behind them."""
    first, last = _FIRST[index % len(_FIRST)], _LAST[(index + index // len(_FIRST)) % len(_LAST)]
    again = index // (len(_FIRST) * len(_LAST))
    return f"{first}.{last}{again + 1 if again else ''}@{scenario.user_domain}"


def _groups(scenario: Scenario, kind: EnrollmentType, draws: Draws) -> Iterator[str]:
    yield ALL_DEVICES
    for group in scenario.groups:
        if kind in group.types and draws.chance(group.share, "group", group.name):
            yield group.name


def _start(scenario: Scenario, seed: int, index: int) -> int:
    match scenario.start.pattern:
        case "at_once":
            return 0
        case "even":
            share = even_position(seed, index, "start")
        case "morning":
            # A triangle: the sum of two positions is most often in the middle.
            draws = Draws(seed, index)
            share = (draws.uniform("start") + draws.uniform("start", "", 1)) / 2
    return int(share * scenario.start.over_minutes * MINUTE_MS)
