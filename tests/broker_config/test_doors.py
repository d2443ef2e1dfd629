"""Who has the wrong papers stays outside; the broker's log says why, and the device what to do."""

from __future__ import annotations

import asyncio
import json
import shutil
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.mqtt_transport import BrokerAddress, MqttTransport
from agent.runtime.ports import TransportLost, TransportRefused
from agent.wire.topics import Channel
from broker_config.access import Role
from broker_config.authority import Authority, Issued, Purpose
from broker_config.certificates import key_beside
from broker_config.deployment import Deployment, init, issue_device, revoke
from broker_config.readiness import free_port, until_ready
from tests.broker_config.brokers import (
    TENANT,
    A,
    Account,
    B,
    StartBroker,
    World,
    account_of,
    call,
    raw_connection,
    signed_in,
    topic,
)

pytestmark = pytest.mark.mosquitto

NOT_RETURNED = "peer did not return a certificate"
NOT_VERIFIED = "certificate verify failed"


def context(world: World, issued: Issued | None) -> ssl.SSLContext:
    """Trusts the broker, and signs in with what was issued."""
    made = ssl.create_default_context(cafile=world.deployment.tls.servers_authority)
    if issued is not None:
        file = world.deployment.directory / "presented.pem"
        file.touch(mode=0o600)
        file.write_text(issued.certificate + issued.key)
        made.load_cert_chain(file)
    return made


def devices(world: World) -> Authority:
    return world.deployment.tls.authority(world.deployment.tls.devices_authority)


def services(world: World) -> Authority:
    return world.deployment.tls.authority(world.deployment.tls.servers_authority)


def revoked(world: World) -> ssl.SSLContext:
    made = context(world, None)
    probe = world.deployment.tls.revoked_probe
    made.load_cert_chain(probe, key_beside(probe))
    return made


WRONG: dict[str, tuple[Callable[[World], ssl.SSLContext], str, str]] = {
    "none": (lambda w: context(w, None), "has none; start with --identity", NOT_RETURNED),
    "expired": (
        lambda w: context(w, devices(w).issue(A, Purpose.CLIENT, days=-1)),
        "has expired; ask for a new identity",
        NOT_VERIFIED,
    ),
    "revoked": (revoked, "was revoked; ask for a new identity", NOT_VERIFIED),
    "another authority": (
        lambda w: context(w, Authority.new("x").issue(A, Purpose.CLIENT)),
        "does not know who signed this device's certificate",
        NOT_VERIFIED,
    ),
    "a service's authority": (
        lambda w: context(w, services(w).issue(A, Purpose.CLIENT)),
        "does not know who signed this device's certificate",
        NOT_VERIFIED,
    ),
    "a server's certificate": (
        lambda w: context(w, devices(w).issue(A, Purpose.SERVER)),
        "certificate",
        NOT_VERIFIED,
    ),
}


@pytest.mark.parametrize("papers", list(WRONG))
async def test_wrong_papers(world: World, papers: str) -> None:
    """Refused before a word of MQTT; both sides say why."""
    make, told, logged = WRONG[papers]
    address = BrokerAddress("127.0.0.1", world.port, tls=True)
    transport = MqttTransport(address, tls=make(world))
    with pytest.raises(TransportRefused, match=told):
        async with transport.connect(A, None):
            pass
    await world.says(logged)


async def test_plain_text_on_the_tls_port(world: World) -> None:
    """Nobody is answered there, and the device is told what its address may lack."""
    transport = MqttTransport(BrokerAddress("127.0.0.1", world.port, tls=False))
    with pytest.raises(TransportLost, match="write mqtts:// in its address"):
        async with transport.connect(A, None):
            pass
    await world.says("wrong version number")


# paho leaves the socket of a failed handshake to the garbage collector.
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_broker_that_is_not_the_one_is_not_told_anything(world: World) -> None:
    """A device gives its reports to the broker of its identity only."""
    stranger = ssl.create_default_context()
    transport = MqttTransport(BrokerAddress("127.0.0.1", world.port, tls=True), tls=stranger)
    with pytest.raises(TransportLost, match="check its address, this device's clock"):
        async with transport.connect(A, None):
            pass


