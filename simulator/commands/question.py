"""What `esp-sim whatif` may be asked, and how figures are shown: printed for people or programs, and as a report."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from simulator.commands.command_line import fail
from simulator.scenario import Scenario
from simulator.scenario_file import ScenarioRefused, load_scenario
from simulator.whatif.counted import Alone, Compare, Question, Sweep
from simulator.whatif.overrides import (
    OverrideRefused,
    described,
    overridden,
    read_change,
    read_changes,
)
from simulator.whatif.search import FINDABLE, Find, read_find
from simulator.whatif.sweep import versions_of
from simulator.whatif.text import print_comparison, print_figures, print_search, print_sweep

CompareWith = Annotated[
    Path | None,
    typer.Option(
        "--compare", metavar="OTHER", help="Another scenario, enrolled with the same devices."
    ),
]
With = Annotated[
    list[str] | None,
    typer.Option(
        "--with",
        metavar="KEY=VALUE",
        help="Compare with the same scenario with another value, such as timeout=90. May be given several times. "
        "With --compare it changes OTHER, with --sweep and --find the scenario.",
    ),
]
SweepOver = Annotated[
    str | None,
    typer.Option("--sweep", metavar="KEY=V1,V2,...", help="A row for each value of a key."),
]
FindKey = Annotated[
    str | None,
    typer.Option(
        "--find",
        metavar="KEY[=LOW..HIGH]",
        help="The value from which on --success is reached: the smallest, or the largest of a key that hurts. "
        f"Only {' and '.join(FINDABLE)} needs no range.",
    ),
]
Success = Annotated[
    float | None,
    typer.Option(
        min=0, max=100, metavar="PERCENT", help="The success rate that --find has to reach."
    ),
]

ReportFolder = Annotated[
    Path | None,
    typer.Option(
        "--report",
        metavar="DIR",
        help="Also write a page with charts, CSV and JSON into this folder.",
    ),
]


class QuestionRefused(ValueError):
    """The options don't make a question; the message says what to write."""


def question_of(
    scenario: Scenario,
    *,
    compare: Path | None,
    changes: Sequence[str],
    sweep: str | None,
    find: str | None,
    success: float | None,
) -> tuple[Scenario, Question | Find]:
    """The scenario to begin with, and what is asked of it.

    Raises:
        QuestionRefused: the options contradict each other.
        OverrideRefused: a key or value is not possible.
        ScenarioRefused: the other scenario can't be used.
    """
    given = {"--compare": compare, "--sweep": sweep, "--find": find}
    asked = [name for name, value in given.items() if value is not None]
    if len(asked) > 1:
        raise QuestionRefused(f"{' and '.join(asked)} are two questions; ask one at a time")
    if (find is None) != (success is None):
        raise QuestionRefused("--find and --success belong together: --find timeout --success 98.5")
    said = " ".join(f"--with {change}" for change in changes)
    pairs = [read_change(change) for change in changes]
    if sweep is not None or find is not None:
        base = overridden(scenario, pairs, said) if pairs else scenario
        return base, _about_one(base, sweep, find, success)
    if compare is None and not pairs:
        return scenario, Alone()
    other = scenario if compare is None else load_scenario(compare)
    changed = overridden(other, pairs, said) if pairs else other
    if compare is None:
        return scenario, Compare(changed, described(scenario, pairs))
    more = f" with {', '.join(changes)}" if changes else ""
    return scenario, Compare(changed, f"changing to {compare.name}{more}")


def _about_one(
    scenario: Scenario, sweep: str | None, find: str | None, success: float | None
) -> Sweep | Find:
    if sweep is not None:
        key, values = read_changes(sweep)
        versions_of(scenario, key, values)
        return Sweep(key, values)
    assert find is not None, "one of the two was asked"
    assert success is not None, "both or none"
    key, span = read_find(find)
    versions_of(scenario, key, [span.value(span.low), span.value(span.high)])
    return Find(key, success / 100, span)


# --- on the command line ------------------------------------------------------------------------


def asked_or_exit(
    scenario: Scenario,
    *,
    compare: Path | None,
    changes: Sequence[str],
    sweep: str | None,
    find: str | None,
    success: float | None,
) -> tuple[Scenario, Question | Find]:
    """What `question_of` gives, or one sentence and the exit code for a mistake."""
    try:
        return question_of(
            scenario, compare=compare, changes=changes, sweep=sweep, find=find, success=success
        )
    except (QuestionRefused, OverrideRefused, ScenarioRefused) as refused:
        fail(refused)


def show_or_exit(
    figures: dict[str, Any], *, report: Path | None, as_json: bool, named: str = "SCENARIO"
) -> None:
    """Print figures, for a program or for people, and write their report.

    Args:
        named: the scenario's file, with what makes it the same fleet, in commands to try next.
    """
    if report is not None:
        write_report_or_exit(report, figures)
    console = Console(highlight=False)
    if as_json:
        typer.echo(json.dumps(figures))
    elif "compare" in figures:
        print_comparison(figures, console)
    elif "sweep" in figures:
        print_sweep(figures, console)
    elif "find" in figures:
        print_search(figures, console)
    else:
        print_figures(figures, console, named)


def check_report_folder(folder: Path | None) -> None:
    """Say before a long run what would keep the report from being written after it."""
    if folder is None:
        return
    if folder.exists() and not folder.is_dir():
        fail(f"--report {folder}: is a file; name a folder")
    if find_spec("matplotlib") is None:
        fail("--report needs the library matplotlib; install enrollment-agent[report]")


def write_report_or_exit(folder: Path, figures: dict[str, Any]) -> None:
    """Write the report, or one sentence and the exit code for a mistake."""
    # Charts need a library that most installations do without.
    from simulator.report.folder import write_report  # noqa: PLC0415

    try:
        write_report(folder, figures)
    except OSError as error:
        fail(f"--report {folder}: can't be written: {error.strerror}; name another folder")
