"""Runs the real agent for every device of a fleet in one process: one connection each, one journal for all."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from agent.assembly import (
    FleetJournal,
    build_fleet_archive,
    build_tls,
    build_transport,
    build_verifier,
    open_fleet_journal,
)
from agent.core.blueprints import PLANS_MAX, SharedBlueprints
from agent.core.events import DeviceFacts
from agent.core.plan import Plan
from agent.mqtt_transport import BrokerAddress, MqttTransport, SpokenVersion
from agent.runtime.clock import DeviceClock, SteadyClock
from agent.runtime.driver import Driver, DriverOptions, Outcome
from agent.runtime.ports import Journal, LogArchive, TransportLost, TransportRefused, Verifier
from agent.wire.assignment import Admitted
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
from simulator.live.meter import Meter
from simulator.live.shared_lines import SharedLines
from simulator.population import SimulatedDevice
from simulator.rollout import Rollout

STARTS_PER_SECOND: Final = 200
"""Connections opened at most: a broker takes them one after another anyway."""
GOODBYE_MS: Final = 800
WAKES_EVERY_MS: Final = 5
"""A quarter of what the journal of a fleet gathers for: all that is due in a second wakes agents in 200 turns at most."""


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
    identities_folder: Path = Path()
    """Where the files are that the identities name."""
    starts_per_second: float = STARTS_PER_SECOND
    """Connections opened at most, however many devices are due."""
    meter: Meter = field(default_factory=Meter)
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

    @property
    def is_over(self) -> bool:
        """Its agent has ended, well or not."""
        return self.outcome is not None or self.crash is not None


class FleetBlueprints(SharedBlueprints):
    """Shares what follows from assignments that say the same, though each device reads one of its own."""

    __slots__ = ("_decisions",)

    def __init__(self) -> None:
        super().__init__()
        self._decisions: dict[str, Admitted] = {}

    def plan(self, facts: DeviceFacts, admitted: Admitted) -> Plan:
        """A plan that differs from a neighbour's in its user only."""
        said = admitted.model_dump_json(exclude={"user"})
        if len(self._decisions) == PLANS_MAX:
            self._decisions.clear()
        known = self._decisions.setdefault(said, admitted)
        return super().plan(facts, known.model_copy(update={"user": admitted.user}))


class Fleet:
    """A live fleet. Build it, `run` it once; `stop` ends it early."""

    def __init__(self, plan: FleetPlan) -> None:
        self._plan = plan
        self.members: list[FleetDevice] = []
        self.over: list[FleetDevice] = []
        """Those whose agent has ended, in this order."""
        self._stopping = asyncio.Event()
        self._lines: SharedLines
        self._journal: FleetJournal | None = None
        self._spoken = SpokenVersion()
        self._blueprints = FleetBlueprints()
        self._tls: dict[tuple[str | None, ...], ssl.SSLContext] = {}

    def stop(self) -> None:
        """End soon, however far the devices are; each agent says goodbye."""
        self._stopping.set()
        for member in self.members:
            if member.driver is not None:
                member.driver.stop()

    async def leave(self, within_s: float) -> None:
        """Let one agent after another say goodbye, as many as there is time for; nobody new starts."""
        self._stopping.set()
        until_s = time.monotonic() + within_s
        for member in self.members:
            if time.monotonic() >= until_s:
                return
            if member.driver is not None and not member.is_over:
                member.driver.stop()
                await asyncio.sleep(0)

    def freeze(self) -> None:
        """Close the journal under the agents, so that nothing changes any more. For a process that ends at once."""
        if self._journal is not None:
            self._journal.close()

    @property
    def journal(self) -> FleetJournal | None:
        """The journal of all devices, once it is open."""
        return self._journal

    async def run(self) -> None:
        """Enroll all devices.

        Raises:
            JournalUnreadable: the journal can't be used.
        """
        plan = self._plan
        journal = self._journal = open_fleet_journal(plan.journal)
        self._lines = SharedLines(plan.devices, plan.speed, plan.elapsed_s)
        self.members += [FleetDevice(d, GroundTruth()) for d in _by_start(plan.devices)]
        try:
            verifier = build_verifier(plan.trusted_keys)
            archive = build_fleet_archive(plan.journal.parent / "logs", journal, plan.speed)
            began_s = time.monotonic()
            async with asyncio.TaskGroup() as tasks:
                for place, member in enumerate(self.members):
                    starts_s = member.device.starts_at_ms / 1000 / plan.speed - plan.elapsed_s
                    due_s = began_s + max(starts_s, place / plan.starts_per_second)
                    if await self._is_stopped_before(due_s):
                        break
                    tasks.create_task(
                        self._enroll(member, journal, verifier, archive),
                        name=f"device {member.device.id}",
                    )
        finally:
            self._lines.close()
            journal.close()

    async def _is_stopped_before(self, due_s: float) -> bool:
        """Wait for the next start; True when the fleet is stopped first."""
        delay_s = due_s - time.monotonic()
        if delay_s > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), delay_s)
        return self._stopping.is_set()

    async def _enroll(
        self, member: FleetDevice, journal: Journal, verifier: Verifier, archive: LogArchive
    ) -> None:
        if self._stopping.is_set():
            return
        driver = member.driver = self._driver(member, journal, verifier, archive)
        try:
            member.outcome = await driver.run()
        except Exception as error:  # noqa: BLE001 - one broken device must not end the fleet; the summary tells.
            member.crash = f"{type(error).__name__}: {error}"
        self.over.append(member)

    def _driver(
        self, member: FleetDevice, journal: Journal, verifier: Verifier, archive: LogArchive
    ) -> Driver:
        plan, facts = self._plan, member.device.facts
        record = None if plan.records is None else plan.records / f"{facts.device}.json"
        line = self._lines.end(member.device)
        endpoint = FleetEndpoint(plan.rollout, member.device, record=record, line=line)
        member.truth = endpoint.truth
        options = DriverOptions(
            device=facts.device,
            tenant=plan.tenant,
            agent_version=facts.agent_version,
            limits=plan.rollout.limits,
            broker=str(plan.broker),
            goodbye_ms=GOODBYE_MS,
            wakes_every_ms=WAKES_EVERY_MS,
        )
        clock = DeviceClock(plan.speed, wall=plan.wall)
        return Driver(
            options,
            endpoint,
            plan.meter.journal(facts.device, journal, clock, plan.speed),
            clock,
            verifier,
            plan.meter.transport(facts.device, self._transport(facts.device)),
            archive=archive,
            steady=SteadyClock(wall=plan.wall).now_ms,
            blueprints=self._blueprints,
        )

    def _transport(self, device: str) -> MqttTransport:
        """One version and one TLS context for all devices that sign in with the same files."""
        plan = self._plan
        identity = plan.identities.get(device)
        tls = self._tls_of(identity) if plan.broker.tls else None
        return build_transport(plan.broker, identity, tls=tls, spoken=self._spoken)

    def _tls_of(self, identity: Identity | None) -> ssl.SSLContext:
        files = (
            ()
            if identity is None
            else (identity.ca_file, identity.certificate_file, identity.key_file)
        )
        if files not in self._tls:
            self._tls[files] = build_tls(identity, self._plan.identities_folder / "device.json")
        return self._tls[files]


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


REFUSED: Final = (TransportLost, TransportRefused)
