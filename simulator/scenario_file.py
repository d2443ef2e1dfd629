"""Reads scenario files, and says in one sentence which key is wrong and what would be right."""

from __future__ import annotations

import difflib
import tomllib
import typing
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from agent.core.flows import BUILT_IN_STEPS, flow_of
from agent.core.person_screens import PERSON_SCREENS
from agent.wire.assignment import ITEMS_MAX, check_dependencies
from agent.wire.vocabulary import EnrollmentType
from simulator.graph_profiles import GraphFileRefused, with_graph_profiles
from simulator.scenario import CatalogueItem, Population, Scenario, assigned_item

SHIPPED = Path(__file__).parent / "scenarios"


class ScenarioRefused(Exception):
    """A scenario that can't be used; the message names file, key and remedy."""


def load_scenario(path: Path) -> Scenario:
    """Read one scenario.

    Raises:
        ScenarioRefused: it can't be read, or something in it is wrong.
    """
    try:
        with path.open("rb") as file:
            data = tomllib.load(file)
    except FileNotFoundError:
        raise ScenarioRefused(f"{path}: there is no such file; {_shipped()}") from None
    except OSError as error:
        raise ScenarioRefused(f"{path}: can't be read: {error.strerror}") from None
    except RecursionError:
        raise ScenarioRefused(f"{path}: is nested too deeply; write it flatter") from None
    except ValueError as error:
        raise ScenarioRefused(f"{path}: is not TOML: {error}; correct that line") from None
    try:
        return read_scenario(with_graph_profiles(data, path.parent), str(path))
    except GraphFileRefused as refused:
        raise ScenarioRefused(f"{path}: {refused}") from None


def read_scenario(data: Mapping[str, Any], file: str) -> Scenario:
    """The same for data that was parsed already; `file` is for the message."""
    for where, sentence in _unknown_keys(Scenario, data, ""):
        raise ScenarioRefused(f"{file}: {where}: {sentence}")
    try:
        scenario = Scenario.model_validate(data)
    except ValidationError as error:
        first = _telling(error.errors(include_url=False))
        raise ScenarioRefused(f"{file}: {_path(first['loc'])}: {_sentence(first)}") from None
    for where, sentence in _problems(scenario):
        raise ScenarioRefused(f"{file}: {where}: {sentence}")
    return scenario


def _shipped() -> str:
    names = ", ".join(sorted(path.name for path in SHIPPED.glob("*.toml")))
    return f"the scenarios that come with the simulator are {names} in simulator/scenarios"


# --- keys ---------------------------------------------------------------------------------------


def _unknown_keys(annotation: Any, value: Any, path: str) -> Iterator[tuple[str, str]]:
    """Walk data beside its model: the wire's own models let unknown fields pass, a file must not."""
    model = next(_models(annotation), None)
    if isinstance(value, list):
        for index, element in enumerate(value):
            yield from _unknown_keys(annotation, element, f"{path}[{index}]")
    elif isinstance(value, dict) and model is not None and not _is_mapping(annotation):
        fields = model.model_fields
        for key, inner in value.items():
            where = f"{path}.{key}" if path else key
            if key not in fields:
                yield where, f"unknown key; {_suggest(key, fields)}"
            else:
                yield from _unknown_keys(fields[key].annotation, inner, where)
    elif isinstance(value, dict) and model is not None:
        for key, inner in value.items():
            yield from _unknown_keys(model, inner, f"{path}.{key}")


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in typing.get_args(annotation):
        yield from _models(argument)


def _is_mapping(annotation: Any) -> bool:
    origin = typing.get_origin(annotation)
    if origin in (Union, UnionType, Annotated):
        return any(_is_mapping(argument) for argument in typing.get_args(annotation))
    return origin is dict


def _suggest(wrong: str, known: Iterable[str]) -> str:
    """The nearest word, or all of them when none is near."""
    words = sorted(known)
    near = difflib.get_close_matches(wrong, words, n=1, cutoff=0.6)
    return f"did you mean '{near[0]}'?" if near else f"use one of: {', '.join(words)}"


