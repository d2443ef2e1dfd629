"""The report's line chart: one line for each section, told apart by its sign as well as by its colour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Final

from rich.text import Text
from textual.widgets import Static
from textual_plotext import PlotextPlot

from agent.screen.theme import LIGHT
from agent.wire.vocabulary import Section

SIGNS: Final[Mapping[Section, str]] = {
    Section.SETUP_CHECKLIST: "●",
    Section.PLATFORM_SCREENS: "▲",
    Section.TERMS_OF_USE: "■",
    Section.COMPLIANCE_ACTIVATION: "✚",
}
_Rgb = tuple[int, int, int]
_ON_DARK: Final[Mapping[Section, _Rgb]] = {
    Section.SETUP_CHECKLIST: (108, 178, 255),
    Section.PLATFORM_SCREENS: (240, 192, 96),
    Section.TERMS_OF_USE: (111, 208, 140),
    Section.COMPLIANCE_ACTIVATION: (255, 128, 128),
}
_ON_LIGHT: Final[Mapping[Section, _Rgb]] = {
    Section.SETUP_CHECKLIST: (11, 92, 173),
    Section.PLATFORM_SCREENS: (138, 90, 0),
    Section.TERMS_OF_USE: (27, 110, 55),
    Section.COMPLIANCE_ACTIVATION: (179, 38, 30),
}
_TICKS_MAX: Final = 8
_HEIGHT_TICKS: Final = 4
_ONE_LINE: Final = 100
_TALL: Final = 10


def colours(theme: str) -> Mapping[Section, _Rgb]:
    """Each section's colour, to be read on this theme's background."""
    return _ON_LIGHT if theme == LIGHT.name else _ON_DARK


class SectionChart(PlotextPlot):
    """Incomplete enrollments by section and day."""

    def __init__(self, *, widget_id: str) -> None:
        super().__init__(id=widget_id)
        self._days: tuple[date, ...] = ()
        self._lines: Mapping[Section, Sequence[int]] = {}

    def on_mount(self) -> None:
        """The lines change their colours with the theme."""
        super().on_mount()
        self.app.theme_changed_signal.subscribe(self, lambda _: self._plot_lines())

    def on_resize(self) -> None:
        """More lines have room for more figures."""
        self._plot_lines()

    def show(self, days: Sequence[date], lines: Mapping[Section, Sequence[int]]) -> None:
        """Draw these lines, one point a day."""
        self._days, self._lines = tuple(days), lines
        self._plot_lines()

    def _plot_lines(self) -> None:
        plot = self.plt
        plot.clear_figure()
        if not self._days:
            return
        at = list(range(len(self._days)))
        highest = max((count for line in self._lines.values() for count in line), default=0)
        painted = colours(self.app.theme)
        for section, counts in self._lines.items():
            colour = painted[section]
            plot.plot(at, list(counts), marker="braille", color=colour)
            plot.scatter(at, list(counts), marker=SIGNS[section], color=colour)
        plot.ylim(0, max(highest, _HEIGHT_TICKS))
        plot.yticks(*_height_ticks(max(highest, _HEIGHT_TICKS), self.size.height))
        step = -(-len(at) // _TICKS_MAX)
        shown = at[::-1][::step][::-1]
        plot.xticks([float(n) for n in shown], [f"{self._days[n]:%d %b}" for n in shown])
        plot.frame(False)
        self.refresh()


def _height_ticks(highest: int, lines: int) -> tuple[list[float], list[str]]:
    """Whole numbers only: nobody gives up by halves; on few lines the ends, and the middle if it is one."""
    step = -(-highest // _HEIGHT_TICKS)
    if lines < _TALL:
        step = highest // 2 if highest % 2 == 0 else highest
    at = list(range(0, highest + 1, step))
    return [float(n) for n in at], [str(n) for n in at]


class Legend(Static):
    """Each section's sign and name, with how many gave up in it."""

    def show(self, lines: Mapping[Section, Sequence[int]], chosen: Section | None) -> None:
        """Draw the sums; a chosen section is marked."""
        painted = colours(self.app.theme)
        told = Text()
        for section, counts in lines.items():
            red, green, blue = painted[section]
            told.append(SIGNS[section], f"rgb({red},{green},{blue})")
            told.append(f" {section.value} ", "bold" if section is chosen else "")
            told.append(f"{sum(counts):,}", "bold")
            two_lines = section is Section.PLATFORM_SCREENS and self.size.width < _ONE_LINE
            told.append("\n" if two_lines else "   ")
        self.update(told)
