"""Intake takes each report in once, in order, and never stands still."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.wire.codec import PAYLOAD_BYTES_MAX, digest, encode
from agent.wire.events import Event
from agent.wire.topics import partition_of
from collector.intake import (
    Accepted,
    Duplicate,
    Fork,
    Gap,
    Loss,
    Readable,
    Reader,
    Reason,
    Refused,
    SetAside,
    StreamRow,
    Unreadable,
    fold,
    read,
)
from tests.collector.fleet import TENANT, Reporter, event_topic


def reports(count: int) -> list[Event]:
    device = Reporter()
    return [device.begin(), *(device.move(n) for n in range(1, count))]


def row_after(events: list[Event]) -> StreamRow:
    row = StreamRow(events[0].device, events[0].stream)
    for event in events:
        row = fold(row, Readable(event)).row
    return row


def first_digest(event: Event) -> str:
    return digest(event.stream, event.seq, event.report)


def changed(event: Event, **fields: Any) -> bytes:
    return json.dumps({**json.loads(encode(event)), **fields}).encode()


def test_the_next_number_is_accepted_with_the_digest_that_the_device_computes() -> None:
    first, second = reports(2)
    decision = fold(row_after([first]), Readable(second))
    assert isinstance(decision, Accepted)
    assert decision.row.last_seq == 2
    assert second.after == digest(first.stream, 1, first.report)
    assert decision.digest == digest(second.stream, 2, second.report, second.after)
    assert decision.loss is None


def test_the_next_number_after_another_report_than_the_stored_one_is_a_fork() -> None:
    """Two lives of one journal told different stories; the older copy hears of it by the acknowledgement's digest."""
    first, second, third = reports(3)
    other = Reporter(seq=1, last_digest=first_digest(first), attempt=first.report.attempt)
    told = other.move(99)
    row = row_after([first, told])
    assert fold(row, Readable(third)) == Fork(row)
    assert fold(row, Readable(second)) == Duplicate(row, conflicting=True)
    assert isinstance(fold(row, Readable(other.move(100))), Accepted)


def test_a_fork_that_cannot_be_read_is_not_set_aside() -> None:
    first, second = reports(2)
    payload = changed(second, after="0" * 64, report={"body": {"kind": "from_a_newer_agent"}})
    incoming = read(TENANT, event_topic(second), payload)
    assert isinstance(incoming, Unreadable)
    row = row_after([first])
    assert fold(row, incoming) == Fork(row)


def test_a_device_that_names_no_report_before_its_own_is_believed() -> None:
    """An older agent, and one whose journal does not know it, number without a chain."""
    first, second, third = reports(3)
    bare = [second.model_copy(update={"after": None}), third.model_copy(update={"after": None})]
    decision = fold(row_after([first]), Readable(bare[0]))
    assert isinstance(decision, Accepted)
    assert decision.digest == digest(second.stream, 2, second.report)
    assert isinstance(fold(decision.row, Readable(bare[1])), Accepted)


def test_a_row_without_a_digest_takes_what_is_next() -> None:
    """After a report that could not be read nobody knows what the next one continues."""
    first, second = reports(2)
    row = StreamRow(first.device, first.stream, last_seq=1)
    assert isinstance(fold(row, Readable(second)), Accepted)


def test_what_is_named_before_a_number_behind_a_loss_is_not_asked_for() -> None:
    events = reports(4)
    jumping = events[3].model_copy(update={"oldest_held": 4})
    decision = fold(row_after(events[:1]), Readable(jumping))
    assert isinstance(decision, Accepted)
    assert decision.loss == Loss(2, 3, "no_longer_held")
    assert decision.row.last_digest == digest(jumping.stream, 4, jumping.report, jumping.after)


def test_a_number_that_is_stored_is_a_duplicate_and_changes_nothing() -> None:
    events = reports(3)
    row = row_after(events)
    for event in events:
        assert fold(row, Readable(event)) == Duplicate(row)


