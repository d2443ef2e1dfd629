"""How long the answers of page and report take over a large store, on both databases.

Run as `python -m benchmarks.reports [--json] [--events N] [--database sqlite|postgresql|both] [--explain]`. A store is
filled with synthetic attempts of 50 reports each, row by row as the collector writes them; then every question that
the API asks of many rows is asked five times, in this process, from the query to the finished rows.

`--json` prints one object: `benchmark`: `"reports"`; `events`, `attempts`, `devices`; and for each database
`fill_seconds`, `mib` (its size), and `ms`: for each question the median of its answers. `ratios.to_count` is that median
to the time of counting all attempts, which every machine takes for its size. `--explain` adds `plans`: what the database
says that it does for each question.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any, Final

from sqlalchemy import event, func, insert, select, text

from agent.wire.progress import Failure
from agent.wire.vocabulary import (
    EndState,
    EnrollmentType,
    FailureKind,
    Gate,
    Phase,
    Section,
    Stage,
)
from benchmarks.ingest_load import ATTEMPT, USER, Written, written
from collector.attempts import AttemptView
from collector.incomplete import Range
from collector.janitor import HOUR_MS
from collector.queries import attempts as attempt_queries
from collector.queries import incomplete as incomplete_queries
from collector.queries.attempts import ACTIVE_ORDERS, FAILURE_ORDERS, NOTHING
from collector.store import schema
from collector.store.columns import view_values
from collector.store.database import Database
from collector.store.store import Store
from tests.collector.postgres import REASON, binaries, running_server

REPORTS: Final = 50
ROUNDS: Final = 5
NOW_MS: Final = 1_767_225_600_000
DAY_MS: Final = 24 * HOUR_MS
BATCH: Final = 400

_ENDS: Final = (
    (EndState.SUCCEEDED, 78),
    (EndState.SUCCEEDED_ON_RETRY, 4),
    (EndState.BYPASSED, 2),
    (EndState.FAILED, 5),
    (EndState.TIMED_OUT, 2),
    (EndState.ABANDONED, 5),
    (EndState.REFUSED, 1),
    (None, 3),
)
_FAILED: Final = (EndState.FAILED, EndState.TIMED_OUT, EndState.REFUSED, EndState.ABANDONED)


@dataclass(frozen=True, slots=True)
class Size:
    """How much is stored."""

    events: int

    @property
    def attempts(self) -> int:
        """Of 50 reports each."""
        return self.events // REPORTS

    @property
    def devices(self) -> int:
        """Every fourth device enrolled a second time."""
        return max(1, self.attempts * 4 // 5)


def views(size: Size) -> Iterator[AttemptView]:
    """Attempts over the last sixty days; the ones that go on began within an hour."""
    chance = random.Random(1)
    states, weights = zip(*_ENDS, strict=True)
    types = tuple(EnrollmentType)
    for number in range(size.attempts):
        state = chance.choices(states, weights)[0]
        age_ms = (size.attempts - number) * 60 * DAY_MS // size.attempts
        begun_ms = NOW_MS - age_ms if state is not None else NOW_MS - chance.randrange(HOUR_MS)
        length_ms = chance.randrange(10, 70) * 60_000
        kind = types[number % len(types)]
        view = AttemptView(
            device=f"DEVICE-{number % size.devices:06d}",
            attempt=f"attempt-{number:07d}",
            stream=f"stream-{number % size.devices:06d}",
            first_order=number * REPORTS + 1,
            latest=number + size.devices >= size.attempts,
            begun_ms=begun_ms,
            updated_ms=min(NOW_MS, begun_ms + length_ms),
            attempt_ms=length_ms,
            stage=Stage.FINISHED if state is not None else Stage.INSTALLING_APPS,
            percent=100 if state is not None else chance.randrange(100),
            number=1 + number // size.devices,
            enrollment_type=kind,
            platform=kind.label,
            os_version="10.0.22631",
            user=f"user-{number % 20_000}@company.com",
            phase=Phase.DEVICE_SETUP,
            gate=Gate.LOCKED,
        )
        yield view if state is None else _ended(view, state, chance)


def _ended(view: AttemptView, state: EndState, chance: random.Random) -> AttemptView:
    failure = None
    if state in _FAILED:
        kind = chance.choice(list(FailureKind))
        failure = Failure(kind=kind, code="0x80070643", person="It failed.", engineer="Exit 1603.")
    ended = replace(view, end_state=state, ended_ms=view.updated_ms, failure=failure)
    if state is not EndState.ABANDONED:
        return ended
    section = chance.choice(list(Section))
    return replace(
        ended, section=section, action_name="Review privacy information", user_action="Closed"
    )


def fill(store: Store, size: Size) -> None:
    """Streams, attempts and reports by bulk inserts, through the store's own tables."""
    templates = written()[:REPORTS]
    streams = [
        {
            "id": n + 1,
            "device": f"DEVICE-{n:06d}",
            "stream": f"stream-{n:06d}",
            "last_seq": REPORTS,
            "last_digest": "0" * 64,
        }
        for n in range(size.devices)
    ]
    with store.database.writing() as connection:
        for start in range(0, len(streams), 50_000):
            connection.execute(insert(schema.STREAMS), streams[start : start + 50_000])
        connection.execute(insert(schema.PRESENCE), [_presence(n) for n in range(size.devices)])
        # All that enrolled were expected, and one in ten is still.
        expected = range(size.devices + size.devices // 10)
        connection.execute(insert(schema.REGISTRATIONS), [_registration(n) for n in expected])
    waiting: list[AttemptView] = []
    for view in views(size):
        waiting.append(view)
        if len(waiting) == BATCH:
            _write(store, waiting, templates)
            waiting.clear()
    _write(store, waiting, templates)
    with store.database.writing() as connection:
        # As the databases do by themselves, sooner or later.
        connection.execute(text("ANALYZE"))


def _presence(number: int) -> dict[str, Any]:
    return {
        "device": f"DEVICE-{number:06d}",
        "stream": f"stream-{number:06d}",
        "session": 3,
        "state": "online" if number % 20 == 0 else "goodbye",
        "seen_ms": NOW_MS - number,
    }


def _registration(number: int) -> dict[str, Any]:
    kinds = tuple(EnrollmentType)
    return {
        "device": f"DEVICE-{number:06d}",
        "enrollment_type": kinds[number % len(kinds)].value,
        "user": None,
        "registered_ms": NOW_MS,
    }


def _write(store: Store, some: Sequence[AttemptView], templates: Sequence[Written]) -> None:
    if not some:
        return
    events = [one for view in some for one in _events(view, templates)]
    with store.database.writing() as connection:
        connection.execute(insert(schema.EVENTS), events)
        connection.execute(insert(schema.ATTEMPTS), [view_values(view) for view in some])


def _events(view: AttemptView, templates: Sequence[Written]) -> Iterator[dict[str, Any]]:
    number = int(view.stream.rpartition("-")[2])
    for index, template in enumerate(templates):
        report = (
            template.sent.decode().replace(ATTEMPT, view.attempt).replace(USER, view.user or "")
        )
        yield {
            "id": view.first_order + index,
            "stream_id": number + 1,
            "seq": (view.number - 1) * REPORTS + index + 1,
            "device": view.device,
            "attempt": view.attempt,
            "received_ms": view.begun_ms + index,
            "attempt_ms": index,
            "kind": json.loads(template.sent)["body"]["kind"],
            "digest": f"{view.first_order + index:064x}",
            "report": report,
        }


Question = Callable[[Store], object]


def questions(size: Size) -> dict[str, Question]:
    """What page, report, device view and collector ask."""
    now = datetime.fromtimestamp(NOW_MS / 1000, UTC)
    device = f"DEVICE-{size.devices // 2:06d}"

    def on(ask: Callable[[Database], object]) -> Question:
        return lambda store: ask(store.database)

    return {
        "count": on(_count),
        "enrollment_status": on(lambda d: attempt_queries.tallies(d, NOW_MS)),
        "pending": on(attempt_queries.waiting_registrations),
        "active": on(
            lambda d: attempt_queries.active(
                d, NOTHING, ACTIVE_ORDERS["-begun"], now_ms=NOW_MS, limit=100
            )
        ),
        "failures": on(
            lambda d: attempt_queries.failed(
                d, NOTHING, FAILURE_ORDERS["-failed"], now_ms=NOW_MS, limit=100
            )
        ),
        "failures_by_user": on(
            lambda d: attempt_queries.failed(
                d, NOTHING, FAILURE_ORDERS["user"], now_ms=NOW_MS, limit=100
            )
        ),
        "reasons_of_7_days": on(
            lambda d: attempt_queries.reasons(d, NOTHING, now_ms=NOW_MS, window_days=7)
        ),
        "reasons_of_30_days": on(
            lambda d: attempt_queries.reasons(d, NOTHING, now_ms=NOW_MS, window_days=30)
        ),
        "incomplete_14_days": on(lambda d: incomplete_queries.begun(d, Range.asked(now))),
        "incomplete_30_days": on(lambda d: incomplete_queries.begun(d, Range.asked(now, days=30))),
        "failure_details": on(
            lambda d: attempt_queries.failed_between(d, NOW_MS - 30 * DAY_MS, NOW_MS, limit=1_000)
        ),
        "device_attempts": lambda store: store.device_attempts(device),
        "device_reports": lambda store: store.device_reports(device, limit=200),
        "device_losses": lambda store: store.losses(device),
        "open_attempts": lambda store: store.open_attempts(),
        "leftovers": lambda store: _first(store.leftovers(NOW_MS - DAY_MS), 100),
        "waiting_commands": lambda store: store.waiting_commands(NOW_MS),
    }


def _count(database: Database) -> int:
    with database.reading() as connection:
        return connection.execute(select(func.count()).select_from(schema.ATTEMPTS)).scalar_one()


def _first(rows: Iterator[object], count: int) -> list[object]:
    return [row for row, _ in zip(rows, range(count), strict=False)]


def measure(url: str, size: Size, *, explain: bool) -> dict[str, Any]:
    """Fill and ask."""
    store = Store(url, now_ms=NOW_MS)
    begun_s = time.monotonic()
    fill(store, size)
    filled_s = time.monotonic() - begun_s
    asked = questions(size)
    ms = {name: round(_median_ms(store, ask), 2) for name, ask in asked.items()}
    found: dict[str, Any] = {
        "fill_seconds": round(filled_s, 1),
        "mib": round(_size(store) / 2**20),
        "ms": ms,
        "ratios": {"to_count": {name: round(took / ms["count"], 2) for name, took in ms.items()}},
    }
    if explain:
        found["plans"] = {name: _plans(store, ask) for name, ask in asked.items()}
    store.close()
    return found


def _median_ms(store: Store, ask: Question) -> float:
    took = []
    for _ in range(ROUNDS):
        begun_s = time.perf_counter()
        ask(store)
        took.append((time.perf_counter() - begun_s) * 1000)
    return median(took)


def _size(store: Store) -> int:
    query = (
        "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()"
        if store.database.is_sqlite
        else "SELECT pg_database_size(current_database())"
    )
    with store.database.reading() as connection:
        return int(connection.execute(text(query)).scalar_one())


def _plans(store: Store, ask: Question) -> list[str]:
    """What the database says that it does for each statement of a question."""
    statements: list[tuple[str, Any]] = []

    def note(_c: object, _cu: object, statement: str, values: Any, *_: object) -> None:
        if statement.startswith("SELECT"):
            statements.append((statement, values))

    engine = store.database._engine  # noqa: SLF001
    event.listen(engine, "before_cursor_execute", note)
    try:
        ask(store)
    finally:
        event.remove(engine, "before_cursor_execute", note)
    word = "EXPLAIN QUERY PLAN" if store.database.is_sqlite else "EXPLAIN"
    lines = []
    with store.database.reading() as connection:
        for statement, values in statements:
            rows = connection.exec_driver_sql(f"{word} {statement}", values)
            lines += [str(row[-1]) for row in rows]
    return lines


def main(arguments: Sequence[str] | None = None) -> None:
    """The program."""
    parser = argparse.ArgumentParser(prog="benchmarks.reports")
    parser.add_argument("--json", action="store_true", help="one JSON object on one line")
    parser.add_argument("--events", type=int, default=2_000_000, help="2,000,000 unless told")
    parser.add_argument("--database", choices=("sqlite", "postgresql", "both"), default="both")
    parser.add_argument("--explain", action="store_true", help="with the databases' plans")
    options = parser.parse_args(arguments)
    size = Size(options.events)
    found: dict[str, Any] = {
        "benchmark": "reports",
        "events": size.attempts * REPORTS,
        "attempts": size.attempts,
        "devices": size.devices,
    }
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="esp-reports-")))
        if options.database != "postgresql":
            url = f"sqlite:///{folder / 'store.sqlite'}"
            found["sqlite"] = measure(url, size, explain=options.explain)
        if options.database != "sqlite":
            bin_folder = binaries()
            if bin_folder is None:
                raise SystemExit(REASON)
            server = stack.enter_context(running_server(bin_folder, "shared_buffers=256MB"))
            found["postgresql"] = measure(server.fresh(), size, explain=options.explain)
    print(json.dumps(found, indent=None if options.json else 1))


if __name__ == "__main__":
    main()
