"""The store keeps each report once, in order, and everything on the page can be folded from them again."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, func, select, update

from agent.wire.codec import digest, encode
from agent.wire.events import CommandAnswered, Event, GateChanged, LogsCollected
from agent.wire.messages import CollectLogs
from agent.wire.topics import partition_of
from agent.wire.vocabulary import EndState, FailureKind, Gate, GateCause
from collector.intake import Loss, Reason, Refused, Unreadable, read
from collector.store import schema
from collector.store.database import StoreFailed
from collector.store.records import Arrival, RefusedPayload, TermLost
from collector.store.store import SET_ASIDE_MAX, Store
from tests.collector.fleet import (
    NOON_MS,
    TENANT,
    Office,
    Reporter,
    arrival,
    event_topic,
    failure,
    take_over,
)


def life(device: Reporter) -> list[Event]:
    return [device.begin(), device.move(40), device.end()]


def test_reports_are_stored_once_with_the_digest_of_the_device(office: Office) -> None:
    events = life(Reporter())
    office.take_in([*events, *events, events[1]])
    office.take_in(events)
    rows = list(office.store.stored_rows())
    assert [(r.seq, r.digest, r.times) for r in rows] == [
        (e.seq, digest(e.stream, e.seq, e.report, e.after), 1) for e in events
    ]


def test_what_is_stored_survives_and_streams_go_on_where_they_were(
    tmp_path: Path, url: str
) -> None:
    device = Reporter()
    first = Office.open(tmp_path, url=url)
    first.take_in([device.begin(), device.move(10)])
    store_id = first.store.id
    first.close()
    second = Office.open(tmp_path, url=url)
    second.take_in([device.end()])
    assert second.store.id == store_id
    assert second.store.stream(device.device, device.stream).last_seq == 3
    assert second.store.losses() == []
    assert [r.seq for r in second.store.stored_rows()] == [1, 2, 3]
    second.close()


def test_a_commit_is_all_or_nothing(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise StoreFailed("the disk is full")

    monkeypatch.setattr("collector.store.commit.save_attempts", broken)
    with pytest.raises(StoreFailed):
        office.take_in(life(Reporter()))
    assert list(office.store.stored_rows()) == []
    assert office.store.stream("DESKTOP-NEW001", "stream-1").last_seq == 0


def test_a_collector_of_an_older_term_stores_nothing(office: Office) -> None:
    device = Reporter()
    event = device.begin()
    take_over(office, partition_of(device.device))
    with pytest.raises(TermLost) as lost:
        office.store.commit([arrival(event, term=1)], NOON_MS)
    assert lost.value.partition == partition_of(device.device)
    assert list(office.store.stored_rows()) == []


def test_a_stream_that_somebody_else_moved_meanwhile_is_not_moved_again(
    office: Office, url: str
) -> None:
    """Whoever remembers how far it was finds out in the commit, forgets, and goes on from what is stored."""
    device = Reporter()
    begin, move, end = device.begin(), device.move(10), device.end()
    office.take_in([begin])
    somebody = Store(url, now_ms=NOON_MS)
    term = office.terms[partition_of(device.device)]
    somebody.commit([arrival(move, term)], NOON_MS)
    somebody.close()
    with pytest.raises(StoreFailed, match="moved by somebody else"):
        office.take_in([move])
    office.take_in([move, end])
    assert [(r.seq, r.times) for r in office.store.stored_rows()] == [(1, 1), (2, 1), (3, 1)]
    assert office.store.attempts() == office.store.derive()


def test_what_is_remembered_of_a_partition_ends_with_its_term(office: Office, url: str) -> None:
    """It went to another collector and came back: what that one stored is what counts."""
    device = Reporter()
    begin, move, end = device.begin(), device.move(10), device.end()
    office.take_in([begin])
    partition = partition_of(device.device)
    take_over(office, partition)
    other = Store(url, now_ms=NOON_MS)
    other.commit([arrival(move, office.terms[partition] + 1)], NOON_MS)
    other.close()
    take_over(office, partition)
    office.terms[partition] += 2
    office.take_in([move, end])
    assert [(r.seq, r.times) for r in office.store.stored_rows()] == [(1, 1), (2, 1), (3, 1)]
    assert office.store.attempts() == office.store.derive()


def test_a_report_of_an_attempt_that_is_over_is_found_again(office: Office) -> None:
    """Only the latest attempt and open ones are remembered."""
    device = Reporter()
    first = device.begin("first")
    office.take_in([first, device.end(), device.begin("second")])
    device.attempt = "first"
    office.take_in([device.event(GateChanged(gate=Gate.RELEASED, cause=GateCause.SETUP_COMPLETE))])
    assert office.store.attempts() == office.store.derive()
    assert [view.attempt for view in office.store.attempts()] == ["first", "second"]


def test_a_jump_is_recorded_as_a_loss(office: Office) -> None:
    device = Reporter()
    office.take_in([device.begin()])
    device.seq, device.oldest_held = 5, 6
    office.take_in([device.move(50)])
    losses = office.store.losses(device.device)
    assert [(row.stream, row.loss) for row in losses] == [
        ("stream-1", Loss(2, 5, "no_longer_held"))
    ]
    assert office.store.losses("SOMEBODY-ELSE") == []


def test_an_unreadable_report_is_recorded_and_its_stream_goes_on(office: Office) -> None:
    device = Reporter()
    begin, unread, end = device.begin(), device.move(10), device.end()
    payload = encode(unread).replace(b'"phase_changed"', b'"from_a_newer_agent"')
    incoming = read(TENANT, event_topic(unread), payload)
    assert isinstance(incoming, Unreadable)
    partition = partition_of(device.device)
    office.store.commit([arrival(begin), Arrival(partition, 1, incoming), arrival(end)], NOON_MS)
    assert [r.seq for r in office.store.stored_rows()] == [1, 3]
    assert [row.loss for row in office.store.losses()] == [Loss(2, 2, "unreadable")]


def test_refused_payloads_are_counted_and_only_the_newest_are_kept(office: Office) -> None:
    refused = Refused(Reason.NOT_JSON, "no JSON")
    for _ in range(2):
        office.store.record_refusals(
            [RefusedPayload("esp/x", refused, 70_000, b"x" * 70_000)] * (SET_ASIDE_MAX - 1), NOON_MS
        )
    assert office.store.refusals() == {"not_json": 2 * (SET_ASIDE_MAX - 1)}
    kept = schema.SET_ASIDE.c
    with office.store.database.reading() as connection:
        query = select(func.count(), func.max(func.length(kept.payload_head)))
        count, longest = connection.execute(query).one()
    assert (count, longest) == (SET_ASIDE_MAX, 1024)


def test_a_late_will_of_an_older_session_is_ignored(office: Office) -> None:
    device = Reporter(session=7)
    online = device.birth()
    late = online.model_copy(update={"session": 6, "state": "lost"})
    assert office.store.record_presences([online, late], NOON_MS) == [online]
    assert office.store.device_presence(device.device) == ("online", NOON_MS)
    now = online.model_copy(update={"state": "lost"})
    office.store.record_presences([now], NOON_MS + 1)
    assert office.store.device_presence(device.device) == ("lost", NOON_MS + 1)


@pytest.mark.parametrize(
    ("path", "problem", "result"),
    [("C:\\logs.zip", "", "C:\\logs.zip"), ("", "The disk is full.", "The disk is full.")],
)
def test_what_came_of_collecting_logs_is_told_by_the_first_report_of_it(
    office: Office, path: str, problem: str, result: str
) -> None:
    device = Reporter()
    office.take_in([device.begin()])
    row, other = (
        office.commands.create(
            device.device, CollectLogs(), issued_by="test", wall_ms=office.clock.now_ms()
        )
        for _ in range(2)
    )
    answer = CommandAnswered(command=row.id, action="collect_logs", executed=True)
    office.take_in([device.event(answer)])
    begun = office.commands.get(row.id)
    assert begun is not None
    assert (begun.state(NOON_MS), begun.finished_ms, begun.result) == ("executed", None, None)
    office.clock.at_ms += 5_000
    office.take_in(
        [
            device.event(LogsCollected(path="theirs", command=None)),
            device.event(LogsCollected(path=path, problem=problem, command=row.id)),
            device.event(LogsCollected(path="later", command=row.id)),
        ]
    )
    over = office.commands.get(row.id)
    assert over is not None
    assert (over.answered_ms, over.finished_ms) == (NOON_MS, NOON_MS + 5_000)
    assert over.result == result
    untouched = office.commands.get(other.id)
    assert untouched is not None
    assert (untouched.state(NOON_MS), untouched.result) == ("waiting", None)


def test_the_first_answer_to_a_command_counts(office: Office) -> None:
    device = Reporter()
    office.take_in([device.begin()])
    row = office.commands.create(
        device.device, CollectLogs(), issued_by="test", wall_ms=office.clock.now_ms()
    )
    for executed in (True, False):
        body = CommandAnswered(
            command=row.id,
            action="collect_logs",
            executed=executed,
            reason="" if executed else "no",
        )
        office.take_in([device.event(body)])
    answered = office.commands.get(row.id)
    assert answered is not None
    assert answered.state(office.clock.now_ms()) == "executed"
    assert answered.answered_ms == office.clock.now_ms()
    assert office.commands.waiting([device.device], office.clock.now_ms()) == []
    assert office.commands.to_clear(office.clock.now_ms()) == [(device.device, row.id)]
    office.commands.cleared(row.id)
    assert office.commands.to_clear(office.clock.now_ms()) == []


def test_a_hostile_name_is_only_a_name(office: Office) -> None:
    device = Reporter(user="Robert'); DROP TABLE events;-- \u202e\x00\U0001f600")
    office.take_in(life(device))
    assert office.store.attempts()[0].user == device.user
    assert office.store.attempts() == office.store.derive()


_STEPS = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.sampled_from(["begin", "move", "stop", "end", "fail", "reset", "again"]),
    ),
    max_size=40,
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=_STEPS, cuts=st.sets(st.integers(0, 40)))
def test_the_page_is_the_fold_of_the_events_whatever_happened(
    steps: list[tuple[int, str]], cuts: set[int], office: Office
) -> None:
    """The attempts table, written batch by batch, is what folding all events from nothing gives."""
    empty(office)
    devices = [Reporter(device=f"D{n % 2}", stream=f"s{n}") for n in range(4)]
    batch: list[Event] = []
    for number, (which, what) in enumerate(steps):
        batch.append(_step(devices[which], what))
        if number in cuts:
            office.take_in(batch)
            batch = []
    office.take_in(batch)
    stored = office.store.attempts()
    derived = office.store.derive()
    # Open attempts end as superseded at the moment of the report that did it, so even times agree.
    assert stored == derived
    assert office.store.rebuild() == len(stored)
    assert office.store.attempts() == stored


def empty(office: Office) -> None:
    """As if nothing had ever been stored."""
    with office.store.database.writing() as connection:
        for table in (schema.ATTEMPTS, schema.LOSSES, schema.EVENTS, schema.STREAMS):
            connection.execute(delete(table))


def _step(device: Reporter, what: str) -> Event:
    match what:
        case "begin":
            return device.begin(f"{device.device}-{device.stream}-{device.number + 1}")
        case "move":
            return device.move(50)
        case "stop":
            return device.stop(failure())
        case "end":
            return device.end(EndState.SUCCEEDED)
        case "fail":
            return device.end(EndState.FAILED, problem=failure(FailureKind.NETWORK_TIMEOUT))
        case "reset":
            return device.end(EndState.RESET)
        case _:
            return device.event(device.sent[-1].report.body) if device.sent else device.move(1)


def test_a_page_that_was_tampered_with_is_put_right_by_folding_again(office: Office) -> None:
    office.take_in(life(Reporter()))
    honest = office.store.attempts()
    with office.store.database.writing() as connection:
        connection.execute(update(schema.ATTEMPTS).values(percent=1, end_state="failed"))
    assert office.store.attempts() != honest
    office.store.rebuild()
    assert office.store.attempts() == honest


def test_a_view_says_of_every_field_what_was_stored(office: Office) -> None:
    device = Reporter()
    office.take_in(
        [device.begin(), device.stop(failure()), device.end(EndState.FAILED, problem=failure())]
    )
    view = office.store.attempts()[0]
    assert dataclasses.asdict(view) == dataclasses.asdict(office.store.derive()[0])
    assert view.failure == failure()
    assert view.enrollment_type is device.enrollment_type
