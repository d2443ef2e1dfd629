"""One process of agents: it takes up its journal where it is, says how far it is, and writes down in the end what came of it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

from agent.given import BadInput, load_identity, parse_broker
from agent.runtime.ports import JournalUnreadable
from agent.wire.identity import Identity, TrustedKey
from simulator.live.fleet import STARTS_PER_SECOND, Fleet, FleetDevice, FleetPlan
from simulator.live.meter import Meter
from simulator.live.worker_account import WorkerUse, write_account
from simulator.population import SimulatedDevice, fleet
from simulator.rollout import Rollout
from simulator.scenario_file import ScenarioRefused, load_scenario

TELL_S: Final = 0.2
STAGES_LOOKS: Final = 5
"""At each so many looks every device is looked at: at what stage it is, and whether it can write."""
GOODBYES_S: Final = 10.0
"""What a fleet may take that is told to end."""
PATIENT_END_S: Final = GOODBYES_S + 1.0
"""After this no agent is waited for any more."""
HURRIED_GOODBYES_S: Final = 0.15
HURRIED_END_S: Final = 0.35
"""The same while somebody waits for the summary."""
GARBAGE: Final = (20_000, 20, 20)
"""How many objects more there are before cycles among them are looked for: agents leave hardly any behind."""
LAST_WORDS_S: Final = 0.05
"""For those that were told last."""
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
    identities: Path | None = None
    """The folder with a file for each device, where the broker asks for accounts."""
    journal: Path
    records: Path | None = None
    """Where each device keeps what is really on it, for a worker that may be killed."""
    account: Path | None = None
    """Where it writes in the end what came of its devices and what it measured."""
    speed: float
    starts_per_second: float = STARTS_PER_SECOND
    cuts_s: tuple[float, ...] = ()
    """When all connections are cut, counted from the start of the whole run."""


class WorkerNews(BaseModel):
    """How far a worker is: one line of JSON each time that something changed. The names are new since the last line."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    begun: tuple[str, ...] = ()
    through: tuple[str, ...] = ()
    crashed: dict[str, str] = {}
    paused: int = 0
    """How many agents can't write their journal."""
    connected: int = 0
    created: int = 0
    """Reports, since the process began."""
    acknowledged: int = 0
    messages: int = 0
    """Published, of every kind, repetitions included."""
    statuses: int = 0
    """Of these, the retained statuses."""
    payload_bytes: int = 0
    stages: dict[str, int] = {}
    """How many agents are at each stage."""


def planned_devices(plan: WorkerPlan, rollout: Rollout) -> list[SimulatedDevice]:
    """The worker's devices, switched on when the plan says."""
    starts_s = dict(zip(plan.devices, plan.starts_s, strict=True))
    return [
        replace(device, starts_at_ms=round(starts_s[device.index] * 1000 * plan.speed))
        for device in fleet(rollout.scenario, plan.seed, max(plan.devices) + 1)
        if device.index in starts_s
    ]


class Teller:
    """Says what is new of a fleet. Every look costs little: there may be thousands of devices."""

    def __init__(self, fleet: Fleet, meter: Meter) -> None:
        self._fleet = fleet
        self._meter = meter
        self._last = WorkerNews()
        self._begun = 0
        """How many of the fleet's members were switched on; they are in the order of their starts."""
        self._over = 0
        """How many of those that have ended were told of."""
        self._running: list[FleetDevice] = []
        """Those that ran at the last look at all."""
        self._looks = 0

    async def tell(self) -> None:
        """Say it as it comes, until cancelled."""
        while True:
            self.say()
            await asyncio.sleep(TELL_S)

    def say(self) -> None:
        """Say it now, if there is anything."""
        news = self._news()
        if news != self._last:
            _say(news.model_dump_json())
            self._last = news.model_copy(update={"begun": (), "through": (), "crashed": {}})

    def _news(self) -> WorkerNews:
        begun = self._newly_begun()
        over = self._fleet.over[self._over :]
        self._over += len(over)
        if looks_at_all := self._looks % STAGES_LOOKS == 0:
            self._running = [
                m
                for m in self._fleet.members[: self._begun]
                if m.driver is not None and not m.is_over
            ]
        self._looks += 1
        return WorkerNews(
            begun=tuple(member.device.id for member in begun),
            through=tuple(m.device.id for m in over if m.outcome is not None),
            crashed={m.device.id: m.crash for m in over if m.crash is not None},
            paused=self._paused() if looks_at_all else self._last.paused,
            connected=self._meter.connected,
            created=self._meter.created,
            acknowledged=self._meter.acknowledged,
            messages=self._meter.messages,
            statuses=self._meter.statuses,
            payload_bytes=self._meter.payload_bytes,
            stages=self._stages() if looks_at_all else self._last.stages,
        )

    def _newly_begun(self) -> list[FleetDevice]:
        members, first = self._fleet.members, self._begun
        while self._begun < len(members) and members[self._begun].driver is not None:
            self._begun += 1
        return members[first : self._begun]

    def _paused(self) -> int:
        return sum(not m.driver.is_storing for m in self._running if m.driver is not None)

    def _stages(self) -> dict[str, int]:
        return dict(Counter(self._meter.stage(member.device.id) for member in self._running))


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201


