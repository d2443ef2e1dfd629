"""Retention lets reports go, whole attempts at a time, and no figure changes by it."""

from __future__ import annotations

import pytest

from agent.wire.vocabulary import EndState
from collector.queries import attempts
from collector.upkeep import retention
from collector.upkeep.retention import DAY_MS, KEEP_DAYS_MIN, Retention
from tests.collector.fleet import Office, Reporter, failure
from tests.collector.stuck.items import later

DAY_MINUTES = 24 * 60
KEEP = 31


def lived(office: Office) -> list[Reporter]:
    """An old success, an old failure before a new try, and one that is open since long ago."""
    done, again, stays = (Reporter(device=n, stream=n) for n in ("DONE", "AGAIN", "OPEN"))
    office.take_in([done.begin(), done.move(10), done.end()])
    office.take_in([again.begin(), again.move(10), again.end(EndState.FAILED, problem=failure())])
    office.take_in([stays.begin(), stays.move(10)])
    later(office, (KEEP + 1) * DAY_MINUTES)
    office.take_in([again.begin(), again.end()])
    return [done, again, stays]


def stored(office: Office) -> list[tuple[str, int]]:
    return [(row.device, row.seq) for row in office.store.stored_rows()]


def test_reports_of_old_ended_attempts_go_and_nothing_else(office: Office) -> None:
    lived(office)
    keeper = Retention(office.store.database)
    counted = keeper.due(KEEP, office.clock.now_ms())
    assert len(stored(office)) == 10, "counting removes nothing"
    removed = keeper.run(KEEP, office.clock.now_ms())
    assert removed == counted
    assert (removed.attempts, removed.reports) == (2, 6)
    assert stored(office) == [("AGAIN", 4), ("AGAIN", 5), ("OPEN", 1), ("OPEN", 2)]
    assert keeper.run(KEEP, office.clock.now_ms()).reports == 0
    ((at_ms, told),) = keeper.runs()
    assert (at_ms, told) == (office.clock.now_ms(), removed), "the second run removed nothing"


def test_no_figure_of_the_page_changes(office: Office) -> None:
    lived(office)
    database, now_ms = office.store.database, office.clock.now_ms()
    before = (attempts.tallies(database, now_ms), office.store.attempts())
    Retention(database).run(KEEP, now_ms)
    assert (attempts.tallies(database, now_ms), office.store.attempts()) == before


def test_a_fold_of_what_is_left_keeps_the_attempts_whose_reports_went(office: Office) -> None:
    """Even where a late report of such an attempt came in since."""
    done, *_ = lived(office)
    Retention(office.store.database).run(KEEP, office.clock.now_ms())
    office.take_in([done.move(100)])
    before = office.store.attempts()
    assert office.store.rebuild() == 2
    assert office.store.attempts() == before


def test_a_late_report_of_such_an_attempt_is_no_new_attempt(office: Office) -> None:
    done, *_ = lived(office)
    Retention(office.store.database).run(KEEP, office.clock.now_ms())
    office.take_in([done.move(100)])
    (view,) = office.store.device_attempts("DONE")
    assert view.end_state is EndState.SUCCEEDED
    assert stored(office)[-1] == ("OPEN", 2)
    assert ("DONE", 4) in stored(office), "numbered on, and nothing is asked for again"


def test_the_edge_is_the_end_of_the_attempt_to_the_millisecond(office: Office) -> None:
    device = Reporter()
    office.take_in([device.begin(), device.end()])
    keeper = Retention(office.store.database)
    assert keeper.run(KEEP, office.clock.now_ms() + KEEP * DAY_MS).reports == 0
    assert keeper.run(KEEP, office.clock.now_ms() + KEEP * DAY_MS + 1).reports == 2


def test_the_windows_of_the_reports_are_never_cut(office: Office) -> None:
    assert KEEP_DAYS_MIN == 31, "30 days back, and today"
    with pytest.raises(AssertionError, match="never cut"):
        Retention(office.store.database).run(KEEP_DAYS_MIN - 1, office.clock.now_ms())


def test_many_attempts_go_a_few_at_a_time(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two transactions reports are taken in."""
    monkeypatch.setattr(retention, "ATTEMPTS_AT_A_TIME", 2)
    for number in range(5):
        device = Reporter(device=f"D{number}", stream=f"s{number}")
        office.take_in([device.begin(), device.end()])
    later(office, (KEEP + 1) * DAY_MINUTES)
    removed = Retention(office.store.database).run(KEEP, office.clock.now_ms())
    assert (removed.attempts, removed.reports) == (5, 10)
    assert stored(office) == []
