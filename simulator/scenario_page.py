"""The scenario language key by key, as tables of a Markdown page, with examples from scenarios that are in use."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import tomlkit

from simulator.scenario_schema import DEFS, scenario_schema, unit_of

BEGIN: Final = "<!-- The rest is written by `esp-sim schema --page`. -->"
EXAMPLE_LENGTH_MAX: Final = 90
PLACES_MAX: Final = 5
MANY: Final = 10**9
"""A limit as high as this one is only there to keep nonsense out."""

_TYPES: Final = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
}

Json = dict[str, Any]


class PageRefused(Exception):
    """A page that has no place for the tables; one sentence."""


def with_tables(page: str, examples: Sequence[Mapping[str, Any]]) -> str:
    """The page with fresh tables behind its marker.

    Raises:
        PageRefused: it has no marker.
    """
    text, marker, _ = page.partition(BEGIN)
    if not marker:
        raise PageRefused(f"has no line «{BEGIN}» below which the tables could go; add it")
    return f"{text}{BEGIN}\n\n{tables(examples)}"


def tables(examples: Sequence[Mapping[str, Any]]) -> str:
    """A section for each kind of table that a scenario has; `examples` are scenarios as parsed from TOML."""
    return "\n".join(_Page(examples).lines()) + "\n"


@dataclass(frozen=True, slots=True)
class _Section:
    """One kind of table."""

    definition: Json
    places: list[str] = field(default_factory=list)
    """Where in a file it stands."""


class _Page:
    def __init__(self, examples: Sequence[Mapping[str, Any]]) -> None:
        self._schema = scenario_schema()
        self._sections: dict[str, _Section] = {"": _Section(self._schema)}
        self._examples: dict[tuple[str, str], str] = {}
        self._visit("", self._schema)
        for example in examples:
            self._learn("", self._schema, example)

    def lines(self) -> Iterator[str]:
        for name, section in self._sections.items():
            yield from self._section(name, section)

    # --- which tables there are -------------------------------------------------------------------

    def _visit(self, place: str, definition: Json) -> None:
        """Note every kind of table in the order in which a reader meets it."""
        for key, value in definition["properties"].items():
            inner, form = self._table_in(value)
            if inner is None:
                continue
            where = f"{place}.{key}" if place else key
            where += {"list": "[]", "named": ".NAME", "one": ""}[form]
            known = self._sections.get(inner)
            if known is None:
                self._sections[inner] = _Section(self._definition(inner), [where])
                self._visit(where, self._definition(inner))
            elif where not in known.places:
                known.places.append(where)
                self._visit(where, self._definition(inner))

    def _definition(self, name: str) -> Json:
        found: Json = self._schema["$defs"][name]
        return found

    def _table_in(self, value: Json) -> tuple[str | None, str]:
        """The kind of table that a key's value is made of, and whether it is one, a list or several by name."""
        form = "one"
        if "anyOf" in value:
            return next((f for f in map(self._table_in, value["anyOf"]) if f[0]), (None, form))
        if value.get("type") == "array":
            value, form = value["items"], "list"
        elif value.get("type") == "object":
            inner = value.get("additionalProperties")
            value, form = inner if isinstance(inner, dict) else {}, "named"
        name = self._reference(value)
        if name is None or "properties" not in self._definition(name):
            return None, form
        return self._same(name), form

    def _reference(self, value: Json) -> str | None:
        reference = value.get("$ref")
        return None if reference is None else str(reference).removeprefix(DEFS)

    def _same(self, name: str) -> str:
        """An earlier kind of table with the same keys, so that no table is printed twice."""
        keys = self._definition(name)["properties"]
        for known, section in self._sections.items():
            if section.definition["properties"] == keys:
                return known
        return name

    # --- examples -----------------------------------------------------------------------------------

    def _learn(self, name: str, definition: Json, table: Mapping[str, Any]) -> None:
        """Take the first short value of every key as its example."""
        for key, given in table.items():
            value = definition["properties"].get(key)
            if value is None:
                continue
            inner, form = self._table_in(value)
            text = f"{key} = {_inline(given)}"
            if len(text) <= EXAMPLE_LENGTH_MAX and "\n" not in text:
                self._examples.setdefault((name, key), text)
            if inner is None:
                continue
            parts = given.values() if form == "named" else given if form == "list" else [given]
            for part in parts:
                if isinstance(part, dict):
                    self._learn(inner, self._definition(inner), part)

    # --- Markdown -----------------------------------------------------------------------------------

    def _section(self, name: str, section: _Section) -> Iterator[str]:
        title = _title(name, section)
        yield f"## {title}"
        yield ""
        yield section.definition["description"]
        others = [f"`{place}`" for place in section.places if f"`{place}`" != title]
        if others:
            yield f"{'Used by' if len(others) == len(section.places) else 'The same keys'}: {', '.join(others)}."
        yield ""
        yield "| key | value | unit | default | meaning | example |"
        yield "|---|---|---|---|---|---|"
        required = section.definition.get("required", ())
        for key, value in section.definition["properties"].items():
            unit = unit_of(key, value)
            cells = (
                f"`{key}`",
                self._value(value),
                unit,
                "required" if key in required else self._default(value),
                value["description"].removesuffix(f"Unit: {unit}.").strip(),
                _code(self._examples.get((name, key)) or self._header(section, key, value)),
            )
            yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
        yield ""

    def _header(self, section: _Section, key: str, value: Json) -> str:
        """How a table is begun that is too long for one line."""
        place = f"{section.places[0]}.{key}" if section.places else key
        place = place.replace("[]", "")
        form = self._table_in(value)[1]
        return f"[[{place}]]" if form == "list" else f"[{place}{'.NAME' * (form == 'named')}]"

    def _value(self, value: Json) -> str:
        """What may stand behind a key, with its range."""
        if "anyOf" in value:
            return " or ".join(self._value(choice) for choice in value["anyOf"])
        name = self._reference(value)
        if name is not None:
            return self._named(name)
        if "const" in value:
            return _code(f'"{value["const"]}"')
        if "enum" in value:
            return _words(value["enum"])
        match value.get("type"):
            case "array":
                return f"list: {self._value(value['items'])}{_lengths(value)}"
            case "object":
                return f"table by name: {self._keyed(value)}"
            case kind:
                return f"{_TYPES.get(str(kind), 'any')}{_range(value)}"

    def _default(self, value: Json) -> str:
        if "default" not in value:
            return ""
        name = self._reference(value.get("items", {}))
        whole = self._definition(name).get("enum") if name else None
        return "all" if value["default"] == whole else _code(_inline(value["default"]))

    def _keyed(self, value: Json) -> str:
        inner = value.get("additionalProperties")
        what = self._value(inner) if isinstance(inner, dict) else "any"
        names = value.get("propertyNames", {})
        if "enum" in names:
            return f"{what}; names: {_words(names['enum'])}"
        known = self._reference(names)
        return f"{what}; names: {self._named(known)}" if known else what

    def _named(self, name: str) -> str:
        definition = self._definition(name)
        if "enum" in definition:
            return _words(definition["enum"])
        if "properties" not in definition:
            return "any"
        same = self._same(name)
        title = _title(same, self._sections[same])
        return f"[{title}](#{_anchor(title)})"


