"""The command line: results on stdout, one sentence and exit code 2 for a mistake."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import httpx
import pytest
import structlog

from collector.cli import app
from collector.mqtt import MqttBroker
from collector.ports import BrokerRefused
from tests.collector.fleet import Office, Reporter


@dataclass(frozen=True)
class Result:
    exit_code: int
    stdout: str
    stderr: str


Call = Callable[..., Result]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Call]:
    """Run the program in this process."""
    for name in ("ESP_COLLECTOR_URL", "ESP_COLLECTOR_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: str | Path) -> Result:
        with pytest.raises(SystemExit) as ended:
            app([str(argument) for argument in arguments])
        told = capsys.readouterr()
        return Result(int(ended.value.code or 0), told.out, told.err)

    yield run
    # `serve` sends its logs to this test's stderr, which is gone after it.
    structlog.reset_defaults()


SERVE = ("serve", "--broker", "mqtt://127.0.0.1:1", "--tenant", "acme")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--broker", "http://x"), "--broker 'http://x' is no broker URL; write mqtt://HOST:PORT"),
        (("--broker", "mqtt://x:y"), "is no broker URL"),
        (("--tenant", "a/b"), "--tenant 'a/b' can't stand in a topic"),
        (("--setup", "missing.toml"), "missing.toml: can't be read"),
        (("--identity", "missing.json"), "missing.json: can't be read"),
        (("--database", "nonsense"), "--database 'nonsense' can't be used"),
        (("--database", "sqlite:////nowhere/at/all/x.sqlite"), "the store at sqlite:"),
        (("--log-level", "loud"), "--log-level 'loud' is none"),
        (("--identity", __file__), "give the collector's file that `esp-broker init` wrote"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(
    call: Call, tmp_path: Path, arguments: tuple[str, ...], sentence: str
) -> None:
    result = call(*SERVE, "--data", tmp_path / "data", "--port", "0", *arguments)
    assert result.exit_code == 2
    assert sentence in result.stderr
    assert "Traceback" not in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert result.stdout == ""


def test_a_setup_that_makes_assignments_too_large_is_told_before_anything_starts(
    call: Call, tmp_path: Path
) -> None:
    apps = [{"id": f"app-{n}", "name": "x" * 200} for n in range(200)]
    setup = tmp_path / "setup.json"
    setup.write_text(json.dumps({"catalogue": {"ios": {"items": apps}}}))
    result = call(*SERVE, "--data", tmp_path / "data", "--setup", setup)
    assert result.exit_code == 2
    assert f"{setup}: catalogue.ios.items: " in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("command", ["report", "board"])
def test_a_wrong_token_is_one_sentence_and_exit_code_2(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    token = tmp_path / "token"
    token.write_text("wrong")

    async def refused(*_: object, **__: object) -> httpx.Response:
        answer = {"error": {"code": "unauthorized", "message": "send the header"}}
        return httpx.Response(401, json=answer, request=httpx.Request("GET", "http://x"))

    monkeypatch.setattr(httpx.AsyncClient, "request", refused)
    result = call(command, "--url", "http://127.0.0.1:1", "--token-file", token)
    assert result.exit_code == 2
    assert result.stderr == (
        "esp-collector: the token is not the collector's; check --token-file\n"
    )


@pytest.mark.parametrize(
    ("account", "named"), [("_collector:x@", "account '_collector'"), ("", "without an account")]
)
def test_a_broker_that_refuses_the_account_ends_serve_with_one_sentence(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, account: str, named: str
) -> None:
    def refuse(*_: object) -> NoReturn:
        raise BrokerRefused("Not authorized")

    monkeypatch.setattr(MqttBroker, "connect", refuse)
    broker = f"mqtt://{account}127.0.0.1:1"
    result = call("serve", "--data", tmp_path, "--broker", broker, "--port", "0")
    assert result.exit_code == 2
    assert f"the broker at 127.0.0.1:1 refuses this {'client ' * (not account)}{named}" in (
        result.stderr
    )
    assert len(result.stderr.splitlines()) == 1


def test_a_data_directory_that_cannot_be_written_is_told(call: Call, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = call(*SERVE, "--data", tmp_path / "file" / "data")
    assert result.exit_code == 2
    assert "choose a directory to write to" in result.stderr


def test_without_a_broker_serve_says_what_to_give(call: Call, tmp_path: Path) -> None:
    result = call("serve", "--data", tmp_path)
    assert result.exit_code == 2
    assert "give --broker mqtt://HOST:PORT, or --identity FILE" in result.stderr


def test_key_prints_what_an_identity_file_carries(call: Call, tmp_path: Path) -> None:
    first, second = call("key", "--data", tmp_path), call("key", "--data", tmp_path)
    assert first.exit_code == 0
    assert first.stdout == second.stdout
    assert set(json.loads(first.stdout)) == {"kid", "public_key"}


def test_export_prints_every_stored_report(call: Call, tmp_path: Path) -> None:
    office, device = Office.open(tmp_path), Reporter()
    office.take_in([device.begin(), device.end()])
    office.close()
    result = call("export", "--data", tmp_path, "--json")
    assert result.exit_code == 0
    assert [json.loads(line)["seq"] for line in result.stdout.splitlines()] == [1, 2]


def test_export_makes_no_store_where_there_is_none(call: Call, tmp_path: Path) -> None:
    result = call("export", "--data", tmp_path)
    assert result.exit_code == 2
    assert "there is no store; check --data" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_openapi_prints_the_document(call: Call) -> None:
    result = call("openapi")
    assert "/api/devices/enrollment-status/active" in json.loads(result.stdout)["paths"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("report",), "no collector was named; give --url"),
        (("report", "--url", "nowhere"), "write http://HOST:PORT"),
        (("report", "--url", "http://127.0.0.1:1"), "no token was given"),
        (
            ("report", "--url", "http://127.0.0.1:1", "--token-file", "missing"),
            "can't be read as a token",
        ),
        (("command", "A", "retry-item"), "retry-item needs --item"),
        (("command", "A", "extend-timeout"), "extend-timeout needs --minutes"),
        (("command", "not a device", "collect-logs"), "is no device id"),
    ],
)
def test_asking_wrongly_is_one_sentence_and_exit_code_2(
    call: Call, arguments: tuple[str, ...], sentence: str
) -> None:
    result = call(*arguments)
    assert result.exit_code == 2
    assert sentence in result.stderr


def test_a_collector_that_does_not_answer_is_told(call: Call, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("secret")
    result = call("report", "--url", "http://127.0.0.1:1", "--token-file", token)
    assert result.exit_code == 2
    assert "check that the collector runs and that --url is right" in result.stderr
    assert "secret" not in result.stderr


@pytest.mark.parametrize(
    "command",
    ["serve", "board", "report", "register", "command", "openapi", "key", "export", "profile"],
)
def test_every_command_explains_itself(call: Call, command: str) -> None:
    assert call(command, "--help").exit_code == 0


def test_the_version_is_the_distributions(call: Call) -> None:
    result = call("--version")
    assert (result.exit_code, result.stdout.split()[0]) == (0, "esp-collector")
