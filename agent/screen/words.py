"""The words and symbols of the page, so that a state reads the same in every corner of it."""

from __future__ import annotations

from datetime import datetime, tzinfo

from agent.screen.lines import Tone
from agent.wire.progress import Progress, Prompt, Remaining, RowProgress
from agent.wire.vocabulary import Context, EndState, Gate, ItemState, RowState

SECOND_MS = 1_000
MINUTE_MS = 60_000
FROZEN_AFTER_MS = 5 * MINUTE_MS
"""A working item that has not moved for this long is marked: it may be stuck, or only slow."""

ITEM_SYMBOLS: dict[ItemState, str] = {
    ItemState.NOT_STARTED: "·",
    ItemState.WAITING_FOR_PERSON: "?",
    ItemState.WAITING_TO_RETRY: "↻",
    ItemState.DOWNLOADING: "↓",
    ItemState.INSTALLING: "▸",
    ItemState.VERIFYING: "≈",
    ItemState.REBOOT_REQUIRED: "↻",
    ItemState.DONE: "✓",
    ItemState.ALREADY_PRESENT: "✓",
    ItemState.SKIPPED: "–",
    ItemState.FAILED: "✗",
    ItemState.NOT_DETECTED: "✗",
    ItemState.TIMED_OUT: "✗",
    ItemState.CANCELLED: "–",
}
ITEM_WORDS: dict[ItemState, str] = {
    ItemState.NOT_STARTED: "Waiting",
    ItemState.WAITING_FOR_PERSON: "Waiting for a person",
    ItemState.WAITING_TO_RETRY: "Waiting to try again",
    ItemState.DOWNLOADING: "Downloading",
    ItemState.INSTALLING: "Installing",
    ItemState.VERIFYING: "Verifying",
    ItemState.REBOOT_REQUIRED: "Restart needed",
    ItemState.DONE: "Done",
    ItemState.ALREADY_PRESENT: "Already there",
    ItemState.SKIPPED: "Skipped",
    ItemState.FAILED: "Failed",
    ItemState.NOT_DETECTED: "Not detected after installing",
    ItemState.TIMED_OUT: "Timed out",
    ItemState.CANCELLED: "Cancelled",
}
ITEM_TONES: dict[ItemState, Tone] = {
    ItemState.NOT_STARTED: Tone.MUTED,
    ItemState.WAITING_FOR_PERSON: Tone.WARN,
    ItemState.WAITING_TO_RETRY: Tone.WARN,
    ItemState.DOWNLOADING: Tone.NOW,
    ItemState.INSTALLING: Tone.NOW,
    ItemState.VERIFYING: Tone.NOW,
    ItemState.REBOOT_REQUIRED: Tone.WARN,
    ItemState.DONE: Tone.GOOD,
    ItemState.ALREADY_PRESENT: Tone.GOOD,
    ItemState.SKIPPED: Tone.MUTED,
    ItemState.FAILED: Tone.BAD,
    ItemState.NOT_DETECTED: Tone.BAD,
    ItemState.TIMED_OUT: Tone.BAD,
    ItemState.CANCELLED: Tone.MUTED,
}
ROW_SYMBOLS: dict[RowState, str] = {
    RowState.NOT_STARTED: "·",
    RowState.IN_PROGRESS: "▸",
    RowState.SUCCEEDED: "✓",
    RowState.FAILED: "✗",
    RowState.SKIPPED: "–",
}
ROW_WORDS: dict[RowState, str] = {
    RowState.NOT_STARTED: "Waiting",
    RowState.IN_PROGRESS: "In progress",
    RowState.SUCCEEDED: "Complete",
    RowState.FAILED: "Needs attention",
    RowState.SKIPPED: "Skipped",
}
ROW_TONES: dict[RowState, Tone] = {
    RowState.NOT_STARTED: Tone.MUTED,
    RowState.IN_PROGRESS: Tone.NOW,
    RowState.SUCCEEDED: Tone.GOOD,
    RowState.FAILED: Tone.BAD,
    RowState.SKIPPED: Tone.MUTED,
}
END_WORDS: dict[EndState, str] = {
    EndState.SUCCEEDED: "Complete",
    EndState.SUCCEEDED_ON_RETRY: "Complete after another try",
    EndState.BYPASSED: "Left before it was complete",
    EndState.FAILED: "Failed",
    EndState.TIMED_OUT: "Timed out",
    EndState.ABANDONED: "Stopped",
    EndState.REFUSED: "Refused",
    EndState.RESET: "Reset",
    EndState.SUPERSEDED: "Superseded",
}


