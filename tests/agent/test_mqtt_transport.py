"""The transport against real brokers: Mosquitto speaks MQTT 5, the embedded one 3.1.1 only."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import paho.mqtt.client as paho
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from agent import mqtt_transport
from agent.mqtt_transport import (
    BrokerAddress,
    MqttConnection,
    MqttTransport,
    SpokenVersion,
    tls_context,
)
from agent.runtime.ports import Connection, Incoming, TransportLost, TransportRefused, Will
from tests.agent.brokers import (
    cancelled_in_time,
    dying_broker,
    embedded_broker,
    no_complaints,
    silent_broker,
)


@dataclass
class Mosquitto:
    """A running Mosquitto with one account and its rights."""

    process: subprocess.Popen[bytes]
    port: int

    def transport(self, username: str | None = None, password: str | None = None) -> MqttTransport:
        address = BrokerAddress("127.0.0.1", self.port, tls=False)
        return MqttTransport(address, username=username, password=password, timeout_s=5)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def mosquitto(folder: Path, *lines: str) -> Iterator[Mosquitto]:
    """Mosquitto on a free port; ready when it accepts connections."""
    port = free_port()
    configuration = folder / "mosquitto.conf"
    configuration.write_text("\n".join([f"listener {port} 127.0.0.1", "user root", *lines]))
    process = subprocess.Popen(
        ["mosquitto", "-c", str(configuration)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for(port, process)
        yield Mosquitto(process, port)
    finally:
        process.send_signal(signal.SIGCONT)
        process.terminate()
        process.wait(10)


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    tick = threading.Event()
    for _ in range(500):
        assert process.poll() is None, "Mosquitto ended"
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        tick.wait(0.01)
    raise AssertionError("Mosquitto does not listen")


@pytest.fixture
def open_mosquitto(tmp_path: Path) -> Iterator[Mosquitto]:
    with mosquitto(tmp_path, "allow_anonymous true") as running:
        yield running


@pytest.fixture
def guarded_mosquitto(tmp_path: Path) -> Iterator[Mosquitto]:
    """The account `device` may write `own/#` and nothing else."""
    passwords, rules = tmp_path / "passwords", tmp_path / "acl"
    subprocess.run(
        ["mosquitto_passwd", "-b", "-c", str(passwords), "device", "secret"],
        check=True,
        capture_output=True,
    )
    rules.write_text("user device\ntopic write own/#\n")
    passwords.chmod(0o644)
    lines = ("allow_anonymous false", f"password_file {passwords}", f"acl_file {rules}")
    with mosquitto(tmp_path, *lines) as running:
        yield running


@pytest.fixture(scope="module")
def embedded_port() -> Iterator[int]:
    with embedded_broker() as port:
        yield port


@pytest.fixture(params=["mosquitto", "embedded"])
def any_transport(
    request: pytest.FixtureRequest, tmp_path: Path, embedded_port: int
) -> Iterator[MqttTransport]:
    if request.param == "mosquitto":
        if shutil.which("mosquitto") is None:
            pytest.skip("Mosquitto is not installed")
        with mosquitto(tmp_path, "allow_anonymous true") as running:
            yield running.transport()
        return
    yield MqttTransport(BrokerAddress("127.0.0.1", embedded_port, tls=False), timeout_s=5)


async def take(connection: Connection, count: int) -> list[Incoming]:
    """The next messages."""
    taken: list[Incoming] = []
    async with asyncio.timeout(10):
        async for incoming in connection.messages():
            taken.append(incoming)
            if len(taken) == count:
                return taken
    raise AssertionError("the connection ended")


async def test_messages_arrive_in_order_and_unchanged(any_transport: MqttTransport) -> None:
    async with any_transport.connect("a", None) as a, any_transport.connect("b", None) as b:
        await a.subscribe(["room/+/x", "other"])
        payloads = [bytes([n, 0, 255]) for n in range(20)]
        await asyncio.gather(*(b.publish("room/1/x", payload) for payload in payloads))
        await b.publish("other", b"last")
        taken = await take(a, 21)
    assert [i.payload for i in taken] == [*payloads, b"last"]
    assert {i.topic for i in taken} == {"room/1/x", "other"}


async def test_messages_of_every_size_arrive_whole_one_behind_the_other(
    any_transport: MqttTransport,
) -> None:
    """Lengths of one, two and three bytes, and packets that lie across the end of what is read at once."""
    borders = (*range(119, 129), *range(16_375, 16_385))
    sizes = [n for size in (0, 1, 100, *borders, 4_060, 4_096, 9_000, 60_000) for n in (size, 7)]
    payloads = [bytes([n % 251]) * size for n, size in enumerate(sizes)]
    async with any_transport.connect("a", None) as a, any_transport.connect("b", None) as b:
        await a.subscribe(["x"])
        await asyncio.gather(*(b.publish("x", payload) for payload in payloads))
        taken = await take(a, len(payloads))
    assert [i.payload for i in taken] == payloads


async def test_a_retained_message_is_there_for_who_comes_later(
    any_transport: MqttTransport,
) -> None:
    async with any_transport.connect("a", None) as a:
        await a.publish("kept", b"1", retain=True)
        await a.publish("kept", b"2", retain=True)
    async with any_transport.connect("b", None) as b:
        await b.subscribe(["kept"])
        (taken,) = await take(b, 1)
    assert (taken.payload, taken.retained) == (b"2", True)


async def test_sessions_are_clean(any_transport: MqttTransport) -> None:
    """Nothing is kept for a client that is away, and nothing is sent again in its next session."""
    async with any_transport.connect("a", None) as a:
        await a.subscribe(["news"])
    async with any_transport.connect("b", None) as b:
        await b.publish("news", b"missed")
    async with any_transport.connect("a", None) as a, any_transport.connect("b", None) as b:
        await a.subscribe(["news"])
        await b.publish("news", b"heard")
        (taken,) = await take(a, 1)
    assert taken.payload == b"heard"


async def test_a_planned_end_leaves_no_will(any_transport: MqttTransport) -> None:
    async with any_transport.connect("watcher", None) as watcher:
        await watcher.subscribe(["will", "after"])
        async with any_transport.connect("a", Will("will", b"lost")):
            pass
        await watcher.publish("after", b"x")
        (taken,) = await take(watcher, 1)
    assert taken.topic == "after"


@pytest.mark.mosquitto
@pytest.mark.skipif(shutil.which("mosquitto") is None, reason="Mosquitto is not installed")
class TestMosquitto:
    """What needs MQTT 5, rights, or a process to stop."""

    async def test_mqtt_5_is_spoken_where_it_is_understood(self, open_mosquitto: Mosquitto) -> None:
        transport = open_mosquitto.transport()
        async with transport.connect("a", None):
            assert transport.version == "5"

    async def test_a_takeover_ends_the_old_session_and_leaves_its_will(
        self, open_mosquitto: Mosquitto
    ) -> None:
        """A device's new connection ends a stale one of the same name; whoever holds that one is told."""
        transport = open_mosquitto.transport()
        async with transport.connect("watcher", None) as watcher:
            await watcher.subscribe(["will"])
            async with (
                transport.connect("same", Will("will", b"lost")) as old,
                transport.connect("same", None),
            ):
                with pytest.raises(TransportLost):
                    await take(old, 1)
            (taken,) = await take(watcher, 1)
        assert taken.payload == b"lost"

    async def test_wrong_credentials_are_refused(self, guarded_mosquitto: Mosquitto) -> None:
        with pytest.raises(TransportRefused, match=r"(?i)not authori[sz]ed"):
            await connect_once(guarded_mosquitto.transport("device", "wrong"))
        with pytest.raises(TransportRefused):
            await connect_once(guarded_mosquitto.transport())

    async def test_a_refused_publish_is_refused(self, guarded_mosquitto: Mosquitto) -> None:
        async with guarded_mosquitto.transport("device", "secret").connect("a", None) as a:
            await a.publish("own/x", b"fine")
            with pytest.raises(TransportRefused, match="may not publish"):
                await a.publish("others/x", b"not fine")

    async def test_a_killed_broker_is_told_to_reader_and_writer(
        self, open_mosquitto: Mosquitto
    ) -> None:
        transport = open_mosquitto.transport()
        async with transport.connect("a", None) as a:
            await a.subscribe(["x"])
            open_mosquitto.process.kill()
            with pytest.raises(TransportLost):
                await take(a, 1)
            with pytest.raises(TransportLost):
                await a.publish("x", b"1")
        with pytest.raises(TransportLost):
            await connect_once(transport)

    async def test_a_broker_that_falls_silent_is_noticed_by_the_writer(
        self, open_mosquitto: Mosquitto
    ) -> None:
        address = BrokerAddress("127.0.0.1", open_mosquitto.port, tls=False)
        transport = MqttTransport(address, timeout_s=0.2)
        async with transport.connect("a", None) as a:
            open_mosquitto.process.send_signal(signal.SIGSTOP)
            with pytest.raises(TransportLost, match="in time"):
                await a.publish("x", b"1")
            open_mosquitto.process.send_signal(signal.SIGCONT)

    async def test_nothing_is_left_behind(self, open_mosquitto: Mosquitto) -> None:
        """No task, also of attempts that were cancelled or timed out."""
        transport = open_mosquitto.transport()
        for _ in range(3):
            async with transport.connect("a", None) as a:
                await a.subscribe(["x"])
        attempt = asyncio.create_task(_connect_for_ever(transport), name="to be cancelled")
        await asyncio.sleep(0)
        attempt.cancel()
        await asyncio.gather(attempt, return_exceptions=True)
        open_mosquitto.process.send_signal(signal.SIGSTOP)
        address = BrokerAddress("127.0.0.1", open_mosquitto.port, tls=False)
        with pytest.raises(TransportLost):
            await connect_once(MqttTransport(address, timeout_s=0.1))
        open_mosquitto.process.send_signal(signal.SIGCONT)
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    async def test_tls_is_spoken_with_one_context_for_many(self, tmp_path: Path) -> None:
        certificate, key = _certificate(tmp_path)
        lines = ("allow_anonymous true", f"certfile {certificate}", f"keyfile {key}")
        with mosquitto(tmp_path, *lines) as running:
            context = tls_context(certificate)
            address = BrokerAddress("127.0.0.1", running.port, tls=True)
            for name in ("a", "b"):
                async with MqttTransport(address, tls=context, timeout_s=5).connect(
                    name, None
                ) as c:
                    await c.publish("x", b"1")
            other = MqttTransport(address, tls=tls_context(None), timeout_s=5)
            # The socket of a failed handshake is closed without ceremony.
            with (
                warnings.catch_warnings(action="ignore", category=ResourceWarning),
                pytest.raises(TransportLost, match=r"(?i)certificate"),
            ):
                await connect_once(other)


