"""What outlives a killed process of agents: the devices' records, their starts, and how far each device came."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.core.batch import Batch, Entry
from agent.core.effects import AskPerson, EndpointEffect, SetGate
from agent.core.events import AttemptBegan, Event, Limits, StepFinished, StepResult
from agent.core.outbox import MarkAcknowledged, NumberReport
from agent.journal import open_journal
from agent.wire.identity import TrustedKey
from agent.wire.vocabulary import Gate, GateCause, PersonAction
from simulator.endpoint import FleetEndpoint, kept_truth
from simulator.live.chaos import outcomes_of
from simulator.live.worker import WorkerPlan, planned_devices
from simulator.population import simulated_device
from simulator.rollout import Rollout
from simulator.scenario_file import SHIPPED, load_scenario
from tests.agent.journal.test_conformance import keep
from tests.simulator.small_world import make_step

DEMO = SHIPPED / "demo.toml"
ROLLOUT = Rollout(load_scenario(DEMO))
ASK = AskPerson(item="sign_in", screen="sign_in", actions=(PersonAction.PROCEED,))


class Device:
    """A device of a fleet whose process may be killed."""

    def __init__(self, folder: Path) -> None:
        self.record = folder / "device.json"
        self.endpoint: FleetEndpoint
        self.posted: list[tuple[int, Event]]
        self.starts()

    def starts(self) -> None:
        """The first start, or the one after a SIGKILL."""
        device = simulated_device(ROLLOUT.scenario, 26, 0)
        self.endpoint = FleetEndpoint(ROLLOUT, device, record=self.record)
        self.endpoint.attach(lambda event, at_ms: self.posted.append((at_ms or 0, event)))

    def act(self, effect: EndpointEffect, at_ms: int) -> list[tuple[int, Event]]:
        self.posted = []
        self.endpoint.act(effect, at_ms)
        return self.posted


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path)


def test_what_an_installer_put_on_a_device_is_there_after_its_agent_was_killed(
    device: Device,
) -> None:
    done_ms, _ = device.act(make_step("vpn"), 0)[-1]
    device.starts()
    ((_, event),) = device.act(make_step("vpn", run=2, detect_first=True), done_ms)
    assert isinstance(event, StepFinished)
    assert event.result is StepResult.ALREADY_PRESENT


def test_what_a_gate_did_before_the_kill_is_judged_in_the_end(device: Device) -> None:
    device.act(SetGate(gate=Gate.LOCKED, cause=GateCause.ENROLLMENT_BEGAN), 10)
    device.starts()
    device.act(SetGate(gate=Gate.RELEASED, cause=GateCause.SETUP_COMPLETE), 90)
    assert [g.gate for g in kept_truth(device.record).gates] == [Gate.LOCKED, Gate.RELEASED]


def test_a_person_who_was_about_to_answer_answers_as_they_would_have(device: Device) -> None:
    before = device.act(ASK, 1_000)
    device.starts()
    assert device.act(ASK, 1_000) == before != []


def test_a_device_without_a_record_forgets_nothing_it_needs_and_writes_nothing(
    tmp_path: Path,
) -> None:
    endpoint = FleetEndpoint(ROLLOUT, simulated_device(ROLLOUT.scenario, 26, 0))
    endpoint.attach(lambda _, __: None)
    endpoint.act(make_step("vpn"), 0)
    assert list(tmp_path.iterdir()) == []


def test_a_worker_s_devices_are_switched_on_at_the_time_that_the_plan_says(tmp_path: Path) -> None:
    plan = WorkerPlan(
        scenario=DEMO,
        seed=26,
        devices=(0, 7),
        starts_s=(1.5, 4.0),
        began_unix_s=0,
        broker="mqtt://127.0.0.1:1883",
        tenant="t",
        trusted_key=TrustedKey(kid="0" * 32, public_key="-----BEGIN PUBLIC KEY-----\n"),
        journal=tmp_path / "journal",
        records=tmp_path,
        speed=10,
    )
    devices = planned_devices(WorkerPlan.model_validate_json(plan.model_dump_json()), ROLLOUT)
    assert [device.starts_at_ms for device in devices] == [15_000, 40_000]
    assert [device.index for device in devices] == [0, 7]


async def test_how_far_a_device_came_is_told_from_its_journal_alone(tmp_path: Path) -> None:
    facts = simulated_device(ROLLOUT.scenario, 26, 0).facts
    began = AttemptBegan(attempt="a1", facts=facts, limits=Limits())
    journal = open_journal(tmp_path / "journal.sqlite3")
    try:
        await journal.load("D1", "s1")
        await journal.load("D2", "s2")
        entry = Entry(1, 0, 0, "1.0", began)
        await journal.commit("D1", Batch(entry=entry, outbox=[keep(1), keep(2)]))
        through = (NumberReport(1, 1, "d" * 64), MarkAcknowledged(1, 5))
        await journal.commit("D1", Batch(outbox=through))
    finally:
        journal.close()
    (outcome,) = outcomes_of(tmp_path / "journal.sqlite3").values()
    assert (outcome.attempt, outcome.end_state) == ("a1", None)
    assert outcome.gate is Gate.LOCKED
    assert outcome.unacknowledged == 1
