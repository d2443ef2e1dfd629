"""The flight recorder: an enrollment that is over, played on the page that the person at the device saw."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import tzinfo
from typing import Final

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.timer import Timer

from agent.screen.app import EspApp
from agent.screen.frame import Frame
from agent.screen.items import ItemList
from agent.screen.lines import Line, Tone, clip, line, width_of
from agent.screen.list_pane import ListPane
from agent.screen.notice_pane import NoticePane
from agent.screen.page import Viewer
from agent.screen.painted import Painted
from agent.screen.recorder_bar import TimeLine, bar, keys, note_lines
from agent.screen.recorder_player import Player
from agent.screen.recorder_ports import Shelf, Tape
from agent.screen.screen import EspScreen
from agent.screen.theme import THEMES
from agent.wire.progress import Progress

TICK_S: Final = 0.1
TOLD_S: Final = 2.0
"""How long a sentence stands before the keys."""
REPORT_LINES: Final = 1
ROOMY_REPORT_LINES: Final = 3
BAR_LINES: Final = 4
"""Beside those of the reports: signs, track, state and input."""


@dataclass(frozen=True, slots=True)
class _Looker(Viewer):
    """Who looks at a recording."""

    told: str = "recording"

    @property
    def mark(self) -> str:
        """What the page's corner says."""
        return self.told


