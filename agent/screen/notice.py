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
    """Heading and paragraphs in at most `height` lines; what is cut off ends in an ellipsis."""
    lines: list[Line] = []
    for row in wrap(notice.heading, width - 2, 2):
        lead = "  " if lines else f"{notice.symbol} "
        lines.append((Span(lead, notice.tone), Span(row, Tone.STRONG)))
    for left, paragraph in zip(
        range(len(notice.paragraphs), 0, -1), notice.paragraphs, strict=True
    ):
        room = height - len(lines) - (left - 1)
        lines.extend(_paragraph(paragraph, width - 2, max(room, 1)))
    return tuple(lines[:height])


def _paragraph(paragraph: Line, width: int, lines_max: int) -> list[Line]:
    tone = paragraph[0].tone if paragraph else Tone.PLAIN
    text = "".join(span.text for span in paragraph)
    return [(Span("  "), Span(row, tone)) for row in wrap(text, width, lines_max)]
