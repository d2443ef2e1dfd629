"""The end of a chaos run: when it is good, and what it says."""

from __future__ import annotations

import dataclasses
import io
from typing import Any

import pytest
from rich.console import Console

from agent.wire.vocabulary import EndState, EnrollmentType
from simulator.live.chaos_faults import Fault, FaultKind
from simulator.live.chaos_outage import Herd
from simulator.live.chaos_recovery import Felt, Known, Standing
from simulator.live.chaos_summary import ChaosSummary, Times, print_chaos
from simulator.live.summary import DeviceEnd, Summary

AUDIT = Summary(
    ends=[DeviceEnd("D1", EnrollmentType.IOS, EndState.SUCCEEDED, True)],
    created=7,
    stored=7,
    lost=(),
    stored_twice=(),
    violations=(),
    seconds=9.0,
)


def felt(kind: FaultKind, recovered_s: float | None, **changes: Any) -> Felt:
    fault = Fault(1, kind, 1.0, 0.0, 0.0)
    return Felt(fault, "worker-1", 1.0, 2.0, 4, recovered_s=recovered_s, **changes)


GOOD = ChaosSummary(
    audit=AUDIT,
    felt=[felt(FaultKind.AGENTS_KILLED, 3.0), felt(FaultKind.BROKER_KILLED, 12.0)],
    planned=2,
    missed=(),
    problems=(),
    herd=None,
    settled_s=4.0,
    bound_s=60.0,
)
LOST = dataclasses.replace(AUDIT, lost=("D1 stream s number 3",))
WAITING = felt(FaultKind.AGENTS_KILLED, None, waiting={"D9": (Standing(), Known())})


def shown(summary: ChaosSummary) -> str:
    console = Console(file=io.StringIO(), width=100)
    print_chaos(summary, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_quantiles_are_times_that_were_measured() -> None:
    assert Times.of([]) == Times(None, None, None)
    assert Times.of([5.0]) == Times(5.0, 5.0, 5.0)
    assert Times.of([float(n) for n in range(1, 11)]) == Times(5.0, 9.0, 10.0)


def test_a_good_run_has_four_zeros_and_every_kind_s_recovery() -> None:
    assert GOOD.is_good
    figures = GOOD.as_json()
    assert figures["events_lost"] == figures["events_stored_twice"] == 0
    assert figures["faults"] == 2
    assert figures["by_kind"]["agents_killed"]["recovery_s"] == {"p50": 1.0, "p90": 1.0, "max": 1.0}
    assert figures["recovery_s"]["max"] == 10.0
    text = shown(GOOD)
    assert "broker killed" in text
    assert "everyone finished 4 s after the last fault; 60 s were allowed" in text


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"audit": LOST}, "D1 stream s number 3"),
        ({"problems": ["worker-1 ended with exit code 1"]}, "worker-1 ended with exit code 1"),
        ({"felt": [WAITING]}, "nothing newer was stored of D9"),
        ({"settled_s": None}, "not everyone finished within 60 s"),
    ],
)
def test_anything_wrong_makes_it_bad_and_is_said(change: dict[str, Any], says: str) -> None:
    bad = dataclasses.replace(GOOD, **change)
    assert not bad.is_good
    assert says in " ".join(shown(bad).split())


def test_faults_that_struck_nobody_are_told_and_not_counted() -> None:
    fault = Fault(2, FaultKind.DISK_FULL, 1.0, 0.0, 0.0)
    summary = dataclasses.replace(GOOD, planned=3, missed=[(fault, "no agent was enrolling")])
    assert summary.as_json()["faults_missed"] == 1
    assert "1 of 3 faults struck nobody" in shown(summary)


def test_a_return_is_shown_against_its_window() -> None:
    herd = Herd(
        1_000, 0, 10, 70,
        attempts=(0,) * 10, reports=(100,) * 5 + (50,) * 5, states=(1,) * 10, returned=(17,) * 10,
    )  # fmt: skip
    summary = dataclasses.replace(GOOD, felt=[], planned=0, herd=herd)
    text = shown(summary)
    assert "away for 60 s and they return within 60 s" in " ".join(text.split())
    assert "17.0" in text
    assert summary.as_json()["outage"]["agents_returned_per_second"] == [17] * 10
