"""Whole-number sums that come out the same in whatever order they are added, and travel as JSON from process to process."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self, get_args, get_origin, get_type_hints


@dataclass(slots=True)
class Sums:
    """Fields that are whole numbers, sums, or counters of keys; a key is a word, a number, or a tuple of those."""

    def add(self, other: Self) -> None:
        """Take in another part of the same whole."""
        for entry in fields(self):
            mine, theirs = getattr(self, entry.name), getattr(other, entry.name)
            if isinstance(mine, Counter):
                mine.update(theirs)
            elif isinstance(mine, Sums):
                mine.add(theirs)
            else:
                setattr(self, entry.name, mine + theirs)

    def to_json(self) -> dict[str, Any]:
        """The sums as JSON has them; a counter is a sorted list of keys, each with its number at the end."""
        return {entry.name: _written(getattr(self, entry.name)) for entry in fields(self)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The sums that `to_json` wrote.

        Raises:
            ValueError: something is missing, or is not what `to_json` writes.
        """
        sums = cls()
        hints = get_type_hints(cls)
        try:
            for entry in fields(sums):
                setattr(sums, entry.name, _read(data[entry.name], hints[entry.name]))
        except (KeyError, TypeError) as error:
            raise ValueError(f"{cls.__name__}: {error!r}") from None
        return sums


def _written(value: Any) -> Any:
    if isinstance(value, Sums):
        return value.to_json()
    if not isinstance(value, Counter):
        return value
    rows = [[*(key if isinstance(key, tuple) else (key,)), n] for key, n in value.items() if n]
    return sorted(rows)


def _read(value: Any, hint: Any) -> Any:
    if isinstance(hint, type) and issubclass(hint, Sums):
        return hint.from_json(value)
    if get_origin(hint) is not Counter:
        return int(value)
    (key,) = get_args(hint)
    makers = get_args(key) if get_origin(key) is tuple else (key,)
    return Counter(dict(_entry(row, makers) for row in value))


def _entry(row: Sequence[Any], makers: tuple[Any, ...]) -> tuple[Any, int]:
    *parts, number = row
    made = tuple(make(part) for make, part in zip(makers, parts, strict=True))
    return (made if len(makers) > 1 else made[0]), int(number)