def ago(passed_ms: int) -> str:
    """How long ago something was: `just now`, `12 s ago`, `3 min ago`, `2 h ago`."""
    if passed_ms < 2 * SECOND_MS:
        return "just now"
    if passed_ms < MINUTE_MS:
        return f"{passed_ms // SECOND_MS} s ago"
    return f"{duration(passed_ms)} ago"


def duration(length_ms: int) -> str:
    """Whole minutes, rounded down: `38 min`, `1 h 5 min`; below one, `under a minute`."""
    minutes = max(length_ms, 0) // MINUTE_MS
    if minutes < 1:
        return "under a minute"
    hours, minutes = divmod(minutes, 60)
    if not hours:
        return f"{minutes} min"
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def until(deadline_ms: int, now_ms: int) -> str:
    """How long until a deadline, rounded up to minutes: `38 min`; once it has passed, `no time`."""
    left_ms = deadline_ms - now_ms
    if left_ms <= 0:
        return "no time"
    return duration(left_ms + MINUTE_MS - 1) if left_ms >= MINUTE_MS else "under a minute"


def remaining(progress: Progress) -> str:
    """The remaining time as a range, or why it is not known."""
    if progress.end_state is not None:
        return ""
    if progress.remaining is not None:
        return _span(progress.remaining)
    if progress.prompt is not None:
        return "Time left not known until answered"
    if progress.error is not None:
        return "Waiting for a choice"
    return "Time left not known yet"


def _span(range_: Remaining) -> str:
    low, high = -(-range_.low_s // 60), -(-range_.high_s // 60)
    if range_.high_s < 60:
        return "less than a minute left"
    if low == high:
        return f"about {duration(high * MINUTE_MS)} left"
    if high < 100:
        return f"about {max(low, 1)}–{high} minutes left"
    return f"about {duration(low * MINUTE_MS)} to {duration(high * MINUTE_MS)} left"


def budget(progress: Progress) -> str:
    """When the running context's budget ends."""
    if progress.deadline_ms is None or progress.end_state is not None or progress.phase is None:
        return ""
    whose = "account setup" if progress.phase.context is Context.ACCOUNT else "device setup"
    if progress.deadline_ms <= progress.attempt_ms:
        return f"Time limit of {whose} reached"
    return f"Time limit of {whose} in {until(progress.deadline_ms, progress.attempt_ms)}"


def answer_by_ms(progress: Progress, prompt: Prompt) -> int | None:
    """Until when a person screen can be answered: its own deadline, or the running context's where that is earlier."""
    deadlines = (prompt.deadline_ms, progress.deadline_ms)
    return min((d for d in deadlines if d is not None), default=None)


def clock(moment: datetime, zone: tzinfo | None) -> str:
    """A time of day in the person's zone; None means this machine's."""
    return moment.astimezone(zone).strftime("%H:%M")


def stage(progress: Progress) -> str:
    """The stage, or how the attempt ended."""
    return progress.stage.value if progress.end_state is None else END_WORDS[progress.end_state]


def row_count(row: RowProgress) -> str:
    """A row's count, for example `3 of 5 installed`; a single step is simply complete or not."""
    if row.state is RowState.SKIPPED or (row.total == 1 and row.verb == "completed"):
        return ROW_WORDS[row.state]
    return row.text


def gate_is_open(progress: Progress) -> bool:
    """Whether the person may use the device."""
    return progress.gate is not Gate.LOCKED


def listing(names: list[str], most: int = 4) -> str:
    """Names as a sentence part: `A, B and C`, or `A, B and 3 more`."""
    if len(names) > most:
        names = [*names[: most - 1], f"{len(names) - most + 1} more"]
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"
