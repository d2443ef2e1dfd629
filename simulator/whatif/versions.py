"""Runs several versions of a scenario on the same devices, so that only what was changed makes a difference."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import Any, Self

from agent.wire.vocabulary import EnrollmentType
from simulator.cohort import enroll_cohort
from simulator.counting import DeviceTally, Outcome
from simulator.device import VirtualDevice
from simulator.engine import Engine
from simulator.population import Cohort, SimulatedDevice, cohorts
from simulator.rollout import Rollout
from simulator.scenario import Scenario
from simulator.tally import Tally
from simulator.whatif.paired import PairTally
from simulator.whatif.run import count_fleet
from simulator.whatif.shards import WHOLE, Shard

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

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON has it: the same bytes for the same pairs."""
        return {
            "whole": self.whole.to_json(),
            "by_type": [[kind, self.by_type[kind].to_json()] for kind in sorted(self.by_type)],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The pairs that `to_json` wrote.

        Raises:
            ValueError: something is missing, or is not what `to_json` writes.
        """
        try:
            return cls(
                PairTally.from_json(data["whole"]),
                {
                    EnrollmentType(kind): PairTally.from_json(pairs)
                    for kind, pairs in data["by_type"]
                },
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"pairs: {error!r}") from None


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
    shard: Shard = WHOLE,
    advance: Advance = lambda _: None,
) -> Versions:
    """Enroll the same devices under every version, or one shard of them. After an interruption it has the devices that were through.

    Raises:
        EngineFailed: the engine broke.
    """
    first, *others = scenarios
    if not others:
        tally = count_fleet(engine, first, devices=devices, seed=seed, shard=shard, advance=advance)
        return Versions([tally], [])
    blocks = shard.part(blocks_of(scenarios, seed, devices))
    whole = empty(len(scenarios))
    for part, count in engine.results(partial(run_blocks, others), first, seed, blocks):
        whole.add(part)
        advance(count * len(scenarios))
    return whole


def run_blocks(
    others: Sequence[Scenario], first: Scenario, seed: int, blocks: Sequence[Cohort]
) -> Versions:
    """Enroll the devices of some blocks under every version, and compare them one by one."""
    scenarios = (first, *others)
    versions = empty(len(scenarios))
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
    return (first.user or index) if line is None else ("line", line)


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
    firsts = [block.first for block in blocks]
    for cohort in cohorts(scenario, seed, blocks[-1].first + blocks[-1].count):
        before = bisect_right(firsts, cohort.first) - 1
        if before >= 0 and cohort.first < firsts[before] + blocks[before].count:
            enroll_cohort(rollout, seed, cohort, observe, percents=())
            for index, (device, observer) in observers.items():
                line = cohort.number if device.shares_a_line else None
                found[index] = Lived(observer.outcome, line, device.facts.user)
            observers.clear()
    return found


def blocks_of(scenarios: Sequence[Scenario], seed: int, devices: int) -> Sequence[Cohort]:
    """The smallest stretches of devices that are whole cohorts in every version."""
    divisions = [cohorts(scenario, seed, devices) for scenario in scenarios]
    if len(divisions) == 1:
        return divisions[0]
    ends = [{cohort.first + cohort.count for cohort in division} for division in divisions]
    edges = [0, *sorted(set.intersection(*ends))]
    return [Cohort(n, first, end - first) for n, (first, end) in enumerate(pairwise(edges))]


def empty(versions: int) -> Versions:
    """So many versions of no device yet."""
    return Versions([Tally() for _ in range(versions)], [Pairs() for _ in range(versions - 1)])
