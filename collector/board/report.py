"""The incomplete-enrollments report as one pane: roll-up, daily lines and the table of actions."""

from __future__ import annotations

from dataclasses import replace
from datetime import tzinfo
from typing import ClassVar, Final

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.timer import Timer
from textual.widgets import Static

from agent.wire.vocabulary import Section
from collector.board.chart import Legend, SectionChart
from collector.board.panels import Panel
from collector.board.ports import BoardSource, IncompleteReport, ReportFilter, SourceRefused
from collector.board.rows import Column, Row
from collector.pages import text

REFRESH_S: Final = 30.0
RANGES_DAYS: Final = (7, 14, 30)
SYSTEMS: Final = (None, "ios", "android")
_SYSTEM_NAMES: Final = {None: "iOS and Android", "ios": "iOS/iPadOS", "android": "Android"}

ACTIONS: Final = (
    Column("Action name", 19, 2),
    Column("Screen or flow", 14, 3),
    Column("Platform", 11, 1),
    Column("User action", 19, 1),
    Column("Count", 5, figures=True),
)


class ReportPane(Vertical):
    """Asks for the report while it is looked at."""

    KEYS: ClassVar[list[tuple[str, str]]] = [
        ("d", "days"),
        ("o", "operating system"),
        ("e", "section"),
        ("↑↓", "scroll"),
    ]
    DEFAULT_CSS = """
    ReportPane { height: 1fr; }
    ReportPane > #roll-up { height: auto; padding: 1 1 0 1; }
    ReportPane > #looked-at { height: 1; padding: 0 1; color: $foreground 70%; }
    ReportPane > #legend { height: auto; padding: 0 1; }
    ReportPane > #chart { height: 1fr; margin: 0 1; }
    ReportPane > Panel { height: 8; }
    ReportPane.-wide > Panel { height: 15; }
    ReportPane.-wide > #looked-at { margin-bottom: 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("d", "days", show=False),
        Binding("o", "operating_system", show=False),
        Binding("e", "section", show=False),
    ]

    def __init__(self, source: BoardSource, zone: tzinfo | None) -> None:
        super().__init__(id="report")
        self._source = source
        self._zone = zone
        self._wanted = ReportFilter()
        self._latest: IncompleteReport | None = None
        self._timer: Timer | None = None

    def compose(self) -> ComposeResult:
        """Figures, chart, table."""
        yield Static(id="roll-up")
        yield Static(id="looked-at")
        yield SectionChart(widget_id="chart")
        yield Legend(id="legend")
        yield Panel("User actions", "Nobody gave up in this range.", ACTIONS, "actions")

    def look(self, *, wide: bool, at_it: bool) -> None:
        """It is looked at, or no longer."""
        self.set_class(wide, "-wide")
        if at_it and self._timer is None:
            self._timer = self.set_interval(REFRESH_S, self._ask)
            self._ask()
        elif not at_it and self._timer is not None:
            self._timer.stop()
            self._timer = None
        if at_it:
            self.query_one("#actions", Panel).listing.focus()

    @work(name="report", exclusive=True)
    async def _ask(self) -> None:
        try:
            self._latest = await self._source.report(self._wanted)
        except SourceRefused as refused:
            self.query_one("#looked-at", Static).update(Text(str(refused), "bold"))
            return
        self._draw(self._latest)

    def on_mount(self) -> None:
        """Signs and names change their colours with the theme."""
        self.app.theme_changed_signal.subscribe(self, lambda _: self._draw_again())

    def _draw_again(self) -> None:
        if self._latest is not None:
            self._draw(self._latest)

    def _draw(self, report: IncompleteReport) -> None:
        wanted = self._wanted
        self.query_one("#roll-up", Static).update(
            Text.assemble(
                (f"{report.initiated:,}", "bold"),
                " initiated   ",
                (f"{report.incomplete:,}", "bold"),
                " incomplete   ",
                (text.percent(report.rate_percent), "bold"),
                " abandoned",
            )
        )
        about = [f"last {wanted.days} days", _SYSTEM_NAMES[wanted.operating_system]]
        about.append(wanted.section.value if wanted.section else "all sections")
        if report.days:
            about[0] += f" ({report.days[0]:%d %b} to {report.days[-1]:%d %b}, UTC)"
        self.query_one("#looked-at", Static).update(" · ".join(about))
        self.query_one(SectionChart).show(report.days, report.lines)
        self.query_one(Legend).show(report.lines, wanted.section)
        self.query_one("#actions", Panel).show(action_rows(report))

    def _look_for(self, wanted: ReportFilter) -> None:
        self._wanted = wanted
        self._ask()

    def action_days(self) -> None:
        """Another range of days."""
        at = RANGES_DAYS.index(self._wanted.days)
        self._look_for(replace(self._wanted, days=RANGES_DAYS[(at + 1) % len(RANGES_DAYS)]))

    def action_operating_system(self) -> None:
        """One operating system, or both."""
        at = SYSTEMS.index(self._wanted.operating_system)
        self._look_for(replace(self._wanted, operating_system=SYSTEMS[(at + 1) % len(SYSTEMS)]))

    def action_section(self) -> None:
        """One section, or all."""
        every = (None, *Section)
        at = every.index(self._wanted.section)
        self._look_for(replace(self._wanted, section=every[(at + 1) % len(every)]))


def action_rows(report: IncompleteReport) -> list[Row]:
    """The four tables one after the other, the most frequent first in each; rows without a count are left out."""
    counted = [row for row in report.actions if row.count]
    sections = list(Section)
    counted.sort(key=lambda row: (sections.index(row.section), -row.count))
    return [
        Row(
            f"{row.section.value}/{row.action_name}/{row.screen}/{row.platform}/{row.user_action}",
            (
                _cell(row.action_name),
                _cell(row.screen),
                _cell(row.platform),
                _cell(row.user_action),
                Text(f"{row.count:,}".rjust(5)),
            ),
            None,
            (None, None, None, None, row.count),
        )
        for row in counted
    ]


def _cell(value: str) -> Text:
    return Text(value, overflow="ellipsis", no_wrap=True)
