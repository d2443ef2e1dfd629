"""Fits the pace of hardware to a history: how long the same items take on one class and on another."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from simulator.fit.distribution import FEW_TIMES, fit_times
from simulator.fit.findings import Finding, Verdict, significant
from simulator.fit.history import ItemRecord, Make
from simulator.fit.makes import Kin
from simulator.fit.subjects import Subject, times_of, worked_share
from simulator.scenario import Scenario
from simulator.whatif.intervals import normal_quantile

ROUNDS: Final = 50


@dataclass(slots=True)
class _Cell:
    """Logarithms of the times of one item on one hardware class, at the scenario's pace."""

    count: int = 0
    total: float = 0.0
    squares: float = 0.0


def pace_findings(
    scenario: Scenario, subjects: Sequence[Subject], kin: Mapping[Make, Kin]
) -> Iterator[Finding]:
    """The pace of each hardware class whose devices get the same items as another one's.

    The class with the most times keeps its pace: only ratios show.
    """
    cells: dict[tuple[int, str], _Cell] = {}
    for number, subject in enumerate(subjects):
        by_class: defaultdict[str, list[tuple[Make, ItemRecord]]] = defaultdict(list)
        for make, record in subject.records:
            hardware = kin[make].hardware
            if hardware is not None:
                by_class[hardware].append((make, record))
        for hardware, records in by_class.items():
            log_paces = {make: kin[make].log_pace for make, _ in records}
            fit = fit_times(*times_of(records, log_paces), weight=worked_share(records))
            if fit is not None:
                mean, sigma = math.log(fit.median_s), math.log(fit.spread)
                squares = fit.count * (mean**2 + sigma**2)
                cells[number, hardware] = _Cell(fit.count, fit.count * mean, squares)
    shared = _shared(cells)
    if not shared:
        return
    for name, (slower, reach, count) in _slower(shared).items():
        if not name:
            continue
        before = scenario.hardware[name].pace
        few = count < FEW_TIMES
        yield Finding(
            path=("hardware", name, "pace"),
            label=f"hardware {name} pace",
            value=significant(before / math.exp(slower)),
            before=before,
            count=count,
            low=before / math.exp(slower + reach),
            high=before / math.exp(slower - reach),
            verdict=Verdict.TOO_FEW if few else Verdict.GOOD,
        )


def _shared(cells: Mapping[tuple[int, str], _Cell]) -> dict[tuple[int, str], _Cell]:
    """The cells of items that several classes have."""
    classes: defaultdict[int, set[str]] = defaultdict(set)
    for (item, hardware), cell in cells.items():
        if cell.count:
            classes[item].add(hardware)
    return {key: cell for key, cell in cells.items() if len(classes[key[0]]) > 1 and cell.count}


def _slower(
    cells: Mapping[tuple[int, str], _Cell],
) -> dict[str, tuple[float, float, int]]:
    """For each class but one: the logarithm of how much longer it takes, half its interval, and the number of times."""
    counts: defaultdict[str, int] = defaultdict(int)
    for (_, hardware), cell in cells.items():
        counts[hardware] += cell.count
    first = "" if "" in counts else max(counts, key=lambda name: counts[name])
    items: dict[int, float] = {}
    slower = dict.fromkeys(counts, 0.0)
    for _ in range(ROUNDS):
        for item in {item for item, _ in cells}:
            mine = [(h, c) for (i, h), c in cells.items() if i == item]
            number = sum(c.count for _, c in mine)
            items[item] = sum(c.total - c.count * slower[h] for h, c in mine) / number
        for hardware in counts.keys() - {first}:
            mine_too = [(i, c) for (i, h), c in cells.items() if h == hardware]
            total = sum(c.total - c.count * items[i] for i, c in mine_too)
            slower[hardware] = total / counts[hardware]
    return {
        name: (slower[name], _reach(cells, items, slower, name, first), counts[name])
        for name in counts
        if name != first
    }


def _reach(
    cells: Mapping[tuple[int, str], _Cell],
    items: Mapping[int, float],
    slower: Mapping[str, float],
    name: str,
    first: str,
) -> float:
    """Half the 95 % interval: what scatters around the means of both classes."""
    error = 0.0
    for wanted in (name, first):
        squares, number = 0.0, 0
        for (item, hardware), cell in cells.items():
            if hardware == wanted:
                mean = items[item] + slower[wanted]
                squares += cell.squares - 2 * mean * cell.total + cell.count * mean * mean
                number += cell.count
        error += squares / number / number
    return normal_quantile() * math.sqrt(error)
