"""Many seeds on as many processes as are wanted, each run twice, and what came of them all."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from multiprocessing import get_context
from typing import Any, Final

from simulator.verify.coverage import by_kind, never
from simulator.verify.faults import KINDS
from simulator.verify.plan import draw_world
from simulator.verify.run import Verdict, run_world
from simulator.verify.shrink import Shrunk, shrink
from simulator.verify.watch import Violation
from simulator.verify.world import HOUR_MS

CHUNK: Final = 10
"""Seeds that a process takes at once."""
SHRUNK_MAX: Final = 5
"""How many failing worlds are made smaller; the others are only named."""

Advance = Callable[[int], None]
"""Told how many more seeds are through."""


@dataclass(slots=True)
class Summary:
    """What some seeds came to; parts of any division add up to the same."""

    seeds: int = 0
    events: int = 0
    device_ms: int = 0
    trace: int = 0
    """The sum of the seeds' hashes, so that their order and division do not matter."""
    faults: Counter[str] = field(default_factory=Counter)
    met: Counter[str] = field(default_factory=Counter)
    violations: list[tuple[int, str, str]] = field(default_factory=list)
    """Seed, checker and sentence."""

    def add(self, other: Summary) -> None:
        """Take in another part."""
        self.seeds += other.seeds
        self.events += other.events
        self.device_ms += other.device_ms
        self.trace = (self.trace + other.trace) % 2**128
        self.faults += other.faults
        self.met += other.met
        self.violations = sorted([*self.violations, *other.violations])


def check_seed(seed: int) -> Verdict:
    """One world, run twice: what it came to, or that the two runs differ."""
    first = run_world(draw_world(seed))
    second = run_world(draw_world(seed))
    if first.trace != second.trace:
        sentence = f"two runs of seed {seed} differ: {first.trace:032x}, {second.trace:032x}"
        first.violation = Violation("deterministic", sentence)
    return first


def check_seeds(seeds: list[int]) -> Summary:
    """Some worlds, one after another."""
    summary = Summary()
    for seed in seeds:
        verdict = check_seed(seed)
        part = Summary(
            seeds=1,
            events=verdict.events,
            device_ms=verdict.device_ms,
            trace=verdict.trace,
            faults=verdict.happened,
            met=verdict.met,
        )
        if verdict.violation is not None:
            part.violations.append((seed, verdict.violation.checker, verdict.violation.sentence))
        summary.add(part)
    return summary


def verify(seeds: list[int], *, jobs: int = 1, advance: Advance = lambda _: None) -> dict[str, Any]:
    """All seeds, as `esp-sim verify --json` prints them."""
    began = time.perf_counter()
    whole = Summary()
    for part in _parts(seeds, jobs):
        whole.add(part)
        advance(part.seeds)
    return {
        "seeds": whole.seeds,
        "violations": [_as_json(number, one) for number, one in enumerate(whole.violations)],
        "device_hours": round(whole.device_ms / HOUR_MS, 1),
        "events": whole.events,
        "faults": {kind: whole.faults[kind] for kind in KINDS},
        "met": by_kind(whole.met),
        "never_met": never(whole.met),
        "trace": f"{whole.trace:032x}",
        "seconds": round(time.perf_counter() - began, 1),
    }


def _parts(seeds: list[int], jobs: int) -> Iterator[Summary]:
    chunks = [seeds[start : start + CHUNK] for start in range(0, len(seeds), CHUNK)]
    if jobs == 1 or len(chunks) <= 1:
        yield from map(check_seeds, chunks)
        return
    # A fresh interpreter for each worker: forking a process with threads may stop it for good.
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        for done in as_completed([pool.submit(check_seeds, chunk) for chunk in chunks]):
            yield done.result()


def _as_json(number: int, found: tuple[int, str, str]) -> dict[str, Any]:
    seed, checker, sentence = found
    smaller = Shrunk(seed, (), (), Violation(checker, sentence))
    if number < SHRUNK_MAX and checker != "deterministic":
        smaller = shrink(seed, smaller.violation)
    return {
        "seed": seed,
        "checker": checker,
        "sentence": sentence,
        "replay": f"esp-sim verify --seed {seed} --trace",
        "smaller": smaller.command,
    }
