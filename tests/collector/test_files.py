"""A mistake in a file is told with file, key and remedy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from collector.files import FileRefused, load, load_rows
from collector.profiles.setup import ProfileEntry, Registration, Setup, slug

GOOD: dict[str, Any] = {
    "organization": "Contoso",
    "admission": {"device_limit": 5, "minimum_os": {"ios": "17.0"}},
    "profiles": [
        {"name": "Default ESP", "default": True, "blocking_apps": ["vpn"], "timeout_minutes": 60}
    ],
    "catalogue": {"ios": {"items": [{"id": "vpn", "name": "VPN Client"}]}},
    "groups": {"Executives": {"users": ["ann@company.com"]}},
    "enrolled": {"DESKTOP-1": "ann@company.com"},
    "registrations": [{"device": "DESKTOP-2"}],
}


def setup_file(directory: Path, **changes: Any) -> Path:
    path = directory / "setup.json"
    path.write_text(json.dumps({**GOOD, **changes}))
    return path


def test_a_good_setup_is_read(tmp_path: Path) -> None:
    setup = load(setup_file(tmp_path), Setup)
    assert setup.profiles[0].profile.id == "default-esp"
    assert setup.enrolled == {"DESKTOP-1": "ann@company.com"}


def test_toml_is_read_as_well(tmp_path: Path) -> None:
    path = tmp_path / "setup.toml"
    path.write_text('organization = "Contoso"\n[[profiles]]\nname = "Kiosk ESP"\npriority = 3\n')
    assert load(path, Setup).profiles[0].priority == 3


_PROFILE = {"name": "Kiosk ESP"}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"organisation": "x"}, "organisation: there is no such key; did you mean 'organization'?"),
        (
            {"profiles": [{**_PROFILE, "device_setup": {"show_progres": True}}]},
            "profiles[0].device_setup.show_progres: there is no such key; did you mean 'show_progress'?",
        ),
        (
            {"profiles": [{**_PROFILE, "timeout_minutes": 0}]},
            "profiles[0].timeout_minutes: input should be greater than or equal to 1",
        ),
        (
            {"profiles": [{**_PROFILE, "blocking_apps": ["vqn"]}]},
            "profiles[0].blocking_apps: there is no app 'vqn' in the catalogue; add it there or use one of: vpn",
        ),
        ({"profiles": [{}]}, "profiles[0].name: is missing; add it"),
        ({"profiles": [_PROFILE, _PROFILE]}, "profile 'kiosk-esp' is there twice"),
        (
            {"profiles": [{"name": "A", "default": True}, {"name": "B", "default": True}]},
            "'A' and 'B' are both default",
        ),
        (
            {
                "catalogue": {
                    "ios": {
                        "items": [
                            {"id": "a", "name": "A", "depends_on": ["b"]},
                            {"id": "b", "name": "B", "depends_on": ["a"]},
                        ]
                    }
                }
            },
            "catalogue.ios.items: the dependencies go in a circle: a → b → a",
        ),
        ({"catalogue": {"beos": {}}}, "catalogue.beos"),
        (
            {"admission": {"minimum_os": {"ios": "new"}}},
            "admission.minimum_os: 'new' for ios is no version",
        ),
        ({"enrolled": {"not a device!": "ann"}}, "enrolled.not a device!"),
    ],
)
def test_a_mistake_is_told_with_file_and_key(
    tmp_path: Path, changes: dict[str, Any], sentence: str
) -> None:
    path = setup_file(tmp_path, **changes)
    with pytest.raises(FileRefused) as refused:
        load(path, Setup)
    assert str(refused.value).startswith(f"{path}: ")
    assert sentence in str(refused.value)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("missing.json", None, "can't be read"),
        ("broken.json", b"{", "is not valid JSON"),
        ("broken.toml", b"a = ", "is not valid TOML"),
        ("binary.toml", b"\xff\xfe", "is not UTF-8 text"),
        ("list.json", b"[]", "input should be a valid dictionary"),
    ],
)
def test_a_file_that_is_none_is_told(
    tmp_path: Path, name: str, content: bytes | None, sentence: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(FileRefused, match=sentence):
        load(tmp_path / name, Setup)


def test_registrations_are_read_from_csv(tmp_path: Path) -> None:
    path = tmp_path / "devices.csv"
    path.write_text("device,user,enrollment_type\nA,ann@company.com,ios\nB,,\n")
    rows = load_rows(path, Registration, sorted(Registration.model_fields))
    assert [(r.device, r.user) for r in rows] == [("A", "ann@company.com"), ("B", None)]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("devise\nA\n", "column 'devise': there is no such key; did you mean 'device'?"),
        ("device,enrollment_type\nA,beos\n", "line 2: enrollment_type"),
        ("user\nann\n", "line 2: device: is missing"),
        ("device\nA,too,many\n", "line 2"),
    ],
)
def test_a_mistake_in_a_csv_file_is_told_with_its_line(
    tmp_path: Path, content: str, sentence: str
) -> None:
    path = tmp_path / "devices.csv"
    path.write_text(content)
    with pytest.raises(FileRefused) as refused:
        load_rows(path, Registration, sorted(Registration.model_fields))
    assert sentence in str(refused.value)


def test_an_id_is_made_from_any_name() -> None:
    assert [slug(n) for n in ("Default ESP", "  ÄÖ  ", "Kiosk (2)")] == [
        "default-esp",
        "profile",
        "kiosk-2",
    ]
    assert ProfileEntry(name="x" * 256).profile.id == "x" * 128
