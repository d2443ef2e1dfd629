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
from agent.wire.assignment import check_dependencies
from agent.wire.vocabulary import EnrollmentType
from simulator.scenario import Scenario, assigned_item

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
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ScenarioRefused(f"{path}: is not TOML: {error}; correct that line") from None
    return read_scenario(data, str(path))


def read_scenario(data: Mapping[str, Any], file: str) -> Scenario:
    """The same for data that was parsed already; `file` is for the message."""
    for where, sentence in _unknown_keys(Scenario, data, ""):
        raise ScenarioRefused(f"{file}: {where}: {sentence}")
    try:
        scenario = Scenario.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
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


def _path(location: tuple[int | str, ...]) -> str:
    text = ""
    for part in location:
        if isinstance(part, int):
            text += f"[{part}]"
        elif part != "[key]":
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
    if pattern.startswith(r"^\d"):
        return "numbers with points between them, as in 10.0.22631"
    return "letters, digits, points, dashes and underlines, a letter or digit at both ends"


# --- what belongs together ----------------------------------------------------------------------


def _problems(scenario: Scenario) -> Iterator[tuple[str, str]]:
    yield from _population_problems(scenario)
    yield from _group_problems(scenario)
    yield from _item_problems(scenario)
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
        if population.person not in scenario.persons:
            yield (
                f"population[{index}].person",
                f"unknown person '{population.person}'; {_suggest(population.person, scenario.persons)}",
            )


def _group_problems(scenario: Scenario) -> Iterator[tuple[str, str]]:
    groups = {"All Devices", *(group.name for group in scenario.groups)}
    for index, entry in enumerate(scenario.profiles):
        for name in entry.groups:
            if name not in groups:
                where = f"profiles[{index}].groups"
                yield where, f"unknown group '{name}'; {_suggest(name, groups)}"


def _item_problems(scenario: Scenario) -> Iterator[tuple[str, str]]:
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
