"""What a live run did to broker and collector, in figures: how long everything took, and everything that failed, by reason."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from agent.core.outbox import OutboxLimits
from simulator.live.storms import PlannedStorm
from simulator.live.worker_account import DeviceAccount, WorkerFigures

LATE_S: Final = OutboxLimits().patience.late_ms / 1000
"""An agent that waits longer than this for an acknowledgement sends its reports again."""
PERCENTS: Final = (50, 90, 99)


@dataclass(frozen=True, slots=True)
class Spread:
    """A set of times, in real milliseconds; each percentile is one of the measured times."""

    count: int
    p50: float
    p90: float
    p99: float
    max: float

    @classmethod
    def of(cls, seconds: Iterable[float]) -> Spread | None:
        """None when nothing was measured."""
        ordered = sorted(seconds)
        if not ordered:
            return None
        ranks = (math.ceil(len(ordered) * p / 100) - 1 for p in PERCENTS)
        p50, p90, p99 = (round(ordered[rank] * 1000, 3) for rank in ranks)
        return cls(len(ordered), p50, p90, p99, round(ordered[-1] * 1000, 3))

    def as_json(self) -> dict[str, Any]:
        """As `--json` prints it."""
        return {
            "count": self.count,
            "p50": self.p50,
            "p90": self.p90,
            "p99": self.p99,
            "max": self.max,
        }


@dataclass(frozen=True, slots=True)
class StormFigures:
    """One storm. Times are real."""

    storm: PlannedStorm
    struck: int
    """Devices that were connected, or, for a start, that were switched on by it."""
    back: int
    away_ms: Spread | None
    """From the cut until a device was subscribed again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadFigures:
    """The figures of a run beyond its audit. Times are real."""

    workers: int
    ramp_per_s: float
    events_per_s: float
    """Reports that happened a second, from the first to the last."""
    events_per_s_peak: int
    """In the busiest second."""
    to_stored: Spread | None
    """From what happened on the device until the report was seen in the store; None where that can't be looked at."""
    to_acknowledged: Spread | None
    """From what happened on the device until its agent had read that it is stored."""
    connect: Spread | None
    confirm: Spread | None
    """From a message's way to the broker until its word on it."""
    storms: Sequence[StormFigures]
    failures: Mapping[str, Mapping[str, int]]
    journal: Mapping[str, float]
    """What the agents' journals did: `commits_per_second`, `transactions_per_second`, `syncs_per_second`, and `batch`, the commits of a transaction."""
    agents_cpu_s: float
    """Processor time of all processes of agents, from their start to their end."""
    agents_peak_kib: int | None
    """The most memory that they held, added up."""

    def as_json(self) -> dict[str, Any]:
        """Additional fields of `esp-sim run --json`."""

        def spread(of: Spread | None) -> dict[str, Any] | None:
            return None if of is None else of.as_json()

        return {
            "workers": self.workers,
            "ramp_per_second": round(self.ramp_per_s, 3),
            "events_per_second": round(self.events_per_s, 1),
            "events_per_second_peak": self.events_per_s_peak,
            "latency_ms": {
                "stored": spread(self.to_stored),
                "acknowledged": spread(self.to_acknowledged),
                "connected": spread(self.connect),
                "confirmed": spread(self.confirm),
            },
            "storms": [
                {
                    "kind": one.storm.kind.value,
                    "at_s": one.storm.at_s,
                    "struck": one.struck,
                    "back": one.back,
                    "away_ms": spread(one.away_ms),
                }
                for one in self.storms
            ],
            "failures": {kind: dict(reasons) for kind, reasons in self.failures.items()},
            "journal": dict(self.journal),
            "agents_cpu_seconds": round(self.agents_cpu_s, 3),
            "agents_peak_kib": self.agents_peak_kib,
        }


@dataclass(slots=True)
class Measured:
    """What was measured of a run, from which the figures are made."""

    processes: list[WorkerFigures] = field(default_factory=list)
    devices: list[DeviceAccount] = field(default_factory=list)
    stored_s: Mapping[tuple[str, int], float] | None = None
    """When each report, by stream and number, was seen in the store; None where nobody could look."""
    failures: dict[str, Counter[str]] = field(default_factory=dict)
    """What others than the agents counted."""


def figures_of(
    measured: Measured,
    *,
    workers: int,
    ramp_per_s: float,
    storms: Sequence[StormFigures],
) -> LoadFigures:
    """The figures."""
    devices, processes = measured.devices, measured.processes
    happened = sorted(s for device in devices for s in device.happened_s)
    seconds = Counter(int(at_s - happened[0]) for at_s in happened)
    lasted_s = max(1.0, happened[-1] - happened[0]) if happened else 1.0
    acknowledged = [
        done - at
        for device in devices
        for at, done in zip(device.happened_s, device.acknowledged_s, strict=False)
    ]
    peaks = [p.use.peak_kib for p in processes if p.use.peak_kib is not None]
    return LoadFigures(
        workers=workers,
        ramp_per_s=ramp_per_s,
        events_per_s=len(happened) / lasted_s,
        events_per_s_peak=max(seconds.values(), default=0),
        to_stored=_to_stored(measured),
        to_acknowledged=Spread.of(acknowledged),
        connect=Spread.of(s for process in processes for s in process.connects_s),
        confirm=Spread.of(s for process in processes for s in process.confirms_s),
        storms=storms,
        failures=_failures(measured, acknowledged),
        journal=_journal(processes, lasted_s),
        agents_cpu_s=sum(process.use.cpu_s for process in processes),
        agents_peak_kib=sum(peaks) if peaks else None,
    )


def _journal(processes: Sequence[WorkerFigures], seconds: float) -> dict[str, float]:
    commits = sum(process.journal.commits for process in processes)
    transactions = sum(process.journal.transactions for process in processes)
    syncs = sum(process.journal.syncs for process in processes)
    return {
        "commits_per_second": round(commits / seconds, 1),
        "transactions_per_second": round(transactions / seconds, 1),
        "syncs_per_second": round(syncs / seconds, 1),
        "batch": round(commits / max(1, transactions), 2),
    }


def _to_stored(measured: Measured) -> Spread | None:
    if measured.stored_s is None:
        return None
    return Spread.of(
        stored - at
        for device in measured.devices
        for seq, at in enumerate(device.happened_s, 1)
        if (stored := measured.stored_s.get((device.stream, seq))) is not None
    )


def _failures(measured: Measured, acknowledged_s: Sequence[float]) -> dict[str, dict[str, int]]:
    """By kind and reason; a kind that did not happen is not there."""
    found: dict[str, Counter[str]] = {}
    for process in measured.processes:
        for kind, reasons in process.failures.items():
            found.setdefault(kind, Counter()).update(reasons)
    for kind, counted in measured.failures.items():
        found.setdefault(kind, Counter()).update(counted)
    again = sum(max(0, device.sent - len(device.happened_s)) for device in measured.devices)
    late = sum(took > LATE_S for took in acknowledged_s)
    waiting = sum(len(d.happened_s) - len(d.acknowledged_s) for d in measured.devices)
    for kind, reason, count in (
        ("published_again", "no acknowledgement came, or a connection began anew", again),
        ("acknowledged_late", f"later than {LATE_S:.0f} s", late),
        ("not_acknowledged", "when the run ended", waiting),
    ):
        if count:
            found.setdefault(kind, Counter())[reason] += count
    return {kind: dict(found[kind].most_common()) for kind in sorted(found)}