async def test_a_device_does_not_get_in_at_the_services_door(world: World) -> None:
    """Its certificate is of another authority."""
    assert not accepted(account_of(world.deployment.device_identity(A), world.service_port))
    await world.says(NOT_VERIFIED)


async def test_revoking_holds_on_a_running_broker_without_a_restart(
    tmp_path: Path, mosquitto: str, start_broker: StartBroker
) -> None:
    """A stolen device that is connected is heard no more, and can't come back; nobody else notices."""
    place = Deployment(tmp_path / "broker")
    init(place.directory, {"tenant": TENANT})
    for name in (A, B):
        issue_device(place.directory, name, None)
    stolen = shutil.copytree(place.device_identity(B).parent, tmp_path / "stolen")
    running = start_broker(place.directory, "--port", "0")
    thief = account_of(stolen / "identity.json", running.port)
    mine = account_of(place.device_identity(A), running.port)
    async with signed_in(mine) as other, signed_in(thief) as connected:
        revoke(place.directory, B)
        await logged(running.log, "Reloading config")
        await connected.publish(topic(B, Channel.EVENT), b"{}", qos=1)
        await logged(running.log, f"Denied PUBLISH from {B}")
        assert not accepted(thief)
        await other.publish(topic(A, Channel.EVENT), b"{}", qos=1)
        assert accepted(account_of(place.device_identity(A), running.port))
    assert f"Denied PUBLISH from {A}" not in running.log.read_text()


async def logged(log: Path, words: str) -> None:
    """Return once the broker has said this."""
    async with asyncio.timeout(10):
        while words not in log.read_text():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def accepted(account: Account) -> bool:
    """Whether somebody is let in now."""
    try:
        raw_connection(account).close()
    except (OSError, AssertionError):
        return False
    return True


def test_the_help_desk_and_the_collector_have_doors_of_their_own(world: World) -> None:
    """Their certificates open the services' listener and not the devices'."""
    for role in (Role.COLLECTOR, Role.HELP_DESK):
        assert accepted(world.service(role))
        assert not accepted(account_of(world.deployment.service_identity(role), world.port))


def test_check_passes_on_what_init_makes(
    tmp_path: Path, mosquitto: str, start_broker: StartBroker
) -> None:
    """Every rule is tried and kept, ten thousand subscriptions among them; one device's trial disturbs no other."""
    directory = tmp_path / "broker"
    ports = {name: free_port("127.0.0.1") for name in ("port", "service_port")}
    init(directory, {"tenant": TENANT, **ports})
    start_broker(directory)
    told = call("check", "--dir", directory)
    assert (told.returncode, "FAIL" in told.stdout, told.stderr) == (0, False, ""), told.stdout
    assert "0 broken, 0 not checked" in told.stdout


def test_check_lists_what_is_wrong_with_an_open_broker(tmp_path: Path, mosquitto: str) -> None:
    """A default Mosquitto lets anybody do anything, and each thing is named with its remedy."""
    port = free_port("127.0.0.1")
    (tmp_path / "open.conf").write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
    process = subprocess.Popen([mosquitto, "-c", tmp_path / "open.conf"], stderr=subprocess.DEVNULL)
    try:
        asyncio.run(asyncio.wait_for(until_ready("127.0.0.1", port), 10))
        told = call("check", f"mqtt://127.0.0.1:{port}", "--json")
    finally:
        process.terminate()
        process.wait(timeout=15)
    assert told.returncode == 1, told.stderr
    found = json.loads(told.stdout)
    assert found["broken"] == [
        "no-account",
        "encrypted",
        "write-other",
        "write-inbound",
        "will",
        "read-other",
        "read-system",
        "take-over",
        "oversized",
        "many-subscriptions",
    ]
    failed = [rule for rule in found["rules"] if rule["verdict"] == "FAIL"]
    assert all(rule["seen"] and rule["remedy"] for rule in failed)


def test_check_needs_somebody_to_answer() -> None:
    """A port that nobody listens at, and an address that is none, are one sentence each."""
    for url, words in (
        (f"mqtt://127.0.0.1:{free_port('127.0.0.1')}", "start the broker"),
        ("http://127.0.0.1", "is no address of a broker"),
    ):
        told = call("check", url)
        assert told.returncode == 2
        assert words in told.stderr
        assert "Traceback" not in told.stderr
