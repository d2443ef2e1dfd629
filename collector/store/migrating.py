"""Brings a database to the tables that this program knows, once, however many collectors start at the same time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, select, text

from collector.store import schema
from collector.store.database import Database, StoreFailed

FIRST: Final = "v001"
"""The tables of the stores that were made before there were revisions."""
_FOLDER: Final = Path(__file__).parent / "migrations"


@dataclass(frozen=True, slots=True)
class Migrated:
    """From which revision to which; `before` is None for a database that was empty."""

    before: str | None
    after: str

    @property
    def changed(self) -> bool:
        """Whether there was anything to do."""
        return self.before != self.after


def migrate(database: Database) -> Migrated:
    """Make or upgrade the tables, all of it or nothing.

    Raises:
        StoreFailed: the database was made by a newer version of this program, or is no store at all.
    """
    before = _revision(database)
    if before != schema.REVISION:
        with _alone(database) as connection:
            # Another collector may have done it meanwhile.
            before = _stated(connection)
            if before is None and _is_store(connection):
                before = _adopt(database, connection)
            if before is None:
                _make(connection)
            elif before != schema.REVISION:
                _upgrade(database, connection, before)
    return Migrated(before, schema.REVISION)


@contextmanager
def _alone(database: Database) -> Iterator[Connection]:
    with database.writing() as connection:
        database.queue_up(connection, "migrate")
        yield connection


def _revision(database: Database) -> str | None:
    with database.reading() as connection:
        return _stated(connection)


def _stated(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return None if found is None else str(found)


def _is_store(connection: Connection) -> bool:
    return inspect(connection).has_table(schema.STORE.name)


def _adopt(database: Database, connection: Connection) -> str:
    """A store from before there were revisions has the tables of the first one."""
    version = connection.execute(select(schema.STORE.c.version)).scalar()
    if version not in (None, 1):
        raise StoreFailed(
            f"the store at {database.shown_url} has version {version}, which this program does not know; run the "
            "program that made it, or begin with an empty data directory"
        )
    command.stamp(config_for(connection), FIRST)
    return FIRST


def _make(connection: Connection) -> None:
    """The tables at once: the same as all revisions one after the other, which a test compares."""
    schema.METADATA.create_all(connection)
    connection.execute(
        text(
            "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL, "
            "CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num))"
        )
    )
    connection.execute(
        text("INSERT INTO alembic_version (version_num) VALUES (:revision)"),
        {"revision": schema.REVISION},
    )


def _upgrade(database: Database, connection: Connection, before: str) -> None:
    if before not in _known():
        raise StoreFailed(
            f"the store at {database.shown_url} was made by a newer version of this program (revision {before}, and "
            f"this one knows {schema.REVISION}); run that version, or restore a backup from before the upgrade"
        )
    command.upgrade(config_for(connection), "head")


def _known() -> frozenset[str]:
    scripts = ScriptDirectory.from_config(config_for())
    return frozenset(script.revision for script in scripts.walk_revisions())


def head() -> str:
    """The newest revision."""
    newest = ScriptDirectory.from_config(config_for()).get_current_head()
    assert newest is not None, "there is a first revision"
    return newest


def config_for(connection: Connection | None = None) -> Config:
    """What Alembic needs, to work in the transaction of this connection."""
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    return config