async def _run(plan: WorkerPlan) -> None:
    rollout = Rollout(load_scenario(plan.scenario))
    devices = planned_devices(plan, rollout)
    meter = Meter()
    running = Fleet(
        FleetPlan(
            rollout=rollout,
            devices=devices,
            broker=parse_broker(plan.broker),
            tenant=plan.tenant,
            trusted_keys=(plan.trusted_key,),
            journal=plan.journal,
            speed=plan.speed,
            identities=_identities(plan, devices),
            identities_folder=Path() if plan.identities is None else plan.identities / "devices",
            starts_per_second=plan.starts_per_second,
            meter=meter,
            records=plan.records,
            elapsed_s=max(0.0, time.time() - plan.began_unix_s),
            wall=lambda: time.time() + plan.clock_jump_s,
        )
    )
    loop = asyncio.get_running_loop()
    wanted = Ending()
    teller = Teller(running, meter)

    def give_account() -> None:
        running.freeze()
        if plan.account is not None:
            write_account(plan.account, running, meter, _use())
        teller.say()

    _end_on_signals(wanted, give_account)
    _say("ready worker")
    began_s = time.time() - plan.began_unix_s
    timers = [loop.call_later(max(0.0, at - began_s), meter.cut_all) for at in plan.cuts_s]
    telling = asyncio.create_task(teller.tell(), name="news")
    enrolling = asyncio.create_task(running.run(), name="fleet")
    await wanted.end(running, enrolling)
    signal.setitimer(signal.ITIMER_REAL, 0)
    telling.cancel()
    for timer in timers:
        timer.cancel()
    give_account()
    if enrolling.done():
        await enrolling
    else:
        # What is left of the agents has nothing more to say, and there may be thousands of them.
        os._exit(0)


def _end_on_signals(wanted: Ending, give_account: Callable[[], None]) -> None:
    """End as SIGTERM and SIGINT ask for; an account is given in time even if the loop is too far behind to hear of it."""
    loop = asyncio.get_running_loop()

    def soon(*_: object) -> None:
        signal.setitimer(signal.ITIMER_REAL, PATIENT_END_S)
        loop.call_soon_threadsafe(wanted.soon)

    def at_once(*_: object) -> None:
        signal.setitimer(signal.ITIMER_REAL, HURRIED_END_S)
        loop.call_soon_threadsafe(wanted.at_once)

    def end(*_: object) -> None:
        # The loop may be in the middle of a line of news; there is no other then.
        with contextlib.suppress(RuntimeError):
            give_account()
        os._exit(0)

    # Handlers of Python's own run between any two instructions; those of a loop wait for its next turn.
    signal.signal(signal.SIGALRM, end)
    signal.signal(signal.SIGTERM, soon)
    signal.signal(signal.SIGINT, at_once)


class Ending:
    """How a fleet ends: by itself, soon with a goodbye of each agent, or at once with as many as there is time for."""

    def __init__(self) -> None:
        self._wanted = asyncio.Event()
        self._hurries = asyncio.Event()

    def soon(self) -> None:
        """End it, patiently."""
        self._wanted.set()

    def at_once(self) -> None:
        """Somebody waits for it."""
        self._wanted.set()
        self._hurries.set()

    async def end(self, running: Fleet, enrolling: asyncio.Task[None]) -> None:
        """Return once the fleet has ended, or has had its time to."""
        if await _first_of(enrolling, self._wanted, None):
            return
        if not self._hurries.is_set():
            running.stop()
            if await _first_of(enrolling, self._hurries, GOODBYES_S):
                return
        await running.leave(HURRIED_GOODBYES_S)
        await asyncio.wait({enrolling}, timeout=LAST_WORDS_S)


async def _first_of(task: asyncio.Task[None], event: asyncio.Event, within_s: float | None) -> bool:
    """Wait for either; whether the task is done."""
    waiting = asyncio.create_task(event.wait())
    await asyncio.wait({task, waiting}, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    return task.done()


def _identities(plan: WorkerPlan, devices: list[SimulatedDevice]) -> dict[str, Identity]:
    if plan.identities is None:
        return {}
    folder = plan.identities / "devices"
    return {device.id: load_identity(folder / f"{device.id}.json") for device in devices}


if sys.platform == "win32":

    def _use() -> WorkerUse:
        return WorkerUse(cpu_s=time.process_time(), peak_kib=None)

else:
    import resource

    def _use() -> WorkerUse:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        # On macOS it is told in bytes.
        peak_kib = peak // 1024 if sys.platform == "darwin" else peak
        return WorkerUse(cpu_s=time.process_time(), peak_kib=peak_kib)


def main() -> int:
    """Run the worker whose plan is named on the command line."""
    logging.getLogger("agent").addHandler(logging.NullHandler())
    logging.getLogger("agent").propagate = False
    try:
        plan = WorkerPlan.model_validate_json(Path(sys.argv[1]).read_bytes())
        # What was imported stays, and is not looked through each time.
        gc.freeze()
        gc.set_threshold(*GARBAGE)
        with asyncio.Runner(loop_factory=_new_loop) as runner:
            runner.run(_run(plan))
    except (BadInput, JournalUnreadable, ScenarioRefused, ValidationError, OSError) as problem:
        print(f"esp-sim: {problem}", file=sys.stderr)  # noqa: T201
        return EXIT_REFUSED
    return 0


def _new_loop() -> asyncio.AbstractEventLoop:
    """On uvloop where it is installed: a thousand devices are then half the work."""
    try:
        import uvloop  # noqa: PLC0415 - not installed everywhere, and a fleet runs without it.
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


if __name__ == "__main__":
    sys.exit(main())
