"""The three report calls that Microsoft Graph withdrew, under the paths that scripts call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, time, timedelta
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Body, Response

from collector.access import Role
from collector.api import examples
from collector.api.incomplete import range_of
from collector.api.problems import ALWAYS
from collector.api.services import Given, Services, needs
from collector.incomplete import BACK_DAYS, DAYS, Begun, Range
from collector.pages.graph_reports import (
    DATE,
    DETAILS,
    FAILURES,
    SUMMARY,
    Record,
    ReportAnswer,
    ReportRequest,
    answer,
    detail_rows,
    failure_rows,
    summary_rows,
)
from collector.pages.odata_filter import ColumnType, mentions
from collector.queries import attempts, incomplete

ROWS_MAX: Final = 100_000
MEDIA_TYPE: Final = "application/octet-stream"

router = APIRouter(
    prefix="/{version}/deviceManagement/reports",
    tags=["Graph reports"],
    dependencies=[needs(Role.READ)],
    responses=ALWAYS,
)

Version = Literal["beta", "v1.0"]
Asked = Annotated[ReportRequest, Body(openapi_examples=examples.REPORT_REQUESTS)]
# Graph sends JSON under this name, and its callers write the body to a file before they look into it.
_ANSWER: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": {MEDIA_TYPE: {"schema": ReportAnswer.model_json_schema()}}}
}


def _days(given: Services, asked: ReportRequest) -> Range:
    """The last 14 days; all that the reports go back to where the filter speaks of the date."""
    dated = asked.filter is not None and mentions(asked.filter, DATE)
    return range_of(given, UTC, None, None, BACK_DAYS + 1 if dated else DAYS)


def _answered(
    rows: list[Record], columns: Mapping[str, ColumnType], asked: ReportRequest
) -> Response:
    content = answer(rows, columns, asked).model_dump_json()
    return Response(content, media_type=MEDIA_TYPE)


def _counted(
    given: Services,
    asked: ReportRequest,
    made: Callable[[list[Begun], Callable[[int], datetime]], list[Record]],
) -> list[Record]:
    days = _days(given, asked)
    first = datetime.combine(days.first, time(), UTC)
    return made(incomplete.begun(given.store.database, days), lambda n: first + timedelta(days=n))


@router.post("/getEnrollmentAbandonmentSummaryReport", response_class=Response, responses=_ANSWER)
def abandonment_summary(version: Version, given: Given, asked: Asked) -> Response:
    """Initiated, incomplete and abandoned enrollments of iOS and Android, a row for each day and system."""
    del version  # Both versions of Graph answered alike.
    return _answered(_counted(given, asked, summary_rows), SUMMARY, asked)


@router.post("/getEnrollmentAbandonmentDetailsReport", response_class=Response, responses=_ANSWER)
def abandonment_details(version: Version, given: Given, asked: Asked) -> Response:
    """By which action enrollments of iOS and Android were given up, a row for each day, system and action."""
    del version
    return _answered(_counted(given, asked, detail_rows), DETAILS, asked)


@router.post("/getEnrollmentFailureDetailsReport", response_class=Response, responses=_ANSWER)
def failure_details(version: Version, given: Given, asked: Asked) -> Response:
    """The attempts that failed, of all platforms, a row for each; those that were given up are among them."""
    del version
    edges = _days(given, asked).edges_ms
    views = attempts.failed_between(given.store.database, edges[0], edges[-1], limit=ROWS_MAX)
    return _answered(failure_rows(views), FAILURES, asked)
