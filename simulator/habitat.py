"""What a simulated device runs in: how long things take there, and how they fail."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from agent.core.effects import RunStep
from simulator.population import SimulatedDevice
from simulator.scenario import CatalogueItem, Duration, Fault, Network, Scenario, Step
from simulator.step_times import step_seconds

DETECTION_MS: Final = 2_000


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

    @classmethod
    def of(
        cls, scenario: Scenario, device: SimulatedDevice, neighbour: Habitat | None = None
    ) -> Habitat:
        """The habitat of a device of this scenario. A neighbour of the same type and variant lives from the same."""
        facts = device.facts
        if neighbour is None:
            items = {item.id: item for _, item in scenario.items_of(facts.enrollment_type)}
            steps = {
                k: step for k, step in scenario.steps.items() if facts.variant in step.variants
            }
        else:
            items, steps = neighbour.items, neighbour.steps
        return cls(
            items=items,
            steps=steps,
            network=device.network,
            megabits_per_second=device.megabits_per_second,
            pace=device.hardware.pace,
            hardware_class=device.hardware_class,
        )

    def time(self, step: RunStep) -> Duration:
        """How long the step itself takes, without its download."""
        known = self.items.get(step.item) or self.steps.get(step.item)
        if known is not None and known.time is not None:
            return _duration(known.time.median_s / self.pace, known.time.spread)
        return _duration(step_seconds(step.item, step.kind) / self.pace)

    def faults(self, step: RunStep) -> tuple[Fault, ...]:
        """What may go wrong with it."""
        known = self.items.get(step.item) or self.steps.get(step.item)
        return () if known is None else known.faults

    def meets(self, fault: Fault) -> bool:
        """True when this hardware can have this fault."""
        return not fault.hardware or self.hardware_class in fault.hardware

    @property
    def detection_ms(self) -> int:
        """How long it takes to find out whether something is there."""
        return round(DETECTION_MS / self.pace)


@lru_cache(maxsize=4_096)
def _duration(median_s: float, spread: float | None = None) -> Duration:
    """Of few items on few kinds of hardware, asked for at every step of every device."""
    return (
        Duration(median_s=median_s)
        if spread is None
        else Duration(median_s=median_s, spread=spread)
    )
