"""Figures of a live run: percentiles are measured times, and what failed is counted where it was seen."""

from __future__ import annotations

import io

from rich.console import Console

from simulator.ground_truth import GroundTruth
from simulator.live.collector_counts import failures_between, parsed
from simulator.live.load_figures import LoadFigures, Measured, Spread, StormFigures, figures_of
from simulator.live.load_summary import load_lines
from simulator.live.storms import PlannedStorm, StormKind
from simulator.live.worker_account import (
    DeviceAccount,
    JournalUse,
    StormFelt,
    WorkerFigures,
    WorkerUse,
)

PROCESS = WorkerFigures(
    use=WorkerUse(cpu_s=1.5, peak_kib=100),
    journal=JournalUse(commits=40, transactions=10, syncs=5),
    connects_s=(0.1, 0.2),
    confirms_s=(0.003,),
    failures={"connection_lost": {"cut by a storm": 2}},
    storms=(StormFelt(struck=2, returned_s=(0.5, 1.5)),),
)


def device(name: str, happened: list[float], acknowledged: list[float], sent: int) -> DeviceAccount:
    return DeviceAccount(
        device=name,
        outcome=None,
        crash=None,
        truth=GroundTruth(),
        stream=f"stream of {name}",
        happened_s=tuple(happened),
        acknowledged_s=tuple(acknowledged),
        sent=sent,
    )


def figures() -> LoadFigures:
    measured = Measured(
        processes=[PROCESS, PROCESS],
        devices=[
            device("a", [10.0, 10.5, 11.0], [10.1, 16.0], 5),
            device("b", [12.0], [12.2], 1),
        ],
        stored_s={("stream of a", 1): 10.05, ("stream of a", 2): 10.6, ("stream of b", 1): 12.1},
    )
    storm = StormFigures(PlannedStorm(StormKind.RECONNECT, 9), 4, 4, Spread.of([0.5, 1.5]))
    return figures_of(measured, workers=2, ramp_per_s=50, storms=[storm])


def test_percentiles_are_measured_times_in_milliseconds() -> None:
    spread = Spread.of([0.004, 0.001, 0.003, 0.002])
    assert spread == Spread(count=4, p50=2.0, p90=4.0, p99=4.0, max=4.0)
    assert Spread.of([]) is None


def test_latency_begins_with_the_event_and_ends_in_the_store_or_with_the_acknowledgement() -> None:
    found = figures()
    assert found.to_stored == Spread(3, 100.0, 100.0, 100.0, 100.0)
    assert found.to_acknowledged is not None
    assert (found.to_acknowledged.count, found.to_acknowledged.max) == (3, 5500.0)


def test_what_failed_is_told_by_kind_and_reason() -> None:
    """Two processes' cuts, two reports sent again, one acknowledged late, one not at all."""
    failures = figures().failures
    assert failures["connection_lost"] == {"cut by a storm": 4}
    assert sum(failures["published_again"].values()) == 2
    assert sum(failures["acknowledged_late"].values()) == 1
    assert sum(failures["not_acknowledged"].values()) == 1


def test_rates_and_journals_are_of_the_time_in_which_something_happened() -> None:
    found = figures()
    assert found.events_per_s == 2.0
    assert found.events_per_s_peak == 2
    assert found.journal == {
        "commits_per_second": 40.0,
        "transactions_per_second": 10.0,
        "syncs_per_second": 5.0,
        "batch": 4.0,
    }
    assert (found.agents_cpu_s, found.agents_peak_kib) == (3.0, 200)


def test_a_person_reads_the_storm_and_the_reasons() -> None:
    out = io.StringIO()
    console = Console(file=out, width=100)
    for line in load_lines(figures()):
        console.print(line)
    said = out.getvalue()
    assert "reconnect at 9 s: 4 devices, 4 back" in said
    assert "4 cut by a storm" in said
    assert "from an event to the store" in said


def test_the_collector_s_own_counters_are_taken_as_a_difference() -> None:
    before = parsed('esp_collector_reports_total{decision="duplicate"} 3.0\n')
    after = parsed(
        "# HELP esp_collector_reports_total x\\n"
        'esp_collector_reports_total{decision="accepted"} 90.0\n'
        'esp_collector_reports_total{decision="duplicate"} 5.0\n'
        'esp_collector_refused_payloads_total{reason="oversized"} 1.0\n'
        "esp_collector_store_failures_total 2.0\n"
    )
    found = failures_between(before, after)
    assert found["seen_by_collector"]["arrived_again"] == 2
    assert found["seen_by_collector"]["commits that the database refused"] == 2
    assert found["refused_by_collector"] == {"oversized": 1}
    assert "accepted" not in str(found)
