"""The command line: what it prints, how it ends, and what it never loads."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from agent.cli import app
from agent.commands.log_output import in_file
from agent.commands.loop import on_a_loop, stop_on_signals
from agent.exit_codes import ExitCode, exit_code_of
from agent.log_archive import LOG_FILE_BYTES
from agent.settings import VERSION
from agent.wire.vocabulary import EndState, Gate
from broker_config.access import Role
from broker_config.deployment import Deployment, init, issue_device
from broker_config.readiness import free_port
from broker_config.running import find_mosquitto
from tests.agent.brokers import broker, embedded_broker

DECISION: dict[str, Any] = {
    "outcome": "admitted",
    "organization": "Contoso",
    "profile": {"id": "default", "name": "Default ESP"},
    "items": [
        {"id": "portal", "name": "Company Portal", "expected_seconds": 20},
        {"id": "office", "name": "Office", "depends_on": ["portal"], "expected_seconds": 20},
    ],
}
WINDOWS = ("--platform", "windows_autopilot", "--device", "PC-1")


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PLATFORM", "DEVICE", "BROKER", "STATE_DIR", "SPEED", "IDENTITY", "TENANT"):
        monkeypatch.delenv(f"ESP_AGENT_{name}", raising=False)


@pytest.fixture
def assignment(tmp_path: Path) -> Path:
    path = tmp_path / "assignment.json"
    path.write_text(json.dumps(DECISION))
    return path


def esp_agent(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """The program as a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "agent", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )


def enroll(tmp_path: Path, assignment: Path, *more: str | Path) -> subprocess.CompletedProcess[str]:
    return esp_agent(
        "run", *WINDOWS, "--assignment", assignment, "--state-dir", tmp_path / "state", "--no-screen",
        "--yes", "--speed", "3000", *more,
    )  # fmt: skip


def told(*arguments: str | Path) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a call in this process."""
    result = CliRunner(mix_stderr=False).invoke(app, [str(a) for a in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.exit_code, result.stdout, result.stderr


@pytest.mark.system
def test_a_device_enrolls_from_a_file_and_is_looked_at_afterwards(
    tmp_path: Path, assignment: Path
) -> None:
    """One enrollment without any broker; then status, replay and a second run of the same device."""
    state = tmp_path / "state"
    run = enroll(tmp_path, assignment)
    assert run.returncode == ExitCode.OPEN, run.stderr
    assert "PC-1: succeeded, gate released" in run.stdout
    lines = run.stderr.splitlines()
    assert len(lines) > 5
    assert any("Installing Apps" in line for line in lines)

    code, out, _ = told("status", "--device", "PC-1", "--state-dir", state)
    assert code == ExitCode.OPEN
    assert out.startswith("PC-1  100 %")
    code, out, _ = told("status", "--device", "PC-1", "--state-dir", state, "--json")
    assert json.loads(out)["gate"] == "released"

    journal = state / "PC-1.journal.sqlite3"
    code, out, _ = told("replay", journal, "--json")
    moments = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert moments[0]["input"]["kind"] == "attempt_began"
    assert moments[-1]["end_state"] == "succeeded"
    assert [m["n"] for m in moments] == list(range(1, len(moments) + 1))
    code, out, _ = told("replay", journal)
    assert out.splitlines()[0] == "PC-1"
    assert "step_finished item=office" in out

    again = enroll(tmp_path, assignment, "--json")
    assert json.loads(again.stdout)["attempt"] == moments[0]["input"]["attempt"]


def test_a_damaged_archive_gets_one_sentence(tmp_path: Path) -> None:
    archive = tmp_path / "PC-1-20261121T082640Z.zip"
    archive.write_bytes(b"PK\x03\x04 and then nothing")
    code, out, err = told("replay", archive)
    assert (code, out) == (ExitCode.FAILED_TO_RUN, "")
    assert err.startswith(f"esp-agent: {archive}: no log archive, or a damaged one (")
    assert err.count("\n") == 1


def test_a_folder_for_the_log_that_can_t_be_made_gets_one_sentence(
    tmp_path: Path, assignment: Path
) -> None:
    state = tmp_path / "file" / "state"
    state.parent.touch()
    code, _, err = told("run", *WINDOWS, "--assignment", assignment, "--state-dir", state)
    assert code == ExitCode.BAD_INPUT
    assert err == (
        f"esp-agent: {state}/PC-1.log: the log can't be written there (Not a directory); "
        "name another --state-dir\n"
    )


def test_the_log_is_bounded_and_each_line_is_json(tmp_path: Path) -> None:
    """The newest lines are the ones that stay."""
    path = tmp_path / "deep" / "PC-1.log"
    handler = in_file(path)
    text = "x" * 1000
    for n in range(6_000):
        handler.handle(
            logging.makeLogRecord({"msg": "%d %s", "args": (n, text), "levelname": "INFO"})
        )
    handler.close()
    files = sorted(path.parent.iterdir())
    assert [file.name for file in files] == ["PC-1.log", *(f"PC-1.log.{n}" for n in (1, 2, 3))]
    assert all(file.stat().st_size <= LOG_FILE_BYTES for file in files)
    last = json.loads(path.read_text().splitlines()[-1])
    assert last["event"] == f"5999 {text}"
    assert last["level"] == "info"
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_full_disk_takes_log_lines_and_says_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the handler would print would stand across the page."""
    path = tmp_path / "PC-1.log"
    path.symlink_to("/dev/full")
    handler = in_file(path)
    handler.handle(logging.makeLogRecord({"msg": "lost", "levelname": "INFO"}))
    assert capsys.readouterr() == ("", "")
    with contextlib.suppress(OSError):
        handler.close()


