"""Copies of a collector's data: taken while it runs, checked, and put back so that devices send again what they still hold."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from sqlalchemy.engine import URL, make_url

from collector.upkeep.data_directory import DataInUse, collector_id

STORE_FILE: Final = "store.sqlite"
MANIFEST: Final = "backup.json"
_SECRETS: Final = ("keys", "token")
_PAGES: Final = 1_000
"""SQLite pages a step: writers get their turn between two of them."""


class BackupRefused(Exception):
    """It can't be copied or put back: one sentence with the remedy."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What a copy holds."""

    made_at: str
    store: str
    revision: str
    reports: int
    attempts: int


def back_up(data: Path, to: Path, now: datetime) -> Contents:
    """Copy store, keys and token of a data directory into a new directory, whether a collector runs or not.

    Raises:
        BackupRefused: there is no SQLite store, or the directory is there already.
    """
    source = data / STORE_FILE
    if not source.is_file():
        raise BackupRefused(
            f"{source}: there is no SQLite store; check --data, and for a PostgreSQL store give --database"
        )
    try:
        to.mkdir(parents=True, mode=0o700)
    except FileExistsError:
        raise BackupRefused(f"{to} is there already; give a directory that is not") from None
    with closing(_opened(source)) as live, closing(sqlite3.connect(to / STORE_FILE)) as copy:
        live.backup(copy, pages=_PAGES)
    (to / STORE_FILE).chmod(0o600)
    _copy_secrets(data, to)
    contents = _checked(to / STORE_FILE, now)
    manifest = to / MANIFEST
    manifest.write_text(json.dumps(asdict(contents), indent=2) + "\n", encoding="utf-8")
    return contents


def restore(backup: Path, data: Path, now: datetime, *, replace: bool = False) -> Contents:
    """Make a copy the store of a data directory in which no collector runs.

    The store gets a new id: devices then take it for another life of the collector, listen to it whatever lease terms and
    versions they have seen, and send again everything from where its acknowledgements stand.

    Raises:
        BackupRefused: the copy is none or is damaged, a collector runs there, or there is a store and `replace` is false.
    """
    contents = _checked(backup / STORE_FILE, now)
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _alone(data):
        there = [path for path in _live_files(data) if path.exists()]
        if there and not replace:
            raise BackupRefused(
                f"{there[0]} is there already; --replace sets it aside and puts the copy in its place"
            )
        # The copy is complete beside the old store before that is touched.
        fresh = data / f"{STORE_FILE}.restoring"
        shutil.copyfile(backup / STORE_FILE, fresh)
        fresh.chmod(0o600)
        _begin_another_life(fresh)
        _set_aside(there, now)
        fresh.replace(data / STORE_FILE)
        _copy_secrets(backup, data)
    return contents


def postgres_command(url: str, to: Path) -> str:
    """The command that copies a PostgreSQL store; the password stays out of it."""
    return f"pg_dump --format=custom --file={to / 'store.dump'} '{_shown(url)}'"


def postgres_restore_command(url: str, backup: Path) -> str:
    """The commands that put it back; the second one gives the store another id, as `restore` does."""
    shown = _shown(url)
    another_life = "UPDATE store SET id = gen_random_uuid()::text"
    return (
        f"pg_restore --clean --if-exists --dbname='{shown}' {backup / 'store.dump'} && "
        f"psql '{shown}' -c '{another_life}'"
    )


def _shown(url: str) -> str:
    told = make_url(url)
    bare = URL.create(
        "postgresql", told.username, None, told.host, told.port, told.database, told.query
    )
    return bare.render_as_string()


def _opened(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(f"file:{path}?mode=rw", uri=True, timeout=30)
    connection.isolation_level = None
    return connection


def _checked(path: Path, now: datetime) -> Contents:
    if not path.is_file():
        raise BackupRefused(
            f"{path}: there is no copy of a store; give the directory that `backup` wrote"
        )
    try:
        with closing(_opened(path)) as connection:
            found = connection.execute("PRAGMA integrity_check").fetchone()[0]
            if found != "ok":
                raise BackupRefused(f"{path} is damaged ({found}); take another copy")
            store = connection.execute("SELECT id FROM store").fetchone()
            revision = connection.execute("SELECT version_num FROM alembic_version").fetchone()
            reports = connection.execute("SELECT count(*) FROM events").fetchone()[0]
            attempts = connection.execute("SELECT count(*) FROM attempts").fetchone()[0]
    except sqlite3.DatabaseError as error:
        raise BackupRefused(
            f"{path} is no store that can be read ({error}); take another copy"
        ) from None
    if store is None or revision is None:
        raise BackupRefused(
            f"{path} is no store of a collector; give the directory that `backup` wrote"
        )
    made = now.astimezone(UTC).isoformat(timespec="seconds")
    return Contents(made, store[0], revision[0], reports, attempts)


@contextmanager
def _alone(data: Path) -> Iterator[None]:
    try:
        with collector_id(data):
            yield
    except DataInUse:
        raise BackupRefused(f"a collector serves from {data}; stop it first") from None


def _live_files(data: Path) -> list[Path]:
    return [data / f"{STORE_FILE}{suffix}" for suffix in ("", "-wal", "-shm")]


def _set_aside(paths: list[Path], now: datetime) -> None:
    stamp = now.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    for path in paths:
        suffix = path.name.removeprefix(STORE_FILE)
        path.rename(path.with_name(f"{STORE_FILE}.before-{stamp}{suffix}"))


def _begin_another_life(path: Path) -> None:
    with closing(_opened(path)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("UPDATE store SET id = ?", (str(uuid.uuid4()),))
        # Nobody holds a lease of this life, and nobody delivers for it; an older copy may have no such tables.
        there = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
        for table, statement in (
            ("collectors", "UPDATE partitions SET owner = NULL, expires_ms = 0"),
            ("collectors", "DELETE FROM collectors"),
            ("webhooks", "UPDATE webhooks SET busy_until_ms = 0"),
        ):
            if table in there:
                connection.execute(statement)
        connection.execute("COMMIT")


def _copy_secrets(source: Path, to: Path) -> None:
    """Keys and token, where there are none yet: whom devices trust already is not changed."""
    for name in _SECRETS:
        path = source / name
        if path.is_dir() and not (to / name).exists():
            shutil.copytree(path, to / name)
            (to / name).chmod(0o700)
            for inner in (to / name).iterdir():
                inner.chmod(0o600)
        elif path.is_file() and not (to / name).exists():
            descriptor = os.open(to / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(path.read_bytes())
