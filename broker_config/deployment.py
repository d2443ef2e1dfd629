"""A broker's directory: made once with tight modes, and given one device's credentials at a time."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from pydantic import TypeAdapter, ValidationError

from agent.wire.base import DeviceId
from agent.wire.identity import Identity, ServiceIdentity, TrustedKey, key_id
from broker_config.access import SERVICE_USERS, Role, mosquitto_acl, mosquitto_development_acl
from broker_config.certificates import Tls, write_pair
from broker_config.files import (
    as_json,
    first_sentence,
    locked,
    make_file,
    make_folder,
    operating_failures,
    read,
    write,
)
from broker_config.mosquitto import Paths, render
from broker_config.problems import BrokerProblem
from broker_config.settings import DEVELOPMENT_PORT, BrokerSettings

_DEVICE_ID: TypeAdapter[str] = TypeAdapter(DeviceId)
RESERVED = "esp-collector-"
_END_OF_KEY = "-----END PUBLIC KEY-----"


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
    def denied(self) -> Path:
        """The names that may do nothing any more, one in a line."""
        return self.directory / "denied"

    @property
    def counts(self) -> Path:
        """What devices did that they may not, counted while `esp-broker run` runs."""
        return self.directory / "denials.json"

    @property
    def tls(self) -> Tls:
        """Authorities, the server's certificate, and what was taken back."""
        return Tls(self.directory / "tls")

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
        """One folder for each device."""
        return self.identities / "devices"

    def service_identity(self, role: Role) -> Path:
        """The account of a role that is no device; certificate and key lie beside it."""
        return self.identities / f"{role.value.replace('_', '-')}.json"

    def device_identity(self, device: str) -> Path:
        """The identity file of a device; all that goes to the device lies in the same folder."""
        return self.devices / device / "identity.json"

    @property
    def private_keys(self) -> list[Path]:
        """Of the authorities, the broker and the services."""
        return [*self.tls.folder.glob("*.key"), *self.identities.glob("*.key")]

    @property
    def watched(self) -> tuple[Path, ...]:
        """What a running broker has to read anew when it changes."""
        return (self.access, *self.tls.watched)

    def settings(self) -> BrokerSettings:
        """What the operator decided. Raises `BrokerProblem`."""
        if not self.settings_file.exists():
            raise BrokerProblem(
                f"{self.directory} holds no broker; make one with: esp-broker init {self.directory}"
            )
        return read(BrokerSettings, self.settings_file)


def init(directory: Path, wanted: Mapping[str, Any], *, renew: bool = False) -> list[Path]:
    """Make what is missing in a broker's directory, and say what was made.

    `wanted` holds the settings that the operator named; for those left out the directory's own, or the
    defaults, hold. With `renew` the certificates of the broker, the collector and the help desk are issued anew.

    Raises:
        BrokerProblem: another broker is there, the settings contradict each other, or the disk refuses.
    """
    deployment = Deployment(directory.absolute())
    with operating_failures(directory):
        is_new = not deployment.settings_file.exists()
        settings = checked(wanted) if is_new else _same(deployment, wanted)
        if is_new:
            _claim(deployment.directory)
        with locked(deployment.directory):
            made = _make_missing(deployment, settings)
            if renew and not is_new:
                made += _renew(deployment, settings)
            return made


def issue_device(
    directory: Path, device: str, trusted: Sequence[TrustedKey] | None, *, renew: bool = False
) -> tuple[Path, bool]:
    """Give a device its identity, and say whether it is new.

    A device that has one keeps its certificate, unless `renew` asks for another; the old one stays good until it ends
    or is revoked. The keys to trust are replaced when `trusted` is given.

    Raises:
        BrokerProblem: the name is no device id, there is no broker here, or the disk refuses.
    """
    _check_device_id(device)
    deployment = Deployment(directory.absolute())
    settings = deployment.settings()
    with operating_failures(directory), locked(deployment.directory):
        path = deployment.device_identity(device)
        is_new = not path.exists()
        make_folder(path.parent)
        if not settings.development and (is_new or renew):
            _issue_device_certificate(deployment, device)
        kept = _new_identity(settings, device) if is_new else read(Identity, path)
        identity = (
            kept if trusted is None else kept.model_copy(update={"trusted_keys": tuple(trusted)})
        )
        if identity != kept or is_new:
            write(path, as_json(identity))
        if is_new or renew:
            _deny(deployment, settings, device, wanted=False)
        return path, is_new


