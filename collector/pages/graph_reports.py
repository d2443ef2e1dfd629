"""The three reports that Microsoft Graph withdrew, as tables in the shape that their callers read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field

from agent.wire.vocabulary import EndState, EnrollmentType, Section
from collector.answer import Answer, moment
from collector.attempts import AttemptView
from collector.files import ContentRefused
from collector.incomplete import COMPLETE, SCREEN_OR_FLOW, Begun, row_of
from collector.pages.odata_filter import ColumnType, parsed, sorted_by
from collector.reports import failure_of

TEXT: Final = ColumnType.STRING
COUNT: Final = ColumnType.INTEGER
MOMENT: Final = ColumnType.MOMENT
SHARE: Final = ColumnType.DOUBLE

DATE: Final = "Date"
RATE: Final = "IncompleteRate"

SECTION_COUNTS: Final = {
    Section.SETUP_CHECKLIST: "SetupChecklistCount",
    Section.PLATFORM_SCREENS: "PlatformScreensCount",
    Section.TERMS_OF_USE: "TermsOfUseCount",
    Section.COMPLIANCE_ACTIVATION: "ComplianceActivationCount",
}
SUMMARY: Final[Mapping[str, ColumnType]] = {
    DATE: MOMENT,
    "Platform": TEXT,
    "InitiatedCount": COUNT,
    "IncompleteCount": COUNT,
    "AbandonedCount": COUNT,
    **dict.fromkeys(SECTION_COUNTS.values(), COUNT),
    RATE: SHARE,
}
"""One row a day and system."""

DETAILS: Final[Mapping[str, ColumnType]] = {
    DATE: MOMENT,
    "Platform": TEXT,
    "Section": TEXT,
    "ActionName": TEXT,
    "ScreenOrFlow": TEXT,
    "UserAction": TEXT,
    "ActionId": TEXT,
    "AbandonedCount": COUNT,
}
"""One row a day, system and action that ended an attempt."""

FAILURES: Final[Mapping[str, ColumnType]] = {
    DATE: MOMENT,
    "DeviceName": TEXT,
    "UserPrincipalName": TEXT,
    "Platform": TEXT,
    "OSVersion": TEXT,
    "EnrollmentType": TEXT,
    "FailureCategory": TEXT,
    "FailureReason": TEXT,
    "ErrorCode": TEXT,
    "Detail": TEXT,
    "EndState": TEXT,
    "Section": TEXT,
    "ActionName": TEXT,
    "UserAction": TEXT,
    "AttemptNumber": COUNT,
    "FailureCount": COUNT,
}
"""One row for each attempt that failed, of all five enrollment types."""

TOP_MAX: Final = 10_000

Words = Annotated[str, Field(max_length=100)]


class ReportRequest(BaseModel):
    """What a caller of Graph sends: every member is optional."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Words | None = None
    select: Annotated[tuple[Words, ...], Field(max_length=50)] | None = None
    search: Words | None = None
    groupBy: Annotated[tuple[Words, ...], Field(max_length=20)] | None = None  # noqa: N815
    orderBy: Annotated[tuple[Words, ...], Field(max_length=20)] | None = None  # noqa: N815
    skip: Annotated[int, Field(ge=0, le=2**31)] | None = None
    top: Annotated[int, Field(ge=0, le=TOP_MAX)] | None = None
    sessionId: Annotated[str, Field(max_length=200)] | None = None  # noqa: N815
    filter: Annotated[str, Field(max_length=4_000)] | None = None


class SchemaColumn(Answer):
    """One column of the answer."""

    Column: str
    PropertyType: str


class ReportAnswer(Answer):
    """The table as Graph's reports have it."""

    TotalRowCount: int
    """How many rows there are before `skip` and `top`."""
    Schema: tuple[SchemaColumn, ...]
    Values: tuple[tuple[Any, ...], ...]
    SessionId: str


Record = dict[str, Any]


def answer(
    rows: Iterable[Record], columns: Mapping[str, ColumnType], asked: ReportRequest
) -> ReportAnswer:
    """Filter, search, group, sort and cut the rows as asked.

    Raises:
        ContentRefused: the request names a column that is not there, or its filter can't be read.
    """
    found = list(rows)
    if asked.filter and asked.filter.strip():
        test = parsed(asked.filter, columns)
        found = [row for row in found if test(row)]
    if asked.search:
        found = [row for row in found if _holds(row, asked.search.casefold())]
    if asked.groupBy:
        found, columns = _grouped(found, columns, asked.groupBy)
    found = sorted_by(found, asked.orderBy or (), columns)
    chosen = _known(asked.select, columns, "select") if asked.select else tuple(columns)
    begin = asked.skip or 0
    cut = found[begin : begin + (TOP_MAX if asked.top is None else asked.top)]
    return ReportAnswer(
        TotalRowCount=len(found),
        Schema=tuple(SchemaColumn(Column=c, PropertyType=columns[c].value) for c in chosen),
        Values=tuple(tuple(_written(row[c]) for c in chosen) for row in cut),
        SessionId=asked.sessionId or "",
    )


