"""Reads scenario files, and says in one sentence which key is wrong and what would be right."""

from __future__ import annotations

import json
import tomllib
import typing
from collections.abc import Iterator, Mapping
from datetime import date, time
from itertools import chain
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from simulator.graph_profiles import GraphFileRefused, with_graph_profiles
from simulator.scenario import Scenario
from simulator.scenario_problems import problems_of, suggest

SHIPPED = Path(__file__).parent / "scenarios"
_CONTROL = frozenset(chr(code) for code in (*range(32), *range(127, 160))) - frozenset("\n\t")


class ScenarioRefused(Exception):
    """A scenario that can't be used; the message names file, key and remedy, on one line whatever the file has."""

    def __init__(self, sentence: str) -> None:
        super().__init__("".join(c if c.isprintable() else repr(c)[1:-1] for c in sentence))


def load_scenario(path: Path) -> Scenario:
    """Read one scenario.

    Raises:
        ScenarioRefused: it can't be read, or something in it is wrong.
    """
    try:
        # Some editors begin a file with a byte order mark.
        data = tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    except FileNotFoundError:
        raise ScenarioRefused(f"{path}: there is no such file; {_shipped()}") from None
    except OSError as error:
        raise ScenarioRefused(
            f"{path}: can't be read: {error.strerror}; name the TOML file of a scenario"
        ) from None
    except RecursionError:
        raise ScenarioRefused(f"{path}: is nested too deeply; write it flatter") from None
    except UnicodeDecodeError:
        raise ScenarioRefused(f"{path}: is not UTF-8 text; save it as UTF-8") from None
    except ValueError as error:
        raise ScenarioRefused(f"{path}: is not TOML: {_syntax(error)}; correct that line") from None
    try:
        return read_scenario(with_graph_profiles(data, path.parent), str(path))
    except GraphFileRefused as refused:
        raise ScenarioRefused(f"{path}: {refused}") from None


def read_scenario(data: Mapping[str, Any], file: str) -> Scenario:
    """The same for data that was parsed already; `file` is for the message."""
    try:
        for where, sentence in chain(_unknown_keys(Scenario, data, ""), _unusable_values(data, "")):
            raise ScenarioRefused(f"{file}: {where}: {sentence}")
        # As JSON it can be read strictly, so that a number in quotes is a mistake here as it is in an editor.
        scenario = Scenario.model_validate_json(json.dumps(data), strict=True)
    except RecursionError:
        raise ScenarioRefused(f"{file}: is nested too deeply; write it flatter") from None
    except ValidationError as error:
        first = _telling(error.errors(include_url=False))
        raise ScenarioRefused(f"{file}: {_path(first['loc'])}: {_sentence(first)}") from None
    for where, sentence in problems_of(scenario):
        raise ScenarioRefused(f"{file}: {where}: {sentence}")
    return scenario


def _syntax(error: ValueError) -> str:
    """What the parser found, where its own words leave the person guessing."""
    words = {
        "Cannot overwrite a value": "a key is there twice",
        "Cannot declare": "a table is there twice",
        "Illegal character '\\n'": "a quote is not closed",
    }
    found = str(error)
    for theirs, ours in words.items():
        if found.startswith(theirs):
            return f"{ours} {found[found.rindex('(') :]}"
    return found


def _shipped() -> str:
    names = ", ".join(sorted(path.name for path in SHIPPED.glob("*.toml")))
    return f"the scenarios that come with the simulator are {names} in simulator/scenarios"


# --- keys ---------------------------------------------------------------------------------------


def _unknown_keys(annotation: Any, value: Any, path: str) -> Iterator[tuple[str, str]]:
    """Walk data beside its model: the wire's own models let unknown fields pass, a file must not."""
    model = next(_models(annotation), None)
    if isinstance(value, list):
        for index, element in enumerate(value):
            yield from _unknown_keys(model, element, f"{path}[{index}]")
    elif isinstance(value, dict) and _is_list(annotation):
        return
    elif isinstance(value, dict) and model is not None and not _is_mapping(annotation):
        fields = model.model_fields
        for key, inner in value.items():
            where = f"{path}.{key}" if path else key
            if key not in fields:
                yield where, f"unknown key; {suggest(key, fields)}"
            else:
                yield from _unknown_keys(fields[key].annotation, inner, where)
    elif isinstance(value, dict) and model is not None:
        for key, inner in value.items():
            yield from _unknown_keys(model, inner, f"{path}.{key}")


def _unusable_values(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """What TOML has and no key takes: its dates and times, and characters that would steer a terminal."""
    if isinstance(value, date | time):
        of_toml = f"{value.isoformat()} is a date or time of TOML, which no key takes"
        yield path, f'{of_toml}; a time of day stands in quotes, as in "09:30"'
    elif isinstance(value, str):
        control = next((c for c in value if c in _CONTROL), None)
        if control is not None:
            yield path, f"has the control character {control!r}; remove it"
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _unusable_values(inner, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _unusable_values(inner, f"{path}[{index}]")


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


def _is_list(annotation: Any) -> bool:
    return typing.get_origin(annotation) is tuple


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
            return f"'{given}' is not known; {suggest(str(given), known)}"
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
    text = repr(value) if isinstance(value, str) else json.dumps(value)
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
