"""`esp-agent explain` tells from a file alone how an assignment would act on a device."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from agent.cli import app
from agent.core.explanation import EXPLANATION_CODEC
from agent.core.scope import Role
from agent.exit_codes import ExitCode
from agent.wire.vocabulary import EnrollmentType, Variant

DECISION: dict[str, Any] = {
    "outcome": "admitted",
    "profile": {"id": "default", "name": "Default ESP", "blocking_apps": ["office"]},
    "items": [
        {"id": "office", "name": "Office"},
        {"id": "portal", "name": "Company Portal"},
        {"id": "mine", "name": "My App", "context": "account"},
    ],
}
AUTOPILOT = ("--platform", "windows_autopilot")


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PLATFORM", "OS_VERSION", "DEVICE"):
        monkeypatch.delenv(f"ESP_AGENT_{name}", raising=False)


def file_of(directory: Path, content: object, name: str = "assignment.json") -> Path:
    path = directory / name
    path.write_text(json.dumps(content))
    return path


def explain(assignment: Path, *more: str | Path) -> tuple[int, str, str]:
    """Exit code, stdout and stderr."""
    arguments = ["explain", "--assignment", str(assignment), *map(str, more)]
    result = CliRunner(mix_stderr=False).invoke(app, arguments)
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.exit_code, result.stdout, result.stderr


def test_settings_and_items_are_told_with_their_reasons(tmp_path: Path) -> None:
    code, out, err = explain(file_of(tmp_path, DECISION), *AUTOPILOT)
    assert (code, err) == (0, "")
    assert out.splitlines()[0] == "Default ESP on Windows (Autopilot), standard"
    text = " ".join(out.split())
    assert "Office app of device setup: required, and the profile's list names it" in text
    assert (
        "Company Portal app of device setup: required, but the profile's list does not name it"
        in text
    )
    assert max(map(len, out.splitlines())) <= 80


def test_the_variant_decides_with(tmp_path: Path) -> None:
    code, out, _ = explain(
        file_of(tmp_path, DECISION), *AUTOPILOT, "--variant", "self_deploying", "--json"
    )
    told = EXPLANATION_CODEC.loads(out)
    assert code == 0
    assert (told.enrollment_type, told.variant) == (
        EnrollmentType.WINDOWS_AUTOPILOT,
        Variant.SELF_DEPLOYING,
    )
    assert {item.id: item.role for item in told.items}["mine"] is Role.SKIPPED


def test_another_profile_can_take_the_place_of_the_assignments(tmp_path: Path) -> None:
    profile = file_of(tmp_path, {"id": "strict", "name": "Strict"}, "profile.json")
    _, out, _ = explain(file_of(tmp_path, DECISION), *AUTOPILOT, "--profile", profile, "--json")
    told = EXPLANATION_CODEC.loads(out)
    assert told.profile == "strict"
    assert {item.id: item.role for item in told.items}["portal"] is Role.BLOCKING


REFUSED = {
    "outcome": "refused",
    "failure": {
        "kind": "platform_blocked",
        "code": "0x80180014",
        "person": "Ask your support person.",
        "engineer": "The type is blocked.",
    },
}


def test_a_refusal_is_told_as_what_it_is(tmp_path: Path) -> None:
    file = file_of(tmp_path, REFUSED)
    code, out, _ = explain(file, *AUTOPILOT)
    assert code == 0
    assert out == (
        "The device is refused with 0x80180014: The type is blocked.\n"
        "It shows the reason, and nothing is installed.\n"
    )
    _, out, _ = explain(file, *AUTOPILOT, "--json")
    assert json.loads(out)["failure"]["code"] == "0x80180014"


DATED = {"id": "new", "name": "New App", "rules": {"requirements": {"minimum_os": "10.0.22000"}}}


def test_a_version_is_asked_for_where_an_item_depends_on_it(tmp_path: Path) -> None:
    file = file_of(tmp_path, {**DECISION, "items": [DATED]})
    code, out, err = explain(file, *AUTOPILOT)
    assert (code, out) == (ExitCode.BAD_INPUT, "")
    assert err == (
        "esp-agent: --os-version is missing; New App asks for a minimum, "
        "so give one such as 10.0.22631\n"
    )
    code, out, _ = explain(file, *AUTOPILOT, "--os-version", "10.0.19045")
    assert code == 0
    assert "needs version 10.0.22000, this device runs 10.0.19045" in " ".join(out.split())


@pytest.mark.parametrize(
    ("items", "arguments", "sentence"),
    [
        ([], (), "--platform is missing; say how this endpoint enrolls: windows_autopilot"),
        (
            [],
            ("--platform", "ios", "--variant", "self_deploying"),
            "--variant: ios has no variant 'self_deploying'; choose one of: standard, automated",
        ),
        (
            [{"id": "sign_in", "name": "Sign in"}],
            AUTOPILOT,
            "assignment.json: item 'sign_in' has the id of a built-in step; give it another one",
        ),
        ([{"id": "x"}], AUTOPILOT, "assignment.json"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(
    tmp_path: Path, items: list[object], arguments: tuple[str, ...], sentence: str
) -> None:
    code, out, err = explain(file_of(tmp_path, {**DECISION, "items": items}), *arguments)
    assert (code, out) == (ExitCode.BAD_INPUT, "")
    assert err.startswith("esp-agent: ")
    assert sentence in err
    assert err.count("\n") == 1
