"""MQTT by aiomqtt, the only place of the collector that knows the library: version 5, or 3.1.1 where a broker has no 5."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import aiomqtt
from aiomqtt import ProtocolVersion
from aiomqtt.exceptions import MqttConnectError
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from collector.ports import BrokerLost, BrokerRefused, Connection, Delivered, Will

CONNECT_TIMEOUT_S: Final = 10.0
KEEPALIVE_S: Final = 30
# Beyond this many unread messages the library drops the newest; devices send those again after a gap.
INCOMING_MAX: Final = 20_000
INFLIGHT_MAX: Final = 200
RECEIVE_MAX: Final = 2_000

_REFUSAL_CODES: Final = frozenset({134, 135, 138, 140})  # OASIS MQTT 5 §3.2.2.2
_REFUSAL_CODES_311: Final = frozenset({4, 5})  # OASIS MQTT 3.1.1 §3.2.2.3
_WRONG_VERSION_CODES: Final = frozenset({1, 132})
_SUBACK_FAILURE: Final = 128


class UrlRefused(ValueError):
    """A broker URL can't be used: one sentence with the remedy."""


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """Where the broker is and how to sign in."""

    host: str
    port: int
    username: str | None = None
    password: str | None = None

    @classmethod
    def of(
        cls, url: str, username: str | None = None, password: str | None = None
    ) -> BrokerAddress:
        """Read `mqtt://[USER:PASSWORD@]HOST[:PORT]`.

        Raises:
            UrlRefused: it is something else.
        """
        try:
            parts = urlsplit(url)
            port = parts.port or 1883
        except ValueError:
            parts, port = urlsplit(""), 0
        if parts.scheme != "mqtt" or not parts.hostname or parts.path not in ("", "/"):
            raise UrlRefused(
                f"--broker '{url}' is no broker URL; write mqtt://HOST:PORT, for example mqtt://127.0.0.1:1883"
            )
        return cls(
            host=parts.hostname,
            port=port,
            username=username or (unquote(parts.username) if parts.username else None),
            password=password or (unquote(parts.password) if parts.password else None),
        )


class MqttBroker:
    """Opens clean sessions with one broker."""

    def __init__(self, address: BrokerAddress) -> None:
        self._address = address
        self._version: ProtocolVersion | None = None
        self._finding_out = asyncio.Lock()

    @asynccontextmanager
    async def connect(self, client_id: str, will: Will | None) -> AsyncIterator[Connection]:
        """A session that ends with the context."""
        client = await self._open(client_id, will)
        try:
            yield _MqttConnection(client)
        finally:
            await _close(client)

    async def _open(self, client_id: str, will: Will | None) -> aiomqtt.Client:
        try:
            return await self._try(client_id, will, await self._known_version())
        except aiomqtt.MqttError as error:
            # Another broker may answer at this address next time.
            self._version = None
            raise _translated(error) from None

    async def _known_version(self) -> ProtocolVersion:
        """Ask once with a bare CONNECT: amqtt refuses version 5 only there, and keeps silent when a will comes with it."""
        async with self._finding_out:
            if self._version is None:
                self._version = await self._find_out()
            return self._version

    async def _find_out(self) -> ProtocolVersion:
        client = aiomqtt.Client(
            self._address.host,
            self._address.port,
            username=self._address.username,
            password=self._address.password,
            identifier=f"esp-collector-asks-{uuid.uuid4()}",
            logger=_LOGGER,
            protocol=ProtocolVersion.V5,
            clean_start=True,
            timeout=CONNECT_TIMEOUT_S,
        )
        try:
            await client.__aenter__()
        except aiomqtt.MqttError as error:
            if _code(error) not in _WRONG_VERSION_CODES:
                raise
            return ProtocolVersion.V311
        await _close(client)
        return ProtocolVersion.V5

    async def _try(
        self, client_id: str, will: Will | None, version: ProtocolVersion
    ) -> aiomqtt.Client:
        client = self._client(client_id, will, version)
        await client.__aenter__()
        return client

    def _client(
        self, client_id: str, will: Will | None, version: ProtocolVersion
    ) -> aiomqtt.Client:
        by_version: dict[str, Any] = {"clean_session": True}
        if version is ProtocolVersion.V5:
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.ReceiveMaximum = RECEIVE_MAX
            by_version = {"clean_start": True, "properties": properties}
        return aiomqtt.Client(
            self._address.host,
            self._address.port,
            username=self._address.username,
            password=self._address.password,
            identifier=client_id,
            logger=_LOGGER,
            protocol=version,
            will=None if will is None else aiomqtt.Will(will.topic, will.payload, 1, True),
            timeout=CONNECT_TIMEOUT_S,
            keepalive=KEEPALIVE_S,
            max_queued_incoming_messages=INCOMING_MAX,
            max_inflight_messages=INFLIGHT_MAX,
            **by_version,
        )


# The library would warn of many calls under way, which for a collector is an ordinary minute.
_LOGGER: Final = logging.getLogger("collector.mqtt")
_LOGGER.setLevel(logging.ERROR)


class _MqttConnection:
    def __init__(self, client: aiomqtt.Client) -> None:
        self._client = client

    async def subscribe(self, filters: Sequence[str]) -> None:
        try:
            answers = await self._client.subscribe([(f, 1) for f in filters])
        except aiomqtt.MqttError as error:
            raise _translated(error) from None
        for wanted, answer in zip(filters, answers, strict=True):
            if _value(answer) >= _SUBACK_FAILURE:
                raise BrokerRefused(f"subscribing to '{wanted}' is not allowed")

    async def publish(self, topic: str, payload: bytes) -> None:
        try:
            await self._client.publish(topic, payload, qos=1, retain=True)
        except aiomqtt.MqttError as error:
            raise _translated(error) from None

    async def messages(self) -> AsyncIterator[Delivered]:
        try:
            async for message in self._client.messages:
                yield Delivered(message.topic.value, bytes(message.payload), bool(message.retain))
        except aiomqtt.MqttError as error:
            raise _translated(error) from None


async def _close(client: aiomqtt.Client) -> None:
    try:
        await client.__aexit__(None, None, None)
    except aiomqtt.MqttError as error:
        # It broke before it could be closed: the session is over either way.
        _LOGGER.debug("closing: %s", error)


def _code(error: aiomqtt.MqttError) -> int | None:
    return _value(error.rc) if isinstance(error, aiomqtt.MqttCodeError) else None


def _value(code: Any) -> int:
    """The number of a reason code, which the library gives as a number or as an object by version."""
    return int(getattr(code, "value", code) or 0)


def _translated(error: aiomqtt.MqttError) -> BrokerLost | BrokerRefused:
    sentence = str(error) or type(error).__name__
    if isinstance(error, MqttConnectError) and _code(error) in (
        _REFUSAL_CODES | _REFUSAL_CODES_311
    ):
        return BrokerRefused(sentence)
    return BrokerLost(sentence)