def _holds(row: Record, part: str) -> bool:
    return any(isinstance(value, str) and part in value.casefold() for value in row.values())


def _known(names: Sequence[str], columns: Mapping[str, ColumnType], key: str) -> tuple[str, ...]:
    for index, name in enumerate(names):
        if name not in columns:
            raise ContentRefused(
                f"{key}[{index}]", f"'{name}' is no column; use one of: {', '.join(columns)}"
            )
    return tuple(dict.fromkeys(names))


def _grouped(
    rows: Sequence[Record], columns: Mapping[str, ColumnType], by: Sequence[str]
) -> tuple[list[Record], Mapping[str, ColumnType]]:
    """One row for each group, with its counts added up; a rate is computed anew."""
    keys = _known(by, columns, "groupBy")
    sums = [c for c in columns if c.endswith("Count") and c not in keys]
    groups: dict[tuple[Any, ...], Record] = {}
    for row in rows:
        key = tuple(row[c] for c in keys)
        group = groups.setdefault(key, dict(zip(keys, key, strict=True)) | dict.fromkeys(sums, 0))
        for name in sums:
            group[name] += row[name]
    kept = {c: t for c, t in columns.items() if c in keys or c in sums}
    if RATE in columns and {"InitiatedCount", "AbandonedCount"} <= set(sums):
        kept[RATE] = SHARE
        for group in groups.values():
            group[RATE] = rate(group["AbandonedCount"], group["InitiatedCount"])
    return list(groups.values()), kept


def _written(value: Any) -> Any:
    return value.strftime("%Y-%m-%dT%H:%M:%SZ") if isinstance(value, datetime) else value


def rate(abandoned: int, initiated: int) -> float | None:
    """In per cent; None while nothing was initiated."""
    return round(abandoned / initiated * 100, 1) if initiated else None


def _system(enrollment_type: EnrollmentType) -> str:
    return (
        "Android" if enrollment_type is EnrollmentType.ANDROID_ENTERPRISE else enrollment_type.label
    )


def summary_rows(begun: Iterable[Begun], day_of: Callable[[int], datetime]) -> list[Record]:
    """Initiated, incomplete and abandoned attempts, a row for each day and system that had any."""
    rows: dict[tuple[int, EnrollmentType], Record] = {}
    for one in sorted(begun, key=lambda b: (b.day, b.enrollment_type)):
        row = rows.setdefault(
            (one.day, one.enrollment_type),
            {
                DATE: day_of(one.day),
                "Platform": _system(one.enrollment_type),
                **{c: 0 for c, kind in SUMMARY.items() if kind is COUNT},
            },
        )
        row["InitiatedCount"] += one.attempts
        if one.end_state is not None and one.end_state not in COMPLETE:
            row["IncompleteCount"] += one.attempts
        if one.end_state is EndState.ABANDONED:
            row["AbandonedCount"] += one.attempts
            if one.section is not None:
                row[SECTION_COUNTS[one.section]] += one.attempts
    for row in rows.values():
        row[RATE] = rate(row["AbandonedCount"], row["InitiatedCount"])
    return list(rows.values())


def detail_rows(begun: Iterable[Begun], day_of: Callable[[int], datetime]) -> list[Record]:
    """What ended the abandoned attempts, a row for each day, system and action."""
    rows: dict[tuple[Any, ...], Record] = {}
    for one in begun:
        if one.end_state is not EndState.ABANDONED:
            continue
        found = row_of(one)
        values = (
            day_of(one.day),
            _system(one.enrollment_type),
            None if one.section is None else one.section.value,
            one.action_name,
            one.screen if found is None else SCREEN_OR_FLOW[found.id],
            one.user_action,
            None if found is None else found.id,
        )
        row = rows.setdefault(values, dict(zip(DETAILS, (*values, 0), strict=True)))
        row["AbandonedCount"] += one.attempts
    order = sorted(rows, key=lambda values: tuple(str(value or "") for value in values))
    return [rows[values] for values in order]


def failure_rows(views: Iterable[AttemptView]) -> list[Record]:
    """The attempts that failed, the most recent first."""
    return [_failure_row(view) for view in views]


def _failure_row(view: AttemptView) -> Record:
    failure = failure_of(view)
    enrolls = view.enrollment_type
    values = (
        moment(view.failed_ms),
        view.device,
        view.user,
        view.platform,
        view.os_version,
        None if enrolls is None else enrolls.label,
        failure.kind.value,
        failure.kind.label,
        failure.code,
        failure.engineer,
        "waiting" if view.end_state is None else view.end_state.value,
        None if view.section is None else view.section.value,
        view.action_name,
        view.user_action,
        view.number,
        1,
    )
    return dict(zip(FAILURES, values, strict=True))
