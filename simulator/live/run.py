"""One live run from start to summary: broker, collector, processes of agents, audit, and the broom afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import sqlite3
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TypedDict

from agent.given import parse_broker
from simulator.ground_truth import GroundTruth
from simulator.live.audit import audit
from simulator.live.collector_counts import collector_counts, failures_between
from simulator.live.delivery_audit import ReportKey
from simulator.live.fleet import REFUSED, FleetDevice, clear_retained
from simulator.live.load_figures import Measured, Spread, StormFigures, figures_of
from simulator.live.processes import STOP_S, NotStarted, Program
from simulator.live.run_options import (
    UNPACED,
    Address,
    LiveOptions,
    claim,
    identities_of,
    tenant_of,
    trusted_key,
)
from simulator.live.same_as_virtual import Sameness, compare_lives, live_lives
from simulator.live.store_watch import StoreWatch
from simulator.live.storms import PlannedStorm, StormKind, starts
from simulator.live.summary import Summary
from simulator.live.worker import WorkerPlan
from simulator.live.workers import Worker, shares, total_stages
from simulator.population import SimulatedDevice, cohorts, fleet
from simulator.rollout import Rollout, collector_setup

EMBEDDED_DEVICES_MAX: Final = 200
"""Above this Mosquitto is used where it is installed: the embedded broker is made for demonstrations."""
PROGRESS_S: Final = 2.0
KNOCK_S: Final = 5.0
CLEAR_S: Final = 5.0
HURRIED_STOP_S: Final = 0.05
HURRIED_S: Final = 0.8
"""What a collector may take for the audit while somebody waits."""
CLEAR_INTERRUPTED_S: Final = 0.3
"""Whoever presses Ctrl+C waits for the summary; what stays on a broker then belongs to a tenant that nobody uses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveProgress:
    """How far a live run is. Times are real seconds."""

    seconds: float
    devices: int
    begun: int
    finished: int
    connected: int
    events_per_s: float
    """Reports made a second, since it was told last."""
    waiting: int
    """Reports that wait for an acknowledgement."""
    stages: Mapping[str, int]


Show = Callable[[Address, asyncio.Event], contextlib.AbstractAsyncContextManager[None]]
"""Shows the run to a person while the block runs; the event is set once the fleet is through."""
Tell = Callable[[LiveProgress], None]
"""Told every other second how far the fleet is."""


class Hurry(TypedDict, total=False):
    """What the audit is given when it has to be quick."""

    stored: Sequence[ReportKey]
    within_s: float


