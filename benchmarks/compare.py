"""How often a comparison of two versions finds what is there, and how often it finds what is not.

Run as `python -m benchmarks.compare [--json] [--worlds N] [--devices N] [--jobs N]`. A world is a fleet under a seed of
its own, enrolled in simulated time under two versions of a scenario, and compared as `esp-sim whatif --with` does. The
scenario has one app that fails for good on two devices of a hundred.

`--json` prints one object:

- `benchmark`: `"compare"`; `worlds`, `devices`: how many fleets of each case, and of how many devices
- `cases`: for each of `planted` (the app fails on one device of a hundred more, everything else is the same luck),
  `planted_other_luck` (the same, and every device draws anew whether it fails) and `nothing_other_luck` (it fails as
  often, and every device draws anew):
  - `truth`: the difference in the success rate that the versions have
  - `found`: in how many worlds a difference was found; `share`, and its 95 % `interval`
  - `wrong_way`: in how many of these it was found the other way round
  - `truth_inside`: the share of worlds whose interval has the truth in it
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Final

from simulator.engine import Engine, local
from simulator.interruption import Interruption
from simulator.scenario import Scenario
from simulator.scenario_file import read_scenario
from simulator.whatif.intervals import rate_interval
from simulator.whatif.paired import Difference, rate_difference
from simulator.whatif.versions import run_versions

DEVICES: Final = 20_000
WORLDS: Final = 20
OFTEN: Final = 0.03
SELDOM: Final = 0.02


@dataclass(frozen=True, slots=True)
class Case:
    """Two versions, and by how much the second one's success rate is higher."""

    first: Scenario
    second: Scenario
    truth: float


def cases() -> dict[str, Case]:
    """Each case by its name. An app of another name draws other luck, equally likely."""
    seldom = _scenario("vpn", SELDOM)
    return {
        "planted": Case(seldom, _scenario("vpn", OFTEN), SELDOM - OFTEN),
        "planted_other_luck": Case(seldom, _scenario("mail", OFTEN), SELDOM - OFTEN),
        "nothing_other_luck": Case(seldom, _scenario("mail", SELDOM), 0.0),
    }


def _scenario(app: str, failing: float) -> Scenario:
    fault = {"kind": "installer_failed", "chance": failing, "recovery": 0}
    return read_scenario(
        {
            "name": "compare",
            "network": {"failure": 0},
            "population": [
                {
                    "type": "windows_manual",
                    "weight": 1,
                    "device": "PC-{n}",
                    "os": [{"name": "Windows 11", "version": "10.0.22631"}],
                }
            ],
            "profiles": [{"priority": 1, "profile": {"id": "esp", "name": "ESP"}}],
            "apps": [
                {"id": app, "name": "App", "time": {"median_s": 60}, "tries": 1, "faults": [fault]}
            ],
            "persons": {"typical": {"silent": 0, "error_screen": {"retries": 0}}},
        },
        "benchmarks.compare",
    )


def measure(worlds: int, devices: int, engine: AbstractContextManager[Engine]) -> dict[str, Any]:
    """The figures of all cases; world number n has seed n."""
    with engine as running:
        found = {
            name: [_difference(running, case, seed, devices) for seed in range(1, worlds + 1)]
            for name, case in cases().items()
        }
    figures = {name: figures_of(case.truth, found[name]) for name, case in cases().items()}
    return {"benchmark": "compare", "worlds": worlds, "devices": devices, "cases": figures}


def _difference(engine: Engine, case: Case, seed: int, devices: int) -> Difference:
    versions = run_versions(engine, (case.first, case.second), devices=devices, seed=seed)
    difference = rate_difference(versions.pairs[0].whole)
    assert difference is not None, "each device has a user of its own, and there are enough"
    return difference


def figures_of(truth: float, differences: Sequence[Difference]) -> dict[str, Any]:
    """The figures of one case."""
    found = [difference for difference in differences if difference.is_found]
    inside = [d for d in differences if d.interval[0] <= truth <= d.interval[1]]
    interval = rate_interval(len(found), len(differences)) or (0.0, 1.0)
    return {
        "truth": round(truth, 6),
        "found": len(found),
        "share": round(len(found) / len(differences), 4),
        "interval": [round(bound, 4) for bound in interval],
        "wrong_way": sum(difference.estimate * truth < 0 for difference in found),
        "truth_inside": round(len(inside) / len(differences), 4),
    }


# --- the command ----------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> None:
    """The program."""
    options = _options(arguments)
    engine = local(options.jobs, Interruption())
    figures = measure(options.worlds, options.devices, engine)
    if options.json:
        print(json.dumps(figures))
        return
    print(f"for each case {figures['worlds']} x {figures['devices']:,} devices")
    for name, row in figures["cases"].items():
        low, high = row["interval"]
        print(
            f"{name:20} truth {row['truth']:+.2%}: found in {row['found']} ({row['share']:.1%}; "
            f"{low:.1%} to {high:.1%}), {row['wrong_way']} the wrong way; "
            f"truth inside the interval in {row['truth_inside']:.1%}"
        )


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.compare", description=(__doc__ or "").split("\n", 1)[0]
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--worlds", type=_count, default=WORLDS, metavar="N")
    parser.add_argument("--devices", type=_count, default=DEVICES, metavar="N")
    parser.add_argument("--jobs", type=_count, default=1, metavar="N")
    return parser.parse_args(arguments)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number from 1")
    return int(text)


if __name__ == "__main__":
    main()
