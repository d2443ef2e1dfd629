"""`esp-agent replay`: played on a terminal, printed elsewhere, and never a traceback for what a broken device holds."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import json
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from agent.cli import app
from agent.core.batch import Batch, Entry
from agent.exit_codes import ExitCode
from agent.journal import open_journal
from tests.agent.core.script import Script
from tests.agent.screen.recordings import entries_of, phone, troubled

PAGE = 4096


async def write(path: Path, stories: dict[str, list[Entry]]) -> None:
    journal = open_journal(path)
    for device, entries in stories.items():
        await journal.load(device, f"stream of {device}")
        for entry in entries:
            await journal.commit(device, Batch(entry=entry))
    journal.close()


def journal_of(folder: Path, *told: Script, version: str = "1.0") -> Path:
    path = folder / "PC.journal.sqlite3"
    stories = {one.facts.device: entries_of(one, version=version) for one in told}
    asyncio.run(write(path, stories))
    return path


def replay(*arguments: str | Path) -> tuple[int, str, str]:
    """Exit code, stdout and stderr."""
    result = CliRunner(mix_stderr=False).invoke(app, ["replay", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


def test_lines_and_json_name_every_input_of_every_device(tmp_path: Path) -> None:
    path = journal_of(tmp_path, troubled(), phone())
    before = {p.name: hashlib.sha256(p.read_bytes()).digest() for p in tmp_path.iterdir()}
    code, out, err = replay(path)
    assert (code, err) == (0, "")
    assert sum(not line.startswith(" ") for line in out.splitlines()) == 2
    code, out, _ = replay(path, "--json", "--device", "iPhone-NEW003")
    told = [json.loads(line) for line in out.splitlines()]
    assert [t["n"] for t in told] == list(range(1, len(phone().inputs) + 1))
    assert told[-1]["end_state"] == "succeeded"
    assert not any(t["differs"] for t in told)
    after = {p.name: hashlib.sha256(p.read_bytes()).digest() for p in tmp_path.iterdir()}
    assert after == before


def test_a_torn_journal_is_told_as_far_as_it_goes(tmp_path: Path) -> None:
    path = journal_of(tmp_path, troubled())
    content = path.read_bytes()
    told: set[int] = set()
    for pages in range(1, len(content) // PAGE):
        path.write_bytes(content[: pages * PAGE])
        code, out, err = replay(path, "--json")
        assert code == ExitCode.FAILED_TO_RUN
        assert err.count("\n") == 1
        told.add(len(out.splitlines()))
        if out:
            assert err.startswith("DESKTOP-NEW001: Input")
    assert any(0 < count < len(troubled().inputs) for count in told)


def test_what_is_told_otherwise_is_said(tmp_path: Path) -> None:
    path = tmp_path / "PC.journal.sqlite3"
    entries = entries_of(phone(), version="0.9", digest_inputs=99)
    entries[7] = Entry(8, entries[7].at_ms, 0, "0.9", entries[7].event, "0" * 16)
    asyncio.run(write(path, {"PC": entries}))
    code, out, err = replay(path, "--json")
    assert code == 0
    assert [json.loads(line)["n"] for line in out.splitlines() if json.loads(line)["differs"]] == [
        8
    ]
    assert err.startswith("PC: From input 1 to 8 on, version ")


@pytest.mark.parametrize(
    ("content", "code"),
    [(b"", ExitCode.FAILED_TO_RUN), (b"not a journal" * 999, ExitCode.FAILED_TO_RUN)],
)
def test_what_is_no_journal_gets_one_sentence(tmp_path: Path, content: bytes, code: int) -> None:
    path = tmp_path / "PC.journal.sqlite3"
    path.write_bytes(content)
    told, out, err = replay(path)
    assert (told, out) == (code, "")
    assert err.startswith(f"esp-agent: {path}: ")
    assert err.count("\n") == 1


def test_a_device_that_is_not_in_it_gets_one_sentence(tmp_path: Path) -> None:
    code, out, err = replay(journal_of(tmp_path, phone()), "--device", "PC-9")
    assert (code, out) == (ExitCode.NOTHING_KNOWN, "")
    assert err.endswith("holds no device 'PC-9'\n")


def test_an_empty_journal_gets_one_sentence(tmp_path: Path) -> None:
    path = journal_of(tmp_path)
    assert replay(path) == (
        ExitCode.NOTHING_KNOWN,
        "",
        f"esp-agent: {path}: nothing has been recorded in it yet\n",
    )


def cut_somewhere(path: Path) -> None:
    """Cut pages off until inputs are missing and others are still there."""
    content = path.read_bytes()
    for pages in range(len(content) // PAGE, 0, -1):
        path.write_bytes(content[: pages * PAGE])
        count = len(replay(path, "--json")[1].splitlines())
        if 0 < count < len(troubled().inputs):
            return
    raise AssertionError("no cut leaves a part of it")


def on_a_terminal(path: Path, keys: str, until: str) -> tuple[int, str]:
    """Run the program on a terminal of its own, press keys once it shows `until`; exit code and all it wrote."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    program = subprocess.Popen(
        [sys.executable, "-m", "agent", "replay", str(path)],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm-256color"},
        start_new_session=True,
    )
    os.close(theirs)
    written, pressed, limit_s = b"", False, time.monotonic() + 30
    try:
        while time.monotonic() < limit_s:
            ready, _, _ = select.select([ours], [], [], 0.1)
            if ready:
                try:
                    written += os.read(ours, 65_536)
                except OSError:
                    break
            if not pressed and until.encode() in written:
                os.write(ours, keys.encode())
                pressed = True
        return program.wait(10), written.decode(errors="replace")
    finally:
        program.kill()
        program.wait()
        os.close(ours)


def test_on_a_terminal_it_is_played_and_closed_with_q(tmp_path: Path) -> None:
    """What was wrong with the recording is still there to read when the page is closed."""
    path = journal_of(tmp_path, troubled())
    cut_somewhere(path)
    code, written = on_a_terminal(path, "q", "attempt 1")
    assert code == 0
    assert "A new attempt begins" in written
    assert "DESKTOP-NEW001: Input" in written.rpartition("\x1b[?1049l")[2]
