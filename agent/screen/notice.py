"""What the page says to the person above the list, with what may be pressed: at most one notice at a time."""

from __future__ import annotations

from dataclasses import dataclass

from agent.screen.lines import Line, Span, Tone, line, wrap
from agent.wire.vocabulary import Choice, PersonAction


@dataclass(frozen=True, slots=True)
class Act:
    """Answer a person screen."""

    item: str
    action: PersonAction


@dataclass(frozen=True, slots=True)
class Choose:
    """Make a choice that is offered."""

    choice: Choice
    item: str | None = None


@dataclass(frozen=True, slots=True)
class PickItem:
    """Let the person pick the one item to try again: ids with names."""

    items: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Leave:
    """Close the page."""


@dataclass(frozen=True, slots=True)
class EmergencyExit:
    """Open the gate although setup is not complete."""


Intent = Act | Choose | PickItem | Leave | EmergencyExit


@dataclass(frozen=True, slots=True)
class Action:
    """Something to press: a short label, what follows from it, and the intent it sends."""

    label: str
    hint: str
    intent: Intent


@dataclass(frozen=True, slots=True)
class Notice:
    """A heading, a few paragraphs and the actions."""

    symbol: str
    tone: Tone
    heading: str
    paragraphs: tuple[Line, ...] = ()
    actions: tuple[Action, ...] = ()


def say(text: str, tone: Tone = Tone.PLAIN) -> Line:
    """A paragraph."""
    return line(text, tone)


def notice_lines(notice: Notice, width: int, height: int) -> tuple[Line, ...]:
    """Heading and paragraphs in at most `height` lines; where that is too little, muted paragraphs go first."""
    lines: list[Line] = []
    for row in wrap(notice.heading, width - 2, 2):
        lead = "  " if lines else f"{notice.symbol} "
        lines.append((Span(lead, notice.tone), Span(row, Tone.STRONG)))
    kept = _kept(notice.paragraphs, width - 2, height - len(lines))
    for number, paragraph in enumerate(kept):
        later = sum(_lines_needed(p, width - 2) for p in kept[number + 1 :])
        room = height - len(lines) - later
        lines.extend(_paragraph(paragraph, width - 2, max(room, 1)))
    return tuple(lines[:height])


def _kept(paragraphs: tuple[Line, ...], width: int, height: int) -> tuple[Line, ...]:
    """All paragraphs, or without the last muted ones where they do not fit.

    The very last makes room for whole failures; further ones only for what can't be cut.
    """
    kept = list(paragraphs)
    lines_of = _lines_wanted
    for number in reversed(range(len(paragraphs))):
        if sum(lines_of(p, width) for p in kept) <= height:
            break
        if _tone(paragraphs[number]) is Tone.MUTED:
            del kept[number]
            lines_of = _lines_needed
    return tuple(kept)


def _lines_wanted(paragraph: Line, width: int) -> int:
    return len(_paragraph(paragraph, width, None))


def _lines_needed(paragraph: Line, width: int) -> int:
    """A failure begins with its code and may be cut after its first line; anything else is wanted whole."""
    return 1 if _tone(paragraph) is Tone.BAD else _lines_wanted(paragraph, width)


def _tone(paragraph: Line) -> Tone:
    return paragraph[0].tone if paragraph else Tone.PLAIN


def _paragraph(paragraph: Line, width: int, lines_max: int | None) -> list[Line]:
    tone = _tone(paragraph)
    text = "".join(span.text for span in paragraph)
    return [(Span("  "), Span(row, tone)) for row in wrap(text, width, lines_max)]