def _telling(errors: list[ErrorDetails]) -> ErrorDetails:
    """The first error; where several forms were possible, that of the form which fits furthest."""
    where = _path(errors[0]["loc"])
    alike = [error for error in errors if _path(error["loc"]).startswith(where)]
    return max(alike, key=lambda error: len(_path(error["loc"])))


def _path(location: tuple[int | str, ...]) -> str:
    """The key as a file has it, without pydantic's words for the forms that a value may have."""
    text = ""
    for part in location:
        if isinstance(part, int):
            text += f"[{part}]"
        elif "[" not in part:
            text += f".{part}" if text else part
    return text or "file"


# --- types and ranges ---------------------------------------------------------------------------

_EXPECTED = {
    "int_type": "expected a whole number",
    "int_parsing": "expected a whole number",
    "int_from_float": "expected a whole number",
    "float_type": "expected a number",
    "float_parsing": "expected a number",
    "string_type": "expected text in quotes",
    "bool_type": "expected true or false",
    "bool_parsing": "expected true or false",
    "tuple_type": "expected a list in [ ]",
    "dict_type": "expected a table",
    "too_short": "expected one entry at least",
    "model_type": "expected a table",
    "model_attributes_type": "expected a table",
}


def _sentence(error: ErrorDetails) -> str:
    kind, context, given = error["type"], error.get("ctx", {}), error["input"]
    match kind:
        case "missing":
            return "is missing; add it"
        case "enum" | "literal_error":
            known = [
                word.strip("' ") for word in context["expected"].replace(" or ", ", ").split(",")
            ]
            return f"'{given}' is not known; {_suggest(str(given), known)}"
        case "greater_than_equal" | "greater_than" | "less_than_equal" | "less_than":
            return f"{given} is out of range; it has to be {_bound(context)}"
        case "value_error":
            return str(context["error"])
        case "string_pattern_mismatch":
            return f"'{given}' has not the form that it needs: {_form(context['pattern'])}"
        case _ if kind in _EXPECTED:
            return f"{_EXPECTED[kind]}, found {_shown(given)}"
        case _:
            return f"{error['msg']}, found {_shown(given)}; correct it"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _bound(context: dict[str, Any]) -> str:
    words = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
    return next(f"{words[key]} {limit}" for key, limit in context.items() if key in words)


def _form(pattern: str) -> str:
    if "{n" in pattern.replace("\\", ""):
        return "a name with {n} or {n:06} for the number, as in DESKTOP-{n:06}"
    if pattern.endswith(r":[0-5][0-9]$"):
        return "a time of day with two digits for hours and minutes, as in 09:30"
    if pattern.startswith(r"^[0-9]"):
        return "numbers with points between them, as in 10.0.22631"
    return "letters, digits, points, dashes and underlines, a letter or digit at both ends"


# --- what belongs together ----------------------------------------------------------------------


def _problems(scenario: Scenario) -> Iterator[tuple[str, str]]:
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
            yield f"steps.{step}", f"unknown step; {_suggest(step, steps)}"
    for name, person in scenario.persons.items():
        for screen in person.screens:
            if screen not in PERSON_SCREENS:
                yield (
                    f"persons.{name}.screens.{screen}",
                    f"unknown screen; {_suggest(screen, PERSON_SCREENS)}",
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
                f"unknown person '{population.person}'; {_suggest(population.person, scenario.persons)}",
            )


def _hardware_problems(
    scenario: Scenario, population: Population, where: str
) -> Iterator[tuple[str, str]]:
    for name in population.hardware:
        if name not in scenario.hardware:
            known = (
                _suggest(name, scenario.hardware)
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
                        f"unknown hardware class '{name}'; {_suggest(name, scenario.hardware)}",
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
                yield where, f"unknown group '{name}'; {_suggest(name, groups)}"


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
                    f"unknown app '{app}'; {_suggest(app, apps)}",
                )
    if not any("All Devices" in entry.groups for entry in scenario.profiles):
        yield "profiles", "no profile is for 'All Devices', so some devices have none; add one"
