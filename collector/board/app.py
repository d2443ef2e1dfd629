"""The board's program: draws snapshots, moves between views, and opens a device's screen or history."""

from __future__ import annotations

import os
from datetime import tzinfo
from typing import ClassVar, Final

from rich.text import Text
from textual import work
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.widgets import DataTable, Input, Static

from agent.screen.screen import EspScreen
from agent.screen.theme import DARK, LIGHT, THEMES, initial_theme
from collector.board.device import DeviceScreen
from collector.board.ports import BoardSnapshot, BoardSource, Unanswered, WatchedScreen
from collector.board.report import ReportPane
from collector.board.status import OF_DEVICES, TABLES, StatusPane
from collector.board.words import hint_line, terminal_colours

REPORT: Final = "report"
VIEWS: Final = (*TABLES, REPORT)
WIDE_COLUMNS: Final = 110
WIDE_LINES: Final = 34


class BoardApp(App[None], inherit_bindings=False):
    """The enrollment status page and its report. It owns nothing but what is looked at."""

    ENABLE_COMMAND_PALETTE = False
    TITLE = "Enrollment Status"
    CSS = """
    #board { background: $background; color: $foreground; }
    #board #head { height: 1; padding: 0 1; }
    #board #head > #title { width: auto; color: $primary; text-style: bold; padding-right: 2; }
    #board #head > #views { width: 1fr; }
    #board #head > #news { width: auto; max-width: 40; color: $foreground 70%; }
    #board #problem { height: auto; max-height: 3; padding: 0 1; background: $error; color: $background; display: none; }
    #board #problem.-shown { display: block; }
    #board #hints { height: 1; padding: 0 1; color: $foreground 70%; }
    #board #filter { height: 1; border: none; padding: 0 1; background: $panel; display: none; }
    #board #filter.-shown { display: block; }
    #board StatusPane { display: block; }
    #board ReportPane { display: none; }
    #board.-report StatusPane { display: none; }
    #board.-report ReportPane { display: block; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q,ctrl+c,ctrl+q", "leave", "Quit"),
        Binding("enter", "open", "Open", priority=False),
        Binding("h", "history", show=False),
        Binding("slash", "filter", show=False),
        Binding("s", "sort", show=False),
        Binding("S", "turn", show=False),
        Binding("t", "theme", show=False),
        Binding("escape", "step_back", show=False),
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
        self.register_theme(DARK)
        self.register_theme(LIGHT)
        self.theme = initial_theme(os.environ)
        self.ansi_theme_dark = terminal_colours(DARK)
        self.ansi_theme_light = terminal_colours(LIGHT)

    def compose(self) -> ComposeResult:
        """Head, what is looked at, hints."""
        with Vertical(id="board"):
            with Horizontal(id="head"):
                yield Static("Enrollment", id="title")
                yield Static(id="views")
                yield Static("…", id="news")
            yield Static(id="problem")
            yield StatusPane()
            yield ReportPane(self._source, self._zone)
            wanted = Input(
                placeholder="device, user, platform, stage …  Enter keep · Esc clear", id="filter"
            )
            wanted.cursor_blink = False
            yield wanted
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

    @property
    def _on_board(self) -> bool:
        return len(self.screen_stack) == 1

    @property
    def _status(self) -> StatusPane:
        return self.screen_stack[0].query_one(StatusPane)

    @property
    def _report(self) -> ReportPane:
        return self.screen_stack[0].query_one(ReportPane)

    def _static(self, name: str) -> Static:
        return self.screen_stack[0].query_one(f"#{name}", Static)

    def _lay_out(self) -> None:
        reporting = self._view == REPORT
        self.screen_stack[0].query_one("#board").set_class(reporting, "-report")
        self._report.look(wide=self._wide, at_it=reporting)
        if not reporting:
            self._status.lay_out(self._view, wide=self._wide)
        self._draw_head()

    def _draw_head(self) -> None:
        views = Text()
        for number, name in enumerate(VIEWS, 1):
            # The view is told by its brackets too: not everybody sees colours, or reversed text.
            here = name == self._view
            told = f"[{number} {name.capitalize()}]" if here else f" {number} {name.capitalize()} "
            views.append(told, "bold" if here else "dim")
        self._static("views").update(views)
        self._static("hints").update(hint_line(self._keys(), self.size.width - 2))

    def _keys(self) -> list[tuple[str, str]]:
        if self._view == REPORT:
            return [*ReportPane.KEYS, ("1-4", "status"), ("t", "light/dark"), ("q", "quit")]
        of_devices = [("Enter", "screen"), ("h", "history, commands"), ("/", "filter")]
        return [
            *(of_devices if self._wide or self._view in OF_DEVICES else []),
            ("s S", "sort"),
            ("Tab", "next table") if self._wide else ("1-5", "view"),
            ("t", "light/dark"),
            ("q", "quit"),
            ("↑↓", "choose"),
        ]

    @work(name="snapshots")
    async def _follow_source(self) -> None:
        async for news in self._source.snapshots():
            self.post_message(self.Arrived(news))

    def on_board_app_arrived(self, message: Arrived) -> None:
        """Draw the newest; without an answer the last one stays."""
        match message.news:
            case BoardSnapshot() as snapshot:
                self._static("problem").remove_class("-shown")
                at = snapshot.status.generated_at.astimezone(self._zone)
                self._static("news").update(f"{at:%H:%M:%S}")
                self._status.show(snapshot)
            case Unanswered(sentence=sentence, since=since):
                told = f"Not up to date since {since.astimezone(self._zone):%H:%M:%S}: {sentence}"
                self._static("problem").update(Text(told))
                self._static("problem").add_class("-shown")

    # What the keys do

    def action_view(self, name: str) -> None:
        """Another view, or in the wide layout another table."""
        if self._on_board:
            self._view = name
            self._lay_out()

    def action_filter(self) -> None:
        """Ask for words to look for."""
        if self._on_board and self._view != REPORT:
            box = self._filter_box
            box.add_class("-shown")
            box.focus()

    @property
    def _filter_box(self) -> Input:
        return self.screen_stack[0].query_one("#filter", Input)

    def on_input_changed(self, message: Input.Changed) -> None:
        """Filter while it is typed."""
        if message.input is self._filter_box:
            self._status.filter(message.value.strip())

    def on_input_submitted(self, message: Input.Submitted) -> None:
        """Keep the filter, and go back to the table."""
        if message.input is self._filter_box:
            self._close_filter()

    def _close_filter(self) -> None:
        self._filter_box.remove_class("-shown")
        self._status.listing.focus()

    def action_step_back(self) -> None:
        """From a device's screen to the board; on the board the filter goes."""
        if isinstance(self.screen, EspScreen):
            self.screen.action_leave()
        elif self._on_board:
            self._filter_box.value = ""
            self._close_filter()

    def action_sort(self) -> None:
        """By the next column."""
        if self._on_board and self._view != REPORT:
            listing = self._status.listing
            listing.sort_by(listing.order.next_of(listing.headings))

    def action_turn(self) -> None:
        """The other way round."""
        if self._on_board and self._view != REPORT:
            listing = self._status.listing
            listing.sort_by(listing.order.turned)

    def action_theme(self) -> None:
        """Light or dark."""
        if self.theme in THEMES:
            self.theme = LIGHT.name if self.theme == DARK.name else DARK.name

    def on_data_table_row_selected(self, _: DataTable.RowSelected) -> None:
        """Enter, or a click on the row under the cursor."""
        self.action_open()

    def action_open(self) -> None:
        """The screen of the device under the cursor."""
        if self._on_board and self._view != REPORT and self._status.device is not None:
            self.look_at(self._status.device)

    def action_history(self) -> None:
        """The history of the device under the cursor, and commands to it."""
        if self._on_board and self._view != REPORT and self._status.device is not None:
            self.push_screen(DeviceScreen(self._source, self._status.device, self._zone))

    def on_device_screen_screen_wanted(self, message: DeviceScreen.ScreenWanted) -> None:
        """From a device's history to its screen."""
        self.look_at(message.device)

    def look_at(self, device: str) -> None:
        """Open a device's screen, live, over whatever is shown."""
        source: WatchedScreen = self._source.screen(device)

        def tell_why_it_ended(_: object) -> None:
            if source.problem:
                self.notify(source.problem, markup=False)

        self.push_screen(EspScreen(source, watching=True, zone=self._zone), tell_why_it_ended)

    def action_leave(self) -> None:
        """End the program from the board; what stands over it has its own way out."""
        if self._on_board:
            self.exit()
