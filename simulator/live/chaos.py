"""A live fleet under real faults: strikes it as scheduled, lets everyone finish, and audits what came of it."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from agent.assembly import read_inputs, read_reports
from agent.core.enrollment import Enrollment
from agent.given import parse_broker
from agent.runtime.driver import Outcome
from agent.runtime.ports import JournalUnreadable
from simulator.endpoint import kept_truth
from simulator.live.audit import audit
from simulator.live.chaos_agents import CAN_FILL_DISK, Agents, Worker
from simulator.live.chaos_faults import Fault, FaultKind, Target, schedule
from simulator.live.chaos_network import Carries, Line, Meter
from simulator.live.chaos_outage import Herd, Outage, after_outage
from simulator.live.chaos_recovery import QUIET_AFTER_S, Felt, Recoveries
from simulator.live.chaos_site import Broker, Collector, Site, SitePlan
from simulator.live.chaos_summary import ChaosSummary
from simulator.live.fleet import FleetDevice
from simulator.live.processes import NotStarted
from simulator.live.run import clear
from simulator.live.run_options import claim
from simulator.live.summary import Summary
from simulator.population import fleet
from simulator.rollout import Rollout
from simulator.scenario import Scenario

LOOK_S: Final = 0.2
TELL_S: Final = 2.0
STARTED_WITHIN: Final = 0.6
"""The share of the schedule within which the devices are switched on."""
OUTAGE_STARTS_PER_SECOND: Final = 40
SETTLE_S: Final = 180.0
SETTLE_DEVICE_HOURS: Final = 3
"""What an enrollment may take after the last fault: its time limits and the pauses of a link, with room to spare."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChaosOptions:
    """What `esp-sim chaos` was asked for. Times are real seconds unless they say otherwise."""

    scenario: Scenario
    scenario_file: Path
    devices: int
    faults: int
    seed: int
    speed: float
    workers: int
    alone: int = 0
    every_s: float
    settle_s: float | None = None
    broker: str | None = None
    data: Path | None = None
    outage: Outage | None = None

    @property
    def bound_s(self) -> float:
        """How long everyone may take to finish once the faults are over."""
        if self.settle_s is not None:
            return self.settle_s
        return SETTLE_S + SETTLE_DEVICE_HOURS * 3600 / self.speed


@dataclass(frozen=True, slots=True)
class ChaosProgress:
    """How far a chaos run is. Times are real seconds."""

    seconds: float
    devices: int
    through: int
    struck: int
    faults: int
    waited_for: int
    """Faults after which somebody has not been heard of yet."""
    phase: str


Tell = Callable[[ChaosProgress], None]
TellFault = Callable[[Felt], None]


