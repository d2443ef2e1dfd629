"""The scenario language as a JSON Schema, so that an editor explains, completes and checks a scenario while it is written."""

from __future__ import annotations

import ast
import inspect
import json
import typing
from collections.abc import Iterator
from functools import cache
from types import ModuleType
from typing import Any, Final

from pydantic import BaseModel

from agent.core.flows import BUILT_IN_STEPS
from agent.core.person_screens import PERSON_SCREENS
from simulator.scenario import Scenario

DRAFT: Final = "https://json-schema.org/draft/2020-12/schema"
DEFS: Final = "#/$defs/"

_UNITS: Final = {
    "_s": "seconds",
    "minutes": "minutes",
    "_mb": "MiB",
    "_mhz": "MHz",
    "megabits_per_second": "Mbit/s",
    "words_per_minute": "words a minute",
    "per_hour": "devices an hour",
    "seconds_apart": "seconds",
    "weight": "weight",
    "speed": "times as fast as life",
    "pace": "times as fast as usual",
    "spread": "factor",
}
"""The unit that a key's name ends with."""


def scenario_schema() -> dict[str, Any]:
    """The schema of a scenario file.

    It is pydantic's schema of the model, with the fields' docstrings as descriptions, their units, no null (which TOML
    does not have) and no key that the model does not know.
    """
    schema = Scenario.model_json_schema()
    models = {model.__name__: model for model in models_of(Scenario)}
    shown = {"Scenario": schema, **schema["$defs"]}
    for name, definition in shown.items():
        if name in models:
            _describe(models[name], definition, shown)
    screens = sorted(PERSON_SCREENS)
    steps = sorted(BUILT_IN_STEPS.keys() - PERSON_SCREENS.keys())
    schema["properties"]["steps"]["propertyNames"] = {"enum": steps}
    shown["Person"]["properties"]["screens"]["propertyNames"] = {"enum": screens}
    profile = shown["ScenarioProfile"]["properties"]["profile"]
    profile["anyOf"] = [{"$ref": profile.pop("$ref")}, {"type": "string"}]
    return {"$schema": DRAFT, **schema}


def schema_text() -> str:
    """The schema as its file has it."""
    return json.dumps(scenario_schema(), indent=2, ensure_ascii=False) + "\n"


def models_of(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """The model and every model in it, each once."""
    seen: dict[type[BaseModel], None] = {}
    waiting = [model]
    while waiting:
        found = waiting.pop()
        if found not in seen:
            seen[found] = None
            waiting.extend(m for f in found.model_fields.values() for m in models_in(f.annotation))
    return iter(seen)


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models that an annotation names."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in typing.get_args(annotation):
        yield from models_in(argument)


def docstrings_of(model: type[BaseModel]) -> dict[str, str]:
    """What stands below each field of a model, by the field's name."""
    found: dict[str, str] = {}
    for base in reversed(model.__mro__):
        if base is not BaseModel and issubclass(base, BaseModel):
            module = inspect.getmodule(base)
            assert module is not None, "a model is made in a module"
            found |= _docstrings(module).get(base.__name__, {})
    return found


@cache
def _docstrings(module: ModuleType) -> dict[str, dict[str, str]]:
    """The docstrings of the fields of all classes of a module; Python itself forgets them."""
    classes = [n for n in ast.parse(inspect.getsource(module)).body if isinstance(n, ast.ClassDef)]
    return {known.name: dict(_below_fields(known)) for known in classes}


def _below_fields(known: ast.ClassDef) -> Iterator[tuple[str, str]]:
    for field, below in zip(known.body, known.body[1:], strict=False):
        match field, below:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                yield name, " ".join(text.split())
            case _:
                pass


def unit_of(key: str, value: dict[str, Any]) -> str:
    """The unit of a key's value; empty when it has none."""
    if value.get("type") not in ("number", "integer"):
        return ""
    for ending, unit in _UNITS.items():
        if key.endswith(ending):
            return unit
    is_share = value.get("minimum") == 0 and value.get("maximum") == 1
    return "share, 0 to 1" if is_share else ""


def _describe(
    model: type[BaseModel], definition: dict[str, Any], shown: dict[str, dict[str, Any]]
) -> None:
    """Turn pydantic's account of one model into what an editor shows."""
    texts = docstrings_of(model)
    definition["additionalProperties"] = False
    definition["description"] = " ".join((model.__doc__ or "").split())
    definition.pop("title", None)
    properties = definition["properties"]
    for key, value in properties.items():
        value = properties[key] = _without_null(value)  # noqa: PLW2901
        value.pop("title", None)
        unit = unit_of(key, value)
        sentences = (texts.get(key, ""), f"Unit: {unit}." if unit else "")
        value["description"] = " ".join(sentence for sentence in sentences if sentence)
        if "default" in value and _says_nothing(value, shown):
            del value["default"]


def _without_null(value: dict[str, Any]) -> dict[str, Any]:
    """The same without null as a choice and as a default."""
    if "anyOf" not in value:
        return value
    rest = {k: v for k, v in value.items() if k != "anyOf" and not (k == "default" and v is None)}
    choices = [choice for choice in value["anyOf"] if choice != {"type": "null"}]
    return {**choices[0], **rest} if len(choices) == 1 else {"anyOf": choices, **rest}


def _says_nothing(value: dict[str, Any], shown: dict[str, dict[str, Any]]) -> bool:
    """True for a default that only repeats those of the table's own keys, or is an empty table or list."""
    default = value["default"]
    if default in ({}, []):
        return True
    if isinstance(default, dict) and "$ref" in value:
        return not shown[value["$ref"].removeprefix(DEFS)].get("required")
    return isinstance(default, dict) and any(isinstance(part, dict) for part in default.values())
