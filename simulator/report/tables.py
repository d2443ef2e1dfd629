"""The figures of a what-if as tables: the same rows for the page and for spreadsheets."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from typing import Any

from agent.wire.vocabulary import EndState, EnrollmentType, Phase, Variant

Row = Sequence[Any]


@dataclass(frozen=True, slots=True)
class TableOf:
    """A table with the name of its file."""

    name: str
    title: str
    headings: Sequence[str]
    rows: Sequence[Row]
    on_page: bool = True
    """False for a table that is for programs alone."""

    @property
    def csv(self) -> str:
        """The table as a spreadsheet reads it."""
        text = StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.headings)
        writer.writerows(["" if cell is None else cell for cell in row] for row in self.rows)
        return text.getvalue()


def tables_of(figures: Mapping[str, Any]) -> tuple[TableOf, ...]:
    """Every table that these figures have."""
    found: list[TableOf] = []
    if "sweep" in figures:
        found.append(_values(figures["sweep"]["key"], figures["sweep"]["values"]))
    if "find" in figures:
        found.append(_values(figures["find"]["key"], figures["find"]["tried"]))
    if "compare" in figures:
        found.append(_compare(figures["compare"]))
    if "by_type" in figures:
        found += [_types(figures), _items(figures), _causes(figures), _timeouts(figures)]
        found += [_reasons(figures), _screens(figures), _abandoned(figures), _histogram(figures)]
    return tuple(found)


# --- one fleet ----------------------------------------------------------------------------------


def _types(figures: Mapping[str, Any]) -> TableOf:
    ends = [state.value for state in EndState]
    headings = [
        "Type", "Variant", "Devices", "Enrolled", "Success rate", "Mean min", "p50", "p90", "p99",
        "Gate mean min", "Gate p90", "Screens min", "Error screen min", *ends,
    ]  # fmt: skip
    rows = []
    for kind, whole in figures["by_type"].items():
        label = EnrollmentType(kind).label
        rows.append([label, "all", *_type_cells(whole, ends)])
        variants = figures["by_variant"][kind]
        for variant, part in variants.items() if len(variants) > 1 else ():
            rows.append([label, Variant(variant).label, *_type_cells(part, ends)])
    rows.append(["All", "all", *_type_cells(figures["whole"], ends)])
    used = [i for i in range(len(headings)) if i < len(headings) - len(ends) or _any(rows, i)]
    return TableOf(
        "types",
        "Results by type",
        [headings[i].replace("_", " ") for i in used],
        [[row[i] for i in used] for row in rows],
    )


def _any(rows: Sequence[Row], column: int) -> bool:
    return any(row[column] for row in rows)


def _type_cells(part: Mapping[str, Any], ends: Sequence[str]) -> Iterator[Any]:
    yield part["devices"]
    yield part["succeeded"]
    yield part["success_rate"]
    yield from (part["minutes"][name] for name in ("mean", "p50", "p90", "p99"))
    yield part["gate"]["minutes"]["mean"]
    yield part["gate"]["minutes"]["p90"]
    yield part["waiting"]["screen_minutes"]
    yield part["waiting"]["error_screen_minutes"]
    yield from (part["end_states"].get(end, 0) for end in ends)


def _items(figures: Mapping[str, Any]) -> TableOf:
    rows = [
        [
            EnrollmentType(kind).label, e["name"], e["item"], e["kind"], e["devices"], e["share"],
            e["last"], e["minutes_on_path"], e["minutes_lost"],
        ]
        for kind, entries in figures["critical_path_by_type"].items()
        for e in entries
    ]  # fmt: skip
    headings = (
        "Type", "Item", "Id", "Kind", "On path", "Share", "Last", "Min on path", "Min lost",
    )  # fmt: skip
    return TableOf("items", "What the gate waited for", headings, rows)


def _causes(figures: Mapping[str, Any]) -> TableOf:
    rows = [
        [
            e["name"] or "-", e["item"], e["reason"], e["code"],
            e["failed_tries"], e["given_up"], e["attempts_ended"],
        ]
        for e in figures["failures"]
    ]  # fmt: skip
    headings = ("Item", "Id", "Failure", "Code", "Failed tries", "Given up", "Attempts ended")
    return TableOf("causes", "Failures by cause", headings, rows)


def _timeouts(figures: Mapping[str, Any]) -> TableOf:
    rows = [
        [Phase(entry["phase"]).label, entry["times"], item["name"], item["item"], item["times"]]
        for entry in figures["timeouts"]
        for item in entry["open"]
    ]
    headings = ("Phase", "Timeouts of it", "Still under way", "Id", "Times")
    return TableOf("timeouts", "What was under way when the time budget ended", headings, rows)


def _reasons(figures: Mapping[str, Any]) -> TableOf:
    whole = figures["whole"]
    rows = [
        [reason, count, whole["final_reasons"].get(reason, 0)]
        for reason, count in whole["reasons"].items()
    ]
    headings = ("Reason", "Attempts", "Devices that never got in")
    return TableOf("reasons", "Why attempts fail", headings, rows)


def _screens(figures: Mapping[str, Any]) -> TableOf:
    left: dict[str, int] = {}
    for entry in figures["people"]["abandoned"]:
        left[entry["screen"]] = left.get(entry["screen"], 0) + entry["attempts"]
    rows = [
        [e["name"], e["screen"], e["shown"], e["minutes"], left.get(e["screen"], 0)]
        for e in figures["people"]["screens"]
    ]
    error = figures["people"]["error_screen"]
    rows.append(["Error screen", "error_screen", error["shown"], error["minutes"], 0])
    headings = ("Screen", "Id", "Shown", "Minutes each time", "Abandoned there")
    return TableOf("screens", "Screens that waited for people", headings, rows)


def _abandoned(figures: Mapping[str, Any]) -> TableOf:
    rows = [
        [e["name"], e["screen"], e["user_action"], e["attempts"]]
        for e in figures["people"]["abandoned"]
    ]
    headings = ("Screen", "Id", "What the person did", "Attempts")
    return TableOf("abandoned", "Where people gave up", headings, rows)


def _histogram(figures: Mapping[str, Any]) -> TableOf:
    rows = []
    for kind, part in figures["by_type"].items():
        shape = part["histogram"]
        for number, count in enumerate(shape["counts"]):
            first = round(number * shape["bar_minutes"], 1)
            rows.append([kind, first, round(first + shape["bar_minutes"], 1), count])
        first = round(len(shape["counts"]) * shape["bar_minutes"], 1)
        rows.append([kind, first, None, shape["longer"]])
    headings = ("Type", "From min", "To min", "Successful attempts")
    return TableOf("histogram", "Times of successful attempts", headings, rows, on_page=False)


# --- several versions ---------------------------------------------------------------------------


def _compare(compared: Mapping[str, Any]) -> TableOf:
    parts = {EnrollmentType(k).label: part for k, part in compared["by_type"].items()}
    rows = [[label, *_pair_cells(part)] for label, part in (parts | {"All": compared}).items()]
    headings = (
        "Type", "Devices", "Failure to success", "Success to failure",
        "Success, difference", "from", "to", "Minutes, difference", "from", "to",
    )  # fmt: skip
    return TableOf("compare", "The difference on the same devices", headings, rows)


def _pair_cells(pair: Mapping[str, Any]) -> Iterator[Any]:
    yield pair["devices"]
    yield pair["succeeded"]["second_only"]
    yield pair["succeeded"]["first_only"]
    for part in ("succeeded", "minutes"):
        difference = pair[part]["difference"]
        yield from (
            (None, None, None)
            if difference is None
            else (difference["estimate"], *difference["interval"])
        )


def _values(key: str, rows: Sequence[Mapping[str, Any]]) -> TableOf:
    headings = (
        key, "Enrolled", "Success rate", "from", "to", "Mean min", "p50", "p90", "p99",
        "Gate p90", "Timeouts", "Gained", "Lost",
    )  # fmt: skip
    return TableOf("values", f"Values of {key}", headings, [[*_value_cells(r)] for r in rows])


def _value_cells(row: Mapping[str, Any]) -> Iterator[Any]:
    step = row.get("beside_previous") or {}
    yield from (row["value"], row["succeeded"], row["success_rate"])
    yield from row["success_rate_interval"] or (None, None)
    yield from (row["minutes"][name] for name in ("mean", "p50", "p90", "p99"))
    yield from (row["gate_minutes"]["p90"], row["timeouts"], step.get("gained"), step.get("lost"))
