"""Whatever arrives, at the device or at the collector, is taken or refused with a reason, and every refusal is counted."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from agent.core.enrollment import Enrollment
from agent.core.events import (
    AssignmentArrived,
    AttemptBegan,
    CommandReceived,
    DeviceFacts,
    MessageRefused,
)
from agent.core.reading import SignatureRefused
from agent.runtime.ports import Incoming
from agent.runtime.reception import Reception
from agent.wire.assignment import Assignment
from agent.wire.codec import (
    CHANNEL_MODELS,
    PAYLOAD_BYTES_MAX,
    SIGNED_MODELS,
    PayloadRefused,
    decode,
    encode,
)
from agent.wire.messages import Command, Signed
from agent.wire.topics import Channel, collector_topic, device_topic, parse, partition_of
from agent.wire.vocabulary import EnrollmentType
from collector.intake import Readable, Refused, Unreadable, read
from tests.agent.wire.strategies import messages
from tests.fuzz.mutations import hostile

GOLDEN: Final = Path(__file__).parents[1] / "agent" / "wire" / "golden"
GOOD: Final = {path.stem: path.read_bytes() for path in sorted(GOLDEN.glob("*.json"))}
DEVICE: Final = "PC-1"
TENANT: Final = "tests"
MODELS: Final = {*CHANNEL_MODELS.values(), *SIGNED_MODELS.values()}
MEGABYTE: Final = 1024 * 1024

TOPICS: Final = [
    str(device_topic(TENANT, DEVICE, Channel.ACK)),
    str(device_topic(TENANT, DEVICE, Channel.ASSIGNMENT)),
    str(device_topic(TENANT, DEVICE, Channel.COMMAND, "c-1")),
    str(device_topic(TENANT, "PC-2", Channel.ACK)),
    str(device_topic(TENANT, DEVICE, Channel.EVENT)),
    str(collector_topic(TENANT, partition_of(DEVICE))),
]
topics = st.one_of(st.sampled_from(TOPICS), st.text(max_size=60))


class Opener:
    """Believes every signature, so that what is inside is read; refuses what has the wrong form."""

    def verify(self, compact: str, typ: str) -> bytes:
        if len(compact) % 7 == 0:
            raise SignatureRefused("not by whom it says")
        return compact.split(".")[1].encode()


@given(st.sampled_from(sorted(GOOD)).flatmap(lambda name: hostile(GOOD[name])))
def test_a_twisted_message_is_read_or_refused(payload: bytes) -> None:
    for model in MODELS:
        reason, message = _decoded(model, payload)
        assert reason in {None, "oversized", "not_json", "invalid", "unknown_schema"}
        assert message is None or decode(model, encode(message)) == message


def _decoded(model: type[BaseModel], payload: bytes) -> tuple[str | None, BaseModel | None]:
    try:
        return None, decode(model, payload)
    except PayloadRefused as refused:
        return refused.reason, None


@given(
    st.lists(
        st.tuples(topics, st.sampled_from(sorted(GOOD)).flatmap(lambda name: hostile(GOOD[name]))),
        max_size=8,
    )
)
def test_a_device_counts_every_message_that_it_refuses(arrivals: list[tuple[str, bytes]]) -> None:
    reception = Reception(TENANT, DEVICE, "stream-1", Opener())
    for number, (topic, payload) in enumerate(arrivals):
        before = reception.refused.total()
        received = reception.read(Incoming(topic, payload, retained=False), "attempt-1", number)
        counted = reception.refused.total() - before
        assert counted in {0, 1}
        assert isinstance(received, MessageRefused | None) or counted == 0
    assert len(reception.refused) < 20


@given(
    st.one_of(
        messages(Command).map(lambda command: (Channel.COMMAND, encode(command))),
        messages(Assignment).map(lambda assignment: (Channel.ASSIGNMENT, encode(assignment))),
    )
)
def test_what_is_signed_for_somebody_else_is_refused(signed: tuple[Channel, bytes]) -> None:
    """Whatever a trusted key has signed, only what names this device and attempt is taken."""
    channel, payload = signed
    reception = Reception(TENANT, DEVICE, "stream-1", Believer(payload))
    envelope = encode(Signed(protected="p", payload="p", signature="s"))
    name = "c-1" if channel is Channel.COMMAND else None
    topic = str(device_topic(TENANT, DEVICE, channel, name))
    taken = reception.read(Incoming(topic, envelope, retained=True), "attempt-1", 0)
    assert isinstance(taken, MessageRefused | None)
    assert reception.refused.total() == 1


class Believer:
    """Finds this inside whatever is signed."""

    def __init__(self, payload: bytes) -> None:
        self._payload = payload

    def verify(self, compact: str, typ: str) -> bytes:
        return self._payload


@given(
    st.sampled_from([n for n in GOOD if n.startswith("event")]).flatmap(lambda n: hostile(GOOD[n])),
    topics,
)
def test_intake_takes_sets_aside_or_refuses(payload: bytes, topic: str) -> None:
    found = read(TENANT, topic, payload)
    assert isinstance(found, Readable | Unreadable | Refused)
    if isinstance(found, Refused):
        assert found.sentence


@settings(max_examples=60)
@given(
    decision=messages(Assignment),
    commands=st.lists(messages(Command), max_size=8),
    facts=st.sampled_from(list(EnrollmentType)),
)
def test_no_assignment_and_no_command_breaks_the_machine(
    decision: Assignment, commands: list[Command], facts: EnrollmentType
) -> None:
    """Signed does not mean sensible: each command is answered once, and none of them is an accident."""
    machine = Enrollment()
    device = DeviceFacts(
        device=DEVICE, enrollment_type=facts, platform="x", os_version="1", agent_version="1"
    )
    machine.handle(AttemptBegan(attempt=decision.attempt, facts=device), 0)
    machine.handle(AssignmentArrived(assignment=decision), 1)
    for now_ms, command in enumerate(commands, 2):
        machine.handle(CommandReceived(command=command), now_ms)
        assert command.id in machine.executed
        machine.handle(CommandReceived(command=command), now_ms)
        assert machine.refusal == f"command '{command.id}' was answered before"
    assert machine.progress.attempt == machine.attempt


@given(st.text(max_size=100) | topics)
def test_a_topic_is_understood_or_refused(topic: str) -> None:
    try:
        understood = parse(topic)
    except ValueError:
        return
    assert str(understood) == topic


@pytest.mark.parametrize(
    "payload",
    [
        b"[" * 60_000,
        b'{"a":' * 12_000,
        b'{"schema":"esp.ack/1","x":' + b"[" * 60_000,
        b"x" * (PAYLOAD_BYTES_MAX + 1),
        b'"' + b"\\ud800" * 10_000 + b'"',
        b"9" * 60_000,
    ],
    ids=["lists", "objects", "inside", "oversized", "halves of characters", "digits"],
)
def test_a_bomb_costs_no_memory(payload: bytes) -> None:
    tracemalloc.start()
    try:
        for model in MODELS:
            with pytest.raises(PayloadRefused):
                decode(model, payload)
        read(TENANT, TOPICS[4], payload)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 * MEGABYTE
