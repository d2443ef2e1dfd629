"""The processes of a chaos run, the lines between them, and everything that can be done to them."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from agent.wire.identity import Identity, TrustedKey
from simulator.live.chaos_agents import Agents, Loner, Pause, Worker
from simulator.live.chaos_network import Line, Meter
from simulator.live.processes import NotStarted, Program
from simulator.live.run_options import trusted_key
from simulator.live.worker import WorkerPlan
from simulator.live.workers import shares
from simulator.population import SimulatedDevice
from simulator.rollout import Rollout, collector_setup

AUTOSAVE: Final = ("autosave_interval 300", "autosave_interval 1")
"""Mosquitto's memory is then one second old when it is killed."""


def has_mosquitto() -> bool:
    """Whether `esp-broker run` will run Mosquitto; Debian keeps it where an ordinary user's PATH does not look."""
    places = [os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"]
    return shutil.which("mosquitto", path=os.pathsep.join(places)) is not None


class Broker:
    """The broker that agents and collector share. One that was given can't be struck."""

    def __init__(self, folder: Path, given: str | None, pause: Pause) -> None:
        self._folder = folder / "broker"
        self._log = folder / "broker.log"
        self._given = given
        self._pause = pause
        self._program: Program | None = None
        self.lock = asyncio.Lock()
        self.lines: list[Line] = []

    @property
    def can_be_struck(self) -> bool:
        """False for one that somebody else runs."""
        return self._given is None

    @property
    def remembers(self) -> bool:
        """Whether it keeps retained messages over a restart."""
        return self.can_be_struck and has_mosquitto()

    async def start(self) -> None:
        """Make it and start it. Raises `NotStarted`."""
        if self._given is not None:
            self._lead_to(self._given)
            return
        arguments = ["broker_config", "run", "--embedded", "--port", "0"]
        if has_mosquitto():
            await self._init()
            arguments = ["broker_config", "run", str(self._folder), "--port", "0"]
        self._program = Program("broker", arguments, self._log)
        self._lead_to(await self._program.start())

    async def kill(self, away_s: float, *, forgets: bool) -> None:
        """Kill it, and start it again after a while; with what it had on disk, or with nothing."""
        program = self._own()
        self._lead_to(None)
        await program.kill()
        if forgets:
            for kept in (self._folder / "data").glob("*"):
                kept.unlink()
        await self._pause(away_s)
        self._lead_to(await program.start())

    async def halt(self, for_s: float) -> None:
        """Let it answer nothing for a while."""
        program = self._own()
        program.halt()
        try:
            await self._pause(for_s)
        finally:
            program.go_on()

    async def stop(self) -> None:
        """End it."""
        if self._program is not None:
            self._program.go_on()
            await self._program.stop()

    def _own(self) -> Program:
        assert self._program is not None, "only our own broker is struck"
        return self._program

    def _lead_to(self, url: str | None) -> None:
        where = None if url is None else urlsplit(url)
        for line in self.lines:
            line.upstream = None if where is None else (where.hostname or "", where.port or 1883)

    async def _init(self) -> None:
        made = Program(
            "broker", ["broker_config", "init", str(self._folder), "--development"], self._log
        )
        await made.launch()
        if await made.ended() != 0:
            raise NotStarted(f"the broker's directory could not be made; see {self._log}")
        configuration = self._folder / "mosquitto.conf"
        text = configuration.read_text()
        assert AUTOSAVE[0] in text, "the line that `esp-broker init` writes"
        configuration.write_text(text.replace(*AUTOSAVE))


class Collector:
    """The collector, on a line of its own."""

    def __init__(self, folder: Path, line: Line, arguments: Sequence[str], pause: Pause) -> None:
        self._pause = pause
        self.home = folder / "collector"
        self.line = line
        self.lock = asyncio.Lock()
        given = ["collector", "serve", "--data", str(self.home), "--broker", line.url]
        given += ["--port", "0", "--log-level", "warning", *arguments]
        self._program = Program("collector", given, folder / "collector.log")

    @property
    def store(self) -> Path:
        """Its database."""
        return self.home / "store.sqlite"

    async def start(self) -> str:
        """Start it; its address. Raises `NotStarted`."""
        return await self._program.start()

    async def url(self) -> str:
        """Where it answers now, once it does. Raises `NotStarted`."""
        return await self._program.ready()

    @property
    def token(self) -> str:
        """What opens its API."""
        return (self.home / "token").read_text(encoding="ascii").strip()

    async def kill(self, away_s: float) -> None:
        """Kill it, and start it again after a while."""
        await self._program.kill()
        await self._pause(away_s)
        await self._program.launch()

    async def halt(self, for_s: float) -> None:
        """Let it answer nothing for a while."""
        self._program.halt()
        try:
            await self._pause(for_s)
        finally:
            self._program.go_on()

    async def cut_off(self, for_s: float) -> None:
        """Take it off the network for a while."""
        await self.line.down()
        await self._pause(for_s)
        await self.line.up()

    async def stop(self) -> None:
        """End it."""
        self._program.go_on()
        await self._program.stop()


@dataclass(frozen=True, slots=True, kw_only=True)
class SitePlan:
    """What a chaos run is made of. `starts_s` are real seconds after the start, one for each device."""

    folder: Path
    scenario_file: Path
    rollout: Rollout
    devices: Sequence[SimulatedDevice]
    starts_s: Sequence[float]
    seed: int
    speed: float
    workers: int
    alone: int
    """How many of the devices run `esp-agent run`, each a process of its own; the workers share the others."""
    tenant: str
    broker: str | None
    meter: Meter | None = None


class Site:
    """All of it. `start` it once, `stop` it in the end."""

    def __init__(self, plan: SitePlan, pause: Pause) -> None:
        self._plan = plan
        self._pause = pause
        self.broker = Broker(plan.folder, plan.broker, pause)
        self.collector: Collector
        self.workers: list[Agents] = []
        self._lines: list[Line] = []

    @property
    def journal_of(self) -> dict[str, Path]:
        """Each device's journal."""
        return {d.id: worker.journal for worker in self.workers for d in worker.devices}

    @property
    def begun(self) -> int:
        """How many devices were switched on."""
        return sum(len(worker.begun) for worker in self.workers)

    @property
    def through(self) -> set[str]:
        """The devices that are through."""
        return set().union(*(worker.through for worker in self.workers))

    @property
    def enrolling(self) -> set[str]:
        """The devices that have begun and are not through."""
        return set().union(*(worker.enrolling for worker in self.workers))

    async def start(self) -> None:
        """Start broker, collector and workers. Raises `NotStarted`."""
        plan = self._plan
        collectors_line = await self._new_line(None)
        count = min(plan.workers, len(plan.devices) - plan.alone) + plan.alone
        lines = [await self._new_line(plan.meter) for _ in range(count)]
        self.broker.lines = self._lines
        await self.broker.start()
        setup = plan.folder / "setup.json"
        setup.write_text(json.dumps(collector_setup(plan.rollout, plan.devices), indent=1))
        arguments = ["--tenant", plan.tenant, "--setup", str(setup), "--speed", str(plan.speed)]
        self.collector = Collector(plan.folder, collectors_line, arguments, self._pause)
        await self.collector.start()
        key = trusted_key(self.collector.home / "keys" / "public.pem")
        self.workers += self._loners(lines[: plan.alone], key)
        self.workers += self._shared(lines[plan.alone :], key)
        for worker in self.workers:
            await worker.begin()

    async def stop(self) -> None:
        """End everything that is left."""
        await self.stop_workers()
        if hasattr(self, "collector"):
            await self.collector.stop()
        for line in self._lines:
            await line.down()
        await self.broker.stop()

    async def stop_workers(self) -> None:
        """End the agents, whatever state they are in."""
        await asyncio.gather(*(worker.stop() for worker in self.workers))

    async def _new_line(self, meter: Meter | None) -> Line:
        line = Line(meter)
        await line.up()
        self._lines.append(line)
        return line

    def _loners(self, lines: Sequence[Line], key: TrustedKey) -> Iterator[Agents]:
        """Devices spread over the whole fleet, each with a process of its own."""
        plan = self._plan
        for line, place in zip(lines, self._places_alone(), strict=True):
            device = plan.devices[place]
            yield Loner(
                line=line,
                device=device,
                folder=plan.folder / "alone" / device.id,
                starts_s=plan.starts_s[place],
                identity=Identity(tenant=plan.tenant, device=device.id, trusted_keys=(key,)),
                seed=plan.seed,
                speed=plan.speed,
                pause=self._pause,
            )

    def _shared(self, lines: Sequence[Line], key: TrustedKey) -> Iterator[Agents]:
        plan = self._plan
        alone = set(self._places_alone())
        place_of = {device.index: place for place, device in enumerate(plan.devices)}
        shared = [device for device in plan.devices if place_of[device.index] not in alone]
        records = plan.folder / "records"
        records.mkdir()
        began_unix_s = time.time()
        # Devices that share a line are in one process, which may leave some without any.
        for number, (line, devices) in enumerate(
            zip(lines, shares(shared, len(lines)), strict=False), 1
        ):
            name = f"worker-{number}"
            worker = WorkerPlan(
                scenario=plan.scenario_file.absolute(),
                seed=plan.seed,
                devices=tuple(device.index for device in devices),
                starts_s=tuple(plan.starts_s[place_of[device.index]] for device in devices),
                began_unix_s=began_unix_s,
                broker=line.url,
                tenant=plan.tenant,
                trusted_key=key,
                journal=plan.folder / f"{name}.journal.sqlite3",
                records=records,
                speed=plan.speed,
            )
            yield Worker(line, devices, worker, plan.folder / f"{name}.json", self._pause)

    def _places_alone(self) -> Sequence[int]:
        count, alone = len(self._plan.devices), self._plan.alone
        return [number * count // alone for number in range(alone)]
