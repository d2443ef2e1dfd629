"""The log archive: what is in it, what never is, that it is there as a whole, and that it plays."""

from __future__ import annotations

import asyncio
import hashlib
import json
import resource
import stat
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent.core.batch import Batch, Entry
from agent.core.events import AttemptBegan
from agent.journal import SqliteJournal, devices_of, iterate_entries, open_journal
from agent.journal.copying import _COPIED
from agent.log_archive import (
    ARCHIVES_KEPT,
    JOURNAL,
    LOG_BYTES_MAX,
    MANIFEST,
    SCHEMA,
    ZipLogArchive,
    journal_in,
)
from agent.runtime.ports import (
    ArchiveFailed,
    DeviceReport,
    JournalUnreadable,
)
from agent.wire.progress import Reporting
from tests.agent.core.script import Script
from tests.agent.fakes import ScriptedEndpoint

DEVICE = "PC-1"
WALL_MS = 1_795_249_600_000
NAME = "PC-1-20261121T082640Z.zip"
SETTINGS: dict[str, object] = {"broker": "mqtts://broker.example:8883", "speed": 1.0}


def report(**changes: Any) -> DeviceReport:
    plain = DeviceReport(
        facts=ScriptedEndpoint(DEVICE).facts(),
        progress=Script().begin().machine.progress,
        reporting=Reporting(connected=True, broker="mqtts://broker.example:8883"),
        at_ms=5_000,
        wall_ms=WALL_MS,
        command="c-1",
        link={"state": "online", "session": 3},
        outbox={"stream": "stream-1", "unacknowledged": 2},
        refused={"signature": 1},
    )
    return replace(plain, **changes)


async def begin(journal: SqliteJournal, device: str) -> None:
    await journal.load(device, f"stream of {device}")
    facts = ScriptedEndpoint(device).facts()
    event = AttemptBegan(attempt=f"attempt of {device}", facts=facts)
    await journal.commit(device, Batch(entry=Entry(1, 0, WALL_MS, "1.0", event), executed=["c-1"]))


@pytest.fixture
async def journal(tmp_path: Path) -> Any:
    """A journal of two devices."""
    opened = open_journal(tmp_path / "fleet.sqlite3")
    for device in (DEVICE, "PC-2"):
        await begin(opened, device)
    yield opened
    opened.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "logs"


def archive_in(folder: Path, journal: Any, **more: Any) -> ZipLogArchive:
    return ZipLogArchive(folder, journal, settings=SETTINGS, **more)


