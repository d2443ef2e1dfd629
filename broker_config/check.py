"""What a running broker really refuses: every rule is tried out on it, whatever broker it is."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum

import aiomqtt

from agent.wire.codec import PAYLOAD_BYTES_MAX
from agent.wire.topics import Channel, collector_topic, device_topic, partition_of
from broker_config.personas import ANSWER_S, Cast, Persona
from broker_config.readiness import connect_packet

SUBSCRIPTIONS_MANY = 10_000
SUBSCRIPTIONS_A_PACKET = 100
SHARED_REPORTS = 8
TOPICS_NAMED = 3
WELCOME = b"\x20\x02\x00\x00"
"""CONNACK of MQTT 3.1.1, section 3.2, without an error."""
INBOUND = (Channel.ASSIGNMENT, Channel.ACK, Channel.COMMAND)
OUTBOUND = (Channel.EVENT, Channel.STATUS, Channel.PRESENCE)


class Verdict(StrEnum):
    """What came of a rule."""

    PASS = "pass"  # noqa: S105
    FAIL = "FAIL"
    NOT_CHECKED = "not checked"


@dataclass(frozen=True, slots=True)
class Finding:
    """One rule, whether the broker keeps it, what was seen, and what to do about it."""

    rule: str
    promise: str
    verdict: Verdict
    seen: str = ""
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Rule:
    """A promise, how to try it, and what to do where it is broken. A trial gives what broke it, or nothing."""

    name: str
    promise: str
    remedy: str
    trial: Callable[[Cast], Awaitable[str | None]]


async def check(cast: Cast, report: Callable[[Finding], None]) -> list[Finding]:
    """Try every rule; each finding is reported as it is made."""
    found: list[Finding] = []
    for name, promise, remedy in DOORS:
        stranger = cast.strangers.get(name)
        found.append(
            Finding(name, promise, Verdict.NOT_CHECKED, _why_nobody_knocks(cast))
            if stranger is None
            else await _found(name, promise, remedy, _gets_in(stranger))
        )
        report(found[-1])
    if not cast.first.address.is_tls:
        seen = "it was reached without encryption"
        found.append(Finding("encrypted", ENCRYPTED, Verdict.FAIL, seen, "listen with TLS only"))
        report(found[-1])
    try:
        for rule in RULES:
            found.append(await _found(rule.name, rule.promise, rule.remedy, rule.trial(cast)))
            report(found[-1])
    finally:
        await _clear(cast)
    return found


async def _found(name: str, promise: str, remedy: str, trial: Awaitable[str | None]) -> Finding:
    try:
        broken = await trial
    except (aiomqtt.MqttError, OSError, TimeoutError) as error:
        seen = f"could not be tried: {str(error) or type(error).__name__}"
        return Finding(name, promise, Verdict.NOT_CHECKED, seen)
    if broken is None:
        return Finding(name, promise, Verdict.PASS)
    return Finding(name, promise, Verdict.FAIL, broken, remedy)


def _why_nobody_knocks(cast: Cast) -> str:
    return NEEDS_DIRECTORY if cast.first.address.is_tls else NO_TLS


ENCRYPTED = "what travels can't be read on the way"
NEEDS_DIRECTORY = "needs a certificate of that kind, which only --dir can make"
NO_TLS = "the address that was given has no TLS; give the one that devices use"
DOORS = (
    (
        "no-account",
        "nobody gets in without an account",
        "let in only who has a certificate (Mosquitto: `require_certificate true`; EMQX: `fail_if_no_peer_cert = true`)",
    ),
    (
        "plain-text",
        "the port for TLS answers nothing else",
        "give the listener a certificate (`certfile` and `keyfile`)",
    ),
    (
        "other-authority",
        "a certificate that somebody else signed is refused",
        "trust the devices' authority alone (Mosquitto: `cafile`; EMQX: `cacertfile`)",
    ),
    (
        "expired",
        "a certificate that has expired is refused",
        "let the broker verify certificates, and look at its clock",
    ),
    (
        "revoked",
        "a certificate that was revoked is refused",
        "give the broker the revocation list (Mosquitto: `crlfile`), and let it read that anew (SIGHUP)",
    ),
)


async def _gets_in(stranger: Persona) -> str | None:
    """Whether a CONNECT is answered with a welcome; whatever else happens is a refusal."""
    host = stranger.address.host
    try:
        async with asyncio.timeout(ANSWER_S):
            reader, writer = await asyncio.open_connection(
                host,
                stranger.address.port,
                ssl=stranger.tls,
                server_hostname=None if stranger.tls is None else host,
            )
            try:
                writer.write(connect_packet(stranger.name.encode()))
                answer = await reader.readexactly(4)
            finally:
                writer.close()
    except (OSError, TimeoutError, asyncio.IncompleteReadError):
        return None
    return "it was let in" if answer == WELCOME else None


async def _own(cast: Cast) -> str | None:
    wanted = [_topic(cast, cast.first, channel) for channel in OUTBOUND]
    async with _watched(cast) as seen, cast.first.connected() as device:
        for name in wanted:
            await device.publish(name, b"{}", qos=1)
        missing = [name for name in wanted if not await seen.has(name)]
    return f"never arrived: {_named(missing)}" if missing else None


async def _write_other(cast: Cast) -> str | None:
    return await _writes(cast, [_topic(cast, cast.first, channel) for channel in OUTBOUND])


async def _write_inbound(cast: Cast) -> str | None:
    forbidden = [
        _topic(cast, whose, channel) for channel in INBOUND for whose in (cast.first, cast.second)
    ]
    return await _writes(
        cast, [*forbidden, str(collector_topic(cast.tenant, partition_of(cast.second.name)))]
    )


async def _writes(cast: Cast, forbidden: Sequence[str]) -> str | None:
    """What of this arrives when the second device publishes it."""
    fence = _topic(cast, cast.second, Channel.EVENT)
    async with _watched(cast, *forbidden) as seen:
        for name in forbidden:
            # A broker may end the connection of whoever tries, so that each gets one of its own.
            with suppress(aiomqtt.MqttError):
                async with cast.second.connected() as device:
                    await device.publish(name, b"{}", qos=1)
        async with cast.second.connected() as device:
            await device.publish(fence, b"{}", qos=1)
        if not await seen.has(fence):
            return "what it may publish did not arrive either"
        got = [name for name in forbidden if name in seen.topics]
    return f"arrived: {_named(got)}" if got else None


async def _will(cast: Cast) -> str | None:
    forbidden, fence = (
        _topic(cast, whose, Channel.PRESENCE) for whose in (cast.first, cast.second)
    )
    async with _watched(cast) as seen:
        for will in (forbidden, fence):
            with suppress(aiomqtt.MqttError):
                async with cast.second.connected(will=will) as device:
                    _cut(device)
        if not await seen.has(fence):
            return "its own will did not arrive either"
        return "it arrived" if forbidden in seen.topics else None


async def _read_other(cast: Cast) -> str | None:
    others = [_topic(cast, cast.first, channel) for channel in Channel]
    root = "/".join(others[0].split("/")[:3])
    wanted = [*others, "#", f"{root}/#", "esp/1/#", "+/+/+/+/+/+"]
    return await _reads(cast, wanted, [_topic(cast, cast.first, channel) for channel in INBOUND])


async def _reads(cast: Cast, wanted: Sequence[str], said: Sequence[str]) -> str | None:
    """What the second device gets to hear of the first, whatever it subscribes to."""
    fence = _topic(cast, cast.second, Channel.ACK)
    async with cast.collector.connected() as collector, cast.second.connected() as device:
        seen = _Seen(device)
        with suppress(aiomqtt.MqttError):
            for name in wanted:
                await device.subscribe(name, qos=1)
        await device.subscribe(fence, qos=1)
        async with seen.listening(), cast.first.connected() as first:
            for name in said:
                await collector.publish(name, b"{}", qos=1)
            with suppress(aiomqtt.MqttError):
                for channel in OUTBOUND:
                    await first.publish(_topic(cast, cast.first, channel), b"{}", qos=1)
            await collector.publish(fence, b"{}", qos=1)
            if not await seen.has(fence):
                return "what it may read did not arrive either"
    got = sorted({name for name in seen.topics if f"/{cast.first.name}/" in name})
    return f"it heard {_named(got)}" if got else None


async def _read_system(cast: Cast) -> str | None:
    """Brokers say something about themselves every ten seconds or so, and at once what is retained."""
    fence = _topic(cast, cast.second, Channel.ACK)
    async with cast.collector.connected() as collector, cast.second.connected() as device:
        seen = _Seen(device)
        with suppress(aiomqtt.MqttError):
            await device.subscribe("$SYS/#", qos=1)
        await device.subscribe(fence, qos=1)
        async with seen.listening():
            await collector.publish(fence, b"{}", qos=1)
            await seen.has(fence)
    got = [name for name in seen.topics if name.startswith("$SYS")]
    return f"it heard {len(got)} of the broker's own figures" if got else None


async def _shared(cast: Cast) -> str | None:
    event = _topic(cast, cast.first, Channel.EVENT)
    pattern = "/".join([*event.split("/")[:3], "+", "+", Channel.EVENT.value])
    async with _watched(cast) as seen, cast.second.connected() as thief:
        for group in ("collector", "esp-collector"):
            with suppress(aiomqtt.MqttError):
                await thief.subscribe(f"$share/{group}/{pattern}", qos=1)
        async with cast.first.connected() as device:
            for _ in range(SHARED_REPORTS):
                await device.publish(event, b"{}", qos=1)
            last = _topic(cast, cast.first, Channel.PRESENCE)
            await device.publish(last, b"{}", qos=1)
            await seen.has(last)
        arrived = seen.topics.count(event)
    return None if arrived == SHARED_REPORTS else f"{arrived} of {SHARED_REPORTS} reports arrived"


async def _take_over(cast: Cast) -> str | None:
    """Whether the other device is thrown out, or goes on and no longer gets what is sent to it."""
    own = _topic(cast, cast.first, Channel.ACK)
    async with cast.collector.connected() as collector, cast.first.connected() as first:
        seen = _Seen(first, payload=b"{}")
        await first.subscribe(own, qos=1)
        async with seen.listening():
            with suppress(aiomqtt.MqttError):
                async with cast.second.connected(client_id=cast.first.name):
                    pass
            try:
                await first.publish(_topic(cast, cast.first, Channel.EVENT), b"{}", qos=1)
            except aiomqtt.MqttError:
                return "the other device's connection ended"
            await collector.publish(own, b"{}", qos=1)
            heard = await seen.has(own)
    return None if heard else "the other device no longer gets what is sent to it"


async def _oversized(cast: Cast) -> str | None:
    event = _topic(cast, cast.second, Channel.EVENT)
    async with cast.second.connected() as device:
        sent = asyncio.create_task(device.publish(event, b"x" * (2 * PAYLOAD_BYTES_MAX), qos=1))
        ended = asyncio.create_task(_ended(device))
        done, _ = await asyncio.wait({sent, ended}, return_when=asyncio.FIRST_COMPLETED)
        for task in (sent, ended):
            task.cancel()
        outcomes = await asyncio.gather(sent, ended, return_exceptions=True)
    if sent not in done or isinstance(outcomes[0], aiomqtt.MqttError):
        return None
    return f"a message of {2 * PAYLOAD_BYTES_MAX} bytes was taken"


async def _many_subscriptions(cast: Cast) -> str | None:
    """A broker may cut the client off, or refuse what is too many."""
    async with cast.second.connected() as device:
        try:
            for first in range(0, SUBSCRIPTIONS_MANY, SUBSCRIPTIONS_A_PACKET):
                batch = range(first, first + SUBSCRIPTIONS_A_PACKET)
                codes = await device.subscribe([(f"esp/check/{number}", 0) for number in batch])
                if any(code != 0 for code in codes):
                    return None
            await asyncio.wait_for(_ended(device), ANSWER_S)
        except aiomqtt.MqttError:
            return None
        except TimeoutError:
            return f"{SUBSCRIPTIONS_MANY} subscriptions were taken"
    return None


RULES = (
    Rule(
        "own",
        "what a device may publish arrives",
        "compare the access rules with those that `esp-broker init` writes, or `esp-broker emqx` prints",
        _own,
    ),
    Rule(
        "write-other",
        "a device publishes nothing for another one",
        "bind topics to the user name (Mosquitto: `%u`; EMQX: `${username}`)",
        _write_other,
    ),
    Rule(
        "write-inbound",
        "no device writes assignments, acknowledgements, commands or the collector's state",
        "give these to the collector alone",
        _write_inbound,
    ),
    Rule(
        "will",
        "a device's will speaks for itself only",
        "apply the rules for publishing to wills",
        _will,
    ),
    Rule(
        "read-other",
        "a device reads nothing of another one, by no wildcard",
        "allow no `#`, and bind topics to the user name (Mosquitto: `%u`; EMQX: `${username}`)",
        _read_other,
    ),
    Rule("read-system", "a device learns nothing of the broker", "allow no `$SYS/#`", _read_system),
    Rule(
        "shared",
        "nobody takes reports away from the collector through a shared subscription",
        "refuse `$share/#` to devices, or let no collector be in a group",
        _shared,
    ),
    Rule(
        "take-over",
        "nobody ends another's connection with its client id",
        "make the user name the client id (Mosquitto: `use_username_as_clientid true`; EMQX: `peer_cert_as_clientid = cn`)",
        _take_over,
    ),
    Rule(
        "oversized",
        "a packet over the limit is refused",
        "limit the size of packets (`max_packet_size`)",
        _oversized,
    ),
    Rule(
        "many-subscriptions",
        "a client with thousands of subscriptions is cut off",
        "limit them (Mosquitto: start it by `esp-broker run`; EMQX: `max_subscriptions`)",
        _many_subscriptions,
    ),
)


class _Seen:
    """What arrived at a client."""

    def __init__(self, client: aiomqtt.Client, payload: bytes | None = None) -> None:
        """With a payload, nothing else counts: on a broker at work others publish as well."""
        self._client = client
        self._payload = payload
        self._news = asyncio.Event()
        self.topics: list[str] = []

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self._listen(), name="check listens")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def has(self, topic: str) -> bool:
        """Whether something arrives on a topic, now or within the time that a broker may take."""
        with suppress(TimeoutError):
            async with asyncio.timeout(ANSWER_S):
                while topic not in self.topics:
                    self._news.clear()
                    await self._news.wait()
        return topic in self.topics

    async def _listen(self) -> None:
        async for message in self._client.messages:
            if self._payload not in {None, message.payload}:
                continue
            self.topics.append(str(message.topic))
            self._news.set()


@asynccontextmanager
async def _watched(cast: Cast, *more: str) -> AsyncIterator[_Seen]:
    """What reaches the collector of the two devices, on their own topics and on those that are named."""
    own = [_topic(cast, whose, c) for whose in (cast.first, cast.second) for c in Channel]
    async with cast.collector.connected() as client:
        seen = _Seen(client, payload=b"{}")
        for name in dict.fromkeys([*own, *more]):
            await client.subscribe(name, qos=1)
        async with seen.listening():
            yield seen


async def _clear(cast: Cast) -> None:
    """Leave nothing retained behind."""
    with suppress(aiomqtt.MqttError):
        async with cast.collector.connected() as collector:
            for whose in (cast.first, cast.second):
                for channel in Channel:
                    await collector.publish(_topic(cast, whose, channel), b"", qos=1, retain=True)


async def _ended(client: aiomqtt.Client) -> None:
    async for _ in client.messages:
        pass


def _named(topics: Sequence[str]) -> str:
    """The first few of them."""
    more = len(topics) - TOPICS_NAMED
    return ", ".join(topics[:TOPICS_NAMED]) + (f" and {more} more" if more > 0 else "")


def _cut(client: aiomqtt.Client) -> None:
    """End a connection without a farewell, which is what releases a will."""
    connected = client._client.socket()  # noqa: SLF001
    assert isinstance(connected, socket.socket), "it is connected"
    connected.shutdown(socket.SHUT_RDWR)


def _topic(cast: Cast, whose: Persona, channel: Channel) -> str:
    command = "esp-check" if channel is Channel.COMMAND else None
    return str(device_topic(cast.tenant, whose.name, channel, command))
