"""What the subscriber needs of a broker."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol


class BrokerLost(Exception):
    """The connection failed or broke; trying again may help."""


class BrokerRefused(Exception):
    """The broker refuses this account, or a right that it needs; trying again soon does not help."""


@dataclass(frozen=True, slots=True)
class Delivered:
    """One MQTT message as it arrived."""

    topic: str
    payload: bytes
    retained: bool


@dataclass(frozen=True, slots=True)
class Will:
    """What the broker publishes, retained, when the connection dies."""

    topic: str
    payload: bytes


class Connection(Protocol):
    """An open, clean MQTT session."""

    async def subscribe(self, filters: Sequence[str]) -> None:
        """Subscribe at QoS 1. Raises `BrokerRefused` when the broker refuses one, `BrokerLost`."""
        ...

    async def publish(self, topic: str, payload: bytes) -> None:
        """Publish retained at QoS 1; an empty payload clears. Returns when the broker has it. Raises `BrokerLost`."""
        ...

    async def publish_all(self, messages: Sequence[tuple[str, bytes]]) -> None:
        """Publish several, as topic and payload; returns when the broker has all of them. Raises `BrokerLost`."""
        ...

    def messages(self) -> AsyncIterator[Delivered]:
        """What arrives, until the connection breaks, which raises `BrokerLost`."""
        ...


class Broker(Protocol):
    """Opens sessions."""

    def connect(self, client_id: str, will: Will | None) -> AbstractAsyncContextManager[Connection]:
        """Raises `BrokerRefused` for credentials or rights, `BrokerLost` for everything else."""
        ...
