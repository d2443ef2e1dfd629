"""The journal's file: alone, private, grouped, and never thrown away."""

from __future__ import annotations

import asyncio
import os
import runpy
import signal
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from agent.core.batch import Batch, Entry
from agent.core.events import DeadlinePassed, Restarted
from agent.core.outbox import Durable, KeepReport, MarkAcknowledged, NumberReport, content_of
from agent.journal import (
    ReportRow,
    devices_of,
    iterate_entries,
    iterate_reports,
    open_journal,
    set_aside,
)
from agent.journal import lock as journal_lock
from agent.journal.file import SCHEMA_VERSION
from agent.journal.writer import GATHER_S
from agent.runtime.ports import (
    JournalFailed,
    JournalUnreadable,
)
from tests.agent.reports import report

WINDOWS = ModuleType("msvcrt")
WINDOWS.LK_NBLCK, WINDOWS.LK_UNLCK = 2, 0  # type: ignore[attr-defined]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "journal.sqlite3"


async def test_a_second_agent_on_one_journal_is_refused(path: Path) -> None:
    first = open_journal(path)
    with pytest.raises(JournalUnreadable, match=r"journal\.sqlite3: in use by another agent"):
        open_journal(path)
    first.close()
    open_journal(path).close()


def test_a_killed_agent_lets_the_journal_go(path: Path) -> None:
    """The lock ends with the process, however it ends."""
    script = (
        "import sys; from pathlib import Path; from agent.journal import open_journal;"
        "open_journal(Path(sys.argv[1])); print('open', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", script, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    assert holder.stdout.readline() == "open\n"
    with pytest.raises(JournalUnreadable, match="in use"):
        open_journal(path)
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    holder.stdin.close()
    holder.stdout.close()
    open_journal(path).close()


def test_on_windows_the_lock_is_the_one_of_windows(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The module as it loads there, where `fcntl` does not exist, on a stand-in for `msvcrt`."""
    held: dict[str, int] = {}

    def locking(lock: int, mode: int, size: int) -> None:
        assert size == 1
        name = str(Path(f"/proc/self/fd/{lock}").readlink())
        if mode == WINDOWS.LK_UNLCK:
            assert held.pop(name) == lock
        elif held.setdefault(name, lock) != lock:
            raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(WINDOWS, "locking", locking, raising=False)
    monkeypatch.setitem(sys.modules, "msvcrt", WINDOWS)
    monkeypatch.setitem(sys.modules, "fcntl", None)
    monkeypatch.setattr(sys, "platform", "win32")
    there = runpy.run_path(journal_lock.__file__)
    path.parent.mkdir()
    first = there["take_lock"](path)
    with pytest.raises(JournalUnreadable, match="in use by another agent"):
        there["take_lock"](path)
    assert there["is_in_use"](path)
    there["let_go"](first)
    assert not there["is_in_use"](path)
    there["let_go"](there["take_lock"](path))
    assert held == {}


def test_a_folder_may_have_any_name(tmp_path: Path) -> None:
    """What means something in the address of a file means nothing in its name."""
    path = tmp_path / "50 % of #1?mode=memory für alle" / "journal.sqlite3"
    open_journal(path).close()
    assert devices_of(path) == []
    assert {entry.name for entry in tmp_path.iterdir()} == {path.parent.name}


def test_only_the_owner_may_read_it(path: Path) -> None:
    open_journal(path).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "content",
    [
        b"this is no database at all, but long enough to be looked at" * 30,
        b"SQLite format 3\x00junk",
    ],
)
def test_a_file_that_is_no_database_is_refused_and_left_alone(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(JournalUnreadable, match=r"journal\.sqlite3: .*--set-aside"):
        open_journal(path)
    assert path.read_bytes() == content


def test_a_foreign_database_is_refused_and_left_alone(path: Path) -> None:
    path.parent.mkdir()
    with sqlite3.connect(path) as foreign:
        foreign.execute("CREATE TABLE songs (title TEXT)")
    foreign.close()
    before = path.read_bytes()
    with pytest.raises(JournalUnreadable, match="no journal of this agent; name another file"):
        open_journal(path)
    assert path.read_bytes() == before


def test_a_journal_of_a_newer_agent_is_refused(path: Path) -> None:
    open_journal(path).close()
    with sqlite3.connect(path) as newer:
        newer.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    newer.close()
    with pytest.raises(JournalUnreadable, match="written by a newer agent"):
        open_journal(path)


async def test_a_torn_page_is_found_at_the_start(path: Path) -> None:
    journal = open_journal(path)
    await journal.load("PC-1", "stream")
    new = report(1)
    keeps = [KeepReport(n, new, content_of(new) * 10) for n in range(1, 200)]
    await journal.commit("PC-1", Batch(outbox=keeps))
    journal.close()
    with path.open("r+b") as file:
        file.seek(5 * 4096)
        file.write(os.urandom(4096))
    with pytest.raises(JournalUnreadable, match="torn"):
        open_journal(path)


async def test_an_entry_that_can_t_be_read_is_told_with_the_file(path: Path) -> None:
    journal = open_journal(path)
    await journal.load("PC-1", "stream")
    await journal.commit("PC-1", Batch(entry=Entry(1, 0, 0, "1", DeadlinePassed())))
    journal.close()
    with sqlite3.connect(path) as spoiler:
        spoiler.execute('UPDATE entry SET input = \'{"kind": "unknown"}\'')
    spoiler.close()
    journal = open_journal(path)
    with pytest.raises(JournalUnreadable, match=r"journal\.sqlite3: torn"):
        await journal.load("PC-1", "stream")
    journal.close()
    with pytest.raises(JournalUnreadable, match="torn"):
        list(iterate_entries(path))


def test_setting_aside_keeps_the_file_and_makes_room(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"x" * 100)
    aside = set_aside(path)
    assert aside.read_bytes() == b"x" * 100
    assert aside.name.startswith("journal.sqlite3.aside-")
    open_journal(path).close()
    assert set_aside(path) != aside


async def test_a_journal_in_use_is_not_set_aside(path: Path) -> None:
    journal = open_journal(path)
    with pytest.raises(JournalUnreadable, match="in use"):
        set_aside(path)
    journal.close()


async def test_many_devices_share_one_transaction(path: Path) -> None:
    """Three hundred devices commit at once; the file sees a handful of transactions."""
    journal = open_journal(path)
    names = [f"PC-{n}" for n in range(300)]
    for name in names:
        await journal.load(name, f"stream-{name}")
    statements: list[str] = []
    journal._connection.set_trace_callback(statements.append)
    await asyncio.gather(
        *(
            journal.commit(name, Batch(entry=Entry(1, 5, 5, "1", DeadlinePassed())))
            for name in names
        )
    )
    assert len(list(iterate_entries(path))) == 300
    assert 0 < statements.count("COMMIT") < 30
    journal.close()


async def test_one_device_s_batches_stay_in_order_whatever_their_haste(path: Path) -> None:
    journal = open_journal(path)
    await journal.load("PC-1", "stream")
    entries = [Entry(n, n, n, "1", Restarted(planned=bool(n % 3))) for n in range(1, 101)]
    await asyncio.gather(
        *(journal.commit("PC-1", Batch(entry=e, lazy=bool(e.n % 2))) for e in entries)
    )
    assert [entry for _, entry in iterate_entries(path, "PC-1")] == entries
    journal.close()


async def test_a_batch_that_fails_keeps_nothing_and_the_next_one_works(path: Path) -> None:
    journal = open_journal(path)
    await journal.load("PC-1", "stream")
    kept = KeepReport(1, report(1), content_of(report(1)))
    await journal.commit("PC-1", Batch(outbox=[kept]))
    entry = Entry(1, 0, 0, "1", DeadlinePassed())
    with pytest.raises(JournalFailed, match=r"journal\.sqlite3"):
        await journal.commit("PC-1", Batch(entry=entry, outbox=[kept]))
    assert list((await journal.load("PC-1", "x")).entries) == []
    await journal.commit("PC-1", Batch(session=6))
    assert (await journal.load("PC-1", "x")).session == 6
    journal.close()


async def test_a_full_disk_is_told_and_goes_on_when_there_is_room(path: Path) -> None:
    journal = open_journal(path)
    await journal.load("PC-1", "stream")
    connection = journal._connection
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages}")
    new = report(1)
    big = Batch(outbox=[KeepReport(n, new, "x" * 9000) for n in range(1, 20)])
    with pytest.raises(JournalFailed, match="full"):
        await journal.commit("PC-1", big)
    connection.execute("PRAGMA max_page_count = 100000")
    await journal.commit("PC-1", big)
    assert sum(1 for _ in iterate_reports(path)) == 19
    journal.close()


async def test_after_closing_nothing_is_taken(path: Path) -> None:
    journal = open_journal(path)
    journal.close()
    journal.close()
    with pytest.raises(JournalFailed, match="closed"):
        await journal.load("PC-1", "stream")


async def test_the_audit_reads_every_report_while_the_agent_writes(path: Path) -> None:
    journal = open_journal(path)
    new = report(1)
    for device in ("PC-2", "PC-1"):
        await journal.load(device, f"stream of {device}")
        changes: list[Durable] = [
            KeepReport(1, new, content_of(new)),
            NumberReport(1, 1, "digest"),
            MarkAcknowledged(1, 5),
            KeepReport(2, new, content_of(new)),
        ]
        await journal.commit(device, Batch(outbox=changes))
    assert list(iterate_reports(path)) == [
        ReportRow("PC-1", "stream of PC-1", 1, "digest", acknowledged=True),
        ReportRow("PC-1", "stream of PC-1", None, None, acknowledged=False),
        ReportRow("PC-2", "stream of PC-2", 1, "digest", acknowledged=True),
        ReportRow("PC-2", "stream of PC-2", None, None, acknowledged=False),
    ]
    assert devices_of(path) == ["PC-1", "PC-2"]
    journal.close()


def test_reading_a_journal_that_is_not_there_is_told(path: Path) -> None:
    with pytest.raises(JournalUnreadable, match="there is no such journal"):
        devices_of(path)
    assert not path.exists()


async def test_a_device_alone_waits_for_nobody_s_batches(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own, handed in together, are no company; a fleet gathers."""
    waits: list[float] = []
    journal = open_journal(path)
    monkeypatch.setattr(journal._closing, "wait", waits.append)
    for device in ("PC-1", "PC-2"):
        await journal.load(device, f"stream of {device}")

    async def commit_twice(*devices: str) -> None:
        for n in (1, 2):
            batches = [Batch(session=10 * n + i) for i in range(50)]
            await asyncio.gather(
                *(journal.commit(devices[i % len(devices)], b) for i, b in enumerate(batches))
            )

    await commit_twice("PC-1")
    assert waits == []
    await commit_twice("PC-1", "PC-2")
    assert set(waits) == {GATHER_S}
    journal.close()


async def test_closing_ends_the_wait_for_company_and_writes_what_was_handed_in(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = open_journal(path)
    devices = ("PC-1", "PC-2")
    for device in devices:
        await journal.load(device, f"stream of {device}")
    await asyncio.gather(*(journal.commit(devices[n % 2], Batch(session=n)) for n in range(1, 101)))
    monkeypatch.setattr("agent.journal.writer.GATHER_S", 3_600.0)
    last = asyncio.create_task(journal.commit("PC-1", Batch(session=200)))
    await asyncio.sleep(0)
    journal.close()
    await last
    again = open_journal(path)
    assert [(await again.load(device, "x")).session for device in devices] == [200, 99]
    again.close()


async def test_devices_that_begin_or_look_back_share_transactions_with_those_that_go_on(
    path: Path,
) -> None:
    """A fleet that is switched on while it enrolls: hardly more than one transaction for each look at the queue."""
    journal = open_journal(path)
    old, new = ([f"{age}-{n}" for n in range(200)] for age in ("OLD", "NEW"))
    await asyncio.gather(*(journal.load(name, f"stream-{name}") for name in old))
    made = report(1)
    kept: list[Durable] = [KeepReport(1, made, content_of(made)), NumberReport(1, 1, "digest")]
    await asyncio.gather(*(journal.commit(name, Batch(outbox=kept)) for name in old))
    statements: list[str] = []
    journal._connection.set_trace_callback(statements.append)
    loads, commits, fetches = [], [], []
    for other, name in zip(new, old, strict=True):
        loads.append(asyncio.create_task(journal.load(other, f"stream-{other}")))
        marked = Batch(outbox=[MarkAcknowledged(1, 5)])
        commits.append(asyncio.create_task(journal.commit(name, marked)))
        fetches.append(asyncio.create_task(journal.fetch(name, 1, 1)))
    states = await asyncio.gather(*loads)
    assert [state.stream for state in states] == [f"stream-{name}" for name in new]
    await asyncio.gather(*commits)
    assert await asyncio.gather(*fetches) == [[(1, made)]] * len(old)
    assert 0 < statements.count("COMMIT") < 30
    journal.close()


async def test_a_device_that_can_t_be_begun_is_told_and_others_can_look_back(path: Path) -> None:
    journal = open_journal(path)
    await journal.load("PC-1", "stream-1")
    made = report(1)
    await journal.commit(
        "PC-1", Batch(outbox=[KeepReport(1, made, content_of(made)), NumberReport(1, 1, "digest")])
    )
    journal._connection.execute("PRAGMA query_only = ON")
    begun, found = await asyncio.gather(
        journal.load("PC-2", "stream-2"), journal.fetch("PC-1", 1, 1), return_exceptions=True
    )
    assert isinstance(begun, JournalFailed)
    assert found == [(1, made)]
    journal._connection.execute("PRAGMA query_only = OFF")
    assert (await journal.load("PC-2", "stream-2")).stream == "stream-2"
    journal.close()
