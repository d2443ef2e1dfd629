"""Changes single keys of a scenario from the command line: `profiles.default-esp.timeout_minutes=90`."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Sequence
from typing import Any, Final

from simulator.scenario import Scenario
from simulator.scenario_file import ScenarioRefused, read_scenario

SHORT_NAMES: Final = {"timeout": "profiles.*.timeout_minutes"}
"""Keys that are asked for so often that they have a name of their own."""
ELSEWHERE: Final = {"seed": "--seed", "devices": "--devices"}
"""Keys that are no part of a version: every version enrolls the same devices."""
NAMED: Final = ("hardware", "persons")
"""Tables whose names are the scenario's own: one that nothing refers to would change nothing."""
ALL: Final = "*"
_PART: Final = re.compile(r'"([^"]+)"|([^."]+)')
_NAMES: Final = ("id", "name", "device")
"""What an entry of a list may be called by, besides its number."""


class OverrideRefused(ValueError):
    """A change that can't be made; the message names key and remedy."""


def overridden(scenario: Scenario, changes: Sequence[tuple[str, Any]], said: str) -> Scenario:
    """The same scenario with other values; `said` is what the person wrote, for messages.

    Raises:
        OverrideRefused: a key is not there, or its value is not possible.
    """
    data = scenario.model_dump(mode="json", exclude_unset=True)
    for key, value in changes:
        if key in ELSEWHERE:
            raise OverrideRefused(
                f"{said}: {key} is the same for every version; give it with {ELSEWHERE[key]}"
            )
        _refuse_new_names(scenario, _parts(key), said)
        for place, last in _places(data, _parts(key), said, ""):
            place[last] = value
    try:
        return read_scenario(data, said)
    except ScenarioRefused as refused:
        raise OverrideRefused(str(refused)) from None


def _refuse_new_names(scenario: Scenario, parts: Sequence[str], said: str) -> None:
    if len(parts) < 3 or parts[0] not in NAMED:
        return
    table, name, *_ = parts
    known = getattr(scenario, table)
    if name != ALL and name not in known:
        names = ", ".join(known)
        use = f"use one of: {names}, or {ALL}" if names else "the scenario describes none"
        raise OverrideRefused(f"{said}: {table} has no '{name}'; {use}")


def described(scenario: Scenario, changes: Sequence[tuple[str, Any]]) -> str:
    """What the changes do, as the beginning of a sentence: `raising timeout from 60 to 90`."""
    data = scenario.model_dump(mode="json")
    return " and ".join(_described(data, key, value) for key, value in changes)


def _described(data: Any, key: str, value: Any) -> str:
    before = {json.dumps(place.get(last)) for place, last in _places(data, _parts(key), "", "")}
    old = json.loads(before.pop()) if len(before) == 1 else None
    if not _is_number(old) or not _is_number(value) or old == value:
        return f"setting {key} to {json.dumps(value)}"
    return f"{'raising' if value > old else 'lowering'} {key} from {old:g} to {value:g}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _parts(key: str) -> list[str]:
    return [quoted or bare for quoted, bare in _PART.findall(SHORT_NAMES.get(key, key))]


def read_change(text: str) -> tuple[str, Any]:
    """Key and value of `KEY=VALUE`; the value is TOML, or else text.

    Raises:
        OverrideRefused: there is no key or no value.
    """
    key, equals, value = text.partition("=")
    if not (key.strip() and equals and value.strip()):
        raise OverrideRefused(f"'{text}': write KEY=VALUE, for example timeout=90")
    return key.strip(), _value(value.strip())


def read_changes(text: str) -> tuple[str, tuple[Any, ...]]:
    """Key and values of `KEY=VALUE,VALUE,...`; values that have commas themselves go into a TOML list.

    Raises:
        OverrideRefused: there is no key, or less than two values.
    """
    key, equals, value = text.partition("=")
    whole = _value(value.strip())
    values = whole if isinstance(whole, list) else [_value(v.strip()) for v in value.split(",")]
    if not (key.strip() and equals) or len(values) < 2 or "" in values:
        raise OverrideRefused(
            f"'{text}': write KEY=VALUE,VALUE,..., for example timeout=30,45,60,90"
        )
    return key.strip(), tuple(values)


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _places(
    data: Any, parts: Sequence[str], said: str, path: str
) -> Iterator[tuple[dict[str, Any], str]]:
    """The tables that hold what the parts lead to, each with its key."""
    if not parts:
        raise OverrideRefused(f"{said}: {path} is a whole part of the scenario; name a key in it")
    part, *rest = parts
    here = f"{path}.{part}" if path else part
    if isinstance(data, list):
        for entry in _chosen(data, part, said, path):
            # A profile's own keys may be named without the word in between.
            inner = entry.get("profile") if rest and rest[0] not in entry else None
            yield from _places(entry if inner is None else inner, rest, said, here)
    elif not isinstance(data, dict):
        raise OverrideRefused(f"{said}: {path} has no keys of its own; end the key there")
    elif rest and part == ALL:
        tables = [entry for entry in data.values() if isinstance(entry, dict)]
        if not tables:
            raise OverrideRefused(f"{said}: the scenario has nothing under {path}; name a key")
        for entry in tables:
            yield from _places(entry, rest, said, here)
    elif rest:
        yield from _places(data.setdefault(part, {}), rest, said, here)
    else:
        yield data, part


def _chosen(entries: list[Any], part: str, said: str, path: str) -> list[dict[str, Any]]:
    tables = [entry for entry in entries if isinstance(entry, dict)]
    if part == ALL:
        return tables
    if part.isdigit() and int(part) < len(tables):
        return [tables[int(part)]]
    chosen = [entry for entry in tables if part in _called(entry)]
    if not chosen:
        known = ", ".join(next(_called(entry), str(n)) for n, entry in enumerate(tables))
        raise OverrideRefused(f"{said}: {path} has no '{part}'; use one of: {known}, or {ALL}")
    return chosen


def _called(entry: dict[str, Any]) -> Iterator[str]:
    for table in (entry, entry.get("profile", {})):
        yield from (str(table[name]) for name in _NAMES if name in table)
