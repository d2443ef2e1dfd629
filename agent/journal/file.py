"""The file of a journal: its schema, what brings an older one up to date, and what is said of one that can't be used."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from agent.runtime.ports import (
    JournalUnreadable,
)

APPLICATION_ID: Final = 0x45535041
"""Marks our files among all SQLite files: "ESPA"."""

SCHEMA_VERSION: Final = 3

SCHEMA_WITH_CHECKPOINTS: Final = 3

_SCHEMA = """
CREATE TABLE device (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    stream TEXT NOT NULL UNIQUE,
    session INTEGER NOT NULL DEFAULT 0,
    next_seq INTEGER NOT NULL DEFAULT 1,
    next_position INTEGER NOT NULL DEFAULT 1,
    stored_seq INTEGER NOT NULL DEFAULT 0,
    store TEXT,
    held_after TEXT,
    chained_from INTEGER NOT NULL DEFAULT 1
);
CREATE TABLE entry (
    device INTEGER NOT NULL REFERENCES device (id),
    n INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    wall_ms INTEGER NOT NULL,
    machine_version TEXT NOT NULL,
    input TEXT NOT NULL,
    digest TEXT,
    PRIMARY KEY (device, n)
) WITHOUT ROWID;
CREATE TABLE report (
    device INTEGER NOT NULL REFERENCES device (id),
    position INTEGER NOT NULL,
    seq INTEGER,
    digest TEXT,
    acknowledged_ms INTEGER,
    content TEXT NOT NULL,
    PRIMARY KEY (device, position)
) WITHOUT ROWID;
CREATE UNIQUE INDEX report_seq ON report (device, seq) WHERE seq IS NOT NULL;
CREATE TABLE command (
    device INTEGER NOT NULL REFERENCES device (id),
    id TEXT NOT NULL,
    PRIMARY KEY (device, id)
) WITHOUT ROWID;
"""

_CHECKPOINTS = """
CREATE TABLE checkpoint (
    device INTEGER NOT NULL REFERENCES device (id),
    n INTEGER NOT NULL,
    content BLOB NOT NULL,
    PRIMARY KEY (device, n)
)
"""
"""The newest ones of each device; their content is compressed."""

_MIGRATIONS: Final = {
    1: ("ALTER TABLE entry ADD COLUMN digest TEXT",),
    2: (
        "ALTER TABLE device ADD COLUMN held_after TEXT",
        "ALTER TABLE device ADD COLUMN chained_from INTEGER NOT NULL DEFAULT 1",
        "UPDATE device SET chained_from = next_seq",
        _CHECKPOINTS,
    ),
}
"""What brings a file of an older schema one further."""

_RIGHTS: Final = "let this account write the file and its folder, then start again"

_REMEDIES: Final = {
    sqlite3.SQLITE_FULL: "make room on the disk, then start again",
    sqlite3.SQLITE_READONLY: _RIGHTS,
    sqlite3.SQLITE_PERM: _RIGHTS,
    sqlite3.SQLITE_CANTOPEN: _RIGHTS,
    sqlite3.SQLITE_BUSY: "close the other program that uses the file, then start again",
}
"""What helps where the file itself may be as good as ever."""


def checked(path: Path) -> sqlite3.Connection:
    """Open a journal for writing, made or brought up to date where needed. Raises `JournalUnreadable`."""
    connection = connect(path, "rwc")
    try:
        with readable(path):
            if _is_empty(connection):
                make(connection)
            _check(path, connection)
            _migrate(connection)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
        _keep_private(path)
    except BaseException:
        connection.close()
        raise
    return connection


def open_to_read(path: Path) -> sqlite3.Connection:
    """Open a journal that nobody means to change. Raises `JournalUnreadable`."""
    if not path.exists():
        raise no_journal(path)
    connection = connect(path, "ro")
    try:
        with readable(path):
            _check(path, connection)
    except BaseException:
        connection.close()
        raise
    return connection


def connect(path: Path, mode: str, *, immutable: bool = False) -> sqlite3.Connection:
    """A connection to a file. Raises `JournalUnreadable`."""
    uri = f"{path.absolute().as_uri()}?mode={mode}{'&immutable=1' if immutable else ''}"
    try:
        return sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
    except sqlite3.Error as error:
        raise JournalUnreadable(
            f"{path}: cannot be opened ({error}); check that the folder exists and may be written"
        ) from error


def make(connection: sqlite3.Connection) -> None:
    """Give an empty file its schema."""
    with transaction(connection):
        for statement in (*_SCHEMA.split(";"), _CHECKPOINTS):
            if statement.strip():
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _migrate(connection: sqlite3.Connection) -> None:
    """Bring a file of an older schema to this one, in one transaction."""
    version = pragma(connection, "user_version")
    if version == SCHEMA_VERSION:
        return
    with transaction(connection):
        for step in range(version, SCHEMA_VERSION):
            for statement in _MIGRATIONS[step]:
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _check(path: Path, connection: sqlite3.Connection) -> None:
    check_kind(path, connection)
    (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise torn(path, verdict)


def check_kind(path: Path, connection: sqlite3.Connection) -> None:
    """Whether it is a journal at all, and one that this agent knows."""
    if pragma(connection, "application_id") != APPLICATION_ID:
        raise JournalUnreadable(
            f"{path}: this is no journal of this agent; name another file, or move this one away"
        )
    version = pragma(connection, "user_version")
    if version > SCHEMA_VERSION:
        raise JournalUnreadable(
            f"{path}: written by a newer agent (schema {version}, this agent knows {SCHEMA_VERSION}); "
            "use that agent, or begin anew with --set-aside, which keeps the file"
        )


def _is_empty(connection: sqlite3.Connection) -> bool:
    (count,) = connection.execute("SELECT COUNT(*) FROM sqlite_schema").fetchone()
    return int(count) == 0 and pragma(connection, "application_id") == 0


def _keep_private(path: Path) -> None:
    try:
        path.chmod(0o600)
    except OSError as error:
        raise JournalUnreadable(
            f"{path}: can't be used now ({error.strerror}); {_RIGHTS}"
        ) from error


def pragma(connection: sqlite3.Connection, name: str) -> int:
    """What SQLite says of the file under this name."""
    (value,) = connection.execute(f"PRAGMA {name}").fetchone()
    return int(value)


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All of it or nothing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # A commit that failed for want of room may have ended the transaction already.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


@contextlib.contextmanager
def readable(path: Path) -> Iterator[None]:
    """Tell what SQLite finds wrong with a file as `JournalUnreadable`, with what helps."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        remedy = _REMEDIES.get(_kind_of(error))
        if remedy is None:
            raise torn(path, str(error)) from error
        raise JournalUnreadable(f"{path}: can't be used now ({error}); {remedy}") from error
    except ValidationError as error:
        raise torn(path, f"an entry can't be read ({first_of(error)})") from error


def _kind_of(error: sqlite3.DatabaseError) -> int:
    """SQLite's primary result code; 0 for what Python's own module refuses."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def first_of(error: ValidationError) -> str:
    """What pydantic complains of first."""
    return error.errors(include_url=False, include_input=False)[0]["msg"]


def no_journal(path: Path) -> JournalUnreadable:
    """There is no such file."""
    return JournalUnreadable(
        f"{path}: there is no such journal; name the file that the agent writes"
    )


def torn(path: Path, reason: str) -> JournalUnreadable:
    """A file that does not hold what a journal holds."""
    return JournalUnreadable(
        f"{path}: torn or no journal at all ({reason}); nothing was changed. "
        "Restore it from a copy, or begin anew with --set-aside, which keeps the file"
    )
