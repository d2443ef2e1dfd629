"""An endpoint's install is small: the other programs say what they need instead of falling over."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("room", "program", "library"),
    [("simulator", "esp-sim", "httpx"), ("collector", "esp-collector", "sqlalchemy")],
)
def test_a_missing_library_is_one_sentence_with_the_remedy(
    room: str, program: str, library: str
) -> None:
    without = (
        f"import sys; sys.modules[{library!r}] = None; from {room}.__main__ import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", without], capture_output=True, text=True, check=False, timeout=30
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"{program}: the library {library} is missing; "
        f"install enrollment-agent[{room}], an endpoint alone does without it\n"
    )


@pytest.mark.parametrize("room", ["simulator", "collector", "broker_config", "agent"])
def test_every_program_starts_as_a_module(room: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", room, "--version"],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.returncode == 0
    assert done.stdout.startswith("esp-")
