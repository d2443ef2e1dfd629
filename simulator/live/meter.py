"""Measures what the agents of one process live through, around their journal and transport: the agents know nothing of it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from array import array
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Protocol

from agent.core.batch import Batch
from agent.core.outbox import DropReport, KeepReport, MarkAcknowledged, NumberReport
from agent.runtime.ports import (
    Clock,
    Connection,
    Incoming,
    Journal,
    JournalState,
    Transport,
    TransportLost,
    TransportRefused,
    Will,
)
from agent.wire.events import Report
from agent.wire.topics import Channel

EVENT_SUFFIX: Final = f"/{Channel.EVENT.value}"
STATUS_SUFFIX: Final = f"/{Channel.STATUS.value}"
REASON_LENGTH_MAX: Final = 120
CUT: Final = "cut by a storm"
"""The reason of a connection that was lost because this program cut it."""


class AbortableConnection(Connection, Protocol):
    """A connection that can be cut as a network cuts it."""

    def abort(self) -> None:
        """Cut it without a farewell."""
        ...


class AbortableTransport(Protocol):
    """Opens connections that can be cut."""

    def connect(
        self, client_id: str, will: Will | None
    ) -> AbstractAsyncContextManager[AbortableConnection]:
        """See `Transport.connect`."""
        ...


@dataclass(slots=True)
class ReportTimes:
    """The reports of one device, by number from 1. Times are seconds of this machine's monotonic clock."""

    stream: str = ""
    stage: str = ""
    """As the last report told it."""
    happened_s: array[float] = field(default_factory=lambda: array("d"))
    """When what a report tells happened, as it was due on the device, however late the agent came to it."""
    acknowledged_s: array[float] = field(default_factory=lambda: array("d"))
    """When the agent read the collector's acknowledgement; shorter than the other while some are missing."""
    sent: int = 0
    """Publications of reports, repetitions included."""
    waiting: dict[int, float] = field(default_factory=dict)
    """Reports that have no number yet, by their position in the queue."""


@dataclass(slots=True)
class Storm:
    """One cut of all connections. Times are seconds."""

    at_s: float
    """On the monotonic clock."""
    cut: dict[str, float] = field(default_factory=dict)
    """Devices that are not back yet, with when they were cut."""
    struck: int = 0
    returned_s: list[float] = field(default_factory=list)
    """How long each was away, until it was subscribed again."""


class Meter:
    """The figures of one process. One for all of its devices."""

    def __init__(self) -> None:
        self.reports: dict[str, ReportTimes] = {}
        self.created = 0
        self.acknowledged = 0
        self.messages = 0
        """Everything published, repetitions included."""
        self.statuses = 0
        """Of these, the retained statuses."""
        self.payload_bytes = 0
        self.connects_s = array("d")
        """How long each connection took, until it was subscribed."""
        self.confirms_s = array("d")
        """How long the broker took to confirm each message."""
        self.failures: dict[str, Counter[str]] = {}
        """By kind of failure, how often for which reason."""
        self.storms: list[Storm] = []
        self._open: dict[str, AbortableConnection] = {}

    @property
    def connected(self) -> int:
        """Devices with an open connection."""
        return len(self._open)

    def stage(self, device: str) -> str:
        """How far a device is, as its last report told it."""
        return self.reports[device].stage

    def journal(self, device: str, journal: Journal, clock: Clock, speed: float) -> Journal:
        """The journal of one device, measured; `clock` is the device's own, `speed` times as fast as real time."""
        times = self.reports.setdefault(device, ReportTimes())
        return _MeasuredJournal(self, times, journal, clock, speed)

    def transport(self, device: str, transport: AbortableTransport) -> Transport:
        """The transport of one device, measured."""
        times = self.reports.setdefault(device, ReportTimes())
        return _MeasuredTransport(self, device, times, transport)

    def cut_all(self) -> Storm:
        """Cut every open connection at once, as the loss of a network or of a load balancer does."""
        now_s = time.monotonic()
        storm = Storm(now_s, dict.fromkeys(self._open, now_s), len(self._open))
        self.storms.append(storm)
        for connection in list(self._open.values()):
            connection.abort()
        return storm

    def published(self, topic: str, payload: bytes) -> None:
        """A device has a message on its way."""
        self.messages += 1
        self.statuses += topic.endswith(STATUS_SUFFIX)
        self.payload_bytes += len(payload)

    def failed(self, kind: str, reason: object) -> None:
        """Count something that went wrong."""
        words = str(reason)[:REASON_LENGTH_MAX]
        self.failures.setdefault(kind, Counter())[words] += 1

    def opened(self, device: str, connection: AbortableConnection, took_s: float) -> None:
        """A device is connected and subscribed."""
        self._open[device] = connection
        self.connects_s.append(took_s)
        for storm in self.storms:
            if (cut_s := storm.cut.pop(device, None)) is not None:
                storm.returned_s.append(time.monotonic() - cut_s)

    def closed(self, device: str) -> None:
        """A device's connection is gone."""
        self._open.pop(device, None)

    def lost(self, device: str, reason: object) -> None:
        """A device's connection broke."""
        is_cut = any(device in storm.cut for storm in self.storms)
        self.failed("connection_lost", CUT if is_cut else reason)


