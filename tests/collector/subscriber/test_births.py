"""What is said to many devices that are born together, and to all when a collector returns, is looked up together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from sqlalchemy import Engine, event

from agent.wire.codec import decode
from agent.wire.messages import Ack, CollectLogs
from agent.wire.topics import Channel, device_topic, partition_of
from agent.wire.vocabulary import EndState
from collector.subscriber.inbound import Said, Taken
from tests.collector.fleet import TENANT, Office, Reporter, delivered_birth

T = TypeVar("T")


def enrolling(office: Office, names: Sequence[str]) -> list[Reporter]:
    devices = [Reporter(device=name, stream=f"stream-{name}", user=None) for name in names]
    office.take_in([device.begin() for device in devices])
    keys = [(device.device, device.attempt) for device in devices]
    assert len(office.inbound.admit(keys, office.terms)) == len(devices)
    return devices


def counted(work: Callable[[], T]) -> tuple[T, int]:
    """What it returns, and in how many statements."""
    statements: list[str] = []

    def note(_c: object, _cu: object, statement: str, *_: object) -> None:
        statements.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        return work(), len(statements)
    finally:
        event.remove(Engine, "before_cursor_execute", note)


def said_on(said: Sequence[Said], device: str, channel: Channel) -> list[bytes]:
    topic = str(device_topic(TENANT, device, channel))
    return [one.payload for one in said if one.topic == topic]


def answered(office: Office, devices: Sequence[Reporter]) -> list[Said]:
    """What devices hear that come back at the same moment."""
    batch = [
        Taken(partition, office.terms[partition], delivered_birth(device.birth()))
        for device in devices
        for partition in [partition_of(device.device)]
    ]
    outcome = office.inbound.take(batch, office.terms)
    return [*outcome.said, *office.inbound.admit(outcome.started, office.terms)]


def test_many_births_are_answered_in_as_many_statements_as_two(office: Office) -> None:
    devices = enrolling(office, [f"PC-{n}" for n in range(42)])
    few, for_two = counted(lambda: answered(office, devices[:2]))
    many, for_forty = counted(lambda: answered(office, devices[2:]))
    assert for_forty == for_two
    assert (len(few), len(many)) == (4, 80)
    for device in devices[2:]:
        (ack,) = said_on(many, device.device, Channel.ACK)
        assert decode(Ack, ack).stored_seq == device.seq
        assert len(said_on(many, device.device, Channel.ASSIGNMENT)) == 1


def test_each_hears_what_is_its_own(office: Office) -> None:
    busy, done, told = enrolling(office, ["BUSY", "DONE", "TOLD"])
    office.take_in([done.end(EndState.SUCCEEDED), busy.move(20), busy.move(30)])
    command = office.commands.create(
        "TOLD", CollectLogs(), issued_by="help desk", wall_ms=office.clock.now_ms()
    )
    stranger = Reporter(device="STRANGER", stream="new")
    said = answered(office, [busy, done, told, stranger])
    stored = {
        name: decode(Ack, said_on(said, name, Channel.ACK)[0]).stored_seq
        for name in ("BUSY", "DONE", "TOLD", "STRANGER")
    }
    assert stored == {"BUSY": 3, "DONE": 2, "TOLD": 1, "STRANGER": 0}
    assigned = {n for n in stored if said_on(said, n, Channel.ASSIGNMENT)}
    assert assigned == {"BUSY", "TOLD"}
    assert [one.command for one in said if one.command is not None] == [command.id]


def test_a_collector_that_returns_looks_all_of_a_partition_up_together(office: Office) -> None:
    names = [f"PC-{n}" for n in range(200)]
    partition = partition_of("PC-0")
    its_own = [name for name in names if partition_of(name) == partition]
    assert len(its_own) > 4
    enrolling(office, its_own[:2])
    few, for_two = counted(lambda: list(office.inbound.welcome(partition, office.terms)))
    enrolling(office, [name for name in names if name not in its_own[:2]])
    many, for_all = counted(lambda: list(office.inbound.welcome(partition, office.terms)))
    assert for_all == for_two
    assert (len(few), len(many)) == (4, 2 * len(its_own))
