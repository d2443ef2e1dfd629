"""The identity file: who a device is, how it signs in to the broker, and which keys it trusts."""

from __future__ import annotations

import hashlib
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from agent.wire.base import DeviceId, Identifier, Message, Tenant, Text, Wire

Pem = Annotated[str, StringConstraints(pattern=r"^\s*-----BEGIN PUBLIC KEY-----", max_length=4096)]
FilePath = Annotated[str, StringConstraints(min_length=1, max_length=4096)]
AccountName = Annotated[str, StringConstraints(min_length=1, max_length=128)]


class TrustedKey(Wire):
    """A public Ed25519 key whose signature this device accepts on assignments and commands."""

    kid: Identifier
    """As `key_id` computes it; the `kid` of the signature's protected header."""
    public_key: Pem
    """PEM, SubjectPublicKeyInfo (RFC 8410)."""


class Identity(Message):
    """The content of an identity file, written by `esp-broker device` and read by the agent.

    A path in it is relative to the folder of the identity file.
    """

    schema_: Literal["esp.identity/1"] = Field("esp.identity/1", alias="schema")
    tenant: Tenant
    device: DeviceId
    broker: Text | None = None
    """The broker's address as a URL; None leaves it to the command line."""
    username: AccountName | None = None
    password: Text | None = None
    ca_file: FilePath | None = None
    """Who signed the broker's certificate; None trusts the authorities of the system."""
    certificate_file: FilePath | None = None
    key_file: FilePath | None = None
    trusted_keys: Annotated[tuple[TrustedKey, ...], Field(max_length=16)] = ()

    @model_validator(mode="after")
    def _whole_certificate(self) -> Identity:
        _check_certificate(self.certificate_file, self.key_file)
        return self


class ServiceIdentity(Message):
    """How a collector or a help desk signs in to the broker.

    A path in it is relative to the folder of the identity file.
    """

    schema_: Literal["esp.service_identity/1"] = Field("esp.service_identity/1", alias="schema")
    role: Literal["collector", "help_desk"]
    tenant: Tenant
    broker: Text
    username: AccountName
    password: Text | None = None
    ca_file: FilePath | None = None
    certificate_file: FilePath | None = None
    key_file: FilePath | None = None

    @model_validator(mode="after")
    def _whole_certificate(self) -> ServiceIdentity:
        _check_certificate(self.certificate_file, self.key_file)
        return self


def key_id(public_key: bytes) -> str:
    """The name of an Ed25519 public key, from its 32 raw bytes: the first half of their SHA-256 in hex."""
    return hashlib.sha256(public_key).hexdigest()[:32]


def _check_certificate(certificate_file: str | None, key_file: str | None) -> None:
    if (certificate_file is None) != (key_file is None):
        raise ValueError("certificate_file and key_file belong together; give both or neither")
