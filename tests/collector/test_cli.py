"""The command line: results on stdout, one sentence and exit code 2 for a mistake."""

from __future__ import annotations

import inspect
import json
import logging
from pathlib import Path
from typing import NoReturn

import httpx
import pytest
import structlog

from agent.wire.graph import GRAPH_TYPE
from agent.wire.profile import WindowsSettings
from collector.api import Services, make_app
from collector.cli import serve_command
from collector.client import DEFAULT_URL
from collector.profiles.choice import StoredProfile
from collector.profiles.setup import ProfileEntry
from collector.subscriber.mqtt import MqttBroker
from collector.subscriber.ports import BrokerRefused
from tests.collector.asking import Courier
from tests.collector.calling import Call
from tests.collector.fleet import Office, Reporter
from tests.collector.portal import IOS, ROWS, Sender, abandoned, enrolled

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
        answer = {
            "type": "urn:esp-collector:problem:unauthorized",
            "title": "Unauthorized",
            "status": 401,
            "detail": "send the header",
            "code": "unauthorized",
        }
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


def test_a_collector_that_nobody_names_is_where_serve_listens() -> None:
    """So that the documents' commands work as printed, from one terminal to the next."""
    options = inspect.signature(serve_command).parameters
    assert f"http://{options['host'].default}:{options['port'].default}" == DEFAULT_URL


def test_openapi_prints_the_document(call: Call) -> None:
    result = call("openapi")
    assert "/api/devices/enrollment-status/active" in json.loads(result.stdout)["paths"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("report",), "no token was given; give --token-file"),
        (("report", "--url", "nowhere"), "write http://HOST:PORT"),
        (("report", "--url", "http://127.0.0.1:1"), "no token was given"),
        (
            ("report", "--url", "http://127.0.0.1:1", "--token-file", "missing"),
            "can't be read as a token",
        ),
        (("report", "--token-file", __file__), "can't be read as a token"),
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


