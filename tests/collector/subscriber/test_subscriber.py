"""The collector at the broker: acknowledges what is stored and nothing else, and tells returning devices everything."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from agent.core.link import LinkLimits
from agent.wire.assignment import Admitted, Assignment
from agent.wire.codec import PAYLOAD_BYTES_MAX, decode, encode
from agent.wire.events import CommandAnswered
from agent.wire.messages import Ack, CollectLogs, CollectorState, Command, Signed
from agent.wire.topics import Channel, collector_topic, device_topic, partition_of
from agent.wire.vocabulary import EndState
from collector.store.database import StoreFailed
from collector.subscriber.partition import Voice
from collector.subscriber.ports import BrokerLost
from collector.subscriber.subscriber import Subscriber
from tests.collector.fleet import (
    TENANT,
    Office,
    Reporter,
    delivered_birth,
    event_topic,
    take_over,
)
from tests.collector.subscriber.held_commits import hold_commits
from tests.collector.subscriber.paper_broker import PaperBroker, PaperConnection

QUICK = LinkLimits(backoff_ms=1, backoff_ms_max=1, refused_ms=1)


@asynccontextmanager
async def running(office: Office, broker: PaperBroker, **more: Any) -> AsyncIterator[Subscriber]:
    subscriber = Subscriber(
        tenant=TENANT,
        store=office.store.id,
        leases=office.leases,
        terms=office.terms,
        broker=broker,
        inbound=office.inbound,
        metrics=office.metrics,
        limits=QUICK,
        **more,
    )
    task = asyncio.create_task(subscriber.run())
    try:
        await asyncio.wait_for(subscriber.ready(), timeout=10)
        yield subscriber
    finally:
        task.cancel()
        (ended,) = await asyncio.gather(task, return_exceptions=True)
    assert isinstance(ended, asyncio.CancelledError), f"it ended by itself: {ended!r}"


def topic(device: Reporter, channel: Channel, command: str | None = None) -> str:
    return str(device_topic(TENANT, device.device, channel, command))


async def ack(broker: PaperBroker, device: Reporter, seq: int) -> Ack:
    """The acknowledgement of this number, as soon as it is there."""
    where = topic(device, Channel.ACK)
    await broker.until(
        lambda: where in broker.retained and decode(Ack, broker.retained[where]).stored_seq == seq
    )
    return decode(Ack, broker.retained[where])


def verified(office: Office, signed: bytes) -> tuple[dict[str, Any], bytes]:
    compact = decode(Signed, signed).compact
    key = load_pem_public_key(office.signer.public_pem.encode())
    assert isinstance(key, Ed25519PublicKey)
    whole = jwt.api_jws.PyJWS().decode_complete(compact, key, algorithms=["EdDSA"])
    return whole["header"], whole["payload"]


async def test_it_is_subscribed_before_anybody_hears_that_it_is_online(office: Office) -> None:
    broker = PaperBroker()
    async with running(office, broker):
        for partition in office.terms:
            own = str(collector_topic(TENANT, partition))
            order = [
                kind
                for kind, where, what in broker.log
                if where == own or (kind == "subscribe" and own in str(what))
            ]
            assert order[:2] == ["subscribe", "publish"]
            state = decode(CollectorState, broker.retained[own])
            assert (state.state, state.term, state.store) == ("online", 1, office.store.id)


async def test_a_stored_report_is_acknowledged_and_an_attempt_gets_its_signed_assignment(
    office: Office,
) -> None:
    broker, device = PaperBroker(), Reporter()
    async with running(office, broker):
        await broker.publish(event_topic(device.begin()), encode(device.sent[0]))
        answer = await ack(broker, device, 1)
        assert (answer.stream, answer.store, answer.term) == ("stream-1", office.store.id, 1)
        header, payload = verified(office, await broker.payload(topic(device, Channel.ASSIGNMENT)))
    assert header == {
        "alg": "EdDSA",
        "kid": office.signer.trusted_key.kid,
        "typ": "esp-assignment+jws",
    }
    assignment = decode(Assignment, payload)
    assert (assignment.device, assignment.attempt) == (device.device, device.attempt)
    assert isinstance(assignment.decision, Admitted)


async def test_no_acknowledgement_waits_for_a_decision(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first one is decided at once; what begins after it is decided together, later."""
    broker, decided = PaperBroker(), list[list[str]]()
    devices = [Reporter(device=f"D{n}", stream=f"s{n}") for n in range(4)]
    admit = office.desk.admit

    def slow(attempts: Any, now_ms: int) -> Any:
        decided.append([device for device, _attempt in attempts])
        return admit(attempts, now_ms)

    monkeypatch.setattr(office.desk, "admit", slow)
    monkeypatch.setattr("collector.subscriber.subscriber.ADMIT_S", 3_600)
    async with running(office, broker):
        first, *others = devices
        await broker.publish(event_topic(first.begin()), encode(first.sent[0]))
        await broker.payload(topic(first, Channel.ASSIGNMENT))
        for device in others:
            await broker.publish(event_topic(device.begin()), encode(device.sent[0]))
            await ack(broker, device, 1)
    assert decided == [["D0"]]


