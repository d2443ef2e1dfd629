"""MQTT by gmqtt, the only place of the collector that knows the library: version 5, or 3.1.1 where a broker has no 5."""

from __future__ import annotations

import asyncio
import logging
import ssl
import uuid
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import gmqtt
from gmqtt.mqtt.constants import MQTTv50, MQTTv311
from gmqtt.mqtt.handler import MQTTConnectError
from gmqtt.storage import PersistentStorage

from agent.wire.identity import ServiceIdentity
from collector.keys import KeyRefused, check_private
from collector.subscriber.ports import BrokerLost, BrokerRefused, Connection, Delivered, Will
from collector.subscriber.writing import Writer

CONNECT_TIMEOUT_S: Final = 10.0
HANG_UP_S: Final = 2.0
KEEPALIVE_S: Final = 30
INCOMING_MAX: Final = 4_000
"""With so many unread messages nothing more is taken from the broker, which keeps the rest for us."""
READ_APART_S: Final = 0.02
"""What arrives within this time is read at once: a call of the system for each message would cost more than the message."""
INFLIGHT_MAX: Final = 500
RECEIVE_MAX: Final = 2_000

_REFUSAL_CODES: Final = frozenset({134, 135, 138, 140})  # OASIS MQTT 5 §3.2.2.2
_REFUSAL_CODES_311: Final = frozenset({4, 5})  # OASIS MQTT 3.1.1 §3.2.2.3
_WRONG_VERSION_CODES: Final = frozenset({1, 132})
_SUBACK_FAILURE: Final = 128
_NEVER: Final = -2
"""How often the library connects again by itself; -1 would be without end."""

# What the library has to say is said by the link, which knows what follows from it.
_LOGGER: Final = logging.getLogger("collector.mqtt")
_LOGGER.setLevel(logging.CRITICAL + 1)


class UrlRefused(ValueError):
    """A broker URL can't be used: one sentence with the remedy."""


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """Where the broker is and how to sign in."""

    host: str
    port: int
    username: str | None = None
    password: str | None = None
    tls: ssl.SSLContext | None = None

    @classmethod
    def of(
        cls,
        url: str,
        username: str | None = None,
        password: str | None = None,
        tls: Callable[[], ssl.SSLContext] = ssl.create_default_context,
    ) -> BrokerAddress:
        """Read `mqtt://[USER:PASSWORD@]HOST[:PORT]`, or the same with `mqtts`, for which `tls` makes the context.

        Raises:
            UrlRefused: it is something else.
        """
        try:
            parts = urlsplit(url)
            is_tls = parts.scheme == "mqtts"
            port = parts.port or (8883 if is_tls else 1883)
        except ValueError:
            parts, port, is_tls = urlsplit(""), 0, False
        if (
            parts.scheme not in {"mqtt", "mqtts"}
            or not parts.hostname
            or parts.path not in ("", "/")
        ):
            raise UrlRefused(
                f"--broker '{url}' is no broker URL; write mqtt://HOST:PORT, for example mqtt://127.0.0.1:1883, "
                "or mqtts://HOST:PORT for TLS"
            )
        return cls(
            host=parts.hostname,
            port=port,
            username=username or (unquote(parts.username) if parts.username else None),
            password=password or (unquote(parts.password) if parts.password else None),
            tls=tls() if is_tls else None,
        )


def tls_of(account: ServiceIdentity, folder: Path) -> ssl.SSLContext:
    """How an account signs in by its certificate; its paths are relative to the folder of its file.

    Raises:
        UrlRefused: a file of it can't be used, or others may read the key.
    """

    def resolved(name: str | None) -> Path | None:
        return None if name is None else folder / name

    authority = resolved(account.ca_file)
    certificate, key = resolved(account.certificate_file), resolved(account.key_file)
    try:
        context = ssl.create_default_context(cafile=authority)
        if certificate is not None and key is not None:
            check_private(key)
            context.load_cert_chain(certificate, key)
    except KeyRefused as refused:
        raise UrlRefused(str(refused)) from None
    except (OSError, ssl.SSLError) as error:
        raise UrlRefused(
            f"{folder}: the certificates beside the identity file can't be used ({error}); "
            "copy the whole folder that `esp-broker init` wrote"
        ) from None
    return context


