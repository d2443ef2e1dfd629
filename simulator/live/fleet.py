"""Runs the real agent for every device of a fleet in one process: one connection each, one journal for all."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from agent.assembly import (
    build_fleet_archive,
    build_transport,
    build_verifier,
    open_fleet_journal,
)
from agent.mqtt_transport import BrokerAddress
from agent.runtime.clock import DeviceClock, SteadyClock
from agent.runtime.driver import Driver, DriverOptions, Outcome
from agent.runtime.ports import Journal, LogArchive, TransportLost, TransportRefused, Verifier
from agent.wire.identity import Identity, TrustedKey
from agent.wire.topics import (
    PARTITIONS,
    RETAINED,
    Channel,
    collector_topic,
    device_topic,
)
from simulator.endpoint import FleetEndpoint
from simulator.ground_truth import GroundTruth
from simulator.population import SimulatedDevice
from simulator.rollout import Rollout

STARTS_PER_SECOND: Final = 200
"""Connections opened at most: a broker takes them one after another anyway."""
GOODBYE_MS: Final = 800
STOP_S: Final = 1.2
"""What a stopped fleet may take for its goodbyes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetPlan:
    """Everything decided about a live fleet. `speed` is device time per real time."""

    rollout: Rollout
    devices: Sequence[SimulatedDevice]
    broker: BrokerAddress
    tenant: str
    trusted_keys: tuple[TrustedKey, ...]
    journal: Path
    speed: float
    identities: Mapping[str, Identity] = field(default_factory=dict)
    """How devices sign in at the broker, where it asks for that."""
    records: Path | None = None
    """Where each device keeps what is really on it, for a fleet whose process may be killed; None forgets it."""
    elapsed_s: float = 0.0
    """How long ago the fleet began, in real seconds, for a part of it that begins anew."""
    wall: Callable[[], float] = time.time
    """The wall clock as the agents read it, in seconds since 1970."""


@dataclass(slots=True)
class FleetDevice:
    """One device of a live fleet, and what became of it."""

    device: SimulatedDevice
    truth: GroundTruth
    driver: Driver | None = None
    outcome: Outcome | None = None
    crash: str | None = None
    """An error that nobody expected; the device counts as unfinished."""


@dataclass(frozen=True, slots=True)
class FleetProgress:
    """How far a fleet is."""

    devices: int
    started: int
    finished: int
    stages: Mapping[str, int]
    not_through: int
    """Devices with a report that has been waiting without any acknowledgement."""
    paused: int = 0
    """Devices that can't write their journal, so that nothing goes on."""


class Fleet:
    """A live fleet. Build it, `run` it once; `stop` ends it early."""

    def __init__(self, plan: FleetPlan) -> None:
        self._plan = plan
        self.members: list[FleetDevice] = []
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """End soon, however far the devices are."""
        self._stopping.set()
        for member in self.members:
            if member.driver is not None:
                member.driver.stop()

    @property
    def progress(self) -> FleetProgress:
        """How far it is now."""
        stages: Counter[str] = Counter()
        not_through = paused = 0
        for member in self.members:
            if member.driver is not None and member.outcome is None and member.crash is None:
                with contextlib.suppress(AssertionError, AttributeError):
                    paused += not member.driver.is_storing
                    stages[member.driver.progress.stage.value] += 1
                    not_through += member.driver.reporting.not_through_since is not None
        finished = sum(m.outcome is not None or m.crash is not None for m in self.members)
        started = sum(m.driver is not None for m in self.members)
        return FleetProgress(
            len(self.members), started, finished, dict(stages), not_through, paused
        )

    async def run(self) -> None:
        """Enroll all devices.

        Raises:
            JournalUnreadable: the journal can't be used.
        """
        journal = open_fleet_journal(self._plan.journal)
        try:
            verifier = build_verifier(self._plan.trusted_keys)
            folder = self._plan.journal.parent / "logs"
            archive = build_fleet_archive(folder, journal, self._plan.speed)
            async with asyncio.TaskGroup() as tasks:
                for place, device in enumerate(_by_start(self._plan.devices)):
                    member = FleetDevice(device, GroundTruth())
                    self.members.append(member)
                    tasks.create_task(
                        self._enroll(member, place, journal, verifier, archive),
                        name=f"device {device.id}",
                    )
        finally:
            journal.close()

    async def _enroll(
        self,
        member: FleetDevice,
        place: int,
        journal: Journal,
        verifier: Verifier,
        archive: LogArchive,
    ) -> None:
        plan = self._plan
        starts_in_s = member.device.starts_at_ms / 1000 / plan.speed - plan.elapsed_s
        delay_s = max(starts_in_s, place / STARTS_PER_SECOND)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), delay_s)
            return
        driver = self._driver(member, journal, verifier, archive)
        member.driver = driver
        running = asyncio.create_task(driver.run(), name=f"driver {member.device.id}")
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not running.done():
                driver.stop()
                await asyncio.wait({running}, timeout=STOP_S)
        finally:
            stopping.cancel()
            running.cancel()
        try:
            member.outcome = await running
        except asyncio.CancelledError:
            member.crash = "did not end in time when the fleet was stopped"
        except Exception as error:  # noqa: BLE001 - one broken device must not end the fleet; the summary tells.
            member.crash = f"{type(error).__name__}: {error}"

    def _driver(
        self, member: FleetDevice, journal: Journal, verifier: Verifier, archive: LogArchive
    ) -> Driver:
        plan, facts = self._plan, member.device.facts
        record = None if plan.records is None else plan.records / f"{facts.device}.json"
        endpoint = FleetEndpoint(plan.rollout, member.device, record=record)
        member.truth = endpoint.truth
        options = DriverOptions(
            device=facts.device,
            tenant=plan.tenant,
            agent_version=facts.agent_version,
            limits=plan.rollout.limits,
            broker=str(plan.broker),
            goodbye_ms=GOODBYE_MS,
        )
        return Driver(
            options,
            endpoint,
            journal,
            DeviceClock(plan.speed, wall=plan.wall),
            verifier,
            build_transport(plan.broker, plan.identities.get(facts.device)),
            archive=archive,
            steady=SteadyClock(wall=plan.wall).now_ms,
        )


def _by_start(devices: Sequence[SimulatedDevice]) -> list[SimulatedDevice]:
    return sorted(devices, key=lambda device: (device.starts_at_ms, device.index))


async def clear_retained(
    broker: BrokerAddress, tenant: str, devices: Sequence[SimulatedDevice]
) -> None:
    """Take back what a run's own tenant left on a broker that outlives it.

    Raises:
        TransportLost, TransportRefused: the broker did not take it.
    """
    topics = [
        str(device_topic(tenant, device.id, channel))
        for device in devices
        for channel in sorted(RETAINED - {Channel.COMMAND})
    ]
    topics += [str(collector_topic(tenant, partition)) for partition in PARTITIONS]
    async with build_transport(broker).connect(f"esp-sim-{tenant}", None) as connection:
        for first in range(0, len(topics), 100):
            await asyncio.gather(
                *(connection.publish(t, b"", retain=True) for t in topics[first : first + 100])
            )


Report = Callable[[FleetProgress], None]
REFUSED: Final = (TransportLost, TransportRefused)
