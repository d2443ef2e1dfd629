"""How the page is divided at a terminal's size: fixed by the size alone, never by what is shown."""

from __future__ import annotations

from dataclasses import dataclass

from textual.geometry import Size

PAGE_CELLS_MAX = 126
ROOMY_LINES = 32
LIST_LINES_MIN = 4


@dataclass(frozen=True, slots=True)
class Frame:
    """The room there is."""

    width: int
    height: int
    roomy: bool

    @classmethod
    def of(cls, size: Size) -> Frame:
        """The division at this size."""
        roomy = size.height >= ROOMY_LINES
        width = min(size.width, PAGE_CELLS_MAX) - (6 if roomy else 4)
        return cls(max(width, 20), size.height, roomy)

    def notice_height(self, head: int) -> int:
        """At most so many lines for a notice with its actions, below a head of `head` lines: the list keeps four."""
        ruled_head, foot, margins = head + 1, 3, 4 if self.roomy else 0
        return max(self.height - ruled_head - foot - margins - LIST_LINES_MIN, 4)