def revoke(directory: Path, name: str) -> int:
    """Take back all that was issued to a device, or to a service, and say how many certificates that were.

    A device may do nothing from the moment at which the broker reads its access rules anew, also on a connection that
    it has. A service gets new certificates at once.

    Raises:
        BrokerProblem: nobody of this name has a certificate, there is no broker here, or the disk refuses.
    """
    deployment = Deployment(directory.absolute())
    settings = deployment.settings()
    if settings.development:
        raise BrokerProblem(f"{directory} is a development broker, where nobody has a certificate")
    role = next((role for role, user in SERVICE_USERS.items() if user == name), None)
    with operating_failures(directory), locked(deployment.directory):
        tls = deployment.tls
        if role is not None:
            serial = _issue_service(deployment, settings, role)
            return tls.take_back(name, tls.servers_authority, keep=serial)
        taken = tls.take_back(name, tls.devices_authority)
        if not taken and name not in _denied(deployment):
            raise BrokerProblem(
                f"nobody here has a certificate as '{name}'; see {tls.issued} for all that have"
            )
        _deny(deployment, settings, name, wanted=True)
        identity = deployment.device_identity(name)
        for file in identity.parent.glob("*") if identity.parent.is_dir() else ():
            file.unlink()
        return taken


def deny(directory: Path, device: str, *, wanted: bool) -> None:
    """Let a device do nothing, or give it its rights back. Raises `BrokerProblem`."""
    deployment = Deployment(directory.absolute())
    with operating_failures(directory), locked(deployment.directory):
        _deny(deployment, deployment.settings(), device, wanted=wanted)


def trusted_keys(path: Path) -> list[TrustedKey]:
    """Read a collector's public keys: one, or several while they change.

    Raises:
        BrokerProblem: the file can't be read, or holds anything but Ed25519 public keys in PEM form.
    """
    try:
        text = path.read_text()
    except OSError as error:
        raise BrokerProblem(f"cannot read the key {path}: {error.strerror}") from error
    except UnicodeDecodeError:
        raise BrokerProblem(_no_key(path)) from None
    blocks = [f"{block.strip()}\n{_END_OF_KEY}\n" for block in text.split(_END_OF_KEY)[:-1]]
    if not blocks:
        raise BrokerProblem(_no_key(path))
    return [_trusted_key(path, block) for block in blocks]


def trusted_key(path: Path) -> TrustedKey:
    """The first of a collector's public keys. Raises `BrokerProblem`."""
    return trusted_keys(path)[0]


def _trusted_key(path: Path, pem: str) -> TrustedKey:
    try:
        key = load_pem_public_key(pem.encode())
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


def _check_device_id(device: str) -> None:
    try:
        _DEVICE_ID.validate_python(device)
    except ValidationError:
        raise BrokerProblem(
            f"'{device}' is no device id; use at most 64 letters, digits, dots, hyphens and underscores, "
            "beginning and ending with a letter or digit"
        ) from None
    if device.startswith(RESERVED):
        raise BrokerProblem(
            f"'{device}' begins like the client ids of collectors, whose connections it could end; choose another name"
        )


