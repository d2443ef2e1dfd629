"""A disk that is full, a file that may not be written, another program in it: each is told for what it is."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import shutil
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from agent.core.batch import Batch, Entry
from agent.core.events import DeadlinePassed, Restarted
from agent.core.outbox import Durable, KeepReport, MarkAcknowledged, NumberReport, content_of
from agent.journal import open_journal
from agent.runtime.ports import JournalFailed, JournalUnreadable
from agent.wire.vocabulary import EndState, Gate
from tests.agent.fakes import admitted
from tests.agent.journal.recording_disk import Record, recorded
from tests.agent.reports import report
from tests.agent.runtime.test_driver import World, running, until

NOBODY = 65_534
SPEED = 100.0
"""A disk takes real time, and a busy machine more of it: the hour of a phase is 36 s."""


@pytest.fixture
def disk() -> Iterator[Record]:
    try:
        with recorded() as record:
            yield record
    except OSError as error:
        pytest.skip(str(error))


@contextlib.asynccontextmanager
async def room_in_the_end(disk: Record) -> AsyncIterator[None]:
    """Nothing ends while an agent waits for room."""
    try:
        yield
    finally:
        disk.is_full = False


async def test_an_agent_on_a_full_disk_says_so_keeps_the_gate_and_goes_on_when_there_is_room(
    disk: Record, tmp_path: Path
) -> None:
    world = World()
    journal = open_journal(tmp_path / "journal.sqlite3")
    world.journal = journal  # type: ignore[assignment]
    world.endpoint.answers_prompts = False
    driver = world.driver(speed=SPEED, connected=False, decision=admitted("portal", "office"))
    async with running(driver) as task, room_in_the_end(disk):
        gates = world.endpoint.gates
        before, _ = await until(driver, lambda p, _: p.prompt is not None and gates[-1] is p.gate)
        count = len(gates)
        disk.is_full = True
        world.endpoint.answers_prompts = True
        world.endpoint.post(Restarted(planned=False))
        progress, reporting = await until(driver, lambda _, r: bool(r.problem))
        assert "can't store its progress" in reporting.problem
        assert "Make room on the disk" in reporting.problem
        assert (len(gates), progress.gate) == (count, before.gate)
        assert not driver.is_storing
        disk.is_full = False
        outcome = await asyncio.wait_for(asyncio.shield(task), 20)
    assert (outcome.end_state, outcome.gate) == (EndState.SUCCEEDED, Gate.RELEASED)
    journal.close()


def test_a_disk_that_is_full_at_the_first_start_is_told_as_such(
    disk: Record, tmp_path: Path
) -> None:
    path = tmp_path / "journal.sqlite3"
    disk.is_full = True
    with pytest.raises(JournalUnreadable) as raised:
        open_journal(path)
    assert str(raised.value).startswith(
        f"{path}: can't be used now (database or disk is full); make room"
    )
    disk.is_full = False
    open_journal(path).close()


async def test_what_a_full_disk_refused_is_not_there_and_can_be_handed_in_again(
    disk: Record, tmp_path: Path
) -> None:
    journal = open_journal(tmp_path / "journal.sqlite3")
    await journal.load("PC-1", "stream")
    first = Batch(entry=Entry(1, 0, 0, "1.0", DeadlinePassed()))
    disk.is_full = True
    for _ in range(3):
        with pytest.raises(JournalFailed, match="disk is full"):
            await journal.commit("PC-1", first)
    disk.is_full = False
    await journal.commit("PC-1", first)
    assert len((await journal.load("PC-1", "x")).entries) == 1
    journal.close()


@pytest.mark.parametrize("protected", ["file", "folder"])
def test_a_file_that_may_not_be_written_is_told_as_such(protected: str) -> None:
    """In a process that is not root, which may write everything."""
    folder = Path(tempfile.mkdtemp())
    path = folder / "journal.sqlite3"
    try:
        open_journal(path).close()
        for part in folder.iterdir():
            part.chmod(0o666)
        folder.chmod(0o777)
        (path if protected == "file" else folder).chmod(0o444 if protected == "file" else 0o555)
        told = refusal_of_nobody(path)
        assert told.startswith(f"{path}: can't be used now (")
        assert told.endswith("; let this account write the file and its folder, then start again")
    finally:
        folder.chmod(0o700)
        shutil.rmtree(folder)


def refusal_of_nobody(path: Path) -> str:
    """What `open_journal` says to an account without special rights."""
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        told = b"it opened"
        try:
            if os.getuid() == 0:
                os.setuid(NOBODY)
            open_journal(path)
        except JournalUnreadable as error:
            told = str(error).encode()
        except BaseException as error:  # noqa: BLE001 - a forked test must not go on as a second one
            told = repr(error).encode()
        finally:
            os.write(theirs, told)
            os._exit(0)
    os.close(theirs)
    with os.fdopen(ours, "rb") as answer:
        told = answer.read()
    os.waitpid(child, 0)
    return told.decode()


def test_a_program_that_holds_the_file_is_told_as_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "journal.sqlite3"
    open_journal(path).close()
    connect = functools.partial(sqlite3.connect, timeout=0.01)
    monkeypatch.setattr(sqlite3, "connect", connect)
    with sqlite3.connect(path, isolation_level=None) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(JournalUnreadable, match="close the other program that uses the file"):
            open_journal(path)
    other.close()
    open_journal(path).close()


async def test_what_nobody_waits_for_may_be_lost_on_a_full_disk_and_nothing_else(
    disk: Record, tmp_path: Path
) -> None:
    journal = open_journal(tmp_path / "journal.sqlite3")
    await journal.load("PC-1", "stream")
    told = report(1)
    numbered: list[Durable] = [KeepReport(1, told, content_of(told)), NumberReport(1, 1, "a")]
    await journal.commit("PC-1", Batch(outbox=numbered))
    entry = Entry(1, 0, 0, "1.0", DeadlinePassed())
    disk.is_full = True
    await journal.commit("PC-1", Batch(outbox=[MarkAcknowledged(1, 10)], lazy=True))
    with pytest.raises(JournalFailed):
        await journal.commit("PC-1", Batch(entry=entry))
    disk.is_full = False
    await journal.commit("PC-1", Batch(entry=entry))
    state = await journal.load("PC-1", "stream")
    assert list(state.entries) == [entry]
    assert [one.seq for one in state.outbox.numbered] == [1]
    await journal.commit("PC-1", Batch(outbox=[MarkAcknowledged(1, 20)], lazy=True))
    state = await journal.load("PC-1", "stream")
    assert [row.seq for row in state.outbox.acknowledged] == [1]
    journal.close()
