"""What looks wrong in a scenario without running it: each warning names its key, what would happen, and a remedy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from agent.core.person_screens import PERSON_SCREENS
from agent.wire.vocabulary import Context, ItemKind
from simulator.plan.fleet import FleetSketch, line_minutes
from simulator.plan.steps import Way
from simulator.population import cohorts, devices_of
from simulator.scenario import Scenario, Site

Warned = tuple[str, str]
"""The key, and a sentence."""

CLOSE: Final = 0.8
"""A usual enrollment that needs this share of its time budget leaves too little for an unusual one."""


def warnings_of(
    scenario: Scenario, ways: Sequence[Way], sketch: FleetSketch
) -> Iterator[tuple[str, str]]:
    """Every warning, the costly ones first."""
    yield from _sites(scenario, ways)
    yield from _timeouts(scenario, ways)
    yield from _limits(scenario, ways)
    yield from _refusals(sketch)
    yield from _unused(scenario, ways, sketch)


def _key_of(scenario: Scenario, way: Way) -> str:
    wanted = way.offer.profile.id
    number = next(n for n, p in enumerate(scenario.profiles) if p.profile.id == wanted)
    return f"profiles[{number}].profile"


def _label(way: Way) -> str:
    facts = way.device.facts
    return f"{facts.enrollment_type.label}, {facts.variant.label}"


# --- time -----------------------------------------------------------------------------------------


def _timeouts(scenario: Scenario, ways: Iterable[Way]) -> Iterator[Warned]:
    for way in ways:
        for context in Context:
            if not any(s.item.blocking for s in way.of(context)):
                continue
            needs_min = way.needs_s(context) / 60
            budget_min = way.plan.budget_ms(context) / 60_000
            if needs_min <= CLOSE * budget_min:
                continue
            what = (
                "more than half of them will not be ready in time"
                if needs_min > budget_min
                else "the slower ones will not be ready in time"
            )
            yield (
                f"{_key_of(scenario, way)}.timeout_minutes",
                (
                    f"{_label(way)}: {context.value} setup usually takes {needs_min:.0f} minutes and the profile waits "
                    f"{budget_min:.0f}, so that {what}; raise it, or have fewer or faster items there"
                ),
            )


def _limits(scenario: Scenario, ways: Iterable[Way]) -> Iterator[Warned]:
    longer: dict[str, set[str]] = {}
    for way in ways:
        timeout_min = way.offer.profile.timeout_minutes
        for step in way.steps:
            limit_ms = step.item.limit_ms
            if not step.item.is_assigned or limit_ms is None:
                continue
            if step.item.kind is ItemKind.APP and limit_ms > timeout_min * 60_000:
                longer.setdefault(_key_of(scenario, way), set()).add(step.item.name)
            if step.takes_s * 1000 > limit_ms:
                yield (
                    _item_key(scenario, step.item.id),
                    (
                        f"a usual try takes {step.takes_s / 60:.0f} minutes on {_label(way)}, download included, and is stopped "
                        f"after {limit_ms / 60_000:.0f}; raise install_limit_minutes"
                    ),
                )
    for key, names in longer.items():
        yield (
            f"{key}.timeout_minutes",
            (
                f"the profile gives up before a single try of these is stopped: {', '.join(sorted(names))}; "
                "lower their install_limit_minutes, so that one that hangs is tried again in time"
            ),
        )


def _item_key(scenario: Scenario, wanted: str) -> str:
    lists = {
        "policies": scenario.policies,
        "certificates": scenario.certificates,
        "networks": scenario.networks,
        "apps": scenario.apps,
    }
    return next(
        f"{key}[{number}].install_limit_minutes"
        for key, items in lists.items()
        for number, item in enumerate(items)
        if item.id == wanted
    )


# --- bandwidth ------------------------------------------------------------------------------------


def _sites(scenario: Scenario, ways: Sequence[Way]) -> Iterator[Warned]:
    count = sum(way.devices for way in ways)
    bytes_each = sum(way.blocking_bytes * way.devices for way in ways) / max(1, count)
    timeout_min = max((way.offer.profile.timeout_minutes for way in ways), default=0)
    work_min = max((_work_minutes(way) for way in ways), default=0)
    for index, site in enumerate(scenario.sites):
        needs_min = line_minutes(site, bytes_each)
        span_min = _span_minutes(scenario, index)
        late = 1 - (span_min + timeout_min) / needs_min if needs_min else 0
        backlog_min = max(0.0, needs_min - span_min)
        if late <= 0 and (not backlog_min or backlog_min + work_min <= timeout_min):
            continue
        what = (
            f"{late:.0%} of them can't have theirs in time whatever else happens"
            if late > 0
            else f"the last of them wait {backlog_min:.0f} minutes for the line alone"
        )
        yield (
            f"sites[{index}].megabits_per_second",
            (
                f"the {site.devices} devices of a '{site.name}' are switched on within {span_min:.0f} minutes, and the line "
                f"needs {needs_min:.0f} for their blocking apps ({bytes_each / 2**20:.0f} MiB each) while no profile "
                f"waits longer than {timeout_min}: {what}; {_remedy(site)}"
            ),
        )


def _remedy(site: Site) -> str:
    add = "" if site.cache is not None else "add a cache, "
    return f"{add}spread the start over more time, or block on fewer apps"


def _work_minutes(way: Way) -> float:
    return sum(s.work_s for s in way.steps if s.item.blocking and s.item.lane is not None) / 60


def _span_minutes(scenario: Scenario, site: int) -> float:
    """From the first start at one such site to the last."""
    whole = scenario.sites[site].devices * (len(scenario.sites) + 1) * 100
    first = next((c for c in cohorts(scenario, scenario.seed, whole) if c.site == site), None)
    if first is None:
        return 0.0
    starts = [d.starts_at_ms for d in devices_of(scenario, scenario.seed, first)]
    return (max(starts) - min(starts)) / 60_000


# --- who and what -----------------------------------------------------------------------------------


def _refusals(sketch: FleetSketch) -> Iterator[Warned]:
    for system, refused in sketch.too_old.items():
        kind, platform, version = system
        if refused and refused == sketch.systems[system]:
            yield (
                f"admission.minimum_os.{kind.value}",
                (
                    f"every device with {platform} {version} is refused ({refused} of {sketch.devices}); "
                    "lower it, or leave that version out of the population if there are none"
                ),
            )


def _unused(scenario: Scenario, ways: Sequence[Way], sketch: FleetSketch) -> Iterator[Warned]:
    types = {population.type for population in scenario.population}
    persons = {population.person for population in scenario.population}
    hardware = {name for population in scenario.population for name in population.hardware}
    named = {group for profile in scenario.profiles for group in profile.groups}
    planned = {item for way in ways for item in way.plan.items}
    for index, entry in enumerate(scenario.profiles):
        if entry.profile.name not in sketch.profiles:
            yield (
                f"profiles[{index}]",
                (
                    f"none of the {sketch.devices} devices that were looked at gets it; "
                    "give its groups a larger share, or remove it"
                ),
            )
        yield from _blocking(f"profiles[{index}].profile.blocking_apps", entry.profile.id, ways)
    for index, group in enumerate(scenario.groups):
        if group.name not in named:
            yield f"groups[{index}]", "no profile is for it; name it in a profile, or remove it"
    for name in scenario.hardware.keys() - hardware:
        yield f"hardware.{name}", "no population has it; name it in one, or remove it"
    given = scenario.model_fields_set
    for name in scenario.persons.keys() - persons if "persons" in given else ():
        yield f"persons.{name}", "no population has such people; name it in one, or remove it"
    for kind in scenario.targets.keys() - types:
        yield f"targets.{kind.value}", "no population enrolls this way; add one, or remove it"
    for step in scenario.steps.keys() - planned:
        yield f"steps.{step}", "no device comes to this step; remove it, or add a population"
    for name, person in scenario.persons.items():
        for screen in person.screens.keys() & PERSON_SCREENS.keys() - planned:
            yield (
                f"persons.{name}.screens.{screen}",
                "no device shows this screen; remove it, or switch the screen on under [screens]",
            )


def _blocking(where: str, profile: str, ways: Iterable[Way]) -> Iterator[Warned]:
    """Apps of a blocking list that hold up nobody."""
    mine = [way for way in ways if way.offer.profile.id == profile]
    if not mine or mine[0].offer.profile.blocking_apps == "all":
        return
    blocking = {s.item.id for way in mine for s in way.steps if s.item.blocking}
    for app in mine[0].offer.profile.blocking_apps:
        if app not in blocking:
            yield (
                where,
                (
                    f"'{app}' holds up no device that gets this profile: it is not required there, or not assigned; "
                    "require it, or take it off the list"
                ),
            )
