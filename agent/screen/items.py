"""The phases with their rows and items as lines, folded so that what happens now has the room."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rich.cells import cell_len

from agent.screen.lines import (
    EMPTY,
    Line,
    Span,
    Tone,
    clip,
    fit,
    joined,
    line,
    one_line,
    spread,
    width_of,
    wrap,
)
from agent.screen.overview import activity_of, current_item, message_height
from agent.screen.words import (
    FROZEN_AFTER_MS,
    ITEM_SYMBOLS,
    ITEM_TONES,
    ROW_SYMBOLS,
    ROW_TONES,
    ROW_WORDS,
    ago,
    answer_by_ms,
    row_count,
    until,
)
from agent.wire.progress import ItemProgress, PhaseProgress, Progress, RowProgress
from agent.wire.vocabulary import (
    SATISFIED_STATES,
    UNSATISFIED_STATES,
    WORKING_STATES,
    ItemState,
    RowState,
)

WIDE = 100
"""From this width on the facts of a working item stand beside it; below, on a line of their own."""
_BAR_CELLS = 20
_REASON_LINES_MAX = 2
_OPEN_ROWS = frozenset({RowState.IN_PROGRESS, RowState.FAILED})
_OVER = {
    RowState.IN_PROGRESS: ("–", "Not finished", Tone.WARN),
    RowState.NOT_STARTED: ("·", "Not begun", Tone.MUTED),
}
"""What a phase is called that the end of the attempt left as it was."""
_MOVING = WORKING_STATES | {ItemState.WAITING_TO_RETRY, ItemState.REBOOT_REQUIRED}


@dataclass(frozen=True, slots=True)
class Detail:
    """How much the list shows: the room it has, and whether the person asked for everything."""

    width: int
    roomy: bool = False
    everything: bool = False

    @property
    def wide(self) -> bool:
        """Whether the facts of an item stand beside it."""
        return self.width >= WIDE


@dataclass(frozen=True, slots=True)
class ItemList:
    """The lines, and which of them have to stay in sight."""

    lines: tuple[Line, ...]
    current: range | None


def item_list(progress: Progress, detail: Detail) -> ItemList:
    """All phases, rows and items of an attempt as lines."""
    if not progress.phases and progress.end_state is not None:
        return ItemList((), None)
    if not progress.phases:
        waiting = line("Waiting for your organization's settings", Tone.MUTED)
        return ItemList((clip(waiting, detail.width),), None)
    current = current_item(progress)
    lines: list[Line] = list(_whole_message(progress, detail))
    seen: range | None = None
    for number, phase in enumerate(progress.phases):
        if detail.roomy and number:
            lines.append(EMPTY)
        for item, some in _phase_lines(progress, phase, detail):
            if item is not None and item is current:
                seen = range(len(lines), len(lines) + len(some))
            lines.extend(some)
    if progress.items_left_out:
        more = f"and {progress.items_left_out} more items that this list has no room for"
        lines.append(line(more, Tone.MUTED))
    return ItemList(tuple(lines), seen)


def _whole_message(progress: Progress, detail: Detail) -> Iterator[Line]:
    rows = wrap(progress.custom_message or "", detail.width)
    if detail.everything and len(rows) > message_height(detail.roomy):
        yield from (line(row) for row in rows)
        yield EMPTY


Block = tuple[ItemProgress | None, tuple[Line, ...]]


def _phase_lines(progress: Progress, phase: PhaseProgress, detail: Detail) -> Iterator[Block]:
    yield None, (_phase_line(progress, phase, detail.width),)
    if not (phase.shown or detail.everything) or not _unfolded(progress, phase, detail):
        return
    for row in phase.rows:
        yield from _row_lines(progress, row, detail)


def _unfolded(progress: Progress, phase: PhaseProgress, detail: Detail) -> bool:
    if detail.everything or phase.phase is progress.phase or phase.state in _OPEN_ROWS:
        return True
    return detail.roomy and phase.state is RowState.SUCCEEDED


def _phase_line(progress: Progress, phase: PhaseProgress, width: int) -> Line:
    if not phase.rows and phase.phase is not progress.phase:
        left = line(f"– {phase.phase.label}", Tone.MUTED)
        return spread(left, line("No setup needed", Tone.MUTED), width)
    if progress.end_state is not None and phase.state in _OVER:
        symbol, word, tone = _OVER[phase.state]
        return spread((Span(f"{symbol} ", tone), Span(phase.phase.label)), line(word, tone), width)
    tone = ROW_TONES[phase.state]
    words = ROW_WORDS[phase.state] if phase.shown else f"{ROW_WORDS[phase.state]} · goes on unseen"
    name_tone = Tone.MUTED if phase.state is RowState.NOT_STARTED else Tone.STRONG
    left = (Span(f"{ROW_SYMBOLS[phase.state]} ", tone), Span(phase.phase.label, name_tone))
    return spread(left, (Span(words, tone),), width)


def _row_lines(progress: Progress, row: RowProgress, detail: Detail) -> Iterator[Block]:
    alone = row.items[0] if len(row.items) == 1 else None
    if alone is not None and alone.name == row.title:
        yield alone, _item_lines(progress, alone, detail, indent=2)
        return
    yield None, (_row_line(row, detail.width),)
    if detail.everything or row.state in _OPEN_ROWS:
        for item in row.items:
            yield item, _item_lines(progress, item, detail, indent=4)


def _row_line(row: RowProgress, width: int) -> Line:
    tone = ROW_TONES[row.state]
    name_tone = Tone.MUTED if row.state is RowState.NOT_STARTED else Tone.PLAIN
    left = (Span(f"  {ROW_SYMBOLS[row.state]} ", tone), Span(row.title, name_tone))
    count = Span(row_count(row), name_tone if row.state in _OPEN_ROWS else Tone.MUTED)
    return spread(left, (*_row_bar(row, width), count), width)


def _row_bar(row: RowProgress, width: int) -> Line:
    if width < WIDE or row.state is not RowState.IN_PROGRESS or not row.total or row.total < 2:
        return ()
    filled = _BAR_CELLS * row.done // row.total
    return (
        Span("━" * filled, Tone.NOW),
        Span("─" * (_BAR_CELLS - filled), Tone.MUTED),
        Span("  "),
    )


def _item_lines(
    progress: Progress, item: ItemProgress, detail: Detail, indent: int
) -> tuple[Line, ...]:
    facts = _facts(progress, item)
    head = _item_head(item, detail, indent)
    under = " " * (indent + 4)
    moving = item.state in _MOVING | {ItemState.WAITING_FOR_PERSON}
    if item.state is ItemState.NOT_STARTED and width_of(head) + 2 + width_of(facts) > detail.width:
        return (clip(head, detail.width),)
    why = reason(item)
    rows = wrap(why, detail.width - len(under), _REASON_LINES_MAX) if why else ()
    beneath = tuple((Span(under), Span(row, Tone.MUTED)) for row in rows)
    if moving and not detail.wide:
        return (clip(head, detail.width), clip((Span(under), *facts), detail.width), *beneath)
    if why and not width_of(facts) and width_of(head) + 2 + cell_len(why) <= detail.width:
        return (spread(head, line(why, Tone.MUTED), detail.width),)
    return (spread(head, facts, detail.width), *beneath)


def reason(item: ItemProgress) -> str:
    """Why an item is as it is, where nothing above the list says it: left out, not attempted, or tried again."""
    settled = item.state in SATISFIED_STATES | UNSATISFIED_STATES
    if item.failure is not None and not (settled and item.blocking):
        return item.failure.person
    note = one_line(item.note or "") if settled else ""
    return note[:1].upper() + note[1:]


def _item_head(item: ItemProgress, detail: Detail, indent: int) -> Line:
    tone = ITEM_TONES[item.state]
    working = item.state in _MOVING or item.state is ItemState.WAITING_FOR_PERSON
    name_width = (detail.width * (36 if detail.wide else 46)) // 100 - indent
    name_tone = Tone.STRONG if working else (Tone.MUTED if tone is Tone.MUTED else Tone.PLAIN)
    return (
        Span(f"{' ' * indent}{ITEM_SYMBOLS[item.state]} ", tone),
        Span(fit(item.name, name_width), name_tone),
        Span("  "),
        Span(activity_of(item), Tone.MUTED if tone is Tone.GOOD else tone),
    )


def _facts(progress: Progress, item: ItemProgress) -> Line:
    now_ms = progress.attempt_ms
    if item.state is ItemState.WAITING_FOR_PERSON:
        prompt = progress.prompt
        asked = prompt is not None and prompt.item == item.id
        # The notice names the earliest of several limits, and two figures on one page would be one too many.
        deadline_ms = answer_by_ms(progress, prompt) if prompt and asked else item.deadline_ms
        limit = f"{until(deadline_ms, now_ms)} left to answer" if deadline_ms else ""
        return line(joined([limit, f"asked {ago(now_ms - item.moved_ms)}"]), Tone.MUTED)
    tries = (
        f"try {item.attempt} of {item.attempts_max}"
        if item.attempt and item.attempts_max > 1
        else ""
    )
    if item.state in _MOVING:
        return _moving_facts(item, now_ms, tries)
    repeated = tries if item.attempt > 1 or ITEM_TONES[item.state] is Tone.BAD else ""
    free = "" if item.blocking or item.state in SATISFIED_STATES else "does not hold you up"
    return line(joined([repeated, free]), Tone.MUTED)


def _moving_facts(item: ItemProgress, now_ms: int, tries: str) -> Line:
    if item.state is ItemState.WAITING_TO_RETRY and item.deadline_ms is not None:
        return line(joined([tries, f"next try in {until(item.deadline_ms, now_ms)}"]), Tone.MUTED)
    limit = (
        f"at most {until(item.deadline_ms, now_ms)} more" if item.deadline_ms is not None else ""
    )
    still_ms = now_ms - item.moved_ms
    if item.state in WORKING_STATES and still_ms >= FROZEN_AFTER_MS:
        before = joined([tries, limit])
        return (
            Span(f"{before} · " if before else "", Tone.MUTED),
            Span(f"! has not moved for {ago(still_ms).removesuffix(' ago')}", Tone.WARN),
        )
    return line(joined([tries, limit, f"moved {ago(still_ms)}"]), Tone.MUTED)
