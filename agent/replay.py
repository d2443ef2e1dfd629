"""Replay: reads a journal and tells, input by input, what the device did."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from agent.core.batch import Entry
from agent.core.effects import Effect, Report
from agent.core.enrollment import Enrollment
from agent.core.events import EVENT_CODEC, Event
from agent.core.retelling import Retelling, told_otherwise
from agent.journal import JournalReader, ReadInputs
from agent.replay_words import input_words, report_words
from agent.runtime.ports import (
    JournalUnreadable,
)
from agent.screen.recorder_ports import Mark, Scene
from agent.wire import events as wire
from agent.wire.progress import Progress
from agent.wire.vocabulary import SUCCESS_STATES, EndState, ItemState, Phase, RowState

STATE_INPUTS: Final = 64
"""The fold is kept each so many inputs at least, so that going back folds no more than these again."""
STATES_MAX: Final = 512
"""So many folds are kept at most, whatever the length of the recording."""


@dataclass(frozen=True, slots=True)
class Moment:
    """One input and what the device looked like right after it."""

    entry: Entry
    progress: Progress
    effects: tuple[str, ...]
    """The names of what it caused, in order."""
    differs: bool = False
    """Whether the version that wrote the journal told this moment otherwise."""
    continued: bool = False
    """Whether the story goes on here from a checkpoint that the device kept."""

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
            "differs": self.differs,
            "continued": self.continued,
        }

    def as_line(self) -> str:
        """For people."""
        ended = f"  {self.progress.end_state.value}" if self.progress.end_state else ""
        return (
            f"{clock_text(self.entry.at_ms)}  {self.progress.percent:3d} %  {self.progress.gate.value:<8}"
            f"  {self.progress.stage.value:<22}  {event_text(self.entry.event)}{ended}"
        )


def moments(retelling: Retelling) -> Iterator[Moment]:
    """Tell the inputs of one device and show each step of it; those that can't be told are left out."""
    for told in retelling:
        names = tuple(type(e).__name__ for e in told.effects)
        continued = retelling.continued is not None and retelling.continued.at == told.entry.n
        yield Moment(told.entry, told.machine.progress, names, told.differs, continued)


def last_progress(retelling: Retelling) -> Progress | None:
    """What the device looks like after the last input that can be told; None before the first."""
    for _ in retelling:
        pass
    machine = retelling.machine
    return machine.progress if machine.attempt is not None else None


