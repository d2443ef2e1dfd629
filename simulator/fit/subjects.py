"""The items and steps of a scenario with what a history says of each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from agent.core.flows import BUILT_IN_STEPS
from agent.core.person_screens import PERSON_SCREENS
from agent.wire.vocabulary import EnrollmentType
from simulator.endpoint_model import HYBRID_REGISTRATION
from simulator.fit.findings import KeyPath
from simulator.fit.history import History, ItemRecord, Make
from simulator.fit.makes import Kin
from simulator.scenario import CatalogueItem, Duration, Fault, Scenario

Records = Sequence[tuple[Make, ItemRecord]]


@dataclass(slots=True)
class Subject:
    """A table of the scenario with everything that the history says of it."""

    path: KeyPath
    id: str
    time: Duration | None
    faults: tuple[Fault, ...]
    records: list[tuple[Make, ItemRecord]] = field(default_factory=list)

    @property
    def label(self) -> str:
        """The table as people find it."""
        return f"{self.path[0]} {self.id}"


def subjects_of(
    scenario: Scenario, history: History, kin: Mapping[Make, Kin]
) -> tuple[list[Subject], list[str]]:
    """Every item and step of the history, and a sentence for each that no table stands for."""
    found: dict[KeyPath, Subject] = {}
    notes: dict[str, None] = {}
    catalogue = _catalogue(scenario)
    for (make, name), record in sorted(history.items.items(), key=lambda e: e[0][1]):
        if make not in kin:
            continue
        item = catalogue.get((make.enrollment_type, name))
        if name == HYBRID_REGISTRATION:
            notes[f"{name}: waits for the directory, so that its tries say nothing of its time"] = (
                None
            )
        elif item is not None:
            path, given = item
            subject = found.setdefault(path, Subject(path, name, given.time, given.faults))
            subject.records.append((make, record))
        elif name in BUILT_IN_STEPS and name not in PERSON_SCREENS:
            step = scenario.steps.get(name)
            if step is not None and make.variant not in step.variants:
                continue
            path = ("steps", name)
            faults = () if step is None else step.faults
            time = None if step is None else step.time
            subject = found.setdefault(path, Subject(path, name, time, faults))
            subject.records.append((make, record))
        else:
            notes[f"{name}: the scenario has no such item; add it, then fit again"] = None
    return list(found.values()), list(notes)


def _catalogue(
    scenario: Scenario,
) -> dict[tuple[EnrollmentType, str], tuple[KeyPath, CatalogueItem]]:
    lists: dict[str, Sequence[CatalogueItem]] = {
        "policies": scenario.policies,
        "certificates": scenario.certificates,
        "networks": scenario.networks,
        "apps": scenario.apps,
    }
    return {
        (kind, item.id): ((key, number), item)
        for key, items in lists.items()
        for number, item in enumerate(items)
        for kind in item.types
    }


def times_of(records: Records, log_paces: Mapping[Make, float]) -> tuple[list[float], list[float]]:
    """The times that ended and those that were cut off, as hardware of pace 1 would have had them."""
    finished: list[float] = []
    cut_off: list[float] = []
    for make, record in records:
        pace = math.exp(log_paces[make])
        finished.extend(time * pace for time in record.finished_s)
        cut_off.extend(
            t.work_s * pace
            for tries in record.troubled
            for t in tries
            if t.outcome == "cut_off" and t.work_s
        )
    return finished, cut_off


def worked_share(records: Records) -> float:
    """Of the tries that came to their own end, the share that worked: so many of those that were cut off would have."""
    tries = [t for _, record in records for some in record.troubled for t in some]
    failed = sum(t.outcome == "failed" for t in tries)
    worked = sum(record.worked_at_once for _, record in records)
    worked += sum(t.outcome == "worked" for t in tries)
    return worked / (worked + failed) if worked else 1.0