def transport_to(port: int) -> MqttTransport:
    return MqttTransport(BrokerAddress("127.0.0.1", port, tls=False), timeout_s=30)


async def connect_once(transport: MqttTransport, will: Will | None = None) -> None:
    async with transport.connect("c", will):
        pass


async def _connect_for_ever(transport: MqttTransport) -> None:
    async with transport.connect("a", None) as a:
        await take(a, 1)


def _certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate of 127.0.0.1 that vouches for itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "broker of a test")])
    now = datetime.now(UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate_file, key_file = folder / "broker.pem", folder / "broker.key"
    certificate_file.write_bytes(certificate.public_bytes(Encoding.PEM))
    key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return certificate_file, key_file


async def test_the_version_is_lowered_once_and_for_this_transport_only(embedded_port: int) -> None:
    address = BrokerAddress("127.0.0.1", embedded_port, tls=False)
    first, second = (MqttTransport(address, timeout_s=5) for _ in range(2))
    async with first.connect("a", None):
        assert first.version == "3.1.1"
        assert second.version == "5"


async def test_a_will_does_not_keep_an_old_broker_from_refusing_the_version(
    embedded_port: int,
) -> None:
    """amqtt reads a CONNECT of version 5 with a will as an unfinished one and falls silent."""
    spoken = SpokenVersion()
    address = BrokerAddress("127.0.0.1", embedded_port, tls=False)
    transport = MqttTransport(address, spoken=spoken, timeout_s=20)
    async with asyncio.timeout(5), transport.connect("a", Will("will", b"lost")) as a:
        await a.publish("x", b"1")
    assert spoken.version == "3.1.1"


async def test_where_nobody_listens_the_connection_is_lost() -> None:
    transport = MqttTransport(BrokerAddress("127.0.0.1", free_port(), tls=False))
    with pytest.raises(TransportLost, match="refused"):
        await connect_once(transport)


async def test_a_server_that_hangs_up_is_told_at_once() -> None:
    """aiomqtt alone would wait for its whole time-out."""

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    transport = MqttTransport(BrokerAddress("127.0.0.1", port, tls=False), timeout_s=30)
    async with asyncio.timeout(5), server:
        with pytest.raises(TransportLost):
            await connect_once(transport)


async def test_an_attempt_to_connect_can_be_cancelled_at_once() -> None:
    """Also while the broker keeps silent; nothing is left behind, and nothing complains of it."""
    async with silent_broker() as broker:
        transport = transport_to(broker.port)
        for will in (None, Will("will", b"lost")):
            with no_complaints():
                attempt = asyncio.create_task(connect_once(transport, will), name="to be cancelled")
                await broker.heard.get()
                await cancelled_in_time(attempt)
        assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_connection_that_comes_after_the_cancellation_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The thread that looks for the broker can't be stopped, and is not waited for."""
    asked, may_go_on = threading.Event(), threading.Event()
    made: list[socket.socket] = []
    really_connect = socket.create_connection

    def slowly(*args: Any, **kwargs: Any) -> socket.socket:
        asked.set()
        assert may_go_on.wait(10)
        made.append(really_connect(*args, **kwargs))
        return made[-1]

    monkeypatch.setattr(socket, "create_connection", slowly)
    async with silent_broker() as broker:
        transport = transport_to(broker.port)
        attempt = asyncio.create_task(connect_once(transport), name="to be cancelled")
        await asyncio.to_thread(asked.wait, 10)
        await cancelled_in_time(attempt)
        may_go_on.set()
        await asyncio.get_running_loop().shutdown_default_executor()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*left, return_exceptions=True)
        assert [created.fileno() for created in made] == [-1]
        assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_broker_that_dies_unnoticed_is_no_complaint() -> None:
    """Whoever leaves the connection has no need to look why it broke."""
    dies = asyncio.Event()
    with no_complaints():
        async with dying_broker(dies) as port, transport_to(port).connect("a", None) as connection:
            assert isinstance(connection, MqttConnection)
            dies.set()
            await asyncio.wait([connection._client._disconnected])


