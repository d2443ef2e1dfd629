"""`esp-agent run`, `status` and `replay` on a journal that another version wrote: one sentence each, and no traceback."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import pytest

from agent.core.batch import Batch
from agent.core.effects import Effect
from agent.core.enrollment import Enrollment
from agent.core.events import DeadlinePassed, Event
from agent.core.shell import checkpoint_of
from agent.exit_codes import ExitCode
from agent.journal import open_journal
from agent.settings import VERSION
from tests.agent.screen.recordings import entries_of, troubled
from tests.agent.test_cli import DECISION, WINDOWS, plain_environment, told

__all__ = ["plain_environment"]

HANDLE = Enrollment.handle
DIGEST_INPUTS = 8


def stumbling(machine: Enrollment, event: Event, now_ms: int) -> Sequence[Effect]:
    """A version that knows no deadline of this kind."""
    if isinstance(event, DeadlinePassed):
        raise KeyError("office")
    return HANDLE(machine, event, now_ms)


async def write(path: Path, *, states: bool) -> int:
    """The journal of version 0.9, with the states that it kept or without; the number of inputs."""
    journal, machine = open_journal(path), Enrollment()
    await journal.load("PC-1", "a stream")
    entries = entries_of(troubled(), version="0.9", digest_inputs=DIGEST_INPUTS)
    for entry in entries:
        machine.handle(entry.event, entry.at_ms)
        kept = checkpoint_of(machine, entry) if states else None
        await journal.commit("PC-1", Batch(entry=entry, checkpoint=kept))
    journal.close()
    return len(entries)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    folder = tmp_path / "state"
    folder.mkdir()
    return folder


def journal_in(state: Path) -> Path:
    return state / "PC-1.journal.sqlite3"


def run(state: Path) -> tuple[int, str, str]:
    assignment = state.parent / "assignment.json"
    assignment.write_text(json.dumps(DECISION))
    return told(
        "run", *WINDOWS, "--assignment", assignment, "--state-dir", state,
        "--no-screen", "--yes", "--speed", "3000",
    )  # fmt: skip


def failing_input() -> int:
    return next(n for n, (e, _) in enumerate(troubled().inputs, 1) if isinstance(e, DeadlinePassed))


def test_where_no_state_was_kept_each_command_says_so_in_one_sentence(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, failing = journal_in(state), failing_input()
    count = asyncio.run(write(path, states=False))
    before = rows(path)
    monkeypatch.setattr(Enrollment, "handle", stumbling)
    for _ in range(2):
        code, out, err = run(state)
        assert (code, out) == (ExitCode.FAILED_TO_RUN, "")
        (sentence,) = err.splitlines()
        assert sentence.startswith(f"esp-agent: {path}: this agent ({VERSION}) can't go on from")
        assert sentence.endswith(
            "start agent 0.9 again, or begin anew with --set-aside, which keeps the file"
        )
        assert rows(path) == before
    code, out, err = told("status", "--device", "PC-1", "--state-dir", state)
    assert (code, out) == (ExitCode.FAILED_TO_RUN, "")
    assert f"{path}: Input {failing} and all after it are not understood" in err
    code, out, err = told("replay", path, "--json")
    assert code == ExitCode.FAILED_TO_RUN
    assert len(out.splitlines()) == failing - 1 < count
    assert err.startswith(f"PC-1: Input {failing} and all after it are not understood by version ")


def rows(path: Path) -> list[tuple[object, ...]]:
    with sqlite3.connect(path) as connection:
        found = connection.execute("SELECT * FROM entry").fetchall()
    connection.close()
    return found


def test_where_a_state_was_kept_status_and_replay_say_from_where_it_goes_on(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, failing = journal_in(state), failing_input()
    count = asyncio.run(write(path, states=True))
    newest = count - count % DIGEST_INPUTS
    expected = told("status", "--device", "PC-1", "--state-dir", state)[:2]
    monkeypatch.setattr(Enrollment, "handle", stumbling)
    sentence = (
        f"Input {failing} is not understood by version {VERSION} (KeyError: 'office'); "
        f"nothing is told from input {failing} to {newest - 1}; from input {newest} on, "
        f"the story goes on from the state that version 0.9 kept after input {newest}"
    )
    code, out, err = told("status", "--device", "PC-1", "--state-dir", state)
    assert (code, out) == expected
    assert err == f"{path}: {sentence}\n"
    code, out, err = told("replay", path, "--json")
    assert (code, err) == (0, f"PC-1: {sentence}\n")
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line["n"] for line in lines if line["continued"]] == [newest]
    assert [line["n"] for line in lines] == [*range(1, failing), *range(newest, count + 1)]


def test_an_input_that_this_version_can_t_read_is_left_out_where_a_state_makes_up_for_it(
    state: Path,
) -> None:
    path = journal_in(state)
    count = asyncio.run(write(path, states=True))
    expected = told("status", "--device", "PC-1", "--state-dir", state)[:2]
    with sqlite3.connect(path) as spoiler:
        spoiler.execute("""UPDATE entry SET input = '{"kind": "unknown"}' WHERE n = 5""")
    spoiler.close()
    code, out, err = told("status", "--device", "PC-1", "--state-dir", state)
    assert (code, out) == expected
    assert f"{path}: Input 5 can't be read (this version does not understand it: " in err
    assert f"{path}: Input 5 is not understood by version {VERSION} (it can't be read); " in err
    code, out, err = told("replay", path, "--json")
    assert code == 0
    assert [json.loads(line)["n"] for line in out.splitlines()] == [
        1, 2, 3, 4, *range(count - count % DIGEST_INPUTS, count + 1),
    ]  # fmt: skip


def test_an_input_that_can_t_be_read_and_that_nothing_makes_up_for_is_told(state: Path) -> None:
    path = journal_in(state)
    asyncio.run(write(path, states=False))
    with sqlite3.connect(path) as spoiler:
        spoiler.execute("""UPDATE entry SET input = '{"kind": "unknown"}' WHERE n = 5""")
    spoiler.close()
    code, out, err = run(state)
    assert (code, out) == (ExitCode.FAILED_TO_RUN, "")
    (sentence,) = err.splitlines()
    assert sentence.startswith(f"esp-agent: {path}: torn or no journal at all (an entry can't be")
    code, _, err = told("status", "--device", "PC-1", "--state-dir", state)
    assert code == ExitCode.FAILED_TO_RUN
    assert "can't be read" in err
