"""The logs of a device, asked for by the help desk: the archive is there, tells all, and holds no secret."""

from __future__ import annotations

import json
import re
import signal
import zipfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from agent.cli import app
from agent.core.events import LogsCollected
from agent.journal import devices_of, iterate_entries
from agent.log_archive import journal_in
from agent.wire.vocabulary import EnrollmentType, Gate
from broker_config.running import find_mosquitto
from tests.simulator.test_device import BASE
from tests.system.test_agent_and_broker import (
    DEVICE,
    Site,
    enroll,
    line_with,
    program,
    ready,
    site,
)
from tests.system.test_live import esp_sim, figures_of

__all__ = ["site"]

pytestmark = [pytest.mark.system, pytest.mark.timeout(120)]


async def ask_for_logs(site: Site, api: str) -> None:
    where = ("--url", api, "--token-file", site.collector / "token")
    async with program("collector", "command", DEVICE, "collect-logs", *where) as desk:
        _, said = await desk.communicate()
    assert desk.returncode == 0, said.decode()


def secrets_of(site: Site) -> dict[str, bytes]:
    """Everything on this site that lets its owner act as somebody."""
    files = [*site.broker.directory.rglob("*.key"), site.collector / "keys" / "private.pem"]
    # The first line of a PEM file's content has a part of the key itself.
    found = {str(file): file.read_bytes().splitlines()[1] for file in files}
    assert len(set(found.values())) == len(files)
    found["token"] = (site.collector / "token").read_bytes().strip()
    return found


@pytest.mark.mosquitto
@pytest.mark.skipif(find_mosquitto() is None, reason="Mosquitto is not installed")
async def test_the_help_desk_gets_an_archive_that_plays_and_holds_no_secret(
    site: Site, tmp_path: Path
) -> None:
    logs = tmp_path / "archives"
    async with program("broker_config", "run", site.broker.directory) as broker:
        await ready(broker)
        async with program(*site.serve()) as collector:
            api = await ready(collector)
            flags = ("--identity", site.identity, "--speed", "30", "--logs", logs)
            async with program(*enroll(site.state, *flags)) as agent:
                await line_with(agent.stderr, "Preparing Device")
                await ask_for_logs(site, api)
                line = await line_with(agent.stderr, "The logs are collected")
                agent.send_signal(signal.SIGTERM)
                await agent.wait()
            # Both lives of the agent are in the log of the second archive.
            async with program(*enroll(site.state, *flags)) as agent:
                await line_with(agent.stderr, "Preparing Device")
                await ask_for_logs(site, api)
                # It says first what it remembers.
                known = line.split(": ", 1)[1].strip()
                second = await line_with(
                    agent.stderr, f"logs are collected: (?!{re.escape(known)})"
                )
    first, newest = (Path(told.split(": ", 1)[1].strip()) for told in (line, second))
    assert first.parent == logs

    with zipfile.ZipFile(newest) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    lines = [json.loads(text) for text in parts["agent.log"].splitlines()]
    assert sum("goes on after" in text["event"] for text in lines) == 2
    assert any(str(first) in text["event"] for text in lines)
    facts = json.loads(parts["facts.json"])
    assert facts["settings"]["broker"].startswith("mqtts://127.0.0.1:")
    assert facts["settings"]["identity_file"] == str(site.identity)
    assert json.loads(parts["progress.json"])["gate"] == Gate.LOCKED

    secrets = secrets_of(site)
    named = " ".join(secrets)
    assert all(word in named for word in ("collector.key", f"{DEVICE}", "ca.key", "private.pem"))
    for name, content in [*parts.items(), ("the file itself", newest.read_bytes())]:
        leaked = [secret for secret, value in secrets.items() if value in content]
        assert not leaked, f"{name} holds {leaked}"

    replayed = CliRunner(mix_stderr=False).invoke(app, ["replay", str(newest), "--json"])
    moments = [json.loads(text) for text in replayed.stdout.splitlines()]
    kinds = [moment["input"]["kind"] for moment in moments]
    assert kinds[0] == "attempt_began"
    assert kinds[-1] == "command_received"
    assert "restarted" in kinds
    told_path = next(m["input"]["path"] for m in moments if m["input"]["kind"] == "logs_collected")
    assert told_path == str(first)


def test_devices_of_a_live_fleet_write_archives_of_themselves_alone(tmp_path: Path) -> None:
    """Everybody's app fails and everybody collects logs; the path told is a file in the run's data folder."""
    person = "[persons.typical.error_screen]\ncollects_logs = 1\nretries = 0\nthen = { continue_anyway = 1 }"
    scenario = tmp_path / "fleet.toml"
    scenario.write_text(
        BASE.format(
            type=EnrollmentType.WINDOWS_AUTOPILOT.value,
            faults='{ kind = "installer_failed", chance = 1, recovery = 0 }',
            person=person,
            retry="false",
            continue_="true",
            reset="false",
            logs="true",
        )
    )
    data = tmp_path / "run"
    ran = esp_sim(
        "run", str(scenario), "--devices", "3", "--speed", "1200", "--json", "--data", str(data)
    )
    figures = figures_of(ran)
    assert (figures["events_lost"], figures["unfinished"]) == (0, 0), ran.stderr
    told = {
        device: Path(entry.event.path)
        for device, entry in iterate_entries(data / "worker-1.journal.sqlite3")
        if isinstance(entry.event, LogsCollected)
    }
    assert len(told) == 3
    for device, path in told.items():
        assert path.parent == data / "logs"
        with journal_in(path) as journal:
            assert devices_of(journal) == [device]
