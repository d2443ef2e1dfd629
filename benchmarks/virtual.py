"""What the virtual engine makes of a processor: devices and reports a second, memory, and the same model in SimPy.

Run as `python -m benchmarks.virtual [--json] [--scenario FILE] [--small N] [--large N] [--compared N] [--profile]`. Two
fleets of the scenario, a small and a large one, are enrolled as `esp-sim whatif --jobs 1` does, each in a process of its
own, so that the peak of its memory is its own. Then the engine and a SimPy model of the same devices
(`benchmarks.virtual_simpy`: the same steps, draws, deadlines and gate) enroll single devices, in rounds one after the
other; each of the devices has to come to the same end at the same millisecond in both. Devices that take a way which the
SimPy model does not have (the error screen, a second attempt, ...) are left out of the comparison and counted.

`--json` prints one object:

- `benchmark`: `"virtual"`; `scenario`: its name
- `small`, `large`: a fleet each: `devices`, `devices_per_second` and `reports_per_second` of CPU time,
  `us_per_device`, and `peak_rss_mb` of the process
- `memory_growth`: the peak of the large fleet over that of the small one; 1 is flat
- `compared`: `devices` that both models enrolled, `left_out`, and the microseconds for each of them with the engine:
  `engine_us` (the product's machine, every report made, nobody counts), `counted_us` (the same with the tally of
  `whatif`), `simpy_us` (no reports), `simpy_reports_us` (with the reports about items)
- `ratios`: `engine_to_simpy` and `engine_to_simpy_reports`: how many times as long the engine takes as the SimPy model
  without and with reports; `counting_to_engine`: what the tally adds, as a share
"""

from __future__ import annotations

import argparse
import cProfile
import gc
import json
import resource
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from time import process_time
from types import CodeType
from typing import Any, Final

from agent.core.effects import Effect, Report
from agent.core.events import Event
from agent.wire.events import AttemptEnded, GateChanged
from agent.wire.vocabulary import EndState, Gate
from benchmarks.virtual_simpy import Life, NotModelled, SimpyDevice
from simulator.counting import DeviceTally
from simulator.device import VirtualDevice
from simulator.engine import InThisProcess
from simulator.interruption import Interruption
from simulator.population import SimulatedDevice, fleet
from simulator.rollout import Rollout
from simulator.scenario import Scenario
from simulator.scenario_file import SHIPPED, load_scenario
from simulator.tally import Tally
from simulator.whatif.run import count_fleet

ROUNDS: Final = 5
PROFILE_LINES: Final = 25
_ROOT: Final = Path(__file__).parents[1]


def main(arguments: Sequence[str] | None = None) -> None:
    """The program."""
    options = _options(arguments)
    scenario = load_scenario(options.scenario)
    if options.fleet is not None:
        print(json.dumps(enroll(scenario, options.fleet)))
    elif options.profile:
        _print_profile(scenario, options.small)
    else:
        figures = measure(options.scenario, options.small, options.large, options.compared)
        if options.json:
            print(json.dumps(figures))
        else:
            _print_figures(figures)


def measure(path: Path, small: int, large: int, compared: int) -> dict[str, Any]:
    """All figures; the keys are those of the module's docstring."""
    scenario = load_scenario(path)
    fleets = [_in_a_process_of_its_own(path, devices) for devices in (small, large)]
    comparison = compare(scenario, compared)
    return {
        "benchmark": "virtual",
        "scenario": scenario.name,
        "small": fleets[0],
        "large": fleets[1],
        "memory_growth": round(fleets[1]["peak_rss_mb"] / fleets[0]["peak_rss_mb"], 3),
        **comparison,
    }


