"""The transport: MQTT 5 or 3.1.1 through aiomqtt, with what the broker refuses brought to light.

aiomqtt 2.5 returns from a publish that the broker refused, from a subscription that it refused, and waits its whole
time-out when the connection ends before it was accepted. This module looks at paho's callbacks itself for these.

A fleet has thousands of connections in one process, so what happens at each message is kept short: one system call
reads all that has arrived, what is said together is written together, and one timer watches all that is unconfirmed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
import time
import traceback
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from socket import SHUT_RDWR, socket
from typing import Any, Final, Literal, Self
from urllib.parse import urlsplit

import aiomqtt
import paho.mqtt.client as paho
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.exception import MalformedPacket
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from agent.runtime.ports import Incoming, TransportLost, TransportRefused, Will
from agent.tls_alerts import NO_ANSWER, distrust_of, refusal_of

logger = logging.getLogger(__name__)

INCOMING_MAX: Final = 1_000
"""What arrives beyond this, unread, is discarded: all of it can be asked for again."""
READ_BYTES: Final = 4_096
"""What one system call reads at least, if so much has arrived."""
LOOKS_A_KEEPALIVE: Final = 10
"""How often paho looks whether a ping is due, in the time after which one is."""
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
        try:
            await client.open()
        except aiomqtt.MqttError as error:
            if (refusal := client.refusal) is not None:
                raise TransportRefused(refusal) from error
            if self._tls is None and _value(getattr(error, "rc", 0)) == FAILURE:
                raise TransportLost(NO_ANSWER) from error
            raise
        return client


class _Paho(paho.Client):
    """paho, which reads byte by byte and makes half a dozen objects of the two bytes of a PUBACK, in fewer steps."""

    _ahead = b""
    """What was read and not taken yet begins at `_taken`."""
    _taken = 0
    _is_drained = False
    """The last read brought less than there was room for: nothing more has arrived."""

    refusal: str | None = None
    """Why the broker's TLS ended the connection, if it said so."""

    take_message: Callable[[bytes, bytes, bool], None]
    """Given topic, payload and whether it was retained, of every plain message at QoS 1."""

    take_word: Callable[[int, ReasonCode], None]
    """Given the identifier of every message that the broker has taken, and that it has."""

    def read(self) -> None:
        """Handle all that has arrived."""
        self._is_drained = False
        if self._taken >= len(self._ahead) and self._sock is not None:
            with contextlib.suppress(OSError):
                # An end or a failure is paho's to find, as it would be without this.
                self._read_ahead(READ_BYTES)
        while self._sock is not None:
            # What paho's `loop_read` does, without asking once more after the last packet.
            if (code := self._packet_read()) > 0:
                self._loop_rc_handle(code)
                return
            if self._taken >= len(self._ahead) and not self._has_decrypted():
                return

    def _has_decrypted(self) -> bool:
        """Whether bytes of TLS wait that no event of the socket tells of."""
        connected = self._sock
        return isinstance(connected, ssl.SSLSocket) and connected.pending() > 0

    def _packet_read(self) -> MQTTErrorCode:
        if self._is_drained and self._taken >= len(self._ahead):
            return MQTTErrorCode.MQTT_ERR_AGAIN
        if not self._take_packet():
            return super()._packet_read()
        with self._msgtime_mutex:
            self._last_bytes_received = time.monotonic()
        try:
            return self._packet_handle()
        except MalformedPacket:
            return MQTTErrorCode.MQTT_ERR_PROTOCOL
        finally:
            self._in_packet["command"] = self._in_packet["remaining_length"] = 0
            self._in_packet["packet"] = bytearray()

    def _take_packet(self) -> bool:
        """Take the next packet, if all of it is there: what paho puts together byte by byte, in one step."""
        packet, ahead, at = self._in_packet, self._ahead, self._taken
        if packet["command"] or len(ahead) < at + 2:
            return False
        # MQTT 5, section 1.5.5: seven bits of the length in each byte, and one that says whether another follows.
        length, begin = ahead[at + 1], at + 2
        if length & 0x80:
            if len(ahead) == begin or ahead[begin] & 0x80:
                return False
            length, begin = length & 0x7F | ahead[begin] << 7, begin + 1
        if len(ahead) < begin + length:
            return False
        packet["command"] = ahead[at]
        packet["packet"] = bytearray(ahead[begin : begin + length])
        packet["remaining_length"] = length
        self._taken = begin + length
        return True

    def _sock_recv(self, bufsize: int) -> bytes:
        if self._taken >= len(self._ahead):
            self._read_ahead(bufsize)
        taken = self._ahead[self._taken : self._taken + bufsize]
        self._taken += len(taken)
        return taken

    def _sock_send(self, buf: bytes | bytearray) -> int:
        try:
            return super()._sock_send(buf)
        except (ssl.SSLError, ConnectionError):
            # A broker that hung up may have said why before.
            with contextlib.suppress(OSError):
                self._read_ahead(READ_BYTES)
            raise

    def _read_ahead(self, least_bytes: int) -> None:
        """Read what has arrived. Raises `BlockingIOError` when nothing has."""
        if self._is_drained:
            raise BlockingIOError
        wanted = max(least_bytes, READ_BYTES)
        try:
            self._ahead, self._taken = super()._sock_recv(wanted), 0
        except ssl.SSLError as error:
            self.refusal = self.refusal or refusal_of(error)
            raise
        # TLS gives what one record holds.
        is_short = 0 < len(self._ahead) < wanted
        self._is_drained = is_short and not isinstance(self._sock, ssl.SSLSocket)

    def _handle_pubackcomp(self, cmd: Literal["PUBACK", "PUBCOMP"]) -> MQTTErrorCode:
        packet = self._in_packet["packet"]
        # MQTT 5, section 3.4.2: behind the identifier there may be a reason, and behind that properties. A plain word
        # of success, as that nobody has subscribed to this, has none.
        is_success = len(packet) < 3 or packet[2] < FAILURE
        if cmd != "PUBACK" or not is_success or any(packet[3:]):
            return super()._handle_pubackcomp(cmd)
        mid = int.from_bytes(packet[:2], "big")
        with self._out_message_mutex:
            message = self._out_messages.pop(mid, None)
            if message is None:
                return MQTTErrorCode.MQTT_ERR_SUCCESS
            self._inflight_messages -= 1
            self.take_word(mid, _SUCCESS)
            # Whatever else was published and has not left yet, because too much was on its way.
            return self._update_inflight() if self._out_messages else MQTTErrorCode.MQTT_ERR_SUCCESS

    def _send_publish(
        self,
        mid: int,
        topic: bytes,
        payload: bytes | bytearray = b"",
        qos: int = 0,
        retain: bool = False,
        dup: bool = False,
        info: paho.MQTTMessageInfo | None = None,
        properties: Properties | None = None,
    ) -> MQTTErrorCode:
        length = len(topic) + len(payload) + (5 if self._protocol == paho.MQTTv5 else 4)
        is_plain = qos == 1 and not dup and properties is None and length < _LENGTH_END
        if self._sock is None or not is_plain:
            return super()._send_publish(mid, topic, payload, qos, retain, dup, info, properties)
        # MQTT 5, section 3.3: topic, identifier, no properties, and what is said.
        packet = b"%c%b%b%b%b%b%b" % (
            paho.PUBLISH | 0x02 | retain,
            _length_bytes(length),
            len(topic).to_bytes(2, "big"),
            topic,
            mid.to_bytes(2, "big"),
            b"\0" if self._protocol == paho.MQTTv5 else b"",
            bytes(payload),
        )
        return self._packet_queue(paho.PUBLISH, packet, mid, qos, info)

    def _handle_publish(self) -> MQTTErrorCode:
        header, packet = self._in_packet["command"], self._in_packet["packet"]
        topic_end = 2 + int.from_bytes(packet[:2], "big")
        begin = topic_end + (3 if self._protocol == paho.MQTTv5 else 2)
        is_plain = begin <= len(packet) and (begin == topic_end + 2 or not packet[begin - 1])
        if header & 0x06 != 0x02 or topic_end == 2 or not is_plain:
            return super()._handle_publish()
        self.take_message(bytes(packet[2:topic_end]), bytes(packet[begin:]), bool(header & 0x01))
        return self._send_puback(int.from_bytes(packet[topic_end : topic_end + 2], "big"))


