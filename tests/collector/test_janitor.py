"""A day after a device's end the broker keeps nothing of it; before, and while it is there, everything."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.wire.codec import encode
from agent.wire.messages import CollectLogs
from agent.wire.topics import RETAINED, Channel
from collector import janitor
from collector.janitor import HOUR_MS, Leftover
from collector.subscriber import inbound
from collector.subscriber.ports import BrokerLost
from tests.collector.fleet import NOON_MS, Office, Reporter, delivered_birth
from tests.collector.subscriber.paper_broker import PaperBroker
from tests.collector.subscriber.test_subscriber import ack, running, topic

DAY_MS = 24 * HOUR_MS
OWN = tuple(sorted(RETAINED - {Channel.COMMAND}))


@pytest.mark.parametrize(
    ("leftover", "is_due"),
    [
        (Leftover("A", NOON_MS - DAY_MS - 1), True),
        (Leftover("A", NOON_MS - DAY_MS - 1, "goodbye"), True),
        (Leftover("A", NOON_MS - DAY_MS - 1, "lost"), True),
        (Leftover("A", NOON_MS - DAY_MS), False),
        (Leftover("A", NOON_MS - DAY_MS - 1, "online"), False),
        (Leftover("A", None, "lost"), False),
    ],
)
def test_due_is_who_ended_more_than_a_day_ago_and_is_gone(leftover: Leftover, is_due: bool) -> None:
    assert list(janitor.due([leftover], NOON_MS, DAY_MS)) == (["A"] if is_due else [])


def ended(office: Office, name: str = "DESKTOP-NEW001") -> Reporter:
    device = Reporter(device=name)
    office.take_in([device.begin(), device.end()])
    return device


def says(office: Office, device: Reporter, state: str) -> None:
    presence = device.birth().model_copy(update={"state": state, "session": device.session})
    office.store.record_presences([presence], office.clock.now_ms())


def chosen(office: Office) -> list[str]:
    return list(office.inbound.to_clean(DAY_MS, office.terms).said)


def clean(office: Office) -> None:
    cleaning = office.inbound.to_clean(DAY_MS, office.terms)
    office.inbound.cleaned(list(cleaning.said), cleaning.at_ms)


def test_a_device_is_cleared_once_and_again_only_after_it_was_heard_of(office: Office) -> None:
    device = ended(office)
    assert chosen(office) == []
    office.clock.at_ms += DAY_MS + 1
    assert chosen(office) == [device.device]
    clean(office)
    assert chosen(office) == []
    office.clock.at_ms += 1
    says(office, device, "online")
    assert chosen(office) == []
    says(office, device, "goodbye")
    assert chosen(office) == [device.device]
    clean(office)
    assert chosen(office) == []


def test_a_device_that_enrolls_again_is_left_alone(office: Office) -> None:
    device = ended(office)
    office.clock.at_ms += DAY_MS + 1
    office.take_in([device.begin()])
    assert chosen(office) == []
    office.take_in([device.end()])
    office.clock.at_ms += DAY_MS
    assert chosen(office) == []
    office.clock.at_ms += 1
    assert chosen(office) == [device.device]


def test_of_two_journals_on_one_device_the_newest_word_counts(office: Office) -> None:
    device = ended(office)
    says(office, device, "online")
    office.clock.at_ms += DAY_MS + 1
    device.stream = "stream-2"
    says(office, device, "goodbye")
    assert chosen(office) == [device.device]


def test_only_so_many_are_cleared_at_a_time_and_those_that_ended_first_come_first(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbound, "CLEAN_MAX", 2)
    for name in ("C", "A", "B"):
        ended(office, name)
        office.clock.at_ms += 1
    office.clock.at_ms += DAY_MS + 1
    assert chosen(office) == ["C", "A"]
    clean(office)
    assert chosen(office) == ["B"]


def test_another_collectors_partitions_are_its_own_to_clean(office: Office) -> None:
    ended(office)
    office.clock.at_ms += DAY_MS + 1
    assert office.inbound.to_clean(DAY_MS, {}).said == {}


def test_what_was_cleared_is_remembered_over_a_restart(office: Office, tmp_path: Path) -> None:
    ended(office)
    office.clock.at_ms += DAY_MS + 1
    clean(office)
    again = Office.open(tmp_path, office.clock)
    assert chosen(again) == []
    again.close()


async def leave_everything(office: Office, broker: PaperBroker, device: Reporter) -> str:
    """Every retained message that a device can have; returns the topic of its command."""
    row = office.commands.create(
        device.device, CollectLogs(), issued_by="desk", wall_ms=office.clock.now_ms() + DAY_MS
    )
    command = topic(device, Channel.COMMAND, row.id)
    for where in (*(topic(device, channel) for channel in OWN), command):
        if Channel.PRESENCE.value not in where:
            await broker.publish(where, b"{}", retain=True)
    goodbye = delivered_birth(device.birth().model_copy(update={"state": "goodbye"}))
    await broker.publish(goodbye.topic, goodbye.payload, retain=True)
    return command


async def test_everything_that_the_broker_keeps_of_a_device_is_cleared(office: Office) -> None:
    broker, gone, enrolling = PaperBroker(), ended(office), Reporter(device="ENROLLING")
    office.take_in([enrolling.begin()])
    command = await leave_everything(office, broker, gone)
    await leave_everything(office, broker, enrolling)
    async with running(office, broker) as subscriber:
        office.clock.at_ms += DAY_MS + 1
        await subscriber.clean()
        mine = [t for t in broker.retained if f"/{gone.device}/" in t]
        theirs = {t.split("/")[5] for t in broker.retained if f"/{enrolling.device}/" in t}
        assert mine == []
        assert theirs == {channel.value for channel in RETAINED}
        said = len(broker.log)
        await subscriber.clean()
        assert len(broker.log) == said, "there is nothing left to say"
    assert broker.said(command)[-1] == b""


async def test_the_running_collector_cleans_by_itself(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("collector.subscriber.subscriber.CLEAN_S", 0.01)
    broker, gone = PaperBroker(), ended(office)
    await leave_everything(office, broker, gone)
    office.clock.at_ms += DAY_MS + 1
    async with running(office, broker):
        await broker.until(lambda: not any(f"/{gone.device}/" in t for t in broker.retained))


async def test_what_the_broker_did_not_take_is_tried_again(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker, gone = PaperBroker(), ended(office)
    async with running(office, broker) as subscriber:
        office.clock.at_ms += DAY_MS + 1

        async def lost(*_: object, **__: object) -> None:
            raise BrokerLost("gone")

        with monkeypatch.context() as patch:
            patch.setattr(broker, "publish", lost)
            await subscriber.clean()
        assert chosen(office) == [gone.device]
        await subscriber.clean()
        assert chosen(office) == []


async def test_a_device_that_comes_back_is_told_everything_again(office: Office) -> None:
    broker, device = PaperBroker(), ended(office)
    async with running(office, broker) as subscriber:
        office.clock.at_ms += DAY_MS + 1
        await subscriber.clean()
        office.clock.at_ms += 1
        birth = device.birth()
        await broker.publish(topic(device, Channel.PRESENCE), encode(birth), retain=True)
        await ack(broker, device, 2)
        await subscriber.clean()
        assert {topic(device, c) for c in (Channel.ACK, Channel.PRESENCE)} <= set(broker.retained)
