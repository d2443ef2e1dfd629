"""How long reports wait to be stored is told without a look at the clock for each."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.wire.codec import encode
from collector.store.database import StoreFailed
from collector.subscriber import subscriber as subscriber_module
from collector.subscriber.backlog import Backlog
from tests.collector.fleet import Office, Reporter, event_topic
from tests.collector.subscriber.held_commits import hold_commits
from tests.collector.subscriber.paper_broker import PaperBroker
from tests.collector.subscriber.test_subscriber import ack, running


@dataclass
class Hand:
    """A clock that is set by hand."""

    at_s: float = 100.0

    def now_s(self) -> float:
        return self.at_s


ROUNDS = st.lists(
    st.tuples(
        st.lists(st.floats(0, 5), max_size=6).map(sorted),
        st.integers(1, 4),
        st.floats(0, 3),
    ),
    max_size=12,
)


@given(rounds=ROUNDS)
def test_a_wait_is_never_told_shorter_and_longer_by_one_round_at_most(
    rounds: list[tuple[list[float], int, float]],
) -> None:
    """In each round some arrive, a batch takes a few of those that are there, and storing takes its time."""
    clock = Hand()
    backlog = Backlog(clock.now_s)
    queue: deque[float] = deque()
    looked_s = [clock.at_s]
    for arrivals, size, storing_s in rounds:
        begun_s = clock.at_s
        was_left_over = bool(queue)
        if not was_left_over:
            clock.at_s += arrivals[0] if arrivals else 1.0
            queue.append(clock.at_s)
        oldest_s = queue[0]
        backlog.first_taken(was_left_over=was_left_over)
        for after_s in arrivals:
            queue.append(max(clock.at_s, begun_s + after_s))
            clock.at_s = queue[-1]
        taken = [queue.popleft() for _ in range(min(size, len(queue)))]
        backlog.batch_taken(len(taken), len(queue))
        assert backlog.in_hand == len(taken)
        before_s = max((s for s in looked_s if s < oldest_s), default=looked_s[0])
        looked_s.append(clock.at_s)
        clock.at_s += storing_s
        told_s = backlog.oldest_s()
        assert clock.at_s - oldest_s <= told_s + 1e-9
        assert told_s <= clock.at_s - (before_s if was_left_over else oldest_s) + 1e-9
        assert backlog.committed() == told_s
        assert (backlog.oldest_s(), backlog.in_hand) == (0.0, 0)


def test_what_was_not_stored_goes_on_waiting() -> None:
    clock = Hand()
    backlog = Backlog(clock.now_s)
    backlog.first_taken(was_left_over=False)
    backlog.batch_taken(1, 0)
    clock.at_s += 7
    backlog.first_taken(was_left_over=False)
    backlog.batch_taken(1, 0)
    clock.at_s += 2
    assert backlog.committed() == 9


def value(office: Office, name: str) -> float:
    found = office.metrics.registry.get_sample_value(f"esp_collector_{name}")
    assert found is not None, name
    return found


async def test_while_a_commit_hangs_the_metrics_say_what_waits_and_since_when(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached, may_commit = hold_commits(office, monkeypatch)
    broker, device = PaperBroker(), Reporter()
    async with running(office, broker) as subscriber:
        assert value(office, "queue_depth") == value(office, "oldest_waiting_seconds") == 0
        events = [device.begin(), device.move(1), device.move(2)]
        await broker.publish(event_topic(events[0]), encode(events[0]))
        await asyncio.to_thread(reached.wait, 10)
        for event in events[1:]:
            await broker.publish(event_topic(event), encode(event))
        async with asyncio.timeout(10):
            while subscriber._queue.qsize() < 2:  # noqa: ASYNC110 - nothing tells of a queue's length
                await asyncio.sleep(0)
        assert value(office, "queue_depth") == 3
        waited_s = value(office, "oldest_waiting_seconds")
        assert value(office, "oldest_waiting_seconds") > waited_s > 0
        assert value(office, "lag_seconds_count") == 0
        may_commit.set()
        await ack(broker, device, 3)
        assert value(office, "lag_seconds_count") >= 1
        assert value(office, "lag_seconds_sum") > waited_s


async def test_a_store_that_refuses_is_no_commit_and_the_wait_goes_on(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscriber_module, "STORE_RETRY_S", 0.01)
    commit, refused = office.store.commit, threading.Event()

    def once(*given: Any) -> Any:
        if not refused.is_set():
            refused.set()
            raise StoreFailed("the disk is full")
        return commit(*given)

    monkeypatch.setattr(office.store, "commit", once)
    broker, device = PaperBroker(), Reporter()
    async with running(office, broker) as subscriber:
        event = device.begin()
        await broker.publish(event_topic(event), encode(event))
        async with asyncio.timeout(10):
            while subscriber.is_storing:  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0)
        assert value(office, "lag_seconds_count") == 0
        assert value(office, "oldest_waiting_seconds") > 0
        await broker.publish(event_topic(event), encode(event))
        await ack(broker, device, 1)


async def test_the_age_of_the_leases_is_told(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(office, PaperBroker()) as subscriber:
        monkeypatch.setattr(subscriber, "_renewed_s", float("-inf"))
        assert value(office, "lease_age_seconds") == float("inf")