@dataclass(slots=True)
class _Figures:
    """What a run collects on its way."""

    missed: list[tuple[Fault, str]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    herd: Herd | None = None
    settled_s: float | None = None
    phase: str = "starting"


class ChaosRun:
    """A chaos run; `stop` ends it early, with the summary of what there is."""

    def __init__(self, options: ChaosOptions) -> None:
        self._options = options
        self._stopped = asyncio.Event()
        self._figures = _Figures()
        self._began_s = time.monotonic()
        self._under_way = 0
        self._site: Site
        self._recoveries: Recoveries
        self._tell_fault: TellFault = lambda _: None

    def stop(self) -> None:
        """End soon."""
        self._stopped.set()

    async def run(self, tell: Tell, tell_fault: TellFault) -> ChaosSummary:
        """Run it.

        Raises:
            BadInput: an option can't be used.
            NotStarted: broker, collector or a worker did not come up.
        """
        self._tell_fault = tell_fault
        data = self._options.data
        folder = Path(tempfile.mkdtemp(prefix="esp-chaos-")) if data is None else data
        claim(folder)
        summary = await self._in(folder, tell)
        if data is None and summary.is_good:
            shutil.rmtree(folder, ignore_errors=True)
        elif data is None:
            print(f"esp-sim: journals, store and logs are in {folder}", file=sys.stderr)  # noqa: T201
        return summary

    def _now_s(self) -> float:
        return time.monotonic() - self._began_s

    async def _in(self, folder: Path, tell: Tell) -> ChaosSummary:
        options = self._options
        rollout = Rollout(options.scenario)
        devices = list(fleet(options.scenario, options.seed, options.devices))
        tenant = f"chaos-{secrets.token_hex(4)}"
        meter = None if options.outage is None else Meter(self._now_s)
        site = self._site = Site(
            SitePlan(
                folder=folder,
                scenario_file=options.scenario_file,
                rollout=rollout,
                devices=devices,
                starts_s=self._starts_s(),
                seed=options.seed,
                speed=options.speed,
                workers=options.workers,
                alone=options.alone,
                tenant=tenant,
                broker=options.broker,
                meter=meter,
            ),
            self._stopped_within,
        )
        async with contextlib.AsyncExitStack() as stack:
            if options.broker is not None:
                parse_broker(options.broker)
                stack.push_async_callback(clear, options.broker, tenant, devices)
            stack.push_async_callback(site.stop)
            await site.start()
            self._began_s = time.monotonic()
            self._recoveries = Recoveries(
                site.collector.store, site.journal_of, lambda: site.through
            )
            async with self._looking(tell):
                await self._strike_all() if meter is None else await self._take_away(meter)
                await self._settle()
            await site.stop_workers()
            return await self._summary()

    def _starts_s(self) -> Sequence[float]:
        options = self._options
        if options.outage is not None:
            return [place / OUTAGE_STARTS_PER_SECOND for place in range(options.devices)]
        over_s = STARTED_WITHIN * options.faults * options.every_s
        return [over_s * place / options.devices for place in range(options.devices)]

    # Striking.

    async def _strike_all(self) -> None:
        options = self._options
        self._figures.phase = "faults"
        await self._until(lambda: bool(self._site.enrolling), None)
        began_s = self._now_s()
        async with asyncio.TaskGroup() as tasks:
            for fault in schedule(options.seed, options.faults, options.every_s, self._kinds()):
                if await self._stopped_within(began_s + fault.at_s - self._now_s()):
                    break
                tasks.create_task(self._strike(fault), name=f"fault {fault.number}")

    def _kinds(self) -> list[FaultKind]:
        """What can be done on this machine, to this broker."""
        without: set[FaultKind] = set()
        if not CAN_FILL_DISK:
            without.add(FaultKind.DISK_FULL)
        if not self._site.broker.can_be_struck:
            without |= {kind for kind in FaultKind if kind.target is Target.BROKER}
        elif not self._site.broker.remembers:
            without.add(FaultKind.BROKER_KILLED)
        return [kind for kind in FaultKind if kind not in without]

    async def _strike(self, fault: Fault) -> None:
        worker = self._victim(fault)
        if worker is None:
            self._figures.missed.append((fault, "no agent was enrolling"))
            return
        async with self._lock(fault.kind, worker):
            if self._stopped.is_set():
                return
            is_one = fault.kind.target in (Target.WORKER, Target.LINE)
            agents = sorted(worker.enrolling if is_one else self._site.enrolling)
            if not agents:
                self._figures.missed.append((fault, "its agents got through before it"))
                return
            began_s = self._now_s()
            self._under_way += 1
            try:
                note = await self._do(fault, worker)
            except NotStarted as problem:
                self._figures.problems.append(f"after '{fault.kind.words}': {problem}")
                return
            finally:
                self._under_way -= 1
        if note is None:
            self._figures.missed.append((fault, "no agent wrote its journal meanwhile"))
            return
        whom = worker.name if is_one else fault.kind.target.value
        felt = Felt(fault, whom, began_s, self._now_s(), len(agents), note)
        self._recoveries.watch(felt, agents)
        self._tell_fault(felt)

    def _victim(self, fault: Fault) -> Agents | None:
        """A worker with agents that are enrolling; one that nothing strikes at this moment, if there is one."""
        busy = [w for w in self._site.workers if w.enrolling and _can_strike(fault.kind, w)]
        free = [w for w in busy if not self._lock(fault.kind, w).locked()]
        chosen = free or busy
        return chosen[int(fault.victim * len(chosen))] if chosen else None

    def _lock(self, kind: FaultKind, worker: Agents) -> asyncio.Lock:
        match kind.target:
            case Target.WORKER:
                return worker.lock
            case Target.LINE:
                return worker.line_lock
            case Target.BROKER:
                return self._site.broker.lock
            case Target.COLLECTOR:
                return self._site.collector.lock

    async def _do(self, fault: Fault, worker: Agents) -> str | None:
        """Carry out a fault to its end; what there is to say of it, or None when it struck nobody."""
        match fault.kind.target:
            case Target.WORKER:
                return await _strike_agents(fault, worker)
            case Target.LINE:
                await self._strike_line(fault, worker.line)
            case Target.BROKER:
                await _strike_broker(fault, self._site.broker)
            case Target.COLLECTOR:
                await _strike_collector(fault, self._site.collector)
        return ""

    async def _strike_line(self, fault: Fault, line: Line) -> None:
        match fault.kind:
            case FaultKind.NETWORK_DOWN:
                await line.down()
                await self._stopped_within(fault.lasts_s)
                await line.up()
            case FaultKind.NETWORK_SILENT | FaultKind.PACKETS_LOST:
                is_silent = fault.kind is FaultKind.NETWORK_SILENT
                await line.carry(Carries.NOTHING_YET if is_silent else Carries.NOTHING)
                await self._stopped_within(fault.lasts_s)
                await line.carry(Carries.ALL)
            case _:
                await line.cut()

    async def _take_away(self, meter: Meter) -> None:
        """Take the collector away from a fleet that is enrolling as a whole, and watch its return."""
        outage = self._options.outage
        assert outage is not None, "there is a meter for an outage only"
        self._figures.phase = "waiting for all agents to be connected"
        if not await self._until(lambda: self._all_are_up(meter) or self._is_over(), None):
            return
        self._figures.phase = f"{outage.target} away"
        calm_s = self._now_s()
        if await self._stopped_within(outage.calm_s):
            return
        gone_s = self._now_s()
        live = len(self._site.enrolling)
        away_s = outage.device_minutes * 60 / self._options.speed
        await self._site.collector.kill(away_s)
        await self._site.collector.url()
        meter.watch_return()
        back_s = self._now_s()
        self._figures.phase = f"{outage.target} back"
        herd = Herd(live, calm_s, gone_s, back_s)
        await self._stopped_within(herd.window_s + outage.watch_s)
        self._figures.herd = after_outage(herd, meter, self._now_s())

    def _all_are_up(self, meter: Meter) -> bool:
        has_begun = self._site.begun == self._options.devices
        return has_begun and meter.connected >= len(self._site.enrolling)

    # Waiting.

    async def _settle(self) -> None:
        self._figures.phase = "finishing"
        last_s = self._now_s()
        await self._until(self._is_over, self._options.bound_s)
        if len(self._site.through) == self._options.devices:
            self._figures.settled_s = self._now_s() - last_s
        await self._note_exits()

    def _is_over(self) -> bool:
        return all(worker.is_over for worker in self._site.workers)

    async def _note_exits(self) -> None:
        for worker in self._site.workers:
            if worker.is_over and (problem := await worker.problem()):
                self._figures.problems.append(problem)

    async def _until(self, is_true: Callable[[], bool], within_s: float | None) -> bool:
        """Wait until something is true; False when the time was over or the run was stopped first."""
        until_s = None if within_s is None else self._now_s() + within_s
        while not is_true():
            if until_s is not None and self._now_s() >= until_s:
                return False
            if await self._stopped_within(LOOK_S):
                return False
        return True

    async def _stopped_within(self, seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopped.wait(), max(0.0, seconds))
        return self._stopped.is_set()

    @contextlib.asynccontextmanager
    async def _looking(self, tell: Tell) -> AsyncIterator[None]:
        """See who recovers, and say how far the run is, while the block runs."""
        tasks = [
            asyncio.create_task(self._look(), name="recoveries"),
            asyncio.create_task(self._tell_progress(tell), name="progress"),
        ]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._recoveries.look(self._now_s(), at_journals=True)

    async def _look(self) -> None:
        journals_s = 0.0
        while True:
            now_s = self._now_s()
            at_journals = now_s - journals_s >= QUIET_AFTER_S
            self._recoveries.look(now_s, at_journals=at_journals)
            if at_journals:
                journals_s = now_s
            await asyncio.sleep(LOOK_S)

    async def _tell_progress(self, tell: Tell) -> None:
        while True:
            await asyncio.sleep(TELL_S)
            felt = self._recoveries.felt
            tell(
                ChaosProgress(
                    seconds=self._now_s(),
                    devices=self._options.devices,
                    through=len(self._site.through),
                    struck=len(felt),
                    faults=0 if self._options.outage else self._options.faults,
                    waited_for=sum(bool(one.waiting) for one in felt),
                    phase=self._figures.phase,
                )
            )

    # The end.

    async def _summary(self) -> ChaosSummary:
        figures = self._figures
        members = [m for worker in self._site.workers for m in _members(worker)]
        journals = [w.journal for w in self._site.workers if w.journal.exists()]
        seconds = self._now_s()
        try:
            url, token = await self._site.collector.url(), self._site.collector.token
            summary = await audit(members, journals, url, token, seconds)
        except (NotStarted, OSError) as problem:
            figures.problems.append(f"the collector can't be asked: {problem}")
            summary = Summary((), 0, 0, (), (), (), seconds, problems=("nothing was audited",))
        return ChaosSummary(
            audit=summary,
            felt=self._recoveries.felt,
            planned=0 if self._options.outage else self._options.faults,
            missed=figures.missed,
            problems=figures.problems,
            herd=figures.herd,
            settled_s=figures.settled_s,
            bound_s=self._options.bound_s,
        )


def _members(agents: Agents) -> Iterator[FleetDevice]:
    """What the audit looks at, told from the files alone."""
    outcomes: dict[str, Outcome] = {}
    with contextlib.suppress(JournalUnreadable):
        outcomes = outcomes_of(agents.journal)
    for device in agents.devices:
        yield FleetDevice(
            device=device,
            truth=kept_truth(agents.record_of(device.id)),
            outcome=outcomes.get(device.id),
            crash=agents.crashed.get(device.id),
        )


def _can_strike(kind: FaultKind, agents: Agents) -> bool:
    """Whether this kind can be done to this process: its clock and its word on a full disk belong to a worker."""
    return isinstance(agents, Worker) or kind not in (FaultKind.CLOCK_JUMPED, FaultKind.DISK_FULL)


async def _strike_agents(fault: Fault, worker: Agents) -> str | None:
    match fault.kind:
        case FaultKind.DISK_FULL if isinstance(worker, Worker):
            paused = await worker.fill_disk(fault.lasts_s)
            return f"{paused} agents paused" if paused else None
        case FaultKind.CLOCK_JUMPED if isinstance(worker, Worker):
            await worker.kill_and_set_clock(fault.clock_jump_s)
            return f"the clock is off by {fault.clock_jump_s:+.0f} s"
        case _:
            await worker.kill(fault.lasts_s)
            return ""


async def _strike_broker(fault: Fault, broker: Broker) -> None:
    if fault.kind is FaultKind.BROKER_SILENT:
        await broker.halt(fault.lasts_s)
    else:
        await broker.kill(fault.lasts_s, forgets=fault.kind is FaultKind.BROKER_KILLED_FORGETS)


async def _strike_collector(fault: Fault, collector: Collector) -> None:
    match fault.kind:
        case FaultKind.COLLECTOR_SILENT:
            await collector.halt(fault.lasts_s)
        case FaultKind.COLLECTOR_CUT_OFF:
            await collector.cut_off(fault.lasts_s)
        case _:
            await collector.kill(fault.lasts_s)


def outcomes_of(journal: Path) -> dict[str, Outcome]:
    """How far each device of a journal came, told from the journal alone. Raises `JournalUnreadable`."""
    machines: dict[str, Enrollment] = {}
    for device, entry in read_inputs(journal):
        machines.setdefault(device, Enrollment()).handle(entry.event, entry.at_ms)
    waiting: dict[str, int] = {}
    for row in read_reports(journal):
        waiting[row.device] = waiting.get(row.device, 0) + (not row.acknowledged)
    return {
        device: Outcome(machine.attempt, machine.end_state, machine.gate, waiting.get(device, 0))
        for device, machine in machines.items()
    }
