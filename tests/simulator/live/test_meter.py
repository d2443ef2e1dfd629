"""What is measured around an agent: when its reports happened and were acknowledged, and how its connections went."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

import pytest

from agent.core.batch import Batch, Entry
from agent.core.events import PersonActed
from agent.core.outbox import DropReport, KeepReport, MarkAcknowledged, NumberReport
from agent.runtime.clock import DeviceClock
from agent.runtime.ports import Incoming, JournalState, TransportLost, TransportRefused, Will
from agent.runtime.ports import Transport as Transported
from agent.wire.events import Report
from agent.wire.vocabulary import PersonAction
from simulator.live import meter as meters
from simulator.live.meter import CUT, Meter
from tests.agent.journal.test_conformance import keep


class Time:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    time = Time()
    monkeypatch.setattr(meters, "time", time)
    return time


class Journal:
    """Takes everything."""

    async def load(self, device: str, new_stream: str) -> JournalState:
        raise AssertionError("nothing is loaded here")

    async def commit(self, device: str, batch: Batch) -> None:
        pass

    async def fetch(self, device: str, first: int, last: int) -> Sequence[tuple[int, Report]]:
        return ()


def entry(at_ms: int) -> Entry:
    return Entry(1, at_ms, 0, "1.0", PersonActed(item="i", action=PersonAction.PROCEED))


async def test_a_report_happened_when_it_was_due_however_late_the_agent_came_to_it(
    time: Time,
) -> None:
    """At speed 10 an input of device second 20 that is handled at second 30 is a real second late."""
    meter = Meter()
    clock = DeviceClock(10, monotonic=time.monotonic, wall=time.monotonic)
    journal = meter.journal("D1", Journal(), clock, 10)
    time.now_s += 3.0
    await journal.commit("D1", Batch(entry=entry(20_000), outbox=[keep(1), keep(2)]))
    await journal.commit("D1", Batch(outbox=[NumberReport(1, 1, "d" * 64), DropReport(2)]))
    time.now_s += 0.5
    await journal.commit("D1", Batch(outbox=[MarkAcknowledged(1, 0)]))
    times = meter.reports["D1"]
    assert list(times.happened_s) == [102.0]
    assert list(times.acknowledged_s) == [103.5]
    assert (meter.created, meter.acknowledged) == (1, 1)
    assert isinstance(keep(1), KeepReport)


class Connection:
    """An open connection that can be cut."""

    def __init__(self) -> None:
        self.is_cut = False

    async def subscribe(self, filters: Sequence[str]) -> None:
        pass

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> asyncio.Future[None]:
        loop = asyncio.get_running_loop()
        confirmation: asyncio.Future[None] = loop.create_future()
        if self.is_cut:
            loop.call_soon(confirmation.set_exception, TransportLost("gone"))
        else:
            loop.call_soon(confirmation.set_result, None)
        return confirmation

    async def messages(self) -> AsyncIterator[Incoming]:
        return
        yield

    def abort(self) -> None:
        self.is_cut = True


class Transport:
    """Opens one connection after another, or refuses."""

    def __init__(self, refusal: Exception | None = None) -> None:
        self.refusal = refusal

    @contextlib.asynccontextmanager
    async def connect(self, client_id: str, will: Will | None) -> AsyncIterator[Connection]:
        if self.refusal is not None:
            raise self.refusal
        yield Connection()


async def test_everyone_is_cut_at_once_and_it_is_told_how_long_each_was_away(time: Time) -> None:
    meter = Meter()
    transport = meter.transport("D1", Transport())
    with pytest.raises(TransportLost):
        await _publish_around(meter, transport)
    assert meter.connected == 0
    time.now_s += 2.5
    async with transport.connect("D1", None) as connection:
        await connection.subscribe(["x"])
    (storm,) = meter.storms
    assert (storm.struck, storm.returned_s, storm.cut) == (1, [2.5], {})
    assert meter.failures["connection_lost"] == {CUT: 1}
    assert meter.failures["message_not_confirmed"] == {"gone": 1}
    assert meter.reports["D1"].sent == 2
    assert len(meter.connects_s) == 2


async def _publish_around(meter: Meter, transport: Transported) -> None:
    """One report before a cut, and one after it."""
    async with transport.connect("D1", None) as connection:
        await connection.subscribe(["x"])
        await connection.publish("esp/1/t/0/D1/event", b"1")
        assert meter.connected == 1
        meter.cut_all()
        await connection.publish("esp/1/t/0/D1/event", b"2")


@pytest.mark.parametrize(
    ("refusal", "kind"),
    [
        (TransportRefused("not authorized"), "connection_refused"),
        (TransportLost("nobody listens"), "connection_failed"),
    ],
)
async def test_a_connection_that_does_not_come_about_is_counted_by_reason(
    refusal: Exception, kind: str
) -> None:
    meter = Meter()
    connecting = meter.transport("D1", Transport(refusal)).connect("D1", None)
    with pytest.raises(type(refusal)):
        await connecting.__aenter__()
    assert meter.failures == {kind: {str(refusal): 1}}
