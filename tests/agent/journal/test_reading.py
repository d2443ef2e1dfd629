"""Reading a journal of a broken device: nothing is written, and what is torn is read as far as it goes."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import sqlite3
from pathlib import Path

import pytest

from agent.core.batch import Batch, Entry
from agent.core.events import DeadlinePassed, LogsCollected
from agent.core.outbox import Durable, KeepReport, MarkAcknowledged, NumberReport, content_of
from agent.journal import ReadInputs, iterate_entries, open_journal, read_journal
from agent.runtime.ports import (
    JournalUnreadable,
)
from tests.agent.reports import report

PAGE = 4096
INPUTS = 200


def entry(n: int) -> Entry:
    digest = f"{n:016x}" if n % 64 == 0 else None
    return Entry(n, n * 10, n, "1.0", LogsCollected(path="x" * 200), digest)


async def write(path: Path, device: str, inputs: int = INPUTS) -> None:
    journal = open_journal(path)
    await journal.load(device, f"stream of {device}")
    await asyncio.gather(
        *(journal.commit(device, Batch(entry=entry(n))) for n in range(1, inputs + 1))
    )
    journal.close()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("journal") / "PC-1.journal.sqlite3"
    asyncio.run(write(path, "PC-1"))
    return path


@pytest.fixture
def path(whole: Path, tmp_path: Path) -> Path:
    """A copy without the lock file, as somebody sends it."""
    return Path(shutil.copyfile(whole, tmp_path / "journal.sqlite3"))


def fingerprints(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}


def test_a_whole_file_is_read_whole(path: Path) -> None:
    before = fingerprints(path.parent)
    with read_journal(path) as reader:
        assert reader.devices() == ["PC-1"]
        inputs = reader.inputs("PC-1")
    assert list(inputs.entries) == [entry(n) for n in range(1, INPUTS + 1)]
    assert inputs.missing == ""
    assert fingerprints(path.parent) == before


def test_a_file_cut_off_at_any_page_is_read_as_far_as_it_goes(path: Path) -> None:
    """What is read is a beginning of what was written; what is missing is said."""
    content = path.read_bytes()
    expected = [entry(n) for n in range(1, INPUTS + 1)]
    found: set[int] = set()
    for size in range(len(content) - PAGE, 0, -PAGE):
        path.write_bytes(content[: size - 100])
        try:
            with read_journal(path) as reader:
                inputs = reader.inputs("PC-1")
        except JournalUnreadable:
            found.add(-1)
            continue
        assert list(inputs.entries) == expected[: len(inputs.entries)]
        assert inputs.missing.startswith(f"Input{'' if 'and all' in inputs.missing else 's'} ")
        assert str(len(inputs.entries) + 1) in inputs.missing
        found.add(len(inputs.entries))
    assert len(found) > 3
    assert -1 in found, "where not even the device can be read, that is told"


def left_of(path: Path, content: bytes) -> tuple[list[str], ReadInputs | None]:
    """The devices and the inputs that a part of a file still gives."""
    path.write_bytes(content)
    try:
        with read_journal(path) as reader:
            devices = reader.devices()
            return devices, reader.inputs("PC-1")
    except JournalUnreadable:
        return [], None


def test_a_part_of_a_page_is_not_taken_for_what_was_written(path: Path) -> None:
    """SQLite would fill the rest of it with zeros."""
    content = path.read_bytes()
    for whole_pages in range(1, len(content) // PAGE):
        at_page = left_of(path, content[: whole_pages * PAGE])
        in_page = left_of(path, content[: (whole_pages + 1) * PAGE - 300])
        assert in_page == at_page


def test_a_spoiled_page_ends_the_reading_and_the_last_number_is_known(path: Path) -> None:
    content = bytearray(path.read_bytes())
    at = content.index(b'x"', len(content) // 2)
    page = at // PAGE * PAGE
    content[page : page + PAGE] = b"\xff" * PAGE
    path.write_bytes(content)
    with read_journal(path) as reader:
        inputs = reader.inputs("PC-1")
    assert list(inputs.entries) == [entry(n) for n in range(1, len(inputs.entries) + 1)]
    first = len(inputs.entries) + 1
    assert inputs.missing.startswith(f"Inputs {first} to {INPUTS} can't be read (the file is torn")


def change(path: Path, statement: str) -> None:
    with sqlite3.connect(path) as spoiler:
        spoiler.execute("PRAGMA journal_mode = DELETE")
        spoiler.execute(statement)
    spoiler.close()


def test_a_missing_input_ends_the_reading(path: Path) -> None:
    change(path, "DELETE FROM entry WHERE n = 50")
    with read_journal(path) as reader:
        inputs = reader.inputs("PC-1")
    assert len(inputs.entries) == 49
    assert inputs.missing == "Inputs 50 to 200 can't be read (it is not in the file)"


def test_an_input_that_this_version_does_not_know_ends_the_reading(path: Path) -> None:
    change(path, """UPDATE entry SET input = '{"kind": "unknown"}' WHERE n = 200""")
    with read_journal(path) as reader:
        inputs = reader.inputs("PC-1")
    assert len(inputs.entries) == INPUTS - 1
    assert inputs.missing.startswith(
        "Input 200 can't be read (this version does not understand it: "
    )


@pytest.mark.parametrize("content", [b"", b"no journal at all " * 500])
def test_what_is_no_journal_is_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(JournalUnreadable, match=r"journal\.sqlite3: "), read_journal(path):
        pass


def test_a_folder_and_nothing_at_all_are_refused(tmp_path: Path) -> None:
    for wrong in (tmp_path, tmp_path / "nothing"):
        with (
            pytest.raises(JournalUnreadable, match="there is no such journal"),
            read_journal(wrong),
        ):
            pass


def killed_copy(path: Path, target: Path) -> None:
    """The files as a power cut leaves them: what is not checkpointed is in the log beside the file."""
    shutil.copyfile(path, target)
    shutil.copyfile(f"{path}-wal", f"{target}-wal")


async def test_a_log_beside_the_file_is_read_and_may_be_cut_anywhere(tmp_path: Path) -> None:
    """Cut at each frame and in the middle of each, it gives a beginning of what was written."""
    source = tmp_path / "live" / "journal.sqlite3"
    journal = open_journal(source)
    await journal.load("PC-1", "stream")
    for n in range(1, 21):
        await journal.commit("PC-1", Batch(entry=entry(n)))
    copy = tmp_path / "copy" / "journal.sqlite3"
    copy.parent.mkdir()
    killed_copy(source, copy)
    journal.close()
    log = copy.with_name("journal.sqlite3-wal")
    content = log.read_bytes()
    lengths: list[int] = []
    for size in range(len(content), 32, -(PAGE + 24) // 2):
        log.write_bytes(content[:size])
        before = fingerprints(copy.parent)
        try:
            with read_journal(copy) as reader:
                devices = reader.devices()
                entries = list(reader.inputs("PC-1").entries) if devices else []
        except JournalUnreadable:
            continue
        assert fingerprints(copy.parent) == before
        assert entries == [entry(n) for n in range(1, len(entries) + 1)]
        lengths.append(len(entries))
    assert lengths[0] == 20
    assert lengths == sorted(lengths, reverse=True)
    assert len(set(lengths)) > 10


async def test_a_journal_in_use_is_read_as_it_is_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By SQLite itself: a copy of two files that are being written may hold two moments."""

    def copied(*_: object) -> None:
        raise AssertionError("copied while it is written")

    monkeypatch.setattr(shutil, "copyfile", copied)
    source = tmp_path / "live" / "journal.sqlite3"
    journal = open_journal(source)
    await journal.load("PC-1", "stream")
    for n in range(1, 6):
        await journal.commit("PC-1", Batch(entry=entry(n)))
        with read_journal(source) as reader:
            assert len(reader.inputs("PC-1").entries) == n
    journal.close()


