"""Sees from outside when each report is stored: it asks the collector's database, as any other reader would see it."""

from __future__ import annotations

import sqlite3
import threading
import time
from array import array
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

from simulator.live.delivery_audit import ReportKey

LOOK_S: Final = 0.01
"""How often it looks; a report counts as stored at the first look that shows it, never earlier."""


class StoreWatch:
    """Watches a collector's SQLite file on this machine, in a thread of its own. `close` it in the end."""

    def __init__(self, store: Path) -> None:
        self._store = store
        self._at_s = array("d")
        self._through = array("q")
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="store watch", daemon=True)
        self._thread.start()

    @property
    def stored(self) -> int:
        """Reports that are stored now."""
        return self._through[-1] if self._through else 0

    def close(self) -> None:
        """Look once more, and stop."""
        self._ending.set()
        self._thread.join()

    def stored_at(self, order: int) -> float | None:
        """When report number `order` of the store was first seen, in seconds of the monotonic clock."""
        place = bisect_left(self._through, order)
        return self._at_s[place] if place < len(self._through) else None

    def orders(self) -> dict[str, dict[int, int]]:
        """For each stream, each report's number in it with its place in the store. Raises `sqlite3.Error`."""
        found: dict[str, dict[int, int]] = {}
        with closing(self._open()) as database:
            for stream, seq, order in _rows(database):
                found.setdefault(stream, {})[seq] = order
        return found

    def reports(self) -> list[ReportKey]:
        """Every stored report, as often as it is there, without asking the collector. Raises `sqlite3.Error`."""
        with closing(self._open()) as database:
            rows = database.execute(
                "SELECT streams.device, streams.stream, events.seq, events.digest FROM events"
                " JOIN streams ON streams.id = events.stream_id"
            )
            return [ReportKey(*row) for row in rows]

    def _watch(self) -> None:
        with closing(self._open()) as database:
            while not self._ending.wait(LOOK_S):
                self._look(database)
            self._look(database)

    def _look(self, database: sqlite3.Connection) -> None:
        try:
            (last,) = database.execute("SELECT MAX(id) FROM events").fetchone()
        except sqlite3.Error:
            # Seen at the next look, later than it was: what is said of it stays true.
            return
        # Read after the answer, so that nothing is said to be stored before it was.
        now_s = time.monotonic()
        if last is not None and last > self.stored:
            self._at_s.append(now_s)
            self._through.append(last)

    def _open(self) -> sqlite3.Connection:
        uri = f"{self._store.absolute().as_uri()}?mode=ro"
        return sqlite3.connect(uri, uri=True, timeout=1)


def _rows(database: sqlite3.Connection) -> Iterator[tuple[str, int, int]]:
    yield from database.execute(
        "SELECT streams.stream, events.seq, events.id FROM events"
        " JOIN streams ON streams.id = events.stream_id"
    )
