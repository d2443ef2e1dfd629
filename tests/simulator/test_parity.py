from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import pytest

from agent.core.effects import Effect, EndpointEffect
from agent.core.effects import Report as ReportFact
from agent.core.events import Event
from agent.core.outbox import KeepReport, OutboxState
from agent.runtime.driver import LOCAL_STORE, Driver, DriverOptions
from agent.runtime.ports import Batch, JournalState, SignatureRefused
from agent.wire.assignment import Admitted, Assignment, Refused
from agent.wire.events import AttemptStarted, Report
from agent.wire.vocabulary import EnrollmentType
from collector.admission import decide
from simulator.device import VirtualDevice
from simulator.endpoint import FleetEndpoint
from simulator.population import AGENT_VERSION, SimulatedDevice, simulated_device
from simulator.rollout import Rollout
from simulator.scenario_file import SHIPPED, load_scenario

DEMO = load_scenario(SHIPPED / "demo.toml")
ROLLOUT = Rollout(DEMO)
SEEDS = (DEMO.seed, 8)
"""The second one has people who reset their devices."""
DEVICES = [simulated_device(DEMO, seed, index) for seed in SEEDS for index in range(DEMO.devices)]

Happening = tuple[int, object]
"""An effect on the device with its time, or a report with its attempt time."""


class LeapingClock:
    """Running time that leaps to whatever the driver waits for, so that a live driver needs no real time."""

    def __init__(self) -> None:
        self._now_ms = 0
        self._awaited: list[int] = []

    def now_ms(self) -> int:
        if self._awaited:
            self._now_ms = max(self._now_ms, min(self._awaited))
            self._awaited.clear()
        return self._now_ms

    def wall_ms(self) -> int:
        return 1_767_225_600_000

    def restore(self, base_ms: int, off_ms: int = 0) -> None:
        self._now_ms = base_ms + off_ms

    def seconds_until(self, at_ms: int) -> float:
        self._awaited.append(at_ms)
        return 0.0


class MemoryJournal:
    """Keeps nothing but the reports."""

    def __init__(self) -> None:
        self.reports: list[Report] = []

    async def load(self, device: str, new_stream: str) -> JournalState:
        return JournalState(
            device=device,
            stream=new_stream,
            session=0,
            entries=(),
            outbox=OutboxState(),
            executed=frozenset(),
        )

    async def commit(self, device: str, batch: Batch) -> None:
        for change in batch.outbox:
            if isinstance(change, KeepReport):
                self.reports.append(Report.model_validate_json(change.content))

    async def fetch(self, device: str, first: int, last: int) -> Sequence[tuple[int, Report]]:
        raise AssertionError("nothing is fetched without a broker")


class Distrust:
    """Nothing signed arrives without a broker."""

    def verify(self, compact: str, typ: str) -> bytes:
        raise SignatureRefused(f"{typ}: {compact}")


class WatchedEndpoint(FleetEndpoint):
    """Notes what it is asked to do."""

    happened: list[Happening]

    def act(self, effect: EndpointEffect, at_ms: int) -> None:
        self.happened.append((at_ms, effect))
        super().act(effect, at_ms)


class LocalDecision:
    """Decides as an assignment from a file does."""

    def __init__(self, device: str, decision: Admitted | Refused) -> None:
        self._device = device
        self._decision = decision

    def started(self, started: AttemptStarted, attempt: str) -> Assignment:
        return Assignment(
            device=self._device,
            attempt=attempt,
            store=LOCAL_STORE,
            term=0,
            version=1,
            issued_at=datetime(2026, 1, 1, tzinfo=UTC),
            decision=self._decision,
        )

    def again(self) -> None:
        return None


def decision_for(device: SimulatedDevice) -> Admitted | Refused:
    facts = device.facts
    started = AttemptStarted(
        enrollment_type=facts.enrollment_type,
        variant=facts.variant,
        platform=facts.platform,
        os_version=facts.os_version,
        user=facts.user,
        agent_version=facts.agent_version,
    )
    return decide(started, ROLLOUT.standing(device), ROLLOUT.rules, ROLLOUT.offer(device))


def counter(start: int) -> Callable[[], str]:
    numbers = iter(range(start, start + 1000))
    return lambda: f"id-{next(numbers)}"


def virtually(device: SimulatedDevice) -> tuple[list[Happening], list[Happening]]:
    acts: list[Happening] = []
    reports: list[Happening] = []

    def watch(at_ms: int, event: Event, effects: Sequence[Effect]) -> None:
        del event
        for effect in effects:
            if isinstance(effect, ReportFact):
                reports.append((effect.attempt_ms, effect.body))
            else:
                acts.append((at_ms, effect))

    decision = LocalDecision(device.id, decision_for(device))
    VirtualDevice(ROLLOUT, device, collector=decision, answer_ms=0).run(watch)
    return acts, reports


async def live(device: SimulatedDevice) -> tuple[list[Happening], list[Happening]]:
    endpoint = WatchedEndpoint(ROLLOUT, device, counter(500))
    endpoint.happened = []
    journal = MemoryJournal()
    options = DriverOptions(
        device=device.id,
        agent_version=AGENT_VERSION,
        limits=ROLLOUT.limits,
        decision=decision_for(device),
    )
    driver = Driver(options, endpoint, journal, LeapingClock(), Distrust(), identifier=counter(1))
    await asyncio.wait_for(driver.run(), 30)
    return endpoint.happened, [(report.attempt_ms, report.body) for report in journal.reports]


@pytest.mark.parametrize("device", DEVICES, ids=lambda device: device.id)
async def test_the_live_driver_and_simulated_time_give_the_same_effects(
    device: SimulatedDevice,
) -> None:
    """One script, both shells around the machine: the same acts at the same times, the same reports in order."""
    assert await live(device) == virtually(device)


def test_the_scripts_are_of_every_type() -> None:
    assert {device.facts.enrollment_type for device in DEVICES} == set(EnrollmentType)
