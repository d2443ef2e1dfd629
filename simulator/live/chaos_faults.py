"""The faults that strike a live fleet, and the seeded schedule of when, what and whom."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from random import Random
from typing import Final

HOUR_S: Final = 3_600.0


class FaultKind(StrEnum):
    """What happens. The order is that of the summary."""

    AGENTS_KILLED = "agents_killed"
    AGENTS_AWAY = "agents_away"
    CLOCK_JUMPED = "clock_jumped"
    DISK_FULL = "disk_full"
    CONNECTIONS_CUT = "connections_cut"
    NETWORK_DOWN = "network_down"
    NETWORK_SILENT = "network_silent"
    PACKETS_LOST = "packets_lost"
    BROKER_KILLED = "broker_killed"
    BROKER_KILLED_FORGETS = "broker_killed_forgets"
    BROKER_SILENT = "broker_silent"
    COLLECTOR_KILLED = "collector_killed"
    COLLECTOR_SILENT = "collector_silent"
    COLLECTOR_CUT_OFF = "collector_cut_off"

    @property
    def words(self) -> str:
        """As a person reads it."""
        return _WORDS[self]

    @property
    def target(self) -> Target:
        """What it strikes."""
        return _NATURES[self].target

    @property
    def breaks_sessions(self) -> bool:
        """True when every agent that it strikes has to connect again."""
        return _NATURES[self].breaks_sessions


class Target(StrEnum):
    """What a fault strikes; two faults never strike the same one at the same time."""

    WORKER = "worker"
    """A process with agents."""
    LINE = "line"
    """The network of such a process."""
    BROKER = "broker"
    COLLECTOR = "collector"


@dataclass(frozen=True, slots=True)
class _Nature:
    target: Target
    breaks_sessions: bool
    share: int
    """How often it is among a hundred faults."""
    lasts_s: tuple[float, float]


_NATURES: Final[dict[FaultKind, _Nature]] = {
    FaultKind.AGENTS_KILLED: _Nature(Target.WORKER, True, 22, (0, 0)),
    FaultKind.AGENTS_AWAY: _Nature(Target.WORKER, True, 14, (1, 5)),
    FaultKind.CLOCK_JUMPED: _Nature(Target.WORKER, True, 8, (0, 0)),
    FaultKind.DISK_FULL: _Nature(Target.WORKER, False, 8, (1, 4)),
    FaultKind.CONNECTIONS_CUT: _Nature(Target.LINE, True, 12, (0, 0)),
    FaultKind.NETWORK_DOWN: _Nature(Target.LINE, True, 6, (1, 5)),
    FaultKind.NETWORK_SILENT: _Nature(Target.LINE, False, 6, (1, 5)),
    FaultKind.PACKETS_LOST: _Nature(Target.LINE, True, 6, (1, 4)),
    FaultKind.BROKER_KILLED: _Nature(Target.BROKER, True, 3, (0, 2)),
    FaultKind.BROKER_KILLED_FORGETS: _Nature(Target.BROKER, True, 3, (0, 2)),
    FaultKind.BROKER_SILENT: _Nature(Target.BROKER, False, 3, (1, 4)),
    FaultKind.COLLECTOR_KILLED: _Nature(Target.COLLECTOR, False, 3, (0, 3)),
    FaultKind.COLLECTOR_SILENT: _Nature(Target.COLLECTOR, False, 3, (1, 4)),
    FaultKind.COLLECTOR_CUT_OFF: _Nature(Target.COLLECTOR, False, 3, (0, 3)),
}

_WORDS: Final[dict[FaultKind, str]] = {
    FaultKind.AGENTS_KILLED: "agents killed",
    FaultKind.AGENTS_AWAY: "agents killed, away for a while",
    FaultKind.CLOCK_JUMPED: "agents killed, clock jumped",
    FaultKind.DISK_FULL: "disk full",
    FaultKind.CONNECTIONS_CUT: "connections cut",
    FaultKind.NETWORK_DOWN: "network down",
    FaultKind.NETWORK_SILENT: "network silent",
    FaultKind.PACKETS_LOST: "packets lost, then cut",
    FaultKind.BROKER_KILLED: "broker killed",
    FaultKind.BROKER_KILLED_FORGETS: "broker killed, memory lost",
    FaultKind.BROKER_SILENT: "broker halted",
    FaultKind.COLLECTOR_KILLED: "collector killed",
    FaultKind.COLLECTOR_SILENT: "collector halted",
    FaultKind.COLLECTOR_CUT_OFF: "collector cut off",
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault as it was drawn. Times are real seconds; `at_s` counts from the start of the schedule."""

    number: int
    kind: FaultKind
    at_s: float
    lasts_s: float
    victim: float
    """In [0, 1): which of those that can be struck then."""
    clock_jump_s: float = 0.0
    """How far the wall clock is from the right time after it."""


def schedule(
    seed: int, count: int, every_s: float, kinds: Sequence[FaultKind] = tuple(FaultKind)
) -> Iterator[Fault]:
    """Draw so many faults of these kinds, `every_s` apart on average; each kind once at least where they suffice."""
    random = Random(f"chaos {seed}")
    at_s = 0.0
    for number, kind in enumerate(_mixed(random, count, kinds), 1):
        at_s += every_s * random.uniform(0.4, 1.6)
        yield Fault(
            number=number,
            kind=kind,
            at_s=at_s,
            lasts_s=random.uniform(*_NATURES[kind].lasts_s),
            victim=random.random(),
            clock_jump_s=_jump_s(random) if kind is FaultKind.CLOCK_JUMPED else 0.0,
        )


def _mixed(random: Random, count: int, kinds: Sequence[FaultKind]) -> list[FaultKind]:
    """Every kind once, the others by their shares, in a drawn order."""
    once = random.sample(kinds, min(count, len(kinds)))
    weights = [_NATURES[kind].share for kind in kinds]
    chosen = [*once, *random.choices(kinds, weights, k=count - len(once))]
    random.shuffle(chosen)
    return chosen


def _jump_s(random: Random) -> float:
    """From a minute to two days, to either side."""
    return (
        random.choice((-1, 1)) * random.choice((60.0, HOUR_S, 48 * HOUR_S)) * random.uniform(1, 2)
    )
