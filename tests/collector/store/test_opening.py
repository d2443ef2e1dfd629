"""What can't be opened is refused with one sentence."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import select

from collector.store import schema
from collector.store.database import StoreFailed, upsert
from collector.store.store import Store
from collector.upkeep.data_directory import DataInUse, collector_id
from tests.collector.fleet import NOON_MS


def test_a_file_that_is_no_store_is_refused_with_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    path.write_bytes(b"not a database, and longer than a header of SQLite is " * 20)
    with pytest.raises(StoreFailed, match="not a database"):
        Store(f"sqlite:///{path}", now_ms=NOON_MS)


def test_a_url_that_is_no_database_is_refused_with_the_remedy() -> None:
    with pytest.raises(StoreFailed, match="give sqlite:///FILE or postgresql"):
        Store("nonsense", now_ms=NOON_MS)


def test_a_server_that_is_not_there_is_named_without_the_password(tmp_path: Path) -> None:
    with pytest.raises(StoreFailed, match="failed") as refused:
        Store(f"postgresql+psycopg://esp:secret@/esp?host={tmp_path}", now_ms=NOON_MS)
    assert "secret" not in str(refused.value)


def test_a_sqlite_store_writes_everything_to_the_disk_before_a_commit_is_over(
    tmp_path: Path,
) -> None:
    """An acknowledgement promises that a report outlives a power cut."""
    store = Store(f"sqlite:///{tmp_path / 'store.sqlite'}", now_ms=NOON_MS)
    for transaction in (store.database.writing, store.database.reading):
        with transaction() as connection:
            for setting, value in (
                ("journal_mode", "wal"),
                ("synchronous", 2),
                ("foreign_keys", 1),
            ):
                found = connection.exec_driver_sql(f"PRAGMA {setting}").scalar()
                assert found == value, setting
    store.close()


def test_those_who_write_to_sqlite_take_turns(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path / 'store.sqlite'}", now_ms=NOON_MS)
    values = {"name": "n", "value": ""}

    def add_one(_: int) -> None:
        with store.database.writing() as connection:
            row = connection.execute(select(schema.SETTINGS.c.value)).scalar()
            upsert(connection, schema.SETTINGS, [{**values, "value": f"{row or ''}x"}])

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(add_one, range(40)))
    with store.database.reading() as connection:
        assert connection.execute(select(schema.SETTINGS.c.value)).scalar() == "x" * 40
    store.close()


def test_a_data_directory_has_one_name_and_one_process(tmp_path: Path) -> None:
    with (
        collector_id(tmp_path) as name,
        pytest.raises(DataInUse, match="stop it, or give"),
        collector_id(tmp_path),
    ):
        pass
    with collector_id(tmp_path) as again:
        assert again == name
