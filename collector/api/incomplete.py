"""The incomplete-enrollments report, as JSON and as tables for spreadsheets."""

from __future__ import annotations

from datetime import UTC, date, datetime, tzinfo
from typing import Annotated, Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from agent.wire.vocabulary import Section
from collector.access import Role
from collector.api.conditional import tagged
from collector.api.problems import ALWAYS
from collector.api.services import Given, Services, needs
from collector.files import ContentRefused
from collector.incomplete import BACK_DAYS, Range, RangeRefused, report
from collector.pages.incomplete_page import (
    CsvTable,
    IncompleteEnrollments,
    OperatingSystem,
    answer,
    as_csv,
)
from collector.queries import incomplete

PATH: Final = "/api/reports/incomplete-user-enrollments"

router = APIRouter(
    prefix=PATH,
    tags=["Incomplete enrollments"],
    dependencies=[needs(Role.READ)],
    responses=ALWAYS,
)

_GENERATED: Final[dict[str, Any]] = {"generated_at": True}


class ReportQuery(BaseModel):
    """Which part of the report; without any of it, the last 14 days of both systems."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    first: Annotated[
        date | None,
        Field(alias="from", description=f"The first day, at most {BACK_DAYS} days before today."),
    ] = None
    last: Annotated[date | None, Field(alias="to", description="The last day; today else.")] = None
    days: Annotated[
        int | None, Field(ge=1, le=BACK_DAYS + 1, description="How many days, instead of `from`.")
    ] = None
    os: Annotated[
        tuple[OperatingSystem, ...], Field(max_length=2, description="Only these systems.")
    ] = ()
    section: Annotated[
        tuple[Section, ...],
        Field(
            max_length=4,
            description="Only what was abandoned in these sections; `initiated` counts all the same.",
        ),
    ] = ()
    time_zone: Annotated[
        str,
        Field(
            max_length=64,
            pattern=r"^[A-Za-z0-9_+/-]+$",
            description="Whose days are counted: a name of the IANA time zone database.",
            examples=["Europe/Berlin"],
        ),
    ] = "UTC"


def zone_named(name: str) -> tzinfo:
    """A time zone. Raises `ContentRefused` when there is none of this name."""
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ContentRefused(
            "time_zone", f"there is no zone '{name}'; give one such as Europe/Berlin, or UTC"
        ) from None


def range_of(
    given: Services, zone: tzinfo, first: date | None, last: date | None, days: int | None
) -> Range:
    """The days that were asked for. Raises `ContentRefused` for a range that the report does not have."""
    try:
        now = datetime.fromtimestamp(given.clock.now_ms() / 1000, zone)
        return Range.asked(now, first=first, last=last, days=days)
    except RangeRefused as refused:
        raise ContentRefused(refused.key, refused.sentence) from None


def _report(given: Services, asked: ReportQuery) -> IncompleteEnrollments:
    days = range_of(given, zone_named(asked.time_zone), asked.first, asked.last, asked.days)
    systems = tuple(s.enrollment_type for s in asked.os)
    begun = incomplete.begun(given.store.database, days, systems)
    found = report(begun, len(days.days), asked.section, systems)
    generated_at = datetime.fromtimestamp(given.clock.now_ms() / 1000, UTC)
    return answer(found, days, generated_at, asked.os)


@router.get("")
def incomplete_enrollments(
    given: Given, asked: Annotated[ReportQuery, Query()], request: Request, response: Response
) -> IncompleteEnrollments:
    """Initiated and incomplete enrollments, a line for each section, and the four tables of actions."""
    return tagged(request, response, _report(given, asked), _GENERATED)


@router.get(
    "/{table}.csv",
    response_class=Response,
    responses={200: {"content": {"text/csv": {"schema": {"type": "string"}}}}},
)
def table_as_csv(given: Given, table: CsvTable, asked: Annotated[ReportQuery, Query()]) -> Response:
    """One table of the report for a spreadsheet: the roll-up, one line a day, or the actions."""
    return Response(
        as_csv(_report(given, asked), table),
        media_type="text/csv; charset=utf-8; header=present",
        headers={
            "Content-Disposition": f'attachment; filename="incomplete-user-enrollments-{table.value}.csv"'
        },
    )