@pytest.mark.system
def test_a_headless_agent_never_loads_textual(tmp_path: Path, assignment: Path) -> None:
    script = (
        "import sys; from agent.cli import app;"
        "sys.argv = ['esp-agent', *sys.argv[1:]];"
        "import atexit; atexit.register(lambda: print('loaded', 'textual' in sys.modules));"
        "app()"
    )
    arguments = ["run", *WINDOWS, "--assignment", str(assignment), "--yes", "--speed", "3000"]
    run = subprocess.run(
        [sys.executable, "-c", script, *arguments, "--state-dir", str(tmp_path / "state")],
        capture_output=True, text=True, check=False, timeout=50,
    )  # fmt: skip
    assert "loaded False" in run.stdout, run.stderr


@pytest.mark.system
def test_another_device_is_watched_from_its_retained_status(
    tmp_path: Path, assignment: Path
) -> None:
    with embedded_broker() as port:
        url = f"mqtt://127.0.0.1:{port}"
        run = enroll(tmp_path, assignment, "--broker", url, "--linger", "0.2")
        assert run.returncode == ExitCode.OPEN, run.stderr
        seen = esp_agent("watch", "PC-1", "--broker", url, "--once", "--json")
        page = esp_agent("watch", "PC-1", "--broker", url, "--once")
        nobody = esp_agent("watch", "PC-9", "--broker", url, "--once", "--wait", "0.2")
    assert json.loads(seen.stdout)["progress"]["end_state"] == "succeeded", seen.stderr
    assert "PC-1" in page.stdout
    assert nobody.returncode == ExitCode.NOTHING_KNOWN
    assert "nothing was heard of 'PC-9'" in nobody.stderr


def test_a_broker_that_is_not_there_is_not_taken_for_a_device_that_is_not() -> None:
    code, _, stderr = told(
        "watch", "PC-9", "--broker", "mqtt://127.0.0.1:1", "--once", "--wait", "0.1"
    )
    assert code == ExitCode.NOTHING_KNOWN
    assert "no connection to the broker" in stderr


