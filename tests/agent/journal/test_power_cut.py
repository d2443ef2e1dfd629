"""A power cut at any moment of a real journal's life: what was promised is there, the rest is there in order or not at all."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.core.batch import Batch, Checkpoint, Entry
from agent.core.events import LogsCollected
from agent.core.outbox import KeepReport, content_of
from agent.journal import open_journal
from agent.runtime.ports import JournalState
from tests.agent.journal.recording_disk import (
    Done,
    Record,
    everything,
    nothing,
    recorded,
    some,
)
from tests.agent.reports import report

INPUTS = 17
CHECKPOINT_PAGES = 8
"""SQLite moves its log into the file each so many pages, so that a short life has that too."""


def batch(n: int) -> Batch:
    """An input with its report; every third may be lost, and every eighth has a checkpoint."""
    digest = f"{n:016x}" if n % 8 == 0 else None
    new = report(n)
    return Batch(
        entry=Entry(n, n * 10, n, "1.0", LogsCollected(path="x" * 300), digest),
        checkpoint=Checkpoint(n, b"%d" % n * 2000) if digest else None,
        outbox=[KeepReport(n, new, content_of(new))],
        lazy=n % 3 == 0,
    )


async def _live(path: Path, record: Record) -> None:
    journal = open_journal(path)
    await journal.load("PC-1", "stream")
    journal._connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
    for n in range(1, INPUTS + 1):
        await journal.commit("PC-1", batch(n))
        if not batch(n).lazy:
            record.mark(n)
    journal.close()


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Record:
    try:
        with recorded() as made:
            asyncio.run(_live(tmp_path_factory.mktemp("live") / "journal.sqlite3", made))
    except OSError as error:
        pytest.skip(str(error))
    return made


async def _after(files: dict[str, bytes], folder: Path) -> JournalState:
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    journal = open_journal(folder / "journal.sqlite3")
    state = await journal.load("PC-1", "another stream")
    # It also goes on from there.
    await journal.commit("PC-1", batch(len(state.entries) + 1))
    journal.close()
    return state


def test_the_disk_is_asked_for_what_a_promise_takes(record: Record) -> None:
    """Every commit that may not be lost is synced after its last write and before it returns; a lazy one asks for nothing."""
    since: Counter[str] = Counter()
    last = ""
    promises = 0
    for done in record.done:
        if done.what == "mark":
            assert since["write"], "nothing was written"
            assert (last, since["sync"] > 0) == ("sync", True), f"input {done.mark}"
            promises += 1
        if done.what in ("mark", "write", "sync"):
            last = done.what
            since[done.what] += 1
        if done.what == "mark":
            since.clear()
    assert promises == INPUTS - INPUTS // 3
    log = [d.what for d in record.done if d.file.endswith("-wal")]
    assert log.count("sync") < log.count("write")


async def test_what_may_be_lost_makes_nothing_lost_that_is_written_with_it(tmp_path: Path) -> None:
    """Commits that are handed in together go into one transaction, synced if one of them has to last."""
    journal = open_journal(tmp_path / "journal.sqlite3")
    await journal.load("PC-1", "stream")
    statements: list[str] = []
    journal._connection.set_trace_callback(statements.append)
    entries = [Entry(n, n, n, "1.0", LogsCollected(path="")) for n in range(1, 201)]
    await asyncio.gather(
        *(journal.commit("PC-1", Batch(entry=e, lazy=e.n % 4 != 0)) for e in entries)
    )
    journal.close()
    level, numbers, mixed = "", list[int](), 0
    for statement in statements:
        if statement.startswith("PRAGMA synchronous"):
            level, numbers = statement.split()[-1], []
        elif statement.startswith("INSERT INTO entry"):
            numbers.append(int(statement.split(", ")[1]))
        elif statement == "COMMIT":
            lasting = [n for n in numbers if n % 4 == 0]
            assert level == ("FULL" if lasting else "NORMAL")
            mixed += 0 < len(lasting) < len(numbers)
    assert mixed


@pytest.mark.parametrize(
    ("survives", "every"),
    [(nothing, 1), (everything, 3), (some(1), 2), (some(2), 3)],
    ids=["all unsynced lost", "all written", "some", "others"],
)
def test_wherever_the_power_goes_what_was_promised_is_there(
    record: Record, survives: Callable[[Done], Done | None], every: int, tmp_path: Path
) -> None:
    found: Counter[int] = Counter()
    for cut in range(0, len(record.done) + 1, every):
        files = record.left(cut, survives)
        state = asyncio.run(_after(files, tmp_path / str(cut)))
        count = len(state.entries)
        assert list(state.entries) == [batch(n).entry for n in range(1, count + 1)]
        assert count >= record.promised(cut), f"lost what was promised, cut at {cut}"
        assert len(state.outbox.queued) == count, "an input and its report stay together"
        kept = [n for n in range(count, 0, -1) if batch(n).checkpoint][:2]
        assert list(state.checkpoints) == [batch(n).checkpoint for n in kept]
        found[count] += 1
    assert len(found) > INPUTS / 2
    assert {min(found), max(found)} == {0, INPUTS}


def test_a_disk_that_ignores_syncs_would_be_caught(record: Record, tmp_path: Path) -> None:
    """The check is worth something: without what was synced, a promise is broken."""
    unsynced = Record([d for d in record.done if d.what != "sync"])
    broken = 0
    for cut in range(1, len(unsynced.done), 7):
        try:
            state = asyncio.run(_after(unsynced.left(cut, nothing), tmp_path / str(cut)))
        except Exception:  # noqa: BLE001 - the file itself may be in pieces
            broken += 1
        else:
            broken += len(state.entries) < unsynced.promised(cut)
    assert broken > 5
