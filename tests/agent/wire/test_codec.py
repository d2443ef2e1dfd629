"""The codec gives back what went in, and refuses everything else with one sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter

from agent.wire.assignment import Assignment
from agent.wire.base import Timestamp
from agent.wire.codec import (
    PAYLOAD_BYTES_MAX,
    JsonCodec,
    PayloadRefused,
    canonical,
    decode,
    digest,
    encode,
    encode_ack,
    encode_event,
    encode_status,
    encode_status_text,
    json_schemas,
    report_text,
    time_text,
)
from agent.wire.events import Event, Report
from agent.wire.identity import Identity
from agent.wire.messages import Ack, CollectorState, Command, Presence, Signed, Status
from agent.wire.profile import EspProfile
from tests.agent.wire.strategies import messages

MODELS: dict[str, type[BaseModel]] = {
    "ack": Ack,
    "assignment": Assignment,
    "collector": CollectorState,
    "command": Command,
    "event": Event,
    "presence": Presence,
    "signed": Signed,
    "status": Status,
}
SCHEMAS = json_schemas()
each_model = pytest.mark.parametrize("name", MODELS)
ACK: dict[str, Any] = {
    "schema": "esp.ack/1",
    "device": "D",
    "store": "s",
    "term": 1,
    "stream": "x",
    "stored_seq": 5,
}
# Building a large message takes longer than reading it.
patient = settings(
    max_examples=40, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


def ack(**changed: Any) -> str:
    return json.dumps({**ACK, **changed})


@patient
@given(messages(Event))
def test_an_event_around_a_report_at_hand_is_the_same_event(event: Event) -> None:
    content = event.report.model_dump_json(exclude_none=True)
    written = encode_event(
        event.device,
        event.stream,
        event.seq,
        event.oldest_held,
        event.after,
        event.session,
        content,
    )
    assert written == encode(event)


@patient
@given(messages(Ack))
def test_an_acknowledgement_written_by_hand_is_the_same_acknowledgement(told: Ack) -> None:
    written = encode_ack(
        told.device, told.store, told.term, told.stream, told.stored_seq, told.digest
    )
    assert written == encode(told)


def test_an_event_that_is_too_large_is_refused() -> None:
    with pytest.raises(PayloadRefused, match="a Event of") as caught:
        encode_event("D", "s", 1, 1, None, 1, json.dumps("x" * PAYLOAD_BYTES_MAX))
    assert caught.value.reason == "oversized"


@patient
@given(messages(Status))
def test_a_status_around_a_snapshot_at_hand_is_the_same_status(status: Status) -> None:
    written = encode_status_text(
        status.device,
        status.stream,
        status.session,
        time_text(status.device_time),
        status.progress.model_dump_json(exclude_none=True),
    )
    assert (written or encode_status(status)) == encode_status(status)


def test_a_status_that_is_too_large_is_not_written_around_its_snapshot() -> None:
    too_large = json.dumps("x" * PAYLOAD_BYTES_MAX)
    assert encode_status_text("D", "s", 1, "2026-11-21T00:00:00Z", too_large) is None


@patient
@given(messages(Report))
def test_a_report_is_written_as_its_model_is(report: Report) -> None:
    """Also when what it tells was written before, and when another report tells the same."""
    other = report.model_copy(update={"attempt_ms": report.attempt_ms + 1})
    for told in (report, report, other):
        assert report_text(told) == told.model_dump_json(exclude_none=True)
        assert json.loads(canonical(told)) == told.model_dump(mode="json")
        assert canonical(told) == json.dumps(
            told.model_dump(mode="json"), sort_keys=True, separators=(",", ":")
        )


@given(st.datetimes(timezones=st.timezones() | st.just(UTC)))
def test_a_moment_is_written_as_every_model_writes_it(at: datetime) -> None:
    assert time_text(at) == TypeAdapter(Timestamp).dump_json(at).decode()[1:-1]


@each_model
@patient
@given(data=st.data())
def test_every_message_comes_back_as_it_was_and_fits_the_schema(
    name: str, data: st.DataObject
) -> None:
    """Writing and reading is the identity, writing is stable, and the published schema agrees."""
    message = data.draw(messages(MODELS[name]))
    written = encode(message)
    again = decode(type(message), written)
    assert again == message
    assert encode(again) == written
    jsonschema.validate(json.loads(written), SCHEMAS[name])


@patient
@given(messages(Report), st.integers(1, 2**53))
def test_a_digest_survives_the_wire(report: Report, seq: int) -> None:
    """Device and store compute the same digest, and another report, stream or number has another."""
    again = Report.model_validate_json(report.model_dump_json(exclude_none=True))
    assert digest("s", seq, again) == digest("s", seq, report)
    assert digest("s", seq + 1, report) != digest("s", seq, report)
    assert digest("t", seq, report) != digest("s", seq, report)
    other = report.model_copy(update={"attempt_ms": report.attempt_ms + 1})
    assert digest("s", seq, other) != digest("s", seq, report)


@given(messages(Report), st.integers(2, 2**53))
def test_a_digest_covers_all_that_its_stream_told_before(report: Report, seq: int) -> None:
    """The same report under the same number, after another one, is another story."""
    told = {after: digest("s", seq, report, after) for after in (None, "a" * 64, "b" * 64)}
    assert len(set(told.values())) == 3
    assert told[None] == digest("s", seq, report)


@given(messages(EspProfile))
def test_a_profile_keeps_unknown_graph_fields(profile: EspProfile) -> None:
    """Nulls, numbers and nested values of an imported object come back unchanged."""
    codec: JsonCodec[EspProfile] = JsonCodec(EspProfile)
    assert codec.loads(codec.dumps(profile)) == profile
    assert decode(EspProfile, encode(profile)) == profile


@given(messages(Identity))
def test_an_identity_file_comes_back_as_it_was(identity: Identity) -> None:
    """What `esp-broker device` writes is what the agent reads."""
    assert decode(Identity, encode(identity)) == identity


REFUSED: dict[str, tuple[str, str | bytes]] = {
    "an empty payload": ("not_json", b""),
    "text": ("not_json", b"hello"),
    "bytes that are no UTF-8": ("not_json", b"\xff\xfe" + ack().encode()),
    "half a message": ("not_json", ack()[:-5]),
    "two messages": ("not_json", ack() + ack()),
    "brackets nested 500 deep": ("not_json", ack()[:-1] + ',"x":' + "[" * 500 + "]" * 500 + "}"),
    "objects nested 500 deep": ("not_json", '{"x":' * 500 + "1" + "}" * 500),
    "an integer of 6,000 digits": ("not_json", ack().replace("5}", "9" * 6000 + "}")),
    "half a surrogate pair": ("not_json", ack()[:-1] + ',"x":"\\ud800"}'),
    "half a surrogate pair, unescaped": ("not_json", ack()[:-1] + ',"x":"\ud800"}'),
    "an array": ("invalid", b"[]"),
    "a number": ("invalid", b"5"),
    "null": ("invalid", b"null"),
    "an integer of 400 digits": ("invalid", ack(stored_seq=10**399)),
    "an integer beyond 2^53": ("invalid", ack(stored_seq=2**53 + 1)),
    "a negative number": ("invalid", ack(stored_seq=-1)),
    "NaN": ("invalid", ack(stored_seq=float("nan"))),
    "infinity": ("invalid", ack(stored_seq=float("inf"))),
    "a fraction": ("invalid", ack(stored_seq=5.5)),
    "a number in quotes": ("invalid", ack(stored_seq="5")),
    "a truth value for a number": ("invalid", ack(stored_seq=True)),
    "a number for a name": ("invalid", ack(device=7)),
    "null for a name": ("invalid", ack(device=None)),
    "a list for a name": ("invalid", ack(device=["D"])),
    "a name with a slash": ("invalid", ack(device="a/b")),
    "a name with a wildcard": ("invalid", ack(device="+")),
    "a name with a line end": ("invalid", ack(device="D\n")),
    "an empty name": ("invalid", ack(device="")),
    "a name of 65 characters": ("invalid", ack(device="D" * 65)),
    "a missing field": ("invalid", json.dumps({k: v for k, v in ACK.items() if k != "stream"})),
    "a newer schema": ("unknown_schema", ack(schema="esp.ack/2")),
    "another message's schema": ("unknown_schema", ack(schema="esp.event/1")),
    "a schema that is no text": ("unknown_schema", ack(schema=1)),
    "no schema": ("unknown_schema", json.dumps({k: v for k, v in ACK.items() if k != "schema"})),
    "an unknown schema in a message with other faults": ("unknown_schema", '{"schema":"x"}'),
    "one byte too much": (
        "oversized",
        ack(x="").replace('""', '"' + "x" * PAYLOAD_BYTES_MAX + '"'),
    ),
    "few characters of many bytes": ("oversized", ack()[:-1] + ',"x":"' + "€" * 22_000 + '"}'),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_and_why(name: str) -> None:
    """Each bad payload gets its reason, and a sentence short enough for a log."""
    reason, payload = REFUSED[name]
    with pytest.raises(PayloadRefused) as refused:
        decode(Ack, payload)
    assert refused.value.reason == reason
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 300


def test_an_invalid_message_names_its_field() -> None:
    """The sentence leads to the field, also inside."""
    with pytest.raises(PayloadRefused, match=r"Ack: stored_seq: "):
        decode(Ack, ack(stored_seq=-1))
    with pytest.raises(PayloadRefused, match=r"EspProfile: error_handling.allow_retry: "):
        decode(EspProfile, '{"id":"p","name":"n","error_handling":{"allow_retry":"yes"}}')


def test_a_profile_refuses_numbers_that_json_has_not() -> None:
    """NaN does not hide among the unknown fields, where it could never be written again."""
    with pytest.raises(PayloadRefused, match=r"graph: .*not finite"):
        decode(EspProfile, '{"id":"p","name":"n","graph":{"deep":[{"x":NaN}]}}')


def test_the_limit_itself_is_allowed() -> None:
    """Exactly 64 KiB passes, in each form in which a payload can come."""
    filled = ack(x="")
    filled = filled.replace('""', '"' + "x" * (PAYLOAD_BYTES_MAX - len(filled)) + '"')
    forms: list[Callable[[str], str | bytes | bytearray | memoryview]] = [
        str,
        str.encode,
        lambda text: bytearray(text.encode()),
        lambda text: memoryview(text.encode()),
    ]
    for form in forms:
        assert decode(Ack, form(filled)).stored_seq == 5


def test_too_large_a_message_is_not_written() -> None:
    """The sender learns it, not the broker."""
    profile = EspProfile(id="p", name="n", graph={"x": "x" * PAYLOAD_BYTES_MAX})
    with pytest.raises(PayloadRefused) as refused:
        encode(profile)
    assert refused.value.reason == "oversized"


@given(
    st.binary(max_size=300)
    | st.text(max_size=300).map(lambda text: text.encode("utf-8", "replace"))
)
def test_noise_is_refused_without_another_exception(noise: bytes) -> None:
    """Whatever bytes arrive, there is a message or a `PayloadRefused`."""
    for model in MODELS.values():
        with pytest.raises(PayloadRefused):
            decode(model, noise)
