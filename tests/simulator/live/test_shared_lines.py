from __future__ import annotations

import asyncio
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest

from agent.core.effects import Effect
from agent.core.effects import Report as ReportFact
from agent.core.events import Event
from agent.runtime.clock import DeviceClock
from agent.runtime.driver import Driver, DriverOptions
from agent.wire.events import AttemptEnded, ItemChanged
from agent.wire.vocabulary import EndState
from simulator.cohort import enroll_cohort
from simulator.device import VirtualDevice
from simulator.endpoint import FleetEndpoint
from simulator.live.shared_lines import SharedLines
from simulator.population import AGENT_VERSION, SimulatedDevice, cohorts, devices_of
from simulator.rollout import Rollout
from simulator.scenario import Scenario
from simulator.scenario_file import SHIPPED, read_scenario
from tests.leaping_loop import LeapingLoop
from tests.simulator.test_parity import (
    Distrust,
    MemoryJournal,
    PaperArchive,
    Script,
    counter,
    decision_for,
)

SPEED = 60.0
DEVICES = 60
SEED = 9
ATTEMPT = "attempt"

Told = list[tuple[int, str, str]]
"""What a device reported of ends, items and their times in the attempt."""


def office(*, cache: bool) -> Rollout:
    """Two branch offices and a few people at home, on lines so narrow that some are in time and some are not."""
    data = tomllib.loads((SHIPPED / "office.toml").read_text())
    _, branch, home = data["sites"]
    branch |= {"devices": 20, "megabits_per_second": 130 if cache else 200, "weight": 75}
    home |= {"devices": 10, "weight": 25}
    data["sites"] = [branch, home]
    if cache:
        branch["cache"] = {"megabits_per_second": 50}
    return Rollout(read_scenario(data, "office.toml"))


def lines_of(attempt_ms: int, body: object) -> Told:
    match body:
        case AttemptEnded():
            return [(attempt_ms, ATTEMPT, body.end_state)]
        case ItemChanged():
            return [(attempt_ms, body.item, body.state)]
        case _:
            return []


@dataclass
class Notes:
    """What one virtual device reports."""

    device: VirtualDevice
    told: Told = field(default_factory=list)

    def watch(self, at_ms: int, event: Event, effects: Sequence[Effect]) -> None:
        del at_ms, event
        for effect in effects:
            if isinstance(effect, ReportFact):
                self.told += lines_of(effect.attempt_ms, effect.body)

    def close(self) -> None:
        pass


def virtually(rollout: Rollout, seed: int) -> dict[str, Told]:
    scenario, notes = rollout.scenario, []

    def observe(device: VirtualDevice) -> Notes:
        notes.append(Notes(device))
        return notes[-1]

    for cohort in cohorts(scenario, seed, DEVICES):
        enroll_cohort(rollout, seed, cohort, observe, answer_ms=0)
    return {note.device.device.id: note.told for note in notes}


async def live(rollout: Rollout, seed: int) -> dict[str, Told]:
    scenario: Scenario = rollout.scenario
    devices = [d for c in cohorts(scenario, seed, DEVICES) for d in devices_of(scenario, seed, c)]
    lines = SharedLines(devices, SPEED)
    async with asyncio.TaskGroup() as tasks:
        running = {d.id: tasks.create_task(live_device(rollout, d, lines)) for d in devices}
    lines.close()
    return {name: task.result() for name, task in running.items()}


async def live_device(rollout: Rollout, device: SimulatedDevice, lines: SharedLines) -> Told:
    loop = asyncio.get_running_loop()
    await asyncio.sleep(device.starts_at_ms / 1000 / SPEED)
    endpoint = FleetEndpoint(rollout, device, counter(500), line=lines.end(device))
    journal = MemoryJournal()
    driver = Driver(
        DriverOptions(
            device=device.id,
            agent_version=AGENT_VERSION,
            limits=rollout.limits,
            decision=decision_for(Script(rollout, device)),
        ),
        endpoint,
        journal,
        DeviceClock(SPEED, monotonic=loop.time),
        Distrust(),
        archive=PaperArchive(),
        identifier=counter(1),
    )
    await driver.run()
    return [line for r in journal.reports for line in lines_of(r.attempt_ms, r.body)]


@pytest.mark.parametrize("cache", [False, True])
def test_a_shared_line_is_the_same_live_and_in_simulated_time(*, cache: bool) -> None:
    """Every device reports the same at the same times: no download ends so near to a deadline here that lag matters."""
    rollout = office(cache=cache)
    expected = virtually(rollout, SEED)
    with asyncio.Runner(loop_factory=LeapingLoop) as runner:
        found = runner.run(live(rollout, SEED))
    assert found == expected
    ends = [state for told in expected.values() for _, item, state in told if item == ATTEMPT]
    assert {EndState.SUCCEEDED, EndState.TIMED_OUT} <= set(ends)


async def test_what_was_reached_before_a_cancellation_that_came_first_is_not_told() -> None:
    """A line lags, so that a device may have stopped a download whose end is still to be told."""
    scenario = office(cache=False).scenario
    (device,) = devices_of(scenario, SEED, cohorts(scenario, SEED, 1)[0])
    device = replace(device, starts_at_ms=0)
    assert device.shares_a_line
    lines = SharedLines([device], SPEED)
    end = lines.end(device)
    assert end is not None
    told: list[tuple[str, int]] = []
    through = asyncio.Event()

    def hear(item: str, percent: int, at_ms: int, *, broke: bool) -> None:
        assert not broke
        told.append((item, percent))
        if percent == 100:
            through.set()

    end.attach(hear)
    end.begin("stopped", 1_000, 100, 0)
    end.cancel("stopped", 5)
    end.begin("other", 1_000, 100, 10)
    await asyncio.wait_for(through.wait(), 30)
    lines.close()
    assert told == [("other", percent) for percent in (25, 50, 75, 100)]


async def test_what_devices_tell_late_is_done_in_the_order_of_its_stamps() -> None:
    """All of it is overdue here: the second download begins before the first one ends, and slows it down."""
    scenario = office(cache=False).scenario
    first, second, *_ = (
        replace(device, starts_at_ms=0)
        for device in devices_of(scenario, SEED, cohorts(scenario, SEED, 2)[0])
    )
    lines = SharedLines([first, second], SPEED, elapsed_s=3600)
    ended: dict[str, int] = {}
    through = asyncio.Event()

    def hear(item: str, percent: int, at_ms: int, *, broke: bool) -> None:
        if percent == 100 and not broke:
            ended[item] = at_ms
        if len(ended) == 2:
            through.set()

    assert first.site is not None
    assert first.site.megabits_per_second is not None
    a_second = round(first.site.megabits_per_second * 1_000_000 / 8)
    for device, item, at_ms in ((second, "second", 500), (first, "first", 0)):
        end = lines.end(device)
        assert end is not None
        end.attach(hear)
        end.begin(item, a_second, 10_000, at_ms)
    await asyncio.wait_for(through.wait(), 30)
    lines.close()
    assert ended == {"first": 1_500, "second": 2_000}
