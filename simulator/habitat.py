"""What a simulated device runs in: how long things take there, and how they fail."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from agent.core.effects import RunStep
from simulator.population import SimulatedDevice
from simulator.scenario import CatalogueItem, Duration, Fault, Network, Scenario, Step
from simulator.step_times import step_seconds

DETECTION_MS: Final = 2_000


@dataclass(frozen=True, slots=True)
class PossibleFault:
    """A fault that a step may meet here, with the names of its draws."""

    fault: Fault
    strikes: str
    recovers: str


@dataclass(frozen=True, slots=True)
class Course:
    """How one step goes on one kind of device: all that does not depend on a draw."""

    item: CatalogueItem | None
    """What the catalogue says of it; None for a step of the platform's own."""
    time: Duration
    """How long the step itself takes, without its download."""
    faults: tuple[PossibleFault, ...]


@dataclass(frozen=True, slots=True)
class Habitat:
    """What the device runs in: how long things take there and how they fail."""

    items: dict[str, CatalogueItem]
    steps: dict[str, Step]
    network: Network
    megabits_per_second: float
    pace: float = 1
    hardware_class: str = ""
    """What it is made of, for the faults that only some hardware has."""
    courses: dict[str, Course] = field(default_factory=dict, repr=False, compare=False)
    """Those that were asked for: they follow from the rest, and are the same for neighbours."""

    @classmethod
    def of(
        cls, scenario: Scenario, device: SimulatedDevice, neighbour: Habitat | None = None
    ) -> Habitat:
        """The habitat of a device of this scenario.

        A neighbour of the same type, variant and hardware class lives from the same.
        """
        if neighbour is None:
            facts = device.facts
            items = {item.id: item for _, item in scenario.items_of(facts.enrollment_type)}
            steps = {
                k: step for k, step in scenario.steps.items() if facts.variant in step.variants
            }
            courses: dict[str, Course] = {}
        else:
            items, steps, courses = neighbour.items, neighbour.steps, neighbour.courses
        return cls(
            items=items,
            steps=steps,
            network=device.network,
            megabits_per_second=device.megabits_per_second,
            pace=device.hardware.pace,
            hardware_class=device.hardware_class,
            courses=courses,
        )

    def course(self, step: RunStep) -> Course:
        """How a step goes here."""
        known = self.courses.get(step.item)
        if known is None:
            known = self.courses[step.item] = self._make_course(step)
        return known

    def time(self, step: RunStep) -> Duration:
        """How long the step itself takes, without its download."""
        return self.course(step).time

    def _make_course(self, step: RunStep) -> Course:
        item = self.items.get(step.item)
        known = item or self.steps.get(step.item)
        if known is not None and known.time is not None:
            time = Duration(median_s=known.time.median_s / self.pace, spread=known.time.spread)
        else:
            time = Duration(median_s=step_seconds(step.item, step.kind) / self.pace)
        faults = () if known is None else known.faults
        return Course(
            item=item,
            time=time,
            faults=tuple(
                PossibleFault(fault, f"fault {fault.kind}{index}", f"recovery {fault.kind}{index}")
                for index, fault in enumerate(faults)
                if not fault.hardware or self.hardware_class in fault.hardware
            ),
        )

    @property
    def detection_ms(self) -> int:
        """How long it takes to find out whether something is there."""
        return round(DETECTION_MS / self.pace)
