"""How far the remaining time can be trusted: how often the truth falls inside the range, and how wide the range is.

Run as `python -m benchmarks.estimate [--json] [--scenario FILE] [--devices N] [--seed N]`. Each device of the scenario
enrolls in simulated time, and every 15 seconds of it somebody looks at its progress. The truth is known afterwards:
the time from that look to the end of the attempt, less the time that person screens stayed up in between. Only
attempts that end `succeeded` count, so none with an error screen or a way out that a person chose; restarts, failed
tries and the pauses after them are part of the truth. A look at which the remaining time is unknown is not counted.

It is done four times: with the catalogue's expected times as the scenario has them (`right`), all of them twice
(`double`) and half as long (`half`), and each by the toss of a coin, for each device anew, twice or half as long
(`mixed`). The times that the platforms' built-in steps are expected to take stay as they are.

`--json` prints one object:

- `benchmark`: `"estimate"`; `scenario`, `devices`, `seed`; `promise`: the share of looks that the range is meant to hold
- `cases`: for each of `right`, `double`, `half` and `mixed` the figures of `all` attempts and those `by_type`:
  - `attempts`, `looks`: how many were counted
  - `coverage`: the share of looks with the truth inside the range; `early`, `late`: it was over before the low figure, after the high one
  - `width_to_truth`: the median of the range's width, as a share of the truth
  - `by_tenth`: the coverage by tenth of progress, from 0 to 9 (90 to 100 %)
  - `width_s_at`: the median width in seconds at the first look with 0, 25, 50, 75 and 90 % done
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Final

from agent.core.effects import AskPerson, Effect, Report
from agent.core.enrollment import Enrollment
from agent.core.estimate import PROMISE
from agent.core.events import AttemptBegan, Event, PersonActed
from agent.wire.assignment import Admitted, AssignedItem
from agent.wire.events import AttemptEnded
from agent.wire.vocabulary import EndState, EnrollmentType
from simulator.device import VirtualDevice
from simulator.draws import Draws
from simulator.population import SimulatedDevice, fleet
from simulator.rollout import Rollout
from simulator.scenario import Scenario
from simulator.scenario_file import SHIPPED, ScenarioRefused, load_scenario

LOOK_EVERY_MS: Final = 15_000
WIDTH_AT: Final = (0, 25, 50, 75, 90)

Factor = Callable[[Draws, str], float]
"""By what a device's expected time of an item is multiplied."""

CASES: Final[dict[str, Factor]] = {
    "right": lambda _, __: 1.0,
    "double": lambda _, __: 2.0,
    "half": lambda _, __: 0.5,
    "mixed": lambda draws, item: 2.0 if draws.chance(0.5, "expectation", item) else 0.5,
}


@dataclass(frozen=True, slots=True)
class Look:
    """One look at the remaining time, and what it turned out to be. Times are in milliseconds."""

    percent: int
    low_ms: int
    high_ms: int
    truth_ms: int

    @property
    def width_ms(self) -> int:
        """How much the range leaves open."""
        return self.high_ms - self.low_ms

    @property
    def is_early(self) -> bool:
        """It was over before the low figure."""
        return self.truth_ms < self.low_ms

    @property
    def is_late(self) -> bool:
        """It was over after the high figure."""
        return self.truth_ms > self.high_ms


@dataclass(frozen=True, slots=True)
class Watched:
    """The looks at one attempt that ended `succeeded`, in their order."""

    enrollment_type: EnrollmentType
    looks: tuple[Look, ...]


class MistakenRollout(Rollout):
    """A scenario's decisions with wrong expectations of how long its items take."""

    def __init__(self, scenario: Scenario, factor: Factor) -> None:
        super().__init__(scenario)
        self._factor = factor

    def offer(self, device: SimulatedDevice) -> Admitted:
        """See `Rollout.offer`."""
        offer = super().offer(device)
        items = tuple(self._mistaken(item, device.draws) for item in offer.items)
        return offer.model_copy(update={"items": items})

    def _mistaken(self, item: AssignedItem, draws: Draws) -> AssignedItem:
        seconds = item.expected_seconds * self._factor(draws, item.id)
        return item.model_copy(update={"expected_seconds": max(1, round(seconds))})


@dataclass(slots=True)
class Watch:
    """A second machine that gets a device's inputs, and is looked at in between."""

    found: list[Watched] = field(default_factory=list)
    _machine: Enrollment = field(default_factory=Enrollment)
    _now_ms: int = 0
    _next_look_ms: int = 0
    _asked_ms: int | None = None
    _persons_ms: int = 0
    """How long person screens have stayed up in this attempt."""
    _looks: list[tuple[Look, int]] = field(default_factory=list)
    """Each with the machine's time, which stands still at a person screen, in place of the truth's end."""

    def take(self, now_ms: int, event: Event, effects: Sequence[Effect]) -> None:
        """Take in one input, after the looks that were due before it."""
        self._look_until(now_ms)
        self._now_ms = now_ms
        self._machine.handle(event, now_ms)
        if isinstance(event, AttemptBegan):
            self._looks, self._persons_ms, self._asked_ms = [], 0, None
            self._next_look_ms = now_ms
        if isinstance(event, PersonActed) and self._asked_ms is not None:
            self._persons_ms += now_ms - self._asked_ms
            self._asked_ms = None
        for effect in effects:
            if isinstance(effect, AskPerson) and self._asked_ms is None:
                self._asked_ms = now_ms
            if isinstance(effect, Report) and isinstance(effect.body, AttemptEnded):
                self._ended(effect.body.end_state)

    def _look_until(self, now_ms: int) -> None:
        if self._machine.attempt is None or self._machine.end_state is not None:
            return
        while self._next_look_ms < now_ms:
            progress = self._machine.progress_after(self._next_look_ms - self._now_ms)
            if progress.remaining is not None:
                low_ms, high_ms = progress.remaining.low_s * 1000, progress.remaining.high_s * 1000
                look = Look(progress.percent, low_ms, high_ms, 0)
                self._looks.append((look, self._next_look_ms - self._persons_ms))
            self._next_look_ms += LOOK_EVERY_MS

    def _ended(self, end_state: EndState) -> None:
        if end_state is EndState.SUCCEEDED:
            end_ms = self._now_ms - self._persons_ms
            looks = tuple(
                Look(look.percent, look.low_ms, look.high_ms, end_ms - at_ms)
                for look, at_ms in self._looks
            )
            self.found.append(Watched(self._machine.progress.enrollment_type, looks))


