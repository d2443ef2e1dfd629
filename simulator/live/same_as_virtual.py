"""Compares a live run with the same fleet in simulated time, device by device: the same ends, at times that the speed can tell apart.

Only one thing of the real world moves an enrollment: how long the collector's answer takes, which at a high speed is
long in device time. A device whose end depends on that, because a limit lies within it, is too near to be judged. Which
these are is told by simulated time itself: it enrolls the fleet again with the shortest and with the longest answer that
this fleet met, and with each device's own, for devices that share a line feel the others' too.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.assembly import read_inputs
from agent.core.effects import Effect, Report
from agent.core.enrollment import Enrollment
from agent.core.events import AssignmentArrived, AttemptBegan, Event
from agent.wire.events import AttemptEnded
from agent.wire.vocabulary import EndState
from simulator.cohort import enroll_cohort
from simulator.device import COLLECTOR_ANSWERS_MS, VirtualDevice
from simulator.population import Cohort
from simulator.rollout import Rollout

MINUTE_MS = 60_000


@dataclass(slots=True)
class Life:
    """What became of one device: each attempt with its end and its time, in milliseconds of the device."""

    ends: list[tuple[EndState, int]] = field(default_factory=list)
    answers_ms: list[int] = field(default_factory=list)
    """How long each attempt waited for its assignment, in the order of their ends; 0 for one that never had any."""
    _began_ms: int = 0
    _answer_ms: int = 0

    def take(self, at_ms: int, event: Event, effects: Sequence[Effect]) -> None:
        """One input with its effects."""
        if isinstance(event, AttemptBegan):
            self._began_ms, self._answer_ms = at_ms, 0
        elif isinstance(event, AssignmentArrived) and not self._answer_ms:
            self._answer_ms = at_ms - self._began_ms
        for effect in effects:
            if isinstance(effect, Report) and isinstance(effect.body, AttemptEnded):
                self.ends.append((effect.body.end_state, effect.attempt_ms))
                self.answers_ms.append(self._answer_ms)

    @property
    def states(self) -> tuple[EndState, ...]:
        """How its attempts ended, in their order."""
        return tuple(state for state, _ in self.ends)


@dataclass(frozen=True, slots=True)
class Sameness:
    """What the comparison found. Times are minutes of the devices."""

    same: int
    different: tuple[str, ...]
    """Devices that ended otherwise, with both ends."""
    too_near: tuple[str, ...]
    """Devices whose end the real time of an answer decides; not compared."""
    minutes_off_p50: float
    minutes_off_p99: float
    """How far the times of attempts with the same end are apart."""
    unexplained_p99: float
    unexplained_max: float
    """The same after taking off how much longer the collector's answer took: what is left has another reason."""
    answer_minutes_max: float
    """The longest answer of the collector, as the devices felt it: what this speed can't resolve."""

    @property
    def is_good(self) -> bool:
        """Every device that can be judged came out the same, and at most one in a hundred can't be."""
        judged = self.same + len(self.different)
        return not self.different and 100 * len(self.too_near) <= judged + len(self.too_near)

    def as_json(self) -> dict[str, Any]:
        """As `esp-sim run --check-virtual --json` prints it."""
        return {
            "same": self.same,
            "different": len(self.different),
            "too_near": len(self.too_near),
            "minutes_off_p50": round(self.minutes_off_p50, 4),
            "minutes_off_p99": round(self.minutes_off_p99, 4),
            "minutes_unexplained_p99": round(self.unexplained_p99, 4),
            "minutes_unexplained_max": round(self.unexplained_max, 4),
            "answer_minutes_max": round(self.answer_minutes_max, 4),
        }


