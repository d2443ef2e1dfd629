"""The board's program: draws snapshots, moves between tables, and opens a device's screen."""

from __future__ import annotations

import os
from datetime import tzinfo
from typing import ClassVar, Final

from rich.text import Text
from textual import work
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Horizontal, Vertical
from textual.message import Message
from textual.widgets import DataTable, Static

from agent.screen.screen import EspScreen
from agent.screen.theme import DARK, LIGHT, initial_theme
from collector.board import rows
from collector.board.panels import Figures, Panel
from collector.board.ports import BoardSnapshot, BoardSource, Unanswered, WatchedScreen

VIEWS: Final = ("active", "failures", "platforms", "profiles")
WIDE_COLUMNS: Final = 110
WIDE_LINES: Final = 34


class BoardApp(App[None], inherit_bindings=False):
    """The enrollment status page. It owns nothing but what is looked at."""

    ENABLE_COMMAND_PALETTE = False
    TITLE = "Enrollment Status"
    # Everything stands below the board, because a device's screen has the same names for parts of its own.
    CSS = """
    #board { background: $background; color: $foreground; }
    #board #head { height: 1; padding: 0 1; }
    #board #head > #title { width: auto; color: $primary; text-style: bold; }
    #board #head > #views { width: 1fr; padding: 0 2; }
    #board #head > #news { width: auto; max-width: 40; color: $foreground 70%; }
    #board #problem { height: auto; max-height: 3; padding: 0 1; background: $error; color: $background; display: none; }
    #board #problem.-shown { display: block; }
    #board Figures { margin: 1 0 1 1; }
    #board #hints { height: 1; padding: 0 1; color: $foreground 70%; }
    #board #panels { height: 1fr; }
    #board #panels Panel { display: none; }
    #board #panels #lower { display: none; height: 7; }
    #board #panels #failure { display: none; height: 3; padding: 0 1; color: $foreground 70%; }
    #board #panels.-active #active { display: block; }
    #board #panels.-failures #failures { display: block; }
    #board #panels.-failures #failure { display: block; }
    #board #panels.-failures #lower { display: block; }
    #board #panels.-failures #reasons { display: block; }
    #board #panels.-platforms #lower { display: block; height: 1fr; }
    #board #panels.-platforms #platforms { display: block; }
    #board #panels.-profiles #profiles { display: block; }
    #board #panels.-wide Panel { display: block; }
    #board #panels.-wide #active { margin-bottom: 1; }
    #board #panels.-wide #failures { height: 6; }
    #board #panels.-wide #failure { display: block; }
    #board #panels.-wide #lower { display: block; height: 8; }
    #board #panels.-wide #platforms { width: 2fr; }
    #board #panels.-wide #reasons { width: 1fr; }
    #board #panels.-wide #profiles { height: 5; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q,ctrl+c,ctrl+q", "leave", "Quit"),
        Binding("enter", "open", "Open", priority=False),
        Binding("escape", "close_screen", show=False),
        Binding("tab", "app.focus_next", show=False),
        Binding("shift+tab", "app.focus_previous", show=False),
        *(Binding(str(n), f"view('{name}')", show=False) for n, name in enumerate(VIEWS, 1)),
    ]

    class Arrived(Message):
        """Something to draw came in."""

        def __init__(self, news: BoardSnapshot | Unanswered) -> None:
            super().__init__()
            self.news = news

        def can_replace(self, message: Message) -> bool:
            """Only the newest is worth drawing; a page is never given up for the news that none came."""
            return isinstance(message, BoardApp.Arrived) and type(message.news) is type(self.news)

    def __init__(self, source: BoardSource, *, zone: tzinfo | None = None) -> None:
        """`zone` is for the time of day; None is this machine's."""
        super().__init__()
        self._source = source
        self._zone = zone
        self._view = VIEWS[0]
        self._latest: BoardSnapshot | None = None
        self.register_theme(DARK)
        self.register_theme(LIGHT)
        self.theme = initial_theme(os.environ)

    def compose(self) -> ComposeResult:
        """Head, figures, tables, hints."""
        with Vertical(id="board"):
            with Horizontal(id="head"):
                yield Static("Enrollment Status", id="title")
                yield Static(id="views")
                yield Static("…", id="news")
            yield Static(id="problem")
            yield Figures()
            with Container(id="panels"):
                yield Panel(
                    "Active Enrollments", "Nothing is enrolling now.", rows.ACTIVE, "active"
                )
                yield Panel("Recent Failures", "Nothing has failed.", rows.FAILURES, "failures")
                yield Static(id="failure")
                with Horizontal(id="lower"):
                    yield Panel("Enrollment by Platform", "", rows.PLATFORMS, "platforms")
                    yield Panel(
                        "Common Failure Reasons",
                        "No attempt failed in 7 days.",
                        rows.REASONS,
                        "reasons",
                    )
                yield Panel("ESP Profiles", "There is no profile.", rows.PROFILES, "profiles")
            yield Static(id="hints")

    def on_mount(self) -> None:
        """Begin to listen."""
        self._lay_out()
        self._follow_source()

    def on_resize(self) -> None:
        """Everything at once where there is room, one view at a time where there is not."""
        self._lay_out()

    @property
    def _wide(self) -> bool:
        return self.size.width >= WIDE_COLUMNS and self.size.height >= WIDE_LINES

    def _lay_out(self) -> None:
        panels = self.screen_stack[0].query_one("#panels")
        panels.set_class(self._wide, "-wide")
        self.screen_stack[0].query_one(Figures).set_class(self._wide, "-wide")
        self._panel("active").listing.set_columns(rows.ACTIVE_WIDE if self._wide else rows.ACTIVE)
        if self._latest is not None:
            self._draw(self._latest)
        for name in VIEWS:
            panels.set_class(name == self._view and not self._wide, f"-{name}")
        self._panel(self._view).listing.focus()
        self._draw_hints()

    def _panel(self, name: str) -> Panel:
        return self.screen_stack[0].query_one(f"#{name}", Panel)

    def _static(self, name: str) -> Static:
        return self.screen_stack[0].query_one(f"#{name}", Static)

    def _draw_hints(self) -> None:
        views = Text()
        for number, name in enumerate(VIEWS, 1):
            style = "bold reverse" if name == self._view and not self._wide else "dim"
            views.append(f" {number} {name.capitalize()} ", style)
        self._static("views").update(Text() if self._wide else views)
        keys = "↑↓ choose   Enter open the device's screen   "
        move = "Tab or 1-4 next table   " if self._wide else "1-4 view   "
        self._static("hints").update(f"{keys}{move}q quit")

    @work(name="snapshots")
    async def _follow_source(self) -> None:
        async for news in self._source.snapshots():
            self.post_message(self.Arrived(news))

    def on_board_app_arrived(self, message: Arrived) -> None:
        """Draw the newest; without an answer the last one stays."""
        match message.news:
            case BoardSnapshot() as snapshot:
                self._static("problem").remove_class("-shown")
                self._latest = snapshot
                self._draw(snapshot)
            case Unanswered(sentence=sentence, since=since):
                told = f"Not up to date since {since.astimezone(self._zone):%H:%M:%S}: {sentence}"
                self._static("problem").update(Text(told))
                self._static("problem").add_class("-shown")

    def _draw(self, snapshot: BoardSnapshot) -> None:
        at = snapshot.status.generated_at.astimezone(self._zone)
        self._static("news").update(f"{at:%H:%M:%S}")
        self.screen_stack[0].query_one(Figures).show(snapshot.status.overview)
        bar_cells = rows.BAR_CELLS_WIDE if self._wide else rows.BAR_CELLS
        self._panel("active").show(rows.active_rows(snapshot, bar_cells), counted=True)
        self._panel("failures").show(rows.failure_rows(snapshot), counted=True)
        self._panel("platforms").show(rows.platform_rows(snapshot))
        self._panel("reasons").show(rows.reason_rows(snapshot))
        self._panel("profiles").show(rows.profile_rows(snapshot))
        self._tell_failure(snapshot)

    def _tell_failure(self, snapshot: BoardSnapshot) -> None:
        """The failure under the cursor in full."""
        chosen = self._panel("failures").listing.device
        told = [r for r in snapshot.failures.recent if r.device == chosen]
        sentence = rows.failure_sentence(told[0]) if told else ""
        self._static("failure").update(Text(sentence, overflow="ellipsis"))

    def on_data_table_row_highlighted(self, _: DataTable.RowHighlighted) -> None:
        """The cursor moved."""
        if self._latest is not None:
            self._tell_failure(self._latest)

    def action_view(self, name: str) -> None:
        """Another view, or in the wide layout another table."""
        self._view = name
        self._lay_out()

    def on_data_table_row_selected(self, _: DataTable.RowSelected) -> None:
        """Enter, or a click on the row under the cursor."""
        self.action_open()

    def action_open(self) -> None:
        """The screen of the device under the cursor."""
        for name in ("active", "failures"):
            listing = self._panel(name).listing
            if listing.has_focus and listing.device is not None:
                self._look_at(self._source.screen(listing.device))
                return

    def _look_at(self, source: WatchedScreen) -> None:
        def tell_why_it_ended(_: object) -> None:
            if source.problem:
                self.notify(source.problem, markup=False)

        self.push_screen(EspScreen(source, watching=True, zone=self._zone), tell_why_it_ended)

    def action_close_screen(self) -> None:
        """From a device's screen to the board."""
        if isinstance(self.screen, EspScreen):
            self.screen.action_leave()

    def action_leave(self) -> None:
        """End the program from the board; a device's screen has its own way out."""
        if len(self.screen_stack) == 1:
            self.exit()
