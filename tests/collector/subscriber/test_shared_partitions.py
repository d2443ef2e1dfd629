"""Two collectors at one broker over one store: they share, follow each other, and neither does harm."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy import update

from agent.wire.codec import decode, encode
from agent.wire.messages import CollectLogs, CollectorState, RefreshAssignment
from agent.wire.topics import PARTITIONS, Channel, collector_topic, partition_of
from collector.store import schema
from collector.store.database import StoreFailed
from collector.store.leases import Leases
from collector.subscriber.subscriber import Subscriber
from tests.collector.fleet import TENANT, Office, Reporter, event_topic
from tests.collector.subscriber.paper_broker import PaperBroker
from tests.collector.subscriber.test_subscriber import QUICK, ack, topic

LEASE_MS = 60_000
"""Longer than any test: what has to run out is made to."""


@pytest.fixture
def broker() -> PaperBroker:
    return PaperBroker()


@pytest.fixture
def offices(tmp_path: Path) -> Iterator[list[Office]]:
    url = f"sqlite:///{tmp_path / 'store.sqlite'}"
    opened = [Office.open(tmp_path / name, url=url, owner=name) for name in ("a", "b")]
    yield opened
    for office in opened:
        office.close()


@asynccontextmanager
async def collector(
    office: Office, broker: PaperBroker, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Subscriber]:
    """One that looks after its leases all the time."""
    monkeypatch.setattr("collector.subscriber.subscriber.TENDS_PER_LEASE", LEASE_MS // 10)
    leases = Leases(office.store.database, office.leases.owner, LEASE_MS)
    subscriber = Subscriber(
        tenant=TENANT,
        store=office.store.id,
        leases=leases,
        terms=leases.tend({}).taken,
        broker=broker,
        inbound=office.inbound,
        metrics=office.metrics,
        limits=QUICK,
    )
    task = asyncio.create_task(subscriber.run())
    try:
        await asyncio.wait_for(subscriber.ready(), timeout=30)
        yield subscriber
    finally:
        task.cancel()
        (ended,) = await asyncio.gather(task, return_exceptions=True)
    assert isinstance(ended, asyncio.CancelledError), f"it ended by itself: {ended!r}"


def states(broker: PaperBroker) -> dict[str, tuple[str, int]]:
    """What devices hear of each partition's collector."""
    found: dict[str, tuple[str, int]] = {}
    for partition in PARTITIONS:
        said = broker.retained.get(str(collector_topic(TENANT, partition)))
        if said is not None:
            state = decode(CollectorState, said)
            found[partition] = (state.state, state.term)
    return found


def share(broker: PaperBroker, *subscribers: Subscriber, size: int) -> bool:
    """Whether all have so many, and devices hear of each partition's present owner that it is online."""
    owners = {p: owner.term for s in subscribers for p, owner in s.owners.items()}
    heard = states(broker)
    return all(len(s.owners) == size for s in subscribers) and all(
        heard.get(p) == ("online", term) for p, term in owners.items()
    )


def forget_about(office: Office, owner: str) -> None:
    """The owner was not heard of for the length of a lease."""
    with office.store.database.writing() as connection:
        for table in (schema.PARTITIONS, schema.COLLECTORS):
            connection.execute(update(table).where(table.c.owner == owner).values(expires_ms=1))


async def test_a_second_one_is_given_half_and_devices_are_told_to_wait_meanwhile(
    offices: list[Office], broker: PaperBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = offices
    device = Reporter()
    forget_about(first, "b")
    async with collector(first, broker, monkeypatch) as one:
        before = states(broker)
        async with collector(second, broker, monkeypatch) as other:
            await broker.until(lambda: share(broker, one, other, size=8))
            assert set(one.owners) | set(other.owners) == set(PARTITIONS)
            for partition in other.owners:
                own = str(collector_topic(TENANT, partition))
                heard = [decode(CollectorState, payload) for payload in broker.said(own)]
                said = [(state.state, state.term) for state in heard]
                # The offices had all of them once, under the terms before.
                term = before[partition][1]
                assert said == [("online", term), ("offline", term), ("online", term + 1)]
            await broker.publish(event_topic(device.begin()), encode(device.sent[0]))
            await ack(broker, device, 1)
        # Who leaves is followed at once.
        await broker.until(lambda: share(broker, one, size=16))
        await broker.publish(event_topic(device.end()), encode(device.sent[1]))
        await ack(broker, device, 2)
    assert [(r.seq, r.times) for r in first.store.stored_rows()] == [(1, 1), (2, 1)]


async def test_one_that_lost_its_leases_stores_nothing_says_so_and_shares_again(
    offices: list[Office],
    broker: PaperBroker,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    first, second = offices
    device = Reporter()
    async with collector(first, broker, monkeypatch) as one:
        forget_about(second, "a")
        async with collector(second, broker, monkeypatch) as other:
            await broker.until(lambda: share(broker, one, other, size=8))
            await broker.publish(event_topic(device.begin()), encode(device.sent[0]))
            await ack(broker, device, 1)
    assert capsys.readouterr().out.count("another collector owns the partition now") >= 8
    assert [(r.seq, r.times) for r in first.store.stored_rows()] == [(1, 1)]


async def test_one_that_can_t_ask_the_store_for_a_whole_lease_lets_go_and_returns(
    offices: list[Office], broker: PaperBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = offices
    forget_about(first, "b")
    async with collector(first, broker, monkeypatch) as one:
        with monkeypatch.context() as patch:

            def fail(*_: object) -> None:
                raise StoreFailed("the network is gone")

            patch.setattr(Leases, "tend", fail)
            patch.setattr(one, "_renewed_s", float("-inf"))
            await broker.until(lambda: {s for s, _ in states(broker).values()} == {"offline"})
        await broker.until(lambda: share(broker, one, size=16))


async def test_a_command_reaches_a_device_of_the_other_collector(
    offices: list[Office], broker: PaperBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = offices
    forget_about(first, "b")
    async with (
        collector(first, broker, monkeypatch) as one,
        collector(second, broker, monkeypatch) as other,
    ):
        await broker.until(lambda: share(broker, one, other, size=8))
        device = next(
            Reporter(device=name)
            for n in range(99)
            if partition_of(name := f"D{n}") in other.owners
        )
        await broker.publish(event_topic(device.begin()), encode(device.sent[0]))
        await ack(broker, device, 1)
        for action in (CollectLogs(), RefreshAssignment()):
            row = first.commands.create(
                device.device, action, issued_by="desk", wall_ms=first.clock.now_ms()
            )
            one.say([first.inbound.command(row)])
            await broker.payload(topic(device, Channel.COMMAND, row.id))
        assert len(broker.said(topic(device, Channel.ASSIGNMENT))) == 2
