"""Reads the attempts of the incomplete-enrollments report, counted by day and by how they ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import case, func, select

from agent.wire.vocabulary import EndState, EnrollmentType, Section
from collector.incomplete import PLATFORMS, Begun, Range
from collector.store import schema
from collector.store.database import Database

_T: Final = schema.ATTEMPTS
_ENDING: Final = (
    _T.c.enrollment_type,
    _T.c.end_state,
    _T.c.section,
    _T.c.action_name,
    _T.c.user_action,
    _T.c.screen,
)
IS_OF_THE_REPORT: Final = _T.c.enrollment_type.in_([p.value for p in PLATFORMS])
"""As the index has it, so that the query may use it."""


def begun(database: Database, days: Range, systems: Sequence[EnrollmentType] = ()) -> list[Begun]:
    """The attempts that were begun in these days, counted."""
    edges = days.edges_ms
    day = case(*((_T.c.begun_ms < end, n) for n, end in enumerate(edges[1:]))).label("day")
    query = (
        select(day, *_ENDING, func.count().label("attempts"))
        .where(IS_OF_THE_REPORT, _T.c.begun_ms >= edges[0], _T.c.begun_ms < edges[-1])
        # By its label, because the expression has a condition for each day.
        .group_by("day", *_ENDING)
    )
    if systems:
        query = query.where(_T.c.enrollment_type.in_([s.value for s in systems]))
    with database.reading() as connection:
        return [_begun(row) for row in connection.execute(query).mappings()]


def _begun(row: Mapping[Any, Any]) -> Begun:
    return Begun(
        day=row["day"],
        enrollment_type=EnrollmentType(row["enrollment_type"]),
        end_state=None if row["end_state"] is None else EndState(row["end_state"]),
        section=None if row["section"] is None else Section(row["section"]),
        action_name=row["action_name"],
        user_action=row["user_action"],
        screen=row["screen"],
        attempts=row["attempts"],
    )
