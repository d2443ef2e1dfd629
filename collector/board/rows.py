"""The cells of the board's tables: pure text and style from the page, each in a column of fixed width."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from rich.text import Text

from agent.wire.vocabulary import Stage
from collector.board.ports import BoardSnapshot
from collector.pages import page, text

BAR_CELLS: Final = 4
BAR_CELLS_WIDE: Final = 10


@dataclass(frozen=True, slots=True)
class Column:
    """One column: `least` cells wide, and `share` parts of what a wider terminal has to give."""

    head: str
    least: int
    share: int = 0
    figures: bool = False
    """Figures stand on the right, so that they can be compared."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row. `device` is whose screen Enter opens; None where there is none."""

    key: str
    cells: tuple[Text, ...]
    device: str | None = None
    sort: tuple[float | None, ...] = ()
    """What each column is sorted by where that is a number and not its text."""

    @property
    def plain(self) -> str:
        """All its text without regard to case, to look for words in."""
        return " ".join(cell.plain for cell in self.cells).casefold()

    def sort_key(self, column: int) -> tuple[int, float, str]:
        """What it is compared by in this column; rows without a value come first."""
        number = self.sort[column] if column < len(self.sort) else None
        if number is not None:
            return (1, number, "")
        written = self.cells[column].plain.casefold()
        return (0 if written == text.NOTHING else 1, 0.0, written)


_ACTIVE: Final = (
    Column("Device", 15, 2),
    Column("User", 18, 4),
    Column("Platform", 10, 1),
    Column("Stage", 17, 3),
)
ACTIVE: Final = (*_ACTIVE, Column("Progress", BAR_CELLS + 5))
ACTIVE_WIDE: Final = (*_ACTIVE, Column("Progress", BAR_CELLS_WIDE + 5))
FAILURES: Final = (
    Column("Device", 16, 2),
    Column("Platform", 10, 1),
    Column("When", 12),
    Column("Error", 10, 2),
    Column("Reason", 12, 6),
)
PLATFORMS: Final = (
    Column("Platform", 20, 1),
    Column("Total", 7, figures=True),
    Column("Last 7 days", 11, figures=True),
    Column("Success rate", 12, figures=True),
    Column("Avg time", 8, figures=True),
)
REASONS: Final = (
    Column("Reason", 27, 1),
    Column("Count", 5, figures=True),
)
PROFILES: Final = (
    Column("Profile", 14, 2),
    Column("Blocking apps", 13, figures=True),
    Column("Timeout", 8, figures=True),
    Column("Assigned groups", 15, 2),
    Column("Status", 17),
)


def widths(columns: Sequence[Column], available: int) -> list[int]:
    """Cell widths that fill `available` cells, one cell of padding on both sides of each column included."""
    spare = max(0, available - sum(column.least + 2 for column in columns))
    parts = sum(column.share for column in columns) or 1
    return [column.least + spare * column.share // parts for column in columns]


def active_rows(snapshot: BoardSnapshot, bar_cells: int) -> list[Row]:
    """The oldest first: a new enrollment comes in at the end, so what is being read stays where it is."""
    return [
        Row(
            row.device,
            (
                _cell(row.device),
                _cell(row.user),
                _cell(row.platform),
                _stage(row, snapshot.stuck.get(row.device)),
                bar(row.progress_percent, bar_cells),
            ),
            row.device,
            (None, None, None, None, row.progress_percent),
        )
        for row in reversed(snapshot.active.devices)
    ]


def _stage(row: page.ActiveEnrollment, stuck: str | None) -> Text:
    if stuck is not None:
        return _cell(f"Stuck: {stuck}", "red")
    if row.silent:
        return _cell(f"Silent: {row.stage.value}", "yellow")
    return _cell(row.stage.value, "yellow" if row.stage is Stage.WAITING_FOR_PERSON else "")


def bar(percent: int, cells: int) -> Text:
    """A bar and its figure: `━━╸─  65%`."""
    halves = percent * cells * 2 // 100
    full = "━" * (halves // 2) + "╸" * (halves % 2)
    return Text.assemble((full, "cyan"), ("─" * (cells - len(full)), "dim"), f"{percent:>4}%")


def failure_rows(snapshot: BoardSnapshot) -> list[Row]:
    """The recent failures, the newest first."""
    return [
        Row(
            row.device,
            (
                _cell(row.device),
                _cell(row.platform),
                _cell(row.age.replace("minute", "min")),
                _cell(row.code, "red"),
                _cell(row.text),
            ),
            row.device,
            (None, None, row.age_seconds, None, None),
        )
        for row in snapshot.failures.recent
    ]


def failure_sentence(row: page.RecentFailure) -> str:
    """One failure as the page tells it, with what the engineer has to know."""
    about = ", ".join(filter(None, (row.platform, row.user, row.age)))
    detail = f"{row.detail.rstrip('.')}." if row.detail else ""
    waiting = "" if row.end_state is not None else "It waits on its error screen."
    failed = f"{row.device} ({about}): Error {row.code}: {row.text}."
    return " ".join(filter(None, (failed, detail, waiting)))


def platform_rows(snapshot: BoardSnapshot) -> list[Row]:
    """Enrollment by platform."""
    return [
        Row(
            row.enrollment_type.value,
            (
                _cell(row.platform),
                _figure(f"{row.total:,}", 7),
                _figure(str(row.last_7_days), 11),
                _figure(text.percent(row.success_rate_percent), 12),
                _figure(text.minutes(row.average_minutes), 8),
            ),
            None,
            (None, row.total, row.last_7_days, row.success_rate_percent, row.average_minutes),
        )
        for row in snapshot.status.platforms
    ]


def reason_rows(snapshot: BoardSnapshot) -> list[Row]:
    """Common failure reasons."""
    return [
        Row(
            row.kind.value,
            (_cell(row.reason), _figure(str(row.count), 5)),
            None,
            (None, row.count),
        )
        for row in snapshot.failures.common_reasons
    ]


def profile_rows(snapshot: BoardSnapshot) -> list[Row]:
    """The ESP profiles."""
    return [
        Row(
            row.id,
            (
                _cell(row.name),
                _figure(
                    f"all ({row.blocking_apps})" if row.blocks_on_all else str(row.blocking_apps),
                    13,
                ),
                _figure(f"{row.timeout_minutes} min", 8),
                _cell(", ".join(row.assigned_groups)),
                _status(row),
            ),
            None,
            (None, row.blocking_apps, row.timeout_minutes, None, None),
        )
        for row in snapshot.profiles.profiles
    ]


def _status(row: page.ProfileRow) -> Text:
    style = "green" if row.status == "Active" else "dim"
    return Text.assemble((row.status, style), " (default)" if row.default else "")


def _cell(value: str | None, style: str = "") -> Text:
    """Text that says by `…` that there is more of it than room."""
    return Text(
        value or text.NOTHING, style=style if value else "dim", overflow="ellipsis", no_wrap=True
    )


def _figure(value: str, width: int) -> Text:
    return Text(value.rjust(width))