def _in_a_process_of_its_own(path: Path, devices: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.virtual", "--scenario", str(path)]
    done = subprocess.run(
        [*command, "--fleet", str(devices)], check=True, capture_output=True, text=True, cwd=_ROOT
    )
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


def enroll(scenario: Scenario, devices: int) -> dict[str, Any]:
    """One fleet in this process."""
    engine = InThisProcess(Interruption())
    began = process_time()
    tally = count_fleet(engine, scenario, devices=devices, seed=scenario.seed)
    seconds = process_time() - began
    return {
        "devices": devices,
        "devices_per_second": round(devices / seconds),
        "reports_per_second": round(tally.events / seconds),
        "us_per_device": round(seconds / devices * 1e6, 1),
        # Linux counts in kilobytes, macOS in bytes.
        "peak_rss_mb": round(
            resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            / (1024**2 if sys.platform == "darwin" else 1024),
            1,
        ),
    }


def compare(scenario: Scenario, devices: int) -> dict[str, Any]:
    """Engine and SimPy on the same devices, which have to come to the same."""
    rollout = Rollout(scenario)
    both, left_out = [], 0
    for device in fleet(scenario, scenario.seed, devices):
        try:
            theirs = SimpyDevice(rollout, device, with_reports=False).run()
        except NotModelled:
            left_out += 1
            continue
        ours = life_of(rollout, device)
        found = (theirs.end_state, theirs.ended_ms, theirs.opened_ms)
        assert found == (ours.end_state, ours.ended_ms, ours.opened_ms), device.id
        both.append(device)
    ways = {
        "engine_us": lambda d: VirtualDevice(rollout, d).run(),
        "counted_us": lambda d: _counted(rollout, d),
        "simpy_us": lambda d: SimpyDevice(rollout, d, with_reports=False).run(),
        "simpy_reports_us": lambda d: SimpyDevice(rollout, d, with_reports=True).run(),
    }
    rounds = [{name: _us(way, both) for name, way in ways.items()} for _ in range(ROUNDS)]
    return {
        "compared": {
            "devices": len(both),
            "left_out": left_out,
            **{name: round(median(r[name] for r in rounds), 1) for name in ways},
        },
        "ratios": {
            "engine_to_simpy": _ratio(rounds, "engine_us", "simpy_us"),
            "engine_to_simpy_reports": _ratio(rounds, "engine_us", "simpy_reports_us"),
            "counting_to_engine": round(_ratio(rounds, "counted_us", "engine_us") - 1, 2),
        },
    }


def life_of(rollout: Rollout, device: SimulatedDevice) -> Life:
    """What becomes of a device in the engine."""
    life = Life()

    def watch(at_ms: int, _: Event, effects: Sequence[Effect]) -> None:
        for effect in effects:
            match effect:
                case Report(body=GateChanged(gate=gate)) if gate is not Gate.LOCKED:
                    life.opened_ms = at_ms
                case Report(body=AttemptEnded(end_state=end_state)):
                    life.end_state, life.ended_ms = end_state, at_ms
                case _:
                    pass

    VirtualDevice(rollout, device).run(watch)
    assert life.end_state in (EndState.SUCCEEDED, EndState.REFUSED), "it took a modelled way"
    return life


def _counted(rollout: Rollout, simulated: SimulatedDevice) -> None:
    device = VirtualDevice(rollout, simulated)
    counting = DeviceTally(Tally(), device)
    device.run(counting.watch)
    counting.close()


def _us(way: Callable[[SimulatedDevice], object], devices: Sequence[SimulatedDevice]) -> float:
    """CPU microseconds for each device, without the collection of garbage that others left."""
    gc.collect()
    began = process_time()
    for device in devices:
        way(device)
    return (process_time() - began) / len(devices) * 1e6


def _ratio(rounds: Sequence[dict[str, float]], first: str, second: str) -> float:
    return round(median(r[first] / r[second] for r in rounds), 2)


def _print_figures(figures: dict[str, Any]) -> None:
    for name in ("small", "large"):
        row = figures[name]
        print(
            f"{row['devices']:>7,} devices: {row['devices_per_second']:,} a second of CPU time, "
            f"{row['reports_per_second']:,} reports a second, peak {row['peak_rss_mb']} MB"
        )
    print(f"        memory of the large fleet: {figures['memory_growth']} × that of the small one")
    row, ratios = figures["compared"], figures["ratios"]
    print(f"{row['devices']:>7,} devices in both models, {row['left_out']} left out; each takes")
    print(f"        {row['engine_us']} µs in the engine, {row['counted_us']} µs with the tally")
    print(f"        {row['simpy_us']} µs in SimPy, {row['simpy_reports_us']} µs with reports")
    print(
        f"        engine to SimPy: {ratios['engine_to_simpy']}, "
        f"to SimPy with reports: {ratios['engine_to_simpy_reports']}"
    )


def _print_profile(scenario: Scenario, devices: int) -> None:
    """Where the time goes, by file and by function."""
    profile = cProfile.Profile(builtins=False)
    with profile:
        enroll(scenario, devices)
    entries = [
        (entry.inlinetime, entry.callcount, entry.code)
        for entry in profile.getstats()
        if isinstance(entry.code, CodeType)
    ]
    total_s = sum(own_s for own_s, _, _ in entries)
    by_file: dict[str, float] = {}
    for own_s, _, code in entries:
        by_file[_file(code)] = by_file.get(_file(code), 0) + own_s
    print(f"{'share':>6}  file")
    for file, own_s in sorted(by_file.items(), key=lambda e: -e[1])[:PROFILE_LINES]:
        print(f"{own_s / total_s:6.1%}  {file}")
    print(f"{'share':>6} {'a device':>9}  function, by its own time")
    for own_s, calls, code in sorted(entries, key=lambda e: -e[0])[:PROFILE_LINES]:
        print(f"{own_s / total_s:6.1%} {calls / devices:9.1f}  {_file(code)} {code.co_qualname}")


def _file(code: CodeType) -> str:
    file = Path(code.co_filename)
    return str(file.relative_to(_ROOT)) if file.is_relative_to(_ROOT) else "libraries"


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.virtual", description="What the virtual engine costs."
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--scenario", type=Path, default=SHIPPED / "company.toml", metavar="FILE")
    for name, devices in (("small", 2_000), ("large", 20_000), ("compared", 500)):
        parser.add_argument(f"--{name}", type=_positive, default=devices, metavar="N")
    parser.add_argument("--profile", action="store_true", help="print where the time goes instead")
    parser.add_argument("--fleet", type=_positive, metavar="N", help="only one fleet, right here")
    return parser.parse_args(arguments)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number from 1")
    return int(text)


if __name__ == "__main__":
    main()
