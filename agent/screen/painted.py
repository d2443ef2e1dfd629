"""A widget that shows lines, and repaints only when they changed."""

from __future__ import annotations

from textual.widgets import Static

from agent.screen.lines import Line
from agent.screen.theme import paint


class Painted(Static):
    """Lines that are already of the right width."""

    def __init__(self, *, id: str) -> None:  # noqa: A002 - Textual's own name for it
        super().__init__(id=id, markup=False)
        self._lines: tuple[Line, ...] | None = None

    def show(self, lines: tuple[Line, ...]) -> bool:
        """Show these lines; True when they are new."""
        if lines == self._lines:
            return False
        moved = self._lines is None or len(lines) != len(self._lines)
        self._lines = lines
        self.update(paint(lines), layout=moved)
        return True
