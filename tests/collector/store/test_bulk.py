"""Many rows in one call arrive as they are, whatever stands in them, in either database."""

from __future__ import annotations

import pytest
from sqlalchemy import insert, select

from collector.store import schema
from collector.store.bulk import Update, insert_rows, update_rows
from collector.store.database import StoreFailed
from tests.collector.fleet import Office

AWKWARD = (
    'says "no"',
    "C:\\Windows\\",
    '\\"',
    "{a,b}",
    "NULL",
    "",
    " and so on ",
    "M\u00fcller \u4f01\u696d",
    "one\ntwo\ttabs",
    "it's; DROP TABLE events --",
    "%s %(x)s ?",
)
RENAME = Update(
    schema.STREAMS, set=("last_seq", "last_digest"), where={"id": "id", "last_seq": "was"}
)


def events(office: Office, texts: tuple[str, ...]) -> None:
    with office.store.database.writing() as connection:
        stream = {"id": 1, "device": "D", "stream": "s", "last_seq": 0, "last_digest": ""}
        connection.execute(insert(schema.STREAMS), stream)
        rows = [
            (n, 1, n, "D", text, 5, 7, "kind", "digest", text)
            for n, text in enumerate(texts, start=1)
        ]
        insert_rows(connection, schema.EVENTS, rows)


def test_rows_are_stored_as_they_are(office: Office) -> None:
    events(office, AWKWARD)
    table = schema.EVENTS
    with office.store.database.reading() as connection:
        found = connection.execute(select(table).order_by(table.c.id)).all()
    assert [(row.attempt, row.report) for row in found] == [(text, text) for text in AWKWARD]
    assert tuple(found[0])[:3] == (1, 1, 1)
    assert (found[0].received_ms, found[0].attempt_ms) == (5, 7)


def test_a_row_is_updated_only_where_all_of_it_is_as_told(office: Office) -> None:
    table = schema.STREAMS
    with office.store.database.writing() as connection:
        for n in (1, 2, 3):
            stream = {"id": n, "device": f"D{n}", "stream": "s", "last_seq": n, "last_digest": ""}
            connection.execute(insert(table), stream)
        found = update_rows(
            connection, RENAME, [(10, '"', 1, 1), (20, "\\", 2, 99), (30, "c", 3, 3)]
        )
        rows = connection.execute(select(table).order_by(table.c.id)).all()
    assert found == 2
    assert [(row.last_seq, row.last_digest) for row in rows] == [(10, '"'), (2, ""), (30, "c")]


def test_a_value_may_be_taken_away(office: Office) -> None:
    away = Update(schema.PARTITIONS, set=("owner",), where={"partition": "partition"})
    with office.store.database.writing() as connection:
        assert update_rows(connection, away, [(None, "0"), ("somebody", "1")]) == 2
        table = schema.PARTITIONS
        owners = dict(
            connection.execute(
                select(table.c.partition, table.c.owner).where(table.c.partition.in_(["0", "1"]))
            ).all()
        )
    assert owners == {"0": None, "1": "somebody"}


def test_nothing_is_cut_off(office: Office) -> None:
    """A name that is too long for its column is refused where the database has lengths, and never shortened."""
    if office.store.database.is_sqlite:
        pytest.skip("SQLite has no lengths")
    with pytest.raises(StoreFailed, match="too long"):
        events(office, ("a" * 513,))


def test_no_rows_are_no_question(office: Office) -> None:
    with office.store.database.writing() as connection:
        insert_rows(connection, schema.EVENTS, [])
        assert connection.execute(select(schema.EVENTS)).all() == []