async def test_an_end_that_comes_together_with_the_acceptance_is_no_connection() -> None:
    """aiomqtt alone would take it for an open one, on which nothing ever arrives."""
    dies = asyncio.Event()
    dies.set()
    with no_complaints():
        async with dying_broker(dies) as port:
            with pytest.raises(TransportLost):
                async with transport_to(port).connect("a", None):
                    pass


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("mqtt://broker.example", BrokerAddress("broker.example", 1883, tls=False)),
        ("mqtts://broker.example", BrokerAddress("broker.example", 8883, tls=True)),
        ("mqtt://[::1]:1999", BrokerAddress("::1", 1999, tls=False)),
    ],
)
def test_an_address_is_read_and_written(url: str, address: BrokerAddress) -> None:
    assert BrokerAddress.parse(url) == address
    assert BrokerAddress.parse(str(address)) == address


@pytest.mark.parametrize(
    "url",
    ["broker", "http://broker", "mqtt://", "mqtt://b:99999", "mqtt://me:secret@b", "mqtt://b/x"],
)
def test_what_is_no_address_is_refused_without_telling_a_password(url: str) -> None:
    with pytest.raises(ValueError, match="address of a broker") as refusal:
        BrokerAddress.parse(url)
    assert "secret" not in str(refusal.value)


def test_a_certificate_that_can_t_be_used_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "ca.pem"
    with pytest.raises(ValueError, match=r"ca\.pem"):
        tls_context(missing)
    assert isinstance(tls_context(None), ssl.SSLContext)


@pytest.mark.parametrize("protocol", [paho.MQTTv5, paho.MQTTv311])
@pytest.mark.parametrize("size", [0, 119, 120, 121, 122, 16_374, 16_375, 16_376, 16_377, 60_000])
def test_a_message_is_written_as_paho_writes_it(size: int, protocol: MQTTProtocolVersion) -> None:
    """To the byte, also where one more byte of content needs one more of length."""
    written = []
    for kind in (paho.Client, mqtt_transport._Paho):
        client: Any = kind(CallbackAPIVersion.VERSION2, protocol=protocol)
        client._sock = Mock()
        client._packet_queue = Mock(return_value=paho.MQTT_ERR_SUCCESS)
        for retain in (False, True):
            client.publish("a/b", b"x" * size, qos=1, retain=retain)
        written.append([bytes(call.args[1]) for call in client._packet_queue.mock_calls])
        client._sock = None
    assert len(written[0]) == 2
    assert written[0] == written[1]
