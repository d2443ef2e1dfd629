"""The collector's signing key: made at the first start, kept in two PEM files, and the only signer of assignments and commands."""

from __future__ import annotations

import os
from pathlib import Path

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent.wire.assignment import Assignment
from agent.wire.codec import SIGNATURE_TYPES
from agent.wire.identity import TrustedKey, key_id
from agent.wire.messages import Command, Signed
from agent.wire.topics import Channel

PRIVATE_NAME = "private.pem"
PUBLIC_NAME = "public.pem"


class KeyRefused(Exception):
    """The key file can't be used: one sentence with the file and the remedy."""


class Signer:
    """Signs with one Ed25519 key."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self._kid = key_id(
            key.public_key().public_bytes(
                serialization.Encoding.Raw, serialization.PublicFormat.Raw
            )
        )

    @property
    def trusted_key(self) -> TrustedKey:
        """The public half, as an identity file carries it."""
        return TrustedKey(kid=self._kid, public_key=self.public_pem)

    @property
    def public_pem(self) -> str:
        """The public half as PEM."""
        return (
            self._key.public_key()
            .public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
            .decode("ascii")
        )

    def sign(self, message: Assignment | Command) -> Signed:
        """The message inside a signature (RFC 7515, EdDSA of RFC 8037)."""
        channel = Channel.ASSIGNMENT if isinstance(message, Assignment) else Channel.COMMAND
        content = message.model_dump_json(exclude_none=True).encode()
        headers = {"kid": self._kid, "typ": SIGNATURE_TYPES[channel]}
        compact = jwt.api_jws.PyJWS().encode(content, self._key, algorithm="EdDSA", headers=headers)
        return Signed.from_compact(compact)


def load_or_make(directory: Path) -> Signer:
    """The key in this directory; a new one when there is none.

    Raises:
        KeyRefused: the file can't be read or holds no Ed25519 key.
    """
    path = directory / PRIVATE_NAME
    if path.exists():
        signer = Signer(_load(path))
    else:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        key = Ed25519PrivateKey.generate()
        _write_secret(path, _private_pem(key))
        signer = Signer(key)
    public = directory / PUBLIC_NAME
    if not public.exists() or public.read_text(encoding="ascii") != signer.public_pem:
        public.write_text(signer.public_pem, encoding="ascii")
    return signer


def _private_pem(key: Ed25519PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _load(path: Path) -> Ed25519PrivateKey:
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeyRefused(
            f"{path}: can't be read as a private key ({error}); restore it from a backup, "
            "for the devices trust no other"
        ) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyRefused(f"{path}: is no Ed25519 key; restore the one that the devices trust")
    return key


def _write_secret(path: Path, content: bytes) -> None:
    """Readable by the owner alone from the first moment on, and never half written."""
    fresh = path.with_suffix(".new")
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


def load_or_make_token(path: Path, fresh: str) -> str:
    """The token that opens the API; `fresh` is written, mode 0600, when there is none yet."""
    if not path.exists():
        _write_secret(path, f"{fresh}\n".encode())
    return path.read_text(encoding="ascii").strip()
