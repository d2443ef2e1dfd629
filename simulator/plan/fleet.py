"""What can be said of a fleet without enrolling it: its devices, people, refusals, starts and sites."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from agent.core.events import HOUR_MS
from agent.wire.assignment import Refused
from agent.wire.events import AttemptStarted
from agent.wire.vocabulary import EnrollmentType, FailureKind
from collector.admission import decide
from simulator.population import SimulatedDevice
from simulator.rollout import Rollout
from simulator.scenario import Site

LOOKED_AT_MAX: Final = 20_000
"""So many devices show what a larger fleet is made of."""
CURVE_STEPS: Final = 12


@dataclass(slots=True)
class FleetSketch:
    """Counts of the devices that were looked at."""

    devices: int = 0
    types: Counter[EnrollmentType] = field(default_factory=Counter)
    profiles: Counter[str] = field(default_factory=Counter)
    """By the profile's name."""
    refused: Counter[tuple[EnrollmentType, FailureKind]] = field(default_factory=Counter)
    """At their first attempt, when every earlier device of the same person has enrolled."""
    systems: Counter[tuple[EnrollmentType, str, str]] = field(default_factory=Counter)
    """Type, platform and version."""
    too_old: Counter[tuple[EnrollmentType, str, str]] = field(default_factory=Counter)
    """Those of them that are refused for their version."""
    people: Counter[str] = field(default_factory=Counter)
    """By the archetype's name."""
    sites: Counter[str] = field(default_factory=Counter)
    starts_ms: list[int] = field(default_factory=list)

    def curve(self) -> list[tuple[int, int]]:
        """How many are switched on from each of some even moments to the next: the moment in ms, and the number."""
        last = max(self.starts_ms, default=0)
        step = max(1, -(-(last + 1) // CURVE_STEPS))
        if step > HOUR_MS:
            step = -(-step // HOUR_MS) * HOUR_MS
        counts = Counter(start // step for start in self.starts_ms)
        return [(place * step, counts[place]) for place in range(last // step + 1)]


def sketch_of(rollout: Rollout, devices: Iterable[SimulatedDevice]) -> FleetSketch:
    """Look at these devices."""
    found = FleetSketch()
    enrolled: Counter[str] = Counter()
    for device in devices:
        kind = device.facts.enrollment_type
        system = (kind, device.facts.platform, device.facts.os_version)
        found.devices += 1
        found.types[kind] += 1
        found.profiles[rollout.offer(device).profile.name] += 1
        found.people[device.population.person] += 1
        found.sites["" if device.site is None else device.site.name] += 1
        found.systems[system] += 1
        found.starts_ms.append(device.starts_at_ms)
        reason = _refusal(rollout, device, enrolled)
        if reason is not None:
            found.refused[kind, reason] += 1
            found.too_old[system] += reason is FailureKind.OS_NOT_SUPPORTED
    return found


def _refusal(
    rollout: Rollout, device: SimulatedDevice, enrolled: Counter[str]
) -> FailureKind | None:
    facts, user = device.facts, device.facts.user or ""
    started = AttemptStarted(
        enrollment_type=facts.enrollment_type,
        variant=facts.variant,
        platform=facts.platform,
        os_version=facts.os_version,
        user=facts.user,
        agent_version=facts.agent_version,
    )
    standing = rollout.standing(device, enrolled[user])
    decision = decide(started, standing, rollout.rules, rollout.offer(device))
    if isinstance(decision, Refused):
        return decision.failure.kind
    enrolled[user] += 1
    return None


def line_minutes(site: Site, bytes_each: float) -> float:
    """How long a site's line needs for so many bytes of each of its devices; 0 where it has no line or a cache.

    With a cache the line carries every item once.
    """
    if site.megabits_per_second is None:
        return 0.0
    copies = 1 if site.cache is not None else site.devices
    return copies * bytes_each * 8 / 1e6 / site.megabits_per_second / 60