def _length_bytes(length: int) -> bytes:
    """MQTT 5, section 1.5.5: seven bits in each byte, the lowest first, and one that says whether another follows."""
    if length < 1 << 7:
        return bytes((length,))
    if length < 1 << 14:
        return bytes((length & 0x7F | 0x80, length >> 7))
    return bytes((length & 0x7F | 0x80, length >> 7 & 0x7F | 0x80, length >> 14))


_SUCCESS: Final = ReasonCode(PacketTypes.PUBACK)
_LENGTH_END: Final = 1 << 21
"""What three bytes of length can't say."""


class _Client(aiomqtt.Client):
    """An aiomqtt client that listens to paho itself where aiomqtt keeps silent."""

    _client: _Paho

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._confirmations: dict[int, tuple[asyncio.Future[None], float]] = {}
        """What the broker has to confirm, and when it is late; in the order in which it was published."""
        self._late_timer: asyncio.TimerHandle | None = None
        self._discarded = 0
        self._has_writer = False
        self._is_open = False
        self.arrived: deque[Incoming] = deque()
        self.news = asyncio.Event()
        # aiomqtt makes its paho itself.
        self._client.__class__ = _Paho
        self._client.take_message = self._take_message
        self._client.take_word = self._take_word
        self._client.on_disconnect = self._ended
        self._client.on_publish = self._confirmed
        self._client.on_message = self._message_arrived
        if not self._logger.isEnabledFor(logging.DEBUG):
            self._client.disable_logger()
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

    @property
    def refusal(self) -> str | None:
        """Why the broker's TLS ended the connection, if it said so."""
        return self._client.refusal

    def publish_confirmed(
        self, topic: str, payload: bytes, *, retain: bool
    ) -> asyncio.Future[None]:
        """Publish at QoS 1; done with the broker's word, which may be a refusal."""
        confirmation: asyncio.Future[None] = self._loop.create_future()
        if (end := self.end) is not None:
            confirmation.set_exception(TransportLost(end))
            return confirmation
        info = self._client.publish(topic, payload, qos=1, retain=retain)
        if info.rc != paho.MQTT_ERR_SUCCESS:
            confirmation.set_exception(TransportLost(paho.error_string(info.rc)))
            return confirmation
        self._confirmations[info.mid] = confirmation, self._loop.time() + self.timeout
        if self._late_timer is None:
            self._late_timer = self._loop.call_later(self.timeout, self._give_up_the_late)
        return confirmation

    def _give_up_the_late(self) -> None:
        now_s = self._loop.time()
        for mid, (confirmation, late_s) in list(self._confirmations.items()):
            if late_s > now_s:
                self._late_timer = self._loop.call_at(late_s, self._give_up_the_late)
                return
            del self._confirmations[mid]
            if not confirmation.done():
                lost = TransportLost("the broker did not confirm a message in time")
                confirmation.set_exception(lost)
        self._late_timer = None

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
        self._is_open = True

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
        if self._late_timer is not None:
            self._late_timer.cancel()

    async def _misc_loop(self) -> None:
        # aiomqtt looks once a second; a ping that is a tenth late is in time for the broker, which waits half as long again.
        pause_s = max(1.0, self._keepalive / LOOKS_A_KEEPALIVE)
        while self._client.loop_misc() == paho.MQTT_ERR_SUCCESS:  # noqa: ASYNC110
            await asyncio.sleep(pause_s)

    # What paho calls, on a thread.

    def _on_socket_open(self, _client: paho.Client, _userdata: Any, sock: Any) -> None:
        self._loop.call_soon_threadsafe(self._begin_to_read, sock.fileno())

    def _begin_to_read(self, file: int) -> None:
        self._loop.add_reader(file, self._look_after, self._client.read)
        self._misc_task = self._loop.create_task(self._misc_loop())

    def _create_wanted_socket(self) -> Any:
        created = self._create_socket()
        if not self._is_wanted:
            created.close()
            raise ConnectionAbortedError("given up")
        return created

    # What paho calls, on the event loop; only the first wish to write comes from the thread that connects.

    def _on_socket_register_write(self, _client: paho.Client, _userdata: Any, _sock: Any) -> None:
        if self._is_open:
            self._loop.call_soon(self._look_after, self._write)
        else:
            self._loop.call_soon_threadsafe(self._look_after, self._write)

    def _on_socket_unregister_write(self, _client: paho.Client, _userdata: Any, sock: Any) -> None:
        if self._has_writer:
            self._has_writer = False
            self._loop.remove_writer(sock.fileno())

    def _write(self) -> None:
        """Write what waits; what the system does not take now, when it does."""
        self._client.loop_write()
        connected = self._client.socket()
        if self._client.want_write() and connected is not None and not self._has_writer:
            self._has_writer = True
            self._loop.add_writer(connected.fileno(), self._look_after, self._client.loop_write)

    def _look_after(self, work: Callable[[], object]) -> None:
        """Whatever breaks while paho reads or writes ends the connection, as in aiomqtt."""
        try:
            work()
        except Exception as error:  # noqa: BLE001
            if not self._disconnected.done():
                self._disconnected.set_exception(error)
            self.news.set()

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
        for confirmation, _ in self._confirmations.values():
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
        self._take_word(mid, reason_code)

    def _take_word(self, mid: int, reason_code: ReasonCode) -> None:
        confirmation, _ = self._confirmations.pop(mid, (None, 0.0))
        if confirmation is None or confirmation.done():
            return
        if reason_code.value < FAILURE:
            confirmation.set_result(None)
        elif reason_code.value in REFUSED_CODES:
            confirmation.set_exception(TransportRefused(f"may not publish ({reason_code})"))
        else:
            confirmation.set_exception(TransportLost(f"a message was refused ({reason_code})"))

    def _message_arrived(
        self, _client: paho.Client, _userdata: Any, message: paho.MQTTMessage
    ) -> None:
        # A topic that is not UTF-8 is none of ours.
        with contextlib.suppress(UnicodeDecodeError):
            topic = message.topic.encode()
            self._take_message(topic, bytes(message.payload), bool(message.retain))

    def _take_message(self, topic: bytes, payload: bytes, retained: bool) -> None:
        if len(self.arrived) >= INCOMING_MAX:
            self._discarded += 1
            if self._discarded == 1:
                logger.warning("more than %d messages wait to be read; discarding", INCOMING_MAX)
            return
        with contextlib.suppress(UnicodeDecodeError):
            self.arrived.append(Incoming(topic.decode(), payload, retained))
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

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> asyncio.Future[None]:
        """See `Connection.publish`."""
        return self._client.publish_confirmed(topic, payload, retain=retain)

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
    return TransportLost(distrust_of(error) or str(error) or type(error).__name__)
