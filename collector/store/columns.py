"""What the columns of events and attempts say, as values and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic import TypeAdapter

from agent.wire.codec import JsonCodec
from agent.wire.events import Report
from collector.attempts import Attempt, AttemptView, StoredReport

# The attempts table has a column for each field of the view, under the same name.
_VIEW: Final[TypeAdapter[AttemptView]] = TypeAdapter(AttemptView)
REPORT_CODEC: Final[JsonCodec[Report]] = JsonCodec(Report)


# PostgreSQL keeps every character but NUL, which a device may well send; this one is no character at all (Unicode
# §23.7), so nobody writes it.
_NUL, _NO_CHARACTER = "\0", "\ufffe"
_FREE_TEXT: Final = ("platform", "os_version", "user", "action_name", "user_action")


def view_of(row: Mapping[Any, Any]) -> AttemptView:
    """The view that a row of the attempts table holds."""
    values = dict(row)
    for name in _FREE_TEXT:
        if values[name] is not None and _NO_CHARACTER in values[name]:
            values[name] = values[name].replace(_NO_CHARACTER, _NUL)
    return _VIEW.validate_python(values)


def view_values(view: AttemptView) -> dict[str, Any]:
    """The row of a view."""
    values: dict[str, Any] = _VIEW.dump_python(view, mode="json")
    for name in _FREE_TEXT:
        if values[name] is not None and _NUL in values[name]:
            values[name] = values[name].replace(_NUL, _NO_CHARACTER)
    return {**values, "user_key": user_key(view.user)}


MOVES: Final = ("updated_ms", "attempt_ms", "stage", "percent", "phase", "screen")
"""The columns that most reports change, and nothing else of their attempt."""


def move_values(attempt: Attempt) -> tuple[Any, ...]:
    """`MOVES` of an attempt, then the device and the attempt that they are of."""
    return (
        attempt.updated_ms,
        attempt.attempt_ms,
        # Both are strings, and a database's driver is not to ask what more they are.
        str(attempt.stage),
        attempt.percent,
        None if attempt.phase is None else str(attempt.phase),
        attempt.screen,
        attempt.settled.device,
        attempt.settled.attempt,
    )


def user_key(user: str | None) -> str | None:
    """What two spellings of one user have in common."""
    return None if user is None else user.casefold().replace(_NUL, _NO_CHARACTER)


def stored_report(row: Mapping[Any, Any]) -> StoredReport:
    """The report that a row of the events table holds, joined with its stream."""
    return StoredReport(
        order=row["id"],
        device=row["device"],
        stream=row["stream"],
        received_ms=row["received_ms"],
        report=REPORT_CODEC.loads(row["report"]),
    )
