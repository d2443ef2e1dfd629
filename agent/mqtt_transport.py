"""The transport: MQTT 5 or 3.1.1 through aiomqtt, with what the broker refuses brought to light.

aiomqtt 2.5 returns from a publish that the broker refused, from a subscription that it refused, and waits its whole
time-out when the connection ends before it was accepted. This module looks at paho's callbacks itself for these.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
import traceback
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from socket import SHUT_RDWR, socket
from typing import Any, Final, Literal, Self
from urllib.parse import urlsplit

import aiomqtt
import paho.mqtt.client as paho
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from agent.runtime.ports import Incoming, TransportLost, TransportRefused, Will

logger = logging.getLogger(__name__)

INCOMING_MAX: Final = 1_000
"""What arrives beyond this, unread, is discarded: all of it can be asked for again."""
FAILURE: Final = 0x80
UNSUPPORTED_VERSION: Final = 0x84
REFUSED_CODES: Final = frozenset(
    {
        0x85,  # client identifier not valid
        0x86,  # bad user name or password
        0x87,  # not authorized
        0x8A,  # banned
        0x8C,  # bad authentication method
    }
)
"""Reason codes of MQTT 5, section 2.4, that trying again soon does not help; paho maps those of 3.1.1 to them."""


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """Where the broker listens."""

    host: str
    port: int
    tls: bool

    @classmethod
    def parse(cls, url: str) -> BrokerAddress:
        """Read `mqtt://host[:port]` or `mqtts://host[:port]`.

        Raises:
            ValueError: one sentence with the remedy.
        """
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise ValueError(f"'{url}' is no address of a broker: {error}") from None
        if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname:
            raise ValueError(
                f"'{url}' is no address of a broker; write mqtt://host:port, or mqtts://host:port for TLS"
            )
        if parts.username is not None or parts.path not in ("", "/") or parts.query:
            raise ValueError(
                "an address of a broker has a host and a port only; credentials belong into the identity file"
            )
        tls = parts.scheme == "mqtts"
        return cls(parts.hostname, port or (8883 if tls else 1883), tls)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'mqtts' if self.tls else 'mqtt'}://{host}:{self.port}"


def tls_context(
    ca_file: Path | None, certificate_file: Path | None = None, key_file: Path | None = None
) -> ssl.SSLContext:
    """A client's TLS context; one is enough for a whole fleet, and a good deal smaller than one for each.

    Raises:
        ValueError: a file can't be used; one sentence with its name.
    """
    try:
        context = ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
    except (OSError, ssl.SSLError) as error:
        raise ValueError(f"{ca_file}: cannot be used as certificate authority ({error})") from error
    if certificate_file is not None:
        try:
            context.load_cert_chain(certificate_file, key_file)
        except (OSError, ssl.SSLError) as error:
            raise ValueError(
                f"{certificate_file}: cannot be used as certificate with its key ({error})"
            ) from error
    return context


class SpokenVersion:
    """Which protocol version a broker speaks, once that is known; a fleet may share one, for one broker."""

    def __init__(self, version: Literal["5", "3.1.1"] | None = None) -> None:
        self.version = version


class MqttTransport:
    """Opens clean MQTT sessions: version 5, or 3.1.1 once the broker has refused 5.

    Args:
        tls: needed when the address says so.
        spoken: what is known of the broker's version; None finds out.
        timeout_s: how long the broker may take for one answer.
        keepalive_s: how soon the broker notices that a silent device is gone: after one and a half times this.
    """

    def __init__(
        self,
        address: BrokerAddress,
        *,
        username: str | None = None,
        password: str | None = None,
        tls: ssl.SSLContext | None = None,
        spoken: SpokenVersion | None = None,
        timeout_s: float = 10,
        keepalive_s: int = 60,
    ) -> None:
        assert address.tls == (tls is not None), "TLS goes with an address that asks for it"
        self._address = address
        self._username = username
        self._password = password
        self._tls = tls
        self._spoken = SpokenVersion() if spoken is None else spoken
        self._timeout_s = timeout_s
        self._keepalive_s = keepalive_s

    @property
    def version(self) -> str:
        """The protocol version that the next connection begins with."""
        return self._spoken.version or "5"

    @contextlib.asynccontextmanager
    async def connect(self, client_id: str, will: Will | None) -> AsyncIterator[MqttConnection]:
        """See `Transport.connect`."""
        try:
            if self._spoken.version is None and will is not None:
                await self._find_version(client_id)
            client = await self._open(client_id, will)
        except aiomqtt.MqttError as error:
            raise _translated(error) from error
        try:
            yield MqttConnection(client)
        finally:
            await client.hang_up()

    async def _find_version(self, client_id: str) -> None:
        """Knock without a will: a broker that reads 3.1.1 only may take a will of version 5 for something else.

        amqtt 0.11 then waits for bytes that never come, instead of refusing the version.
        """
        client = await self._open(client_id, None)
        await client.hang_up()

    async def _open(self, client_id: str, will: Will | None) -> _Client:
        # Another device of the fleet may find the version out meanwhile.
        tried = self.version
        try:
            client = await self._open_once(client_id, will)
        except aiomqtt.MqttError as error:
            if tried != "5" or not _refuses_version(error):
                raise
            logger.info("%s does not speak MQTT 5; using 3.1.1", self._address)
            self._spoken.version = "3.1.1"
            client = await self._open_once(client_id, will)
        self._spoken.version = self._spoken.version or "5"
        return client

    async def _open_once(self, client_id: str, will: Will | None) -> _Client:
        is_v5 = self.version == "5"
        client = _Client(
            self._address.host,
            self._address.port,
            identifier=client_id,
            username=self._username,
            password=self._password,
            tls_context=self._tls,
            protocol=aiomqtt.ProtocolVersion.V5 if is_v5 else aiomqtt.ProtocolVersion.V311,
            clean_session=None if is_v5 else True,
            clean_start=True if is_v5 else paho.MQTT_CLEAN_START_FIRST_ONLY,
            will=None
            if will is None
            else aiomqtt.Will(will.topic, will.payload, qos=1, retain=True),
            timeout=self._timeout_s,
            keepalive=self._keepalive_s,
        )
        await client.open()
        return client


class _Client(aiomqtt.Client):
    """An aiomqtt client that listens to paho itself where aiomqtt keeps silent."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._confirmations: dict[int, asyncio.Future[None]] = {}
        self._discarded = 0
        self.arrived: deque[Incoming] = deque()
        self.news = asyncio.Event()
        self._client.on_disconnect = self._ended
        self._client.on_publish = self._confirmed
        self._client.on_message = self._message_arrived
        self._create_socket = self._client._create_socket  # noqa: SLF001
        self._client._create_socket = self._create_wanted_socket  # type: ignore[method-assign]  # noqa: SLF001
        self._is_wanted = True

    @property
    def end(self) -> str | None:
        """Why the connection ended; None while it stands."""
        if not self._disconnected.done():
            return None
        error = self._disconnected.exception()
        return "the connection ended" if error is None else str(error)

    async def publish_confirmed(self, topic: str, payload: bytes, *, retain: bool) -> None:
        """Publish at QoS 1 and wait for the broker's word, which may be a refusal."""
        info = self._client.publish(topic, payload, qos=1, retain=retain)
        if info.rc != paho.MQTT_ERR_SUCCESS:
            raise TransportLost(paho.error_string(info.rc))
        confirmation: asyncio.Future[None] = self._loop.create_future()
        self._confirmations[info.mid] = confirmation
        try:
            async with asyncio.timeout(self.timeout):
                await confirmation
        except TimeoutError:
            raise TransportLost("the broker did not confirm a message in time") from None
        finally:
            self._confirmations.pop(info.mid, None)

    async def open(self) -> None:
        """Connect; gives up at once when it is cancelled, and leaves nothing open when it fails.

        Raises:
            MqttError: there is no connection.
        """
        # Cancelling aiomqtt itself would cancel futures that paho's callbacks look at later.
        ended, opening = self._disconnected, asyncio.ensure_future(self.__aenter__())
        try:
            await asyncio.shield(opening)
        except asyncio.CancelledError:
            await self._give_up(opening)
            raise
        except aiomqtt.MqttError as error:
            # paho leaves the socket of a failed TLS handshake in the frames of the exception; it is closed with them.
            if error.__context__ is not None:
                traceback.clear_frames(error.__context__.__traceback__)
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
        """End the connection, with a farewell if it still stands, and leave nothing open behind."""
        with contextlib.suppress(aiomqtt.MqttError):
            if self._lock.locked():
                await self.__aexit__(None, None, None)
        self._drop()
        if self._misc_task is not None:
            await asyncio.gather(self._misc_task, return_exceptions=True)

    def cut(self) -> None:
        """End the connection under both ends; paho notices it as any loss."""
        connected = self._client.socket()
        if isinstance(connected, socket):
            with contextlib.suppress(OSError):
                connected.shutdown(SHUT_RDWR)

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

    # What paho calls, on a thread.

    def _create_wanted_socket(self) -> Any:
        created = self._create_socket()
        if not self._is_wanted:
            created.close()
            raise ConnectionAbortedError("given up")
        return created

    # What paho calls, on the event loop.

    def _ended(
        self,
        client: paho.Client,
        userdata: Any,
        flags: paho.DisconnectFlags,
        reason_code: ReasonCode,
        properties: Properties | None = None,
    ) -> None:
        if not self._connected.done():
            self._connected.set_exception(aiomqtt.MqttCodeError(reason_code))
        self._on_disconnect(client, userdata, flags, reason_code, properties)
        for confirmation in self._confirmations.values():
            if not confirmation.done():
                confirmation.set_exception(TransportLost(str(reason_code)))
        self.news.set()

    def _confirmed(
        self,
        _client: paho.Client,
        _userdata: Any,
        mid: int,
        reason_code: ReasonCode,
        _properties: Properties,
    ) -> None:
        confirmation = self._confirmations.get(mid)
        if confirmation is None or confirmation.done():
            return
        if reason_code.value in REFUSED_CODES:
            confirmation.set_exception(TransportRefused(f"may not publish ({reason_code})"))
        elif reason_code.value >= FAILURE:
            confirmation.set_exception(TransportLost(f"a message was refused ({reason_code})"))
        else:
            confirmation.set_result(None)

    def _message_arrived(
        self, _client: paho.Client, _userdata: Any, message: paho.MQTTMessage
    ) -> None:
        if len(self.arrived) >= INCOMING_MAX:
            self._discarded += 1
            if self._discarded == 1:
                logger.warning("more than %d messages wait to be read; discarding", INCOMING_MAX)
            return
        # A topic that is not UTF-8 is none of ours.
        with contextlib.suppress(UnicodeDecodeError):
            self.arrived.append(
                Incoming(message.topic, bytes(message.payload), bool(message.retain))
            )
            self.news.set()


