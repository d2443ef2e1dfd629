"""The bar of the flight recorder as lines: the time line, where it is, and what happened there."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from itertools import groupby, pairwise
from typing import Final

from rich.cells import cell_len

from agent.screen.lines import (
    Line,
    Span,
    Tone,
    clip,
    fit,
    joined,
    line,
    one_line,
    shorten,
    spread,
    width_of,
    wrap,
)
from agent.screen.recorder_player import GAP_S_MAX, Player
from agent.screen.recorder_ports import Mark, Tape
from agent.screen.words import duration
from agent.wire.vocabulary import EndState, Phase

WIDE = 100
GAP_MS_MAX: Final = 120_000
"""A longer time between two inputs takes no more of the time line than this."""
INPUT_MS: Final = 500
"""What every input takes of the time line, so that many at one moment can be told apart."""

_ENDED_WELL: Final = frozenset({EndState.SUCCEEDED, EndState.SUCCEEDED_ON_RETRY})
_STROKES: Final[dict[Phase | None, str]] = {
    None: "╌",
    Phase.DEVICE_PREPARATION: "─",
    Phase.DEVICE_SETUP: "━",
    Phase.ACCOUNT_SETUP: "═",
}
_LABELS: Final[dict[Phase | None, tuple[str, ...]]] = {
    None: (),
    Phase.DEVICE_PREPARATION: ("Device preparation", "Preparation", "Prep"),
    Phase.DEVICE_SETUP: ("Device setup", "Device"),
    Phase.ACCOUNT_SETUP: ("Account setup", "Account"),
}


@dataclass(frozen=True, slots=True)
class TimeLine:
    """A recording laid out over a number of cells, so that time runs from left to right."""

    tape: Tape
    columns: tuple[int, ...]
    """The cell of each input; never falls."""
    strokes: str
    """One character a cell: the phase by its stroke or its name."""
    signs: Line
    """Where attempts begin, where something fails, how it ends."""

    @classmethod
    def of(cls, tape: Tape, width: int) -> TimeLine:
        """Lay out a recording; `width` in cells."""
        columns = _columns(tape.marks, width)
        strokes = _strokes(tape.marks, columns, width)
        return cls(tape, columns, strokes, _signs(tape.marks, columns, width))

    def column(self, place: int, share: float) -> int:
        """The cell of a moment: `share` is how much of the time to the next input has passed."""
        here = self.columns[place]
        following = self.columns[min(place + 1, len(self.columns) - 1)]
        return here + int((following - here) * share)


def _columns(marks: Sequence[Mark], width: int) -> tuple[int, ...]:
    weights = [0]
    for before, mark in pairwise(marks):
        gap_ms = min(max(0, mark.at_ms - before.at_ms), GAP_MS_MAX)
        weights.append(weights[-1] + gap_ms + INPUT_MS)
    total = max(weights[-1], 1)
    return tuple(weight * (width - 1) // total for weight in weights)


def _strokes(marks: Sequence[Mark], columns: Sequence[int], width: int) -> str:
    # A cell shows the last input in it, or before it.
    places = [bisect_right(columns, column) - 1 for column in range(width)]
    runs = groupby(places, key=lambda place: (marks[place].attempt, marks[place].phase))
    return "".join(_run(phase, len(list(cells))) for (_, phase), cells in runs)


def _run(phase: Phase | None, cells: int) -> str:
    stroke = _STROKES[phase]
    fitting = (label for label in _LABELS[phase] if len(label) + 4 <= cells)
    label = next(fitting, None)
    return stroke * cells if label is None else f"{stroke} {label} ".ljust(cells, stroke)


def _signs(marks: Sequence[Mark], columns: Sequence[int], width: int) -> Line:
    cells = [Span(" ")] * width
    for mark, column in zip(marks, columns, strict=True):
        for offset, digit in enumerate(str(mark.attempt) if mark.begins else ""):
            if column + offset < width:
                cells[column + offset] = Span(digit, Tone.NOW)
    for mark, column in zip(marks, columns, strict=True):
        if mark.ends is not None and not mark.fails:
            ended_well = mark.ends in _ENDED_WELL
            cells[column] = Span("✓", Tone.GOOD) if ended_well else Span("■", Tone.WARN)
    for mark, column in zip(marks, columns, strict=True):
        if mark.fails:
            cells[column] = Span("✗", Tone.BAD)
    return tuple(cells)


def bar(
    player: Player, time_line: TimeLine, width: int, reported_lines: int, zone: tzinfo | None
) -> tuple[Line, ...]:
    """The time line, the state, the input and its reports: `4 + reported_lines` lines, whatever they say."""
    tape, mark = player.tape, player.mark
    assert tape is not None
    assert mark is not None, "what has a time line has inputs"
    scene = tape.scene(player.place)
    return (
        time_line.signs,
        _track(player, time_line),
        _state(player, tape.marks, mark, width, zone),
        _input(player, mark, scene.said, width),
        *_reports(scene.reported, width, reported_lines),
    )


def _track(player: Player, time_line: TimeLine) -> Line:
    share = player.passed_ms / player.gap_ms if player.gap_ms else 0.0
    column = time_line.column(player.place, min(share, 1.0))
    strokes = time_line.strokes
    return (
        Span(strokes[:column], Tone.NOW),
        Span("◆", Tone.STRONG),
        Span(strokes[column + 1 :], Tone.MUTED),
    )


def _state(
    player: Player, marks: Sequence[Mark], mark: Mark, width: int, zone: tzinfo | None
) -> Line:
    symbol, word = _motion(player)
    attempt_ms = mark.at_ms + int(player.passed_ms) - marks[_begin(marks, mark)].at_ms
    whole_ms = marks[_end(marks, mark)].at_ms - marks[_begin(marks, mark)].at_ms
    moment = datetime.fromtimestamp(mark.wall_ms / 1000, UTC).astimezone(zone)
    count = str(len(marks))
    left: Line = (
        Span(fit(f"{symbol} {word}", 10), Tone.STRONG),
        Span(fit(f"{player.speed:g}×", 7)),
        Span(f"attempt {mark.attempt}  {_clock(attempt_ms)} of {_clock(whole_ms)}"),
    )
    right = (
        Span(moment.strftime("%Y-%m-%d %H:%M:%S" if width >= WIDE else "%H:%M:%S")),
        Span(f"  input {str(player.place + 1).rjust(len(count))} of {count}", Tone.MUTED),
    )
    return spread(left, right, width)


def _motion(player: Player) -> tuple[str, str]:
    if player.playing:
        return "▶", "playing"
    return ("■", "end") if player.at_end else ("‖", "paused")


def _begin(marks: Sequence[Mark], mark: Mark) -> int:
    return bisect_left(marks, mark.attempt, key=lambda m: m.attempt)


def _end(marks: Sequence[Mark], mark: Mark) -> int:
    return bisect_right(marks, mark.attempt, key=lambda m: m.attempt) - 1


def _clock(length_ms: int) -> str:
    minutes, seconds = divmod(max(length_ms, 0) // 1000, 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}"


def _input(player: Player, mark: Mark, said: str, width: int) -> Line:
    gap_ms = player.shortened_gap_ms if player.playing else None
    skipped = "" if gap_ms is None else f"» {duration(gap_ms)} idle, shown in {GAP_S_MAX:g} s"
    sign = Span("✗ ", Tone.BAD) if mark.fails else Span("▸ ", Tone.NOW)
    return spread(
        (sign, Span(one_line(said), Tone.BAD if mark.fails else Tone.PLAIN)),
        line(skipped, Tone.WARN),
        width,
    )


def _reports(reported: Sequence[str], width: int, lines: int) -> tuple[Line, ...]:
    """Exactly so many lines; the last one says how many reports it has no room for."""
    head = "reported  "
    room = width - len(head)
    told = list(map(one_line, reported)) or ["nothing"]
    rows: list[str] = []
    for place, text in enumerate(told):
        both = joined([rows[-1], text]) if rows else text
        left = len(told) - place - 1
        more = f" · {left} more" if left else ""
        if rows and cell_len(both + more) <= room:
            rows[-1] = both
        elif len(rows) < lines:
            rows.append(shorten(text, room - len(more)))
        else:
            rows[-1] = joined([shorten(rows[-1], room - 12), f"{left + 1} more"])
            break
    rows += [""] * (lines - len(rows))
    return tuple(
        (Span(head if first else " " * len(head), Tone.MUTED), Span(row))
        for first, row in zip([True, *[False] * lines], rows, strict=False)
    )


def note_lines(notes: Sequence[str], width: int, lines_max: int) -> tuple[Line, ...]:
    """What to know about the recording, each note in at most so many lines."""
    return tuple(
        (Span("! " if place == 0 else "  ", Tone.WARN), Span(row, Tone.WARN))
        for note in notes
        for place, row in enumerate(wrap(note, width - 2, lines_max))
    )


def keys(
    player: Player,
    width: int,
    *,
    several: bool,
    everything: bool,
    following: bool,
    own_theme: bool,
) -> Line:
    """The keys with what they do, as many as there is room for."""
    told = [
        ("Space", "pause" if player.playing else "play "),
        ("←→", "step"),
        *([("n N", "failure")] if player.has_failures else []),
        ("[ ]", "change"),
        ("+ -", "speed"),
        ("q", "close"),
        *([("d", "device")] if several else []),
        *([] if following else [("f", "follow")]),
        ("Home End", "ends"),
        ("m", "less" if everything else "more"),
        ("↑↓", "scroll"),
        *([("t", "light/dark")] if own_theme else []),
    ]
    gap = Span("   " if width >= WIDE else "  ")
    spans: Line = ()
    for key, does in told:
        next_one = (Span(key, Tone.STRONG), Span(f" {does}", Tone.MUTED))
        more = (*spans, gap, *next_one) if spans else next_one
        if width_of(more) <= width:
            spans = more
    return clip(spans, width)