class _MeasuredJournal:
    """Sees every report of one device when it is made, numbered and acknowledged."""

    def __init__(
        self, meter: Meter, times: ReportTimes, journal: Journal, clock: Clock, speed: float
    ) -> None:
        self._meter = meter
        self._times = times
        self._journal = journal
        self._clock = clock
        self._speed = speed

    async def load(self, device: str, new_stream: str) -> JournalState:
        """See `Journal.load`."""
        state = await self._journal.load(device, new_stream)
        self._times.stream = state.stream
        return state

    async def commit(self, device: str, batch: Batch) -> None:
        """See `Journal.commit`."""
        if batch.outbox:
            self._look_at(batch)
        await self._journal.commit(device, batch)

    async def fetch(self, device: str, first: int, last: int) -> Sequence[tuple[int, Report]]:
        """See `Journal.fetch`."""
        return await self._journal.fetch(device, first, last)

    def _look_at(self, batch: Batch) -> None:
        now_s, times, meter = time.monotonic(), self._times, self._meter
        for change in batch.outbox:
            if isinstance(change, NumberReport):
                times.happened_s.append(times.waiting.pop(change.position, now_s))
            elif isinstance(change, KeepReport):
                times.stage = change.report.stage.value
                times.waiting[change.position] = now_s - self._behind_s(batch)
                meter.created += 1
            elif isinstance(change, MarkAcknowledged):
                count = min(change.through, len(times.happened_s)) - len(times.acknowledged_s)
                times.acknowledged_s.extend([now_s] * count)
                meter.acknowledged += max(0, count)
            elif isinstance(change, DropReport):
                times.waiting.pop(change.position, None)
                meter.created -= 1

    def _behind_s(self, batch: Batch) -> float:
        """How long ago the input that made these reports was due, in real seconds."""
        if batch.entry is None:
            return 0.0
        return max(0, self._clock.now_ms() - batch.entry.at_ms) / 1000 / self._speed


class _MeasuredTransport:
    """Sees how the connections of one device begin and end."""

    def __init__(
        self, meter: Meter, device: str, times: ReportTimes, transport: AbortableTransport
    ) -> None:
        self._meter = meter
        self._device = device
        self._times = times
        self._transport = transport

    @contextlib.asynccontextmanager
    async def connect(self, client_id: str, will: Will | None) -> AsyncIterator[Connection]:
        """See `Transport.connect`."""
        began_s = time.monotonic()
        measured: _MeasuredConnection | None = None
        try:
            async with self._transport.connect(client_id, will) as connection:
                measured = _MeasuredConnection(
                    self._meter, self._device, self._times, connection, began_s
                )
                yield measured
        except TransportRefused as refusal:
            self._meter.failed("connection_refused", refusal)
            raise
        except TransportLost as loss:
            if measured is None or not measured.is_open:
                self._meter.failed("connection_failed", loss)
            else:
                self._meter.lost(self._device, loss)
            raise
        finally:
            self._meter.closed(self._device)


class _MeasuredConnection:
    """Sees how long the broker takes for each message."""

    def __init__(
        self,
        meter: Meter,
        device: str,
        times: ReportTimes,
        connection: AbortableConnection,
        began_s: float,
    ) -> None:
        self._meter = meter
        self._device = device
        self._times = times
        self._connection = connection
        self._began_s = began_s
        self.is_open = False

    async def subscribe(self, filters: Sequence[str]) -> None:
        """See `Connection.subscribe`."""
        await self._connection.subscribe(filters)
        self.is_open = True
        self._meter.opened(self._device, self._connection, time.monotonic() - self._began_s)

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> asyncio.Future[None]:
        """See `Connection.publish`."""
        self._meter.published(topic, payload)
        if topic.endswith(EVENT_SUFFIX):
            self._times.sent += 1
        began_s = time.monotonic()
        confirmation = self._connection.publish(topic, payload, retain=retain)
        confirmation.add_done_callback(partial(self._confirmed, began_s))
        return confirmation

    def _confirmed(self, began_s: float, confirmation: asyncio.Future[None]) -> None:
        if confirmation.cancelled():
            return
        if (failure := confirmation.exception()) is not None:
            self._meter.failed("message_not_confirmed", failure)
        else:
            self._meter.confirms_s.append(time.monotonic() - began_s)

    def messages(self) -> AsyncIterator[Incoming]:
        """See `Connection.messages`."""
        return self._connection.messages()
