"""How many live agents one processor carries: real agents against Locust's MQTT user and a bare loop on aiomqtt.

Run as `python -m benchmarks.live [--json] [--agents N] [--seconds S] [--speed X] [--ramp R] [--only NAME]`.
Mosquitto, a collector and the client are processes of their own, the same for each contender, one contender after another.
All carry the traffic of `simulator/scenarios/load.toml`: the reports at QoS 1, the retained status by the agent's own rule, the
presence, and the collector's acknowledgements read; what each really published is counted. The agents are `esp-sim run` in one process, with journal, outbox,
signatures and state machine; the other clients send what the same devices send in simulated time, made beforehand, and
count the acknowledgements. Locust runs in an environment of its own: `make locust`.

Devices are switched on at `--ramp` a second; the window begins when all are connected and lasts `--seconds`. In it the
processor time of the client's process is read from the system, every quarter of a second.

`--json` prints one object:

- `benchmark`: `"live"`; `agents`, `seconds`, `speed`, `ramp_per_second`: as given; `load_average`: of the machine, before and after
- `contenders`: for `agent`, `aiomqtt` and `locust`: `connected` (devices connected at the end of the window), `events_per_second`,
  `statuses_per_event`, `messages_per_event`, `bytes_per_event` (published in the window, repetitions included; bytes of payload),
  `cores` (processor seconds a second), `cpu_us_per_event`, `rss_mib_before`, `rss_mib` (at the end of the window),
  `kib_per_device`, `latency_ms` (`p50`, `p90`, `p99`, `max` from when a report was due until its client had read the
  acknowledgement, over the whole run), `created`, `acknowledged`, `lost`, `failed`; null for one that could not run
- `agent`: more of the agents: `stored_ms` (until the report was seen in the store), `lost` and `stored_twice` (from the audit),
  `problems` (of the audit), `published_again`, `commits_per_second`, `transactions_per_second`, `syncs_per_second` (the journal's), `batch` (commits a transaction)
- `ratios`: `devices_per_core_to_locust`, `devices_per_core_to_aiomqtt`: devices that the same share of a processor carries, against each;
  `memory_to_locust`, `memory_to_aiomqtt`: memory per device against each
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from agent.given import parse_broker
from benchmarks.live_traffic import traffic_of
from simulator.live.load_figures import Spread
from simulator.live.processes import Program, running
from simulator.live.run import LiveProgress, LiveRun
from simulator.live.run_options import LiveOptions
from simulator.population import fleet
from simulator.rollout import Rollout, collector_setup
from simulator.scenario_file import SHIPPED, load_scenario

SCENARIO: Final = SHIPPED / "load.toml"
CONTENDERS: Final = ("agent", "aiomqtt", "locust")
LOCUST: Final = Path(".venv-locust/bin/python")
TENANT: Final = "bench"
LOOK_S: Final = 0.25
SETTLE_S: Final = 25.0
MARGIN_S: Final = 5.0
"""By which the agents outlast the window."""
KIB: Final = 1024
TOLD: Final = ("connected", "created", "acknowledged", "messages", "statuses", "payload_bytes")
"""What a client says of itself."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the benchmark was asked for."""

    agents: int
    seconds: float
    speed: float
    ramp_per_s: float
    only: tuple[str, ...]

    @property
    def ends_s(self) -> float:
        """When the window ends, counted from the first start."""
        return self.agents / self.ramp_per_s + SETTLE_IN_S + self.seconds


SETTLE_IN_S: Final = 12.0
"""From the last start to the begin of the window."""


@dataclass(frozen=True, slots=True)
class Look:
    """One look at a client's process."""

    at_s: float
    cpu_s: float
    rss_kib: int
    connected: int
    created: int
    acknowledged: int
    messages: int = 0
    statuses: int = 0
    payload_bytes: int = 0


@dataclass(slots=True)
class Contender:
    """What was seen of one client."""

    looks: list[Look] = field(default_factory=list)
    latencies_s: list[float] = field(default_factory=list)
    failed: dict[str, int] = field(default_factory=dict)
    lost: int = 0
    more: dict[str, Any] = field(default_factory=dict)


def main(arguments: Sequence[str] | None = None) -> None:
    """The program."""
    given = _parser().parse_args(arguments)
    options = Options(
        given.agents, given.seconds, given.speed, given.ramp, tuple(given.only or CONTENDERS)
    )
    figures = asyncio.run(measure(options))
    if given.json:
        print(json.dumps(figures))
    else:
        _print(figures)


async def measure(options: Options) -> dict[str, Any]:
    """All figures; the keys are those of the module's docstring."""
    before = os.getloadavg()[0]
    contenders: dict[str, Any] = {}
    agent: dict[str, Any] | None = None
    for name in CONTENDERS:
        seen = await _run(name, options) if name in options.only else None
        contenders[name] = None if seen is None else _figures(seen, options)
        if seen is not None and name == "agent":
            agent = seen.more
    return {
        "benchmark": "live",
        "agents": options.agents,
        "seconds": options.seconds,
        "speed": options.speed,
        "ramp_per_second": options.ramp_per_s,
        "load_average": [round(before, 2), round(os.getloadavg()[0], 2)],
        "contenders": contenders,
        "agent": agent,
        "ratios": _ratios(contenders),
    }