class MqttBroker:
    """Opens clean sessions with one broker."""

    def __init__(self, address: BrokerAddress) -> None:
        self._address = address
        self._version: int | None = None
        self._finding_out = asyncio.Lock()

    @asynccontextmanager
    async def connect(self, client_id: str, will: Will | None) -> AsyncIterator[Connection]:
        """A session that ends with the context."""
        session = await self._open(client_id, will)
        try:
            yield session
        finally:
            await session.hang_up()

    async def _open(self, client_id: str, will: Will | None) -> _MqttConnection:
        try:
            return await self._try(client_id, will, await self._known_version())
        except MQTTConnectError as error:
            # Another broker may answer at this address next time.
            self._version = None
            raise _translated(error) from None
        except BrokerLost:
            self._version = None
            raise

    async def _known_version(self) -> int:
        """Ask once with a bare CONNECT: amqtt refuses version 5 only there, and keeps silent when a will comes with it."""
        async with self._finding_out:
            if self._version is None:
                self._version = await self._find_out()
            return self._version

    async def _find_out(self) -> int:
        try:
            name = f"esp-collector-asks-{uuid.uuid4()}"
            session = await self._try(name, None, MQTTv50, is_bare=True)
        except MQTTConnectError as error:
            if _code(error) not in _WRONG_VERSION_CODES:
                raise
            return MQTTv311
        await session.hang_up()
        return MQTTv50

    async def _try(
        self, client_id: str, will: Will | None, version: int, *, is_bare: bool = False
    ) -> _MqttConnection:
        session = _MqttConnection(self._address, client_id, will, version, is_bare=is_bare)
        try:
            await session.open()
        except BaseException:
            await session.hang_up()
            raise
        return session