@pytest.mark.system
@pytest.mark.mosquitto
@pytest.mark.skipif(find_mosquitto() is None, reason="Mosquitto is not installed")
def test_the_help_desk_watches_where_accounts_have_rights(tmp_path: Path, assignment: Path) -> None:
    """With the file that `esp-broker init` wrote; a device's own file is refused with the remedy."""
    place = Deployment(tmp_path / "broker")
    init(place.directory, {"tenant": "contoso", "port": free_port("127.0.0.1")})
    device, _ = issue_device(place.directory, "PC-1", None)
    with broker(place.directory):
        run = enroll(tmp_path, assignment, "--identity", device, "--linger", "0.2")
        assert run.returncode == ExitCode.OPEN, run.stderr
        for role in Role.HELP_DESK, Role.COLLECTOR:
            account = place.service_identity(role)
            seen = esp_agent("watch", "PC-1", "--identity", account, "--once", "--json")
            assert json.loads(seen.stdout)["progress"]["end_state"] == "succeeded", seen.stderr
    code, out, err = told("watch", "PC-2", "--identity", device, "--once")
    assert (code, out) == (ExitCode.BAD_INPUT, "")
    assert f"{device}: this is the account of the device 'PC-1', and devices may not" in err
    assert "identities/help-desk.json" in err


def test_watching_needs_a_broker_and_an_identity_that_can_be_read(tmp_path: Path) -> None:
    code, _, err = told("watch", "PC-1")
    assert (code, err.splitlines()[0]) == (
        ExitCode.BAD_INPUT,
        "esp-agent: --broker is missing; name the broker that the device reports to",
    )
    path = tmp_path / "help-desk.json"
    path.write_text('{"schema": "esp.service_identity/1", "role": "help_desk", "tenant": "t"}')
    code, _, err = told("watch", "PC-1", "--identity", path)
    assert (code, len(err.splitlines())) == (ExitCode.BAD_INPUT, 1)
    assert f"{path}: broker: Field required" in err


def changed(key: str, value: Any) -> dict[str, Any]:
    """The assignment with one thing wrong."""
    return {**DECISION, key: value}


