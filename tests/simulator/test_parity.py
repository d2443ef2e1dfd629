from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from agent.core.batch import Batch
from agent.core.effects import AskPerson, CollectLogs, Effect, EndpointEffect, RunStep
from agent.core.effects import Report as ReportFact
from agent.core.events import Event
from agent.core.flows import FLOWS
from agent.core.outbox import KeepReport, OutboxState
from agent.core.reading import SignatureRefused
from agent.runtime.driver import LOCAL_STORE, Driver, DriverOptions
from agent.runtime.ports import (
    DeviceReport,
    JournalState,
)
from agent.wire.assignment import Admitted, Assignment, Refused
from agent.wire.events import AttemptEnded, AttemptStarted, LogsCollected, Report
from agent.wire.vocabulary import EndState
from collector.admission import decide
from simulator.device import VirtualDevice, simulated_archive
from simulator.endpoint import FleetEndpoint
from simulator.population import AGENT_VERSION, SimulatedDevice, simulated_device
from simulator.rollout import Rollout
from simulator.scenario_file import SHIPPED, load_scenario

DEMO = Rollout(load_scenario(SHIPPED / "demo.toml"))
VARIANTS = Rollout(load_scenario(SHIPPED / "variants.toml"))


@dataclass(frozen=True)
class Script:
    """One device's life in one scenario."""

    rollout: Rollout
    device: SimulatedDevice


FLEETS = (
    (DEMO, 26, 40),
    # People who reset their devices.
    (DEMO, 8, 40),
    # Every variant; a profile that expires and a device that resets itself.
    (VARIANTS, 7, 80),
)
SCRIPTS = [
    Script(rollout, simulated_device(rollout.scenario, seed, index))
    for rollout, seed, devices in FLEETS
    for index in range(devices)
]

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


class PaperArchive:
    """Writes nothing, under the names of simulated time."""

    async def write(self, report: DeviceReport) -> str:
        return simulated_archive(report.facts.device, report.at_ms)


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

    def ended(self, ended: AttemptEnded) -> None:
        pass


def decision_for(script: Script) -> Admitted | Refused:
    rollout, device = script.rollout, script.device
    facts = device.facts
    started = AttemptStarted(
        enrollment_type=facts.enrollment_type,
        variant=facts.variant,
        platform=facts.platform,
        os_version=facts.os_version,
        user=facts.user,
        agent_version=facts.agent_version,
    )
    return decide(started, rollout.standing(device), rollout.rules, rollout.offer(device))


def counter(start: int) -> Callable[[], str]:
    numbers = iter(range(start, start + 1000))
    return lambda: f"id-{next(numbers)}"


def virtually(script: Script) -> tuple[list[Happening], list[Happening]]:
    acts: list[Happening] = []
    reports: list[Happening] = []

    def watch(at_ms: int, event: Event, effects: Sequence[Effect]) -> None:
        del event
        for effect in effects:
            if isinstance(effect, ReportFact):
                reports.append((effect.attempt_ms, effect.body))
            elif not isinstance(effect, CollectLogs):
                acts.append((at_ms, effect))

    decision = LocalDecision(script.device.id, decision_for(script))
    device = VirtualDevice(script.rollout, script.device, collector=decision, answer_ms=0)
    device.run(watch)
    return acts, reports


async def live(script: Script) -> tuple[list[Happening], list[Happening]]:
    endpoint = WatchedEndpoint(script.rollout, script.device, counter(500))
    endpoint.happened = []
    journal = MemoryJournal()
    options = DriverOptions(
        device=script.device.id,
        agent_version=AGENT_VERSION,
        limits=script.rollout.limits,
        decision=decision_for(script),
    )
    driver = Driver(
        options,
        endpoint,
        journal,
        LeapingClock(),
        Distrust(),
        archive=PaperArchive(),
        identifier=counter(1),
    )
    await asyncio.wait_for(driver.run(), 30)
    return endpoint.happened, [(report.attempt_ms, report.body) for report in journal.reports]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.device.id)
async def test_the_live_driver_and_simulated_time_give_the_same_effects(script: Script) -> None:
    """One script, both shells around the machine: the same acts at the same times, the same reports in order."""
    assert await live(script) == virtually(script)


def test_the_scripts_are_of_every_variant_and_hold_what_is_hard_to_get_right() -> None:
    """Collected logs, resets by a person and by the device, a screen that is asked for again, a retried registration."""
    facts = [script.device.facts for script in SCRIPTS]
    assert {(f.enrollment_type, f.variant) for f in facts} == set(FLOWS)
    lives = [virtually(script) for script in SCRIPTS]
    reports = [body for _, bodies in lives for _, body in bodies]
    assert any(isinstance(body, LogsCollected) for body in reports)
    assert any(r.end_state is EndState.RESET for r in reports if isinstance(r, AttemptEnded))
    runs = [Counter(a.item for _, a in acts if isinstance(a, RunStep)) for acts, _ in lives]
    asks = [Counter(a.item for _, a in acts if isinstance(a, AskPerson)) for acts, _ in lives]
    assert any(run["first_policy"] > 1 for run in runs)
    assert any(run["hybrid_registration"] > 1 for run in runs)
    assert any(ask["show_profile"] > 1 for ask in asks)
    replaced = [a for acts, _ in lives for _, a in acts if isinstance(a, RunStep) and a.replaces]
    assert replaced