def watch_fleet(rollout: Rollout, *, seed: int, devices: int) -> Iterator[Watched]:
    """Every attempt of these devices that succeeds, as somebody saw it who looked again and again."""
    for simulated in fleet(rollout.scenario, seed, devices):
        watch = Watch()
        VirtualDevice(rollout, simulated).run(watch.take)
        yield from watch.found


def figures_of(watched: Iterable[Watched]) -> dict[str, Any]:
    """The figures of some attempts; the keys are those of the module's docstring."""
    attempts = list(watched)
    looks = [look for one in attempts for look in one.looks]
    tenths: dict[int, list[Look]] = {}
    for look in looks:
        tenths.setdefault(min(9, look.percent // 10), []).append(look)
    return {
        "attempts": len(attempts),
        "looks": len(looks),
        "coverage": _share(not (k.is_early or k.is_late) for k in looks),
        "early": _share(k.is_early for k in looks),
        "late": _share(k.is_late for k in looks),
        "width_to_truth": round(median(k.width_ms / max(1000, k.truth_ms) for k in looks), 2),
        "by_tenth": {
            str(tenth): _share(not (k.is_early or k.is_late) for k in tenths[tenth])
            for tenth in sorted(tenths)
        },
        "width_s_at": {str(percent): _width_s_at(attempts, percent) for percent in WIDTH_AT},
    }


def measure(scenario: Scenario, *, seed: int, devices: int) -> dict[str, Any]:
    """All figures."""
    return {
        "benchmark": "estimate",
        "scenario": scenario.name,
        "devices": devices,
        "seed": seed,
        "promise": PROMISE,
        "cases": {
            case: _case(MistakenRollout(scenario, factor), seed, devices)
            for case, factor in CASES.items()
        },
    }


def _case(rollout: Rollout, seed: int, devices: int) -> dict[str, Any]:
    watched = [one for one in watch_fleet(rollout, seed=seed, devices=devices) if one.looks]
    kinds = sorted({one.enrollment_type for one in watched}, key=list(EnrollmentType).index)
    return {
        "all": figures_of(watched),
        "by_type": {
            kind.value: figures_of(one for one in watched if one.enrollment_type is kind)
            for kind in kinds
        },
    }


def _share(holds: Iterable[bool]) -> float:
    answers = list(holds)
    return round(sum(answers) / len(answers), 3)


def _width_s_at(attempts: Iterable[Watched], percent: int) -> int | None:
    firsts = (next((k for k in one.looks if k.percent >= percent), None) for one in attempts)
    widths_ms = [look.width_ms for look in firsts if look is not None]
    return round(median(widths_ms) / 1000) if widths_ms else None


def main(arguments: Sequence[str] | None = None) -> None:
    """The program."""
    options = _options(arguments)
    figures = measure(options.scenario, seed=options.seed, devices=options.devices)
    if options.json:
        print(json.dumps(figures))
    else:
        _print_figures(figures)


def _print_figures(figures: dict[str, Any]) -> None:
    print(f"promised: {figures['promise']:.0%} of looks with the truth inside the range")
    columns = "  ".join(f"{f'{percent} %':>6}" for percent in WIDTH_AT)
    print(f"{'':28}attempts   looks  inside  early   late  width/truth  width in s at {columns}")
    for case, parts in figures["cases"].items():
        for name, row in {"all": parts["all"], **parts["by_type"]}.items():
            widths = "  ".join(f"{_text(w):>6}" for w in row["width_s_at"].values())
            print(
                f"{case:7} {name:20}{row['attempts']:8} {row['looks']:7}  {row['coverage']:6.1%}"
                f" {row['early']:6.1%} {row['late']:6.1%}  {row['width_to_truth']:11}  {'':13} {widths}"
            )
        tenths = "  ".join(f"{share:.0%}" for share in parts["all"]["by_tenth"].values())
        print(f"{'':8}inside by tenth of progress: {tenths}")


def _text(width_s: int | None) -> str:
    return "-" if width_s is None else str(width_s)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.estimate", description=(__doc__ or "").split("\n", 1)[0]
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--scenario", type=_scenario, default=str(SHIPPED / "company.toml"), metavar="FILE"
    )
    parser.add_argument("--devices", type=_count, default=300, metavar="N")
    parser.add_argument("--seed", type=int, default=1, metavar="N")
    return parser.parse_args(arguments)


def _scenario(file: str) -> Scenario:
    try:
        return load_scenario(Path(file))
    except ScenarioRefused as error:
        raise argparse.ArgumentTypeError(f"{error}") from None


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number from 1")
    return int(text)


if __name__ == "__main__":
    main()
