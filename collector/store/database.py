"""One database behind the store: its connections, its write lock, and one clear sentence when it can't be used."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, QueuePool, create_engine, event, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.schema import Table

BUSY_MS = 30_000
HALTED_MS = 5_000
"""A process that is halted in the middle of a transaction loses it after this time, and others get its locks."""


_CACHE_KIB = 65_536
"""What the connection that writes keeps of a SQLite file; it is the only one of this process, so that this stays true."""
_CHECKPOINT_PAGES = 4_000
"""So long may SQLite's log become. A page that was changed again and again is then written to the file once."""


class StoreFailed(Exception):
    """The database can't be used, or failed at a statement: one sentence."""


class Database:
    """Reads beside each other; on SQLite writes one after the other."""

    def __init__(self, url: str) -> None:
        """Raises `StoreFailed` when the URL is no database that is installed here."""
        try:
            parsed = make_url(url)
            self._engine = _engine(parsed)
            self._for_writing = _writing_engine(parsed, self._engine)
        except (ArgumentError, NoSuchModuleError, ModuleNotFoundError) as error:
            raise StoreFailed(
                f"--database '{url}' can't be used ({error}); give sqlite:///FILE or postgresql+psycopg://..."
            ) from None
        self._writer = self._for_writing.execution_options(writes=True)
        self.shown_url = parsed.render_as_string(hide_password=True)
        """The URL without its password, for messages."""

    @property
    def is_sqlite(self) -> bool:
        """A file on this machine rather than a server."""
        return self._engine.dialect.name == "sqlite"

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A consistent view."""
        with _translated(self.shown_url), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """One transaction, committed at the end and rolled back on any exception."""
        with _translated(self.shown_url), self._writer.begin() as connection:
            yield connection

    def queue_up(self, connection: Connection, purpose: str) -> None:
        """Be the only transaction for this purpose until this one ends; others wait here."""
        # SQLite has one writer at a time anyway.
        if not self.is_sqlite:
            connection.execute(
                text("SELECT pg_advisory_xact_lock(:key)"), {"key": zlib.crc32(purpose.encode())}
            )

    def now_ms(self, connection: Connection) -> int:
        """The database's own clock, milliseconds since 1970: the same for all who share it."""
        query = (
            "SELECT CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER)"
            if self.is_sqlite
            else "SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000 AS bigint)"
        )
        return int(connection.exec_driver_sql(query).scalar_one())

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()
        self._for_writing.dispose()


def _engine(url: URL) -> Engine:
    if url.get_backend_name() != "sqlite":
        engine = create_engine(url, pool_pre_ping=True, isolation_level="READ COMMITTED")
        event.listen(engine, "begin", _begin_on_server)
        return engine
    engine = create_engine(url, connect_args={"timeout": BUSY_MS / 1000})
    event.listen(engine, "connect", _configure_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _writing_engine(url: URL, engine: Engine) -> Engine:
    """SQLite has one writer at a time: with one connection for all of them, what one has read is there for the next."""
    if engine.dialect.name != "sqlite" or url.database in (None, "", ":memory:"):
        # One that is kept in memory is another one for each engine.
        return engine
    writing = create_engine(
        url,
        connect_args={"timeout": BUSY_MS / 1000},
        poolclass=QueuePool,
        pool_size=1,
        max_overflow=0,
        pool_timeout=BUSY_MS / 1000,
    )
    event.listen(writing, "connect", _configure_sqlite)
    event.listen(writing, "connect", _configure_sqlite_writer)
    event.listen(writing, "begin", _begin_sqlite)
    return writing


def _configure_sqlite_writer(connection: Any, _record: Any) -> None:
    for statement in (
        f"PRAGMA cache_size = -{_CACHE_KIB}",
        f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}",
    ):
        connection.execute(statement).close()


def _begin_on_server(connection: Connection) -> None:
    if _writes(connection):
        connection.exec_driver_sql(f"SET LOCAL idle_in_transaction_session_timeout = {HALTED_MS}")
    else:
        # Several queries of one answer look at the same moment.
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")


def _configure_sqlite(connection: Any, _record: Any) -> None:
    # The driver's own transactions begin too late to take the write lock; `_begin_sqlite` begins them instead.
    connection.isolation_level = None
    for statement in (
        "PRAGMA journal_mode = WAL",
        "PRAGMA synchronous = FULL",
        "PRAGMA foreign_keys = ON",
        f"PRAGMA busy_timeout = {BUSY_MS}",
    ):
        connection.execute(statement).close()


def _begin_sqlite(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE" if _writes(connection) else "BEGIN")


def _writes(connection: Connection) -> bool:
    return bool(connection.get_execution_options().get("writes", False))


@contextmanager
def _translated(url: str) -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        raise StoreFailed(f"the store at {url} failed: {error.orig}") from error
    except SQLAlchemyError as error:
        raise StoreFailed(f"the store at {url} failed: {error}") from error


def upsert(
    connection: Connection,
    table: Table,
    values: list[dict[str, Any]],
    *,
    add: str | None = None,
    keep: bool = False,
    newest: str | None = None,
) -> None:
    """Insert rows; what happens to those with the same primary key is said by the options.

    Args:
        add: this column is added to, the others are replaced.
        keep: the row that is there stays.
        newest: the row is replaced only where this column has no higher value already.
    """
    if not values:
        return
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    statement = insert(table)
    keys = [column.name for column in table.primary_key]
    changes = {
        name: table.c[name] + statement.excluded[name] if name == add else statement.excluded[name]
        for name in values[0]
        if name not in keys
    }
    if changes and not keep:
        unless = None if newest is None else statement.excluded[newest] >= table.c[newest]
        statement = statement.on_conflict_do_update(index_elements=keys, set_=changes, where=unless)
    else:
        statement = statement.on_conflict_do_nothing(index_elements=keys)
    connection.execute(statement, values)
