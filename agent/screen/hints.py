"""The line of keys at the foot: only those that do something now."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from agent.screen.lines import Line, Span, Tone, line, spread, width_of
from agent.screen.page import Viewer
from agent.wire.progress import Progress

_GAP = "   "


@dataclass(frozen=True, slots=True)
class Situation:
    """What the keys would do now."""

    actions: bool = False
    """Whether there is something to press."""
    chosen: bool = False
    """Whether Enter would press it."""
    everything: bool = False
    """Whether the list is unfolded."""
    following: bool = True
    """Whether the list keeps what happens now in sight."""
    own_theme: bool = True
    """Whether this page's own themes are in use."""


def hints(progress: Progress | None, viewer: Viewer, situation: Situation, width: int) -> Line:
    """The keys with what they do, the important ones first, and why the page can't be closed."""
    spans: Line = ()
    for key, does in _keys(viewer, viewer.may_leave(progress), situation):
        gap = (Span(_GAP),) if spans else ()
        more = (*spans, *gap, Span(key, Tone.STRONG), Span(f" {does}", Tone.MUTED))
        if width_of(more) <= width:
            spans = more
    locked = line(_lock(progress, viewer), Tone.MUTED)
    both_fit = width_of(spans) + len(_GAP) + width_of(locked) <= width
    return spread(spans, locked if both_fit else (), width)


def _keys(viewer: Viewer, may_leave: bool, situation: Situation) -> Iterator[tuple[str, str]]:
    enter_closes = may_leave and viewer.at_device and not situation.chosen
    if may_leave:
        yield "Enter" if enter_closes else "q", "close"
    if situation.actions:
        yield "Tab", "choose"
        if not enter_closes:
            yield "Enter", "confirm"
    if viewer.at_device and viewer.emergency_exit_allowed and not may_leave:
        yield "Ctrl+E", "emergency exit"
    yield "↑↓", "scroll"
    yield "d", "less" if situation.everything else "details"
    if not situation.following:
        yield "f", "follow"
    if situation.own_theme:
        yield "t", "light/dark"


def _lock(progress: Progress | None, viewer: Viewer) -> str:
    if viewer.may_leave(progress):
        return ""
    over = progress is not None and progress.end_state is not None
    return "this device is locked" if over else "locked until setup is complete"