def parts_of(path: str | Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


async def test_it_holds_journal_log_facts_progress_and_a_manifest_with_digests(
    folder: Path, journal: SqliteJournal, tmp_path: Path
) -> None:
    log = tmp_path / "PC-1.log"
    log.write_text('{"event": "now"}\n')
    log.with_name("PC-1.log.1").write_text('{"event": "before"}\n')
    path = Path(await archive_in(folder, journal, log_file=log).write(report()))
    assert path == folder / NAME
    parts = parts_of(path)
    manifest = json.loads(parts.pop(MANIFEST))
    assert (manifest["schema"], manifest["device"]) == (SCHEMA, DEVICE)
    assert manifest["written_at"] == "2026-11-21T08:26:40+00:00"
    assert manifest["left_out"] == []
    assert {f["name"]: (f["bytes"], f["sha256"]) for f in manifest["files"]} == {
        name: (len(content), hashlib.sha256(content).hexdigest()) for name, content in parts.items()
    }
    assert set(parts) == {JOURNAL, "agent.log", "agent.log.1", "facts.json", "progress.json"}
    assert parts["agent.log.1"] == b'{"event": "before"}\n'
    facts = json.loads(parts["facts.json"])
    assert facts["device"]["os_version"] == "10.0.26100"
    assert facts["settings"] == SETTINGS
    assert facts["outbox"]["unacknowledged"] == 2
    assert facts["link"] == {"state": "online", "session": 3}
    assert facts["reporting"]["connected"] is True
    assert facts["asked_by_command"] == "c-1"
    assert json.loads(parts["progress.json"])["gate"] == "locked"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


async def test_its_journal_is_of_this_device_alone_and_plays(
    folder: Path, journal: SqliteJournal
) -> None:
    path = Path(await archive_in(folder, journal).write(report()))
    assert b"PC-2" not in parts_of(path)[JOURNAL]
    with journal_in(path) as file:
        assert devices_of(file) == [DEVICE]
        assert list(iterate_entries(file)) == list(iterate_entries(journal.path, DEVICE))
        again = open_journal(file)
        state = await again.load(DEVICE, "another")
        again.close()
    assert state.stream == f"stream of {DEVICE}"
    assert state.executed == {"c-1"}
    assert not file.exists()


async def test_it_is_a_copy_of_one_moment_while_others_write(
    folder: Path, journal: SqliteJournal
) -> None:
    """What is committed meanwhile neither waits nor gets in halfway: the entries are the first n, without a gap."""
    stop = asyncio.Event()
    event = AttemptBegan(attempt="x", facts=ScriptedEndpoint("PC-1").facts())

    async def writes() -> int:
        n = 1
        while not stop.is_set():
            n += 1
            await journal.commit(DEVICE, Batch(entry=Entry(n, n, WALL_MS, "1.0", event)))
        return n

    writing = asyncio.create_task(writes())
    archive = archive_in(folder, journal)
    paths = [await archive.write(report()) for _ in range(3)]
    stop.set()
    written = await writing
    counts = []
    for path in paths:
        with journal_in(Path(path)) as file:
            numbers = [entry.n for _, entry in iterate_entries(file)]
        assert numbers == list(range(1, len(numbers) + 1))
        counts.append(len(numbers))
    assert counts == sorted(counts)
    assert counts[-1] <= written


async def test_no_commit_gets_in_between_two_tables(
    folder: Path, journal: SqliteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A report without the input that caused it would be a moment that never was."""
    loop, numbers = asyncio.get_running_loop(), iter(range(2, 10))
    event = AttemptBegan(attempt="x", facts=ScriptedEndpoint(DEVICE).facts())

    async def commit() -> None:
        n = next(numbers)
        entry = Entry(n, n, WALL_MS, "1.0", event)
        await journal.commit(DEVICE, Batch(entry=entry, executed=[f"later-{n}"]))

    class Interrupted(dict[str, str]):
        def items(self) -> Any:
            for pair in super().items():
                asyncio.run_coroutine_threadsafe(commit(), loop).result(5)
                yield pair

    monkeypatch.setattr("agent.journal.copying._COPIED", Interrupted(_COPIED))
    with journal_in(Path(await archive_in(folder, journal).write(report()))) as file:
        copy = open_journal(file)
        state = await copy.load(DEVICE, "another")
        copy.close()
    assert len(list(iterate_entries(journal.path, DEVICE))) == 1 + len(_COPIED)
    assert (len(state.entries), set(state.executed)) == (1, {"c-1"})


async def test_no_secret_gets_in_by_any_door(
    folder: Path, journal: SqliteJournal, tmp_path: Path
) -> None:
    """Not from the log either, however a library wrote it there."""
    password = 'p@ss"wörd\\42'
    log = tmp_path / "PC-1.log"
    lines = [f"plain {password}", json.dumps({"event": password}), repr({"password": password})]
    log.write_text("\n".join([*lines, json.dumps({"event": password}, ensure_ascii=False)]))
    archive = archive_in(folder, journal, log_file=log, secrets=[password])
    parts = parts_of(await archive.write(report()))
    assert parts["agent.log"].count(b"[removed]") == 4
    for content in parts.values():
        assert b"p@ss" not in content
        assert b"\\42" not in content


async def test_a_device_without_a_log_of_its_own_says_so(
    folder: Path, journal: SqliteJournal
) -> None:
    parts = parts_of(await archive_in(folder, journal).write(report()))
    (missing,) = json.loads(parts[MANIFEST])["left_out"]
    assert missing["name"] == "agent.log"
    assert "shares its process" in missing["reason"]


async def test_of_a_log_the_end_is_taken(
    folder: Path, journal: SqliteJournal, tmp_path: Path
) -> None:
    log = tmp_path / "PC-1.log"
    log.write_bytes(b"first\n" + LOG_BYTES_MAX * b"x" + b"\nlast\n")
    parts = parts_of(await archive_in(folder, journal, log_file=log).write(report()))
    assert len(parts["agent.log"]) == LOG_BYTES_MAX
    assert parts["agent.log"].endswith(b"last\n")


async def test_a_journal_over_the_limit_is_left_out_and_told(
    folder: Path, journal: SqliteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.log_archive.JOURNAL_BYTES_MAX", 1_000)
    path = Path(await archive_in(folder, journal).write(report()))
    parts = parts_of(path)
    assert JOURNAL not in parts
    assert any(part["name"] == JOURNAL for part in json.loads(parts[MANIFEST])["left_out"])
    with (
        pytest.raises(JournalUnreadable, match=r"has no journal .*more than 1000"),
        journal_in(path),
    ):
        pass


async def test_the_newest_stay_also_when_the_clock_went_back(
    folder: Path, journal: SqliteJournal
) -> None:
    """Nobody else's archive and nothing else in the folder is touched."""
    archive = archive_in(folder, journal)
    folder.mkdir()
    others = ["PC-1-notes.zip", "PC-10-20200101T000000Z.zip", "XPC-1-20200101T000000Z.zip"]
    for name in others:
        (folder / name).touch()
    for second in range(ARCHIVES_KEPT + 2):
        await archive.write(report(wall_ms=WALL_MS + second * 1000))
    same_second = Path(await archive.write(report(wall_ms=WALL_MS + 6_000)))
    assert same_second.name == "PC-1-20261121T082646Z-2.zip"
    early = Path(await archive.write(report(wall_ms=0)))
    assert early.name == "PC-1-19700101T000000Z.zip"
    left = {path.name for path in folder.iterdir()} - set(others)
    assert left == {
        "PC-1-19700101T000000Z.zip",
        "PC-1-20261121T082644Z.zip",
        "PC-1-20261121T082645Z.zip",
        "PC-1-20261121T082646Z.zip",
        "PC-1-20261121T082646Z-2.zip",
    }
    assert all((folder / name).exists() for name in others)


async def test_what_a_power_cut_left_is_cleared_and_another_device_s_work_is_not(
    folder: Path, journal: SqliteJournal
) -> None:
    mine, other = folder / ".PC-1.abcd_123.part", folder / ".PC-1.abc.abcd_123.part"
    for left in (mine, other):
        left.mkdir(parents=True)
        (left / "archive.zip").write_bytes(b"half")
    await archive_in(folder, journal).write(report())
    assert {path.name for path in folder.iterdir()} == {NAME, other.name}


@contextmanager
def files_at_most(size: int) -> Iterator[None]:
    """The system refuses to make any file larger than this, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("room", [0, 2_000, 20_000, 33_000])
async def test_without_room_there_is_one_sentence_and_nothing_is_left(
    folder: Path, journal: SqliteJournal, tmp_path: Path, room: int
) -> None:
    """Whatever the disk runs out of room for: the journal's copy or the archive itself."""
    log = tmp_path / "PC-1.log"
    log.write_bytes(bytes(hashlib.sha256(str(n).encode()).digest()[0] for n in range(100_000)))
    archive = archive_in(folder, journal, log_file=log)
    with files_at_most(room), pytest.raises(ArchiveFailed) as failure:
        await archive.write(report())
    told = str(failure.value)
    assert str(folder) in told
    assert "collect the logs again" in told
    assert "\n" not in told
    assert list(folder.iterdir()) == []
    assert Path(await archive.write(report())).exists()


async def test_a_folder_that_can_t_be_made_is_told(tmp_path: Path, journal: SqliteJournal) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ArchiveFailed, match=r"file/logs .*--logs"):
        await archive_in(tmp_path / "file" / "logs", journal).write(report())
    long = tmp_path.joinpath(*(["x" * 200] * 8))
    with pytest.raises(ArchiveFailed, match="too long"):
        await archive_in(long, journal).write(report())


async def test_a_journal_that_can_t_be_copied_is_told(folder: Path, journal: SqliteJournal) -> None:
    journal.close()
    with pytest.raises(ArchiveFailed, match="the journal is closed"):
        await archive_in(folder, journal).write(report())
    assert list(folder.iterdir()) == []


async def test_the_event_loop_goes_on_while_it_is_written(
    folder: Path, journal: SqliteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, began, may_pack = asyncio.get_running_loop(), asyncio.Event(), threading.Event()
    pack = ZipLogArchive._pack

    def waits(*arguments: Any) -> Path:
        loop.call_soon_threadsafe(began.set)
        assert may_pack.wait(3), "the loop stood still"
        return pack(*arguments)

    monkeypatch.setattr(ZipLogArchive, "_pack", waits)
    writing = asyncio.create_task(archive_in(folder, journal).write(report()))
    # Only a loop that runs sees that packing has begun, and lets it go on.
    await began.wait()
    may_pack.set()
    assert Path(await writing).exists()


async def test_every_damage_is_one_sentence(
    folder: Path, journal: SqliteJournal, tmp_path: Path
) -> None:
    """Cut anywhere, or with any byte changed: it plays unchanged, or one sentence names file and remedy."""
    whole = Path(await archive_in(folder, journal).write(report()))
    content = whole.read_bytes()
    expected = list(iterate_entries(journal.path, DEVICE))
    damaged = [content[:length] for length in range(0, len(content), 97)]
    damaged += [
        content[:place] + bytes([content[place] ^ 0x41]) + content[place + 1 :]
        for place in range(0, len(content), 7)
    ]
    bad = tmp_path / "bad.zip"
    told = []
    for variant in damaged:
        bad.write_bytes(variant)
        try:
            with journal_in(bad) as file:
                assert list(iterate_entries(file)) == expected
        except JournalUnreadable as error:
            told.append(str(error))
    assert all(str(bad) in sentence and "\n" not in sentence for sentence in told)
    assert len(told) > len(damaged) // 2


async def test_another_journal_in_an_archive_is_found(
    folder: Path, journal: SqliteJournal, tmp_path: Path
) -> None:
    parts = parts_of(await archive_in(folder, journal).write(report()))
    changed = tmp_path / "changed.zip"
    with zipfile.ZipFile(changed, "w") as archive:
        for name, content in parts.items():
            archive.writestr(
                name, content.replace(b"PC-1", b"PC-3") if name == JOURNAL else content
            )
    with (
        pytest.raises(JournalUnreadable, match="not the one that the manifest names"),
        journal_in(changed),
    ):
        pass


def test_what_is_no_log_archive_is_told(tmp_path: Path) -> None:
    bad = tmp_path / "other"
    with zipfile.ZipFile(bad, "w") as archive:
        archive.writestr("holiday.jpg", b"x")
    with pytest.raises(JournalUnreadable, match=f"has no {MANIFEST}"), journal_in(bad):
        pass
    with zipfile.ZipFile(bad, "w") as archive:
        manifest = {"schema": "esp.logs/2", "files": [], "left_out": []}
        archive.writestr(MANIFEST, json.dumps(manifest))
    with pytest.raises(JournalUnreadable, match="of another agent"), journal_in(bad):
        pass


def test_a_journal_is_read_where_it_is(tmp_path: Path) -> None:
    for name in ("journal.sqlite3", "missing.zip"):
        path = tmp_path / name
        if name.endswith("3"):
            open_journal(path).close()
        with journal_in(path) as file:
            assert file == path
