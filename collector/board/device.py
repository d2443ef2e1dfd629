"""One device on the board: why it is where it is, its items, its whole history, and commands to it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import tzinfo
from typing import ClassVar, Final

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Horizontal, Vertical
from textual.message import Message
from textual.screen import Screen
from textual.widgets import Static

from collector.board import device_rows as rows
from collector.board.ordering import Ordering, described
from collector.board.panels import Listing, Panel
from collector.board.ports import BoardSource, DeviceStory, SourceRefused, Unanswered
from collector.board.words import hint_line

TABS: Final = ("items", "reports", "attempts", "commands")
SENTENCES_MAX: Final = 4
_PRESENCE: Final[Mapping[str | None, str]] = {
    "online": "online",
    "goodbye": "signed off",
    "lost": "connection lost",
}


class DeviceScreen(Screen[None]):
    """It owns nothing but what is looked at."""

    DEFAULT_CSS = """
    DeviceScreen { background: $background; color: $foreground; }
    DeviceScreen #device-head { height: 1; padding: 0 1; }
    DeviceScreen #device-about { height: 1; padding: 0 1; color: $foreground 70%; }
    DeviceScreen #device-name { width: 1fr; }
    DeviceScreen #device-tabs { width: auto; }
    DeviceScreen #device-problem { height: auto; max-height: 3; padding: 0 1; background: $error; color: $background; display: none; }
    DeviceScreen #device-problem.-shown { display: block; }
    DeviceScreen #why { height: auto; max-height: 8; padding: 0 1; margin: 1 1; border-left: thick $primary; }
    DeviceScreen #why.-help { border-left: thick $error; }
    DeviceScreen #tables { height: 1fr; }
    DeviceScreen #tables Panel { display: none; }
    DeviceScreen #tables Panel.-here { display: block; }
    DeviceScreen #device-hints { height: 1; padding: 0 1; color: $foreground 70%; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "dismiss(None)", show=False),
        Binding("enter,l", "look", show=False),
        Binding("c", "command", show=False),
        Binding("s", "sort", show=False),
        Binding("S", "turn", show=False),
        *(Binding(str(n), f"tab('{name}')", show=False) for n, name in enumerate(TABS, 1)),
    ]

    class ScreenWanted(Message):
        """The device's own screen is to be opened."""

        def __init__(self, device: str) -> None:
            super().__init__()
            self.device = device

    def __init__(self, source: BoardSource, device: str, zone: tzinfo | None) -> None:
        super().__init__()
        self._source = source
        self._device = device
        self._zone = zone
        self._tab = TABS[0]
        self._latest: DeviceStory | None = None

    def compose(self) -> ComposeResult:
        """Who it is, why it is where it is, tables, hints."""
        with Vertical():
            with Horizontal(id="device-head"):
                yield Static(Text(self._device, "bold"), id="device-name")
                yield Static(id="device-tabs")
            yield Static(id="device-about")
            yield Static(id="device-problem")
            yield Static("Asking the collector …", id="why")
            with Container(id="tables"):
                yield Panel("Items", "No item was reported yet.", rows.ITEMS, "items")
                yield Panel("Reports", "No report is stored.", rows.REPORTS, "reports")
                yield Panel("Attempts", "It has not begun an attempt.", rows.ATTEMPTS, "attempts")
                yield Panel(
                    "Commands", "No command was sent; c sends one.", rows.COMMANDS, "commands"
                )
            yield Static(id="device-hints")

    def on_mount(self) -> None:
        """Begin to listen."""
        self._show_tab()
        self._follow()

    def on_resize(self) -> None:
        """As many hints as fit."""
        self._show_tab()

    @work(name="story")
    async def _follow(self) -> None:
        async for news in self._source.stories(self._device):
            match news:
                case DeviceStory():
                    self._latest = news
                    self.query_one("#device-problem").remove_class("-shown")
                    self._draw(news)
                case Unanswered(sentence=sentence):
                    problem = self.query_one("#device-problem", Static)
                    problem.update(Text(sentence))
                    problem.add_class("-shown")

    def _draw(self, story: DeviceStory) -> None:
        self._draw_head(story)
        standing = story.standing
        why = self.query_one("#why", Static)
        why.set_class(standing.waits_for == "help desk", "-help")
        told = Text()
        waits = {
            "nothing": "Nothing to do",
            "device": "The device is at work",
            "person": "Waits for the person",
            "help desk": "! Needs the help desk",
            "collector": "Waits for the collector",
        }[standing.waits_for]
        told.append(waits, "bold")
        for sentence in standing.sentences[:SENTENCES_MAX]:
            told.append(f"\n{sentence}")
        left = len(standing.sentences) - SENTENCES_MAX
        if left > 0:
            told.append(f"\n… and {left} more", "dim")
        why.update(told)
        self._panel("items").show(rows.item_rows(story), counted=True)
        self._panel("reports").show(rows.report_rows(story, self._zone), counted=True)
        self._panel("attempts").show(rows.attempt_rows(story, self._zone), counted=True)
        self._panel("commands").show(rows.command_rows(story, self._zone), counted=True)

    def _draw_head(self, story: DeviceStory) -> None:
        attempts = story.history.attempts
        latest = attempts[-1] if attempts else None
        about = [_PRESENCE.get(story.history.presence, "never seen")]
        if latest is not None:
            about = [latest.platform, latest.user or "", f"{latest.progress_percent}%", *about]
        told = " · ".join(filter(None, about))
        self.query_one("#device-about", Static).update(Text(told))

    def _panel(self, name: str) -> Panel:
        return self.query_one(f"#{name}", Panel)

    @property
    def _listing(self) -> Listing:
        return self._panel(self._tab).listing

    def _show_tab(self) -> None:
        told = Text()
        for number, name in enumerate(TABS, 1):
            here = name == self._tab
            shown = f"[{number} {name.capitalize()}]" if here else f" {number} {name.capitalize()} "
            told.append(shown, "bold" if here else "dim")
            self._panel(name).set_class(here, "-here")
        self.query_one("#device-tabs", Static).update(told)
        self._listing.focus()
        keys = [
            ("Enter", "its screen, live"),
            ("c", "send a command"),
            ("1-4", "view"),
            ("s S", "sort"),
            ("Esc", "back"),
            ("↑↓", "scroll"),
        ]
        self.query_one("#device-hints", Static).update(hint_line(keys, self.app.size.width - 2))

    def action_tab(self, name: str) -> None:
        """Another table."""
        self._tab = name
        self._show_tab()

    def action_sort(self) -> None:
        """By the next column."""
        self._listing.sort_by(self._listing.order.next_of(self._listing.headings))

    def action_turn(self) -> None:
        """The other way round."""
        self._listing.sort_by(self._listing.order.turned)

    def on_data_table_row_selected(self) -> None:
        """Enter, or a click on the row under the cursor."""
        self.action_look()

    def action_look(self) -> None:
        """The device's own screen."""
        self.post_message(self.ScreenWanted(self._device))

    @work(name="command", exclusive=True, group="command")
    async def action_command(self) -> None:
        """Ask, have it confirmed, send."""
        if self._latest is None:
            return
        action = await Ordering(self.app, self._device, self._latest).ask()
        if action is None:
            return
        try:
            await self._source.send(self._device, action)
        except SourceRefused as refused:
            self.notify(str(refused), title="Not sent", severity="warning", markup=False)
            return
        self.notify(f"{described(action)}: sent to {self._device}.", markup=False)
        self._tab = "commands"
        self._show_tab()