class Recording:
    """The recording of one device, to be looked at in any order; a place counts its inputs from 0.

    Folding begins at the nearest state that was kept before the place asked for; what is kept is bounded.
    """

    def __init__(self, inputs: ReadInputs, version: str) -> None:
        """Fold all inputs once; `version` is the one of this program."""
        self.device = inputs.device
        self.marks: list[Mark] = []
        self._retelling = Retelling(inputs.entries, inputs.checkpoints)
        self._entries: list[Entry] = []
        """The inputs that can be told."""
        self._spacing = max(STATE_INPUTS, -(-len(inputs.entries) // STATES_MAX))
        self._states: list[bytes] = []
        self._names: dict[str, str] = {}
        """Of all items that were ever reported, by id."""
        stopped = self._tell_all()
        otherwise = told_otherwise(self._retelling, version)
        versions = otherwise or self._told_of_versions(inputs.entries, version)
        self.notes = tuple(filter(None, (inputs.left_out, inputs.missing, stopped, versions)))
        self._machine, self._place = Enrollment(), -1
        self._effects: Sequence[Effect] = ()

    def scene(self, place: int) -> Scene:
        """What happened at a place, in plain words."""
        self._go(place)
        return Scene(
            input_words(self._entries[place].event, self._names),
            tuple(report_words(body, self._names) for body in _bodies(self._effects)),
        )

    def progress(self, place: int, passed_ms: int) -> Progress:
        """What the device looked like so long after a place."""
        self._go(place)
        over = self._machine.end_state is not None
        return self._machine.progress_after(0 if over else passed_ms)

    def _go(self, place: int) -> None:
        if place == self._place:
            return
        kept = place // self._spacing
        if not kept * self._spacing <= self._place + 1 <= place:
            self._machine = Enrollment.restored(self._states[kept])
            self._place = kept * self._spacing - 1
        for entry in self._entries[self._place + 1 : place + 1]:
            self._take(entry)
        self._place = place

    def _take(self, entry: Entry) -> None:
        continued = self._retelling.continued
        if continued is not None and continued.at == entry.n:
            self._machine, self._effects = self._retelling.told_from()
        else:
            self._effects = self._machine.handle(entry.event, entry.at_ms)

    def _tell_all(self) -> str:
        """Lay out the recording; why it stops early though this version understands it, or nothing."""
        marker = _Marker()
        self._states.append(Enrollment().checkpoint())
        for told in self._retelling:
            if told.machine.attempt is None:
                return f"Input {told.entry.n} and all after it can't be told: no attempt has begun"
            bodies = _bodies(told.effects)
            self._entries.append(told.entry)
            self.marks.append(marker.mark(told.entry, bodies))
            self._names |= {b.item: b.name for b in bodies if isinstance(b, wire.ItemChanged)}
            if len(self._entries) % self._spacing == 0:
                self._states.append(told.machine.checkpoint())
        return ""

    def _told_of_versions(self, entries: Sequence[Entry], version: str) -> str:
        others = sorted({e.machine_version for e in entries} - {version})
        if not others:
            return ""
        count = len(self._retelling.agreed)
        where = "one place" if count == 1 else f"{count} places"
        found = (
            f"it agrees at the {where} that can be compared" if count else "nothing can be compared"
        )
        return (
            f"Recorded by version {', '.join(others)}, told by version {version}, "
            f"which may tell it otherwise: {found}"
        )


class Recordings:
    """The recordings of all devices of a journal."""

    def __init__(self, reader: JournalReader, devices: Sequence[str], version: str) -> None:
        self.devices = devices
        self._reader = reader
        self._version = version

    def tape(self, device: str) -> Recording:
        """Read and fold one of them; takes as long as its inputs are many."""
        try:
            inputs = self._reader.inputs(device)
        except JournalUnreadable as error:
            inputs = ReadInputs(device, (), f"Nothing of {device} can be read ({error})")
        return Recording(inputs, self._version)


def _bodies(effects: Iterable[Effect]) -> list[wire.Body]:
    return [effect.body for effect in effects if isinstance(effect, Report)]


class _Marker:
    """Follows attempts and phases by what is reported."""

    def __init__(self) -> None:
        self._attempt = 0
        self._phase: Phase | None = None

    def mark(self, entry: Entry, bodies: Sequence[wire.Body]) -> Mark:
        begins, ends = False, None
        for body in bodies:
            match body:
                case wire.AttemptStarted(number=number):
                    begins, self._attempt, self._phase = True, number, None
                case wire.PhaseChanged(phase=phase, state=RowState.IN_PROGRESS):
                    self._phase = phase
                case wire.AttemptEnded(end_state=end_state):
                    ends = end_state
                case _:
                    pass
        made = Mark(
            at_ms=entry.at_ms,
            wall_ms=entry.wall_ms,
            attempt=self._attempt,
            begins=begins,
            phase=self._phase,
            changes=any(not isinstance(body, wire.ItemAdvanced) for body in bodies),
            fails=any(map(_is_failure, bodies)),
            ends=ends,
        )
        if ends is not None and not begins:
            self._phase = None
        return made


_FAILED_STATES: Final = frozenset({ItemState.FAILED, ItemState.TIMED_OUT, ItemState.NOT_DETECTED})
_ENDED_AS_WANTED: Final = SUCCESS_STATES | {EndState.RESET, EndState.SUPERSEDED}


def _is_failure(body: wire.Body) -> bool:
    match body:
        case wire.ItemChanged(state=state, failure=failure):
            failed_try = state is ItemState.WAITING_TO_RETRY and failure is not None
            return state in _FAILED_STATES or failed_try
        case wire.ErrorScreenShown():
            return True
        case wire.AttemptEnded(end_state=end_state):
            return end_state not in _ENDED_AS_WANTED
        case _:
            return False


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
