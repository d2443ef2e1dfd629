"""The colours of the page, dark and light, and the style of each tone."""

from __future__ import annotations

from collections.abc import Mapping

from textual.content import Content
from textual.theme import Theme

from agent.screen.lines import Line, Tone

DARK = Theme(
    name="esp-dark",
    dark=True,
    background="#10161f",
    surface="#10161f",
    panel="#1a2330",
    foreground="#dce4ee",
    primary="#6cb2ff",
    secondary="#6cb2ff",
    accent="#6cb2ff",
    success="#6fd08c",
    warning="#f0c060",
    error="#ff8080",
    variables={"border": "#2c3a4d", "scrollbar": "#33445a", "scrollbar-background": "#10161f"},
)
LIGHT = Theme(
    name="esp-light",
    dark=False,
    background="#fbfcfe",
    surface="#fbfcfe",
    panel="#eaf0f7",
    foreground="#1b2733",
    primary="#0b5cad",
    secondary="#0b5cad",
    accent="#0b5cad",
    success="#1b6e37",
    warning="#8a5a00",
    error="#b3261e",
    variables={"border": "#c3cedb", "scrollbar": "#b4c1d0", "scrollbar-background": "#fbfcfe"},
)
THEMES = frozenset({DARK.name, LIGHT.name})

# Only names that every Textual theme defines, because another program may show this page in its own theme.
_STYLES: dict[Tone, str] = {
    Tone.PLAIN: "",
    Tone.STRONG: "bold",
    Tone.MUTED: "$foreground 70%",
    Tone.NOW: "$primary",
    Tone.GOOD: "$success",
    Tone.WARN: "$warning",
    Tone.BAD: "$error",
}


def paint(lines: tuple[Line, ...]) -> Content:
    """Lines as Textual content in the theme's colours."""
    return Content("\n").join(
        Content.assemble(*[(span.text, _STYLES[span.tone]) for span in spans]) for spans in lines
    )


def initial_theme(environment: Mapping[str, str]) -> str:
    """Dark, unless the terminal says by COLORFGBG (`foreground;background`) that its background is light."""
    background = environment.get("COLORFGBG", "").rpartition(";")[2]
    return LIGHT.name if background in {"7", "15"} else DARK.name
