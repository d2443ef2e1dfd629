"""The player of the flight recorder: where on the tape it is, how fast it runs, and what the page shows of that."""

from __future__ import annotations

import asyncio
from bisect import bisect_left, bisect_right
from collections.abc import AsyncIterator, Callable
from typing import Final

from agent.screen.ports import IntentRefused
from agent.screen.recorder_ports import Mark, Tape
from agent.wire.progress import Progress, Reporting
from agent.wire.vocabulary import Choice, PersonAction

SPEEDS: Final = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0)
"""Device time per real time."""
FIRST_SPEED: Final = 60.0
GAP_S_MAX: Final = 2.0
"""In real seconds: what is longer between two inputs is shortened to this."""


class Player:
    """Plays one tape at a time; the source of a screen on which nothing can be chosen."""

    emergency_exit_allowed = False
    can_act = False

    def __init__(self, *, playing: bool = True) -> None:
        self.tape: Tape | None = None
        self.place = 0
        self.passed_ms = 0.0
        """Device time since the input at this place."""
        self.speed = FIRST_SPEED
        self.playing = playing
        self._failures: list[int] = []
        self._changes: list[int] = []
        self._moved = asyncio.Event()

    # What the screen asks.

    async def snapshots(self) -> AsyncIterator[tuple[Progress, Reporting]]:
        """The page at each moment that the tape comes to; a journal does not know how reports got through."""
        while True:
            await self._moved.wait()
            self._moved.clear()
            if self.tape is not None and self.tape.marks:
                yield self.tape.progress(self.place, int(self.passed_ms)), Reporting()

    async def person_acted(self, item: str, action: PersonAction) -> None:
        """What is over can't be answered."""
        raise IntentRefused(f"This is a recording: '{item}' ({action.label}) can't be answered.")

    async def person_chose(self, choice: Choice, item: str | None) -> None:
        """What is over leaves no choice."""
        what = choice.label if item is None else f"{choice.label} ({item})"
        raise IntentRefused(f"This is a recording: '{what}' can't be chosen.")

    async def emergency_exit(self) -> None:
        """There is no device behind this page."""
        raise IntentRefused("This is a recording: there is no device to open.")

    # Where it is.

    @property
    def mark(self) -> Mark | None:
        """The input that is shown; None where nothing is recorded."""
        return self.tape.marks[self.place] if self.tape is not None and self.tape.marks else None

    @property
    def at_end(self) -> bool:
        """Whether the last input is shown."""
        return self.tape is None or self.place >= len(self.tape.marks) - 1

    @property
    def has_failures(self) -> bool:
        """Whether there is a failure to jump to."""
        return bool(self._failures)

    @property
    def gap_ms(self) -> int:
        """Device time until the next input; 0 at the end."""
        if self.tape is None or self.at_end:
            return 0
        here, following = self.tape.marks[self.place : self.place + 2]
        return max(0, following.at_ms - here.at_ms)

    @property
    def shortened_gap_ms(self) -> int | None:
        """The gap that is being played faster than the speed says; None where that is not so."""
        gap_ms = self.gap_ms
        return gap_ms if gap_ms / 1000 / self.speed > GAP_S_MAX else None

    # What moves it.

    def insert(self, tape: Tape) -> None:
        """Play another tape, from its beginning."""
        self.tape = tape
        self._failures = _places(tape, lambda mark: mark.fails)
        self._changes = _places(tape, lambda mark: mark.changes)
        self._show(0)

    def toggle(self) -> None:
        """Play or pause; at the end, play from the beginning."""
        self.playing = not self.playing
        if self.playing and self.at_end:
            self._show(0)
        self._moved.set()

    def step(self, inputs: int) -> None:
        """So many inputs on or back. Every move by hand pauses."""
        # Back from the middle of a gap is first back to the input before it.
        from_place = self.place + (1 if inputs < 0 and self.passed_ms >= 1 else 0)
        self._jump(from_place + inputs)

    def to_begin(self) -> None:
        """To the first input."""
        self._jump(0)

    def to_end(self) -> None:
        """To the last input."""
        self._jump(len(self.tape.marks) - 1 if self.tape is not None else 0)

    def to_failure(self, *, forward: bool) -> bool:
        """To the next failure or the one before; False when there is none."""
        return self._jump_among(self._failures, forward)

    def to_change(self, *, forward: bool) -> bool:
        """To the next input that changed something, or the one before; False when there is none."""
        return self._jump_among(self._changes, forward)

    def change_speed(self, steps: int) -> None:
        """Faster or slower by so many steps of `SPEEDS`."""
        place = SPEEDS.index(self.speed) + steps
        self.speed = SPEEDS[min(max(place, 0), len(SPEEDS) - 1)]
        self._moved.set()

    def advance(self, elapsed_s: float) -> bool:
        """Let so much real time pass; True when that moved anything. It stays at the last input."""
        if not self.playing or self.tape is None:
            return False
        while elapsed_s > 0 and not self.at_end:
            rate_ms = self._rate_ms()
            left_s = (self.gap_ms - self.passed_ms) / rate_ms
            if left_s > elapsed_s:
                self.passed_ms += elapsed_s * rate_ms
                break
            elapsed_s -= max(0.0, left_s)
            self.place, self.passed_ms = self.place + 1, 0.0
        if self.at_end:
            self.playing = False
        self._moved.set()
        return True

    def _rate_ms(self) -> float:
        """Device milliseconds per real second, here."""
        return max(self.speed * 1000, self.gap_ms / GAP_S_MAX)

    def _jump_among(self, places: list[int], forward: bool) -> bool:
        if forward:
            found = bisect_right(places, self.place)
        else:
            inside = self.passed_ms >= 1
            found = (bisect_right if inside else bisect_left)(places, self.place) - 1
        if not 0 <= found < len(places):
            return False
        self._jump(places[found])
        return True

    def _jump(self, place: int) -> None:
        self.playing = False
        self._show(place)

    def _show(self, place: int) -> None:
        last = len(self.tape.marks) - 1 if self.tape is not None else 0
        self.place, self.passed_ms = max(0, min(place, last)), 0.0
        self._moved.set()


def _places(tape: Tape, wanted: Callable[[Mark], bool]) -> list[int]:
    return [place for place, mark in enumerate(tape.marks) if wanted(mark)]
