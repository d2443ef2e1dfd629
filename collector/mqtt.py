"""MQTT by aiomqtt, the only place of the collector that knows the library: version 5, or 3.1.1 where a broker has no 5."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, Self
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
            await client.hang_up()

    async def _open(self, client_id: str, will: Will | None) -> _Client:
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
        client = _Client(
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
            await client.open()
        except aiomqtt.MqttError as error:
            if _code(error) not in _WRONG_VERSION_CODES:
                raise
            return ProtocolVersion.V311
        await client.hang_up()
        return ProtocolVersion.V5

    async def _try(self, client_id: str, will: Will | None, version: ProtocolVersion) -> _Client:
        client = self._client(client_id, will, version)
        await client.open()
        return client

    def _client(self, client_id: str, will: Will | None, version: ProtocolVersion) -> _Client:
        by_version: dict[str, Any] = {"clean_session": True}
        if version is ProtocolVersion.V5:
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.ReceiveMaximum = RECEIVE_MAX
            by_version = {"clean_start": True, "properties": properties}
        return _Client(
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


class _Client(aiomqtt.Client):
    """An aiomqtt client that can be given up while it connects, and leaves nothing open behind."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._is_wanted = True
        self._create_socket = self._client._create_socket  # noqa: SLF001
        self._client._create_socket = self._create_wanted_socket  # type: ignore[method-assign]  # noqa: SLF001

    async def open(self) -> None:
        """Connect. Raises `aiomqtt.MqttError`; ends at once when it is cancelled."""
        # Cancelling aiomqtt itself would cancel futures that paho's callbacks look at later.
        ended, opening = self._disconnected, asyncio.ensure_future(self.__aenter__())
        try:
            await asyncio.shield(opening)
        except asyncio.CancelledError:
            await self._give_up(opening)
            raise
        except aiomqtt.MqttError:
            await self.hang_up()
            raise
        if ended.done():
            # aiomqtt forgets an end that came together with the acceptance.
            self._disconnected = ended
            await self.hang_up()
            raise aiomqtt.MqttError(
                "the broker ended the connection at once"
            ) from ended.exception()

    async def hang_up(self) -> None:
        """End the session, with a farewell if it still stands."""
        try:
            if self._lock.locked():
                await self.__aexit__(None, None, None)
        except aiomqtt.MqttError as error:
            # It broke before it could be closed: the session is over either way.
            _LOGGER.debug("closing: %s", error)
        self._drop()
        if self._misc_task is not None:
            await asyncio.gather(self._misc_task, return_exceptions=True)

    async def _give_up(self, opening: asyncio.Future[Self]) -> None:
        self._is_wanted = False
        if not self._connected.done():
            self._connected.set_exception(aiomqtt.MqttError("given up"))
        if self._client.socket() is None:
            # A thread is looking for the broker and can't be stopped. It ends by itself, soon, and nobody waits for it.
            opening.add_done_callback(lambda _: self._drop())
            return
        await asyncio.gather(opening, return_exceptions=True)
        await self.hang_up()

    def _drop(self) -> None:
        # Looked at here, so that nobody is told about an exception that was never retrieved.
        for future in (self._connected, self._disconnected):
            if future.done() and not future.cancelled():
                future.exception()
        # After a time-out aiomqtt leaves the socket open, and with it a task that wakes every second.
        self._client._sock_close()  # noqa: SLF001
        if self._misc_task is not None:
            self._misc_task.cancel()

    def _create_wanted_socket(self) -> Any:
        """Called by paho, on the thread that looks for the broker."""
        created = self._create_socket()
        if not self._is_wanted:
            created.close()
            raise ConnectionAbortedError("given up")
        return created


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
