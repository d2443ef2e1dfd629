"""Assembly: builds an agent from its parts; the one module of the agent that knows all of them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import ssl
import stat
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from agent.core.batch import Entry
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
from agent.screen.ports import IntentRefused
from agent.settings import VERSION
from agent.signatures import IdentityRefused, JwsVerifier, read_account, read_identity
from agent.wire.assignment import Admitted, Assignment, Refused
from agent.wire.base import DeviceId
from agent.wire.identity import Identity, ServiceIdentity, TrustedKey
from agent.wire.profile import EspProfile
from agent.wire.progress import Progress, Reporting
from agent.wire.vocabulary import Choice, EnrollmentType, Gate, PersonAction, Variant

ENDPOINT_GROUP: Final = "enrollment.endpoints"
DEFAULT_TENANT: Final = "default"
LOCKED_STAY_S: Final = 60.0
"""How long the page of a device that ended locked can be read before the agent ends."""
FILE_BYTES_MAX: Final = 4 * 1024 * 1024

_Model = TypeVar("_Model", bound=BaseModel)


class BadInput(Exception):
    """Something that was given can't be used: one sentence with file, key and remedy."""


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


def parse_broker(url: str) -> BrokerAddress:
    """A broker's address. Raises `BadInput`."""
    try:
        return BrokerAddress.parse(url)
    except ValueError as error:
        raise BadInput(f"--broker: {error}") from None


def load_identity(path: Path) -> Identity:
    """An identity file. Raises `BadInput`."""
    try:
        return read_identity(path)
    except IdentityRefused as error:
        raise BadInput(str(error)) from None


def load_watching_account(path: Path) -> Identity | ServiceIdentity:
    """The identity file of somebody who may look at devices.

    Raises:
        BadInput: it can't be used, or is the account of a device, for which the broker's rules keep all screens back.
    """
    try:
        account = read_account(path)
    except IdentityRefused as error:
        raise BadInput(str(error)) from None
    if isinstance(account, Identity) and (account.username or account.certificate_file):
        raise BadInput(
            f"{path}: this is the account of the device '{account.device}', and devices may not read screens; "
            "name the help desk's file, which `esp-broker init` wrote as identities/help-desk.json"
        )
    return account


def check_device(device: str) -> str:
    """A device id. Raises `BadInput`."""
    try:
        return _DEVICE.validate_python(device)
    except ValidationError:
        raise BadInput(
            f"--device '{device[:80]}': no device id; use at most 64 letters, digits, dots, hyphens and "
            "underscores, beginning and ending with a letter or digit"
        ) from None


_DEVICE: TypeAdapter[str] = TypeAdapter(DeviceId)


@dataclass(frozen=True, slots=True)
class LocalAssignment:
    """An assignment from a file: the decision, and the device it names, if it names one."""

    decision: Admitted | Refused
    device: str | None


def load_assignment(path: Path) -> LocalAssignment:
    """Read an `Assignment`, or just its `decision`, from a JSON file.

    Raises:
        BadInput: one sentence with file, key and remedy.
    """
    content = _read_json(path, "assignment")
    if "decision" in content:
        whole = _validated(Assignment, content, path)
        return LocalAssignment(whole.decision, whole.device)
    if content.get("outcome") == "refused":
        return LocalAssignment(_validated(Refused, content, path), None)
    return LocalAssignment(_validated(Admitted, content, path), None)


def load_profile(path: Path) -> EspProfile:
    """Read an ESP profile from a JSON file. Raises `BadInput`."""
    return _validated(EspProfile, _read_json(path, "profile"), path)


def _read_json(path: Path, what: str) -> dict[str, Any]:
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise BadInput(f"{path}: larger than {FILE_BYTES_MAX} bytes; name an {what} file")
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise BadInput(
            f"{path}: cannot be read ({error.strerror}); name a JSON file with the {what}"
        ) from error
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{path}: not JSON ({error}); correct it there") from None
    if not isinstance(content, dict):
        raise BadInput(
            f"{path}: holds a {type(content).__name__}; put the {what} as one JSON object"
        )
    return content


