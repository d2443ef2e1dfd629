"""Writes the report folder of a what-if: a page with charts, tables for spreadsheets, and all figures."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from agent.wire.vocabulary import EnrollmentType
from simulator.report.charts import (
    BARS_MAX,
    Bar,
    Chart,
    Line,
    Range,
    bars,
    histograms,
    lines,
    ranges,
)
from simulator.report.page import page
from simulator.report.tables import tables_of

WORTH_SHOWING_MINUTES: Final = 0.05
"""Less would be printed as 0.0."""
PAGE: Final = "index.html"
FIGURES: Final = "figures.json"


def write_report(folder: Path, figures: Mapping[str, Any]) -> None:
    """Write the folder; the same figures give the same bytes, whenever they are written.

    Raises:
        OSError: the folder or a file in it can't be written.
    """
    kept = {key: value for key, value in figures.items() if key != "seconds"}
    tables = tables_of(kept)
    files = {f"{table.name}.csv": table.csv for table in tables}
    files[FIGURES] = json.dumps(kept, indent=1) + "\n"
    files[PAGE] = page(
        kept,
        heading=_heading(kept),
        sentences=_sentences(kept),
        charts=[*charts_of(kept)],
        tables=tables,
    )
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")


def _heading(figures: Mapping[str, Any]) -> str:
    if "compare" in figures:
        change = figures["compare"]["change"]
        return f"What {change} would change"
    if "sweep" in figures:
        return f"What each {figures['sweep']['key']} would come to"
    if "find" in figures:
        return f"The {figures['find']['which']} {figures['find']['key']} that is enough"
    return "What this scenario would do to its users"


def _sentences(figures: Mapping[str, Any]) -> list[str]:
    if "compare" in figures:
        return list(figures["compare"]["verdict"])
    if "find" in figures:
        return [figures["find"]["sentence"], figures["find"]["taken_for_granted"]]
    return [figures["sweep"]["sentence"]] if "sweep" in figures else []


# --- charts -------------------------------------------------------------------------------------


def charts_of(figures: Mapping[str, Any]) -> Iterator[Chart]:
    """Every chart that these figures have."""
    if "sweep" in figures:
        yield from _values(figures["sweep"]["key"], figures["sweep"]["values"])
    if "find" in figures:
        yield from _values(figures["find"]["key"], figures["find"]["tried"])
    if "compare" in figures:
        yield from _differences(figures["compare"])
    if "by_type" in figures:
        yield from _fleet(figures)


def _fleet(figures: Mapping[str, Any]) -> Iterator[Chart]:
    rates = [
        Range(
            EnrollmentType(kind).label,
            part["success_rate"] * 100,
            _scaled(part["success_rate_interval"], 100),
            words=f"{part['success_rate']:.1%}",
        )
        for kind, part in figures["by_type"].items()
        if part["success_rate"] is not None
    ]
    if rates:
        alt = "; ".join(
            f"{r.label} {r.words} ({r.interval[0]:.1f} to {r.interval[1]:.1f})" for r in rates
        )
        yield ranges(
            "rates", "Success rate by type", rates, alt, unit="percent of attempts", zero=False
        )
    yield from _waits(figures)
    yield from _times(figures)
    yield from _reasons(figures)
    yield from _people(figures)


def _waits(figures: Mapping[str, Any]) -> Iterator[Chart]:
    rows = [
        Bar(
            f"{entry['name']} ({entry['kind']})",
            entry["minutes_lost"],
            f"{entry['minutes_lost']:.1f} min, on {entry['share']:.0%} of paths",
        )
        for entry in figures["critical_path"][:BARS_MAX]
        if entry["minutes_lost"] >= WORTH_SHOWING_MINUTES
    ]
    if rows:
        title = "What the gate waited for: minutes lost per device"
        yield bars("waits", title, rows, _said(rows))


def _times(figures: Mapping[str, Any]) -> Iterator[Chart]:
    by_type = {k: f for k, f in figures["by_type"].items() if f["minutes"]["mean"] is not None}
    if not by_type:
        return
    other = figures["compare"]["other"]["by_type"] if "compare" in figures else None
    alt = "; ".join(
        f"{EnrollmentType(kind).label}: half in {part['minutes']['p50']:.1f} minutes, nine of ten in "
        f"{part['minutes']['p90']:.1f}"
        for kind, part in by_type.items()
    )
    title = "How long successful attempts take"
    if other is not None:
        title += " (bars: as it is; dashed: changed)"
        alt += "; after the change " + "; ".join(
            f"{EnrollmentType(kind).label}: half in {part['minutes']['p50']:.1f}"
            for kind, part in other.items()
            if part["minutes"]["p50"] is not None
        )
    yield histograms("times", title, by_type, alt, other)


def _reasons(figures: Mapping[str, Any]) -> Iterator[Chart]:
    reasons = figures["whole"]["reasons"]
    rows = [Bar(label, count, f"{count:,}") for label, count in reasons.items()][:BARS_MAX]
    if rows:
        yield bars("reasons", "Why attempts fail", rows, _said(rows))


def _people(figures: Mapping[str, Any]) -> Iterator[Chart]:
    screens = [s for s in figures["people"]["screens"] if s["minutes"]]
    ranked = sorted(screens, key=lambda s: (-s["shown"] * s["minutes"], s["screen"]))[:8]
    devices = figures["whole"]["devices"]
    rows = [
        Bar(s["name"], each, f"{each:.1f} min, {s['minutes']:.1f} each time")
        for s in ranked
        if (each := s["shown"] * s["minutes"] / devices) >= WORTH_SHOWING_MINUTES
    ]
    if rows:
        title = "Screens that waited for people: minutes per device"
        yield bars("screens", title, rows, _said(rows))


def _differences(compared: Mapping[str, Any]) -> Iterator[Chart]:
    parts = {EnrollmentType(k).label: part for k, part in compared["by_type"].items()}
    parts["All"] = compared
    for name, scale, words, title, unit in (
        ("succeeded", 100, "{:+.2f} points", "Difference in devices that succeed", "points"),
        ("minutes", 1, "{:+.2f} min", "Difference in time of those that succeed", "minutes"),
    ):
        rows = [
            Range(
                label,
                found["estimate"] * scale,
                _scaled(found["interval"], scale),
                words=words.format(found["estimate"] * scale)
                + ("" if found["found"] else ", none found"),
                is_found=found["found"],
            )
            for label, part in parts.items()
            if (found := part[name]["difference"]) is not None
        ]
        if rows:
            alt = "; ".join(
                f"{r.label} {r.words} ({r.interval[0]:+.2f} to {r.interval[1]:+.2f})" for r in rows
            )
            yield ranges(f"difference-{name}", title, rows, alt, unit=unit, zero=True)


def _values(key: str, rows: list[dict[str, Any]]) -> Iterator[Chart]:
    places = [str(row["value"]) for row in rows]
    rated = [row for row in rows if row["success_rate"] is not None]
    if len(rated) == len(rows):
        curve = Line(
            "success rate",
            [row["success_rate"] * 100 for row in rows],
            [row["success_rate_interval"][0] * 100 for row in rows],
            [row["success_rate_interval"][1] * 100 for row in rows],
        )
        alt = "; ".join(f"{row['value']}: {row['success_rate']:.2%}" for row in rows)
        title = f"Success rate by {key}"
        yield lines("success", title, places, [curve], alt, key=key, unit="percent")
    mean = Line("mean", [row["minutes"]["mean"] for row in rows])
    late = Line("9 of 10 within", [row["minutes"]["p90"] for row in rows])
    alt = "; ".join(
        f"{row['value']}: mean {row['minutes']['mean']}, nine of ten within {row['minutes']['p90']}"
        for row in rows
    )
    title = f"Time of successful attempts by {key}"
    yield lines("minutes", title, places, [mean, late], alt, key=key, unit="minutes")


def _scaled(interval: Sequence[float], scale: float) -> tuple[float, float]:
    low, high = interval
    return low * scale, high * scale


def _said(rows: list[Bar]) -> str:
    return "; ".join(f"{row.label}: {row.words}" for row in rows)
