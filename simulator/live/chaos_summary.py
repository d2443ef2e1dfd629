"""The end of a chaos run: what struck, how long each kind was felt, and the four figures that have to be zero."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from simulator.live.chaos_faults import Fault, FaultKind
from simulator.live.chaos_outage import Herd
from simulator.live.chaos_recovery import Felt
from simulator.live.summary import Summary, print_summary

BUCKET_S: Final = 5
BAR_MAX: Final = 30


@dataclass(frozen=True, slots=True)
class Times:
    """How long something took, in seconds; None of nothing."""

    p50: float | None
    p90: float | None
    max: float | None

    @classmethod
    def of(cls, values: Sequence[float]) -> Times:
        """The smallest value that so many per cent do not exceed."""
        if not values:
            return cls(None, None, None)
        ordered = sorted(values)
        return cls(_quantile(ordered, 50), _quantile(ordered, 90), ordered[-1])

    def as_json(self) -> dict[str, float | None]:
        """The three, to a hundredth."""
        return {
            name: None if value is None else round(value, 2)
            for name, value in (("p50", self.p50), ("p90", self.p90), ("max", self.max))
        }


def _quantile(ordered: Sequence[float], percent: int) -> float:
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]


@dataclass(frozen=True, slots=True)
class ChaosSummary:
    """All that is known at the end."""

    audit: Summary
    felt: Sequence[Felt]
    planned: int
    missed: Sequence[tuple[Fault, str]]
    """Faults that struck nobody, and why."""
    problems: Sequence[str]
    """What broke that should not, one sentence each."""
    herd: Herd | None
    settled_s: float | None
    """How long everyone took to finish after the last fault; None when not everyone did in time."""
    bound_s: float

    @property
    def unrecovered(self) -> list[Felt]:
        """Faults after which an agent was never heard of again."""
        return [felt for felt in self.felt if felt.waiting]

    @property
    def is_good(self) -> bool:
        """True when the audit found nothing, everyone recovered and finished in time, and nothing broke."""
        return (
            self.audit.is_good
            and not self.problems
            and not self.unrecovered
            and self.settled_s is not None
        )

    def recovery(self, kind: FaultKind | None = None) -> Times:
        """Of one kind, or of all."""
        times = (felt.recovery_s for felt in self._of(kind))
        return Times.of([seconds for seconds in times if seconds is not None])

    def _of(self, kind: FaultKind | None) -> list[Felt]:
        return [felt for felt in self.felt if kind in (None, felt.fault.kind)]

    def as_json(self) -> dict[str, Any]:
        """What `esp-sim chaos --json` prints: the figures of `esp-sim run`, and those of the faults."""
        return {
            **self.audit.as_json(),
            "faults": len(self.felt),
            "faults_planned": self.planned,
            "faults_missed": len(self.missed),
            "unrecovered": len(self.unrecovered),
            "problems": [*self.problems, *self.audit.problems],
            "settled_s": None if self.settled_s is None else round(self.settled_s, 1),
            "settle_bound_s": round(self.bound_s, 1),
            "recovery_s": self.recovery().as_json(),
            "by_kind": {kind.value: self._kind_as_json(kind) for kind in self._kinds()},
            "fault_log": [_felt_as_json(felt) for felt in self._in_order()],
            "outage": None if self.herd is None else _herd_as_json(self.herd),
        }

    def _in_order(self) -> list[Felt]:
        return sorted(self.felt, key=lambda felt: felt.began_s)

    def _kinds(self) -> list[FaultKind]:
        return [kind for kind in FaultKind if self._of(kind)]

    def _kind_as_json(self, kind: FaultKind) -> dict[str, Any]:
        felt = self._of(kind)
        return {
            "faults": len(felt),
            "agents": sum(one.agents for one in felt),
            "quiet": sum(one.quiet for one in felt),
            "measured": sum(one.recovery_s is not None for one in felt),
            "recovery_s": self.recovery(kind).as_json(),
        }


def _felt_as_json(felt: Felt) -> dict[str, Any]:
    return {
        "number": felt.fault.number,
        "kind": felt.fault.kind.value,
        "whom": felt.whom,
        "at_s": round(felt.began_s, 2),
        "lasted_s": round(felt.ended_s - felt.began_s, 2),
        "agents": felt.agents,
        "quiet": felt.quiet,
        "waiting": sorted(felt.waiting),
        "recovery_s": None if felt.recovery_s is None else round(felt.recovery_s, 2),
        "note": felt.note,
    }


def _herd_as_json(herd: Herd) -> dict[str, Any]:
    return {
        "agents": herd.agents,
        "away_s": round(herd.away_s, 1),
        "window_s": round(herd.window_s, 1),
        "connection_attempts_meanwhile": herd.attempts_meanwhile,
        "reports_per_second_before": round(herd.reports_before, 1),
        "reports_per_second_meanwhile": round(herd.reports_meanwhile, 1),
        "connection_attempts_per_second": list(herd.attempts),
        "reports_per_second": list(herd.reports),
        "states_per_second": list(herd.states),
        "agents_returned_per_second": list(herd.returned),
    }


def print_chaos(summary: ChaosSummary, console: Console) -> None:
    """For a person: the faults by kind, the return after an outage, and the summary of the audit."""
    if summary.felt or summary.planned:
        console.print(_faults(summary))
        console.print()
    if summary.herd is not None:
        console.print(_return(summary.herd))
        console.print()
    print_summary(summary.audit, console)
    for line in _verdicts(summary):
        console.print(line)


def _faults(summary: ChaosSummary) -> Table:
    table = Table(
        title="Faults, and the seconds until everyone struck was heard again",
        title_justify="left",
        box=None,
        padding=(0, 1, 0, 0),
    )
    table.add_column("", no_wrap=True)
    for heading in ("Faults", "Agents", "p50", "p90", "Max"):
        table.add_column(heading, justify="right", no_wrap=True)
    for kind in FaultKind:
        felt = [one for one in summary.felt if one.fault.kind is kind]
        if felt:
            table.add_row(kind.words, *_cells(felt, summary.recovery(kind)))
    table.add_row("all", *_cells(summary.felt, summary.recovery()), style="bold")
    return table


def _cells(felt: Sequence[Felt], times: Times) -> Iterator[str]:
    yield str(len(felt))
    yield str(sum(one.agents for one in felt))
    for value in (times.p50, times.p90, times.max):
        yield "-" if value is None else f"{value:.1f}"


def _return(herd: Herd) -> Table:
    table = Table(
        title=(
            f"{herd.agents} agents were enrolling; the collector was away for {herd.away_s:.0f} s "
            f"and they return within {herd.window_s:.0f} s.\n"
            f"Reports a second: {herd.reports_before:.0f} before, {herd.reports_meanwhile:.0f} while it was away; "
            f"{herd.attempts_meanwhile} connection attempts meanwhile"
        ),
        title_justify="left",
        box=None,
        padding=(0, 1, 0, 0),
    )
    for heading in ("Seconds\nafter", "Connection\nattempts/s", "Agents\nreturned/s", "Reports/s"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    most = max(herd.reports, default=0) or 1
    for first in range(0, len(herd.reports), BUCKET_S):
        of = slice(first, first + BUCKET_S)
        reports = _mean(herd.reports[of])
        table.add_row(
            f"{first}–{first + len(herd.reports[of])}",
            *(f"{_mean(counted[of]):.1f}" for counted in (herd.attempts, herd.returned)),
            f"{reports:.0f}",
            "█" * round(BAR_MAX * reports / most),
        )
    return table


def _mean(counts: Sequence[int]) -> float:
    return sum(counts) / max(1, len(counts))


def _verdicts(summary: ChaosSummary) -> Iterator[Text]:
    if summary.missed:
        yield Text(f"{len(summary.missed)} of {summary.planned} faults struck nobody:", "yellow")
        reasons = sorted({reason for _, reason in summary.missed})
        for reason in reasons:
            count = sum(why == reason for _, why in summary.missed)
            yield Text(f"  {count} times {reason}", "yellow")
    for felt in summary.unrecovered:
        yield Text(
            f"after fault {felt.fault.number} ({felt.fault.kind.words} of {felt.whom}) nothing newer was stored of "
            f"{', '.join(sorted(felt.waiting))}",
            "bold red",
        )
    for problem in summary.problems:
        yield Text(problem, "bold red")
    if summary.settled_s is None:
        yield Text(
            f"not everyone finished within {summary.bound_s:.0f} s of the last fault", "bold red"
        )
    else:
        yield Text(
            f"everyone finished {summary.settled_s:.0f} s after the last fault; {summary.bound_s:.0f} s were allowed"
        )
