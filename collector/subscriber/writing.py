"""Gathers what is written to the broker, because a call of the system for a few bytes costs more than the bytes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol


class Writes(Protocol):
    """Whoever sends bytes, one call of the system for each call."""

    write_data: Callable[[bytes], None]


class Writer:
    """Sends what the library writes in one turn of the loop at once: mostly acknowledgements of a few bytes."""

    __slots__ = ("_parts", "_protocol", "_write")

    def __init__(self, protocol: Writes) -> None:
        self._protocol = protocol
        self._write = protocol.write_data
        self._parts: list[bytes] = []
        protocol.write_data = self._gather

    def _gather(self, data: bytes) -> None:
        if not self._parts:
            asyncio.get_running_loop().call_soon(self._flush)
        self._parts.append(data)

    def _flush(self) -> None:
        if self._parts:
            self._write(b"".join(self._parts))
            self._parts.clear()

    def end(self) -> None:
        """From now on everything is sent at once: the farewell has to be out before the connection is closed."""
        self._flush()
        self._protocol.write_data = self._write
