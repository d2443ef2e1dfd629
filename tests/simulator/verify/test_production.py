"""The agent's own driver in the simulation's worlds: it keeps every property, and does what the simulation's shell does.

The two are compared on worlds with one device, whose power goes at times of the script and not between two effects,
for where exactly effects lie is each shell's own. Every other fault goes on as drawn.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field, replace
from typing import Any, Final
from unittest.mock import patch

import pytest

from agent.core.batch import Batch
from agent.core.effects import EndpointEffect
from agent.core.shell import StatusPace, input_batch, outbox_batch, report_of
from agent.runtime import driver as drivers
from simulator.ground_truth import GroundTruth
from simulator.verify import run
from simulator.verify.broker import Broker, Connection
from simulator.verify.checkers import all_checkers
from simulator.verify.disk import Kept
from simulator.verify.plan import WorldPlan, draw_world
from simulator.verify.run import Simulation
from simulator.verify.watch import Checker
from simulator.verify.world import HOUR_MS, MINUTE_MS
from tests.simulator.verify.production import on_a_loop, run_in_production

SCRIPTS: Final = range(1, 41)
JUDGED: Final = range(101, 126)
POWER_CUTS: Final = 2

Happening = tuple[int, object]
"""When, and what."""


@dataclass
class Record:
    """What one shell did: what it made durable, what it had the endpoint do, and what it published."""

    kept: list[Happening] = field(default_factory=list)
    done: list[Happening] = field(default_factory=list)
    published: list[Happening] = field(default_factory=list)
    tied_ms: int | None = None
    """What happened from here on can't be compared."""

    def before(self, until_ms: int | None) -> tuple[Sequence[Happening], ...]:
        """Everything that happened until then."""
        parts = (self.kept, self.done, self.published)
        return tuple([h for h in part if until_ms is None or h[0] < until_ms] for part in parts)


class Recorder(Checker):
    """Writes down what a device does."""

    name = "recorder"

    def __init__(self, plan: WorldPlan, record: Record) -> None:
        super().__init__(plan)
        self.record = record
        self.now_ms: Callable[[], int] = lambda: 0

    def booted(self, device: str, kept: Kept, running_ms: int) -> None:
        self.record.done.append((self.now_ms(), ("booted", len(kept.entries), running_ms)))

    def committed(self, device: str, batch: Batch) -> None:
        self.record.kept.append((self.now_ms(), batch))

    def acted(self, device: str, at_ms: int, effect: EndpointEffect, truth: GroundTruth) -> None:
        self.record.done.append((self.now_ms(), (at_ms, effect)))


class HearingBroker(Broker):
    """Writes down what devices publish."""

    record: Record

    def publish(self, connection: Connection, topic: str, payload: bytes, **how: Any) -> None:
        if connection.client_id.startswith("device-"):
            said = (topic, payload, how["retain"])
            self.record.published.append((self._world.now_ms, said))
        super().publish(connection, topic, payload, **how)


class Script(Simulation):
    """A world whose device also loses its power at times of the script."""

    def _arm_faults(self) -> None:
        super()._arm_faults()
        (device,) = self.devices
        for number in range(POWER_CUTS):
            at_ms = int(self.plan.safety_ms * self.plan.draws.uniform("cut", "", number))
            self.world.after(at_ms, lambda: self._cut(device))

    def _cut(self, device: Any) -> None:
        off_ms = self.world.between(MINUTE_MS, HOUR_MS, "script", "off")
        device.power_off("power cut")
        device._boot_after(off_ms)


def script(seed: int) -> WorldPlan:
    """A world of one device."""
    plan = draw_world(seed)
    faults = replace(plan.faults, power_cuts_per_thousand=0)
    return replace(plan.smaller(devices=(plan.devices[0].device,)), faults=faults)


