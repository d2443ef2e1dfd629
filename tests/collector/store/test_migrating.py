"""A store of any earlier version becomes one of this with everything in it; one of a newer version is left alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, select, text, update

from agent.wire.codec import digest
from agent.wire.events import Event
from collector.store import migrating, schema
from collector.store.columns import REPORT_CODEC
from collector.store.database import Database, StoreFailed
from collector.store.leases import Leases
from collector.store.migrating import FIRST, Migrated, migrate
from collector.store.store import Store
from tests.collector.fleet import NOON_MS, Office, Reporter

OLD_ID = "the-store-of-before"


def at_revision(url: str, revision: str) -> Database:
    """A database as a program of that revision left it, without data."""
    database = Database(url)
    with database.writing() as connection:
        command.upgrade(migrating.config_for(connection), revision)
    return database


def old_store(url: str, *events: Event) -> Database:
    """A store from before there were revisions, with one device's reports."""
    database = at_revision(url, FIRST)
    with database.writing() as connection:
        fill_in(connection, "store", id=OLD_ID, version=1, made_ms=NOON_MS)
        fill_in(connection, "partitions", partition="4", term=7)
        (first, *_), last = events, events[-1]
        fill_in(
            connection,
            "streams",
            id=5,
            device=first.device,
            stream=first.stream,
            last_seq=last.seq,
            last_digest=digest(last.stream, last.seq, last.report, last.after),
        )
        for number, event in enumerate(events, start=1):
            fill_in(
                connection,
                "events",
                id=number,
                stream_id=5,
                seq=event.seq,
                device=event.device,
                attempt=event.report.attempt,
                received_ms=NOON_MS,
                attempt_ms=0,
                kind=event.report.body.kind,
                digest=digest(event.stream, event.seq, event.report, event.after),
                report=REPORT_CODEC.dumps(event.report).decode(),
            )
        connection.execute(text("DROP TABLE alembic_version"))
        if not database.is_sqlite:
            connection.execute(
                text("SELECT setval('events_id_seq', 100), setval('streams_id_seq', 100)")
            )
    return database


def fill_in(connection: Connection, table: str, **values: object) -> None:
    """By hand, for the tables of then are not those of now."""
    names = ", ".join(values)
    given = ", ".join(f":{name}" for name in values)
    connection.execute(text(f"INSERT INTO {table} ({names}) VALUES ({given})"), values)  # noqa: S608


def differences(database: Database) -> list[Any]:
    with database.reading() as connection:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        return list(compare_metadata(context, schema.METADATA))


def test_all_revisions_one_after_the_other_make_the_tables_of_this_version(url: str) -> None:
    migrated = at_revision(url, "head")
    assert differences(migrated) == []
    migrated.close()


def test_a_store_that_was_made_at_once_has_the_same_tables(
    new_url: Callable[[], str],
) -> None:
    made, migrated = Database(new_url()), at_revision(new_url(), "head")
    assert migrate(made) == Migrated(None, schema.REVISION)
    assert shape(made) == shape(migrated)
    for database in (made, migrated):
        database.close()


def shape(database: Database) -> dict[str, object]:
    """Tables, columns, keys and indexes as the database itself tells them."""
    with database.reading() as connection:
        seen = inspect(connection)
        return {
            table: (
                sorted((c["name"], str(c["type"]), c["nullable"]) for c in seen.get_columns(table)),
                seen.get_pk_constraint(table)["constrained_columns"],
                sorted((i["name"] or "", i["column_names"]) for i in seen.get_indexes(table)),
                sorted(u["column_names"] for u in seen.get_unique_constraints(table)),
            )
            for table in sorted(seen.get_table_names())
        }


def test_the_newest_revision_is_the_one_that_the_schema_names() -> None:
    scripts = ScriptDirectory.from_config(migrating.config_for())
    assert migrating.head() == schema.REVISION
    assert FIRST in {script.revision for script in scripts.walk_revisions()}


def test_a_store_from_before_there_were_revisions_goes_on_where_it_was(
    url: str, tmp_path: Path
) -> None:
    device = Reporter()
    old_store(url, device.begin(), device.move(10)).close()
    office = Office.open(tmp_path, url=url)
    assert office.store.id == OLD_ID
    assert (office.terms["4"], office.terms["5"]) == (8, 1)
    assert office.store.stream(device.device, device.stream).last_seq == 2
    # What is derived from reports can be derived in the form of today.
    assert office.store.rebuild() == 1
    office.take_in([device.end()])
    assert [(r.seq, r.times) for r in office.store.stored_rows()] == [(1, 1), (2, 1), (3, 1)]
    assert migrate(office.store.database).changed is False
    office.close()


def test_a_program_from_before_says_that_it_does_not_know_this_store(url: str) -> None:
    """It compares the version in the table `store` with 1 and refuses every other one."""
    old_store(url, Reporter().begin()).close()
    store = Store(url, now_ms=NOON_MS)
    with store.database.reading() as connection:
        assert connection.execute(select(schema.STORE.c.version)).scalar() not in (None, 1)
    store.close()


def test_several_collectors_that_start_at_once_upgrade_it_once(url: str) -> None:
    device = Reporter()
    old_store(url, device.begin()).close()

    def start(_: int) -> str:
        store = Store(url, now_ms=NOON_MS)
        store.close()
        return store.id

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(start, range(4))) == {OLD_ID}


def test_several_collectors_that_start_at_once_make_one_store(url: str) -> None:
    def start(_: int) -> str:
        store = Store(url, now_ms=NOON_MS)
        store.close()
        return store.id

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(start, range(4)))) == 1


def test_a_store_of_a_newer_version_is_left_alone(url: str) -> None:
    store = Store(url, now_ms=NOON_MS)
    with store.database.writing() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = 'v999'"))
    store.close()
    with pytest.raises(StoreFailed, match=r"made by a newer version .*\(revision v999.*run that"):
        Store(url, now_ms=NOON_MS)


def test_a_store_of_an_unknown_version_is_left_alone(url: str) -> None:
    database = old_store(url, Reporter().begin())
    with database.writing() as connection:
        connection.execute(update(schema.STORE).values(version=99))
    database.close()
    with pytest.raises(StoreFailed, match=r"version 99, .* begin with an empty data directory"):
        Store(url, now_ms=NOON_MS)


def test_an_upgrade_that_fails_in_the_middle_leaves_everything_as_it_was(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = old_store(url, Reporter().begin())
    before = shape(database)

    def half(config: Any, revision: str) -> None:
        command_upgrade(config, revision)
        raise StoreFailed("the disk is full")

    command_upgrade = command.upgrade
    monkeypatch.setattr("collector.store.migrating.command.upgrade", half)
    with pytest.raises(StoreFailed, match="disk is full"):
        migrate(database)
    assert shape(database) == before
    monkeypatch.undo()
    assert migrate(database) == Migrated(FIRST, schema.REVISION)
    assert Leases(database, "a").tend({}).taken["4"] == 8
    database.close()


def test_the_command_says_what_it_did(url: str, tmp_path: Path) -> None:
    cli = pytest.importorskip("collector.cli")
    testing = pytest.importorskip("typer.testing")
    old_store(url, Reporter().begin()).close()
    asked = ["migrate", "--data", str(tmp_path), "--database", url]
    first = testing.CliRunner().invoke(cli.app, asked)
    assert (first.exit_code, first.output) == (
        0,
        f"the store is at {schema.REVISION} now; it was {FIRST}\n",
    )
    again = testing.CliRunner().invoke(cli.app, [*asked, "--json"])
    assert json.loads(again.output) == {"before": schema.REVISION, "after": schema.REVISION}
