"""A broker's directory: made once with tight modes, and given one device's credentials at a time."""

from __future__ import annotations

import fcntl
import os
import pwd
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from pydantic import BaseModel, TypeAdapter, ValidationError

from agent.wire.base import DeviceId
from agent.wire.identity import Identity, ServiceIdentity, TrustedKey, key_id
from broker_config.access import SERVICE_USERS, Role, mosquitto_acl, mosquitto_development_acl
from broker_config.mosquitto import Paths, render
from broker_config.passwords import hashed, new_password, users
from broker_config.problems import BrokerProblem
from broker_config.settings import BrokerSettings

_DEVICE_ID: TypeAdapter[str] = TypeAdapter(DeviceId)
M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Deployment:
    """Where everything of one broker lies."""

    directory: Path

    @property
    def settings_file(self) -> Path:
        """What the operator decided."""
        return self.directory / "broker.json"

    @property
    def configuration(self) -> Path:
        """What Mosquitto reads."""
        return self.directory / "mosquitto.conf"

    @property
    def access(self) -> Path:
        """The access rules."""
        return self.directory / "acl"

    @property
    def passwords(self) -> Path:
        """Hashes of all accounts' passwords."""
        return self.directory / "passwords"

    @property
    def data(self) -> Path:
        """Where Mosquitto keeps retained messages."""
        return self.directory / "data"

    @property
    def identities(self) -> Path:
        """The accounts of collector and help desk, and below it those of devices."""
        return self.directory / "identities"

    @property
    def devices(self) -> Path:
        """One identity file for each device."""
        return self.identities / "devices"

    def service_identity(self, role: Role) -> Path:
        """The account of a role that is no device."""
        return self.identities / f"{role.value.replace('_', '-')}.json"

    def device_identity(self, device: str) -> Path:
        """The identity file of a device."""
        return self.devices / f"{device}.json"

    def settings(self) -> BrokerSettings:
        """What the operator decided. Raises `BrokerProblem`."""
        if not self.settings_file.exists():
            raise BrokerProblem(
                f"{self.directory} holds no broker; make one with: esp-broker init {self.directory}"
            )
        return _read(BrokerSettings, self.settings_file)


def init(directory: Path, wanted: Mapping[str, Any]) -> list[Path]:
    """Make what is missing in a broker's directory, and say what was made.

    `wanted` holds the settings that the operator named; for those left out the directory's own, or the
    defaults, hold.

    Raises:
        BrokerProblem: another broker is there, the settings contradict each other, or the disk refuses.
    """
    deployment = Deployment(directory.absolute())
    with _operating_failures(directory):
        is_new = not deployment.settings_file.exists()
        settings = _checked(wanted) if is_new else _same(deployment, wanted)
        if is_new:
            _claim(deployment.directory)
        with _locked(deployment):
            return _make_missing(deployment, settings)


def issue_device(
    directory: Path, device: str, trusted: Sequence[TrustedKey] | None
) -> tuple[Path, bool]:
    """Give a device its identity file, and say whether its account is new.

    An account that exists keeps its password; the keys to trust are replaced when `trusted` is given.

    Raises:
        BrokerProblem: the name is no device id, there is no broker here, or the disk refuses.
    """
    try:
        _DEVICE_ID.validate_python(device)
    except ValidationError:
        raise BrokerProblem(
            f"'{device}' is no device id; use at most 64 letters, digits, dots, hyphens and underscores, "
            "beginning and ending with a letter or digit"
        ) from None
    deployment = Deployment(directory.absolute())
    settings = deployment.settings()
    with _operating_failures(directory), _locked(deployment):
        path = deployment.device_identity(device)
        is_new = not path.exists()
        kept = _new_identity(settings, device) if is_new else _read(Identity, path)
        identity = (
            kept if trusted is None else kept.model_copy(update={"trusted_keys": tuple(trusted)})
        )
        if identity != kept or is_new:
            _write(path, _as_json(identity))
        _grant(deployment, identity.username, identity.password)
        return path, is_new


def trusted_key(path: Path) -> TrustedKey:
    """Read a collector's public key. Raises `BrokerProblem` when it is no Ed25519 public key in PEM form."""
    try:
        pem = path.read_text()
        key = load_pem_public_key(pem.encode())
    except OSError as error:
        raise BrokerProblem(f"cannot read the key {path}: {error.strerror}") from error
    except (ValueError, UnsupportedAlgorithm):
        raise BrokerProblem(_no_key(path)) from None
    if not isinstance(key, Ed25519PublicKey):
        raise BrokerProblem(_no_key(path))
    return TrustedKey(kid=key_id(key.public_bytes_raw()), public_key=pem)


