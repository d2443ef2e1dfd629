"""Prints the figures of a what-if for people, in 80 columns: what came of it first, then what to do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from textwrap import wrap
from typing import Any, Final, Literal

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from agent.wire.vocabulary import EnrollmentType, Variant
from simulator.whatif.advice import advice

ROWS_MAX: Final = 6
"""Rows of a table that is a selection; the report has all."""
BAR_WIDTH: Final = 12


def print_figures(figures: Mapping[str, Any], console: Console, scenario: str) -> None:
    """One fleet. `scenario` is what the person named, file and options of the fleet, for commands to try next."""
    console.print(f"{figures['devices']:,} devices, seed {figures['seed']}", style="bold")
    _print_overview(figures, console)
    console.print()
    console.print(_types(figures))
    _print_waits(figures, console)
    _print_reasons(figures, console)
    _print_advice(figures, console, scenario)
    _print_end(figures, console)


def print_comparison(figures: Mapping[str, Any], console: Console) -> None:
    """Two versions of a scenario on the same devices."""
    compared = figures["compare"]
    console.print(
        f"{figures['devices']:,} devices, seed {figures['seed']}, as it is and after {compared['change']}",
        style="bold",
    )
    for sentence in compared["verdict"]:
        _print_point(console, "•", sentence)
    console.print()
    console.print(_compared(figures, compared))
    console.print(
        "± and ranges hold for 95 of 100 fleets; those of the types all together.", style="dim"
    )
    if compared["succeeded"]["first_only"] or compared["succeeded"]["second_only"]:
        console.print(
            "Minutes are of those that succeed, so they also change with who does.", style="dim"
        )
    _print_end(figures, console)


def print_sweep(figures: Mapping[str, Any], console: Console) -> None:
    """A table of values."""
    swept = figures["sweep"]
    console.print(
        f"{figures['devices']:,} devices, seed {figures['seed']}, one run for each {swept['key']}\n",
        style="bold",
    )
    console.print(_values(swept["key"], swept["values"]))
    console.print()
    _print_point(console, "•", swept["sentence"])
    _print_end(figures, console)


def print_search(figures: Mapping[str, Any], console: Console) -> None:
    """What a search came to."""
    search = figures["find"]
    console.print(
        f"{figures['devices']:,} devices, seed {figures['seed']}, the {search['which']} {search['key']}",
        style="bold",
    )
    _print_point(console, "•", search["sentence"])
    _print_point(console, "•", search["taken_for_granted"])
    console.print()
    console.print(_values(search["key"], search["tried"]))
    _print_end(figures, console)


# --- one fleet ----------------------------------------------------------------------------------


def _print_overview(figures: Mapping[str, Any], console: Console) -> None:
    whole = figures["whole"]
    if whole["success_rate"] is not None:
        low, high = whole["success_rate_interval"]
        console.print(
            f"{whole['success_rate']:.1%} of attempts succeed ({low:.1%} to {high:.1%} in other fleets); "
            f"{whole['succeeded']:,} devices end enrolled."
        )
    gate = whole["gate"]["minutes"]
    if gate["mean"] is not None:
        console.print(
            f"People get in after {gate['mean']:.1f} minutes on average, 9 of 10 within {gate['p90']:.1f}."
        )


def _types(figures: Mapping[str, Any]) -> Table:
    table = _table("Enrollment type", "Devices", "Success", "Mean min", "p50", "p90", "p99")
    for name, figure in figures["by_type"].items():
        table.add_row(EnrollmentType(name).label, *_cells(figure))
        variants = figures["by_variant"][name]
        for variant, part in variants.items() if len(variants) > 1 else ():
            label = Variant(variant).label.capitalize()
            table.add_row(f"  {label}", *_cells(part), style="dim")
    return table


def _cells(figure: Mapping[str, Any]) -> Iterator[str]:
    yield f"{figure['devices']:,}"
    yield _rate(figure["success_rate"])
    for value in figure["minutes"].values():
        yield _minutes(value)


def _print_waits(figures: Mapping[str, Any], console: Console) -> None:
    entries = [e for e in figures["critical_path"] if e["minutes_lost"] > 0][:ROWS_MAX]
    if not entries:
        return
    most = entries[0]["minutes_lost"]
    table = _table("The gate waited for", "On path", "Min lost", "")
    table.columns[-1].justify = "left"
    for entry in entries:
        table.add_row(
            entry["name"],
            f"{entry['share']:.0%}",
            _minutes(entry["minutes_lost"]),
            "█" * max(1, round(entry["minutes_lost"] / most * BAR_WIDTH)),
        )
    console.print()
    console.print(table)


def _print_reasons(figures: Mapping[str, Any], console: Console) -> None:
    reasons: Mapping[str, int] = figures["whole"]["reasons"]
    if not reasons:
        return
    final: Mapping[str, int] = figures["whole"]["final_reasons"]
    table = _table("Why attempts fail", "Attempts", "Devices for good")
    for label, count in list(reasons.items())[:ROWS_MAX]:
        table.add_row(label, f"{count:,}", f"{final.get(label, 0):,}")
    console.print()
    console.print(table)


def _print_advice(figures: Mapping[str, Any], console: Console, scenario: str) -> None:
    found = advice(figures)
    if found:
        console.print("\nWhat to do", style="bold")
    for number, entry in enumerate(found, start=1):
        _print_point(console, f"{number}.", entry.sentence)
        if entry.options:
            # A command is one line, however long, so that it can be copied.
            command = Text(f"   esp-sim whatif {scenario} {entry.options}", style="cyan")
            console.print(command, soft_wrap=True)


# --- several versions ---------------------------------------------------------------------------


def _compared(figures: Mapping[str, Any], compared: Mapping[str, Any]) -> Table:
    table = _table("Enrollment type", "Devices", "Enrolled", "then", "±/10,000", "Minutes", "then")
    for name, before in figures["by_type"].items():
        table.add_row(
            EnrollmentType(name).label,
            *_pair_cells(before, compared["other"]["by_type"].get(name), compared["by_type"][name]),
        )
    table.add_section()
    table.add_row("All", *_pair_cells(figures["whole"], compared["other"]["whole"], compared))
    return table


def _pair_cells(
    before: Mapping[str, Any], after: Mapping[str, Any] | None, pair: Mapping[str, Any]
) -> Iterator[str]:
    yield f"{before['devices']:,}"
    yield f"{before['succeeded']:,}"
    yield "-" if after is None else f"{after['succeeded']:,}"
    yield per_ten_thousand(pair["succeeded"]["difference"])
    yield _minutes(before["minutes"]["mean"])
    yield "-" if after is None else _minutes(after["minutes"]["mean"])


def per_ten_thousand(difference: Mapping[str, Any] | None) -> str:
    """A difference in success with its reach, for ten thousand devices."""
    if difference is None:
        return "-"
    low, high = difference["interval"]
    return f"{difference['estimate'] * 10_000:+.0f} ± {(high - low) * 5_000:.0f}"


def _values(key: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    steps = [row.get("beside_previous") for row in rows]
    beside = ["±/10,000"] if any(steps) else []
    # A long key would leave no room for the figures; the whole of it stands above the table.
    table = _table(
        key.rpartition(".")[2],
        "Success",
        "Enrolled",
        *beside,
        "Mean min",
        "p90",
        "Gate p90",
        "Timeouts",
    )
    table.padding = (0, 1, 0, 0)
    for row, step in zip(rows, steps, strict=True):
        table.add_row(
            str(row["value"]),
            _rate(row["success_rate"], digits=2),
            f"{row['succeeded']:,}",
            *(["" if step is None else per_ten_thousand(step["succeeded"])] if beside else []),
            _minutes(row["minutes"]["mean"]),
            _minutes(row["minutes"]["p90"]),
            _minutes(row["gate_minutes"]["p90"]),
            f"{row['timeouts']:,}",
        )
    return table


# --- parts --------------------------------------------------------------------------------------


def _table(*headings: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False, show_edge=False)
    for heading in headings:
        first = heading == headings[0]
        justify: Literal["left", "right"] = "left" if first else "right"
        table.add_column(heading, justify=justify, no_wrap=True)
    return table


def _print_point(console: Console, mark: str, sentence: str) -> None:
    first, *others = wrap(sentence, console.width - len(mark) - 1)
    console.print(f"{mark} {first}", markup=False)
    for line in others:
        console.print(f"{' ' * len(mark)} {line}", markup=False)


def _print_end(figures: Mapping[str, Any], console: Console) -> None:
    reports = f"{figures['events']:,} reports in " if "events" in figures else ""
    console.print(f"\n{reports}{figures['seconds']:.1f} s", style="dim")


def _rate(rate: float | None, digits: int = 1) -> str:
    return "-" if rate is None else f"{rate:.{digits}%}"


def _minutes(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
