"""The collector's signing key: made at the first start, replaced in three steps, and the only signer of assignments and commands."""

from __future__ import annotations

import os
import stat
from enum import StrEnum
from pathlib import Path

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)

from agent.wire.assignment import Assignment
from agent.wire.codec import SIGNATURE_TYPES
from agent.wire.identity import TrustedKey, key_id
from agent.wire.messages import Command, Signed
from agent.wire.topics import Channel

PRIVATE_NAME = "private.pem"
NEXT_NAME = "next.pem"
PUBLIC_NAME = "public.pem"
OTHERS = stat.S_IRWXG | stat.S_IRWXO


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


class Rotation(StrEnum):
    """The steps in which a signing key is replaced, so that no device ever meets a signature that it can't check."""

    PREPARE = "prepare"
    SWITCH = "switch"
    FINISH = "finish"


def load_or_make(directory: Path) -> Signer:
    """The key in this directory; a new one when there is none.

    Raises:
        KeyRefused: the file can't be read, holds no Ed25519 key, or can be read by other accounts.
    """
    path = directory / PRIVATE_NAME
    if path.exists():
        signer = Signer(_load(path))
    else:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        signer = Signer(_make(path))
    if _public_keys(directory)[:1] != [signer.public_pem]:
        _publish(directory, [signer.public_pem])
    return signer


def rotate(directory: Path, step: Rotation) -> list[TrustedKey]:
    """Take one step towards another signing key, and say which keys devices have to trust now.

    `prepare` makes the next key, and `public.pem` holds both, for all identities to be given out anew. `switch` lets
    the next one sign from the next start on; both are trusted still. `finish` leaves the old one out of `public.pem`.
    A step that was taken already changes nothing.

    Raises:
        KeyRefused: a key can't be used, or `switch` comes before `prepare`.
    """
    current = load_or_make(directory)
    upcoming, known = directory / NEXT_NAME, _public_keys(directory)
    match step:
        case Rotation.PREPARE:
            following = Signer(_load(upcoming) if upcoming.exists() else _make(upcoming))
            _publish(directory, [current.public_pem, following.public_pem])
        case Rotation.SWITCH if upcoming.exists():
            following = Signer(_load(upcoming))
            # The list first: cut off between the two, the old key signs on and is trusted.
            _publish(directory, [current.public_pem, following.public_pem])
            upcoming.replace(directory / PRIVATE_NAME)
            _publish(directory, [following.public_pem, current.public_pem])
        case Rotation.SWITCH if len(known) == 1:
            raise KeyRefused(
                f"{directory}: there is no next key yet; make it with `prepare` and give it to the devices first"
            )
        case Rotation.SWITCH:
            return [_trusted(pem) for pem in known]
        case Rotation.FINISH if upcoming.exists():
            raise KeyRefused(f"{upcoming}: is not in use yet; use it with `switch` first")
        case Rotation.FINISH:
            _publish(directory, [current.public_pem])
    return [_trusted(pem) for pem in _public_keys(directory)]


def check_private(path: Path) -> None:
    """Raises `KeyRefused` when other accounts may read or change a private key, and `OSError` when it is not there."""
    mode = path.stat().st_mode
    if os.name == "posix" and mode & OTHERS:
        raise KeyRefused(
            f"{path}: has mode {stat.S_IMODE(mode):04o}, so other accounts can use this key; "
            f"take their rights away with: chmod 600 {path}"
        )


def _make(path: Path) -> Ed25519PrivateKey:
    key = Ed25519PrivateKey.generate()
    _write_secret(path, _private_pem(key))
    return key


def _public_keys(directory: Path) -> list[str]:
    """The keys that devices have to trust, the signing one first; empty when nothing was published yet."""
    path = directory / PUBLIC_NAME
    text = path.read_text(encoding="ascii") if path.exists() else ""
    return [f"{block.strip()}\n{_END}\n" for block in text.split(_END)[:-1]]


_END = "-----END PUBLIC KEY-----"


def _publish(directory: Path, keys: list[str]) -> None:
    path = directory / PUBLIC_NAME
    fresh = path.with_suffix(".new")
    fresh.write_text("".join(keys), encoding="ascii")
    fresh.replace(path)


def _trusted(pem: str) -> TrustedKey:
    key = serialization.load_pem_public_key(pem.encode())
    assert isinstance(key, Ed25519PublicKey), "only such keys are published"
    return TrustedKey(kid=key_id(key.public_bytes_raw()), public_key=pem)


def _private_pem(key: Ed25519PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _load(path: Path) -> Ed25519PrivateKey:
    try:
        check_private(path)
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