class _Unacknowledged(PersistentStorage):
    """What was published and not yet acknowledged by the broker; tells when a packet is."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.waiting: dict[int, _Flight] = {}

    def remove_message_by_mid(self, mid: int) -> None:
        """The broker has it."""
        super().remove_message_by_mid(mid)  # type: ignore[no-untyped-call]
        flight = self.waiting.pop(mid, None)
        if flight is not None:
            flight.landed()


class _Flight:
    """Some messages that were sent together."""

    __slots__ = ("_left", "all_landed")

    def __init__(self, size: int) -> None:
        self._left = size
        self.all_landed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def landed(self) -> None:
        self._left -= 1
        if not self._left and not self.all_landed.done():
            self.all_landed.set_result(None)


class _MqttConnection:
    """One session: the library's client and what it has delivered."""

    def __init__(
        self,
        address: BrokerAddress,
        client_id: str,
        will: Will | None,
        version: int,
        *,
        is_bare: bool = False,
    ) -> None:
        """`is_bare` asks with nothing that only version 5 has but the version itself."""
        self._address = address
        self._version = version
        self._sent = _Unacknowledged()
        self._inbox: deque[Delivered] = deque()
        self._arrived = asyncio.Event()
        self._lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._granted: dict[int, asyncio.Future[tuple[int, ...]]] = {}
        self._publishing = asyncio.Lock()
        self._is_paused = False
        self._resting: asyncio.TimerHandle | None = None
        self._writer: Writer | None = None
        properties = {"receive_maximum": RECEIVE_MAX} if version == MQTTv50 and not is_bare else {}
        self._client: Any = gmqtt.Client(
            client_id,
            clean_session=True,
            will_message=None
            if will is None
            else gmqtt.Message(will.topic, will.payload, qos=1, retain=True),
            persistent_storage=self._sent,
            logger=_LOGGER,
            **properties,
        )
        if address.username is not None:
            self._client.set_auth_credentials(address.username, address.password)
        self._client.set_config({"reconnect_retries": _NEVER})
        self._client.on_message = self._on_message
        self._client.on_disconnect = self._on_disconnect
        self._client.on_subscribe = self._on_subscribe

    async def open(self) -> None:
        """Connect. Raises `MQTTConnectError` when the broker refuses, `BrokerLost` for everything else."""
        connecting = asyncio.ensure_future(
            self._client.connect(
                self._address.host,
                self._address.port,
                ssl=self._address.tls or False,
                keepalive=KEEPALIVE_S,
                version=self._version,
            )
        )
        try:
            await asyncio.wait(
                {connecting, self._lost},
                timeout=CONNECT_TIMEOUT_S,
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            if not connecting.done():
                connecting.cancel()
            results: list[object] = await asyncio.gather(connecting, return_exceptions=True)
        result = results[0]
        if isinstance(result, MQTTConnectError):
            raise result
        if self._client._connection_state.protocol_version != self._version:  # noqa: SLF001
            # The library has understood that the broker does not speak this version, and would begin anew.
            raise MQTTConnectError(1)
        if isinstance(result, asyncio.CancelledError):
            raise BrokerLost(
                "the broker did not answer in time" if not self._lost.done() else _ENDED
            )
        if isinstance(result, BaseException):
            raise BrokerLost(str(result) or type(result).__name__)
        if self._lost.done():
            raise BrokerLost(_ENDED)
        self._writer = Writer(self._client._connection._protocol)  # noqa: SLF001

    async def hang_up(self) -> None:
        """End the session, with a farewell if it still stands."""
        connection = self._client._connection  # noqa: SLF001
        self._client._is_active = False  # noqa: SLF001
        if self._resting is not None:
            self._resting.cancel()
        if connection is None:
            return
        if self._writer is not None:
            self._writer.end()
        transport = connection._transport  # noqa: SLF001
        try:
            await asyncio.wait_for(self._client.disconnect(), HANG_UP_S)
        except (TimeoutError, OSError, RuntimeError) as error:
            _LOGGER.debug("closing: %s", error)
        finally:
            transport.abort()
            reading = connection._protocol._read_loop_future  # noqa: SLF001
            if reading is not None:
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)

    async def subscribe(self, filters: Sequence[str]) -> None:
        """See `Connection.subscribe`."""
        packet = self._client.subscribe([gmqtt.Subscription(f, qos=1) for f in filters])
        granted: asyncio.Future[tuple[int, ...]] = asyncio.get_running_loop().create_future()
        self._granted[packet] = granted
        await self._until(granted)
        for wanted, answer in zip(filters, granted.result(), strict=True):
            if answer >= _SUBACK_FAILURE:
                raise BrokerRefused(f"subscribing to '{wanted}' is not allowed")

    async def publish(self, topic: str, payload: bytes) -> None:
        """See `Connection.publish`."""
        await self.publish_all([(topic, payload)])

    async def publish_all(self, messages: Sequence[tuple[str, bytes]]) -> None:
        """See `Connection.publish_all`."""
        async with self._publishing:
            # No more at a time than the broker's Receive Maximum allows, less what subscribing may need.
            size = max(1, min(INFLIGHT_MAX, self._client._package_handler.id_generator._max - 4))  # noqa: SLF001
            for start in range(0, len(messages), size):
                some = messages[start : start + size]
                flight = _Flight(len(some))
                for topic, payload in some:
                    self._send(topic, payload, flight)
                await self._until(flight.all_landed)

    def _send(self, topic: str, payload: bytes, flight: _Flight) -> None:
        if self._lost.done():
            raise BrokerLost(_ENDED)
        message = gmqtt.Message(topic, payload, qos=1, retain=True)
        packet, content = self._client._connection.publish(message)  # noqa: SLF001
        self._sent.push_message(packet, content)  # type: ignore[no-untyped-call]
        self._sent.waiting[packet] = flight

    async def messages(self) -> AsyncIterator[Delivered]:
        """See `Connection.messages`."""
        while True:
            while self._inbox:
                yield self._inbox.popleft()
                if self._is_paused and len(self._inbox) == INCOMING_MAX // 2:
                    self._read_on()
            if self._lost.done():
                raise BrokerLost(_ENDED)
            self._arrived.clear()
            await self._arrived.wait()

    async def _until(self, happened: asyncio.Future[Any]) -> None:
        """Wait for an answer of the broker."""
        await asyncio.wait(
            {happened, self._lost}, timeout=KEEPALIVE_S, return_when=asyncio.FIRST_COMPLETED
        )
        if not happened.done():
            raise BrokerLost(_ENDED if self._lost.done() else "the broker does not answer")

    def _on_message(
        self, _client: object, topic: str, payload: bytes, _qos: int, properties: dict[str, Any]
    ) -> None:
        self._inbox.append(Delivered(topic, payload, bool(properties["retain"])))
        self._arrived.set()
        if not self._is_paused:
            self._is_paused = True
            self._client._connection._transport.pause_reading()  # noqa: SLF001
            self._resting = asyncio.get_running_loop().call_later(READ_APART_S, self._rested)

    def _rested(self) -> None:
        self._resting = None
        if len(self._inbox) < INCOMING_MAX:
            self._read_on()

    def _read_on(self) -> None:
        """Unless it has read just now, or the connection is gone."""
        if self._resting is None and not self._lost.done():
            self._is_paused = False
            self._client._connection._transport.resume_reading()  # noqa: SLF001

    def _on_disconnect(self, _client: object, *_: object) -> None:
        if not self._lost.done():
            self._lost.set_result(None)
        self._arrived.set()

    def _on_subscribe(
        self, _client: object, packet: int, granted: tuple[int, ...], _properties: object
    ) -> None:
        waiting = self._granted.pop(packet, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(granted)


_ENDED: Final = "the connection ended"


def _code(error: MQTTConnectError) -> int:
    return int(error._code)  # noqa: SLF001


def _translated(error: MQTTConnectError) -> BrokerLost | BrokerRefused:
    if _code(error) in _REFUSAL_CODES | _REFUSAL_CODES_311:
        return BrokerRefused(str(error))
    return BrokerLost(str(error))