@pytest.fixture
def serving(
    office: Office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[str | Path, ...]:
    """The options that lead to a collector, which answers inside this process."""
    served = make_app(
        Services(
            store=office.store,
            desk=office.desk,
            commands=office.commands,
            clock=office.clock,
            metrics=office.metrics,
            courier=Courier(),
            token="secret",
            speed=1.0,
        )
    )

    async def answer(_: object, request: httpx.Request) -> httpx.Response:
        return await httpx.ASGITransport(app=served).handle_async_request(request)

    monkeypatch.setattr(httpx.AsyncHTTPTransport, "handle_async_request", answer)
    # A collector logs to its own stderr, which is not that of whoever asks it.
    quiet = structlog.make_filtering_bound_logger(logging.CRITICAL)
    structlog.configure(wrapper_class=quiet)
    (tmp_path / "secret").write_text("secret")
    return ("--url", "http://collector", "--token-file", tmp_path / "secret")


KIND = "indows10EnrollmentCompletionPageConfiguration"
OF_GRAPH = {
    "@odata.type": GRAPH_TYPE,
    "id": f"11111111-2222-3333-4444-555555555555_W{KIND}",
    "displayName": "ESP - corporate laptops",
    "description": None,
    "priority": 3,
    "roleScopeTagIds": ["0"],
    "deviceEnrollmentConfigurationType": f"w{KIND}",
    "showInstallationProgress": True,
    "installProgressTimeoutInMinutes": 0,
    "installQualityUpdates": True,
    "allowNonBlockingAppInstallation": True,
    "trackInstallProgressForAutopilotOnly": True,
    "selectedMobileAppIds": ["aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"],
    "somethingNew": {"deep": [1, 2.5, None]},
}


def graph_file(directory: Path, **changed: object) -> Path:
    file = directory / "esp.json"
    file.write_text(json.dumps({**OF_GRAPH, **changed}), encoding="utf-8-sig")
    return file


def stored(office: Office, profile: object) -> StoredProfile:
    return next(row for row in office.desk.profiles() if row.profile.id == profile)


def test_a_profile_of_graph_is_imported_and_exported_unchanged(
    call: Call, serving: tuple[str | Path, ...], office: Office, tmp_path: Path
) -> None:
    groups = ("--group", "Corporate Laptops", "--group", "Pilot")
    result = call("profile", "import", graph_file(tmp_path), *groups, *serving)
    assert (result.stderr, result.exit_code) == ("", 0)
    assert result.stdout == f"added {OF_GRAPH['id']} with priority 3\n"
    row = stored(office, OF_GRAPH["id"])
    assert (row.priority, row.groups, row.default) == (3, ("Corporate Laptops", "Pilot"), False)
    assert row.profile.windows == WindowsSettings(
        only_out_of_box=True, quality_updates=True, technician_installs_all=True
    )
    for name in ("id", "displayName"):
        exported = call("profile", "export", str(OF_GRAPH[name]), *serving)
        assert exported.exit_code == 0
        assert json.loads(exported.stdout) == OF_GRAPH


def test_the_default_profile_of_a_tenant_becomes_the_default_here(
    call: Call, serving: tuple[str | Path, ...], office: Office, tmp_path: Path
) -> None:
    """Its priority of 0 does not put it before the others."""
    kind = f"defaultW{KIND}"
    file = graph_file(tmp_path, priority=0, deviceEnrollmentConfigurationType=kind)
    assert call("profile", "import", file, *serving).exit_code == 0
    office.desk.add_profile(ProfileEntry(name="Other", priority=7))
    assert stored(office, OF_GRAPH["id"]).default
    assert office.desk.profiles()[-1].profile.id == OF_GRAPH["id"]


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"installProgressTimeoutInMinutes": "60"}, "installProgressTimeoutInMinutes: has to be a"),
        ({"@odata.type": "#microsoft.graph.x"}, "@odata.type: is no ESP profile; give"),
        ({"priority": -1}, "priority: input should be greater than or equal to 0"),
        ({"displayName": ""}, "displayName: string should have at least 1 character; correct it"),
    ],
)
def test_an_object_that_cannot_be_imported_is_told_with_file_and_property(
    call: Call,
    serving: tuple[str | Path, ...],
    tmp_path: Path,
    changed: dict[str, object],
    sentence: str,
) -> None:
    file = graph_file(tmp_path, **changed)
    result = call("profile", "import", file, *serving)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"esp-collector: {file}: {sentence}")
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"[]", "is not one JSON object"),
        (b"{", "is not valid JSON"),
        (b"[" * 200_000, "is nested too deeply"),
        ('{"a": 1}'.encode("utf-16"), "is not UTF-8 text; save it as UTF-8"),
    ],
)
def test_a_file_that_holds_no_object_is_told(
    call: Call, serving: tuple[str | Path, ...], tmp_path: Path, content: bytes, sentence: str
) -> None:
    """Whatever the file's name ends in: Graph's answers are JSON."""
    file = tmp_path / "esp.txt"
    file.write_bytes(content)
    result = call("profile", "import", file, *serving)
    assert result.exit_code == 2
    assert f"{file}: {sentence}" in result.stderr


def test_what_cannot_be_exported_is_told(
    call: Call, serving: tuple[str | Path, ...], office: Office
) -> None:
    office.desk.add_profile(ProfileEntry(name="Nothing blocks", blocking_apps=()))
    result = call("profile", "export", "nothing-blocks", *serving)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "profile 'nothing-blocks': blocking_apps: names no app" in result.stderr
    unknown = call("profile", "export", "unknown", *serving)
    assert unknown.exit_code == 2
    assert "there is no profile 'unknown'; use one of: " in unknown.stderr


def test_the_profile_of_a_device_is_explained(
    call: Call, serving: tuple[str | Path, ...], office: Office
) -> None:
    reporter = Reporter(device="PC-1")
    office.take_in([reporter.begin()])
    told = call("profile", "explain", "PC-1", *serving)
    assert (told.exit_code, told.stderr) == (0, "")
    lines = told.stdout.splitlines()
    assert lines[0] == "PC-1: Default ESP"
    assert "Why this profile" in lines
    assert max(map(len, lines)) <= 80


