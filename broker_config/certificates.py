"""The certificates of one broker: two authorities, the server's, and one for each identity; with a list of all that were issued."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from broker_config.authority import Authority, Issued, Purpose, expiry, revoked_serials
from broker_config.files import check_private, make_folder, write
from broker_config.problems import BrokerProblem

TAKEN_BACK_AT_ONCE = "esp-check-revoked"
"""The name in a certificate that is on the revocation list from the beginning, for `check` to knock with."""


@dataclass(frozen=True, slots=True)
class Tls:
    """Where the certificates of a broker lie.

    Devices and services have an authority each. The devices' authority signs devices and nothing else; the servers'
    authority signs the broker, the collector and the help desk. So no device's certificate opens the services' listener.
    """

    folder: Path

    @property
    def devices_authority(self) -> Path:
        """Who signs devices; its key lies beside it."""
        return self.folder / "devices-ca.pem"

    @property
    def servers_authority(self) -> Path:
        """Who signs the broker, and what devices trust; its key lies beside it."""
        return self.folder / "servers-ca.pem"

    @property
    def devices_revoked(self) -> Path:
        """The devices' certificates that were taken back."""
        return self.folder / "devices-crl.pem"

    @property
    def services_revoked(self) -> Path:
        """The services' certificates that were taken back."""
        return self.folder / "services-crl.pem"

    @property
    def server(self) -> Path:
        """The broker's certificate; its key lies beside it."""
        return self.folder / "server.pem"

    @property
    def issued(self) -> Path:
        """One line for each certificate of a client: its serial number in hex, and the name in it."""
        return self.folder / "issued"

    @property
    def watched(self) -> tuple[Path, ...]:
        """What a running broker has to read anew when it changes."""
        return (self.devices_revoked, self.services_revoked, self.server)

    def make_missing(self, tenant: str, hosts: Iterable[str]) -> list[Path]:
        """Make what is not there yet, and say what was made."""
        made = make_folder(self.folder)
        for path, name in (
            (self.devices_authority, f"devices of {tenant}"),
            (self.servers_authority, f"broker of {tenant}"),
        ):
            if not path.exists():
                made += write_pair(path, *_pair(Authority.new(name)))
        if not self.devices_revoked.exists():
            probe = self.authority(self.devices_authority).issue(TAKEN_BACK_AT_ONCE, Purpose.CLIENT)
            made += write_pair(self.revoked_probe, probe.certificate, probe.key)
            made += self._write_revoked(
                self.devices_authority, self.devices_revoked, {probe.serial}
            )
        if not self.services_revoked.exists():
            made += self._write_revoked(self.servers_authority, self.services_revoked, set())
        if not self.server.exists():
            made += self.issue_server(hosts)
        return made

    @property
    def revoked_probe(self) -> Path:
        """A certificate that was never good for anything but being refused."""
        return self.folder / "revoked-probe.pem"

    def issue_server(self, hosts: Iterable[str]) -> list[Path]:
        """A new certificate for the broker, in the place of the old one."""
        names = list(hosts)
        issued = self.authority(self.servers_authority).issue(
            names[0][:64], Purpose.SERVER, hosts=names
        )
        return write_pair(self.server, issued.certificate, issued.key)

    def issue_client(self, name: str, authority: Path) -> Issued:
        """A certificate that signs its holder in under a name; the list remembers it."""
        issued = self.authority(authority).issue(name, Purpose.CLIENT)
        known = self.issued.read_text() if self.issued.exists() else ""
        write(self.issued, f"{known}{issued.serial:x} {name}\n")
        return issued

    def take_back(self, name: str, authority: Path, keep: int | None = None) -> int:
        """Put all that was issued to a name on the authority's list, but `keep`; how many are new there."""
        file = (
            self.devices_revoked if authority == self.devices_authority else self.services_revoked
        )
        before = revoked_serials(file.read_text())
        now = before | ({serial for serial, holder in self._ledger() if holder == name} - {keep})
        if now != before:
            self._write_revoked(authority, file, now)
        return len(now - before)

    def authority(self, path: Path) -> Authority:
        """The authority whose certificate lies there. Raises `BrokerProblem`."""
        key = key_beside(path)
        try:
            check_private(key)
            return Authority.load(path.read_text(), key.read_text())
        except FileNotFoundError as error:
            raise BrokerProblem(
                f"{error.filename} is missing, and without it nothing can be signed here; restore it from a backup"
            ) from None
        except (ValueError, TypeError) as error:
            raise BrokerProblem(
                f"{key}: can't be used ({error}); restore it from a backup"
            ) from None

    def _write_revoked(self, authority: Path, file: Path, serials: set[int]) -> list[Path]:
        write(file, self.authority(authority).revocations(serials))
        return [file]

    def _ledger(self) -> Iterable[tuple[int, str]]:
        if self.issued.exists():
            for line in self.issued.read_text().splitlines():
                serial, _, name = line.partition(" ")
                yield int(serial, 16), name


def key_beside(certificate: Path) -> Path:
    """Where the private key of a certificate lies."""
    return certificate.with_suffix(".key")


def write_pair(path: Path, certificate: str, key: str) -> list[Path]:
    """Certificate and key, the key first: a certificate without its key is of no use."""
    write(key_beside(path), key)
    write(path, certificate)
    return [path, key_beside(path)]


def days_left(certificate: Path, now_s: float) -> float:
    """How long a certificate is still good. Raises ValueError when it can't be read."""
    return (expiry(certificate.read_text()).timestamp() - now_s) / 86_400


def _pair(authority: Authority) -> tuple[str, str]:
    return authority.certificate, authority.key
