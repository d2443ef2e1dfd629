"""Thousands of devices in one process, for `benchmarks.ingest`: real reports and windows of 32 on bare MQTT 3.1.1.

Run as `python -m benchmarks.ingest_load PLAN`, PLAN being a JSON object with the fields of `Plan`. Prints one JSON
object when everything that was sent is acknowledged, or nothing moved for two minutes.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import resource
import sys
import time
from array import array
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Final

import uvloop

from agent.wire.codec import encode
from agent.wire.events import (
    AttemptEnded,
    AttemptStarted,
    Body,
    ItemAdvanced,
    ItemChanged,
    PhaseChanged,
    Report,
)
from agent.wire.topics import PARTITIONS, Channel, device_topic
from agent.wire.vocabulary import (
    EndState,
    EnrollmentType,
    ItemKind,
    ItemState,
    Phase,
    RowState,
    Stage,
)
from benchmarks.ingest_connection import Connection

WINDOW: Final = 32
TICK_S: Final = 0.002
PATIENCE_S: Final = 60.0
"""After so long without an acknowledgement a stream sends again from there."""
SETTLE_S: Final = 120.0
ATTEMPT: Final = "attempt-of-this-device"
USER: Final = "user-of-this-device"


@dataclass(frozen=True, slots=True)
class Plan:
    """What to send. `per_second` 0 sends as fast as the windows allow."""

    port: int
    tenant: str
    streams: int
    per_second: float
    seconds: float
    seed: int = 1


def bodies() -> Iterator[tuple[Body, Stage, int]]:
    """One enrollment as an agent reports it: 68 reports."""
    yield (
        AttemptStarted(
            enrollment_type=EnrollmentType.WINDOWS_AUTOPILOT,
            platform="Windows 11 Pro",
            os_version="10.0.22631",
            user=USER,
            model="Latitude 5540",
            serial="8XK2Z73",
            agent_version="0.1.0",
        ),
        Stage.WAITING_FOR_ASSIGNMENT,
        0,
    )
    yield _phase(Phase.DEVICE_PREPARATION, RowState.IN_PROGRESS), Stage.DEVICE_SETUP, 2
    yield _phase(Phase.DEVICE_PREPARATION, RowState.SUCCEEDED), Stage.DEVICE_SETUP, 8
    yield _phase(Phase.DEVICE_SETUP, RowState.IN_PROGRESS), Stage.DEVICE_SETUP, 8
    for number in range(12):
        percent = 8 + number * 7
        for state in (ItemState.DOWNLOADING, ItemState.INSTALLING, ItemState.DONE):
            yield _item(number, state), Stage.INSTALLING_APPS, percent
            if state is not ItemState.DONE:
                advanced = ItemAdvanced(item=f"application-{number}", item_percent=50)
                yield advanced, Stage.INSTALLING_APPS, percent + 2
    yield _phase(Phase.DEVICE_SETUP, RowState.SUCCEEDED), Stage.ACCOUNT_SETUP, 95
    yield _phase(Phase.ACCOUNT_SETUP, RowState.IN_PROGRESS), Stage.ACCOUNT_SETUP, 95
    yield _phase(Phase.ACCOUNT_SETUP, RowState.SUCCEEDED), Stage.ACCOUNT_SETUP, 99
    yield AttemptEnded(end_state=EndState.SUCCEEDED), Stage.FINISHED, 100


def _phase(phase: Phase, state: RowState) -> PhaseChanged:
    return PhaseChanged(phase=phase, state=state)


def _item(number: int, state: ItemState) -> ItemChanged:
    return ItemChanged(
        item=f"application-{number}",
        name=f"Business Application {number}",
        item_kind=ItemKind.APP,
        phase=Phase.DEVICE_SETUP,
        row="apps",
        blocking=number % 2 == 0,
        state=state,
        attempt=1,
        attempts_max=3,
    )


@dataclass(frozen=True, slots=True)
class Written:
    """One report as it is sent, and as it is fingerprinted (docs/protocol.md)."""

    sent: bytes
    content: bytes


def written() -> list[Written]:
    """All reports of one enrollment, the attempt and the user still to be named."""
    found = []
    for number, (body, stage, percent) in enumerate(bodies()):
        report = Report(
            attempt=ATTEMPT,
            attempt_ms=number * 40_000,
            device_time=datetime(2026, 1, 5, 8, 0, 0, tzinfo=UTC),
            stage=stage,
            percent=percent,
            body=body,
        )
        content = json.dumps(report.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        found.append(Written(encode(report), content.encode()))
    return found


class Stream:
    """One device: its numbers, its window, and what it still has to send."""

    __slots__ = (
        "begins_at", "connection", "digest", "due", "head", "moved_s", "name", "number", "reports",
        "seq", "stored", "topic", "window",
    )  # fmt: skip

    def __init__(self, name: str, tenant: str, connection: Connection, begins_at: int) -> None:
        self.name = name
        self.begins_at = begins_at
        self.connection = connection
        address = device_topic(tenant, name, Channel.EVENT)
        self.topic = str(address).encode()
        self.head = f'{{"schema":"esp.event/1","device":"{name}","stream":"stream-of-{name}","seq":'
        self.seq = 0
        self.stored = 0
        self.digest = ""
        self.number = 0
        self.reports: list[Written] = []
        self.window: deque[tuple[int, bytes, float, float]] = deque()
        """Number, payload, when it was due and when it was sent first."""
        self.due: deque[float] = deque()
        self.moved_s = 0.0

    def next_payload(self, templates: list[Written]) -> bytes:
        """The next report, numbered and chained."""
        # Everybody is somewhere else in an enrollment, as in a fleet that has run for a while.
        index = (self.seq + self.begins_at) % len(templates)
        if index == 0 or not self.reports:
            self.number += 1
            attempt = f"{self.name}-{self.number}".encode()
            user = f"{self.name.lower()}@company.com".encode()
            self.reports = [
                Written(*(_named(part, attempt, user) for part in (t.sent, t.content)))
                for t in templates
            ]
        report = self.reports[index]
        self.seq += 1
        after = f',"after":"{self.digest}"' if self.digest else ""
        head = f'{self.head}{self.seq},"oldest_held":{self.stored + 1}{after},"session":1,"report":'
        told = b"\n".join(
            part
            for part in (
                f"stream-of-{self.name}\n{self.seq}".encode(),
                report.content,
                self.digest.encode(),
            )
            if part
        )
        self.digest = hashlib.sha256(told).hexdigest()
        return head.encode() + report.sent + b"}"


def _named(text: bytes, attempt: bytes, user: bytes) -> bytes:
    return text.replace(ATTEMPT.encode(), attempt).replace(USER.encode(), user)


class Load:
    """All devices and what became of their reports."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.is_over = False
        self.broken: list[str] = []
        self.created = 0
        self.acked = 0
        self.again = 0
        self.waited = 0
        """Reports that did not fit into their device's window when they were due."""
        self.from_due_ms = array("d")
        self.from_sent_ms = array("d")
        self._templates = written()
        self._streams: list[Stream] = []
        self._by_topic: dict[bytes, Stream] = {}
        self._connections: list[Connection] = []
        self._moved_s = 0.0

    async def run(self) -> dict[str, Any]:
        """Send everything and wait until it is acknowledged."""
        await self._connect()
        begun_s = self._moved_s = time.monotonic()
        await self._send(begun_s)
        sent_s = time.monotonic()
        while self.acked < self.created and time.monotonic() - self._moved_s < SETTLE_S:
            self._look_after(time.monotonic())
            await asyncio.sleep(0.05)
        self.is_over = True
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return {
            "created": self.created,
            "acknowledged": self.acked,
            "sent_again": self.again,
            "waited_for_window": self.waited,
            "send_seconds": sent_s - begun_s,
            "seconds": time.monotonic() - begun_s,
            "from_due_ms": _spread(self.from_due_ms),
            "from_sent_ms": _spread(self.from_sent_ms),
            "load_cpu_seconds": usage.ru_utime + usage.ru_stime,
            "broken_connections": self.broken,
            "last_seq": {f"stream-of-{s.name}": s.seq for s in self._streams},
        }

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        by_partition = {}
        for partition in PARTITIONS:
            topics = f"esp/1/{self.plan.tenant}/{partition}/+/ack"

            def make(partition: str = partition, topics: str = topics) -> Connection:
                return Connection(f"load-{partition}", topics, self.acknowledged, self._ended)

            _, connection = await loop.create_connection(make, "127.0.0.1", self.plan.port)
            await asyncio.wait_for(connection.subscribed, 30)
            by_partition[partition] = connection
        self._connections = list(by_partition.values())
        for number in range(self.plan.streams):
            name = f"LOAD-{self.plan.seed}-{number:05d}"
            address = device_topic(self.plan.tenant, name, Channel.EVENT)
            begins_at = number * 7 % len(self._templates)
            connection = by_partition[address.partition]
            stream = Stream(name, self.plan.tenant, connection, begins_at)
            self._streams.append(stream)
            self._by_topic[str(device_topic(self.plan.tenant, name, Channel.ACK)).encode()] = stream

    async def _send(self, begun_s: float) -> None:
        if self.plan.per_second == 0:
            await self._send_all_the_time(begun_s)
            return
        order = list(self._streams)
        chance = random.Random(self.plan.seed)
        total = round(self.plan.per_second * self.plan.seconds)
        number = 0
        while number < total and not self.broken:
            now_s = time.monotonic()
            until = min(total, int((now_s - begun_s) * self.plan.per_second))
            for due in range(number, until):
                if due % len(order) == 0:
                    chance.shuffle(order)
                self._due(order[due % len(order)], begun_s + due / self.plan.per_second, now_s)
            number = max(number, until)
            self._flush()
            self._look_after(now_s)
            await asyncio.sleep(TICK_S)

    async def _send_all_the_time(self, begun_s: float) -> None:
        for stream in self._streams:
            for _ in range(WINDOW):
                now_s = time.monotonic()
                self._due(stream, now_s, now_s)
        while (now_s := time.monotonic()) - begun_s < self.plan.seconds and not self.broken:
            for stream in self._streams:
                while len(stream.window) < WINDOW:
                    self._due(stream, now_s, now_s)
            self._flush()
            self._look_after(now_s)
            await asyncio.sleep(TICK_S)

    def _due(self, stream: Stream, due_s: float, now_s: float) -> None:
        self.created += 1
        if len(stream.window) >= WINDOW:
            self.waited += 1
            stream.due.append(due_s)
        else:
            self._publish(stream, due_s, now_s)

    def _publish(self, stream: Stream, due_s: float, now_s: float) -> None:
        if not stream.window:
            stream.moved_s = now_s
        payload = stream.next_payload(self._templates)
        stream.window.append((stream.seq, payload, due_s, now_s))
        stream.connection.publish(stream.topic, payload)

    def _ended(self, error: Exception | None) -> None:
        """The broker is not supposed to do this."""
        if not self.is_over:
            self.broken.append(str(error))

    def acknowledged(self, topic: bytes, payload: bytes) -> None:
        """The collector says how far a stream is stored."""
        stream = self._by_topic.get(topic)
        if stream is None or not payload:
            return
        stored = json.loads(payload)["stored_seq"]
        now_s = time.monotonic()
        if stored <= stream.stored:
            return
        stream.stored = stored
        stream.moved_s = self._moved_s = now_s
        while stream.window and stream.window[0][0] <= stored:
            _, _, due_s, sent_s = stream.window.popleft()
            self.from_due_ms.append((now_s - due_s) * 1000)
            self.from_sent_ms.append((now_s - sent_s) * 1000)
            self.acked += 1
            if stream.due:
                self._publish(stream, stream.due.popleft(), now_s)

    def _look_after(self, now_s: float) -> None:
        """Send again what nobody acknowledges."""
        for stream in self._streams:
            if stream.window and now_s - stream.moved_s > PATIENCE_S:
                stream.moved_s = now_s
                for _, payload, _, _ in stream.window:
                    self.again += 1
                    stream.connection.publish(stream.topic, payload)
        self._flush()

    def _flush(self) -> None:
        for connection in self._connections:
            connection.flush()


def _spread(values: array[float]) -> dict[str, float]:
    ordered = sorted(values)
    if not ordered:
        return {}
    return {
        **{
            f"p{p}": round(ordered[min(len(ordered) - 1, len(ordered) * p // 100)], 1)
            for p in (50, 90, 99)
        },
        "max": round(ordered[-1], 1),
    }


def main() -> None:
    """The program."""
    plan = Plan(**json.loads(sys.argv[1]))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        found = runner.run(Load(plan).run())
    print(json.dumps({"plan": asdict(plan), **found}))


if __name__ == "__main__":
    main()