class RecorderScreen(EspScreen):
    """The page with a bar beneath it that says where in the recording it is."""

    DEFAULT_CSS = """
    RecorderScreen #reporting { display: none; }
    RecorderScreen #notes, RecorderScreen #bar { height: auto; }
    """
    BINDINGS = [
        Binding("space", "play", show=False),
        Binding("left", "step(-1)", show=False),
        Binding("right", "step(1)", show=False),
        Binding("shift+left,left_square_bracket", "change(False)", show=False),
        Binding("shift+right,right_square_bracket", "change(True)", show=False),
        Binding("n", "failure(True)", show=False),
        Binding("N", "failure(False)", show=False),
        Binding("plus,equals_sign", "speed(1)", show=False),
        Binding("minus", "speed(-1)", show=False),
        Binding("home", "begin", show=False),
        Binding("end", "end", show=False),
        Binding("d", "next_device", show=False),
        Binding("m", "details", show=False),
        Binding("ctrl+c,ctrl+q", "leave", show=False),
    ]

    def __init__(
        self,
        shelf: Shelf,
        player: Player,
        *,
        zone: tzinfo | None = None,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(player, watching=True, zone=zone)
        self._shelf = shelf
        self._player = player
        self._steady = steady
        self._ticked_s = steady()
        self._time_line: TimeLine | None = None
        self._told = ""
        self._told_for: Timer | None = None
        self._look_at(0, zone)

    def compose(self) -> ComposeResult:
        """The page as it was, with the recorder's bar in place of the line about reports."""
        with Vertical(id="page"):
            yield Painted(id="head")
            yield NoticePane(id="notice")
            yield ListPane(id="list")
            with Vertical(id="foot"):
                yield Painted(id="notes")
                yield Painted(id="bar")
                yield Painted(id="reporting")
                yield Painted(id="hints")

    def on_mount(self) -> None:
        """Read the first recording, and let time pass."""
        self.set_interval(TICK_S, self._tick)
        self._load()

    def _tick(self) -> None:
        now_s = self._steady()
        elapsed_s, self._ticked_s = now_s - self._ticked_s, now_s
        self._player.advance(elapsed_s)

    @work(name="tape", exclusive=True, group="tape")
    async def _load(self) -> None:
        device = self._shelf.devices[self._device]
        self._player.insert(await asyncio.to_thread(self._shelf.tape, device))
        self._ticked_s = self._steady()
        if self._player.mark is None:
            self._latest = None
            await self._draw()

    @property
    def _frame(self) -> Frame:
        """The page gives up what the bar takes beyond the line about reports."""
        whole = Frame.of(self.app.size)
        taken = BAR_LINES - 1 + _report_lines(whole) + len(self._notes(whole))
        return replace(whole, height=whole.height - taken)

    def _notes(self, frame: Frame) -> tuple[Line, ...]:
        tape = self._player.tape
        return note_lines(tape.notes, frame.width, 2 if frame.roomy else 1) if tape else ()

    async def _draw(self) -> None:
        await super()._draw()
        frame = self._frame
        self._show_if_any("#notes", self._notes(frame))
        tape = self._player.tape
        if self._latest is None or tape is None or self._player.mark is None:
            await self._draw_nothing(frame, tape)
            return
        lines = bar(
            self._player,
            self._laid_out(tape, frame.width),
            frame.width,
            _report_lines(frame),
            self._viewer.zone,
        )
        self._show_if_any("#bar", lines)

    def _show_if_any(self, name: str, lines: tuple[Line, ...]) -> None:
        widget = self.query_one(name, Painted)
        widget.display = bool(lines)
        widget.show(lines)

    async def _draw_nothing(self, frame: Frame, tape: Tape | None) -> None:
        device = self._shelf.devices[self._device]
        told = f"Nothing is recorded of {device}" if tape else f"Reading what is kept of {device} …"
        self.query_one("#head", Painted).show((line(told, Tone.STRONG),))
        await self.query_one(NoticePane).show(None, frame.width, 0, roomy=frame.roomy)
        self.query_one(ListPane).show(ItemList((), None))
        self._show_if_any("#bar", ())
        self._draw_hints()

    def _laid_out(self, tape: Tape, width: int) -> TimeLine:
        known = self._time_line
        if known is None or known.tape is not tape or len(known.strokes) != width:
            self._time_line = known = TimeLine.of(tape, width)
        return known

    def _percent(self, progress: Progress) -> int:
        """A recording goes backwards too."""
        return progress.percent

    def _draw_hints(self) -> None:
        width = self._frame.width
        told = line(f"! {self._told}   " if self._told else "", Tone.WARN)
        named = keys(
            self._player,
            width - width_of(told),
            several=len(self._shelf.devices) > 1,
            everything=self._everything,
            following=self.query_one(ListPane).following,
            own_theme=self.app.theme in THEMES,
        )
        self.query_one("#hints", Painted).show((clip((*told, *named), width),))

    def action_play(self) -> None:
        """Play or pause."""
        self._ticked_s = self._steady()
        self._player.toggle()

    def action_step(self, inputs: int) -> None:
        """One input on or back."""
        self._player.step(inputs)

    def action_change(self, forward: bool) -> None:
        """To the next input that changed something, or the one before."""
        if not self._player.to_change(forward=forward):
            self._tell(f"Nothing changes {'after' if forward else 'before'} this input.")

    def action_failure(self, forward: bool) -> None:
        """To the next failure, or the one before."""
        if not self._player.to_failure(forward=forward):
            self._tell(f"Nothing fails {'after' if forward else 'before'} this input.")

    def _tell(self, sentence: str) -> None:
        """Say something before the keys for a moment; a message over the page would hide what it is about."""
        if self._told_for is not None:
            self._told_for.stop()
        self._told, self._told_for = sentence, self.set_timer(TOLD_S, self._untell)
        self._draw_hints()

    def _untell(self) -> None:
        self._told = ""
        self._draw_hints()

    def action_speed(self, steps: int) -> None:
        """Faster or slower."""
        self._player.change_speed(steps)

    def action_begin(self) -> None:
        """To the first input."""
        self._player.to_begin()

    def action_end(self) -> None:
        """To the last input."""
        self._player.to_end()

    def action_next_device(self) -> None:
        """To the next device of the journal."""
        count = len(self._shelf.devices)
        if count < 2:
            return
        self._look_at((self._device + 1) % count, self._viewer.zone)
        self._load()

    def _look_at(self, device: int, zone: tzinfo | None) -> None:
        count = len(self._shelf.devices)
        which = f" · device {device + 1} of {count}" if count > 1 else ""
        self._device = device
        self._viewer = _Looker(True, False, zone=zone, told=f"recording{which}")


def _report_lines(frame: Frame) -> int:
    return ROOMY_REPORT_LINES if frame.roomy else REPORT_LINES


class RecorderApp(EspApp):
    """Shows recordings until they are closed."""

    TITLE = "Flight recorder"

    def __init__(
        self,
        shelf: Shelf,
        *,
        playing: bool = True,
        zone: tzinfo | None = None,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        """`shelf` has at least one device; `steady` is a clock in seconds that nobody sets."""
        self.player = Player(playing=playing)
        super().__init__(self.player, watching=True, zone=zone)
        self._page = RecorderScreen(shelf, self.player, zone=zone, steady=steady)