def _title(name: str, section: _Section) -> str:
    """Where the table stands; one that stands in many places has a name of its own."""
    if not section.places:
        return "The whole file"
    return name if len(section.places) > PLACES_MAX else f"`{section.places[0]}`"


def _words(words: Sequence[str]) -> str:
    return ", ".join(_code(word) for word in words)


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


def _anchor(title: str) -> str:
    """The address of a heading, as GitHub makes it."""
    return "".join(c for c in title.lower() if c.isalnum() or c in "_-")


def _range(value: Json) -> str:
    low, high = value.get("minimum"), value.get("maximum")
    above = value.get("exclusiveMinimum")
    if low is not None and high is not None and high >= MANY:
        return f", {_number(low)} or more"
    if low is not None and high is not None:
        return f", {_number(low)} to {_number(high)}"
    if above is not None:
        end = "" if high is None else f", at most {_number(high)}"
        return f", more than {_number(above)}{end}"
    return ""


def _lengths(value: Json) -> str:
    low, high = value.get("minItems"), value.get("maxItems")
    words = ([f"at least {low}"] if low else []) + ([f"at most {high}"] if high else [])
    return f" ({', '.join(words)})" if words else ""


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value}"


def _inline(value: Any) -> str:
    """A value as TOML has it on one line."""
    if isinstance(value, dict):
        inner = ", ".join(f"{key} = {_inline(part)}" for key, part in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(_inline(part) for part in value)}]"
    return str(tomlkit.item(value).as_string())


def read_examples(paths: Sequence[Path]) -> list[Mapping[str, Any]]:
    """Scenario files as parsed TOML."""
    return [tomlkit.parse(path.read_text(encoding="utf-8")).unwrap() for path in paths]
