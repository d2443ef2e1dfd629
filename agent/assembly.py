"""Assembly: builds an agent from its parts; the one module of the agent that knows all of them."""

from __future__ import annotations

import os
import ssl
import stat
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Final

from agent.core.batch import Entry
from agent.given import BadInput
from agent.journal import (
    ReportRow,
    SqliteJournal,
    iterate_entries,
    iterate_reports,
    open_journal,
)
from agent.log_archive import ZipLogArchive
from agent.mqtt_transport import BrokerAddress, MqttTransport, SpokenVersion, tls_context
from agent.runtime.clock import DeviceClock
from agent.runtime.driver import Driver, DriverOptions
from agent.runtime.identifiers import new_id
from agent.runtime.ports import (
    Endpoint,
    LogArchive,
    Transport,
    Verifier,
)
from agent.runtime.watcher import Watcher
from agent.settings import VERSION
from agent.signatures import IdentityRefused, JwsVerifier
from agent.wire.assignment import Admitted, Refused
from agent.wire.identity import Identity, ServiceIdentity, TrustedKey
from agent.wire.vocabulary import EnrollmentType, Variant

ENDPOINT_GROUP: Final = "enrollment.endpoints"
DEFAULT_TENANT: Final = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointOptions:
    """What an endpoint is told when it is made. `speed` is device time per real time."""

    device: str
    enrollment_type: EnrollmentType
    variant: Variant = Variant.STANDARD
    user: str | None = None
    os_version: str | None = None
    """None lets the endpoint say what it finds."""
    agent_version: str = VERSION
    state_dir: Path
    """A folder of its own, for what the endpoint has to remember over a restart."""
    speed: float = 1.0
    seed: int = 0
    """Of a simulated endpoint: the same seed and device live the same life."""
    person: bool = False
    """Of a simulated endpoint: whether a simulated person answers the screens."""


EndpointFactory = Callable[[EndpointOptions], Endpoint]
"""What an entry point of the group `enrollment.endpoints` names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentPlan:
    """Everything decided about one agent, from flags, environment and files."""

    device: str
    enrollment_type: EnrollmentType
    variant: Variant = Variant.STANDARD
    user: str | None = None
    os_version: str | None = None
    tenant: str = DEFAULT_TENANT
    broker: BrokerAddress | None = None
    identity: Identity | None = None
    identity_file: Path | None = None
    decision: Admitted | Refused | None = None
    state_dir: Path
    endpoint: str = "simulated"
    speed: float = 1.0
    seed: int = 0
    keepalive_s: int = 60
    linger_ms: int | None = None
    exit_on_release: bool = False
    logs: Path | None = None
    """Where log archives are written; None means the folder `logs` beside the journal."""

    @property
    def journal_file(self) -> Path:
        """Where this device's journal is."""
        return journal_file(self.state_dir, self.device)

    @property
    def log_file(self) -> Path:
        """Where the agent's own log of this device is."""
        return self.state_dir / f"{self.device}.log"


@dataclass(frozen=True, slots=True)
class Agent:
    """An agent that is built and does not run yet; `close` it in the end."""

    driver: Driver
    journal: SqliteJournal

    def close(self) -> None:
        """Let the journal go."""
        self.journal.close()


def journal_file(state_dir: Path, device: str) -> Path:
    """The journal of one device in a state folder."""
    return state_dir / f"{device}.journal.sqlite3"


def build_agent(plan: AgentPlan) -> Agent:
    """Build one agent.

    Raises:
        BadInput: the endpoint, a certificate or a key can't be used.
        JournalUnreadable: the journal can't be used, or another agent uses it.
    """
    endpoint = build_endpoint(
        plan.endpoint,
        EndpointOptions(
            device=plan.device,
            enrollment_type=plan.enrollment_type,
            variant=plan.variant,
            user=plan.user,
            os_version=plan.os_version,
            state_dir=plan.state_dir,
            speed=plan.speed,
            seed=plan.seed,
        ),
    )
    transport = _transport(plan)
    verifier = JwsVerifier(plan.identity.trusted_keys if plan.identity else ())
    options = DriverOptions(
        device=plan.device,
        tenant=plan.tenant,
        agent_version=VERSION,
        broker=str(plan.broker) if plan.broker else "",
        decision=plan.decision,
        comes_back=True,
        exit_on_release=plan.exit_on_release,
        linger_ms=plan.linger_ms,
    )
    journal = open_journal(plan.journal_file)
    archive = ZipLogArchive(
        plan.logs or plan.state_dir / "logs",
        journal,
        settings=_told_settings(plan),
        log_file=plan.log_file,
        secrets=[plan.identity.password] if plan.identity and plan.identity.password else [],
    )
    clock = DeviceClock(plan.speed)
    driver = Driver(options, endpoint, journal, clock, verifier, transport, archive=archive)
    return Agent(driver, journal)


