"""The store keeps each report once, in order, and everything on the page can be folded from them again."""

from __future__ import annotations

import dataclasses
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import collector.store
from agent.wire.codec import digest, encode
from agent.wire.events import CommandAnswered, Event
from agent.wire.messages import CollectLogs
from agent.wire.topics import partition_of
from agent.wire.vocabulary import EndState, FailureKind
from collector.database import StoreFailed
from collector.intake import Loss, Reason, Refused, StreamRow, Unreadable, read
from collector.store import SET_ASIDE_MAX, Arrival, RefusedPayload, Store, TermLost
from tests.collector.fleet import (
    NOON_MS,
    TENANT,
    Office,
    Reporter,
    arrival,
    event_topic,
    failure,
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


def test_what_is_stored_survives_and_streams_go_on_where_they_were(tmp_path: Path) -> None:
    device = Reporter()
    first = Office.open(tmp_path)
    first.take_in([device.begin(), device.move(10)])
    store_id = first.store.id
    first.close()
    second = Office.open(tmp_path)
    second.take_in([device.end()])
    assert second.store.id == store_id
    assert second.store.stream(device.device, device.stream).last_seq == 3
    assert second.store.losses() == []
    assert [r.seq for r in second.store.stored_rows()] == [1, 2, 3]
    second.close()


def test_a_commit_is_all_or_nothing(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise StoreFailed("the disk is full")

    monkeypatch.setattr("collector.store._save_views", broken)
    with pytest.raises(StoreFailed):
        office.take_in(life(Reporter()))
    assert list(office.store.stored_rows()) == []
    assert office.store.stream("DESKTOP-NEW001", "stream-1").last_seq == 0


def test_a_collector_of_an_older_term_stores_nothing(office: Office) -> None:
    device = Reporter()
    event = device.begin()
    office.store.claim([partition_of(device.device)])
    with pytest.raises(TermLost) as lost:
        office.store.commit([arrival(event, term=1)], NOON_MS)
    assert lost.value.partition == partition_of(device.device)
    assert list(office.store.stored_rows()) == []


def test_a_stream_that_somebody_else_moved_meanwhile_is_not_moved_again(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = Reporter()
    begin = device.begin()
    office.take_in([begin])
    load = collector.store._load_streams

    def stale(*given: Any) -> Any:
        rows, ids = load(*given)
        return {key: StreamRow(*key) for key in rows}, ids

    monkeypatch.setattr("collector.store._load_streams", stale)
    with pytest.raises(StoreFailed, match="moved by somebody else"):
        office.take_in([begin])
    assert [r.times for r in office.store.stored_rows()] == [1]


def test_every_start_has_a_new_term(tmp_path: Path) -> None:
    first = Office.open(tmp_path)
    second = Office.open(tmp_path)
    assert {second.terms[p] - first.terms[p] for p in first.terms} == {1}
    assert len(second.terms) == 16
    first.close()
    second.close()


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
    kept = sqlite3.connect(office.store.database.shown_url.removeprefix("sqlite:///"))
    count, longest = kept.execute(
        "SELECT COUNT(*), MAX(LENGTH(payload_head)) FROM set_aside"
    ).fetchone()
    kept.close()
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
    assert office.commands.waiting(device.device, office.clock.now_ms()) == []
    assert office.commands.to_clear(office.clock.now_ms()) == [(device.device, row.id)]
    office.commands.cleared(row.id)
    assert office.commands.to_clear(office.clock.now_ms()) == []


def test_a_store_of_an_unknown_version_is_left_alone(tmp_path: Path) -> None:
    Office.open(tmp_path).close()
    path = tmp_path / "store.sqlite"
    connection = sqlite3.connect(path)
    connection.execute("UPDATE store SET version = 99")
    connection.commit()
    connection.close()
    with pytest.raises(StoreFailed, match=r"version 99 .* begin with an empty data directory"):
        Store(f"sqlite:///{path}", now_ms=NOON_MS)


def test_a_file_that_is_no_store_is_refused_with_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    path.write_bytes(b"not a database, and longer than a header of SQLite is " * 20)
    with pytest.raises(StoreFailed, match="not a database"):
        Store(f"sqlite:///{path}", now_ms=NOON_MS)


def test_a_url_that_is_no_database_is_refused_with_the_remedy() -> None:
    with pytest.raises(StoreFailed, match="give sqlite:///FILE or postgresql"):
        Store("nonsense", now_ms=NOON_MS)


def test_a_hostile_name_is_only_a_name(office: Office) -> None:
    device = Reporter(user="Robert'); DROP TABLE events;-- \u202e\x00\U0001f600")
    office.take_in(life(device))
    assert office.store.attempts()[0].user == device.user


_STEPS = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.sampled_from(["begin", "move", "stop", "end", "fail", "reset", "again"]),
    ),
    max_size=40,
)


@settings(max_examples=40)
@given(steps=_STEPS, cuts=st.sets(st.integers(0, 40)))
def test_the_page_is_the_fold_of_the_events_whatever_happened(
    steps: list[tuple[int, str]], cuts: set[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The attempts table, written batch by batch, is what folding all events from nothing gives."""
    office = Office.open(tmp_path_factory.mktemp("store"))
    try:
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
    finally:
        office.close()


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
    path = office.store.database.shown_url.removeprefix("sqlite:///")
    connection = sqlite3.connect(path)
    connection.execute("UPDATE attempts SET percent = 1, end_state = 'failed'")
    connection.commit()
    connection.close()
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
