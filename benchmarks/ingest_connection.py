"""The cheapest connection that a load needs: thousands of devices share one, and it costs the machine next to nothing."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from typing import cast


class Connection(asyncio.Protocol):
    """MQTT 3.1.1, as much of it as is needed: CONNECT, SUBSCRIBE, PUBLISH and PUBACK at QoS 1."""

    def __init__(
        self,
        name: str,
        topics: str,
        on_message: Callable[[bytes, bytes], None],
        on_end: Callable[[Exception | None], None],
    ) -> None:
        """`topics` is subscribed to; `on_message` gets topic and payload."""
        self._on_message = on_message
        self._on_end = on_end
        self._name = name.encode()
        self._topics = topics.encode()
        self._rest = b""
        self._packet = 0
        self._out: list[bytes] = []
        self.subscribed = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Sign in and subscribe at once."""
        # uvloop's transports are none of asyncio's classes, and do what those do.
        self._transport = cast("asyncio.Transport", transport)
        connect = b"\x00\x04MQTT\x04\x02\x00\x3c" + _text(self._name)
        subscribe = b"\x00\x01" + _text(self._topics) + b"\x01"
        self._transport.write(_packet(0x10, connect) + _packet(0x82, subscribe))

    def connection_lost(self, exc: Exception | None) -> None:
        """The broker is not supposed to do this."""
        self._on_end(exc)

    def publish(self, topic: bytes, payload: bytes) -> None:
        """Sent at the end of the tick."""
        self._packet = self._packet % 65_535 + 1
        body = _text(topic) + struct.pack(">H", self._packet) + payload
        self._out.append(_packet(0x32, body))

    def flush(self) -> None:
        """Send what was gathered."""
        if self._out:
            self._transport.write(b"".join(self._out))
            self._out.clear()

    def data_received(self, data: bytes) -> None:
        """Acknowledgements of broker and collector."""
        data = self._rest + data
        at, end = 0, len(data)
        while end - at >= 2:
            length, size = _length(data, at + 1)
            if size == 0 or at + 1 + size + length > end:
                break
            body_at = at + 1 + size
            self._handle(data[at], data, body_at, body_at + length)
            at = body_at + length
        self._rest = data[at:]

    def _handle(self, kind: int, data: bytes, at: int, end: int) -> None:
        if kind & 0xF0 == 0x30:
            size = int.from_bytes(data[at : at + 2], "big")
            topic = data[at + 2 : at + 2 + size]
            at += 2 + size
            if kind & 0x06:
                self._out.append(b"\x40\x02" + data[at : at + 2])
                at += 2
            self._on_message(topic, data[at:end])
        elif kind == 0x90:
            self.subscribed.set_result(None)


def _text(text: bytes) -> bytes:
    return struct.pack(">H", len(text)) + text


def _packet(kind: int, body: bytes) -> bytes:
    length, rest = bytearray(), len(body)
    while True:
        rest, digit = divmod(rest, 128)
        length.append(digit | (0x80 if rest else 0))
        if not rest:
            return bytes([kind]) + bytes(length) + body


def _length(data: bytes, at: int) -> tuple[int, int]:
    """The remaining length and how many bytes it takes; 0 bytes while it is not all there."""
    value = 0
    for size in range(1, 5):
        if at + size > len(data):
            return 0, 0
        digit = data[at + size - 1]
        value |= (digit & 0x7F) << (7 * (size - 1))
        if not digit & 0x80:
            return value, size
    raise ValueError("no MQTT")
