"""Certificates: an authority, what it issues, and the list of what it has taken back."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

AUTHORITY_DAYS = 3_652
CERTIFICATE_DAYS = 397
"""What the public authorities allow themselves (CA/Browser Forum Baseline Requirements §6.3.2, until 2026)."""
BACKDATED = timedelta(days=1)
"""A device that is switched on for the first time may have a clock that is some hours behind."""
TAKEN_BACK_DAYS = AUTHORITY_DAYS
"""A broker refuses everybody once its revocation list is out of date, so the list holds as long as its authority."""


class Purpose(StrEnum):
    """What a certificate is good for; the other side checks it."""

    SERVER = "server"
    CLIENT = "client"


_USAGE = {
    Purpose.SERVER: ExtendedKeyUsageOID.SERVER_AUTH,
    Purpose.CLIENT: ExtendedKeyUsageOID.CLIENT_AUTH,
}


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate and its private key, both as PEM."""

    certificate: str
    key: str
    serial: int


class Authority:
    """Issues certificates and takes them back. Keys are of the curve P-256, signatures ECDSA with SHA-256."""

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self._certificate = certificate
        self._key = key

    @classmethod
    def new(cls, name: str, now: datetime | None = None) -> Authority:
        """An authority of ten years that may sign no other authority."""
        now = now or datetime.now(UTC)
        key = ec.generate_private_key(ec.SECP256R1())
        subject = _name(name)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - BACKDATED)
            .not_valid_after(now + timedelta(days=AUTHORITY_DAYS))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(is_authority=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
            .sign(key, SHA256())
        )
        return cls(certificate, key)

    @classmethod
    def load(cls, certificate: str, key: str) -> Authority:
        """From PEM. Raises ValueError when either can't be read."""
        loaded = load_pem_private_key(key.encode(), password=None)
        if not isinstance(loaded, ec.EllipticCurvePrivateKey):
            raise ValueError("the key is of another kind than an authority's")  # noqa: TRY004
        return cls(x509.load_pem_x509_certificate(certificate.encode()), loaded)

    @property
    def certificate(self) -> str:
        """What the other side trusts, as PEM."""
        return self._certificate.public_bytes(Encoding.PEM).decode()

    @property
    def key(self) -> str:
        """The private key as PEM."""
        return _pem(self._key)

    def issue(
        self,
        name: str,
        purpose: Purpose,
        *,
        hosts: Sequence[str] = (),
        days: float = CERTIFICATE_DAYS,
        now: datetime | None = None,
    ) -> Issued:
        """A certificate with this common name; a server's also names the hosts that it answers for.

        Negative `days` give one that has expired.
        """
        now = now or datetime.now(UTC)
        key = ec.generate_private_key(ec.SECP256R1())
        end = min(now + timedelta(days=days), self._certificate.not_valid_after_utc)
        builder = (
            x509.CertificateBuilder()
            .subject_name(_name(name))
            .issuer_name(self._certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(min(now, end) - BACKDATED)
            .not_valid_after(end)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(is_authority=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([_USAGE[purpose]]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), False
            )
        )
        if hosts:
            names = x509.SubjectAlternativeName([_host(host) for host in hosts])
            builder = builder.add_extension(names, critical=False)
        certificate = builder.sign(self._key, SHA256())
        return Issued(
            certificate.public_bytes(Encoding.PEM).decode(), _pem(key), certificate.serial_number
        )

    def revocations(self, serials: Collection[int], now: datetime | None = None) -> str:
        """The list of the certificates that were taken back, as PEM."""
        now = now or datetime.now(UTC)
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self._certificate.subject)
            .last_update(now - BACKDATED)
            .next_update(now + timedelta(days=TAKEN_BACK_DAYS))
        )
        for serial in sorted(serials):
            entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now)
            builder = builder.add_revoked_certificate(entry.build())
        return builder.sign(self._key, SHA256()).public_bytes(Encoding.PEM).decode()


def revoked_serials(revocations: str) -> set[int]:
    """The serial numbers in a revocation list. Raises ValueError when it can't be read."""
    return {entry.serial_number for entry in x509.load_pem_x509_crl(revocations.encode())}


def expiry(certificate: str) -> datetime:
    """When a certificate ends. Raises ValueError when it can't be read."""
    return x509.load_pem_x509_certificate(certificate.encode()).not_valid_after_utc


def _name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _key_usage(*, is_authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not is_authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
