"""What is wrong between the parts of a scenario, each of which is right for itself."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator

from agent.core.flows import BUILT_IN_STEPS, flow_of
from agent.core.person_screens import PERSON_SCREENS
from agent.wire.assignment import ITEMS_MAX, check_dependencies
from agent.wire.vocabulary import EnrollmentType
from simulator.scenario import CatalogueItem, Population, Scenario, assigned_item


def suggest(wrong: str, known: Iterable[str]) -> str:
    """The nearest word, or all of them when none is near."""
    words = sorted(known)
    near = difflib.get_close_matches(wrong, words, n=1, cutoff=0.6)
    return f"did you mean '{near[0]}'?" if near else f"use one of: {', '.join(words)}"


def problems_of(scenario: Scenario) -> Iterator[tuple[str, str]]:
    """Each problem: the key, and a sentence with the remedy."""
    yield from _population_problems(scenario)
    yield from _group_problems(scenario)
    yield from _item_problems(scenario)
    yield from _fault_problems(scenario)
    yield from _site_problems(scenario)
    yield from _hours_problems(scenario)
    yield from _user_problems(scenario)
    yield from _profile_problems(scenario)
    steps = BUILT_IN_STEPS.keys() - PERSON_SCREENS.keys()
    for step in scenario.steps:
        if step in PERSON_SCREENS:
            yield (
                f"steps.{step}",
                f"is a person's screen; write it under persons.NAME.screens.{step}",
            )
        elif step not in steps:
            yield f"steps.{step}", f"unknown step; {suggest(step, steps)}"
    for name, person in scenario.persons.items():
        for screen in person.screens:
            if screen not in PERSON_SCREENS:
                yield (
                    f"persons.{name}.screens.{screen}",
                    f"unknown screen; {suggest(screen, PERSON_SCREENS)}",
                )


def _population_problems(scenario: Scenario) -> Iterator[tuple[str, str]]:
    if sum(population.weight for population in scenario.population) <= 0:
        yield "population[0].weight", "all weights are 0; give one population more than 0"
    for index, population in enumerate(scenario.population):
        try:
            flow_of(population.type, population.variant)
        except ValueError as error:
            yield f"population[{index}].variant", str(error)
        if sum(version.weight for version in population.os) <= 0:
            yield f"population[{index}].os", "all weights are 0; give one version more than 0"
        yield from _hardware_problems(scenario, population, f"population[{index}].hardware")
        if population.person not in scenario.persons:
            yield (
                f"population[{index}].person",
                f"unknown person '{population.person}'; {suggest(population.person, scenario.persons)}",
            )


def _hardware_problems(
    scenario: Scenario, population: Population, where: str
) -> Iterator[tuple[str, str]]:
    for name in population.hardware:
        if name not in scenario.hardware:
            known = (
                suggest(name, scenario.hardware)
                if scenario.hardware
                else f"describe it under [hardware.{name}]"
            )
            yield f"{where}.{name}", f"unknown hardware class '{name}'; {known}"
    if population.hardware and sum(population.hardware.values()) <= 0:
        yield where, "all weights are 0; give one class more than 0"


def _fault_problems(scenario: Scenario) -> Iterator[tuple[str, str]]:
    lists = {
        "policies": scenario.policies,
        "certificates": scenario.certificates,
        "networks": scenario.networks,
        "apps": scenario.apps,
    }
    holders = [
        (f"{key}[{index}]", item.faults)
        for key, items in lists.items()
        for index, item in enumerate(items)
    ]
    holders += [(f"steps.{name}", step.faults) for name, step in scenario.steps.items()]
    for holder, faults in holders:
        for number, fault in enumerate(faults):
            for name in fault.hardware:
                if name not in scenario.hardware:
                    yield (
                        f"{holder}.faults[{number}].hardware",
                        f"unknown hardware class '{name}'; {suggest(name, scenario.hardware)}",
                    )


def _site_problems(scenario: Scenario) -> Iterator[tuple[str, str]]:
    if scenario.sites and sum(site.weight for site in scenario.sites) <= 0:
        yield "sites[0].weight", "all weights are 0; give one site more than 0"
    names: dict[str, int] = {}
    for index, site in enumerate(scenario.sites):
        where = f"sites[{index}]"
        if site.name in names:
            first = f"sites[{names[site.name]}]"
            yield f"{where}.name", f"'{site.name}' is {first}'s already; give each its own"
        names[site.name] = index
        if site.cache is not None and site.megabits_per_second is None:
            yield (
                f"{where}.cache",
                "a cache needs a line that it takes load off; add megabits_per_second, or remove cache",
            )


def _hours_problems(scenario: Scenario) -> Iterator[tuple[str, str]]:
    hours = {f"persons.{name}.hours": person.hours for name, person in scenario.persons.items()}
    hours["start.hours"] = scenario.start.hours
    for index, site in enumerate(scenario.sites):
        hours[f"sites[{index}].start.hours"] = None if site.start is None else site.start.hours
    for where, given in hours.items():
        if given is not None and given.end <= given.begin:
            yield (
                f"{where}.end",
                f"'{given.end}' is not later than begin, '{given.begin}'; exchange them",
            )


def _user_problems(scenario: Scenario) -> Iterator[tuple[str, str]]:
    shares = {"users.devices": scenario.users.devices}
    for name, person in scenario.persons.items():
        shares[f"persons.{name}.other_devices"] = person.other_devices
    for where, weights in shares.items():
        if sum(weights.values()) <= 0:
            yield where, "all weights are 0; give one number more than 0"


def _group_problems(scenario: Scenario) -> Iterator[tuple[str, str]]:
    groups = {"All Devices", *(group.name for group in scenario.groups)}
    for index, entry in enumerate(scenario.profiles):
        for name in entry.groups:
            if name not in groups:
                where = f"profiles[{index}].groups"
                yield where, f"unknown group '{name}'; {suggest(name, groups)}"


def _item_problems(scenario: Scenario) -> Iterator[tuple[str, str]]:
    lists: dict[str, tuple[CatalogueItem, ...]] = {
        "policies": scenario.policies,
        "certificates": scenario.certificates,
        "networks": scenario.networks,
        "apps": scenario.apps,
    }
    for key, listed in lists.items():
        for index, item in enumerate(listed):
            if item.id in BUILT_IN_STEPS:
                yield (
                    f"{key}[{index}].id",
                    f"'{item.id}' is a step of a platform; give the item another id",
                )
    for kind in EnrollmentType:
        count = len(scenario.items_of(kind))
        if count > ITEMS_MAX:
            yield (
                "apps",
                f"devices of type {kind.value} get {count} items and {ITEMS_MAX} is the limit; remove some",
            )
    for kind in EnrollmentType:
        items = scenario.items_of(kind)
        try:
            check_dependencies(tuple(assigned_item(k, item, 0) for k, item in items))
        except ValueError as error:
            yield "apps", f"{error} (devices of type {kind.value})"


def _profile_problems(scenario: Scenario) -> Iterator[tuple[str, str]]:
    apps = {app.id for app in scenario.apps}
    seen: dict[int, int] = {}
    for index, entry in enumerate(scenario.profiles):
        where = f"profiles[{index}]"
        if entry.priority in seen:
            yield (
                f"{where}.priority",
                f"{entry.priority} is profiles[{seen[entry.priority]}]'s already; give each its own",
            )
        seen[entry.priority] = index
        for app in () if entry.profile.blocking_apps == "all" else entry.profile.blocking_apps:
            if app not in apps:
                yield (
                    f"{where}.profile.blocking_apps",
                    f"unknown app '{app}'; {suggest(app, apps)}",
                )
    if not any("All Devices" in entry.groups for entry in scenario.profiles):
        yield "profiles", "no profile is for 'All Devices', so some devices have none; add one"