def with_item(**item: Any) -> dict[str, Any]:
    return changed("items", [{"id": "a", "name": "A", **item}])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (changed("profil", {}), "profil: no such key; remove it or correct its name; known here:"),
        ({k: v for k, v in DECISION.items() if k != "profile"}, "profile: is missing; add it"),
        (
            changed("profile", {"id": "x", "name": "X", "timeout_minutes": 2000}),
            "profile.timeout_minutes: Input should be less than or equal to 1440",
        ),
        (
            changed("profile", {"id": "x", "name": "X", "timeout_minutes": "soon"}),
            "profile.timeout_minutes: Input should be a valid integer",
        ),
        (with_item(depends_on=["b"]), "items: item 'a' depends on 'b', which is not assigned"),
        (with_item(depends_on=["a"]), "items: the dependencies go in a circle: a → a"),
        (with_item(kind="screen"), "items.0.kind:"),
        ({"decision": DECISION}, "is missing; add it"),
        ([DECISION], "holds a list"),
    ],
)
def test_a_wrong_assignment_gets_one_sentence_with_file_key_and_remedy(
    tmp_path: Path, content: Any, said: str
) -> None:
    path = tmp_path / "wrong.json"
    path.write_text(json.dumps(content))
    code, out, err = told("run", *WINDOWS, "--assignment", path, "--state-dir", tmp_path / "state")
    assert code == ExitCode.BAD_INPUT
    assert out == ""
    assert len(err.splitlines()) == 1
    assert f"esp-agent: {path}: " in err
    assert said in err
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--assignment", "nowhere.json"), "nowhere.json: cannot be read"),
        ((), "--broker is missing"),
        (("--broker", "http://x"), "--broker: 'http://x' is no address"),
        (("--broker", "mqtt://x", "--identity", "nowhere.json"), "nowhere.json: cannot be read"),
        (("--broker", "mqtt://x", "--device", "a/b"), "--device 'a/b': no device id"),
        (("--broker", "mqtt://x", "--endpoint", "toaster"), "--endpoint toaster: no such endpoint"),
        (("--broker", "mqtt://x", "--speed", "0"), "--speed, or the variable ESP_AGENT_SPEED"),
        (("--broker", "mqtt://x", "--profile", "p.json"), "--profile goes with --assignment"),
    ],
)
def test_a_wrong_flag_gets_one_sentence_with_the_remedy(
    tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    code, out, err = told("run", *WINDOWS, "--state-dir", tmp_path, *arguments)
    assert code == ExitCode.BAD_INPUT
    assert (out, len(err.splitlines())) == ("", 1)
    assert said in err


def test_a_wrong_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ESP_AGENT_SPEED", "fast")
    code, _, err = told("run", *WINDOWS, "--broker", "mqtt://x")
    assert code == ExitCode.BAD_INPUT
    assert "ESP_AGENT_SPEED" in err


def test_a_journal_that_can_t_be_used_is_named_and_may_be_set_aside(
    tmp_path: Path, assignment: Path
) -> None:
    journal = tmp_path / "PC-1.journal.sqlite3"
    journal.write_bytes(b"not a journal" * 100)
    arguments = ("run", *WINDOWS, "--assignment", assignment, "--state-dir", tmp_path)
    code, _, err = told(*arguments)
    assert code == ExitCode.FAILED_TO_RUN
    assert f"{journal}: torn or no journal at all" in err
    assert journal.read_bytes() == b"not a journal" * 100


def test_status_of_a_device_that_never_began(tmp_path: Path) -> None:
    code, _, err = told("status", "--device", "PC-1", "--state-dir", tmp_path)
    assert code == ExitCode.NOTHING_KNOWN
    assert "has not begun to enroll here" in err


def test_the_schemas_are_written_one_file_for_each_message(tmp_path: Path) -> None:
    code, _, _ = told("schema", "--out", tmp_path / "schemas")
    assert code == 0
    names = {path.name for path in (tmp_path / "schemas").iterdir()}
    assert {"event.schema.json", "status.schema.json", "assignment.schema.json"} <= names
    code, out, _ = told("schema")
    assert set(json.loads(out)) == {name.removesuffix(".schema.json") for name in names}


def test_version_and_every_exit_code_are_told() -> None:
    assert told("--version")[1] == f"esp-agent {VERSION}\n"
    text = " ".join((told("run", "--help")[1] + told("status", "--help")[1]).split())
    for code in ExitCode:
        assert f"{code.value}: {' '.join(code.meaning.split()[:3])}" in text


def test_on_windows_a_loop_that_watches_sockets_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """The transport needs `add_reader`, which the loop that Python chooses there has not."""

    async def kind() -> type[asyncio.AbstractEventLoop]:
        return type(asyncio.get_running_loop())

    class Watching(asyncio.SelectorEventLoop):
        pass

    monkeypatch.setattr(asyncio, "SelectorEventLoop", Watching)
    monkeypatch.setattr(sys, "platform", "win32")
    assert on_a_loop(kind()) is Watching


async def test_a_loop_that_takes_no_signal_handlers_stops_as_well(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The loops of Windows take none."""

    def unable(*_: object) -> None:
        raise NotImplementedError

    stopped = asyncio.Event()
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    monkeypatch.setattr(asyncio.get_running_loop(), "add_signal_handler", unable)
    try:
        stop_on_signals(stopped.set)
        signal.raise_signal(signal.SIGTERM)
        await asyncio.wait_for(stopped.wait(), 5)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@pytest.mark.parametrize(
    ("gate", "end_state", "code"),
    [
        (Gate.RELEASED, EndState.SUCCEEDED, ExitCode.OPEN),
        (Gate.RELEASED, None, ExitCode.OPEN),
        (Gate.BYPASSED, EndState.BYPASSED, ExitCode.BYPASSED),
        (Gate.LOCKED, None, ExitCode.LOCKED),
        (Gate.LOCKED, EndState.RESET, ExitCode.LOCKED),
        (Gate.LOCKED, EndState.FAILED, ExitCode.SETUP_FAILED),
        (Gate.LOCKED, EndState.TIMED_OUT, ExitCode.TIMED_OUT),
        (Gate.LOCKED, EndState.ABANDONED, ExitCode.ABANDONED),
        (Gate.LOCKED, EndState.REFUSED, ExitCode.REFUSED),
    ],
)
def test_the_exit_code_follows_gate_and_end(
    gate: Gate, end_state: EndState | None, code: ExitCode
) -> None:
    assert exit_code_of(gate, end_state) is code