def test_a_number_beyond_the_next_is_a_gap_and_changes_nothing() -> None:
    events = reports(4)
    row = row_after(events[:2])
    assert fold(row, Readable(events[3])) == Gap(row)


def test_a_device_that_no_longer_holds_the_next_number_makes_intake_jump_exactly_to_its_oldest() -> (
    None
):
    events = reports(9)
    row = row_after(events[:2])
    held = [e.model_copy(update={"oldest_held": 6}) for e in events]
    assert fold(row, Readable(held[6])) == Gap(row), "number 7 is behind the oldest held one"
    decision = fold(row, Readable(held[5]))
    assert isinstance(decision, Accepted)
    assert decision.row.last_seq == 6
    assert decision.loss == Loss(3, 5, "no_longer_held")


def test_a_fresh_store_takes_an_old_stream_up_where_the_device_still_holds_it() -> None:
    event = reports(5)[4].model_copy(update={"oldest_held": 5})
    decision = fold(StreamRow(event.device, event.stream), Readable(event))
    assert isinstance(decision, Accepted)
    assert decision.loss == Loss(1, 4, "no_longer_held")


def test_the_last_number_with_another_content_is_told_from_a_plain_duplicate() -> None:
    events = reports(2)
    other = Reporter()
    other.begin()
    again = other.move(99)
    decision = fold(row_after(events), Readable(again))
    assert decision == Duplicate(row_after(events), conflicting=True)


def test_a_report_that_cannot_be_read_is_set_aside_and_its_stream_goes_on() -> None:
    first, second, third = reports(3)
    payload = changed(second, report={"body": {"kind": "from_a_newer_agent"}})
    incoming = read(TENANT, event_topic(second), payload)
    assert isinstance(incoming, Unreadable)
    decision = fold(row_after([first]), incoming)
    assert isinstance(decision, SetAside)
    assert decision.losses == (Loss(2, 2, "unreadable"),)
    assert isinstance(fold(decision.row, Readable(third)), Accepted)


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"\xff\xfe", Reason.NOT_JSON),
        (b"{", Reason.NOT_JSON),
        (b"[" * 60_000, Reason.NOT_JSON),
        (b"", Reason.NOT_JSON),
        (b"null", Reason.INVALID),
        (b"[]", Reason.INVALID),
        (b'{"schema":"esp.event/1"}', Reason.INVALID),
        (b" " * (PAYLOAD_BYTES_MAX + 1), Reason.OVERSIZED),
    ],
)
def test_what_is_no_report_is_refused_with_one_reason(payload: bytes, reason: Reason) -> None:
    refused = read(TENANT, event_topic(reports(1)[0]), payload)
    assert isinstance(refused, Refused)
    assert refused.reason is reason


def test_an_unknown_schema_is_refused_even_around_a_good_envelope() -> None:
    event = reports(1)[0]
    refused = read(TENANT, event_topic(event), changed(event, schema="esp.event/2"))
    assert isinstance(refused, Refused)
    assert refused.reason is Reason.UNKNOWN_SCHEMA


def test_unknown_fields_are_tolerated() -> None:
    event = reports(1)[0]
    assert read(TENANT, event_topic(event), changed(event, novelty=[1, 2])) == Readable(event)


@pytest.mark.parametrize(
    ("topic", "reason"),
    [
        ("esp/1/other/{p}/{d}/event", Reason.WRONG_TENANT),
        ("esp/1/acme/{q}/{d}/event", Reason.WRONG_PARTITION),
        ("esp/1/acme/{p}/SOMEBODY-ELSE/event", Reason.WRONG_DEVICE),
        ("esp/1/acme/{p}/{d}/status", Reason.WRONG_TOPIC),
        ("esp/1/acme/{p}/collector", Reason.WRONG_TOPIC),
        ("esp/2/acme/{p}/{d}/event", Reason.WRONG_TOPIC),
    ],
)
def test_topic_envelope_and_partition_have_to_agree(topic: str, reason: Reason) -> None:
    event = reports(1)[0]
    mine = partition_of(event.device)
    another = "0" if mine != "0" else "1"
    refused = read(TENANT, topic.format(p=mine, q=another, d=event.device), encode(event))
    assert isinstance(refused, Refused)
    assert refused.reason is reason


