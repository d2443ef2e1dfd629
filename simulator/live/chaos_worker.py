"""One process of agents that may be killed at any moment: it takes up its journals where they are, and says how far it is."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

from agent.assembly import BadInput, parse_broker
from agent.runtime.ports import JournalUnreadable
from agent.wire.identity import TrustedKey
from simulator.live.fleet import Fleet, FleetPlan
from simulator.population import SimulatedDevice, simulated_device
from simulator.rollout import Rollout
from simulator.scenario_file import ScenarioRefused, load_scenario

TELL_S: Final = 0.2
EXIT_REFUSED: Final = 2


class WorkerPlan(BaseModel):
    """What a worker is told, as a JSON file. Times are real."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    scenario: Path
    seed: int
    devices: tuple[int, ...]
    """The numbers of its devices in the scenario, from 0."""
    starts_s: tuple[float, ...]
    """When each of them is switched on, counted from the start of the whole run."""
    began_unix_s: float
    """The start of the whole run."""
    clock_jump_s: float = 0.0
    """How far the wall clock is from the right time, as the agents read it."""
    broker: str
    tenant: str
    trusted_key: TrustedKey
    journal: Path
    records: Path
    speed: float


class WorkerNews(BaseModel):
    """How far a worker is: one line of JSON each time that something changed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    begun: tuple[str, ...] = ()
    through: tuple[str, ...] = ()
    paused: int = 0
    """How many agents can't write their journal."""
    crashed: dict[str, str] = {}


def planned_devices(plan: WorkerPlan, rollout: Rollout) -> list[SimulatedDevice]:
    """The worker's devices, switched on when the plan says."""
    return [
        replace(
            simulated_device(rollout.scenario, plan.seed, index),
            starts_at_ms=round(starts_s * 1000 * plan.speed),
        )
        for index, starts_s in zip(plan.devices, plan.starts_s, strict=True)
    ]


def _news(fleet: Fleet) -> WorkerNews:
    return WorkerNews(
        begun=tuple(m.device.id for m in fleet.members if m.driver is not None),
        through=tuple(m.device.id for m in fleet.members if m.outcome is not None),
        paused=fleet.progress.paused,
        crashed={m.device.id: m.crash for m in fleet.members if m.crash is not None},
    )


async def _tell(fleet: Fleet) -> None:
    last = WorkerNews()
    while True:
        if (news := _news(fleet)) != last:
            _say(news.model_dump_json())
            last = news
        await asyncio.sleep(TELL_S)


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201


async def _run(plan: WorkerPlan) -> None:
    rollout = Rollout(load_scenario(plan.scenario))
    fleet = Fleet(
        FleetPlan(
            rollout=rollout,
            devices=planned_devices(plan, rollout),
            broker=parse_broker(plan.broker),
            tenant=plan.tenant,
            trusted_keys=(plan.trusted_key,),
            journal=plan.journal,
            speed=plan.speed,
            records=plan.records,
            elapsed_s=max(0.0, time.time() - plan.began_unix_s),
            wall=lambda: time.time() + plan.clock_jump_s,
        )
    )
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, fleet.stop)
    _say("ready worker")
    telling = asyncio.create_task(_tell(fleet), name="news")
    try:
        await fleet.run()
    finally:
        telling.cancel()
    _say(_news(fleet).model_dump_json())


def main() -> int:
    """Run the worker whose plan is named on the command line."""
    logging.getLogger("agent").addHandler(logging.NullHandler())
    logging.getLogger("agent").propagate = False
    try:
        plan = WorkerPlan.model_validate_json(Path(sys.argv[1]).read_bytes())
        with asyncio.Runner(loop_factory=_new_loop) as runner:
            runner.run(_run(plan))
    except (BadInput, JournalUnreadable, ScenarioRefused, ValidationError, OSError) as problem:
        print(f"esp-sim: {problem}", file=sys.stderr)  # noqa: T201
        return EXIT_REFUSED
    return 0


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop  # noqa: PLC0415 - not installed everywhere, and a fleet runs without it.
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


if __name__ == "__main__":
    sys.exit(main())
