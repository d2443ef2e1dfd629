"""Takes one device out of a journal, while it is being written."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import Final

from agent.journal.file import connect, make, transaction
from agent.journal.rows import device_key
from agent.runtime.ports import (
    JournalFailed,
    JournalUnreadable,
)

_COPIED: Final = {
    "device": "id",
    "entry": "device",
    "report": "device",
    "command": "device",
    "checkpoint": "device",
}
"""What a copy of one device takes from each table, by the column that names the device."""


def copy_device(path: Path, device: str, copy: Path) -> None:
    """Copy one device's rows, as they are in one read transaction, into a new file without side files."""
    try:
        with (
            contextlib.closing(connect(path, "ro")) as source,
            contextlib.closing(connect(copy, "rwc")) as target,
        ):
            make(target)
            source.execute("BEGIN")
            key = device_key(source, device)
            with transaction(target):
                for table, column in _COPIED.items():
                    rows = source.execute(f"SELECT * FROM {table} WHERE {column} = ?", (key,))  # noqa: S608
                    places = ", ".join("?" * len(rows.description))
                    target.executemany(f"INSERT INTO {table} VALUES ({places})", rows)  # noqa: S608
    except sqlite3.Error as error:
        raise JournalFailed(f"{path}: {error}") from error
    except JournalUnreadable as error:
        raise JournalFailed(str(error)) from error
