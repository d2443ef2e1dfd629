"""What a scenario would do to its users: the whole fleet in simulated time, on as many processes as are wanted."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from hashlib import blake2b
from itertools import pairwise
from multiprocessing import get_context
from typing import Any, Final

from agent.core.effects import Effect, Report
from agent.core.events import Event
from agent.core.flows import BUILT_IN_STEPS
from agent.wire.events import AttemptEnded, GateChanged, ItemChanged
from agent.wire.vocabulary import SATISFIED_STATES, SUCCESS_STATES, Gate
from simulator.device import VirtualDevice
from simulator.population import simulated_device
from simulator.rollout import Rollout
from simulator.scenario import Scenario
from simulator.tally import Tally

COHORT: Final = 100
"""Devices that belong together; a process takes whole cohorts, so that the division changes nothing."""

Advance = Callable[[int], None]
"""Told how many more devices are through."""


class DeviceTally:
    """Watches one device and counts."""

    def __init__(self, tally: Tally, device: VirtualDevice) -> None:
        self._tally = tally
        facts = device.device.facts
        self._counted = (
            tally.of(facts.enrollment_type),
            tally.of_variant(facts.enrollment_type, facts.variant),
        )
        self._hash = blake2b(device.device.id.encode(), digest_size=16)
        self._last_blocking: str | None = None

    def watch(self, at_ms: int, event: Event, effects: Sequence[Effect]) -> None:
        """Take in one input with its effects."""
        self._hash.update(f"{at_ms} {event.kind}\n".encode())
        for effect in effects:
            if isinstance(effect, Report):
                self._reported(effect)
            else:
                self._hash.update(f" {type(effect).__name__}\n".encode())

    def _reported(self, effect: Report) -> None:
        self._tally.events += 1
        detail = ""
        match effect.body:
            case ItemChanged(item=item, state=state, blocking=blocking):
                detail = f"{item} {state}"
                if blocking and state in SATISFIED_STATES:
                    self._last_blocking = item
            case GateChanged(gate=gate):
                detail = gate
                if gate is Gate.RELEASED and self._last_blocking is not None:
                    self._tally.critical[self._last_blocking] += 1
            case AttemptEnded(end_state=end_state):
                detail = end_state
                for counted in self._counted:
                    counted.ended(end_state, effect.attempt_ms)
            case _:
                pass
        line = f" {effect.body.kind} {effect.attempt_ms} {effect.percent} {detail}\n"
        self._hash.update(line.encode())

    def close(self, device: VirtualDevice) -> None:
        """The device is through."""
        for counted in self._counted:
            counted.devices += 1
            counted.succeeded += device.end_state in SUCCESS_STATES
        self._tally.trace = (
            self._tally.trace + int.from_bytes(self._hash.digest(), "big")
        ) % 2**128


def run_cohort(scenario: Scenario, seed: int, first: int, count: int) -> Tally:
    """Enroll some devices, one after another."""
    rollout = Rollout(scenario)
    tally = Tally()
    for index in range(first, first + count):
        device = VirtualDevice(rollout, simulated_device(scenario, seed, index))
        counting = DeviceTally(tally, device)
        device.run(counting.watch)
        counting.close(device)
    return tally


def what_if(
    scenario: Scenario, *, devices: int, seed: int, jobs: int, advance: Advance = lambda _: None
) -> dict[str, Any]:
    """The figures of the whole fleet, as `esp-sim whatif --json` prints them."""
    began = time.perf_counter()
    edges = [*range(0, devices, COHORT), devices]
    cohorts = [(first, after - first) for first, after in pairwise(edges)]
    whole = Tally()
    for tally, count in _run_all(scenario, seed, cohorts, jobs):
        whole.add(tally)
        advance(count)
    names = {item.id: item.name for _, item in scenario.catalogue()}
    names |= {step.id: step.name for step in BUILT_IN_STEPS.values()}
    figures = whole.as_json(names)
    return {
        "devices": devices,
        "seed": seed,
        "by_type": figures["by_type"],
        "by_variant": figures["by_variant"],
        "critical_path": figures["critical_path"],
        "events": figures["events"],
        "seconds": round(time.perf_counter() - began, 3),
        "trace": figures["trace"],
    }


def _run_all(
    scenario: Scenario, seed: int, cohorts: Sequence[tuple[int, int]], jobs: int
) -> Iterator[tuple[Tally, int]]:
    if jobs == 1:
        for first, count in cohorts:
            yield run_cohort(scenario, seed, first, count), count
        return
    # A fresh interpreter for each worker: forking a process with threads may stop it for good.
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        waiting = {pool.submit(run_cohort, scenario, seed, f, n): n for f, n in cohorts}
        for done in as_completed(waiting):
            yield done.result(), waiting[done]