def _told_settings(plan: AgentPlan) -> dict[str, object]:
    """What a log archive tells of a plan: named one by one, so that nothing secret gets in by being added to it."""
    return {
        "endpoint": plan.endpoint,
        "enrollment_type": plan.enrollment_type,
        "variant": plan.variant,
        "tenant": plan.tenant,
        "broker": str(plan.broker) if plan.broker else None,
        "identity_file": str(plan.identity_file) if plan.identity_file else None,
        "trusted_keys": [key.kid for key in plan.identity.trusted_keys] if plan.identity else [],
        "assignment_from_file": plan.decision is not None,
        "state_dir": str(plan.state_dir),
        "speed": plan.speed,
        "seed": plan.seed,
        "keepalive_s": plan.keepalive_s,
        "linger_ms": plan.linger_ms,
        "exit_on_release": plan.exit_on_release,
    }


def build_endpoint(name: str, options: EndpointOptions) -> Endpoint:
    """Make the endpoint that is installed under this name.

    Raises:
        BadInput: none of this name is installed, or it can't be loaded here.
    """
    found: dict[str, EntryPoint] = {e.name: e for e in entry_points(group=ENDPOINT_GROUP)}
    if name not in found:
        known = ", ".join(sorted(found)) or "none"
        raise BadInput(
            f"--endpoint {name}: no such endpoint is installed (installed: {known}); "
            "install enrollment-agent[simulator] for the simulated one"
        )
    try:
        factory: EndpointFactory = found[name].load()
    except ImportError as error:
        raise BadInput(
            f"--endpoint {name}: is installed but can't be loaded ({error}); "
            "install enrollment-agent[simulator] for the simulated one"
        ) from error
    return factory(options)


def build_tls(
    identity: Identity | ServiceIdentity | None, identity_file: Path | None
) -> ssl.SSLContext:
    """The TLS context of an identity; one serves a whole fleet. Raises `BadInput`."""

    def resolved(name: str | None) -> Path | None:
        folder = identity_file.parent if identity_file is not None else Path()
        return None if name is None else folder / name

    try:
        match identity:
            case None:
                return tls_context(None)
            case Identity() | ServiceIdentity():
                key = resolved(identity.key_file)
                if key is not None:
                    _check_private(key)
                return tls_context(
                    resolved(identity.ca_file), resolved(identity.certificate_file), key
                )
    except ValueError as error:
        raise BadInput(str(error)) from error


def _check_private(key: Path) -> None:
    """Raises `BadInput` when other accounts may use the key of an identity."""
    try:
        mode = stat.S_IMODE(key.stat().st_mode)
    except OSError as error:
        raise BadInput(
            f"{key}: cannot be read ({error.strerror}); copy the whole folder that `esp-broker` wrote"
        ) from error
    if os.name == "posix" and mode & 0o077:
        raise BadInput(
            f"{key}: has mode {mode:04o}, so other accounts can use this key; "
            f"take their rights away with: chmod 600 {key}"
        )


def build_transport(
    address: BrokerAddress,
    identity: Identity | ServiceIdentity | None = None,
    *,
    tls: ssl.SSLContext | None = None,
    spoken: SpokenVersion | None = None,
    keepalive_s: int = 60,
) -> MqttTransport:
    """The transport of one client; a fleet shares `tls` and, for one broker, `spoken`."""
    return MqttTransport(
        address,
        username=identity.username if identity else None,
        password=identity.password if identity else None,
        tls=tls,
        spoken=spoken,
        keepalive_s=keepalive_s,
    )


def _transport(plan: AgentPlan) -> Transport | None:
    if plan.broker is None:
        return None
    tls = build_tls(plan.identity, plan.identity_file) if plan.broker.tls else None
    return build_transport(plan.broker, plan.identity, tls=tls, keepalive_s=plan.keepalive_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchPlan:
    """Everything decided about one look at another device."""

    device: str
    tenant: str
    broker: BrokerAddress
    account: Identity | ServiceIdentity | None = None
    account_file: Path | None = None


def build_watcher(plan: WatchPlan) -> Watcher:
    """What follows another device's screen. Raises `BadInput`."""
    tls = build_tls(plan.account, plan.account_file) if plan.broker.tls else None
    transport = build_transport(plan.broker, plan.account, tls=tls)
    # A name of its own: with the device's, the broker would end the device's connection.
    client_id = f"watch-{new_id()}"
    return Watcher(transport, client_id, plan.tenant, plan.device, str(plan.broker))


# What the devices of one process share, and what an audit of them reads.


FleetJournal = SqliteJournal


def open_fleet_journal(path: Path) -> FleetJournal:
    """One journal for many devices. Raises `JournalUnreadable`."""
    return open_journal(path)


def build_fleet_archive(folder: Path, journal: SqliteJournal, speed: float) -> LogArchive:
    """What writes the log archives of the devices that share a journal and a process."""
    return ZipLogArchive(folder, journal, settings={"endpoint": "simulated fleet", "speed": speed})


def build_verifier(keys: Sequence[TrustedKey]) -> Verifier:
    """What believes these keys. Raises `BadInput`."""
    try:
        return JwsVerifier(keys)
    except IdentityRefused as error:
        raise BadInput(str(error)) from None


def read_reports(path: Path) -> Iterator[ReportRow]:
    """Every report that a journal holds. Raises `JournalUnreadable`."""
    return iterate_reports(path)


def read_inputs(path: Path, kinds: Collection[str] = ()) -> Iterator[tuple[str, Entry]]:
    """Every input that a journal holds, with its device; of `kinds` only those. Raises `JournalUnreadable`."""
    return iterate_entries(path, kinds=kinds)
