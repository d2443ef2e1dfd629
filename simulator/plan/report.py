"""The plan of a scenario as one JSON object: what `esp-sim check --json` prints and what its page for people is made of."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any

from agent.wire.vocabulary import Context, EnrollmentType
from simulator.plan.fleet import LOOKED_AT_MAX, FleetSketch, sketch_of
from simulator.plan.steps import PlannedStep, Way, ways_of
from simulator.plan.warnings import warnings_of
from simulator.population import fleet
from simulator.rollout import Rollout
from simulator.scenario import Scenario


def plan_of(scenario: Scenario) -> dict[str, Any]:
    """What the scenario would run. Times are averages in seconds, on the median line, when nothing fails.

    Raises:
        ValueError: a device could make no plan of what it gets; one sentence.
    """
    rollout = Rollout(scenario)
    devices = list(islice(fleet(scenario, scenario.seed, scenario.devices), LOOKED_AT_MAX))
    sketch = sketch_of(rollout, devices)
    ways = ways_of(rollout, devices)
    return {
        "name": scenario.name,
        "title": scenario.title,
        "devices": scenario.devices,
        "looked_at": sketch.devices,
        "seed": scenario.seed,
        "by_type": {
            kind.value: {"devices": sketch.types[kind], "items": len(rollout.items(kind))}
            for kind in EnrollmentType
            if sketch.types[kind]
        },
        "by_profile": dict(sketch.profiles),
        "ways": [_way(way) for way in ways],
        "sites": _sites(scenario, sketch),
        "people": _people(scenario, sketch),
        "refused": [
            {"type": kind.value, "reason": reason.value, "devices": count}
            for (kind, reason), count in sketch.refused.most_common()
        ],
        "start": [{"from_minute": ms / 60_000, "devices": n} for ms, n in sketch.curve()],
        "targets": {k.value: target.model_dump() for k, target in scenario.targets.items()},
        "warnings": [{"key": key, "sentence": s} for key, s in _warnings(scenario, ways, sketch)],
    }


def _warnings(
    scenario: Scenario, ways: Sequence[Way], sketch: FleetSketch
) -> list[tuple[str, str]]:
    return list(dict.fromkeys(warnings_of(scenario, ways, sketch)))


def _way(way: Way) -> dict[str, Any]:
    facts, profile = way.device.facts, way.offer.profile
    contexts = [context for context in Context if way.of(context)]
    return {
        "type": facts.enrollment_type.value,
        "variant": facts.variant.value,
        "hardware": way.device.hardware_class,
        "profile": profile.name,
        "devices": way.devices,
        "person": way.device.population.person,
        "contexts": {
            context.value: {
                "needs_s": round(way.needs_s(context), 1),
                "budget_s": way.plan.budget_ms(context) / 1000,
            }
            for context in contexts
        },
        "blocking": [s.item.id for s in way.steps if s.item.blocking and s.item.is_assigned],
        "blocking_mib": round(way.blocking_bytes / 2**20, 1),
        "steps": [_step(step) for step in way.steps],
        "background": [item.id for item in way.background],
        "skipped": {item.id: item.skip for item in way.skipped},
    }


def _step(step: PlannedStep) -> dict[str, Any]:
    item = step.item
    return {
        "id": item.id,
        "name": item.name,
        "kind": item.kind.value,
        "phase": item.phase.value,
        "begins_s": round(step.begins_s, 1),
        "download_s": round(step.download_s, 1),
        "work_s": round(step.work_s, 1),
        "limit_s": None if item.limit_ms is None else item.limit_ms / 1000,
        "tries": item.tries,
        "blocking": item.blocking,
        "needs": list(item.needs),
    }


def _sites(scenario: Scenario, sketch: FleetSketch) -> list[dict[str, Any]]:
    return [
        {
            "name": site.name,
            "devices": sketch.sites[site.name],
            "devices_each": site.devices,
            "megabits_per_second": site.megabits_per_second,
            "has_cache": site.cache is not None,
        }
        for site in scenario.sites
    ]


def _people(scenario: Scenario, sketch: FleetSketch) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "devices": count,
            "answer_s": scenario.persons[name].answer.median_s,
            "silent": scenario.persons[name].silent,
            "hours": None
            if (hours := scenario.persons[name].hours) is None
            else f"{hours.begin} to {hours.end}",
        }
        for name, count in sketch.people.most_common()
    ]