class LiveRun:
    """A live run; `stop` ends it early, with the summary of what there is."""

    def __init__(self, options: LiveOptions) -> None:
        self._options = options
        self._stopped = asyncio.Event()
        self.workers: list[Worker] = []
        self.members: list[FleetDevice] = []
        """What became of each device, once the fleet is through."""
        self.measured = Measured()

    def stop(self) -> None:
        """End soon."""
        self._stopped.set()

    async def run(self, show: Show, tell: Tell) -> Summary:
        """Run it.

        Raises:
            BadInput: an option can't be used.
            NotStarted: broker, collector or a process of agents did not come up.
        """
        data = self._options.data
        folder = Path(tempfile.mkdtemp(prefix="esp-sim-")) if data is None else data
        claim(folder)
        is_good = False
        try:
            summary = await self._in(folder, show, tell)
            is_good = summary.is_good
        finally:
            if data is None:
                _clear_away(folder, is_good=is_good)
        return summary

    async def _in(self, folder: Path, show: Show, tell: Tell) -> Summary:
        options = self._options
        rollout = Rollout(options.scenario)
        devices = list(fleet(options.scenario, options.seed, options.devices))
        identities = identities_of(options.identities, devices)
        tenant = tenant_of(options, identities)
        async with contextlib.AsyncExitStack() as stack:
            broker = await stack.enter_async_context(self._broker(folder))
            if options.broker is not None and options.collector is None:
                # Registered before the collector, so that it runs once that has said its last word.
                stack.push_async_callback(self._clear, broker, tenant, devices)
            collector = await stack.enter_async_context(
                self._collector(folder, broker, tenant, rollout, devices)
            )
            counts = await collector_counts(collector.url, collector.token)
            watch = self._watch(folder, stack)
            devices = self._switched_on(devices)
            self.workers = self._plan_workers(folder, broker, tenant, devices)
            for worker in self.workers:
                stack.push_async_callback(worker.stop_at_once)
            await asyncio.gather(*(worker.start() for worker in self.workers))
            began = time.monotonic()
            await self._enroll(collector, show, tell)
            seconds = time.monotonic() - began
            return await self._summary(devices, collector, counts, watch, seconds)

    # The devices and their processes.

    def _switched_on(self, devices: Sequence[SimulatedDevice]) -> list[SimulatedDevice]:
        """The same devices, each with the start that scenario, ramp and storms give it, in its own time."""
        options = self._options
        planned_s = [device.starts_at_ms / 1000 / options.speed for device in devices]
        ramp_per_s = UNPACED if options.check_virtual else options.ramp_per_s
        begin_s = starts(planned_s, ramp_per_s, options.storms)
        return [
            replace(device, starts_at_ms=round(start_s * 1000 * options.speed))
            for device, start_s in zip(devices, begin_s, strict=True)
        ]

    def _plan_workers(
        self, folder: Path, broker: str, tenant: str, devices: Sequence[SimulatedDevice]
    ) -> list[Worker]:
        options = self._options
        trusted = trusted_key(options.trust or folder / "collector" / "keys" / "public.pem")
        cuts_s = tuple(s.at_s for s in options.storms if s.kind is StormKind.RECONNECT)
        began_unix_s = time.time()
        planned = []
        for number, share in enumerate(shares(devices, options.workers), 1):
            name = f"worker-{number}"
            plan = WorkerPlan(
                scenario=options.scenario_file.absolute(),
                seed=options.seed,
                devices=tuple(device.index for device in share),
                starts_s=tuple(device.starts_at_ms / 1000 / options.speed for device in share),
                began_unix_s=began_unix_s,
                broker=broker,
                tenant=tenant,
                trusted_key=trusted,
                identities=None if options.identities is None else options.identities.absolute(),
                journal=folder / f"{name}.journal.sqlite3",
                account=folder / f"{name}.account.jsonl",
                speed=options.speed,
                starts_per_second=UNPACED,
                cuts_s=cuts_s,
            )
            planned.append(Worker(plan, folder / f"{name}.json"))
        return planned

    async def _enroll(self, collector: Address, show: Show, tell: Tell) -> None:
        through = asyncio.Event()
        ticking = asyncio.create_task(self._tick(tell), name="progress")
        try:
            async with show(collector, through):
                await self._until_through()
                ticking.cancel()
                through.set()
        finally:
            ticking.cancel()

    async def _until_through(self) -> None:
        """Wait for all agents; when the run is stopped, end them."""
        stopping = asyncio.create_task(self._stop_when_wanted(), name="stop")
        try:
            await asyncio.gather(*(worker.ended() for worker in self.workers))
        finally:
            stopping.cancel()

    async def _stop_when_wanted(self) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopped.wait(), self._options.limit_s)
        if not self._stopped.is_set():
            patient = asyncio.create_task(self._stop_patiently(), name="patient stop")
            hurrying = asyncio.create_task(self._stopped.wait(), name="hurry")
            try:
                await asyncio.wait({patient, hurrying}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                hurrying.cancel()
                patient.cancel()
        await asyncio.gather(*(worker.stop_at_once() for worker in self.workers))

    async def _stop_patiently(self) -> bool:
        await asyncio.gather(*(worker.stop() for worker in self.workers))
        return True

    async def _tick(self, tell: Tell) -> None:
        began_s = last_s = time.monotonic()
        created = 0
        while True:
            await asyncio.sleep(PROGRESS_S)
            now_s, news = time.monotonic(), [worker.heard.last for worker in self.workers]
            now_created = sum(one.created for one in news)
            tell(
                LiveProgress(
                    seconds=now_s - began_s,
                    devices=self._options.devices,
                    begun=sum(len(worker.heard.begun) for worker in self.workers),
                    finished=sum(
                        len(worker.heard.through) + len(worker.heard.crashed)
                        for worker in self.workers
                    ),
                    connected=sum(one.connected for one in news),
                    events_per_s=(now_created - created) / (now_s - last_s),
                    waiting=now_created - sum(one.acknowledged for one in news),
                    stages=total_stages(news),
                )
            )
            last_s, created = now_s, now_created

    # The end.

    async def _summary(
        self,
        devices: Sequence[SimulatedDevice],
        collector: Address,
        counts: Mapping[str, int],
        watch: StoreWatch | None,
        seconds: float,
    ) -> Summary:
        problems = [p for worker in self.workers if (p := await worker.problem())]
        self._read_accounts(devices)
        if watch is not None:
            watch.close()
            self.measured.stored_s = _stored_s(watch)
        if not self._stopped.is_set():
            after = await collector_counts(collector.url, collector.token)
            self.measured.failures = failures_between(counts, after)
        journals = [w.plan.journal for w in self.workers if w.plan.journal.exists()]
        summary = await audit(
            self.members,
            journals,
            collector.url,
            collector.token,
            seconds,
            **self._hurry(watch),
        )
        options = self._options
        load = figures_of(
            self.measured,
            workers=len(self.workers),
            ramp_per_s=options.ramp_per_s,
            storms=[self._storm_figures(s, devices) for s in options.storms],
        )
        virtual = await self._compared(journals) if options.check_virtual else None
        return replace(summary, problems=[*summary.problems, *problems], load=load, virtual=virtual)

    def _hurry(self, watch: StoreWatch | None) -> Hurry:
        """Whoever presses Ctrl+C waits for the summary, and a collector that is behind answers late."""
        if not self._stopped.is_set():
            return {}
        if watch is not None:
            with contextlib.suppress(sqlite3.Error):
                return {"stored": watch.reports()}
        return {"within_s": HURRIED_S}

    async def _compared(self, journals: Sequence[Path]) -> Sameness:
        options = self._options
        whole = cohorts(options.scenario, options.seed, options.devices)
        rollout = Rollout(options.scenario)
        return await asyncio.to_thread(
            lambda: compare_lives(rollout, options.seed, whole, live_lives(journals))
        )

    def _read_accounts(self, devices: Sequence[SimulatedDevice]) -> None:
        for worker in self.workers:
            if (account := worker.account()) is not None:
                figures, lines = account
                self.measured.processes.append(figures)
                self.measured.devices += lines
        known = {line.device: line for line in self.measured.devices}
        for device in devices:
            line = known.get(device.id)
            self.members.append(
                FleetDevice(device, GroundTruth())
                if line is None
                else FleetDevice(
                    device=device, truth=line.truth, outcome=line.outcome, crash=line.crash
                )
            )

    def _storm_figures(
        self, storm: PlannedStorm, devices: Sequence[SimulatedDevice]
    ) -> StormFigures:
        if storm.kind is StormKind.START:
            at_ms = round(storm.at_s * 1000 * self._options.speed)
            struck = sum(device.starts_at_ms == at_ms for device in devices)
            return StormFigures(storm, struck, struck, None)
        place = [s for s in self._options.storms if s.kind is StormKind.RECONNECT].index(storm)
        felt = [p.storms[place] for p in self.measured.processes if place < len(p.storms)]
        away_s = [s for one in felt for s in one.returned_s]
        return StormFigures(storm, sum(f.struck for f in felt), len(away_s), Spread.of(away_s))

    # Broker and collector.

    def _watch(self, folder: Path, stack: contextlib.AsyncExitStack) -> StoreWatch | None:
        """A collector that was given may be anywhere, and its database is its own business."""
        if self._options.collector is not None:
            return None
        watch = StoreWatch(folder / "collector" / "store.sqlite")
        stack.callback(watch.close)
        return watch

    async def _clear(self, broker: str, tenant: str, devices: Sequence[SimulatedDevice]) -> None:
        await clear(
            broker, tenant, devices, CLEAR_INTERRUPTED_S if self._stopped.is_set() else CLEAR_S
        )

    @contextlib.asynccontextmanager
    async def _broker(self, folder: Path) -> AsyncIterator[str]:
        if self._options.broker is not None:
            await _knock(self._options.broker)
            yield self._options.broker
            return
        embedded = ["--embedded"] if self._options.devices <= EMBEDDED_DEVICES_MAX else []
        arguments = ["broker_config", "run", "--port", "0", *embedded]
        async with self._running("broker", arguments, folder / "broker.log") as url:
            yield url

    @contextlib.asynccontextmanager
    async def _collector(
        self,
        folder: Path,
        broker: str,
        tenant: str,
        rollout: Rollout,
        devices: list[SimulatedDevice],
    ) -> AsyncIterator[Address]:
        options = self._options
        if options.collector is not None:
            assert options.token_file is not None, "checked with the options"
            yield Address(options.collector, options.token_file)
            return
        home = folder / "collector"
        setup = folder / "setup.json"
        setup.write_text(json.dumps(collector_setup(rollout, devices), indent=1))
        arguments = ["collector", "serve", "--data", str(home), "--broker", broker]
        arguments += ["--tenant", tenant, "--port", "0", "--setup", str(setup)]
        arguments += ["--speed", str(options.speed), "--log-level", "warning"]
        if options.identities is not None:
            arguments += ["--identity", str(options.identities / "collector.json")]
        async with self._running("collector", arguments, folder / "collector.log") as url:
            yield Address(url, home / "token")

    @contextlib.asynccontextmanager
    async def _running(self, name: str, arguments: Sequence[str], log: Path) -> AsyncIterator[str]:
        program = Program(name, arguments, log)
        try:
            yield await program.start()
        finally:
            # What matters is on the disk already.
            await program.stop(HURRIED_STOP_S if self._stopped.is_set() else STOP_S)


def _stored_s(watch: StoreWatch) -> dict[tuple[str, int], float] | None:
    try:
        orders = watch.orders()
    except sqlite3.Error:
        return None
    return {
        (stream, seq): at_s
        for stream, numbers in orders.items()
        for seq, order in numbers.items()
        if (at_s := watch.stored_at(order)) is not None
    }


async def _knock(broker: str) -> None:
    """Raises `NotStarted` where nobody listens, before a collector waits there in vain."""
    address = parse_broker(broker)
    try:
        async with asyncio.timeout(KNOCK_S):
            _, writer = await asyncio.open_connection(address.host, address.port)
    except OSError as error:
        # A timeout is an OSError without a text of its own.
        why = error.strerror or "no answer in time"
        raise NotStarted(
            f"--broker {broker}: nobody answers there ({why}); start the broker, or name another"
        ) from error
    writer.close()


async def clear(
    broker: str, tenant: str, devices: Sequence[SimulatedDevice], within_s: float = CLEAR_S
) -> None:
    """Take back what a run's own tenant left on the broker, if it can be done soon."""
    # A broker that is gone, or forbids it, keeps what it has; the run's result does not depend on it.
    with contextlib.suppress(*REFUSED, TimeoutError):
        async with asyncio.timeout(within_s):
            await clear_retained(parse_broker(broker), tenant, devices)


def _clear_away(folder: Path, *, is_good: bool) -> None:
    """Keep what a run left behind only where it tells something."""
    if is_good or not any(path.is_file() for path in folder.rglob("*")):
        shutil.rmtree(folder, ignore_errors=True)
    else:
        print(f"esp-sim: journals, store and logs are in {folder}", file=sys.stderr)  # noqa: T201
