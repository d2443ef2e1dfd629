"""Signatures of a simulated world: as a device sees them, they are good or they are not; only a real one is hard to forge."""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Final

from agent.core.reading import SignatureRefused
from agent.wire.codec import SIGNATURE_TYPES, encode
from agent.wire.messages import Signed
from agent.wire.topics import Channel
from agent.wire.vocabulary import RefusalReason

COLLECTOR: Final = "collector"
"""The key that every device trusts."""
STRANGER: Final = "stranger"


def sealed(content: bytes, channel: Channel, key: str = COLLECTOR) -> bytes:
    """Content in signed form, as it travels."""
    header = _text(f"{key} {SIGNATURE_TYPES[channel]}".encode())
    payload = _text(content)
    return encode(Signed(protected=header, payload=payload, signature=_seal(key, header, payload)))


def altered(message: bytes, content: bytes) -> bytes:
    """A signed message with another content, under the signature that it had."""
    signed = Signed.model_validate_json(message)
    return encode(signed.model_copy(update={"payload": _text(content)}))


def verify(compact: str, typ: str) -> bytes:
    """See `agent.core.reading.Verify`."""
    header, payload, seal = compact.split(".")
    key, said = urlsafe_b64decode(header).decode().split()
    if said != typ:
        raise SignatureRefused(f"signed as {said}, not as {typ}")
    if key != COLLECTOR:
        raise SignatureRefused(f"signed by {key}", RefusalReason.UNKNOWN_KEY)
    if seal != _seal(key, header, payload):
        raise SignatureRefused("the signature does not hold")
    return urlsafe_b64decode(payload)


def _seal(key: str, header: str, payload: str) -> str:
    return hashlib.blake2s(f"{header}.{payload}".encode(), key=key.encode()).hexdigest()


def _text(content: bytes) -> str:
    # Spaces at the end are no part of what JSON says, and without padding the text has only letters of a signature.
    return urlsafe_b64encode(content + b" " * (-len(content) % 3)).decode()
