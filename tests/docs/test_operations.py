"""The way that docs/operations.md describes works, with accounts and rights, on a real Mosquitto."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import aiomqtt
import jsonschema
import pytest

from agent.exit_codes import ExitCode
from agent.wire.codec import json_schemas
from agent.wire.identity import Identity, ServiceIdentity
from broker_config.readiness import free_port
from broker_config.running import find_mosquitto
from collector.subscriber.mqtt import tls_of

ROOT = Path(__file__).parents[2]
SCHEMAS = json_schemas()
pytestmark = [pytest.mark.mosquitto, pytest.mark.system]


@pytest.fixture
def programs() -> Iterator[list[subprocess.Popen[str]]]:
    """What was started, to be ended."""
    if find_mosquitto() is None:
        pytest.skip("Mosquitto is not installed; .ci/run installs it")
    started: list[subprocess.Popen[str]] = []
    yield started
    for process in reversed(started):
        process.terminate()
        process.wait(timeout=15)
        assert process.stdout is not None
        process.stdout.close()


def start(programs: list[subprocess.Popen[str]], module: str, *arguments: str | Path) -> str:
    """Start one of our programs, and give the address that it is ready at."""
    process = subprocess.Popen(
        [sys.executable, "-m", module, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=ROOT,
    )
    programs.append(process)
    assert process.stdout is not None
    word, _, address = process.stdout.readline().strip().partition(" ")
    assert word == "ready", f"{module} did not start"
    return address


def call(module: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run one of our programs to its end."""
    return subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
        timeout=50,
    )


@asynccontextmanager
async def listening(identity: Path) -> AsyncIterator[aiomqtt.Client]:
    """Somebody with the collector's account, who hears everything."""
    account = ServiceIdentity.model_validate_json(identity.read_bytes())
    address = urlsplit(account.broker)
    assert address.hostname is not None
    assert address.port is not None
    async with aiomqtt.Client(
        address.hostname, address.port, tls_context=tls_of(account, identity.parent)
    ) as client:
        await client.subscribe("esp/1/#", qos=1)
        yield client


def check_payload(topic: str, payload: bytes) -> str:
    """The channel, if the payload fits its published schema."""
    levels = topic.split("/")
    channel = levels[-1] if len(levels) == 5 else levels[5]
    name = "signed" if channel in {"assignment", "command"} else channel
    jsonschema.validate(json.loads(payload), SCHEMAS[name])
    return channel


async def test_from_init_to_an_enrolled_device(
    tmp_path: Path, programs: list[subprocess.Popen[str]]
) -> None:
    """Broker, collector and one device as described: it enrolls, and all that travels fits the published schemas."""
    broker, collector = tmp_path / "broker", tmp_path / "collector"
    port = free_port("127.0.0.1")
    assert (
        call("broker_config", "init", broker, "--tenant", "contoso", "--port", str(port)).returncode
        == 0
    )
    start(programs, "broker_config", "run", broker)
    own = broker / "identities" / "collector.json"
    setup = ROOT / "docs" / "examples" / "setup.toml"
    start(
        programs,
        "collector",
        "serve",
        "--data",
        collector,
        "--identity",
        own,
        "--setup",
        setup,
        "--port",
        "0",
    )
    trust = collector / "keys" / "public.pem"
    issued = call("broker_config", "device", "LAPTOP-7", "--dir", broker, "--trust", trust)
    identity = Path(issued.stdout.strip())
    assert Identity.model_validate_json(identity.read_bytes()).device == "LAPTOP-7"
    async with listening(own) as client:
        hearing = asyncio.create_task(channels_until_goodbye(client))
        ended = await asyncio.to_thread(enroll, identity, tmp_path / "state")
        assert ended.returncode == ExitCode.OPEN, ended.stderr
        heard = await asyncio.wait_for(hearing, 10)
    assert heard == {"event", "status", "presence", "assignment", "ack", "collector"}
    stranger = call("broker_config", "device", "LAPTOP-8", "--dir", broker, "--trust", trust)
    assert enrolled_by_a_stranger(Path(stranger.stdout.strip())) == {
        "stored": 1,
        "decision": "admitted",
    }
    checked = call("broker_config", "check", "--dir", broker, "--json")
    assert json.loads(checked.stdout)["broken"] == [], checked.stdout


async def channels_until_goodbye(client: aiomqtt.Client) -> set[str]:
    """The channels on which something valid travelled; a goodbye is the last thing that a device publishes."""
    heard: set[str] = set()
    async for message in client.messages:
        if message.payload:
            heard.add(check_payload(str(message.topic), message.payload))
            if b'"goodbye"' in message.payload:
                break
    return heard


def enrolled_by_a_stranger(identity: Path) -> object:
    """What the example of a client that imports nothing of ours was told."""
    example = ROOT / "docs" / "examples" / "stranger.py"
    assert not re.search(
        r"^(from|import) (agent|broker_config|collector)", example.read_text(), re.MULTILINE
    )
    ended = subprocess.run(
        [sys.executable, example, ROOT / "docs" / "asyncapi" / "asyncapi.json", identity],
        capture_output=True,
        text=True,
        cwd=identity.parent,
        check=False,
        timeout=40,
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def enroll(identity: Path, state: Path) -> subprocess.CompletedProcess[str]:
    """The device of the page, three hundred times faster than life."""
    flags = [
        "--platform",
        "windows_autopilot",
        "--user",
        "jane.smith@company.com",
        "--speed",
        "300",
    ]
    flags += ["--no-screen", "--yes", "--state-dir", str(state), "--identity", str(identity)]
    return call("agent", "run", *flags)