def played(plan: WorldPlan, *, in_production: bool) -> Record:
    """The same script on one of the two shells."""
    record = Record()
    recorder = Recorder(plan, record)
    broker = type("Broker", (HearingBroker,), {"record": record})
    with ExitStack() as stack:
        loop = stack.enter_context(on_a_loop()) if in_production else None
        stack.enter_context(patch.object(run, "Broker", broker))
        stack.enter_context(
            patch.object(run, "all_checkers", lambda p: [*all_checkers(p), recorder])
        )
        simulation = Script(plan)
        recorder.now_ms = lambda: simulation.world.now_ms
        verdict = simulation.run()
        record.tied_ms = None if loop is None else loop.tied_ms
    assert verdict.violation is None
    return record


@pytest.fixture(scope="module")
def simulated() -> dict[int, Record]:
    return {seed: played(script(seed), in_production=False) for seed in SCRIPTS}


@pytest.mark.timeout(300)
def test_the_driver_keeps_does_and_publishes_what_the_simulation_does(
    simulated: dict[int, Record],
) -> None:
    compared: Counter[str] = Counter()
    for seed, record in simulated.items():
        driven = played(script(seed), in_production=True)
        for name, mine, other in zip(
            ("kept", "done", "published"),
            record.before(driven.tied_ms),
            driven.before(driven.tied_ms),
            strict=True,
        ):
            assert other == mine, f"script {seed}: {name}"
            compared[name] += len(mine)
        compared["all"] += len(record.kept) + len(record.done) + len(record.published)
    parts = compared["kept"] + compared["done"] + compared["published"]
    assert parts > 0.9 * compared["all"] > 5_000
    assert min(compared.values()) > 500


PLANTED: Final[dict[str, Callable[[], AbstractContextManager[Any]]]] = {
    "everything is lazy": lambda: patch.object(
        drivers, "input_batch", lambda *a: replace(input_batch(*a), lazy=True)
    ),
    "an outbox is kept later": lambda: patch.object(drivers, "outbox_batch", _without_numbers),
    "status twice as seldom": lambda: patch.object(
        drivers, "StatusPace", lambda: StatusPace(interval_ms=2_000)
    ),
    "status without waiting for more": lambda: patch.object(drivers, "is_urgent", lambda _: True),
    "reports of another minute": lambda: patch.object(
        drivers, "report_of", lambda fact, wall_ms: report_of(fact, wall_ms + MINUTE_MS)
    ),
    "nobody comes back": lambda: patch.object(drivers, "begins_anew", lambda *_, **__: False),
    "what was stopped still speaks": lambda: patch.object(
        drivers, "is_answer_to", lambda *_: False
    ),
}


def _without_numbers(effects: Any) -> Any:
    batch = outbox_batch(effects)
    return None if batch is None or batch.lazy else batch


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", PLANTED)
def test_a_driver_that_differs_is_noticed(name: str, simulated: dict[int, Record]) -> None:
    with PLANTED[name]():
        for seed, record in simulated.items():
            try:
                driven = played(script(seed), in_production=True)
            except AssertionError:
                return
            if driven.before(driven.tied_ms) != record.before(driven.tied_ms):
                return
    pytest.fail(f"nobody notices: {name}")


@pytest.mark.timeout(300)
def test_every_property_holds_for_the_driver_too() -> None:
    """Many devices, and every fault there is, power cuts between two effects included."""
    struck: Counter[str] = Counter()
    for seed in JUDGED:
        verdict = run_in_production(draw_world(seed))
        assert verdict.violation is None, f"seed {seed}"
        struck += verdict.happened
    assert struck["power_cuts_per_thousand"] > 20


def test_a_driver_that_publishes_before_it_keeps_is_caught() -> None:
    original = drivers.Driver._commit
    late: dict[int, Any] = {}

    async def commit(self: drivers.Driver, batch: Any) -> None:
        before = late.pop(id(self), None)
        late[id(self)] = batch
        if before is not None:
            await original(self, before)

    with patch.object(drivers.Driver, "_commit", commit):
        verdicts = [run_in_production(draw_world(seed)) for seed in JUDGED[:8]]
    assert any(verdict.violation is not None for verdict in verdicts)


def test_the_same_world_is_the_same_on_a_loop() -> None:
    plan = draw_world(3)
    assert run_in_production(plan).trace == run_in_production(plan).trace