async def _run(name: str, options: Options) -> Contender | None:
    folder = Path(tempfile.mkdtemp(prefix="live-benchmark-"))
    print(f"{name}: {options.ends_s:.0f} s", file=sys.stderr)
    try:
        if name == "agent":
            return await _run_agents(folder, options)
        if name == "locust" and not LOCUST.exists():
            print("locust: not installed; `make locust` does it", file=sys.stderr)
            return None
        return await _run_client(name, folder, options)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


# The agents.


async def _run_agents(folder: Path, options: Options) -> Contender:
    scenario = load_scenario(SCENARIO)
    run = LiveRun(
        LiveOptions(
            scenario=scenario,
            scenario_file=SCENARIO,
            devices=options.agents,
            seed=scenario.seed,
            speed=options.speed,
            ramp_per_s=options.ramp_per_s,
            data=folder / "run",
            limit_s=options.ends_s + MARGIN_S,
        )
    )
    seen = Contender()

    def look() -> Look | None:
        if not run.workers or (pid := run.workers[0].pid) is None:
            return None
        news = run.workers[0].heard.last
        return _look(pid, news.model_dump(include=set(TOLD)))

    async with _looking(seen, look):
        summary = await run.run(_show_nothing, _tell_nothing)
    load = summary.load
    assert load is not None, "a live run measures its load"
    seen.latencies_s = [
        done - at
        for device in run.measured.devices
        for at, done in zip(device.happened_s, device.acknowledged_s, strict=False)
    ]
    seen.lost = len(summary.lost)
    seen.failed = {
        f"{kind}: {reason}": count
        for kind, reasons in load.failures.items()
        for reason, count in reasons.items()
    }
    seen.more = {
        "stored_ms": None if load.to_stored is None else load.to_stored.as_json(),
        "lost": len(summary.lost),
        "stored_twice": len(summary.stored_twice),
        "published_again": sum(load.failures.get("published_again", {}).values()),
        "problems": list(summary.problems),
        **load.journal,
    }
    return seen


@contextlib.asynccontextmanager
async def _show_nothing(_: object, __: asyncio.Event) -> AsyncIterator[None]:
    yield


def _tell_nothing(_: LiveProgress) -> None:
    pass


# The other clients.


async def _run_client(name: str, folder: Path, options: Options) -> Contender:
    scenario = load_scenario(SCENARIO)
    traffic = traffic_of(
        scenario, TENANT, options.agents, options.speed, options.ramp_per_s, options.ends_s
    )
    setup = folder / "setup.json"
    devices = list(fleet(scenario, scenario.seed, options.agents))
    setup.write_text(json.dumps(collector_setup(Rollout(scenario), devices)))
    seen = Contender()
    async with running("broker", ["broker_config", "run", "--port", "0"], folder / "b.log") as url:
        arguments = ["collector", "serve", "--data", str(folder / "collector"), "--broker", url]
        arguments += ["--tenant", TENANT, "--port", "0", "--setup", str(setup)]
        arguments += ["--speed", str(options.speed), "--log-level", "warning"]
        async with running("collector", arguments, folder / "collector.log"):
            address = parse_broker(url)
            plan = folder / "plan.json"
            traffic.write(plan, address.host, address.port)
            del traffic
            await _carry(name, plan, folder, options, seen)
    return seen


async def _carry(name: str, plan: Path, folder: Path, options: Options, seen: Contender) -> None:
    said: dict[str, Any] = {}

    def hear(line: str) -> None:
        with contextlib.suppress(ValueError):
            said.update(json.loads(line))

    if name == "aiomqtt":
        program = Program(name, ["benchmarks.live_bare", str(plan)], folder / "c.log", hear)
    else:
        rate = max(1, round(options.ramp_per_s))
        arguments = ["locust", "-f", "benchmarks/live_locust.py", "--headless"]
        arguments += ["-u", str(options.agents), "-r", str(rate), "--only-summary"]
        arguments += ["--stop-timeout", "0", "-t", f"{options.ends_s + 2 * SETTLE_S:.0f}s"]
        program = Program(
            name,
            arguments,
            folder / "c.log",
            hear,
            python=LOCUST,
            environment={"LIVE_PLAN": str(plan)},
        )

    def look() -> Look | None:
        if (pid := program.pid) is None or "connected" not in said:
            return None
        return _look(pid, {name: said[name] for name in TOLD})

    async with _looking(seen, look):
        await program.start()
        try:
            async with asyncio.timeout(options.ends_s + 3 * SETTLE_S):
                await program.ended()
                await program.heard_all()
        finally:
            await program.stop()
    seen.latencies_s = [ms / 1000 for ms in said.get("latencies_ms", [])]
    seen.failed = said.get("failed", {"it did not come to its end": 1})
    seen.lost = said.get("created", 0) - said.get("acknowledged", 0)


# Looking at a process, on Linux.