def test_a_device_that_has_not_come_is_explained_from_options(
    call: Call, serving: tuple[str | Path, ...]
) -> None:
    unknown = call("profile", "explain", "PC-9", *serving)
    assert (unknown.exit_code, unknown.stdout) == (1, "")
    assert "nothing is known of 'PC-9'; check its id, or say how" in unknown.stderr
    asked = ("--type", "windows_autopilot", "--variant", "hybrid_join", "--user", "Ann & Ben+1")
    told = call("profile", "explain", "PC-9", *asked, "--os-version", "10.0", "--json", *serving)
    assert (told.exit_code, told.stderr) == (0, "")
    answer = json.loads(told.stdout)
    facts = {k: answer[k] for k in ("enrollment_type", "variant", "user", "os_version")}
    assert facts == {
        "enrollment_type": "windows_autopilot",
        "variant": "hybrid_join",
        "user": "Ann & Ben+1",
        "os_version": "10.0",
    }


def test_a_name_that_is_no_device_id_is_told_before_anybody_is_asked(call: Call) -> None:
    told = call("profile", "explain", "PC/9", "--type", "ios")
    assert told.exit_code == 2
    assert "'PC/9' is no device id" in told.stderr


def test_a_profile_is_changed_assigned_ordered_switched_and_deleted(
    call: Call, serving: tuple[str | Path, ...], office: Office, tmp_path: Path
) -> None:
    for name in ("Kiosk ESP", "Lobby ESP"):
        office.desk.add_profile(ProfileEntry(name=name))
    (tmp_path / "longer.toml").write_text(
        "timeout_minutes = 90\n[error_handling]\nallow_reset = true\n"
    )

    def stored() -> StoredProfile:
        (found,) = (p for p in office.desk.profiles() if p.profile.id == "kiosk-esp")
        return found

    for arguments in (
        ("change", "Kiosk ESP", tmp_path / "longer.toml"),
        ("assign", "kiosk-esp", "Kiosk Devices", "Lobby"),
        ("off", "kiosk-esp"),
    ):
        result = call("profile", *arguments, *serving)
        assert (result.exit_code, result.stderr) == (0, ""), arguments
    assert stored().profile.timeout_minutes == 90
    assert stored().profile.error_handling.allow_reset
    assert (stored().groups, stored().active) == (("Kiosk Devices", "Lobby"), False)
    assert call("profile", "on", "kiosk-esp", *serving).exit_code == 0
    assert stored().active
    ordered = call("profile", "first", "lobby-esp", "kiosk-esp", *serving)
    assert ordered.stdout == "lobby-esp, kiosk-esp\n"
    assert call("profile", "delete", "kiosk-esp", *serving).stdout == "deleted kiosk-esp\n"
    assert [p.profile.id for p in office.desk.profiles()] == ["lobby-esp", "default-esp"]
    refused = call("profile", "delete", "default-esp", *serving)
    assert (refused.exit_code, len(refused.stderr.splitlines())) == (1, 1)


def test_the_incomplete_enrollments_are_printed_and_written_for_spreadsheets(
    call: Call, serving: tuple[str | Path, ...], office: Office
) -> None:
    phone = Sender("phone")
    office.take_in(phone.sent(abandoned(ROWS["terms-decline"], IOS)))
    office.take_in(phone.sent(enrolled(IOS)))
    printed = call("incomplete", *serving).stdout
    assert "       2 Initiated enrollments\n" in printed
    assert "   50.0% Incomplete rate (1 abandoned)\n" in printed
    (line,) = (one for one in printed.splitlines() if "Decline All" in one)
    assert line.split()[0] == "TermsofUse"
    assert line.split()[-1] == "1"
    told = json.loads(call("incomplete", "--os", "ios", "--json", *serving).stdout)
    assert told["roll_up"]["abandoned"] == 1
    lines = call("incomplete", "--csv", "days", "--days", "3", *serving).stdout.splitlines()
    assert len(lines) == 1 + 3
    refused = call("incomplete", "--from", "2001-01-01", *serving)
    assert refused.exit_code == 1
    assert refused.stderr.startswith("esp-collector: from: goes back to 2001-01-01")
