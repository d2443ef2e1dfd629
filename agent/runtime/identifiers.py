"""Identifiers that sort by the time they were made at: UUID version 7 (RFC 9562)."""

from __future__ import annotations

import secrets
import time
from uuid import UUID


def uuid7(unix_ms: int, random_bits: int) -> str:
    """A UUIDv7 from a time in milliseconds and 74 random bits."""
    value = (unix_ms & (1 << 48) - 1) << 80
    value |= 0x7 << 76
    value |= (random_bits >> 62 & (1 << 12) - 1) << 64
    value |= 0b10 << 62
    value |= random_bits & (1 << 62) - 1
    return str(UUID(int=value))


def new_id() -> str:
    """A new UUIDv7 of now."""
    return uuid7(time.time_ns() // 1_000_000, secrets.randbits(74))
