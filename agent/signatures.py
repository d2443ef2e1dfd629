"""Signatures: which assignments and commands this device believes, and the identity files that say so."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from pydantic import ValidationError

from agent.core.reading import SignatureRefused
from agent.wire.base import Message
from agent.wire.identity import Identity, ServiceIdentity, TrustedKey
from agent.wire.vocabulary import RefusalReason

ALGORITHM: Final = "EdDSA"
IDENTITY_BYTES_MAX: Final = 256 * 1024

_Model = TypeVar("_Model", bound=Message)


class IdentityRefused(Exception):
    """The identity file can't be used: one sentence with file, key and remedy."""


class JwsVerifier:
    """Believes what one of the trusted keys signed: EdDSA only, and only as the kind of message asked for.

    The key is looked up among those that came with the identity; nothing that a message says of itself adds one.
    """

    def __init__(self, keys: Sequence[TrustedKey]) -> None:
        self._keys = {key.kid: load_public_key(key) for key in keys}
        self._jws = jwt.PyJWS(algorithms=[ALGORITHM])

    def verify(self, compact: str, typ: str) -> bytes:
        """See `Verifier.verify`."""
        try:
            # The header alone: the payload may be long, and PyJWT looks at every character of what it is given.
            header = self._jws.get_unverified_header(f"{compact.partition('.')[0]}..")
        except jwt.PyJWTError as error:
            raise SignatureRefused(f"not a signature: {error}") from None
        key = self._key(header, typ)
        try:
            payload = self._jws.decode(compact, key=key, algorithms=[ALGORITHM])
        except jwt.PyJWTError as error:
            raise SignatureRefused(f"the signature does not hold: {error}") from None
        assert isinstance(payload, bytes), "a JWS carries bytes"
        return payload

    def _key(self, header: dict[str, Any], typ: str) -> Ed25519PublicKey:
        if header.get("alg") != ALGORITHM:
            raise SignatureRefused(f"signed with {_short(header.get('alg'))}, not with {ALGORITHM}")
        if header.get("typ") != typ:
            raise SignatureRefused(f"signed as {_short(header.get('typ'))}, not as {typ}")
        kid = header.get("kid")
        if not isinstance(kid, str) or kid not in self._keys:
            sentence = f"signed by {_short(kid)}, which is not trusted here"
            raise SignatureRefused(sentence, RefusalReason.UNKNOWN_KEY)
        return self._keys[kid]


def load_public_key(key: TrustedKey) -> Ed25519PublicKey:
    """The key itself.

    Raises:
        IdentityRefused: it is no Ed25519 public key.
    """
    try:
        loaded = load_pem_public_key(key.public_key.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise IdentityRefused(f"the trusted key '{key.kid}' can't be read: {error}") from None
    if not isinstance(loaded, Ed25519PublicKey):
        raise IdentityRefused(
            f"the trusted key '{key.kid}' is no Ed25519 key; ask for the right one"
        )
    return loaded


def read_identity(path: Path) -> Identity:
    """Read a device's identity file.

    Raises:
        IdentityRefused: one sentence that names the file, the key in it and the remedy.
    """
    identity = _validated(Identity, path, _content(path))
    try:
        for key in identity.trusted_keys:
            load_public_key(key)
    except IdentityRefused as refusal:
        raise IdentityRefused(f"{path}: {refusal}") from None
    return identity


def read_account(path: Path) -> Identity | ServiceIdentity:
    """Read the identity file of a device, or of a collector or help desk. Raises `IdentityRefused`."""
    content = _content(path)
    if _SERVICE.search(content):
        return _validated(ServiceIdentity, path, content)
    return _validated(Identity, path, content)


_SERVICE: Final = re.compile(rb'"schema"\s*:\s*"esp\.service_identity/')


def _content(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise IdentityRefused(
            f"{path}: cannot be read ({error.strerror}); name the file that `esp-broker` wrote"
        ) from error
    if len(content) > IDENTITY_BYTES_MAX:
        raise IdentityRefused(f"{path}: too large for an identity file; name the right one")
    return content


def _validated(model: type[_Model], path: Path, content: bytes) -> _Model:
    try:
        return model.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise IdentityRefused(
            f"{path}: {where}: {first['msg']}; name a file as `esp-broker` writes it"
        ) from None


def _short(value: object) -> str:
    return f"'{str(value)[:64]}'"
