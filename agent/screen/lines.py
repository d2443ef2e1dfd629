"""Lines of toned text of an exact width, which the full screen paints and the plain renderer prints."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from rich.cells import cell_len, chop_cells, set_cell_size

ELLIPSIS = "…"
_BIDI_CONTROLS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f")


class Tone(StrEnum):
    """How a piece of text is meant; a symbol or a word always says the same."""

    PLAIN = "plain"
    STRONG = "strong"
    MUTED = "muted"
    NOW = "now"
    GOOD = "good"
    WARN = "warn"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of text in one tone."""

    text: str
    tone: Tone = Tone.PLAIN


Line = tuple[Span, ...]
EMPTY: Line = ()


def line(text: str, tone: Tone = Tone.PLAIN) -> Line:
    """A line of one span."""
    return (Span(text, tone),)


def text_of(spans: Line) -> str:
    """The text without its tones and without spaces at the end."""
    return "".join(span.text for span in spans).rstrip()


def width_of(spans: Line) -> int:
    """How many terminal cells the line takes."""
    return sum(cell_len(span.text) for span in spans)


def clean(text: str) -> str:
    """The text without anything that could move the cursor or turn the reading direction; line ends stay."""
    return "".join(_printable(character) for character in text.replace("\r\n", "\n"))


def _printable(character: str) -> str:
    if character == "\n":
        return character
    if character in _BIDI_CONTROLS:
        return ""
    if unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"}:
        return " "
    return character


def one_line(text: str) -> str:
    """The cleaned text on one line, runs of white space made one space."""
    return " ".join(clean(text).split())


def shorten(text: str, width: int) -> str:
    """The text in at most `width` cells; an ellipsis says that something is missing."""
    text = one_line(text)
    if cell_len(text) <= width:
        return text
    return set_cell_size(text, width - 1).rstrip() + ELLIPSIS if width > 0 else ""


def fit(text: str, width: int) -> str:
    """The text in exactly `width` cells."""
    return set_cell_size(shorten(text, width), max(width, 0))


def wrap(text: str, width: int, lines_max: int | None = None) -> tuple[str, ...]:
    """The text broken at spaces into lines of at most `width` cells; the last one says when something is missing."""
    lines = [
        row for paragraph in clean(text).strip().split("\n") for row in _wrapped(paragraph, width)
    ]
    if lines_max is None or len(lines) <= lines_max:
        return tuple(lines)
    last = set_cell_size(lines[lines_max - 1], min(cell_len(lines[lines_max - 1]), width - 2))
    return (*lines[: lines_max - 1], f"{last} {ELLIPSIS}")


def _wrapped(paragraph: str, width: int) -> Iterator[str]:
    row = ""
    for word in _words(paragraph, width):
        candidate = f"{row} {word}" if row else word
        if cell_len(candidate) > width:
            yield row
            candidate = word
        row = candidate
    yield row


def _words(paragraph: str, width: int) -> Iterator[str]:
    for word in paragraph.split():
        yield from chop_cells(word, width)


def spread(left: Line, right: Line, width: int) -> Line:
    """Left and right on one line of `width` cells; where both do not fit, the left one is shortened."""
    right = clip(right, width)
    left = clip(left, width - width_of(right) - (2 if right else 0))
    return (*left, Span(" " * (width - width_of(left) - width_of(right))), *right)


def clip(spans: Line, width: int) -> Line:
    """The line in at most `width` cells."""
    if width <= 0:
        return EMPTY
    if width_of(spans) <= width:
        return spans
    kept: list[Span] = []
    for span in spans:
        room = width - width_of(tuple(kept))
        if cell_len(span.text) >= room:
            kept.append(
                Span(set_cell_size(span.text, max(room - 1, 0)).rstrip() + ELLIPSIS, span.tone)
            )
            break
        kept.append(span)
    return tuple(kept)


def joined(parts: Sequence[str]) -> str:
    """The parts that say something, with a dot between."""
    return " · ".join(part for part in parts if part)
