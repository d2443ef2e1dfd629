"""Retention lets reports go, whole attempts at a time, and no figure changes by it."""

from __future__ import annotations

import pytest
from sqlalchemy import Table, func, select, update

from agent.wire.messages import CollectLogs
from agent.wire.vocabulary import EndState
from collector.device_commands import CommandRow
from collector.intake import Reason, Refused
from collector.queries import attempts
from collector.store import schema
from collector.store.records import RefusedPayload
from collector.upkeep import retention
from collector.upkeep.retention import DAY_MS, KEEP_DAYS_MIN, Retention
from collector.webhooks import queue
from collector.webhooks.news import Kind
from collector.webhooks.webhooks import Webhooks
from tests.collector.fleet import NOON_MS, Office, Reporter, failure
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


def rows(office: Office, table: Table) -> int:
    with office.store.database.reading() as connection:
        return connection.execute(select(func.count()).select_from(table)).scalar_one()


def test_decisions_and_commands_go_with_the_reports_of_their_attempt(office: Office) -> None:
    done, open_one = (Reporter(device=n, stream=n) for n in ("DONE", "OPEN"))
    commands: dict[str, list[CommandRow]] = {}
    for device in (done, open_one):
        office.take_in([device.begin()])
        office.desk.admit([(device.device, device.attempt)], office.clock.now_ms())
        commands[device.device] = [
            office.commands.create(
                device.device, CollectLogs(), issued_by="ann", wall_ms=office.clock.wall_ms()
            )
            for _ in range(2)
        ]
        office.commands.cleared(commands[device.device][0].id)
    office.take_in([done.end()])
    keeper = Retention(office.store.database)
    keeper.run(KEEP, office.clock.now_ms())
    assert (rows(office, schema.ASSIGNMENTS), rows(office, schema.COMMANDS)) == (2, 4), "too early"
    later(office, (KEEP + 1) * DAY_MINUTES)
    keeper.run(KEEP, office.clock.now_ms())
    assert office.desk.assigned("DONE", done.attempt) is None
    assert office.desk.assigned("OPEN", open_one.attempt) is not None
    (lying,) = office.commands.of_device("DONE")
    assert lying == commands["DONE"][1], "the broker still has it, and it has to be cleared there"
    assert len(office.commands.of_device("OPEN")) == 2
    office.commands.cleared(lying.id)
    keeper.run(KEEP, office.clock.now_ms())
    assert office.commands.of_device("DONE") == []


def test_an_ended_attempt_without_a_decision_gets_none_again(office: Office) -> None:
    done, *_ = lived(office)
    Retention(office.store.database).run(KEEP, office.clock.now_ms())
    assert office.desk.admit([("DONE", done.attempt)], office.clock.now_ms()) == []


def test_refused_payloads_and_undelivered_messages_go_after_the_same_time(office: Office) -> None:
    refused = RefusedPayload("topic", Refused(Reason.NOT_JSON, "no JSON"), 3, b"ann")
    hook = Webhooks(office.store.database).add(
        "https://example.com/", list(Kind), wall_ms=office.clock.wall_ms(), allow_private=False
    )
    for state in (None, office.clock.now_ms()):
        with office.store.database.writing() as connection:
            queue.put(connection, [(Kind.STARTED, NOON_MS, {"user": "ann"})], NOON_MS)
            newest = select(func.max(schema.WEBHOOK_QUEUE.c.id)).scalar_subquery()
            table = schema.WEBHOOK_QUEUE
            connection.execute(update(table).where(table.c.id == newest).values(given_up_ms=state))
    office.store.record_refusals([refused], office.clock.now_ms())
    keeper = Retention(office.store.database)
    keeper.run(KEEP, office.clock.now_ms() + KEEP * DAY_MS)
    assert (rows(office, schema.SET_ASIDE), rows(office, schema.WEBHOOK_QUEUE)) == (1, 2)
    keeper.run(KEEP, office.clock.now_ms() + KEEP * DAY_MS + 1)
    assert rows(office, schema.SET_ASIDE) == 0
    (waiting,) = Webhooks(office.store.database).undelivered(hook.id, limit=10)
    assert waiting.given_up_ms is None, "what is still to be delivered is delivered"
    assert office.store.refusals() == {Reason.NOT_JSON.value: 1}, "the count stays"


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
