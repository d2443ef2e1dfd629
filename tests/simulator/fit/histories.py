"""Histories of simulated fleets, for the tests that fit scenarios to them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime

from agent.core import effects
from agent.core.effects import Effect
from agent.core.events import Event
from agent.wire.events import Report
from simulator.cohort import enroll_cohort
from simulator.device import VirtualDevice
from simulator.fit.history import Fact, History
from simulator.population import cohorts
from simulator.rollout import Rollout
from simulator.scenario import Scenario

Told = tuple[str, tuple[effects.Report, ...]]
"""A device with its reports."""


class _Listener:
    """Keeps what one device reports."""

    def __init__(self, device: VirtualDevice, told: list[Told]) -> None:
        self._device = device.device.id
        self._told = told
        self._reports: list[effects.Report] = []

    def watch(self, at_ms: int, event: Event, caused: Sequence[Effect]) -> None:
        self._reports.extend(e for e in caused if isinstance(e, effects.Report))

    def close(self) -> None:
        self._told.append((self._device, tuple(self._reports)))


def told_by(scenario: Scenario, devices: int, seed: int) -> list[Told]:
    """Everything that the devices of a fleet report."""
    told: list[Told] = []
    rollout = Rollout(scenario)
    for cohort in cohorts(scenario, seed, devices):
        enroll_cohort(rollout, seed, cohort, lambda device: _Listener(device, told))
    return told


def history_of(told: Iterable[Told]) -> History:
    """The same as a fit sees it."""
    history = History()
    for device, reports in told:
        history.read(Fact(device, r.attempt, r.attempt_ms, r.body) for r in reports)
    return history


def exported(told: Iterable[Told]) -> Iterator[str]:
    """The same as lines of `esp-collector export --reports`."""
    for device, reports in told:
        for seq, report in enumerate(reports, 1):
            whole = Report(
                attempt=report.attempt,
                attempt_ms=report.attempt_ms,
                device_time=datetime(2026, 1, 5, 8, tzinfo=UTC),
                stage=report.stage,
                percent=report.percent,
                body=report.body,
            )
            head = json.dumps({"device": device, "stream": f"{device}-1", "seq": seq})
            yield f'{head[:-1]}, "report": {whole.model_dump_json()}}}\n'
