"""Replay: reads a journal and tells, input by input, what the device did."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from agent.core.enrollment import Enrollment
from agent.core.events import EVENT_CODEC, Event
from agent.runtime.ports import Entry
from agent.wire.progress import Progress


@dataclass(frozen=True, slots=True)
class Moment:
    """One input and what the device looked like right after it."""

    entry: Entry
    progress: Progress
    effects: tuple[str, ...]
    """The names of what it caused, in order."""

    def as_json(self) -> dict[str, Any]:
        """For programs; times in milliseconds."""
        return {
            "n": self.entry.n,
            "at_ms": self.entry.at_ms,
            "wall_ms": self.entry.wall_ms,
            "machine_version": self.entry.machine_version,
            "input": _plain(self.entry.event),
            "effects": list(self.effects),
            "attempt_ms": self.progress.attempt_ms,
            "stage": self.progress.stage.value,
            "percent": self.progress.percent,
            "gate": self.progress.gate.value,
            "end_state": self.progress.end_state and self.progress.end_state.value,
        }

    def as_line(self) -> str:
        """For people."""
        ended = f"  {self.progress.end_state.value}" if self.progress.end_state else ""
        return (
            f"{clock_text(self.entry.at_ms)}  {self.progress.percent:3d} %  {self.progress.gate.value:<8}"
            f"  {self.progress.stage.value:<22}  {event_text(self.entry.event)}{ended}"
        )


def moments(entries: Iterable[Entry]) -> Iterator[Moment]:
    """Fold the inputs of one device and show each step of it."""
    machine = Enrollment()
    for entry in entries:
        effects = machine.handle(entry.event, entry.at_ms)
        yield Moment(entry, machine.progress, tuple(type(e).__name__ for e in effects))


def last_progress(entries: Iterable[Entry]) -> Progress | None:
    """What the device looks like after its last input; None before the first."""
    machine = Enrollment()
    for entry in entries:
        machine.handle(entry.event, entry.at_ms)
    return machine.progress if machine.attempt is not None else None


def clock_text(at_ms: int) -> str:
    """Running time as hours, minutes, seconds and milliseconds."""
    seconds, ms = divmod(at_ms, 1000)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}.{ms:03d}"


def event_text(event: Event) -> str:
    """An input in a few words: what happened, and to what."""
    plain = _plain(event)
    told = [
        f"{key}={value}"
        for key, value in plain.items()
        if key != "kind" and isinstance(value, str | int | float) and value != ""
    ]
    return " ".join([str(plain["kind"]), *told])


def _plain(event: Event) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(EVENT_CODEC.dumps(event))
    return plain
