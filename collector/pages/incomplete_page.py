"""The incomplete-enrollments report as data and as tables for spreadsheets."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from datetime import date, datetime
from enum import StrEnum
from typing import Any

from pydantic import Field

from agent.wire.vocabulary import EnrollmentType, Section
from collector.answer import Answer
from collector.incomplete import Action, Range, Report


class OperatingSystem(StrEnum):
    """What the report can be narrowed to."""

    IOS = "ios"
    ANDROID = "android"

    @property
    def enrollment_type(self) -> EnrollmentType:
        """Whose attempts these are."""
        return (
            EnrollmentType.IOS if self is OperatingSystem.IOS else EnrollmentType.ANDROID_ENTERPRISE
        )


class RollUp(Answer):
    """The figures at the top of the report."""

    initiated: int
    """Attempts that were begun in the range."""
    incomplete: int
    """Of these, the ones that ended without an enrolled and compliant device."""
    abandoned: int
    """Of these, the ones that somebody gave up."""
    incomplete_rate_percent: float | None
    """Abandoned of initiated; null while nothing was initiated."""


class DayCount(Answer):
    """One point of a line."""

    day: date
    abandoned: int


class SectionLine(Answer):
    """The line of one section: a point for each day, and their sum."""

    section: Section
    abandoned: int
    days: tuple[DayCount, ...]


class ActionRow(Answer):
    """One row of a table."""

    id: str | None
    """The row's id in docs/definitions.md; null for an action that the tables have no row for."""
    action_name: str
    screen_or_flow: str
    platform: str
    user_action: str
    count: int


class ActionTable(Answer):
    """The table of one section, and after it the actions that it has no row for."""

    section: Section
    rows: tuple[ActionRow, ...]
    others: tuple[ActionRow, ...]


class IncompleteEnrollments(Answer):
    """The incomplete-enrollments report."""

    generated_at: datetime
    first_day: date
    last_day: date
    time_zone: str
    operating_systems: tuple[OperatingSystem, ...]
    sections: tuple[Section, ...]
    roll_up: RollUp
    lines: tuple[SectionLine, ...]
    tables: tuple[ActionTable, ...]
    without_section: int = Field(description="Abandoned outside of the four sections.")


def answer(
    found: Report,
    days: Range,
    generated_at: datetime,
    systems: Sequence[OperatingSystem],
) -> IncompleteEnrollments:
    """The report as it is answered."""
    rate = found.rate
    return IncompleteEnrollments(
        generated_at=generated_at,
        first_day=days.first,
        last_day=days.last,
        time_zone=str(days.zone),
        operating_systems=tuple(systems) or tuple(OperatingSystem),
        sections=tuple(found.lines),
        roll_up=RollUp(
            initiated=found.initiated,
            incomplete=found.incomplete,
            abandoned=found.abandoned,
            incomplete_rate_percent=None if rate is None else round(rate * 100, 1),
        ),
        lines=tuple(
            SectionLine(
                section=section,
                abandoned=sum(counts),
                days=tuple(
                    DayCount(day=day, abandoned=count)
                    for day, count in zip(days.days, counts, strict=True)
                ),
            )
            for section, counts in found.lines.items()
        ),
        tables=tuple(
            ActionTable(
                section=section,
                rows=tuple(_row(action) for action in actions),
                others=tuple(_row(a) for a in found.others if a.section is section),
            )
            for section, actions in found.tables.items()
        ),
        without_section=found.without_section,
    )


def _row(action: Action) -> ActionRow:
    return ActionRow(
        id=action.id,
        action_name=action.action_name,
        screen_or_flow=action.screen,
        platform=action.platform,
        user_action=action.user_action,
        count=action.attempts,
    )


class CsvTable(StrEnum):
    """The tables that the report has for spreadsheets."""

    ROLL_UP = "roll-up"
    DAYS = "days"
    ACTIONS = "actions"


def as_csv(report: IncompleteEnrollments, table: CsvTable) -> str:
    """One table of the report, as RFC 4180 has it."""
    lines: Iterable[Sequence[Any]]
    match table:
        case CsvTable.ROLL_UP:
            heads = ("first_day", "last_day", *RollUp.model_fields)
            lines = [(report.first_day, report.last_day, *dict(report.roll_up).values())]
        case CsvTable.DAYS:
            heads = ("day", *(line.section.value for line in report.lines))
            counts = ([p.abandoned for p in line.days] for line in report.lines)
            days = [point.day for point in report.lines[0].days]
            lines = zip(days, *counts, strict=True)
        case CsvTable.ACTIONS:
            heads = ("section", *ActionRow.model_fields)
            lines = [
                (found.section.value, *dict(row).values())
                for found in report.tables
                for row in (*found.rows, *found.others)
            ]
    written = io.StringIO()
    writer = csv.writer(written)
    writer.writerow(heads)
    writer.writerows([[_cell(value) for value in line] for line in lines])
    return written.getvalue()


def _cell(value: Any) -> Any:
    """Text that a spreadsheet would take for a formula is marked as text: action names come from devices."""
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return f"'{value}"
    return value
