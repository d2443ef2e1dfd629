"""The simulated disk: what was committed is read back from bytes, and a power cut takes what it may take."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from agent.core.batch import Batch, Entry
from agent.core.events import DeadlinePassed
from agent.core.outbox import (
    DropReport,
    Durable,
    ForgetReports,
    KeepReport,
    MarkAcknowledged,
    NumberReport,
    RememberStored,
    UnmarkAcknowledged,
    content_of,
)
from agent.wire.events import LogsCollected, Report
from agent.wire.vocabulary import Stage
from simulator.verify.disk import Disk, DiskFull


def keep(position: int) -> KeepReport:
    report = Report(
        attempt="attempt-1",
        attempt_ms=position,
        device_time=datetime(2026, 1, 5, tzinfo=UTC),
        stage=Stage.PREPARING,
        percent=0,
        body=LogsCollected(path=f"{position}.zip"),
    )
    return KeepReport(position, report, content_of(report))


def filled(*changes: Durable) -> Disk:
    disk = Disk("stream-1")
    disk.commit(Batch(outbox=changes), 0)
    return disk


def test_every_change_comes_back_from_the_bytes() -> None:
    disk = filled(keep(1), keep(2), keep(3), keep(4), NumberReport(1, 1, "a"))
    disk.commit(Batch(outbox=[NumberReport(2, 2, "b"), MarkAcknowledged(2, 70)]), 0)
    disk.commit(Batch(outbox=[UnmarkAcknowledged(1), RememberStored("store-1", 1, 3)]), 0)
    disk.commit(Batch(outbox=[DropReport(3), ForgetReports(1, "a")]), 0)
    disk.commit(Batch(entry=Entry(1, 5, 6, "1", DeadlinePassed()), executed=["c"], session=4), 0)
    before, after = disk.kept, disk.load()
    assert after == before
    assert after is not before
    assert [(r.seq, r.acknowledged_ms) for r in after.rows.values()] == [(2, None), (None, None)]
    assert (after.store, after.stored_seq, after.next_seq) == ("store-1", 1, 3)
    assert (after.held_after, after.outbox().numbered[0].digest) == ("a", "b")
    assert set(after.told) == {1, 2, 4}, "what was dropped is told elsewhere or not at all"
    assert (after.entries[0].at_ms, after.executed, after.session) == (5, {"c"}, 4)


def test_an_acknowledged_report_is_fetched_with_its_content() -> None:
    disk = filled(keep(1), NumberReport(1, 1, "a"), MarkAcknowledged(1, 70))
    assert disk.fetch(1, 5) == [(1, keep(1).report)]
    assert [kept.at_ms for kept in disk.load().outbox().acknowledged] == [70]


def test_a_full_disk_keeps_nothing_of_a_batch() -> None:
    disk = filled(keep(1))
    disk.is_full = True
    with pytest.raises(DiskFull):
        disk.commit(Batch(outbox=[keep(2)]), 0)
    assert set(disk.load().rows) == {1}


def test_a_torn_batch_is_dropped() -> None:
    disk = filled(keep(1))
    disk.tear(Batch(outbox=[keep(2)]))
    assert set(disk.load().rows) == {1}


def test_a_power_cut_takes_lazy_batches_only_and_the_newest_first() -> None:
    disk = filled(keep(1))
    for position in (2, 3, 4):
        disk.commit(Batch(outbox=[keep(position)], lazy=True), 0)
    assert disk.lose_lazy(0.4) == 1
    assert set(disk.load().rows) == {1, 2, 3}


def test_what_was_lazy_is_durable_with_the_next_batch_that_is_not() -> None:
    disk = filled(keep(1))
    disk.commit(Batch(outbox=[keep(2)], lazy=True), 0)
    disk.commit(Batch(outbox=[keep(3)]), 0)
    assert disk.lose_lazy(1.0) == 0
    assert set(disk.load().rows) == {1, 2, 3}


def test_an_older_copy_has_what_there_was_then() -> None:
    disk = Disk("stream-1")
    for position, at_ms in ((1, 10), (2, 20), (3, 30)):
        disk.commit(Batch(outbox=[keep(position)]), at_ms)
    assert disk.become_older(20) == 1
    assert set(disk.load().rows) == {1, 2}
