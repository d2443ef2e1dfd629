"""`esp-collector migrate` and `export`: they work on the store itself, so they ask for no token."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from collector.api import report_lines, stored_lines
from collector.commands.command_line import EXIT_USAGE, Data, DatabaseUrl, Json, fail, print_line
from collector.service import database_url
from collector.store.database import Database, StoreFailed
from collector.store.migrating import migrate
from collector.store.store import Store


def migrate_command(
    data: Data,
    database: DatabaseUrl = None,
    *,
    as_json: Json = False,
) -> None:
    """Bring the store of an earlier version to this one, all of it or nothing. `serve` does the same when it starts.

    \b
    Example:
      esp-collector migrate --data ./esp/collector
    """
    _refuse_no_store(data, database)
    try:
        opened = Database(database or database_url(data))
        try:
            done = migrate(opened)
        finally:
            opened.close()
    except StoreFailed as failed:
        fail(failed, EXIT_USAGE)
    if as_json:
        print_line(json.dumps({"before": done.before, "after": done.after}))
    elif done.changed:
        print_line(f"the store is at {done.after} now; it was {done.before or 'empty'}")
    else:
        print_line(f"the store is at {done.after} already")


def _refuse_no_store(data: Path, database: str | None) -> None:
    path = data / "store.sqlite"
    if database is None and not path.exists():
        fail(f"{path}: there is no store; check --data", EXIT_USAGE)


def export_command(
    data: Data,
    database: DatabaseUrl = None,
    *,
    reports: Annotated[
        bool,
        typer.Option("--reports", help="The reports themselves, as `esp-sim fit` reads them."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Every stored report and every recorded loss with its digest, one JSON object a line.

    With --reports it is the history: device, stream, seq and report. It names devices and users, as the reports do.

    \b
    Example:
      esp-collector export --data ./esp/collector --reports > reports.jsonl
    """
    del as_json  # There is no other form; the option is there because every other command has it.
    _refuse_no_store(data, database)
    try:
        store = Store(database or database_url(data), now_ms=0)
        try:
            for line in report_lines(store) if reports else stored_lines(store):
                typer.echo(line, nl=False)
        finally:
            store.close()
    except StoreFailed as failed:
        fail(failed, EXIT_USAGE)
