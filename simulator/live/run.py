"""One live run from start to summary: broker, collector, fleet, audit, and the broom afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
)

from agent.assembly import BadInput, load_identity, parse_broker
from agent.wire.identity import Identity, TrustedKey, key_id
from simulator.live.audit import audit
from simulator.live.fleet import REFUSED, Fleet, FleetPlan, FleetProgress, clear_retained
from simulator.live.processes import running
from simulator.live.summary import Summary
from simulator.population import SimulatedDevice, fleet
from simulator.rollout import Rollout, collector_setup
from simulator.scenario import Scenario

EMBEDDED_DEVICES_MAX: Final = 200
"""Above this Mosquitto is used where it is installed: the embedded broker is made for demonstrations."""
PROGRESS_S: Final = 2.0
CLEAR_S: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveOptions:
    """What `esp-sim run` was asked for; None starts one of its own, or takes the scenario's value."""

    scenario: Scenario
    devices: int
    seed: int
    speed: float
    broker: str | None = None
    collector: str | None = None
    token_file: Path | None = None
    trust: Path | None = None
    """The public key of a collector that runs already."""
    identities: Path | None = None
    """The `identities` folder of a broker that asks devices to sign in."""
    tenant: str | None = None
    data: Path | None = None
    limit_s: float | None = None


@dataclass(frozen=True, slots=True)
class Address:
    """Where the running collector answers."""

    url: str
    token_file: Path

    @property
    def token(self) -> str:
        """What opens its API."""
        try:
            return self.token_file.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            raise BadInput(
                f"--token-file {self.token_file}: can't be read; name the file DATA/token of the collector"
            ) from None


Show = Callable[[Address, asyncio.Event], contextlib.AbstractAsyncContextManager[None]]
"""Shows the run to a person while the block runs; the event is set once the fleet is through."""
Tell = Callable[[float, FleetProgress], None]
"""Told every other second how far the fleet is, with the seconds since its start."""


class LiveRun:
    """A live run; `stop` ends it early, with the summary of what there is."""

    def __init__(self, options: LiveOptions) -> None:
        self._options = options
        self.fleet: Fleet | None = None
        self._stopped = asyncio.Event()

    def stop(self) -> None:
        """End soon."""
        self._stopped.set()
        if self.fleet is not None:
            self.fleet.stop()

    async def run(self, show: Show, tell: Tell) -> Summary:
        """Run it.

        Raises:
            BadInput: an option can't be used.
            NotStarted: broker or collector did not come up.
            JournalUnreadable: the journal can't be used.
        """
        data = self._options.data
        folder = Path(tempfile.mkdtemp(prefix="esp-sim-")) if data is None else data
        summary = await self._in(folder, show, tell)
        if data is None and summary.is_good:
            shutil.rmtree(folder, ignore_errors=True)
        elif data is None:
            print(f"esp-sim: journal, store and logs are in {folder}", file=sys.stderr)  # noqa: T201
        return summary

    async def _in(self, folder: Path, show: Show, tell: Tell) -> Summary:
        options = self._options
        rollout = Rollout(options.scenario)
        devices = list(fleet(options.scenario, options.seed, options.devices))
        identities = _identities(options.identities, devices)
        tenant = _tenant(options, identities)
        journal = _new_journal(folder)
        async with contextlib.AsyncExitStack() as stack:
            broker = await stack.enter_async_context(self._broker(folder))
            if options.broker is not None and options.collector is None:
                # Registered before the collector, so that it runs once that has said its last word.
                stack.push_async_callback(clear, broker, tenant, devices)
            collector = await stack.enter_async_context(
                self._collector(folder, broker, tenant, rollout, devices)
            )
            trusted = trusted_key(options.trust or folder / "collector" / "keys" / "public.pem")
            self.fleet = Fleet(
                FleetPlan(
                    rollout=rollout,
                    devices=devices,
                    broker=parse_broker(broker),
                    tenant=tenant,
                    trusted_keys=(trusted,),
                    journal=journal,
                    speed=options.speed,
                    identities=identities,
                )
            )
            began = time.monotonic()
            await self._enroll(self.fleet, collector, show, tell)
            members = self.fleet.members
            return await audit(
                members, [journal], collector.url, collector.token, time.monotonic() - began
            )

    async def _enroll(
        self, running_fleet: Fleet, collector: Address, show: Show, tell: Tell
    ) -> None:
        if self._stopped.is_set():
            running_fleet.stop()
        through = asyncio.Event()
        ticking = asyncio.create_task(_tick(running_fleet, tell), name="progress")
        try:
            async with show(collector, through):
                limit = asyncio.get_running_loop()
                handle = None
                if self._options.limit_s is not None:
                    handle = limit.call_later(self._options.limit_s, running_fleet.stop)
                await running_fleet.run()
                if handle is not None:
                    handle.cancel()
                ticking.cancel()
                through.set()
        finally:
            ticking.cancel()

    @contextlib.asynccontextmanager
    async def _broker(self, folder: Path) -> AsyncIterator[str]:
        if self._options.broker is not None:
            parse_broker(self._options.broker)
            yield self._options.broker
            return
        embedded = ["--embedded"] if self._options.devices <= EMBEDDED_DEVICES_MAX else []
        arguments = ["broker_config", "run", "--port", "0", *embedded]
        async with running("broker", arguments, folder / "broker.log") as url:
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
        async with running("collector", arguments, folder / "collector.log") as url:
            yield Address(url, home / "token")


