"""Many rows in one call, as each database takes them cheapest: what a report costs is decided here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Integer, String
from sqlalchemy.schema import Table

Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Update:
    """Which columns to set in the rows of a table that `where` finds.

    A row to update with has the values of `set`, then those of `where`, which names for each column what its value is
    called: a column that is set may have to have had another value.
    """

    table: Table
    set: Sequence[str]
    where: Mapping[str, str]


def insert_rows(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    """Insert rows with a value for each column of the table, in the table's order."""
    if not rows:
        return
    names = [column.name for column in table.columns]
    into = f"INSERT INTO {table.name} ({', '.join(map(_quoted, names))})"
    if connection.dialect.name == "postgresql":
        types = [_type(table, name) for name in names]
        statement = f"{into} SELECT * FROM unnest({_arrays(types)})"  # noqa: S608
        connection.exec_driver_sql(statement, _columns(rows))
    else:
        statement = f"{into} VALUES ({', '.join('?' * len(names))})"
        connection.exec_driver_sql(statement, list(rows))


def update_rows(connection: Connection, update: Update, rows: Sequence[Row]) -> int:
    """Update rows, each found by its own values; returns how many were found."""
    if connection.dialect.name == "postgresql":
        return connection.exec_driver_sql(_together(update), _columns(rows)).rowcount
    changes = ", ".join(f"{_quoted(name)} = ?" for name in update.set)
    found = " AND ".join(f"{_quoted(name)} = ?" for name in update.where)
    statement = f"UPDATE {update.table.name} SET {changes} WHERE {found}"  # noqa: S608
    return connection.exec_driver_sql(statement, list(rows)).rowcount


def _together(update: Update) -> str:
    """One statement for all rows, so that the server is asked once."""
    name = update.table.name
    types = [_type(update.table, column) for column in (*update.set, *update.where)]
    told = ", ".join(map(_quoted, (*update.set, *update.where.values())))
    changes = ", ".join(f"{_quoted(c)} = v.{_quoted(c)}" for c in update.set)
    found = " AND ".join(
        f"{name}.{_quoted(column)} = v.{_quoted(value)}" for column, value in update.where.items()
    )
    return f"UPDATE {name} SET {changes} FROM unnest({_arrays(types)}) AS v({told}) WHERE {found}"  # noqa: S608


def _columns(rows: Sequence[Row]) -> tuple[str, ...]:
    return tuple(map(_array, zip(*rows, strict=True)))


def _array(values: Iterable[str | int | None]) -> str:
    """An array as PostgreSQL reads it (its documentation, 8.15.2); psycopg takes ten times as long to write one."""
    return f"{{{','.join(map(_element, values))}}}"


def _element(value: str | int | None) -> str:
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return "NULL" if value is None else str(value)


def _arrays(types: Sequence[str]) -> str:
    return ", ".join(f"%s::{type_}[]" for type_ in types)


def _type(table: Table, column: str) -> str:
    type_ = table.c[column].type
    # A cast to a type with a length would cut off what is too long; storing it fails, as it should.
    if isinstance(type_, String):
        return "text"
    assert isinstance(type_, Integer), f"no array of {type_}"
    return "bigint"


def _quoted(name: str) -> str:
    return f'"{name}"'
