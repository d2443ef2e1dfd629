"""The scrolling pane of phases, rows and items, which keeps what happens now in sight until a person scrolls."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import VerticalScroll

from agent.screen.items import ItemList
from agent.screen.painted import Painted


class ListPane(VerticalScroll, can_focus=False):
    """The list in one widget, because a widget for each row would cost its mounting and its updates."""

    DEFAULT_CSS = """
    ListPane { height: 1fr; scrollbar-size-vertical: 1; scrollbar-gutter: stable; }
    ListPane > Painted { height: auto; width: 1fr; }
    """

    def __init__(self, *, id: str) -> None:  # noqa: A002 - Textual's own name for it
        super().__init__(id=id)
        self._current: range | None = None
        self.following = True

    def compose(self) -> ComposeResult:
        """The one widget that holds all lines."""
        yield Painted(id="lines")

    def show(self, items: ItemList) -> None:
        """Show this list and, unless a person has scrolled, keep its current lines in sight."""
        self._current = items.current
        self.query_one(Painted).show(items.lines)
        self.call_after_refresh(self.follow_current)

    @property
    def in_place(self) -> bool:
        """Whether the list is where it should be: at its current lines, or where a person left it."""
        if not self.following or self._current is None:
            return True
        top, height = self.scroll_offset.y, self.size.height
        return top <= self._current.start and (
            self._current.stop <= top + height or top == self._current.start
        )

    def follow_current(self) -> None:
        """Scroll just so far that the current lines are in sight, with one line around them."""
        if not self.following or self._current is None or self.size.height == 0:
            return
        # The line above is worth less than the current ones themselves where the room is scarce.
        highest = self._current.start
        top = min(self.scroll_offset.y, max(highest - 1, 0))
        top = min(max(top, self._current.stop + 1 - self.size.height), highest)
        if top != self.scroll_offset.y:
            self.scroll_to(y=top, animate=False, immediate=True)

    def move(self, lines: int) -> None:
        """A person scrolls by this many lines; the list stays there until it is told to follow again."""
        self.following = False
        self.scroll_to(y=self.scroll_offset.y + lines, animate=False, immediate=True)

    def follow(self) -> None:
        """Keep the current lines in sight again."""
        self.following = True
        self.follow_current()