async def test_nothing_is_acknowledged_before_it_is_committed(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker, device = PaperBroker(), Reporter()
    reached, may_commit = hold_commits(office, monkeypatch)
    async with running(office, broker):
        await broker.publish(event_topic(device.begin()), encode(device.sent[0]))
        await asyncio.to_thread(reached.wait, 10)
        assert topic(device, Channel.ACK) not in broker.retained
        may_commit.set()
        await ack(broker, device, 1)


async def test_a_crash_between_commit_and_acknowledgement_loses_and_doubles_nothing(
    office: Office,
) -> None:
    device = Reporter()
    events = [device.begin(), device.move(50), device.end()]
    office.take_in(events)
    broker = PaperBroker()
    async with running(office, broker):
        for event in events:
            await broker.publish(event_topic(event), encode(event))
        await ack(broker, device, 3)
        last = device.move(1)
        await broker.publish(event_topic(last), encode(last))
        await ack(broker, device, 4)
    assert [(r.seq, r.times) for r in office.store.stored_rows()] == [(n, 1) for n in range(1, 5)]


async def test_a_gap_and_a_duplicate_are_answered_with_the_current_acknowledgement(
    office: Office,
) -> None:
    broker, device = PaperBroker(), Reporter()
    first, second, third = device.begin(), device.move(10), device.move(20)
    async with running(office, broker):
        where = topic(device, Channel.ACK)
        for event, stored, answers in ((first, 1, 1), (third, 1, 2), (first, 1, 3), (second, 2, 4)):
            await broker.publish(event_topic(event), encode(event))
            await broker.until(lambda n=answers: len(broker.said(where)) == n)  # type: ignore[misc]
            assert decode(Ack, broker.said(where)[-1]).stored_seq == stored


async def test_an_older_copy_of_a_journal_is_refused_counted_and_told_what_is_stored(
    office: Office,
) -> None:
    """It continues what its journal says; the acknowledgement names what its later life told."""
    broker, later = PaperBroker(), Reporter()
    first, told = later.begin(), later.move(10)
    copy = replace(later, seq=1, last_digest=told.after)
    other, more = copy.move(20), copy.move(30)
    async with running(office, broker):
        where = topic(later, Channel.ACK)
        for answers, event in enumerate((first, told, other, more), start=1):
            await broker.publish(event_topic(event), encode(event))
            await broker.until(lambda n=answers: len(broker.said(where)) == n)  # type: ignore[misc]
            said = decode(Ack, broker.said(where)[-1])
            assert (said.stored_seq, said.digest) == (
                (1, told.after) if event is first else (2, later.last_digest)
            )
    assert b'esp_collector_reports_total{decision="fork"} 1.0' in office.metrics.text()


async def test_a_birth_is_answered_with_acknowledgement_assignment_and_commands(
    office: Office,
) -> None:
    device = Reporter()
    office.take_in([device.begin(), device.move(10)])
    row = office.commands.create(
        device.device, CollectLogs(), issued_by="desk", wall_ms=office.clock.now_ms()
    )
    broker = PaperBroker()
    async with running(office, broker):
        # A broker that lost its memory knows nothing of what was said when the collector came.
        await broker.payload(topic(device, Channel.COMMAND, row.id))
        broker.retained.clear()
        birth = delivered_birth(device.birth())
        await broker.publish(birth.topic, birth.payload, retain=True)
        await ack(broker, device, 2)
        await broker.payload(topic(device, Channel.ASSIGNMENT))
        header, payload = verified(
            office, await broker.payload(topic(device, Channel.COMMAND, row.id))
        )
    assert header["typ"] == "esp-command+jws"
    command = decode(Command, payload)
    assert (command.id, command.attempt, command.action) == (row.id, device.attempt, CollectLogs())


async def test_the_birth_of_an_unknown_stream_hears_that_nothing_is_stored(office: Office) -> None:
    broker, device = PaperBroker(), Reporter()
    async with running(office, broker):
        birth = delivered_birth(device.birth())
        await broker.publish(birth.topic, birth.payload, retain=True)
        assert (await ack(broker, device, 0)).stream == "stream-1"


async def test_a_returning_collector_tells_every_open_attempt_what_it_told_before(
    office: Office,
) -> None:
    devices = [Reporter(device=f"D{n}") for n in range(20)]
    for device in devices:
        office.take_in([device.begin()])
    done = Reporter(device="DONE")
    office.take_in([done.begin(), done.end(EndState.SUCCEEDED)])
    broker = PaperBroker()
    async with running(office, broker):
        for device in devices:
            await ack(broker, device, 1)
            await broker.payload(topic(device, Channel.ASSIGNMENT))
    assert topic(done, Channel.ASSIGNMENT) not in broker.retained


async def test_an_owner_that_sees_its_own_offline_says_online_again(office: Office) -> None:
    broker = PaperBroker()
    async with running(office, broker):
        own = str(collector_topic(TENANT, "7"))
        late_will = decode(CollectorState, broker.retained[own]).model_copy(
            update={"state": "offline"}
        )
        await broker.publish(own, encode(late_will), retain=True)
        await broker.until(lambda: len(broker.said(own)) == 3)
        assert decode(CollectorState, broker.retained[own]).state == "online"


async def test_a_broken_connection_comes_back_by_itself(office: Office) -> None:
    broker, device = PaperBroker(), Reporter()
    partition = partition_of(device.device)
    own = str(collector_topic(TENANT, partition))
    async with running(office, broker):
        await broker.drop(f"esp-collector-{TENANT}-{partition}")
        await broker.until(lambda: decode(CollectorState, broker.retained[own]).state == "online")
        await broker.publish(event_topic(device.begin()), encode(device.sent[0]))
        await ack(broker, device, 1)
    states = [decode(CollectorState, p).state for p in broker.said(own)]
    assert states[:3] == ["online", "offline", "online"]


async def test_a_planned_end_is_announced(office: Office) -> None:
    broker = PaperBroker()
    async with running(office, broker):
        pass
    states = {
        p: decode(CollectorState, broker.retained[str(collector_topic(TENANT, p))]).state
        for p in office.terms
    }
    assert set(states.values()) == {"offline"}


async def test_a_deposed_owner_stores_nothing_and_says_nothing_more(office: Office) -> None:
    broker, device = PaperBroker(), Reporter()
    partition = partition_of(device.device)
    async with running(office, broker) as subscriber:
        owner = subscriber.owners[partition]
        take_over(office, partition)
        await broker.publish(event_topic(device.begin()), encode(device.sent[0]))
        other = Reporter(
            device=next(f"D{n}" for n in range(99) if partition_of(f"D{n}") != partition)
        )
        await broker.publish(event_topic(other.begin()), encode(other.sent[0]))
        await ack(broker, other, 1)
        assert owner.is_deposed
        assert "another collector" in owner.problem
        assert partition not in subscriber.owners
    assert topic(device, Channel.ACK) not in broker.retained
    assert [r.device for r in office.store.stored_rows()] == [other.device]


async def test_a_forged_word_of_a_newer_owner_deposes_nobody(office: Office) -> None:
    broker, device = PaperBroker(), Reporter()
    partition = partition_of(device.device)
    own = str(collector_topic(TENANT, partition))
    async with running(office, broker):
        forged = decode(CollectorState, broker.retained[own]).model_copy(update={"term": 999})
        await broker.publish(own, encode(forged), retain=True)
        await broker.until(lambda: decode(CollectorState, broker.retained[own]).term == 1)
        await broker.publish(event_topic(device.begin()), encode(device.sent[0]))
        await ack(broker, device, 1)


async def test_hostile_payloads_are_counted_and_never_block(office: Office) -> None:
    broker, device = PaperBroker(), Reporter()
    first = device.begin()
    bad = [
        b"",
        b"\x00" * 100,
        b"[" * 60_000,
        b"x" * (PAYLOAD_BYTES_MAX + 1),
        encode(first).replace(b"DESKTOP-NEW001", b"DESKTOP-NEW002"),
    ]
    async with running(office, broker):
        for payload in bad:
            await broker.publish(event_topic(first), payload)
            await broker.publish(topic(device, Channel.PRESENCE), payload)
        await broker.publish(event_topic(first), encode(first))
        await ack(broker, device, 1)
    counts = office.store.refusals()
    # An empty presence is a cleared one; an empty report is a bad one. The last payload is no presence at all.
    assert counts == {"unknown_schema": 1, "not_json": 5, "oversized": 2, "wrong_device": 1}
    assert b'esp_collector_refused_payloads_total{reason="oversized"} 2.0' in office.metrics.text()


async def test_one_devices_report_that_the_database_refuses_does_not_block_the_others(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("collector.subscriber.subscriber.STORE_RETRY_S", 0)
    commit = office.store.commit

    def picky(arrivals: Any, now_ms: int) -> Any:
        if any(a.key[0] == "BAD" for a in arrivals):
            raise StoreFailed("this one can't be stored")
        return commit(arrivals, now_ms)

    monkeypatch.setattr(office.store, "commit", picky)
    broker = PaperBroker()
    devices = [Reporter(device=name) for name in ("BAD", "GOOD", "FINE")]
    async with running(office, broker):
        for device in devices:
            await broker.publish(event_topic(device.begin()), encode(device.sent[0]))
        await ack(broker, devices[1], 1)
        await ack(broker, devices[2], 1)
    assert topic(devices[0], Channel.ACK) not in broker.retained


async def test_retained_messages_of_other_partitions_are_nobodys_question(office: Office) -> None:
    """A broker may deliver retained messages that nobody subscribed to."""
    broker, device = PaperBroker(leaks=True), Reporter()
    birth = delivered_birth(device.birth())
    broker.retained[birth.topic] = birth.payload
    async with running(office, broker):
        await ack(broker, device, 0)
        other = Reporter(device="OTHER")
        await broker.publish(event_topic(other.begin()), encode(other.sent[0]))
        await ack(broker, other, 1)
    assert len(broker.said(topic(device, Channel.ACK))) == 1


async def test_an_answered_command_is_cleared_by_its_sender(office: Office) -> None:
    broker, device = PaperBroker(), Reporter()
    office.take_in([device.begin()])
    row = office.commands.create(
        device.device, CollectLogs(), issued_by="desk", wall_ms=office.clock.now_ms()
    )
    async with running(office, broker) as subscriber:
        where = topic(device, Channel.COMMAND, row.id)
        subscriber.say([office.inbound.command(row)])
        await broker.payload(where)
        answer = device.event(CommandAnswered(command=row.id, action="collect_logs", executed=True))
        await broker.publish(event_topic(answer), encode(answer))
        await broker.until(lambda: where not in broker.retained)


async def test_a_command_counts_as_sent_once_the_broker_has_it(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker, device = PaperBroker(), Reporter()
    office.take_in([device.begin()])
    sent, noted = office.commands.sent, threading.Event()

    def note(command: str, wall_ms: int) -> None:
        sent(command, wall_ms)
        noted.set()

    monkeypatch.setattr(office.commands, "sent", note)
    row = office.commands.create(
        device.device, CollectLogs(), issued_by="desk", wall_ms=office.clock.now_ms()
    )
    async with running(office, broker) as subscriber:
        await broker.payload(topic(device, Channel.COMMAND, row.id))
        assert await asyncio.to_thread(noted.wait, 10)
        told = office.commands.get(row.id)
        assert told is not None
        assert (told.state(office.clock.now_ms()), told.sent_ms) == ("sent", row.issued_ms)
        # What is said again after a connection broke was sent when it was sent first.
        noted.clear()
        office.clock.at_ms += 1_000
        subscriber.say([office.inbound.command(row)])
        assert await asyncio.to_thread(noted.wait, 10)
        again = office.commands.get(row.id)
    assert again == told


async def test_a_command_that_the_broker_did_not_get_waits(office: Office) -> None:
    """The connection breaks while it is published."""
    told: list[str] = []
    voice = Voice()
    voice.say("somewhere", b"command", lambda: told.append("sent"))
    connection = PaperConnection(PaperBroker(), "gone", None)
    with pytest.raises(BrokerLost):
        await voice.speak(connection)
    assert told == []
    voice.say("somewhere", b"command", lambda: told.append("sent"))
    voice.say("somewhere", b"")
    broker = PaperBroker()
    async with broker.connect("back", None) as back:
        speaking = asyncio.create_task(voice.speak(back))
        await broker.until(lambda: broker.said("somewhere") == [b""])
        voice.say("elsewhere", b"command", lambda: told.append("elsewhere"))
        await broker.until(lambda: broker.said("elsewhere") == [b"command"])
        voice.say("end", b"")
        await broker.until(lambda: broker.said("end") == [b""])
        speaking.cancel()
    assert told == ["elsewhere"], "what was taken back was not sent"


async def test_while_the_store_is_slow_no_more_is_read_than_the_queue_holds(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached, may_commit = hold_commits(office, monkeypatch)
    broker, device = PaperBroker(), Reporter()
    partition = partition_of(device.device)
    async with running(office, broker, queue_max=4):
        await broker.publish(event_topic(device.begin()), encode(device.sent[0]))
        await asyncio.to_thread(reached.wait, 10)
        for _ in range(20):
            event = device.move(10)
            await broker.publish(event_topic(event), encode(event))
        client = f"esp-collector-{TENANT}-{partition}"
        inbox = next(c.inbox for c in broker.connections if c.client_id == client)
        for _ in range(50):
            await asyncio.sleep(0)
        # Four in the queue, one in the hand of the reader.
        assert inbox.qsize() == 15
        may_commit.set()
        await ack(broker, device, 21)


async def test_a_broker_that_refuses_is_tried_again_and_shown_once(
    office: Office, capsys: pytest.CaptureFixture[str]
) -> None:
    broker = PaperBroker(refuses=True)
    subscriber = Subscriber(
        tenant=TENANT,
        store=office.store.id,
        leases=office.leases,
        terms={"0": office.terms["0"]},
        broker=broker,
        inbound=office.inbound,
        metrics=office.metrics,
        limits=QUICK,
    )
    task = asyncio.create_task(subscriber.run())
    # By the second refusal the first one has been dealt with.
    await broker.until(lambda: sum(kind == "refused" for kind, *_ in broker.log) == 2)
    assert "refuses" in subscriber.owners["0"].problem
    assert capsys.readouterr().out.count("no connection") == 1, "one line for one trouble"
    broker.refuses = False
    await asyncio.wait_for(subscriber.ready(), timeout=10)
    assert subscriber.owners["0"].problem == ""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
