"""Reads `filter` and `orderBy` as callers of Graph write them: the comparisons of OData 4 over the columns of one table."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from enum import StrEnum
from typing import Any, Final, NoReturn

from collector.files import ContentRefused

Row = Mapping[str, Any]
Test = Callable[[Row], bool]

DEPTH_MAX: Final = 20


class ColumnType(StrEnum):
    """What a column holds, as Graph's reports name it."""

    STRING = "String"
    INTEGER = "Int64"
    DOUBLE = "Double"
    MOMENT = "DateTime"


_TOKEN: Final = re.compile(
    r"""\s*(?:
        (?P<string>'(?:[^']|'')*')
      | (?P<moment>\d{4}-\d\d-\d\d(?:T[0-9:.]+(?:Z|[+-]\d\d:\d\d)?)?)
      | (?P<number>-?\d+(?:\.\d+)?)
      | (?P<word>[A-Za-z_][A-Za-z0-9_]*)
      | (?P<mark>[(),])
    )""",
    re.VERBOSE | re.ASCII,
)

_COMPARISONS: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "gt": operator.gt,
    "ge": operator.ge,
    "lt": operator.lt,
    "le": operator.le,
}
_FUNCTIONS: Final[Mapping[str, Callable[[str, str], bool]]] = {
    "contains": lambda value, part: part in value,
    "startswith": str.startswith,
    "endswith": str.endswith,
}


def parsed(text: str, columns: Mapping[str, ColumnType]) -> Test:
    """The test that a filter is.

    Raises:
        ContentRefused: it can't be read, or names a column that is not there, or compares what can't be compared.
    """
    return _Parser(list(_tokens(text)), columns).whole()


def mentions(text: str, column: str) -> bool:
    """Whether a filter that can be read speaks of a column."""
    return any(token == ("word", column) for token in _tokens(text))


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    place = 0
    rest = text.rstrip()
    while place < len(rest):
        found = _TOKEN.match(rest, place)
        if found is None or found.lastgroup is None:
            _refuse(f"can't be read from '{rest[place : place + 20].strip()}' on")
        yield found.lastgroup, found.group(found.lastgroup)
        place = found.end()


def _refuse(sentence: str) -> NoReturn:
    raise ContentRefused(
        "filter", f"{sentence}; write for example (Platform eq 'Android') and (AbandonedCount gt 0)"
    )


@dataclass(slots=True)
class _Parser:
    """One filter, read from left to right; `or` binds less than `and`, and that less than `not`."""

    tokens: Sequence[tuple[str, str]]
    columns: Mapping[str, ColumnType]
    place: int = 0
    depth: int = field(default=0)

    def whole(self) -> Test:
        test = self.any_of()
        if self.place < len(self.tokens):
            _refuse(f"has something behind its end: '{self.tokens[self.place][1]}'")
        return test

    def any_of(self) -> Test:
        tests = [self.all_of()]
        while self.take("word", "or"):
            tests.append(self.all_of())
        return tests[0] if len(tests) == 1 else lambda row: any(test(row) for test in tests)

    def all_of(self) -> Test:
        tests = [self.one()]
        while self.take("word", "and"):
            tests.append(self.one())
        return tests[0] if len(tests) == 1 else lambda row: all(test(row) for test in tests)

    def one(self) -> Test:
        self.depth += 1
        if self.depth > DEPTH_MAX:
            _refuse("is nested too deeply")
        try:
            return self._one()
        finally:
            self.depth -= 1

    def _one(self) -> Test:
        if self.take("word", "not"):
            test = self.one()
            return lambda row: not test(row)
        if self.take("mark", "("):
            test = self.any_of()
            self.expect(")")
            return test
        kind, word = self.next()
        if kind == "word" and word in _FUNCTIONS:
            return self._function(word)
        if kind != "word" or word not in self.columns:
            _refuse(f"names '{word}', which is no column; use one of: {', '.join(self.columns)}")
        return self._comparison(word)

    def _function(self, name: str) -> Test:
        self.expect("(")
        _kind, column = self.next()
        if self.columns.get(column) is not ColumnType.STRING:
            _refuse(f"asks {name} of '{column}', which is no text column")
        self.expect(",")
        part = self.literal(ColumnType.STRING)
        self.expect(")")
        holds = _FUNCTIONS[name]
        return lambda row: row[column] is not None and holds(row[column], part)

    def _comparison(self, column: str) -> Test:
        _kind, word = self.next()
        column_type = self.columns[column]
        if word == "in":
            return self._one_of(column)
        if word not in _COMPARISONS:
            _refuse(f"says '{word}' of {column}; use eq, ne, gt, ge, lt, le or in")
        compare, value = _COMPARISONS[word], self.literal(column_type)
        if value is None and word not in ("eq", "ne"):
            _refuse(f"asks whether {column} is {word} null; use eq or ne")
        if word in ("eq", "ne"):
            return lambda row: bool(compare(row[column], value))
        return lambda row: row[column] is not None and bool(compare(row[column], value))

    def _one_of(self, column: str) -> Test:
        self.expect("(")
        values = [self.literal(self.columns[column])]
        while self.take("mark", ","):
            values.append(self.literal(self.columns[column]))
        self.expect(")")
        return lambda row: row[column] in values

    def literal(self, wanted: ColumnType) -> Any:
        """The next value, of the column's type."""
        kind, text = self.next()
        match kind, wanted:
            case "word", _ if text == "null":
                return None
            case "string", ColumnType.STRING:
                return text[1:-1].replace("''", "'")
            case "number", ColumnType.INTEGER | ColumnType.DOUBLE:
                return float(text)
            case "moment", ColumnType.MOMENT:
                return _moment(text)
            case _:
                _refuse(f"gives {text} where a value of type {wanted.value} is due")

    def next(self) -> tuple[str, str]:
        """The next token."""
        if self.place >= len(self.tokens):
            _refuse("ends too early")
        self.place += 1
        return self.tokens[self.place - 1]

    def take(self, kind: str, text: str) -> bool:
        """Go on behind this token if it is the next one."""
        if self.place < len(self.tokens) and self.tokens[self.place] == (kind, text):
            self.place += 1
            return True
        return False

    def expect(self, mark: str) -> None:
        """Go on behind this mark, which has to be there."""
        if not self.take("mark", mark):
            _refuse(f"lacks a '{mark}'")


def _moment(text: str) -> datetime:
    try:
        if "T" not in text:
            return datetime.combine(date.fromisoformat(text), time(), UTC)
        found = datetime.fromisoformat(text)
    except ValueError:
        _refuse(f"gives {text}, which is no date")
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found


def sorted_by(
    rows: list[dict[str, Any]], order_by: Sequence[str], columns: Mapping[str, ColumnType]
) -> list[dict[str, Any]]:
    """The rows in the order of `Column`, `Column asc` or `Column desc`; the first one counts most.

    Raises:
        ContentRefused: one of them is no column or no direction.
    """
    for index in range(len(order_by) - 1, -1, -1):
        name, _, direction = order_by[index].strip().partition(" ")
        if name not in columns or direction.strip() not in ("", "asc", "desc"):
            raise ContentRefused(
                f"orderBy[{index}]",
                f"is no column with asc or desc behind it; the columns are: {', '.join(columns)}",
            )
        # Rows without a value come first, as in OData.
        rows = sorted(
            rows,
            key=lambda row: (row[name] is not None, row[name] if row[name] is not None else 0),
            reverse=direction.strip() == "desc",
        )
    return rows
