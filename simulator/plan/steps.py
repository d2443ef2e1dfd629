"""What a device of a scenario has to go through, with the times to expect: its plan, laid out on a clock without chance."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from agent.core.effects import RunStep
from agent.core.plan import ItemPlan, Plan, make_plan
from agent.wire.assignment import Admitted
from agent.wire.vocabulary import Context, ItemKind, Phase
from simulator.habitat import Habitat
from simulator.person import SimulatedPerson
from simulator.population import SimulatedDevice
from simulator.rollout import Rollout
from simulator.scenario import Duration


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """One step of a way. Times are averages, on the device's own line: medians do not add up."""

    item: ItemPlan
    begins_s: float
    """From the moment at which the device is switched on."""
    download_s: float
    work_s: float
    """Installer and detection; for a screen, the person."""

    @property
    def takes_s(self) -> float:
        """All of it."""
        return self.download_s + self.work_s

    @property
    def ends_s(self) -> float:
        """From the moment at which the device is switched on."""
        return self.begins_s + self.takes_s


@dataclass(frozen=True, slots=True)
class Way:
    """What devices of one population with one profile go through, when nothing fails."""

    device: SimulatedDevice
    """One of them, on the line and hardware of half of them."""
    devices: int
    """How many of the fleet, or of the part of it that was looked at."""
    offer: Admitted
    plan: Plan
    steps: tuple[PlannedStep, ...]
    """Those that setup waits for, in the order in which they begin."""
    background: tuple[ItemPlan, ...]
    """What is set up once setup has ended."""
    skipped: tuple[ItemPlan, ...]
    """What is not set up on such a device."""

    def of(self, context: Context) -> tuple[PlannedStep, ...]:
        """The steps that the time budget of a context pays for."""
        return tuple(
            step
            for step in self.steps
            if step.item.phase.context is context and not step.item.step.closes_budget
        )

    def needs_s(self, context: Context) -> float:
        """How long a context takes, from where its time budget begins to run."""
        steps = self.of(context)
        opened = max((s.ends_s for s in steps if s.item.step.opens_budget), default=0.0)
        begins = min((s.begins_s for s in steps), default=0.0)
        return max((s.ends_s for s in steps), default=0.0) - max(opened, begins)

    @property
    def blocking_bytes(self) -> int:
        """What has to be downloaded before a person gets in."""
        return sum(s.item.size_bytes for s in self.steps if s.item.blocking)


def ways_of(rollout: Rollout, devices: Iterable[SimulatedDevice]) -> tuple[Way, ...]:
    """The ways of these devices, one for each population and profile that occurs.

    Raises:
        ValueError: a device could make no plan of what it gets; one sentence.
    """
    found: dict[tuple[int, str], tuple[SimulatedDevice, int]] = {}
    number = {id(p): n for n, p in enumerate(rollout.scenario.population)}
    for device in devices:
        key = number[id(device.population)], rollout.offer(device).profile.id
        first, count = found.get(key, (device, 0))
        found[key] = first, count + 1
    return tuple(_way(rollout, *found[key]) for key in sorted(found))


def _way(rollout: Rollout, example: SimulatedDevice, devices: int) -> Way:
    device = _usual(rollout, example)
    offer = rollout.offer(device)
    plan = make_plan(device.facts, offer)
    items = [item for item in plan.items.values() if item.tracked and item.skip is None]
    return Way(
        device=device,
        devices=devices,
        offer=offer,
        plan=plan,
        steps=tuple(sorted(_laid_out(rollout, device, items), key=lambda s: s.begins_s)),
        background=tuple(i for i in plan.items.values() if not i.tracked and i.skip is None),
        skipped=tuple(i for i in plan.items.values() if i.skip is not None),
    )


def _usual(rollout: Rollout, device: SimulatedDevice) -> SimulatedDevice:
    """The same device on the median line and on the hardware that most of its population has."""
    weights = device.population.hardware
    most = max(weights, key=lambda name: weights[name]) if weights else ""
    return replace(
        device,
        megabits_per_second=device.network.megabits_per_second,
        hardware_class=most,
        hardware=rollout.scenario.hardware.get(most, device.hardware),
    )


def _laid_out(
    rollout: Rollout, device: SimulatedDevice, items: Iterable[ItemPlan]
) -> Iterator[PlannedStep]:
    """Each item as early as what it waits for and its lane allow, in the plan's order."""
    habitat = Habitat.of(rollout.scenario, device)
    ends: dict[str, float] = {}
    lanes: dict[str, float] = {}
    begun: dict[Phase, float] = {}
    waiting = list(items)
    known = {item.id for item in waiting}
    while waiting:
        item = next(i for i in waiting if not any(n in known - ends.keys() for n in _before(i)))
        waiting.remove(item)
        # Phases follow one another, so a phase begins when everything before it has ended.
        opened = begun.setdefault(item.phase, max(ends.values(), default=0.0))
        begins = max((ends[n] for n in _before(item) if n in ends), default=opened)
        begins = max(begins, opened)
        if item.lane is not None:
            begins = max(begins, lanes.get(item.lane, 0.0))
        step = PlannedStep(item, begins, _download_s(device, item), _work_s(habitat, device, item))
        ends[item.id] = step.ends_s
        if item.lane is not None:
            lanes[item.lane] = step.ends_s
        yield step


def _before(item: ItemPlan) -> tuple[str, ...]:
    return (*item.after, *item.needs)


def _download_s(device: SimulatedDevice, item: ItemPlan) -> float:
    return item.size_bytes * 8 / 1e6 / device.megabits_per_second


def _work_s(habitat: Habitat, device: SimulatedDevice, item: ItemPlan) -> float:
    if item.kind is ItemKind.SCREEN:
        habits = device.person.screens.get(item.id)
        answer = None if habits is None else habits.answer
        reading_ms = SimulatedPerson(device.person, device.draws).reading_ms(item.id)
        return _mean_s(answer or device.person.answer) + reading_ms / 1000
    context = Context.ACCOUNT if item.phase is Phase.ACCOUNT_SETUP else Context.DEVICE
    run = RunStep(item.id, item.name, item.kind, context, run=1, attempt=1, detect_first=False)
    return _mean_s(habitat.time(run))


def _mean_s(time: Duration) -> float:
    """The average of a log-normal time."""
    return time.median_s * math.exp(math.log(time.spread) ** 2 / 2)
