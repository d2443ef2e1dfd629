"""Puts fitted values into a scenario file and leaves everything else of it as it is, comments included."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableMapping, MutableSequence
from typing import Any, Final

import tomlkit
from tomlkit.items import AoT

from simulator.fit.findings import Finding, KeyPath

_NAMES: Final = ("id", "kind", "exit_code", "code")
"""The keys that tell an entry of a list from the others."""
_TABLES: Final = ("steps", "persons", "targets", "hardware")
"""Tables of tables: what is new in them gets a heading of its own."""


def with_values(text: str, findings: Iterable[Finding]) -> str:
    """The scenario with these values."""
    document = tomlkit.parse(text)
    for finding in findings:
        _put(document, finding.path, finding.value)
    return tomlkit.dumps(document)


def fragment(text: str, findings: Iterable[Finding]) -> str:
    """The tables with these values alone; an item is named by its id and a fault by its kind."""
    document = tomlkit.document()
    places = _Places(document, tomlkit.parse(text).unwrap())
    for finding in findings:
        _put(document, places.path_of(finding.path), finding.value)
    return tomlkit.dumps(document)


class _Places:
    """Where the entries of a scenario's lists stand in a fragment, which has only some of them."""

    def __init__(self, document: tomlkit.TOMLDocument, whole: Mapping[str, Any]) -> None:
        self._document = document
        self._whole = whole
        self._places: dict[KeyPath, int] = {}

    def path_of(self, path: KeyPath) -> KeyPath:
        """The same path in the fragment; entries on the way are begun."""
        found: KeyPath = ()
        for at, part in enumerate(path):
            if not isinstance(part, int):
                found = (*found, part)
                continue
            if path[: at + 1] not in self._places:
                self._places[path[: at + 1]] = self._begin(found, path[: at + 1])
            found = (*found, self._places[path[: at + 1]])
        return found

    def _begin(self, holder: KeyPath, path: KeyPath) -> int:
        is_fault = holder[-1] == "faults"
        if not is_fault and holder[-1] not in self._document:
            self._document[str(holder[-1])] = tomlkit.aot()
        entries: Any = _open(self._document, holder)
        entry = tomlkit.inline_table() if is_fault else tomlkit.table()
        known = self._known(path)
        entry.update({k: known[k] for k in _NAMES if k in known})
        entries.append(entry)
        return len(entries) - 1

    def _known(self, path: KeyPath) -> Mapping[str, Any]:
        found: Any = self._whole
        try:
            for part in path:
                found = found[part]
        except (KeyError, IndexError):
            return {}
        return found if isinstance(found, Mapping) else {}


def _put(document: tomlkit.TOMLDocument, path: KeyPath, value: Any) -> None:
    holder: Any = _open(document, path[:-1])
    key = path[-1]
    if isinstance(value, dict):
        if key not in holder:
            holder[key] = tomlkit.value("{ }")
        for name, part in value.items():
            holder[key][name] = _number(part)
    else:
        holder[key] = _number(value)


def _open(
    document: tomlkit.TOMLDocument, path: KeyPath
) -> MutableMapping[str, Any] | MutableSequence[Any]:
    """The table or list there; whatever is missing on the way is made."""
    holder: Any = document
    for place, key in enumerate(path):
        if isinstance(key, int):
            if key >= len(holder):
                holder.append(
                    tomlkit.table() if isinstance(holder, AoT) else tomlkit.inline_table()
                )
                key = len(holder) - 1  # noqa: PLW2901
        elif key not in holder:
            holder[key] = _new(path, place)
        holder = holder[key]
    return holder  # type: ignore[no-any-return]


def _new(path: KeyPath, place: int) -> Any:
    if path[place] == "faults":
        return tomlkit.array()
    if path[0] in _TABLES and place == 0:
        return tomlkit.table(is_super_table=True)
    # A short table inside an archetype stands on one line, as its other habits do.
    inline = place > 0 and path[place] == "halt"
    return tomlkit.inline_table() if inline else tomlkit.table()


def _number(value: Any) -> Any:
    """A whole number without a point."""
    return int(value) if isinstance(value, float) and value == int(value) else value
