"""Makes a world in which something fails as small as is simple: fewer fault kinds, fewer devices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from simulator.verify.plan import WorldPlan, draw_world
from simulator.verify.run import run_world
from simulator.verify.watch import Violation

RUNS_MAX: Final = 60


@dataclass(frozen=True, slots=True)
class Shrunk:
    """What of a world is still needed for it to fail."""

    seed: int
    without: tuple[str, ...]
    """Faults that were turned off."""
    devices: tuple[str, ...]
    """The devices that are left; empty for all."""
    violation: Violation

    @property
    def command(self) -> str:
        """What replays it."""
        parts = [f"esp-sim verify --seed {self.seed} --trace"]
        parts += [f"--without {kind}" for kind in self.without]
        parts += [f"--device {device}" for device in self.devices]
        return " ".join(parts)


def shrink(seed: int, violation: Violation) -> Shrunk:
    """Leave out devices and faults one by one, and keep left out whatever the failure does not need."""
    whole = draw_world(seed)
    found = Shrunk(seed, (), (), violation)
    for candidate in _candidates(whole)[:RUNS_MAX]:
        smaller = candidate(found)
        plan = whole.smaller(without=smaller.without, devices=smaller.devices)
        still = run_world(plan).violation
        if still is not None and still.checker == violation.checker:
            found = Shrunk(seed, smaller.without, smaller.devices, still)
    return found


def _candidates(whole: WorldPlan) -> list[_Smaller]:
    names = tuple(plan.device for plan in whole.devices)
    fewer = [_Smaller(names, device=name) for name in names if len(names) > 1]
    return fewer + [_Smaller(names, kind=kind) for kind in whole.faults.active]


@dataclass(frozen=True, slots=True)
class _Smaller:
    """One thing to leave out."""

    every: tuple[str, ...]
    device: str | None = None
    kind: str | None = None

    def __call__(self, found: Shrunk) -> Shrunk:
        if self.kind is not None:
            return Shrunk(found.seed, (*found.without, self.kind), found.devices, found.violation)
        left = tuple(d for d in found.devices or self.every if d != self.device)
        return Shrunk(found.seed, found.without, left or found.devices, found.violation)