def _validated(model: type[_Model], content: dict[str, Any], path: Path) -> _Model:
    try:
        # As JSON again, because JSON input may be a list where Python input has to be a tuple.
        return model.model_validate_json(json.dumps(content), extra="forbid")
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise BadInput(f"{path}: {_sentence(model, first)}") from None


def _sentence(model: type[BaseModel], error: Any) -> str:
    # The name of a union's member is in the location, though it is no key of the file.
    keys = [str(part) for part in error["loc"] if part not in ("admitted", "refused")]
    where = ".".join(keys) or "the file"
    if error["type"] == "extra_forbidden":
        known = ", ".join(sorted(f.alias or n for n, f in model.model_fields.items()))
        hint = f"; known here: {known}" if len(keys) == 1 else ""
        return f"{where}: no such key; remove it or correct its name{hint}"
    if error["type"] == "missing":
        return f"{where}: is missing; add it"
    message = error["msg"].removeprefix("Value error, ")
    return f"{where}: {message}; correct it there"


class DriverSource:
    """The driver as the screen wants it: refusals are sentences that it can show."""

    def __init__(
        self,
        driver: Driver,
        *,
        emergency_exit_allowed: bool,
        stays_open: bool = False,
        locked_stay_s: float = LOCKED_STAY_S,
    ) -> None:
        self._driver = driver
        self._emergency_exit_allowed = emergency_exit_allowed
        self._stays_open = stays_open
        self._locked_stay_s = locked_stay_s

    @property
    def emergency_exit_allowed(self) -> bool:
        """Off unless the agent was started with it."""
        return self._emergency_exit_allowed

    @property
    def can_act(self) -> bool:
        """The person at the device may act."""
        return True

    async def snapshots(self) -> AsyncIterator[tuple[Progress, Reporting]]:
        """What to draw.

        A page that `stays_open` can be read after the end: on an open device until the person closes it, on a locked
        one, which no key leaves, for a minute. Where nothing was ever shown there is nothing to read.
        """
        is_open: bool | None = None
        async for progress, reporting in self._driver.snapshots():
            is_open = progress.gate is not Gate.LOCKED
            yield progress, reporting
        if self._stays_open and is_open is not None:
            with contextlib.suppress(TimeoutError):
                limit_s = None if is_open else self._locked_stay_s
                await asyncio.wait_for(self._driver.stop_wanted(), limit_s)

    async def person_acted(self, item: str, action: PersonAction) -> None:
        """The person answered a person screen."""
        _raise_if(await self._driver.person_acted(item, action))

    async def person_chose(self, choice: Choice, item: str | None) -> None:
        """The person made a choice."""
        _raise_if(await self._driver.person_chose(choice, item))

    async def emergency_exit(self) -> None:
        """The person used the emergency exit."""
        if not self._emergency_exit_allowed:
            raise IntentRefused("The emergency exit is switched off on this device.")
        _raise_if(await self._driver.emergency_exit())


def _raise_if(refusal: str | None) -> None:
    if refusal is not None:
        raise IntentRefused(f"Not possible now: {refusal}.")


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


class WatcherSource:
    """Another device as the screen wants it: to look at, and nothing else."""

    emergency_exit_allowed = False
    can_act = False

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher

    def snapshots(self) -> AsyncIterator[tuple[Progress, Reporting]]:
        """What to draw."""
        return self._watcher.snapshots()

    async def person_acted(self, item: str, action: PersonAction) -> None:
        """Not from here."""
        raise IntentRefused(f"Only the person at the device can answer '{item}' ({action.label}).")

    async def person_chose(self, choice: Choice, item: str | None) -> None:
        """Not from here."""
        what = choice.label if item is None else f"{choice.label} ({item})"
        raise IntentRefused(f"'{what}' can't be chosen from here; send the device a command.")

    async def emergency_exit(self) -> None:
        """Not from here."""
        raise IntentRefused("The emergency exit works at the device only.")