def test_a_device_that_holds_less_than_it_sends_contradicts_itself() -> None:
    event = reports(1)[0]
    refused = read(TENANT, event_topic(event), changed(event, oldest_held=2))
    assert isinstance(refused, Refused)
    assert refused.reason is Reason.INCONSISTENT


@given(st.binary(max_size=300))
def test_no_payload_whatever_raises(payload: bytes) -> None:
    assert isinstance(read(TENANT, event_topic(reports(1)[0]), payload), (Refused, Unreadable))


@given(
    count=st.integers(1, 12),
    deliveries=st.lists(st.integers(0, 11), max_size=60),
    restarts=st.sets(st.integers(0, 60)),
)
def test_any_loss_duplication_reordering_and_restart_ends_with_each_report_stored_once(
    count: int, deliveries: list[int], restarts: set[int]
) -> None:
    """After arbitrary deliveries the device sends from the acknowledged number on, and then everything is there."""
    events = reports(count)
    row, stored = StreamRow(events[0].device, events[0].stream), list[int]()

    def deliver(event: Event) -> None:
        nonlocal row
        decision = fold(row, Readable(event))
        assert fold(decision.row, Readable(event)) in (
            Duplicate(decision.row),
            Gap(decision.row),
        ), "folding a message again changes nothing"
        if isinstance(decision, Accepted):
            assert decision.event.seq == row.last_seq + 1, "nothing is skipped"
            stored.append(decision.event.seq)
        row = decision.row

    for step, index in enumerate(deliveries):
        if step in restarts:
            # All that a restarted collector has is the row that it committed.
            row = StreamRow(row.device, row.stream, row.last_seq, row.last_digest)
        deliver(events[index % count])
    while row.last_seq < count:
        deliver(events[row.last_seq])
    assert stored == list(range(1, count + 1))


def test_a_topic_that_is_remembered_is_no_password() -> None:
    """Of what was found out about a topic nothing holds for an envelope that disagrees with it."""
    reader = Reader(TENANT)
    (first,) = reports(1)
    other = Reporter(device="DESKTOP-NEW002").begin()
    where = event_topic(first)
    assert reader.read(where, encode(first)) == Readable(first)
    for payload, reason in (
        (encode(other), Reason.WRONG_DEVICE),
        (changed(first, oldest_held=2), Reason.INCONSISTENT),
        (b"{", Reason.NOT_JSON),
    ):
        refused = reader.read(where, payload)
        assert isinstance(refused, Refused)
        assert refused.reason is reason
    assert reader.read(where, encode(first)) == Readable(first)


@pytest.mark.parametrize("part", [2, 3])
def test_a_topic_of_another_tenant_or_partition_is_refused_each_time(part: int) -> None:
    reader = Reader(TENANT)
    (first,) = reports(1)
    segments = event_topic(first).split("/")
    segments[part] = "another" if part == 2 else "0123456789abcdef".strip(segments[3])[0]
    reasons = {2: Reason.WRONG_TENANT, 3: Reason.WRONG_PARTITION}
    for _ in range(2):
        refused = reader.read("/".join(segments), encode(first))
        assert isinstance(refused, Refused)
        assert refused.reason is reasons[part]


def test_no_more_topics_are_remembered_than_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("collector.intake.TOPICS_MAX", 2)
    reader = Reader(TENANT)
    for number in range(5):
        event = Reporter(device=f"D{number}").begin()
        assert reader.read(event_topic(event), encode(event)) == Readable(event)
        assert len(reader._agreed) <= 2
