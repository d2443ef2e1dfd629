"""The Enrollment Status Page as a Textual screen: draws what its source says, and sends back what the person wants."""

from __future__ import annotations

from datetime import tzinfo

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.message import Message
from textual.screen import Screen

from agent.screen.frame import Frame
from agent.screen.hints import Situation, hints
from agent.screen.items import Detail, item_list
from agent.screen.lines import line
from agent.screen.list_pane import ListPane
from agent.screen.notice import EmergencyExit, Intent
from agent.screen.notice_pane import ActionLine, NoticePane
from agent.screen.overview import head
from agent.screen.page import Viewer, notice_of
from agent.screen.painted import Painted
from agent.screen.ports import ScreenSource
from agent.screen.reporting import reporting_line
from agent.screen.sending import IntentSender
from agent.screen.theme import DARK, LIGHT, THEMES
from agent.wire.progress import Progress, Reporting


class EspScreen(Screen[None]):
    """One device's page. It owns no enrollment state: only what is folded, scrolled and focused.

    It dismisses itself when the person leaves or the source ends.
    """

    AUTO_FOCUS = ""
    DEFAULT_CSS = """
    EspScreen { align-horizontal: center; background: $background; color: $foreground; }
    EspScreen > #page { width: 100%; max-width: 126; height: 100%; padding: 0 2; }
    EspScreen > #page.-roomy { padding: 1 3; }
    EspScreen #head, EspScreen #reporting, EspScreen #hints { height: auto; }
    EspScreen #head { border-bottom: solid $border; }
    EspScreen #page.-roomy #head { margin-bottom: 1; }
    EspScreen #foot { height: auto; border-top: solid $border; }
    """
    BINDINGS = [
        Binding("up", "scroll_list(-1)", show=False),
        Binding("down", "scroll_list(1)", show=False),
        Binding("pageup", "scroll_list(-10)", show=False),
        Binding("pagedown", "scroll_list(10)", show=False),
        Binding("home", "scroll_list(-100000)", show=False),
        Binding("end", "scroll_list(100000)", show=False),
        Binding("d", "details", show=False),
        Binding("f", "follow", show=False),
        Binding("t", "theme", show=False),
        Binding("ctrl+e", "emergency_exit", show=False),
        Binding("q", "leave", show=False),
        Binding("enter", "use_device", show=False),
    ]

    class SourceEnded(Message):
        """There will be nothing more to draw."""

    class Arrived(Message):
        """The source has something new to draw; a newer one replaces one that is not drawn yet."""

        def __init__(self, progress: Progress, reporting: Reporting) -> None:
            super().__init__()
            self.progress = progress
            self.reporting = reporting

        def can_replace(self, message: Message) -> bool:
            """Only the newest is worth drawing."""
            return isinstance(message, EspScreen.Arrived)

    def __init__(
        self, source: ScreenSource, *, watching: bool = False, zone: tzinfo | None = None
    ) -> None:
        """`watching` is True for the page of another device; `zone` is for times of day, None is this machine's."""
        super().__init__()
        self._source = source
        self._viewer = Viewer(watching, source.can_act, source.emergency_exit_allowed, zone)
        self._latest: tuple[Progress, Reporting] | None = None
        self._shown_percent: tuple[str, int] = ("", 0)
        self._everything = False
        self._sender = IntentSender(self, source, self._offers)

    def compose(self) -> ComposeResult:
        """Head, notice, list and foot, from top to bottom."""
        with Vertical(id="page"):
            yield Painted(id="head")
            yield NoticePane(id="notice")
            yield ListPane(id="list")
            with Vertical(id="foot"):
                yield Painted(id="reporting")
                yield Painted(id="hints")

    def on_mount(self) -> None:
        """Begin to listen."""
        self._follow_source()

    @work(name="snapshots")
    async def _follow_source(self) -> None:
        async for progress, reporting in self._source.snapshots():
            self.post_message(self.Arrived(progress, reporting))
        self.post_message(self.SourceEnded())

    async def on_esp_screen_arrived(self, message: Arrived) -> None:
        """Draw the newest snapshot."""
        self._latest = (message.progress, message.reporting)
        await self._draw()

    def on_esp_screen_source_ended(self) -> None:
        """Nothing more to show."""
        self._close()

    async def on_resize(self) -> None:
        """Draw the same at the new size."""
        await self._draw()

    @property
    def _frame(self) -> Frame:
        return Frame.of(self.app.size)

    async def _draw(self) -> None:
        frame = self._frame
        self.query_one("#page").set_class(frame.roomy, "-roomy")
        if self._latest is None:
            self.query_one("#head", Painted).show((line("Looking at this device …"),))
            return
        progress, reporting = self._latest
        viewer = self._viewer
        notice = notice_of(progress, viewer)
        top = head(progress, self._percent(progress), frame.width, frame.roomy, viewer.mark)
        self.query_one("#head", Painted).show(top)
        await self.query_one(NoticePane).show(
            notice, frame.width, frame.notice_height(len(top)), roomy=frame.roomy
        )
        detail = Detail(frame.width - 2, roomy=frame.roomy, everything=self._everything)
        self.query_one(ListPane).show(item_list(progress, detail))
        said = reporting_line(
            reporting,
            frame.width,
            viewer.zone,
            watching=viewer.watching,
            over=progress.end_state is not None,
        )
        self.query_one("#reporting", Painted).show((said,))
        self._draw_hints()

    def _percent(self, progress: Progress) -> int:
        """Progress never falls on screen within an attempt, in whatever order snapshots come."""
        attempt, percent = self._shown_percent
        shown = max(progress.percent, percent if attempt == progress.attempt else 0)
        self._shown_percent = (progress.attempt, shown)
        return shown

    def _draw_hints(self) -> None:
        progress = self._latest[0] if self._latest else None
        situation = Situation(
            actions=bool(self.query(ActionLine)),
            chosen=isinstance(self.focused, ActionLine),
            everything=self._everything,
            following=self.query_one(ListPane).following,
            own_theme=self.app.theme in THEMES,
        )
        width = self._frame.width
        said = hints(progress, self._viewer, situation, width)
        self.query_one("#hints", Painted).show((said,))

    def on_descendant_focus(self) -> None:
        """An action was chosen: Enter presses it now."""
        self._draw_hints()

    def on_descendant_blur(self) -> None:
        """No action is chosen any more."""
        self._draw_hints()

    async def action_scroll_list(self, lines: int) -> None:
        """A person looks around."""
        self.query_one(ListPane).move(lines)
        self._draw_hints()

    async def action_follow(self) -> None:
        """Back to what happens now."""
        self.query_one(ListPane).follow()
        self._draw_hints()

    async def action_details(self) -> None:
        """Unfold everything, or fold it again."""
        self._everything = not self._everything
        await self._draw()

    def action_theme(self) -> None:
        """Dark or light, where this page's own themes are in use."""
        if self.app.theme in THEMES:
            self.app.theme = LIGHT.name if self.app.theme == DARK.name else DARK.name

    def action_leave(self) -> None:
        """Close the page; while the gate is locked the person at the device can't."""
        if self.may_leave:
            self._close()

    def action_use_device(self) -> None:
        """Close the page from the device itself; a watcher's Enter does nothing."""
        if self._viewer.at_device:
            self.action_leave()

    def action_emergency_exit(self) -> None:
        """Ask for confirmation, where the emergency exit is allowed."""
        if self._viewer.emergency_exit_allowed and self._viewer.at_device and not self.may_leave:
            self._carry_out(EmergencyExit())

    def _offers(self, intent: Intent) -> bool:
        return self.query_one(NoticePane).offers(intent)

    @property
    def may_leave(self) -> bool:
        """Whether the page may be closed now."""
        return self._viewer.may_leave(self._latest[0] if self._latest else None)

    def on_action_line_pressed(self, message: ActionLine.Pressed) -> None:
        """The person pressed something."""
        self._carry_out(message.action.intent)

    @work(name="intent")
    async def _carry_out(self, intent: Intent) -> None:
        closes = await self._sender.send(intent)
        # The gate may have been locked again between the drawing and the pressing.
        if closes and (self.may_leave or isinstance(intent, EmergencyExit)):
            self._close()

    def _close(self) -> None:
        """Close the page, and a question that may stand before it."""
        if self in self.app.screen_stack:
            self.pop_until_active()
            self.dismiss()
