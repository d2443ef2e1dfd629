"""How the board speaks: lines of keys, the important ones first, and the theme's own colours behind colour names."""

from __future__ import annotations

from collections.abc import Iterable

from rich.terminal_theme import TerminalTheme
from rich.text import Text
from textual.color import Color
from textual.theme import Theme

_GAP = "   "


def hint_line(keys: Iterable[tuple[str, str]], width: int) -> Text:
    """Each key with what it does; one that does not fit is left out."""
    told = Text()
    for key, does in keys:
        more = Text.assemble(_GAP if told else "", (key, "bold"), f" {does}")
        if told.cell_len + more.cell_len <= width:
            told.append_text(more)
    return told


def terminal_colours(theme: Theme) -> TerminalTheme:
    """What `red` and `green` in a cell come to in this theme, so that both can be read on its background."""
    red, green, yellow = theme.error, theme.success, theme.warning
    blue, plain = theme.primary, theme.foreground
    eight = [_rgb(name) for name in (theme.background, red, green, yellow, blue, blue, blue, plain)]
    return TerminalTheme(_rgb(theme.background), _rgb(plain), eight, eight)


def _rgb(name: str | None) -> tuple[int, int, int]:
    assert name is not None, "our themes say every colour"
    return Color.parse(name).rgb