def _no_key(path: Path) -> str:
    return (
        f"{path} is no Ed25519 public key in PEM form; name the collector's public key, "
        "which is keys/public.pem in its data directory"
    )


def _checked(wanted: Mapping[str, Any]) -> BrokerSettings:
    try:
        values = dict(wanted)
        if "port" in values:
            values.setdefault("service_port", values["port"] + 1)
        return BrokerSettings.model_validate(values)
    except ValidationError as error:
        raise BrokerProblem(_first_sentence(error)) from None


def _same(deployment: Deployment, wanted: Mapping[str, Any]) -> BrokerSettings:
    settings = deployment.settings()
    for key, value in wanted.items():
        if (kept := getattr(settings, key)) != value:
            raise BrokerProblem(
                f"{deployment.settings_file}: {key} is {kept!r} here and not {value!r}; "
                f"leave --{key.replace('_', '-')} out, or make another broker in another directory"
            )
    return settings


def _claim(directory: Path) -> None:
    """Take an empty or missing directory; one with other content is somebody else's."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    if any(entry.name != ".lock" for entry in directory.iterdir()):
        raise BrokerProblem(
            f"{directory} is not empty and holds no broker; choose an empty directory"
        )
    directory.chmod(0o700)


def _make_missing(deployment: Deployment, settings: BrokerSettings) -> list[Path]:
    # The settings come first, so that an init that was cut off is finished by the next one.
    made = _make_file(deployment.settings_file, _as_json(settings))
    for folder in (deployment.data, deployment.identities, deployment.devices):
        made += _make_folder(folder)
    if not settings.development:
        made += _make_service_accounts(deployment, settings)
    paths = Paths(access=deployment.access, passwords=deployment.passwords, data=deployment.data)
    access = mosquitto_development_acl() if settings.development else mosquitto_acl(settings.tenant)
    made += _make_file(deployment.access, access)
    made += _make_file(deployment.configuration, render(settings, paths, _account()))
    return made


def _make_service_accounts(deployment: Deployment, settings: BrokerSettings) -> Iterator[Path]:
    for role, user in SERVICE_USERS.items():
        path = deployment.service_identity(role)
        yield from _make_file(path, _as_json(_new_service(settings, role, user)))
        identity = _read(ServiceIdentity, path)
        _grant(deployment, identity.username, identity.password)


def _new_service(settings: BrokerSettings, role: Role, user: str) -> ServiceIdentity:
    return ServiceIdentity(
        role="collector" if role is Role.COLLECTOR else "help_desk",
        tenant=settings.tenant,
        broker=settings.service_url,
        username=user,
        password=new_password(),
    )


def _new_identity(settings: BrokerSettings, device: str) -> Identity:
    """A development broker asks nobody for a password, so there the file holds none."""
    return Identity(
        tenant=settings.tenant,
        device=device,
        broker=settings.url,
        username=None if settings.development else device,
        password=None if settings.development else new_password(),
    )


def _grant(deployment: Deployment, user: str | None, password: str | None) -> None:
    """Put an account into the password file, unless it is there."""
    if user is None or password is None:
        return
    kept = deployment.passwords.read_text() if deployment.passwords.exists() else ""
    if user not in users(kept):
        _write(deployment.passwords, f"{kept}{user}:{hashed(password)}\n")


def _make_folder(path: Path) -> list[Path]:
    if path.is_dir():
        return []
    path.mkdir(mode=0o700)
    return [path]


def _make_file(path: Path, content: str) -> list[Path]:
    if path.exists():
        return []
    _write(path, content)
    return [path]


def _write(path: Path, content: str) -> None:
    """Put a file in place whole, readable by its owner only; a reader sees the old content or the new."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _read(model: type[M], path: Path) -> M:
    try:
        return model.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise BrokerProblem(f"{path}: {_first_sentence(error)}; restore the file") from None


def _as_json(model: BaseModel) -> str:
    return model.model_dump_json(indent=2, by_alias=True, exclude_none=True) + "\n"


def _first_sentence(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    text = first["msg"].removeprefix("Value error, ")
    return f"{where}: {text}" if where else text


def _account() -> str | None:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return None


@contextmanager
def _locked(deployment: Deployment) -> Iterator[None]:
    """Two commands at once must not lose each other's account."""
    with (deployment.directory / ".lock").open("a") as lock:
        os.fchmod(lock.fileno(), 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def _operating_failures(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BrokerProblem(
            f"cannot write {error.filename or directory}: {error.strerror}; "
            "name a directory that this account may write"
        ) from error