def checked(wanted: Mapping[str, Any]) -> BrokerSettings:
    """Settings from what an operator named. Raises `BrokerProblem`."""
    try:
        values = dict(wanted)
        if values.get("development"):
            values.setdefault("port", DEVELOPMENT_PORT)
        if "port" in values:
            values.setdefault("service_port", values["port"] + 1)
        return BrokerSettings.model_validate(values)
    except ValidationError as error:
        raise BrokerProblem(first_sentence(error)) from None


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
    made = make_file(deployment.settings_file, as_json(settings))
    for folder in (deployment.data, deployment.identities, deployment.devices):
        made += make_folder(folder)
    if not settings.development:
        made += deployment.tls.make_missing(settings.tenant, settings.server_names)
        made += _make_service_accounts(deployment, settings)
    paths = Paths(access=deployment.access, tls=deployment.tls, data=deployment.data)
    made += make_file(deployment.access, _access(deployment, settings))
    made += make_file(deployment.configuration, render(settings, paths, _account()))
    return made


def _make_service_accounts(deployment: Deployment, settings: BrokerSettings) -> Iterator[Path]:
    for role in SERVICE_USERS:
        path = deployment.service_identity(role)
        files = (path, path.with_suffix(".pem"), path.with_suffix(".key"))
        if not all(file.exists() for file in files):
            _issue_service(deployment, settings, role)
            yield from files


def _issue_service(deployment: Deployment, settings: BrokerSettings, role: Role) -> int:
    """Certificate, key and identity of a service; gives the certificate's serial number."""
    path = deployment.service_identity(role)
    issued = deployment.tls.issue_client(SERVICE_USERS[role], deployment.tls.servers_authority)
    write_pair(path.with_suffix(".pem"), issued.certificate, issued.key)
    authority = deployment.identities / "authority.pem"
    make_file(authority, deployment.tls.servers_authority.read_text())
    identity = ServiceIdentity(
        role="collector" if role is Role.COLLECTOR else "help_desk",
        tenant=settings.tenant,
        broker=settings.service_url,
        username=SERVICE_USERS[role],
        ca_file=authority.name,
        certificate_file=path.with_suffix(".pem").name,
        key_file=path.with_suffix(".key").name,
    )
    write(path, as_json(identity))
    return issued.serial


def _renew(deployment: Deployment, settings: BrokerSettings) -> list[Path]:
    """The certificates that end, issued anew; those before stay good until they end or are revoked."""
    if settings.development:
        raise BrokerProblem(
            f"{deployment.directory} is a development broker, which has no certificates; leave --renew out"
        )
    made = deployment.tls.issue_server(settings.server_names)
    for role in SERVICE_USERS:
        _issue_service(deployment, settings, role)
        path = deployment.service_identity(role)
        made += [path.with_suffix(".pem"), path.with_suffix(".key")]
    return made


def _issue_device_certificate(deployment: Deployment, device: str) -> None:
    tls, folder = deployment.tls, deployment.device_identity(device).parent
    issued = tls.issue_client(device, tls.devices_authority)
    write_pair(folder / "certificate.pem", issued.certificate, issued.key)
    write(folder / "authority.pem", tls.servers_authority.read_text())


def _new_identity(settings: BrokerSettings, device: str) -> Identity:
    """A development broker asks nobody who he is, so there the file holds no certificate."""
    is_open = settings.development
    return Identity(
        tenant=settings.tenant,
        device=device,
        broker=settings.url,
        ca_file=None if is_open else "authority.pem",
        certificate_file=None if is_open else "certificate.pem",
        key_file=None if is_open else "certificate.key",
    )


def _access(deployment: Deployment, settings: BrokerSettings) -> str:
    if settings.development:
        return mosquitto_development_acl()
    return mosquitto_acl(settings.tenant, sorted(_denied(deployment)))


def _denied(deployment: Deployment) -> set[str]:
    return set(deployment.denied.read_text().split()) if deployment.denied.exists() else set()


def _deny(deployment: Deployment, settings: BrokerSettings, device: str, *, wanted: bool) -> None:
    before = _denied(deployment)
    now = before | {device} if wanted else before - {device}
    if now != before:
        write(deployment.denied, "".join(f"{name}\n" for name in sorted(now)))
        write(deployment.access, _access(deployment, settings))


def _account() -> str | None:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return None
