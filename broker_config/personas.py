"""Who knocks at a broker that is checked: two devices, a collector, and strangers with the wrong papers."""

from __future__ import annotations

import logging
import secrets
import ssl
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import aiomqtt
from pydantic import ValidationError

from agent.wire.identity import Identity, ServiceIdentity
from broker_config.access import Role
from broker_config.authority import Authority, Purpose
from broker_config.certificates import key_beside
from broker_config.deployment import Deployment
from broker_config.files import first_sentence
from broker_config.problems import BrokerProblem

ANSWER_S = 5.0
PROBE_DAYS = 1 / 24
_SILENT = logging.getLogger("broker_config.check")
_SILENT.setLevel(logging.CRITICAL)
M = TypeVar("M", Identity, ServiceIdentity)


@dataclass(frozen=True, slots=True)
class Address:
    """Where a broker listens."""

    host: str
    port: int
    is_tls: bool

    @classmethod
    def of(cls, url: str) -> Address:
        """Read `mqtt://HOST[:PORT]` or `mqtts://HOST[:PORT]`. Raises `BrokerProblem`."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            parts, port = urlsplit(""), None
        if parts.scheme not in {"mqtt", "mqtts"} or not parts.hostname:
            raise BrokerProblem(
                f"'{url}' is no address of a broker; write mqtt://HOST:PORT or mqtts://HOST:PORT"
            )
        is_tls = parts.scheme == "mqtts"
        return cls(parts.hostname, port or (8883 if is_tls else 1883), is_tls)


@dataclass(frozen=True, slots=True)
class Persona:
    """Somebody who connects: where, as whom, and with which papers."""

    name: str
    address: Address
    tls: ssl.SSLContext | None = None
    username: str | None = None
    password: str | None = None

    @asynccontextmanager
    async def connected(
        self, client_id: str | None = None, will: str | None = None
    ) -> AsyncIterator[aiomqtt.Client]:
        """A clean session of MQTT 3.1.1, which every broker speaks. Raises `aiomqtt.MqttError`."""
        client = aiomqtt.Client(
            self.address.host,
            self.address.port,
            identifier=client_id or self.name,
            username=self.username,
            password=self.password,
            tls_context=self.tls,
            protocol=aiomqtt.ProtocolVersion.V311,
            clean_session=True,
            timeout=ANSWER_S,
            logger=_SILENT,
            will=None if will is None else aiomqtt.Will(will, b"{}", qos=1),
        )
        try:
            async with client:
                yield client
        finally:
            ended = client._disconnected  # noqa: SLF001
            if ended.done() and not ended.cancelled():
                # Looked at here, so that nobody is told about an exception that was never retrieved.
                ended.exception()


@dataclass(frozen=True, slots=True)
class Cast:
    """Everybody who takes part; `strangers` must be refused, by the rule that each breaks."""

    tenant: str
    first: Persona
    second: Persona
    collector: Persona
    strangers: dict[str, Persona]


@contextmanager
def cast_of(
    url: str, directory: Path | None, devices: list[Path], collector: Path | None, tenant: str
) -> Iterator[Cast]:
    """From a directory of ours, from identity files, or nobody in particular.

    With a directory the two devices get certificates of an hour, which are written nowhere for longer than the check.

    Raises:
        BrokerProblem: something of it can't be used.
    """
    address = Address.of(url)
    with tempfile.TemporaryDirectory(prefix="esp-broker-check-") as folder:
        if directory is not None:
            yield _of_directory(address, Deployment(directory.absolute()), Path(folder))
        elif devices:
            if len(devices) != 2 or collector is None:
                raise BrokerProblem(
                    "a check needs two devices and a collector; give --device twice and --collector, or --dir"
                )
            yield _of_files(address, devices, collector, Path(folder))
        else:
            yield _of_nobody(address, tenant, Path(folder))


def _of_nobody(address: Address, tenant: str, folder: Path) -> Cast:
    tls = ssl.create_default_context() if address.is_tls else None
    first, second = (Persona(name, address, tls) for name in _names())
    watching = Persona(f"esp-check-{secrets.token_hex(4)}", address, tls)
    return Cast(tenant, first, second, watching, _strangers(first, None, folder))


def _of_files(address: Address, devices: list[Path], collector: Path, folder: Path) -> Cast:
    identities = [_read(Identity, path) for path in devices]
    first, second = (
        Persona(
            one.device, address, _context(one, path, address.is_tls), one.username, one.password
        )
        for one, path in zip(identities, devices, strict=True)
    )
    account = _read(ServiceIdentity, collector)
    theirs = Address.of(account.broker)
    tls = _context(account, collector, theirs.is_tls)
    watching = Persona("esp-check", theirs, tls, account.username, account.password)
    authority = identities[0].ca_file
    trusted = None if authority is None else devices[0].parent / authority
    return Cast(identities[0].tenant, first, second, watching, _strangers(first, trusted, folder))


def _of_directory(address: Address, place: Deployment, folder: Path) -> Cast:
    settings = place.settings()
    if settings.development or not address.is_tls:
        return _of_nobody(address, settings.tenant, folder)
    trusted, authority = (
        place.tls.servers_authority,
        place.tls.authority(place.tls.devices_authority),
    )

    def issued(name: str, by: Authority = authority, days: float = PROBE_DAYS) -> Persona:
        made = by.issue(name, Purpose.CLIENT, days=days)
        file = folder / f"{name}-{made.serial:x}.pem"
        file.touch(mode=0o600)
        file.write_text(made.certificate + made.key)
        return Persona(name, address, _signed_in(trusted, file, file))

    first, second = (issued(name) for name in _names())
    account_file = place.service_identity(Role.COLLECTOR)
    account = _read(ServiceIdentity, account_file)
    watching = Persona(
        "esp-check", Address.of(account.broker), _context(account, account_file, is_tls=True)
    )
    probe = place.tls.revoked_probe
    strangers = _strangers(first, trusted, folder)
    strangers["expired"] = issued("esp-check-expired", days=-1)
    strangers["revoked"] = Persona(
        "esp-check-revoked", address, _signed_in(trusted, probe, key_beside(probe))
    )
    return Cast(settings.tenant, first, second, watching, strangers)


def _names() -> tuple[str, str]:
    """New ones for every check, so that what one leaves behind never disturbs the next."""
    number = secrets.token_hex(4)
    return f"esp-check-{number}-a", f"esp-check-{number}-b"


def _strangers(device: Persona, trusted: Path | None, folder: Path) -> dict[str, Persona]:
    address = device.address
    if not address.is_tls:
        return {"no-account": Persona("esp-check-nobody", address)}
    bare = ssl.create_default_context(cafile=trusted)
    made = Authority.new("nobody").issue(device.name, Purpose.CLIENT)
    file = folder / "other-authority.pem"
    file.touch(mode=0o600)
    file.write_text(made.certificate + made.key)
    plain = Address(address.host, address.port, is_tls=False)
    return {
        "no-account": Persona("esp-check-nobody", address, bare),
        "other-authority": Persona(device.name, address, _signed_in(trusted, file, file)),
        "plain-text": Persona("esp-check-nobody", plain),
    }


def _signed_in(trusted: Path | None, certificate: Path, key: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=trusted)
    context.load_cert_chain(certificate, key)
    return context


def _context(
    account: Identity | ServiceIdentity, file: Path, is_tls: bool
) -> ssl.SSLContext | None:
    if not is_tls:
        return None
    folder = file.parent
    try:
        context = ssl.create_default_context(
            cafile=None if account.ca_file is None else folder / account.ca_file
        )
        if account.certificate_file is not None and account.key_file is not None:
            context.load_cert_chain(folder / account.certificate_file, folder / account.key_file)
    except (OSError, ssl.SSLError) as error:
        raise BrokerProblem(
            f"{file}: the certificates that it names can't be used ({error})"
        ) from None
    return context


def _read(model: type[M], path: Path) -> M:
    try:
        return model.model_validate_json(path.read_bytes())
    except OSError as error:
        raise BrokerProblem(
            f"{path}: can't be read ({error.strerror}); name an identity file"
        ) from None
    except ValidationError as error:
        raise BrokerProblem(f"{path}: {first_sentence(error)}; name an identity file") from None
