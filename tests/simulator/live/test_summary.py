from __future__ import annotations

import dataclasses
import io
import json
from typing import Any

import pytest
import typer
from rich.console import Console

from agent.wire.vocabulary import EndState, EnrollmentType
from simulator.live.delivery_audit import ReportKey, compare
from simulator.live.run_command import conclude
from simulator.live.summary import DeviceEnd, Summary, print_summary

GOOD = Summary(
    ends=[
        DeviceEnd("D1", EnrollmentType.IOS, EndState.SUCCEEDED, True),
        DeviceEnd("D2", EnrollmentType.WINDOWS_AUTOPILOT, EndState.FAILED, True),
    ],
    created=7,
    stored=7,
    lost=(),
    stored_twice=(),
    violations=(),
    seconds=1.25,
)
UNFINISHED = DeviceEnd("D3", EnrollmentType.IOS, None, False)


def report(seq: int, digest: str = "d") -> ReportKey:
    return ReportKey("D1", "s1", seq, digest)


def test_what_is_stored_as_created_is_neither_lost_nor_stored_twice() -> None:
    delivery = compare([report(1), report(2)], [report(2), report(1)])
    assert (delivery.created, delivery.stored) == (2, 2)
    assert (delivery.lost, delivery.stored_twice) == ((), ())


def test_a_report_that_is_not_stored_is_lost() -> None:
    assert compare([report(1), report(2)], [report(1)]).lost == ("D1 stream s1 number 2",)


def test_what_a_journal_has_forgotten_is_stored_and_neither_lost_nor_stored_twice() -> None:
    delivery = compare([report(3)], [report(1), report(2), report(3)])
    assert (delivery.lost, delivery.stored_twice, delivery.forgotten) == ((), (), 2)


def test_what_a_journal_has_forgotten_may_be_stored_once_only() -> None:
    delivery = compare([report(2)], [report(1), report(1), report(2)])
    assert (delivery.stored_twice, delivery.forgotten) == (("D1 stream s1 number 1",), 1)


def test_what_a_journal_never_gave_out_is_not_taken_for_forgotten() -> None:
    delivery = compare([report(1)], [report(1), report(2)])
    assert (delivery.stored_twice, delivery.forgotten) == (("D1 stream s1 number 2",), 0)


def test_a_report_that_is_there_twice_is_stored_twice() -> None:
    assert compare([report(1)], [report(1), report(1)]).stored_twice == ("D1 stream s1 number 1",)


def test_a_report_with_another_content_is_lost_and_one_too_many() -> None:
    delivery = compare([report(1, "a")], [report(1, "b")])
    assert (len(delivery.lost), len(delivery.stored_twice)) == (1, 1)


def test_a_good_run_ends_with_0_and_the_agreed_object(capsys: pytest.CaptureFixture[str]) -> None:
    conclude(GOOD, as_json=True, interrupted=False)
    assert json.loads(capsys.readouterr().out) == {
        "devices": 2,
        "by_state": {"succeeded": 1, "failed": 1},
        "by_type": {"windows_autopilot": 1, "ios": 1},
        "events_created": 7,
        "events_stored": 7,
        "events_lost": 0,
        "events_stored_twice": 0,
        "gate_violations": 0,
        "unfinished": 0,
        "seconds": 1.25,
        "events_on_the_way": 0,
    }


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "events_lost": ({"lost": ("D1 stream s number 4",)}, "1 reports lost"),
    "events_stored_twice": ({"stored_twice": ("D1 stream s number 4",)}, "1 reports stored twice"),
    "gate_violations": ({"violations": ("D1: the gate was released",)}, "1 gate violations"),
    "unfinished": ({"ends": [*GOOD.ends, UNFINISHED]}, "1 devices unfinished"),
}


@pytest.mark.parametrize("figure", BAD)
def test_each_figure_that_is_not_zero_turns_the_summary_red(
    figure: str, capsys: pytest.CaptureFixture[str]
) -> None:
    changes, line = BAD[figure]
    bad = dataclasses.replace(GOOD, **changes)
    assert bad.as_json()[figure] == 1
    with pytest.raises(typer.Exit) as ended:
        conclude(bad, as_json=True, interrupted=False)
    assert ended.value.exit_code == 1
    capsys.readouterr()
    drawn = io.StringIO()
    print_summary(bad, Console(file=drawn, force_terminal=True, color_system="standard", width=80))
    red = "\x1b[1;31m"
    assert f"{red}  FAILED {red}{line}".replace(red, "") in drawn.getvalue().replace(
        red, ""
    ).replace("\x1b[0m", "")
    assert red in drawn.getvalue()
    last = "Not every device got through" if figure == "unfinished" else "The audit FAILED."
    assert last in drawn.getvalue()


def test_an_audit_that_could_not_look_everywhere_is_not_good() -> None:
    blind = dataclasses.replace(GOOD, problems=["the collector can't be asked"])
    with pytest.raises(typer.Exit):
        conclude(blind, as_json=True, interrupted=False)


def test_an_interrupted_run_says_so_by_its_exit_code() -> None:
    open_run = dataclasses.replace(GOOD, ends=[UNFINISHED])
    with pytest.raises(typer.Exit) as ended:
        conclude(open_run, as_json=False, interrupted=True)
    assert ended.value.exit_code == 130


def test_the_table_fits_into_eighty_columns() -> None:
    ends = [
        DeviceEnd(f"D{n}", kind, EndState.SUCCEEDED_ON_RETRY, True)
        for n, kind in enumerate(EnrollmentType)
    ]
    drawn = io.StringIO()
    wide = dataclasses.replace(GOOD, ends=ends * 999)
    print_summary(wide, Console(file=drawn, width=80))
    assert "succeeded on retry" in drawn.getvalue()
    assert "Enterprise" in drawn.getvalue()
    assert "…" not in drawn.getvalue()
