"""How often the collector calls an item stuck that then comes in by itself, and how often it is right.

Run as `python -m benchmarks.stuck [--json] [--scenario FILE] [--devices N] [--learned N] [--hangs CHANCE]`. A fleet
enrolls in simulated time, one device after the other; the collector's own fold and limits judge each try of each item as if
it were looked at all the time. The first devices only teach. With `--hangs`, that share of the installations of each app never
answers.

`--json` prints one object:

- `benchmark`: `"stuck"`; `scenario`: its name; `devices` that were judged, `learned` from before
- `tries`: tries of an item that were judged; `by_history`, `by_expected`: whose limit came from the item's history, from its
  assignment
- `alarms`: tries called stuck; `false_alarms`: those that then came in by themselves; `false_alarm_rate`: the latter over all
  tries that came in; `devices_with_false_alarm`: as a share of the devices
- `right`: alarms of tries that then ended otherwise; `precision`: the share of the alarms that were right
- `hung`: tries that the item's own limit of an hour ended; `hung_found`: how many of these were called stuck before;
  `minutes_earlier`: how much earlier, as a median
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Final

from agent.core.effects import Effect, Report
from agent.core.events import AssignmentArrived, Event
from agent.wire.assignment import Admitted
from collector.stuck.item_work import ItemWork, Span
from collector.stuck.limit import GRACE_MS, Histories, expected_limit
from simulator.device import VirtualDevice
from simulator.population import fleet
from simulator.rollout import Rollout
from simulator.scenario import Fault
from simulator.scenario_file import SHIPPED, load_scenario

DEVICES: Final = 2_000
LEARNED: Final = 1_000
HUNG_MS: Final = 3_600_000
"""The limit of an installation where a scenario says nothing else."""


@dataclass(slots=True)
class Counts:
    """What became of the tries."""

    tries: int = 0
    came_in: int = 0
    by_history: int = 0
    by_expected: int = 0
    alarms: int = 0
    false_alarms: int = 0
    hung: int = 0
    earlier_ms: list[int] = field(default_factory=list)
    alarmed_devices: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Judge:
    """Listens to one device after the other."""

    histories: Histories = field(default_factory=Histories)
    counts: Counts = field(default_factory=Counts)
    counting: bool = False
    device: str = ""
    platform: str = ""
    _work: ItemWork = field(default_factory=ItemWork)
    _expected: dict[str, int] = field(default_factory=dict)
    _attempt: str = ""

    def watch(self, _now_ms: int, event: Event, effects: Sequence[Effect]) -> None:
        """One input of the device, and what it reported because of it."""
        if isinstance(event, AssignmentArrived) and isinstance(event.assignment.decision, Admitted):
            items = event.assignment.decision.items
            self._expected = {item.id: item.expected_seconds for item in items}
        for effect in effects:
            if isinstance(effect, Report):
                if effect.attempt != self._attempt:
                    self._attempt, self._work = effect.attempt, ItemWork()
                span = self._work.apply(effect.attempt_ms, effect.body)
                if span is not None:
                    self._judge(span)

    def _judge(self, span: Span) -> None:
        by_history = self.histories.limit(self.platform, span.item)
        limit = by_history or expected_limit(self._expected.get(span.item))
        if self.counting and limit is not None:
            counts = self.counts
            alarmed = span.took_ms > limit.limit_ms + GRACE_MS
            counts.tries += 1
            counts.by_history += by_history is not None
            counts.by_expected += by_history is None
            counts.came_in += span.came_in
            counts.alarms += alarmed
            if alarmed and span.came_in:
                counts.false_alarms += 1
                counts.alarmed_devices.add(self.device)
            if span.took_ms >= HUNG_MS and not span.came_in:
                counts.hung += 1
                if alarmed:
                    counts.earlier_ms.append(span.took_ms - limit.limit_ms - GRACE_MS)
        self.histories.add(self.platform, span)


def measure(path: Path, devices: int, learned: int, hangs: float = 0) -> dict[str, Any]:
    """All figures; the keys are those of the module's docstring."""
    scenario = load_scenario(path)
    if hangs:
        fault = Fault(kind="hangs", chance=hangs)
        apps = tuple(
            app.model_copy(update={"faults": (*app.faults, fault)}) for app in scenario.apps
        )
        scenario = scenario.model_copy(update={"apps": apps})
    rollout, judge = Rollout(scenario), Judge()
    for number, simulated in enumerate(fleet(scenario, scenario.seed, learned + devices)):
        judge.counting = number >= learned
        judge.device, judge.platform = simulated.id, simulated.facts.platform
        VirtualDevice(rollout, simulated).run(judge.watch)
    counts = judge.counts
    right = counts.alarms - counts.false_alarms
    return {
        "benchmark": "stuck",
        "scenario": scenario.name,
        "devices": devices,
        "learned": learned,
        "tries": counts.tries,
        "by_history": counts.by_history,
        "by_expected": counts.by_expected,
        "alarms": counts.alarms,
        "false_alarms": counts.false_alarms,
        "false_alarm_rate": round(counts.false_alarms / max(1, counts.came_in), 5),
        "devices_with_false_alarm": round(len(counts.alarmed_devices) / devices, 5),
        "right": right,
        "precision": round(right / counts.alarms, 3) if counts.alarms else None,
        "hung": counts.hung,
        "hung_found": len(counts.earlier_ms),
        "minutes_earlier": round(median(counts.earlier_ms) / 60_000, 1)
        if counts.earlier_ms
        else None,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """The program."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--scenario", type=Path, default=SHIPPED / "company.toml")
    parser.add_argument("--devices", type=int, default=DEVICES, help="devices that are judged")
    parser.add_argument("--learned", type=int, default=LEARNED, help="devices before them")
    parser.add_argument("--hangs", type=float, default=0, help="chance of each installation")
    options = parser.parse_args(arguments)
    figures = measure(options.scenario, options.devices, options.learned, options.hangs)
    if options.json:
        print(json.dumps(figures))
    else:
        for name, value in figures.items():
            print(f"{name:>26}  {value}")


if __name__ == "__main__":
    main()