def test_a_file_that_may_not_be_read_gets_a_sentence(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refused)
    with (
        pytest.raises(JournalUnreadable, match=r"cannot be read \(Permission denied\)"),
        read_journal(path),
    ):
        pass


# Files of the first schema, which had neither digests nor checkpoints.

FIRST_SCHEMA = (
    "ALTER TABLE entry DROP COLUMN digest",
    "DROP TABLE checkpoint",
    """CREATE TABLE first (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        stream TEXT NOT NULL UNIQUE,
        session INTEGER NOT NULL DEFAULT 0,
        next_seq INTEGER NOT NULL DEFAULT 1,
        next_position INTEGER NOT NULL DEFAULT 1,
        stored_seq INTEGER NOT NULL DEFAULT 0,
        store TEXT
    )""",
    """INSERT INTO first SELECT
        id, name, stream, session, next_seq, next_position, stored_seq, store FROM device""",
    "DROP TABLE device",
    "ALTER TABLE first RENAME TO device",
    "PRAGMA user_version = 1",
)


async def test_reports_that_were_numbered_before_there_was_a_chain_stay_as_they_are(
    tmp_path: Path,
) -> None:
    """Their digests cover no report before them, so they must not name one; the next that gets a number does."""
    path = tmp_path / "journal.sqlite3"
    journal = open_journal(path)
    await journal.load("PC-1", "stream-1")
    changes: list[Durable] = [KeepReport(n, report(n), content_of(report(n))) for n in (1, 2)]
    changes += [NumberReport(1, 1, "d1"), NumberReport(2, 2, "d2"), MarkAcknowledged(1, 7)]
    await journal.commit("PC-1", Batch(outbox=changes))
    journal.close()
    for statement in FIRST_SCHEMA:
        change(path, statement)
    journal = open_journal(path)
    outbox = (await journal.load("PC-1", "x")).outbox
    assert (outbox.chained_from, outbox.next_seq, outbox.held_after) == (3, 3, None)
    assert [one.digest for one in outbox.acknowledged] == ["d1"]
    assert [one.digest for one in outbox.numbered] == ["d2"]
    assert (await journal.load("PC-2", "y")).outbox.chained_from == 1
    journal.close()


async def test_a_file_of_the_first_schema_is_read_and_goes_on(path: Path) -> None:
    for statement in FIRST_SCHEMA:
        change(path, statement)
    before = fingerprints(path.parent)
    with read_journal(path) as reader:
        entries = reader.inputs("PC-1").entries
    assert len(entries) == INPUTS
    assert not any(e.digest for e in entries)
    assert fingerprints(path.parent) == before, "reading changes no schema"
    assert len(list(iterate_entries(path))) == INPUTS
    journal = open_journal(path)
    assert len((await journal.load("PC-1", "x")).entries) == INPUTS
    new = Entry(INPUTS + 1, 9_999, 0, "2.0", DeadlinePassed(), "f" * 16)
    await journal.commit("PC-1", Batch(entry=new))
    journal.close()
    assert list(iterate_entries(path))[-1][1] == new
