"""The head of the page: whose device it is, how far it is, what happens now and how long it may take."""

from __future__ import annotations

from agent.screen.lines import (
    EMPTY,
    Line,
    Span,
    Tone,
    clip,
    joined,
    line,
    one_line,
    shorten,
    spread,
    wrap,
)
from agent.screen.words import ITEM_WORDS, budget, duration, gate_is_open, remaining, stage
from agent.wire.progress import ItemProgress, Progress
from agent.wire.vocabulary import WORKING_STATES, EndState, ItemState

_CURRENT_FIRST = (
    frozenset({ItemState.WAITING_FOR_PERSON}),
    WORKING_STATES,
    frozenset({ItemState.REBOOT_REQUIRED, ItemState.WAITING_TO_RETRY}),
)
_READY = frozenset({EndState.SUCCEEDED, EndState.SUCCEEDED_ON_RETRY})
_STOPPED = frozenset({ItemState.FAILED, ItemState.NOT_DETECTED, ItemState.TIMED_OUT})


def current_item(progress: Progress) -> ItemProgress | None:
    """The item that the page keeps in sight: the one that waits for a person, works, waits to go on, or failed."""
    items = progress.items()
    if progress.error is not None or progress.end_state is not None:
        failed = next((item for item in items if item.blocking and _is_in_the_way(item)), None)
        if failed is not None:
            return failed
    for states in _CURRENT_FIRST:
        found = next((item for item in items if item.state in states), None)
        if found is not None:
            return found
    return None


def _is_in_the_way(item: ItemProgress) -> bool:
    hopeless = item.state is ItemState.CANCELLED and item.failure is not None
    return hopeless or item.state in _STOPPED


def activity_of(item: ItemProgress) -> str:
    """What an item does now, in a few words."""
    if item.state is ItemState.NOT_STARTED and item.waits_for:
        return f"Waits for {', '.join(item.waits_for)}"
    text = item.activity or ITEM_WORDS[item.state]
    if item.percent is None or item.state not in WORKING_STATES or "%" in text:
        return text
    return f"{text} {item.percent} %"


def title(progress: Progress) -> str:
    """The one sentence on top of the page."""
    whom = f" for {progress.user}" if progress.user else ""
    if progress.end_state is None:
        return f"Setting up {progress.device}{whom}"
    return f"{progress.device}{' is ready' if progress.end_state in _READY else ''}{whom}"


def subtitle(progress: Progress) -> str:
    """Organization, platform and profile; which attempt it is when it is not the first."""
    again = f"attempt {progress.attempt_number}" if progress.attempt_number > 1 else ""
    return joined(
        [
            progress.organization or "",
            progress.platform,
            _way_in(progress),
            progress.profile_name or "",
            again,
        ]
    )


def _way_in(progress: Progress) -> str:
    variant = f", {progress.variant.label}" if progress.variant is not None else ""
    return f"{progress.enrollment_type.label}{variant}"


def bar(percent: int, width: int) -> Line:
    """The overall progress: a heavy line on a light one, and the figure."""
    figure = f"  {percent:3d} %"
    cells = width - len(figure)
    filled = cells * percent // 100
    return (
        Span("━" * filled, Tone.NOW),
        Span("─" * (cells - filled), Tone.MUTED),
        Span(figure, Tone.STRONG),
    )


def now_line(progress: Progress, width: int) -> Line:
    """What happens now, and the remaining time as a range."""
    item = current_item(progress)
    goes_on = progress.error is None and progress.end_state is None
    what = (Span(f" · {one_line(item.name)}"),) if item is not None and goes_on else ()
    return spread((Span(stage(progress), Tone.STRONG), *what), line(remaining(progress)), width)


def time_line(progress: Progress, width: int) -> Line:
    """How long it has taken, whether the device may be used, and when the budget ends."""
    spent = (
        "Just begun" if progress.attempt_ms < 60_000 else f"{duration(progress.attempt_ms)} so far"
    )
    if progress.end_state is not None:
        spent = f"Took {duration(progress.attempt_ms)}"
    left: Line = line(spent, Tone.MUTED)
    if gate_is_open(progress):
        left = (*left, Span(" · ", Tone.MUTED), Span("✓ ready to use", Tone.GOOD))
    return spread(left, line(budget(progress), Tone.MUTED), width)


def message(progress: Progress, width: int, lines_max: int) -> tuple[Line, ...]:
    """The organization's message; its height changes only when another assignment brings another message."""
    if not progress.custom_message:
        return (EMPTY,)
    return tuple(line(row) for row in wrap(progress.custom_message, width, lines_max))


def message_height(roomy: bool) -> int:
    """How many lines of the head the organization's message may take."""
    return 4 if roomy else 2


def head(
    progress: Progress, percent: int, width: int, roomy: bool, mark: str = ""
) -> tuple[Line, ...]:
    """All lines of the head; while an assignment lasts their number is fixed, so that nothing below moves."""
    top = spread(line(shorten(title(progress), width), Tone.STRONG), line(mark, Tone.WARN), width)
    gap = (EMPTY,) if roomy else ()
    return (
        top,
        clip(line(subtitle(progress), Tone.MUTED), width),
        *gap,
        *message(progress, width, message_height(roomy)),
        *gap,
        bar(percent, width),
        now_line(progress, width),
        time_line(progress, width),
    )
