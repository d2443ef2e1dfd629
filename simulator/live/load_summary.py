"""The load of a live run for a person: events a second, how long things took, and what failed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from simulator.live.load_figures import LoadFigures, Spread, StormFigures
from simulator.live.same_as_virtual import Sameness

REASONS_MAX: Final = 3
"""How many reasons of each kind of failure are printed; `--json` has all."""
CASES_MAX: Final = 5
_KINDS: Final = {
    "connection_refused": "connections refused",
    "connection_failed": "connections that did not come about",
    "connection_lost": "connections lost",
    "message_not_confirmed": "messages that the broker did not confirm",
    "message_refused_by_agent": "messages that agents refused",
    "refused_by_collector": "messages that the collector refused",
    "seen_by_collector": "irregular reports at the collector",
    "published_again": "reports published again",
    "acknowledged_late": "reports acknowledged late",
    "not_acknowledged": "reports without acknowledgement",
}


def load_lines(load: LoadFigures) -> list[RenderableType]:
    """What to print, from top to bottom."""
    processes = "process" if load.workers == 1 else "processes"
    lines: list[RenderableType] = [
        Text(
            f"{load.events_per_s:.0f} reports a second, {load.events_per_s_peak} in the busiest one; "
            f"{load.agents_cpu_s:.1f} s of processor time for the agents in {load.workers} {processes}"
        ),
        _table(load),
    ]
    lines += [_storm(one) for one in load.storms]
    for kind, reasons in load.failures.items():
        lines += _failure(_KINDS.get(kind, kind.replace("_", " ")), reasons)
    return lines


def _table(load: LoadFigures) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0))
    table.add_column("Real milliseconds", no_wrap=True)
    for heading in ("p50", "p90", "p99", "max"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, spread in (
        ("from an event to the store", load.to_stored),
        ("from an event to its acknowledgement", load.to_acknowledged),
        ("to connect and subscribe", load.connect),
        ("from a message to the broker's word", load.confirm),
    ):
        table.add_row(name, *_cells(spread))
    return table


def _cells(spread: Spread | None) -> list[str]:
    if spread is None:
        return ["-"] * 4
    return [f"{value:.1f}" for value in (spread.p50, spread.p90, spread.p99, spread.max)]


def _storm(one: StormFigures) -> Text:
    name = f"{one.storm.kind.value} at {one.storm.at_s:g} s"
    if one.struck == 0:
        return Text(f"{name}: struck nobody", style="yellow")
    line = f"{name}: {one.struck} devices"
    if one.away_ms is not None:
        p50, p99, longest = one.away_ms.p50, one.away_ms.p99, one.away_ms.max
        line += f", {one.back} back, half of them within {p50 / 1000:.1f} s, "
        line += f"99 % within {p99 / 1000:.1f} s, the last after {longest / 1000:.1f} s"
    return Text(line)


def _failure(name: str, reasons: Mapping[str, int]) -> list[Text]:
    lines = [Text(f"{sum(reasons.values())} {name}:", style="yellow")]
    shown = list(reasons.items())[:REASONS_MAX]
    lines += [Text(f"  {count} {reason}") for reason, count in shown]
    if len(reasons) > REASONS_MAX:
        lines.append(Text(f"  and {len(reasons) - REASONS_MAX} more reasons"))
    return lines


def virtual_lines(found: Sameness) -> list[Text]:
    """How the run compares with simulated time."""
    good = found.is_good
    line = Text("  OK     " if good else "  FAILED ", style="green" if good else "bold red")
    line.append(
        f"{len(found.different)} devices ended otherwise than in simulated time, {found.same} the same way; "
        f"{len(found.too_near)} nearer to a limit than the speed can tell apart"
    )
    times = Text(
        f"         times are {found.minutes_off_p99:.2f} minutes apart or less in 99 %, "
        f"{found.unexplained_p99:.2f} without the collector's answer, which took up to "
        f"{found.answer_minutes_max:.2f} minutes of the devices' time"
    )
    cases = [Text(f"         {case}") for case in found.different[:CASES_MAX]]
    return [line, times, *cases]