@contextlib.asynccontextmanager
async def _looking(seen: Contender, look: Callable[[], Look | None]) -> AsyncIterator[None]:
    async def watch() -> None:
        while True:
            with contextlib.suppress(OSError):
                if (found := look()) is not None:
                    seen.looks.append(found)
            await asyncio.sleep(LOOK_S)

    watching = asyncio.create_task(watch())
    try:
        yield
    finally:
        watching.cancel()


def _look(pid: int, told: Mapping[str, int]) -> Look:
    now_s = time.monotonic()
    # Fields 14 and 15 of proc(5), counted from behind the name, which may hold anything.
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    cpu_s = (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    if not pages:
        raise ProcessLookupError("it has ended, and its memory is given back")
    rss_kib = pages * os.sysconf("SC_PAGE_SIZE") // KIB
    return Look(now_s, cpu_s, rss_kib, **told)


# Figures.


def _figures(seen: Contender, options: Options) -> dict[str, Any] | None:
    looks = seen.looks
    first = next((look for look in looks if look.connected), None)
    if first is None:
        return None
    begin_s = first.at_s + options.agents / options.ramp_per_s + SETTLE_IN_S
    window = [look for look in looks if begin_s <= look.at_s <= begin_s + options.seconds]
    if len(window) < 2:
        return None
    begin, end = window[0], window[-1]
    seconds, cpu_s = end.at_s - begin.at_s, end.cpu_s - begin.cpu_s
    events = end.created - begin.created
    before = next((look for look in reversed(looks) if look.at_s < first.at_s), first)

    def per_event(what: int) -> float:
        return round(what / max(1, events), 3)

    return {
        "connected": end.connected,
        "events_per_second": round(events / seconds, 1),
        "statuses_per_event": per_event(end.statuses - begin.statuses),
        "messages_per_event": per_event(end.messages - begin.messages),
        "bytes_per_event": per_event(end.payload_bytes - begin.payload_bytes),
        "cores": round(cpu_s / seconds, 4),
        "cpu_us_per_event": round(cpu_s / max(1, events) * 1e6, 1),
        "rss_mib_before": round(before.rss_kib / KIB, 1),
        "rss_mib": round(end.rss_kib / KIB, 1),
        "kib_per_device": round((end.rss_kib - before.rss_kib) / options.agents, 1),
        "latency_ms": _latency(seen.latencies_s),
        "created": looks[-1].created,
        "acknowledged": looks[-1].acknowledged,
        "lost": seen.lost,
        "failed": seen.failed,
    }


def _latency(seconds: Sequence[float]) -> dict[str, Any] | None:
    spread = Spread.of(seconds)
    return None if spread is None else spread.as_json()


def _ratios(contenders: dict[str, Any]) -> dict[str, float | None]:
    agent = contenders["agent"]
    ratios: dict[str, float | None] = {}
    for name in CONTENDERS[1:]:
        other = contenders[name]
        both = agent is not None and other is not None
        # For the same traffic: what one event costs there, in what it costs here.
        ratios[f"devices_per_core_to_{name}"] = (
            round(other["cpu_us_per_event"] / agent["cpu_us_per_event"], 3) if both else None
        )
        ratios[f"memory_to_{name}"] = (
            round(agent["kib_per_device"] / other["kib_per_device"], 3) if both else None
        )
    return ratios


def _print(figures: dict[str, Any]) -> None:
    print(
        f"{figures['agents']} devices for {figures['seconds']:g} s at speed {figures['speed']:g}; "
        f"load average {figures['load_average'][0]} before, {figures['load_average'][1]} after"
    )
    print(
        "           devices  events/s  messages/event  bytes/event   cores  us/event  KiB/device  ms p50     p99     max   lost"
    )
    for name, figure in figures["contenders"].items():
        if figure is None:
            print(f"{name:10} not measured")
            continue
        latency = figure["latency_ms"] or {"p50": 0, "p99": 0, "max": 0}
        print(
            f"{name:10} {figure['connected']:7}  {figure['events_per_second']:8.0f}"
            f"  {figure['messages_per_event']:14.2f}  {figure['bytes_per_event']:11.0f}  {figure['cores']:6.3f}"
            f"  {figure['cpu_us_per_event']:8.0f}  {figure['kib_per_device']:10.1f}"
            f"  {latency['p50']:6.1f}  {latency['p99']:6.1f}  {latency['max']:6.0f}  {figure['lost']:5}"
        )
        for reason, count in figure["failed"].items():
            print(f"             {count} {reason}")
    for name, value in figures["ratios"].items():
        if value is not None:
            print(f"{value:.2f} {name.replace('_', ' ')}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="benchmarks.live", description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--agents", type=_whole, default=2000, metavar="N")
    parser.add_argument("--seconds", type=_positive, default=30.0, metavar="S")
    parser.add_argument("--speed", type=_positive, default=1.0, metavar="X")
    parser.add_argument("--ramp", type=_positive, default=100.0, metavar="R")
    parser.add_argument("--only", action="append", choices=CONTENDERS, help="leave the others out")
    return parser


def _whole(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number from 1")
    return int(text)


def _positive(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"'{text}' is not a number above 0")
    return number


if __name__ == "__main__":
    main()