class MqttConnection:
    """An open session, as `Connection` wants it."""

    def __init__(self, client: _Client) -> None:
        self._client = client

    async def subscribe(self, filters: Sequence[str]) -> None:
        """See `Connection.subscribe`."""
        try:
            codes = await self._client.subscribe([(name, 1) for name in filters])
        except aiomqtt.MqttError as error:
            raise _translated(error) from error
        for name, code in zip(filters, codes, strict=True):
            if _value(code) >= FAILURE:
                raise TransportRefused(f"may not subscribe to {name} ({code})")

    async def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """See `Connection.publish`."""
        if (end := self._client.end) is not None:
            raise TransportLost(end)
        await self._client.publish_confirmed(topic, payload, retain=retain)

    def abort(self) -> None:
        """Cut the connection without a farewell, as a network does: the broker publishes the will."""
        self._client.cut()

    async def messages(self) -> AsyncIterator[Incoming]:
        """See `Connection.messages`."""
        client = self._client
        while True:
            while client.arrived:
                yield client.arrived.popleft()
            if (end := client.end) is not None:
                raise TransportLost(end)
            client.news.clear()
            await client.news.wait()


def _refuses_version(error: aiomqtt.MqttError) -> bool:
    code = getattr(error, "rc", None)
    return isinstance(code, ReasonCode) and code.value == UNSUPPORTED_VERSION


def _value(code: Any) -> int:
    return int(code.value if isinstance(code, ReasonCode) else code)


def _translated(error: aiomqtt.MqttError) -> TransportLost | TransportRefused:
    code = getattr(error, "rc", None)
    if isinstance(code, ReasonCode):
        kind = TransportRefused if code.value in REFUSED_CODES else TransportLost
        return kind(str(code))
    return TransportLost(str(error) or type(error).__name__)
