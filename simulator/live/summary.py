"""The end of a live run: what became of the devices, and the four figures that have to be zero."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from agent.wire.vocabulary import EndState, EnrollmentType
from simulator.live.load_figures import LoadFigures
from simulator.live.load_summary import load_lines, virtual_lines
from simulator.live.same_as_virtual import Sameness

EXAMPLES_MAX: Final = 5
"""How many cases of each kind are printed; the figure says how many there are."""


@dataclass(frozen=True, slots=True)
class DeviceEnd:
    """How one device came out of the run."""

    device: str
    enrollment_type: EnrollmentType
    end_state: EndState | None
    """Of its last attempt; None when that has not ended."""
    is_finished: bool
    """The last attempt ended and every report of it is acknowledged."""


@dataclass(frozen=True, slots=True)
class Summary:
    """All that the audit found."""

    ends: Sequence[DeviceEnd]
    created: int
    stored: int
    lost: Sequence[str]
    stored_twice: Sequence[str]
    violations: Sequence[str]
    seconds: float
    on_the_way: int = 0
    """Reports that devices which were stopped would still have sent."""
    forgotten: int = 0
    """Stored reports that the journals have kept for long enough and no longer hold."""
    problems: Sequence[str] = ()
    """What kept the audit from looking everywhere, one sentence each."""
    load: LoadFigures | None = None
    """What the run did to broker and collector; None where it was not measured."""
    virtual: Sameness | None = None
    """How it compares with the same fleet in simulated time; None where nobody asked."""

    @property
    def unfinished(self) -> list[str]:
        """The devices that are not through."""
        return [end.device for end in self.ends if not end.is_finished]

    @property
    def is_good(self) -> bool:
        """True when all four figures are zero and the audit saw everything."""
        bad = (self.lost, self.stored_twice, self.violations, self.unfinished, self.problems)
        return not any(bad) and (self.virtual is None or self.virtual.is_good)

    def as_json(self) -> dict[str, Any]:
        """What `esp-sim run --json` prints."""
        states = Counter(end.end_state for end in self.ends)
        types = Counter(end.enrollment_type for end in self.ends)
        by_state = {state.value: states[state] for state in EndState if states[state]}
        if states[None]:
            by_state["open"] = states[None]
        return {
            "devices": len(self.ends),
            "by_state": by_state,
            "by_type": {t.value: types[t] for t in EnrollmentType if types[t]},
            "events_created": self.created,
            "events_stored": self.stored,
            "events_lost": len(self.lost),
            "events_stored_twice": len(self.stored_twice),
            "gate_violations": len(self.violations),
            "unfinished": len(self.unfinished),
            "seconds": round(self.seconds, 3),
            "events_on_the_way": self.on_the_way,
            **({} if self.load is None else self.load.as_json()),
            **({} if self.virtual is None else {"virtual": self.virtual.as_json()}),
        }


def print_summary(summary: Summary, console: Console) -> None:
    """For a person: a table by type and state, then the four figures, then what they consist of."""
    console.print(_rendered(summary))


def _rendered(summary: Summary) -> RenderableType:
    parts: list[RenderableType] = [_table(summary), Text("")]
    parts.append(
        Text(
            f"{len(summary.ends)} devices in {summary.seconds:.1f} s; "
            f"{summary.created} reports created, {summary.stored} stored"
        )
    )
    if summary.load is not None:
        parts += load_lines(summary.load)
    for name, cases in (
        ("reports lost", summary.lost),
        ("reports stored twice", summary.stored_twice),
        ("gate violations", summary.violations),
        ("devices unfinished", summary.unfinished),
    ):
        parts.extend(_verdict(name, cases))
    if summary.virtual is not None:
        parts += virtual_lines(summary.virtual)
    if summary.on_the_way:
        parts.append(Text(f"{summary.on_the_way} reports were on their way when it was stopped"))
    if summary.forgotten:
        parts.append(
            Text(f"{summary.forgotten} stored reports are older than what the journals hold")
        )
    parts.extend(
        Text(f"the audit is not complete: {p}", style="bold red") for p in summary.problems
    )
    parts.append(_conclusion(summary))
    return Group(*parts)


def _conclusion(summary: Summary) -> Text:
    if summary.is_good:
        return Text("The audit found nothing wrong.", style="green")
    if replace(summary, ends=[end for end in summary.ends if end.is_finished]).is_good:
        return Text(
            "Not every device got through; in what there is, the audit found nothing wrong.",
            style="bold yellow",
        )
    return Text("The audit FAILED.", style="bold red")


def _table(summary: Summary) -> Table:
    kinds = [
        kind for kind in EnrollmentType if any(e.enrollment_type is kind for e in summary.ends)
    ]
    counts = Counter((end.end_state, end.enrollment_type) for end in summary.ends)
    table = Table(
        title="Devices by the end of their last attempt",
        title_justify="left",
        box=None,
        padding=(0, 1, 0, 0),
    )
    table.add_column("", no_wrap=True)
    for kind in kinds:
        # Each word on a line of its own keeps the table within eighty columns.
        table.add_column(kind.label.replace(" ", "\n"), justify="right", no_wrap=True)
    table.add_column("All", justify="right", no_wrap=True)
    for state in (*EndState, None):
        row = [counts[state, kind] for kind in kinds]
        if sum(row):
            name = "open" if state is None else state.value.replace("_", " ")
            table.add_row(name, *(str(n) if n else "-" for n in row), str(sum(row)))
    return table


def _verdict(name: str, cases: Sequence[str]) -> list[Text]:
    good = not cases
    line = Text("  OK     " if good else "  FAILED ", style="green" if good else "bold red")
    line.append(f"{len(cases)} {name}", style="" if good else "bold red")
    examples = [Text(f"         {case}") for case in cases[:EXAMPLES_MAX]]
    if len(cases) > EXAMPLES_MAX:
        examples.append(Text(f"         and {len(cases) - EXAMPLES_MAX} more"))
    return [line, *examples]
