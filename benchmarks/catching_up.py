"""How a fleet's outboxes catch up after an outage when the collector is slower than they are, in simulated time."""

from __future__ import annotations

import argparse
import heapq
import json
import random
import sys
from collections import deque
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Final

from agent.core.outbox import (
    AckArrived,
    DeadlinePassed,
    Event,
    Outbox,
    ReportQueued,
    SendingResumed,
    SendReport,
)
from agent.wire.events import AgentRestarted, Report
from agent.wire.vocabulary import Stage

RATES: Final = (500, 700, 1000, 2000)
STORE: Final = "store"
_BEGAN: Final = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """The fleet that comes back. Times are seconds."""

    agents: int = 1000
    backlog: int = 56
    """What each has to tell: two minutes' worth of 460 reports a second."""
    spread_s: float = 60
    """Over how long they come back."""
    reports_per_s: float = 0.46
    """What each goes on to tell meanwhile."""
    tells_for_s: float = 180
    given_up_after_s: float = 1200


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What one collector saw."""

    stored_per_second: int
    stored: int
    sent: int
    sent_for_each_stored: float
    queue_longest: int
    """The longest queue before the collector, in reports."""
    over_after_s: float | None
    """When everything was stored and acknowledged; None when it was not in the time given."""


class Run:
    """One fleet and one collector, which takes report after report from one queue and answers each at once."""

    def __init__(self, fleet: Fleet, rate: int) -> None:
        self._fleet = fleet
        self._rate = rate
        self._random = random.Random(1)
        self._boxes = [Outbox(f"stream-{n}") for n in range(fleet.agents)]
        self._told = [0] * fleet.agents
        self._stored = [0] * fleet.agents
        self._due: list[tuple[float, int, str]] = []
        self._deadlines: list[int | None] = [None] * fleet.agents
        self._queue: deque[tuple[int, int]] = deque()
        self._sent = 0

    def figures(self) -> Figures:
        """Let the fleet come back."""
        fleet = self._fleet
        for agent in range(fleet.agents):
            for _ in range(fleet.backlog):
                self._tell(agent, 0)
            self._push(self._random.uniform(0, fleet.spread_s) * 1000, agent, "back")
            self._tell_later(agent, 0)
        now_ms = free_ms = 0.0
        longest = 0
        over_s = None
        while now_ms < fleet.given_up_after_s * 1000 and over_s is None:
            if self._queue and (not self._due or max(free_ms, now_ms) <= self._due[0][0]):
                now_ms = max(free_ms, now_ms)
                free_ms = now_ms + 1000 / self._rate
                self._serve(now_ms)
            else:
                now_ms = self._happen(now_ms)
            longest = max(longest, len(self._queue))
            if not self._queue and now_ms > fleet.tells_for_s * 1000 and self._is_over():
                over_s = round(now_ms / 1000, 1)
        stored = sum(self._stored)
        return Figures(
            stored_per_second=self._rate,
            stored=stored,
            sent=self._sent,
            sent_for_each_stored=round(self._sent / stored, 3),
            queue_longest=longest,
            over_after_s=over_s,
        )

    def _serve(self, now_ms: float) -> None:
        agent, seq = self._queue.popleft()
        if seq == self._stored[agent] + 1:
            self._stored[agent] = seq
        self._feed(agent, AckArrived(STORE, self._stored[agent]), now_ms)

    def _happen(self, now_ms: float) -> float:
        at_ms, agent, what = heapq.heappop(self._due)
        now_ms = max(now_ms, at_ms)
        if what == "back":
            self._feed(agent, SendingResumed(), now_ms)
        elif what == "news":
            self._tell(agent, now_ms)
            self._tell_later(agent, now_ms)
        else:
            deadline_ms, self._deadlines[agent] = self._boxes[agent].next_deadline_ms(), None
            if deadline_ms is not None and now_ms >= deadline_ms:
                self._feed(agent, DeadlinePassed(), now_ms)
        return now_ms

    def _tell(self, agent: int, now_ms: float) -> None:
        self._told[agent] += 1
        self._feed(agent, ReportQueued(_report(self._told[agent])), now_ms)

    def _tell_later(self, agent: int, now_ms: float) -> None:
        at_ms = now_ms + self._random.expovariate(self._fleet.reports_per_s) * 1000
        if at_ms < self._fleet.tells_for_s * 1000:
            self._push(at_ms, agent, "news")

    def _feed(self, agent: int, event: Event, now_ms: float) -> None:
        box = self._boxes[agent]
        for effect in box.handle(event, int(now_ms)):
            if isinstance(effect, SendReport):
                self._sent += 1
                self._queue.append((agent, effect.seq))
        deadline_ms = box.next_deadline_ms()
        if deadline_ms is not None and deadline_ms != self._deadlines[agent]:
            self._deadlines[agent] = deadline_ms
            self._push(deadline_ms, agent, "deadline")

    def _push(self, at_ms: float, agent: int, what: str) -> None:
        heapq.heappush(self._due, (at_ms, agent, what))

    def _is_over(self) -> bool:
        return all(box.unacknowledged == 0 for box in self._boxes)


def _report(number: int) -> Report:
    return Report(
        attempt="attempt",
        attempt_ms=number,
        device_time=_BEGAN,
        stage=Stage.INSTALLING_APPS,
        percent=0,
        body=AgentRestarted(planned=False),
    )


def main() -> int:
    """Print a line for each rate of the collector, or one JSON object."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.catching_up", description=__doc__)
    parser.add_argument("--agents", type=int, default=Fleet().agents)
    parser.add_argument(
        "--rates", type=int, nargs="+", default=RATES, help="reports the collector stores a second"
    )
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    fleet = Fleet(agents=options.agents)
    runs = []
    for rate in options.rates:
        figures = Run(fleet, rate).figures()
        runs.append(figures)
        if not options.json:
            over = (
                "not over"
                if figures.over_after_s is None
                else f"over after {figures.over_after_s:.0f} s"
            )
            _say(
                f"{rate:>6,} stored a second: {figures.sent:>9,} sent for {figures.stored:>7,} stored"
                f" ({figures.sent_for_each_stored:.2f}), queue {figures.queue_longest:>7,}, {over}"
            )
    if options.json:
        _say(json.dumps({"fleet": asdict(fleet), "runs": [asdict(run) for run in runs]}))
    return 0


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")


if __name__ == "__main__":
    sys.exit(main())
