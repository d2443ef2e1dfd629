"""What every journal keeps: the SQLite one, and the memory one that the other tests rely on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.core.batch import Batch, Checkpoint, Entry
from agent.core.events import DeadlinePassed, Restarted
from agent.core.outbox import (
    Acknowledged,
    DropReport,
    Durable,
    ForgetReports,
    KeepReport,
    MarkAcknowledged,
    Numbered,
    NumberReport,
    RememberStored,
    UnmarkAcknowledged,
    content_of,
)
from agent.journal import SqliteJournal, open_journal
from agent.runtime.ports import (
    Journal,
    JournalState,
)
from tests.agent.fakes import MemoryJournal
from tests.agent.reports import report

DEVICE = "PC-1"


def keep(position: int) -> KeepReport:
    new = report(position)
    return KeepReport(position, new, content_of(new))


@pytest.fixture(params=["sqlite", "memory"])
def journal(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Journal]:
    if request.param == "memory":
        yield MemoryJournal()
        return
    opened = open_journal(tmp_path / "journal.sqlite3")
    yield opened
    opened.close()


async def loaded(journal: Journal) -> JournalState:
    return await journal.load(DEVICE, "a-new-stream")


async def test_a_device_not_seen_before_begins_with_the_stream_given(journal: Journal) -> None:
    state = await loaded(journal)
    assert (state.stream, state.session, list(state.entries)) == ("a-new-stream", 0, [])
    assert state.outbox.next_seq == 1


async def test_a_known_device_keeps_its_stream(journal: Journal) -> None:
    await loaded(journal)
    assert (await journal.load(DEVICE, "another")).stream == "a-new-stream"


async def test_inputs_come_back_in_order_with_their_stamps(journal: Journal) -> None:
    await loaded(journal)
    entries = [
        Entry(1, 10, 1_000, "1.0", Restarted(planned=True)),
        Entry(2, 10, 1_001, "1.1", DeadlinePassed(), "0123456789abcdef"),
    ]
    for entry in entries:
        await journal.commit(DEVICE, Batch(entry=entry))
    assert list((await loaded(journal)).entries) == entries


async def test_the_two_newest_checkpoints_come_back(journal: Journal) -> None:
    """The newest first, whole, and none of another device."""
    await loaded(journal)
    await journal.load("PC-2", "second-stream")
    for n in (1, 2, 3):
        entry = Entry(n, n, n, "1.0", DeadlinePassed(), "f" * 16)
        kept = Checkpoint(n, b"state %d " % n * 500)
        await journal.commit(DEVICE, Batch(entry=entry, checkpoint=kept))
        await journal.commit("PC-2", Batch(entry=entry))
    assert list((await loaded(journal)).checkpoints) == [
        Checkpoint(3, b"state 3 " * 500),
        Checkpoint(2, b"state 2 " * 500),
    ]
    assert list((await journal.load("PC-2", "x")).checkpoints) == []


async def test_session_and_executed_commands_come_back(journal: Journal) -> None:
    await loaded(journal)
    await journal.commit(DEVICE, Batch(session=4, executed=("c-1",)))
    await journal.commit(DEVICE, Batch(executed=("c-2", "c-1")))
    state = await loaded(journal)
    assert state.session == 4
    assert state.executed == {"c-1", "c-2"}


async def test_reports_move_from_queue_to_number_to_acknowledged_to_gone(journal: Journal) -> None:
    await loaded(journal)
    kept = [keep(n) for n in range(1, 6)]
    await journal.commit(DEVICE, Batch(outbox=kept))
    await journal.commit(
        DEVICE,
        Batch(outbox=[NumberReport(1, 1, "d1"), NumberReport(2, 2, "d2"), DropReport(4)]),
    )
    await journal.commit(DEVICE, Batch(outbox=[MarkAcknowledged(1, 77), RememberStored("s", 1, 3)]))
    outbox = (await loaded(journal)).outbox
    assert list(outbox.acknowledged) == [Acknowledged(1, len(kept[0].content), 77, "d1")]
    assert list(outbox.numbered) == [Numbered(2, 2, kept[1].report, "d2")]
    assert outbox.held_after is None
    assert [(p, r.attempt_ms) for p, r in outbox.queued] == [(3, 3), (5, 5)]
    assert (outbox.next_position, outbox.next_seq) == (6, 3)
    assert (outbox.store, outbox.stored_seq) == ("s", 1)

    await journal.commit(DEVICE, Batch(outbox=[UnmarkAcknowledged(0)]))
    assert [one.seq for one in (await loaded(journal)).outbox.numbered] == [1, 2]
    await journal.commit(DEVICE, Batch(outbox=[ForgetReports(1, "d1")]))
    outbox = (await loaded(journal)).outbox
    assert [one.seq for one in outbox.numbered] == [2]
    assert (outbox.next_seq, outbox.held_after) == (3, "d1")


async def test_an_acknowledged_report_keeps_the_time_of_its_first_acknowledgement(
    journal: Journal,
) -> None:
    await loaded(journal)
    changes = [c for n in (1, 2) for c in (keep(n), NumberReport(n, n, f"d{n}"))]
    await journal.commit(DEVICE, Batch(outbox=[*changes, MarkAcknowledged(1, 77)]))
    await journal.commit(DEVICE, Batch(outbox=[MarkAcknowledged(2, 99)]))
    outbox = (await loaded(journal)).outbox
    assert [(a.seq, a.at_ms) for a in outbox.acknowledged] == [(1, 77), (2, 99)]


async def test_numbered_reports_are_fetched_by_number(journal: Journal) -> None:
    await loaded(journal)
    changes = [c for n in range(1, 5) for c in (keep(n), NumberReport(n, n, f"d{n}"))]
    await journal.commit(DEVICE, Batch(outbox=changes))
    fetched = await journal.fetch(DEVICE, 2, 3)
    assert [(seq, r.attempt_ms) for seq, r in fetched] == [(2, 2), (3, 3)]


async def test_devices_do_not_see_each_other(journal: Journal) -> None:
    await loaded(journal)
    await journal.load("PC-2", "second-stream")
    await journal.commit(DEVICE, Batch(outbox=[keep(1), NumberReport(1, 1, "d")], session=3))
    second = await journal.load("PC-2", "x")
    assert (second.session, second.outbox.next_seq) == (0, 1)


async def test_what_is_committed_survives_closing(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite3"
    journal: SqliteJournal = open_journal(path)
    await loaded(journal)
    await journal.commit(DEVICE, Batch(session=9))
    journal.close()
    again = open_journal(path)
    assert (await loaded(again)).session == 9
    again.close()


async def test_what_was_taken_back_can_be_acknowledged_again(journal: Journal) -> None:
    """Each mark covers what is not marked yet, also after numbers became unacknowledged or were given anew."""
    await loaded(journal)
    numbered: list[Durable] = [keep(1), NumberReport(1, 1, "a"), keep(2), NumberReport(2, 2, "b")]
    steps: tuple[list[Durable], ...] = (
        numbered,
        [MarkAcknowledged(2, 10)],
        [UnmarkAcknowledged(0)],
        [keep(3), NumberReport(3, 3, "c")],
        [MarkAcknowledged(1, 20)],
        [MarkAcknowledged(3, 30)],
    )
    for outbox in steps:
        await journal.commit(DEVICE, Batch(outbox=outbox))
    rows = (await loaded(journal)).outbox.acknowledged
    assert [(row.seq, row.at_ms) for row in rows] == [(1, 20), (2, 30), (3, 30)]
    again: list[Durable] = [
        ForgetReports(3),
        keep(4),
        NumberReport(4, 2, "d"),
        MarkAcknowledged(2, 40),
    ]
    await journal.commit(DEVICE, Batch(outbox=again))
    rows = (await loaded(journal)).outbox.acknowledged
    assert [(row.seq, row.at_ms) for row in rows] == [(2, 40)]


async def test_what_nobody_waits_for_is_there_before_what_comes_after_it(journal: Journal) -> None:
    await loaded(journal)
    await journal.commit(DEVICE, Batch(outbox=[keep(1), NumberReport(1, 1, "a")]))
    await journal.commit(DEVICE, Batch(outbox=[MarkAcknowledged(1, 10)], lazy=True))
    await journal.commit(DEVICE, Batch(outbox=[RememberStored("store", 1, 2)], lazy=True))
    state = (await loaded(journal)).outbox
    assert [row.seq for row in state.acknowledged] == [1]
    assert (state.store, state.stored_seq) == ("store", 1)