def live_lives(journals: Iterable[Path]) -> dict[str, Life]:
    """What became of each device, told from the journals alone. Raises `JournalUnreadable`."""
    machines: dict[str, Enrollment] = {}
    lives: dict[str, Life] = {}
    for journal in journals:
        for device, entry in read_inputs(journal):
            machine = machines.setdefault(device, Enrollment())
            effects = machine.handle(entry.event, entry.at_ms)
            lives.setdefault(device, Life()).take(entry.at_ms, entry.event, effects)
    return lives


def virtual_lives(
    rollout: Rollout,
    seed: int,
    cohorts: Sequence[Cohort],
    answer_ms: int,
    own_ms: Mapping[str, int] | None = None,
) -> dict[str, Life]:
    """What becomes of each device in simulated time, where `own_ms` has other answers for some."""
    lives: dict[str, Life] = {}
    own_ms = {} if own_ms is None else own_ms

    def observe(device: VirtualDevice) -> _Observer:
        device.answer_ms = own_ms.get(device.device.id, answer_ms)
        life = lives[device.device.id] = Life()
        return _Observer(life)

    for cohort in cohorts:
        enroll_cohort(rollout, seed, cohort, observe, answer_ms=answer_ms)
    return lives


class _Observer:
    """Writes a device's life down."""

    def __init__(self, life: Life) -> None:
        self.watch = life.take

    def close(self) -> None:
        """Nothing is left to do."""


def compare_lives(
    rollout: Rollout, seed: int, cohorts: Sequence[Cohort], live: Mapping[str, Life]
) -> Sameness:
    """Enroll the fleet in simulated time and compare."""
    own_ms = {device: max(life.answers_ms) for device, life in live.items() if any(life.answers_ms)}
    shortest, longest = min(own_ms.values(), default=0), max(own_ms.values(), default=0)
    nominal = virtual_lives(rollout, seed, cohorts, COLLECTOR_ANSWERS_MS)
    others = [virtual_lives(rollout, seed, cohorts, ms) for ms in (shortest, longest)]
    others.append(virtual_lives(rollout, seed, cohorts, COLLECTOR_ANSWERS_MS, own_ms))
    return judge(nominal, others, live, longest)


def judge(
    nominal: Mapping[str, Life],
    others: Sequence[Mapping[str, Life]],
    live: Mapping[str, Life],
    longest_ms: int,
) -> Sameness:
    """Compare what is there: `others` are the same fleet with other times of the collector's answers."""
    different: list[str] = []
    too_near: list[str] = []
    off_ms: list[int] = []
    unexplained_ms: list[int] = []
    for device, virtual in nominal.items():
        lived = live.get(device, Life())
        if any(other[device].states != virtual.states for other in others):
            too_near.append(device)
        elif lived.states != virtual.states:
            different.append(f"{device}: {_words(lived)} live, {_words(virtual)} in simulated time")
        else:
            for place, ((_, ms), (_, virtual_ms)) in enumerate(
                zip(lived.ends, virtual.ends, strict=True)
            ):
                waited_ms = lived.answers_ms[place] - virtual.answers_ms[place]
                off_ms.append(abs(ms - virtual_ms))
                unexplained_ms.append(abs(ms - virtual_ms - waited_ms))
    off_ms.sort()
    unexplained_ms.sort()
    return Sameness(
        same=len(nominal) - len(different) - len(too_near),
        different=tuple(different),
        too_near=tuple(too_near),
        minutes_off_p50=_percentile(off_ms, 50) / MINUTE_MS,
        minutes_off_p99=_percentile(off_ms, 99) / MINUTE_MS,
        unexplained_p99=_percentile(unexplained_ms, 99) / MINUTE_MS,
        unexplained_max=_percentile(unexplained_ms, 100) / MINUTE_MS,
        answer_minutes_max=longest_ms / MINUTE_MS,
    )


def _words(life: Life) -> str:
    return ", ".join(state.value.replace("_", " ") for state in life.states) or "open"


def _percentile(ordered: Sequence[int], percent: int) -> int:
    return ordered[math.ceil(len(ordered) * percent / 100) - 1] if ordered else 0
