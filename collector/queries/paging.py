"""Reads a list page by page: a page begins behind the last row of the one before, whatever came or went meanwhile."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from sqlalchemy import ColumnElement, Select, or_

from collector.files import ContentRefused

T = TypeVar("T")

_INTEGER_MAX: Final = 2**63 - 1
_FOREIGN: Final = "is none of this list; give next_cursor of the page before"


@dataclass(frozen=True, slots=True)
class Order:
    """One way to sort: by `column`, and where that is equal by `tie`, which no two rows share."""

    name: str
    column: ColumnElement[Any]
    tie: ColumnElement[Any]

    @property
    def is_descending(self) -> bool:
        """A name that begins with a minus sorts the largest first."""
        return self.name.startswith("-")

    def sorted(self, query: Select[Any]) -> Select[Any]:
        """The query in this order."""
        columns = (self.column, self.tie)
        return query.order_by(*(c.desc() if self.is_descending else c.asc() for c in columns))

    def behind(self, place: Place) -> ColumnElement[bool]:
        """The rows that come after this one."""
        column, tie = self.column, self.tie
        if self.is_descending:
            later, next_one = column < place.value, tie < place.tie
        else:
            later, next_one = column > place.value, tie > place.tie
        return or_(later, (column == place.value) & next_one)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page ended: the sort value and the tie of its last row."""

    order: str
    value: str | int
    tie: str | int

    @property
    def cursor(self) -> str:
        """The place as a word that goes into an address."""
        content = json.dumps([self.order, self.value, self.tie], separators=(",", ":"))
        return base64.urlsafe_b64encode(content.encode()).decode().rstrip("=")

    @classmethod
    def of(cls, cursor: str, order: Order) -> Place:
        """The place that a cursor of this order names.

        Raises:
            ContentRefused: it is no cursor, or one of a list that was sorted in another way.
        """
        place = cls.read(cursor, order.name)
        if not (_fits(order.column, place.value) and _fits(order.tie, place.tie)):
            raise ContentRefused("cursor", _FOREIGN)
        return place

    @classmethod
    def read(cls, cursor: str, order: str) -> Place:
        """The place that a cursor of an order of this name holds, whatever it holds.

        Raises:
            ContentRefused: it is no cursor, or one of a list that was sorted in another way.
        """
        try:
            padded = cursor + "=" * (-len(cursor) % 4)
            # Otherwise characters that do not belong there would be left out without a word.
            found = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
        except (binascii.Error, ValueError, RecursionError):
            found = None
        match found:
            case [str(name), str() | int() as value, str() | int() as tie]:
                if name == order:
                    return cls(name, value, tie)
                raise ContentRefused(
                    "cursor", "belongs to another sort; ask with that one, or without a cursor"
                )
            case _:
                raise ContentRefused("cursor", _FOREIGN)


def _fits(column: ColumnElement[Any], value: object) -> bool:
    if column.type.python_type is str:
        return isinstance(value, str) and "\0" not in value
    return isinstance(value, int) and abs(value) <= _INTEGER_MAX


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some rows of a list, how many it has in all, and where to read on; `next_cursor` is None on the last page."""

    rows: tuple[T, ...]
    total: int
    next_cursor: str | None


def place_of(order: Order, row: Mapping[Any, Any]) -> Place:
    """The place of a row that was selected with the labels `sort_value` and `sort_tie`."""
    return Place(order.name, row["sort_value"], row["sort_tie"])


def sliced(
    rows: Sequence[T], order: str, name_of: Callable[[T], str], limit: int, cursor: str | None
) -> Page[T]:
    """One page of a short list that is sorted already, where every row has a name of its own."""
    begin = 0
    if cursor is not None:
        place = Place.read(cursor, order)
        names = [name_of(row) for row in rows]
        # Where the last row is gone, its place in the list is the next best thing to go on from.
        begin = names.index(place.tie) + 1 if place.tie in names else _position(place)
    page = rows[begin : begin + limit]
    last = begin + len(page)
    more = Place(order, last, name_of(page[-1])).cursor if page and last < len(rows) else None
    return Page(tuple(page), len(rows), more)


def _position(place: Place) -> int:
    if isinstance(place.value, str):
        raise ContentRefused("cursor", _FOREIGN)
    return max(0, place.value)