async def _tick(running_fleet: Fleet, tell: Tell) -> None:
    began = time.monotonic()
    while True:
        await asyncio.sleep(PROGRESS_S)
        tell(time.monotonic() - began, running_fleet.progress)


async def clear(broker: str, tenant: str, devices: Sequence[SimulatedDevice]) -> None:
    """Take back what a run's own tenant left on the broker, if it can be done soon."""
    # A broker that is gone, or forbids it, keeps what it has; the run's result does not depend on it.
    with contextlib.suppress(*REFUSED, TimeoutError):
        async with asyncio.timeout(CLEAR_S):
            await clear_retained(parse_broker(broker), tenant, devices)


def _new_journal(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"--data {folder}: can't be made ({error.strerror}); name another") from None
    journal = folder / "fleet.journal.sqlite3"
    if journal.exists():
        raise BadInput(f"--data {folder}: holds an earlier run; name an empty folder")
    return journal


def _tenant(options: LiveOptions, identities: dict[str, Identity]) -> str:
    if options.tenant is not None:
        return options.tenant
    if identities:
        return next(iter(identities.values())).tenant
    # A tenant of its own, so that nothing of another run is taken for this one's.
    return "default" if options.collector is not None else f"sim-{secrets.token_hex(4)}"


def _identities(folder: Path | None, devices: list[SimulatedDevice]) -> dict[str, Identity]:
    if folder is None:
        return {}
    found = {}
    for device in devices:
        path = folder / "devices" / f"{device.id}.json"
        if not path.exists():
            raise BadInput(
                f"--identities {folder}: has no account for {device.id}; "
                f"make it with: esp-broker device {device.id} --dir {folder.parent}"
            )
        found[device.id] = load_identity(path)
    return found


def trusted_key(path: Path) -> TrustedKey:
    """The key of the collector's file DATA/keys/public.pem. Raises `BadInput`."""
    try:
        pem = path.read_bytes()
        key = load_pem_public_key(pem)
    except (OSError, ValueError):
        raise BadInput(
            f"--trust {path}: can't be read as a public key; name the file DATA/keys/public.pem of the collector"
        ) from None
    if not isinstance(key, Ed25519PublicKey):
        raise BadInput(f"--trust {path}: is no Ed25519 key; name the collector's")
    raw = key.public_bytes(Encoding.Raw, PublicFormat.Raw)
    return TrustedKey(kid=key_id(raw), public_key=pem.decode("ascii"))
