"""The commands of `esp-collector` that keep its data in order: backup, restore and retention."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from collector.answer import moment
from collector.clock import ScaledClock
from collector.commands.command_line import (
    EXIT_USAGE,
    Data,
    DatabaseUrl,
    Json,
    counted,
    fail,
    print_line,
)
from collector.store.database import StoreFailed
from collector.store.store import Store
from collector.upkeep.backup import (
    STORE_FILE,
    BackupRefused,
    back_up,
    postgres_command,
    postgres_restore_command,
    restore,
)
from collector.upkeep.retention import KEEP_DAYS_MIN, Removed, Retention


def backup_command(
    data: Data,
    to: Annotated[Path, typer.Option(help="A directory that is not there yet.")],
    database: DatabaseUrl = None,
    *,
    as_json: Json = False,
) -> None:
    """Copy store, keys and token while the collector runs, and check the copy.

    Whoever has the copy can command every device: keep it as you keep passwords.

    \b
    Example:
      esp-collector backup --data ./esp/collector --to ./backup-monday
    """
    if database is not None and not database.startswith("sqlite"):
        fail(
            f"a PostgreSQL store is copied by its own program: {postgres_command(database, to)} "
            f"- and copy {data / 'keys'} and {data / 'token'} beside it",
            EXIT_USAGE,
        )
    try:
        made = back_up(data, to, datetime.now(UTC))
    except BackupRefused as refused:
        fail(refused, EXIT_USAGE)
    except OSError as error:
        fail(
            f"--to {to}: can't be written ({error.strerror}); choose another directory", EXIT_USAGE
        )
    told = (
        f"copied {counted(made.reports, 'report')} of {counted(made.attempts, 'attempt')} to {to}"
    )
    print_line(json.dumps(asdict(made)) if as_json else told)


def restore_command(
    data: Data,
    source: Annotated[Path, typer.Option("--from", help="The directory that `backup` wrote.")],
    database: DatabaseUrl = None,
    *,
    replace: Annotated[
        bool, typer.Option("--replace", help="Set the store aside that is there now.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Put a copy back. No collector may run on this directory.

    Devices then send again what they still hold, at least that of the last 7 days; what is older than that and not in the copy
    is recorded as lost.

    \b
    Example:
      esp-collector restore --data ./esp/collector --from ./backup-monday --replace
    """
    if database is not None and not database.startswith("sqlite"):
        fail(
            "a PostgreSQL store is put back by its own programs, with all collectors stopped: "
            f"{postgres_restore_command(database, source)}",
            EXIT_USAGE,
        )
    try:
        made = restore(source, data, datetime.now(UTC), replace=replace)
    except BackupRefused as refused:
        fail(refused, EXIT_USAGE)
    except OSError as error:
        fail(f"--data {data}: can't be written ({error.strerror}); check it", EXIT_USAGE)
    told = f"restored {counted(made.reports, 'report')} of {counted(made.attempts, 'attempt')}; start the collector again"
    print_line(json.dumps(asdict(made)) if as_json else told)


def retain_command(
    data: Data,
    keep: Annotated[
        int, typer.Option(min=KEEP_DAYS_MIN, help="Days for which reports of ended attempts stay.")
    ],
    database: DatabaseUrl = None,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count, and remove nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Let go of the reports of attempts that ended more than so many days ago; all figures stay what they are.

    Whole attempts only, and never an open one. May run while a collector does; `serve --keep` does the same by itself.

    \b
    Example:
      esp-collector retain --data ./esp/collector --keep 90 --dry-run
    """
    path = data / STORE_FILE
    if database is None and not path.is_file():
        fail(f"{path}: there is no store; check --data", EXIT_USAGE)
    try:
        store = Store(database or f"sqlite:///{path}", now_ms=0)
        try:
            retention = Retention(store.database)
            now_ms = ScaledClock(origin_ms=store.made_ms).now_ms()
            work = retention.due if dry_run else retention.run
            print_line(_told(work(keep, now_ms), dry_run=dry_run, as_json=as_json))
        finally:
            store.close()
    except StoreFailed as failed:
        fail(failed, EXIT_USAGE)


def _told(removed: Removed, *, dry_run: bool, as_json: bool) -> str:
    before = moment(removed.ended_before_ms)
    if as_json:
        told: dict[str, Any] = {
            "ended_before": before.isoformat(),
            "attempts": removed.attempts,
            "reports": removed.reports,
            "removed": not dry_run,
        }
        return json.dumps(told)
    verb = "would remove" if dry_run else "removed"
    return (
        f"{verb} {counted(removed.reports, 'report')} of {counted(removed.attempts, 'attempt')} that ended before "
        f"{before:%Y-%m-%d %H:%M} UTC"
    )
