"""Which rows of a table are shown, and in which order: what the person at the board asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from collector.board.rows import Column, Row


@dataclass(frozen=True, slots=True)
class Order:
    """By which column a table is sorted; without one it stands as it came."""

    column: int | None = None
    descending: bool = False

    def next_of(self, columns: Sequence[Column]) -> Order:
        """By the column after this one; after the last one as it came."""
        following = 0 if self.column is None else self.column + 1
        return Order() if following >= len(columns) else Order(following)

    @property
    def turned(self) -> Order:
        """The other way round."""
        return self if self.column is None else replace(self, descending=not self.descending)

    def head(self, index: int, column: Column, width: int) -> str:
        """The column's heading, which ends with an arrow where the table is sorted by it."""
        if index != self.column:
            return column.head
        arrow = "▼" if self.descending else "▲"
        room = width - len(column.head)
        return f"{column.head} {arrow}" if room > 1 else f"{column.head[: width - 1]}{arrow}"

    def sorted(self, rows: Sequence[Row]) -> list[Row]:
        """The rows in this order; equal ones stay as they came."""
        column = self.column
        if column is None:
            return list(rows)
        return sorted(rows, key=lambda row: row.sort_key(column), reverse=self.descending)


def matching(rows: Sequence[Row], wanted: str) -> list[Row]:
    """The rows that have every word somewhere, whatever the case."""
    words = wanted.casefold().split()
    return [row for row in rows if all(word in row.plain for word in words)]
