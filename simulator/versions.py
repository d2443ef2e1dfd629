"""Runs several versions of a scenario on the same devices, so that only what was changed makes a difference."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise

from agent.wire.vocabulary import EnrollmentType
from simulator.cohort import enroll_cohort
from simulator.counting import DeviceTally, Outcome
from simulator.device import VirtualDevice
from simulator.engine import Engine
from simulator.paired import PairTally
from simulator.population import Cohort, SimulatedDevice, cohorts
from simulator.rollout import Rollout
from simulator.scenario import Scenario
from simulator.tally import Tally

Advance = Callable[[int], None]
"""Told how many more enrollments are through."""


@dataclass(slots=True)
class Pairs:
    """The devices of one version beside another's, all together and by the type that they have in the first of the two."""

    whole: PairTally = field(default_factory=PairTally)
    by_type: dict[EnrollmentType, PairTally] = field(default_factory=dict)

    def of(self, kind: EnrollmentType) -> PairTally:
        """The tally of one type, to count in."""
        return self.by_type.setdefault(kind, PairTally())

    def count(self, group: Sequence[tuple[Outcome, Outcome]]) -> None:
        """Take in devices that are not independent of each other, or a single one."""
        self.whole.count(group)
        for kind in {first.part[0] for first, _ in group}:
            self.of(kind).count(pair for pair in group if pair[0].part[0] is kind)

    def add(self, other: Pairs) -> None:
        """Take in another part of the same devices."""
        self.whole.add(other.whole)
        for kind, pairs in other.by_type.items():
            self.of(kind).add(pairs)


@dataclass(frozen=True, slots=True)
class Lived:
    """What one device came to, and with which others it went together."""

    outcome: Outcome
    line: int | None
    """The cohort whose line it shared."""
    user: str | None


@dataclass(slots=True)
class Versions:
    """What each version came to, and each one after the first beside the one before it."""

    tallies: list[Tally]
    pairs: list[Pairs]
    """`pairs[i]` compares version `i + 1` with version `i`."""

    def add(self, other: Versions) -> None:
        """Take in another part of the same devices."""
        for tally, more in zip(self.tallies, other.tallies, strict=True):
            tally.add(more)
        for pairs, more_pairs in zip(self.pairs, other.pairs, strict=True):
            pairs.add(more_pairs)


def run_versions(
    engine: Engine,
    scenarios: Sequence[Scenario],
    *,
    devices: int,
    seed: int,
    advance: Advance = lambda _: None,
) -> Versions:
    """Enroll the same devices under every version. After an interruption it has the devices that were through.

    Raises:
        EngineFailed: the engine broke.
    """
    first, *others = scenarios
    blocks = _blocks([cohorts(scenario, seed, devices) for scenario in scenarios])
    whole = _empty(len(scenarios))
    for part, count in engine.results(partial(run_blocks, others), first, seed, blocks):
        whole.add(part)
        advance(count * len(scenarios))
    return whole


def run_blocks(
    others: Sequence[Scenario], first: Scenario, seed: int, blocks: Sequence[Cohort]
) -> Versions:
    """Enroll the devices of some neighbouring blocks under every version, and compare them one by one."""
    scenarios = (first, *others)
    versions = _empty(len(scenarios))
    lives = [
        _lives(scenario, seed, blocks, tally)
        for scenario, tally in zip(scenarios, versions.tallies, strict=True)
    ]
    for (before, after), pairs in zip(pairwise(lives), versions.pairs, strict=True):
        groups: dict[object, list[tuple[Outcome, Outcome]]] = {}
        for index, one in before.items():
            other = after[index]
            groups.setdefault(_group(index, one, other), []).append((one.outcome, other.outcome))
        for group in groups.values():
            pairs.count(group)
    return versions


def _group(index: int, first: Lived, second: Lived) -> object:
    """What all devices have in common that are not independent: a line, or else a person."""
    line = second.line if first.line is None else first.line
    return (first.user or index) if line is None else line


def _lives(
    scenario: Scenario, seed: int, blocks: Sequence[Cohort], tally: Tally
) -> dict[int, Lived]:
    observers: dict[int, tuple[SimulatedDevice, DeviceTally]] = {}

    def observe(device: VirtualDevice) -> DeviceTally:
        observer = DeviceTally(tally, device)
        observers[device.device.index] = (device.device, observer)
        return observer

    rollout = Rollout(scenario)
    found: dict[int, Lived] = {}
    begin, end = blocks[0].first, blocks[-1].first + blocks[-1].count
    for cohort in cohorts(scenario, seed, end):
        if cohort.first >= begin:
            enroll_cohort(rollout, seed, cohort, observe, percents=())
            for index, (device, observer) in observers.items():
                line = cohort.number if device.shares_a_line else None
                found[index] = Lived(observer.outcome, line, device.facts.user)
            observers.clear()
    return found


def _blocks(divisions: Sequence[Sequence[Cohort]]) -> Sequence[Cohort]:
    """The smallest stretches of devices that are whole cohorts in every version."""
    ends = [{cohort.first + cohort.count for cohort in division} for division in divisions]
    edges = [0, *sorted(set.intersection(*ends))]
    return [Cohort(n, first, end - first) for n, (first, end) in enumerate(pairwise(edges))]


def _empty(versions: int) -> Versions:
    return Versions([Tally() for _ in range(versions)], [Pairs() for _ in range(versions - 1)])
