"""Mosquitto's password file, so that accounts can be made where Mosquitto is not installed."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets

ITERATIONS = 101
"""What `mosquitto_passwd` uses. The passwords made here have 256 random bits, so slowing a guesser down gains
nothing, while every connection of a returning fleet pays for it."""

SALT_BYTES = 12
HASH_BYTES = 64


def new_password() -> str:
    """A password of 256 random bits, of letters, digits, `-` and `_`."""
    return secrets.token_urlsafe(32)


def hashed(password: str, salt: bytes | None = None, iterations: int = ITERATIONS) -> str:
    """A password as Mosquitto 2 keeps it: `$7$`, PBKDF2 with HMAC-SHA-512.

    Source: `src/password_mosq.c` and the manual page of `mosquitto_passwd`, Mosquitto 2.0.
    """
    salt = secrets.token_bytes(SALT_BYTES) if salt is None else salt
    derived = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, iterations, HASH_BYTES)
    return f"$7${iterations}${_base64(salt)}${_base64(derived)}"


def matches(password: str, kept: str) -> bool:
    """Whether a password is the one that was hashed. ValueError when `kept` has another form."""
    _, kind, iterations, salt, _ = kept.split("$")
    if kind != "7":
        raise ValueError(f"a password hash of kind {kind!r} is not readable here; only $7$ is")
    again = hashed(password, base64.b64decode(salt), int(iterations))
    return hmac.compare_digest(again, kept)


def users(password_file: str) -> dict[str, str]:
    """The hashes of a password file by user name."""
    lines = (line.partition(":") for line in password_file.splitlines() if ":" in line)
    return {user: kept for user, _, kept in lines}


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
