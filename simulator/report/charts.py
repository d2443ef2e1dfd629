"""Draws the charts of a report as SVG that fits into a page: its colours are the page's, its text stays text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from io import StringIO
from typing import Any, Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from agent.wire.vocabulary import EnrollmentType

WIDTH_IN: Final = 4.5
"""Narrow, so that text is still large enough when a phone shows it as wide as itself."""
ROW_IN: Final = 0.42
BARS_MAX: Final = 12

INK: Final = "#000001"
FAINT: Final = "#000002"
FIRST: Final = "#000003"
SECOND: Final = "#000004"
_PAGE_COLORS: Final = {
    INK: "var(--ink)",
    FAINT: "var(--faint)",
    FIRST: "var(--first)",
    SECOND: "var(--second)",
}
"""Colours that stand for the page's own, so that a chart turns dark with its page."""

_STYLE: Final[Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "enrollment",
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.linewidth": 0.8,
    "legend.frameon": False,
    "text.parse_math": False,
    "hatch.linewidth": 0.8,
}


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart with what it says in words, for whoever can't see it."""

    name: str
    title: str
    alt: str
    svg: str


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar under its label, with its value in words at its end."""

    label: str
    value: float
    words: str


def bars(name: str, title: str, rows: Sequence[Bar], alt: str) -> Chart:
    """Horizontal bars, the first on top."""
    with _style():
        figure, axes = _rows_figure(len(rows))
        longest = max(row.value for row in rows)
        for place, row in enumerate(rows):
            axes.barh(place + 0.16, row.value, height=0.34, color=FIRST)
            axes.text(0, place - 0.2, row.label, va="center", ha="left")
            axes.text(row.value + longest * 0.02, place + 0.16, row.words, va="center")
        axes.set_xlim(0, longest * 1.45)
        axes.set_xticks([])
        axes.spines["bottom"].set_visible(False)
        return _chart(name, title, alt, figure)


@dataclass(frozen=True, slots=True)
class Range:
    """A figure with the interval around it."""

    label: str
    estimate: float
    interval: tuple[float, float]
    words: str
    is_found: bool = True
    """False is drawn hollow: the interval has room for no difference."""


def ranges(
    name: str, title: str, rows: Sequence[Range], alt: str, *, unit: str, zero: bool
) -> Chart:
    """Intervals under their labels; with `zero`, a line where there is no difference."""
    with _style():
        figure, axes = _rows_figure(len(rows), extra_in=0.45)
        low, high = min(r.interval[0] for r in rows), max(r.interval[1] for r in rows)
        if zero:
            low, high = min(low, 0.0), max(high, 0.0)
            # Beside the intervals only: the labels stay free of it.
            axes.vlines(
                [0] * len(rows),
                [place + 0.02 for place in range(len(rows))],
                [place + 0.38 for place in range(len(rows))],
                color=INK,
                linewidth=1,
            )
        margin = (high - low or 1) * 0.05
        axes.set_xlim(low - margin, high + margin)
        for place, row in enumerate(rows):
            axes.plot(row.interval, [place + 0.2] * 2, color=FIRST, linewidth=2)
            axes.plot(
                [row.estimate],
                [place + 0.2],
                marker="o",
                markersize=6,
                markeredgecolor=FIRST,
                markeredgewidth=1.6,
                linestyle="none",
                color=FIRST,
                markerfacecolor=FIRST if row.is_found else "none",
            )
            axes.text(
                0, place - 0.18, f"{row.label}: {row.words}",
                va="center", ha="left", transform=axes.get_yaxis_transform(),
            )  # fmt: skip
        axes.set_xlabel(unit)
        return _chart(name, title, alt, figure)


def histograms(
    name: str,
    title: str,
    figures: Mapping[str, Mapping[str, Any]],
    alt: str,
    other: Mapping[str, Mapping[str, Any]] | None = None,
) -> Chart:
    """How long enrollments took, a panel for each type; a second version is a dashed outline over the first."""
    shown = {kind: f for kind, f in figures.items() if sum(f["histogram"]["counts"])}
    with _style():
        figure = Figure(figsize=(WIDTH_IN, 1.35 * len(shown) + 0.35), layout="constrained")
        panels: Any = figure.subplots(len(shown), 1, squeeze=False)
        for axes, (kind, entry) in zip(panels[:, 0], shown.items(), strict=True):
            _histogram(axes, EnrollmentType(kind).label, entry, (other or {}).get(kind))
        panels[-1, 0].set_xlabel("minutes from the beginning of the attempt to success")
        return _chart(name, title, alt, figure)


def _histogram(
    axes: Axes, label: str, entry: Mapping[str, Any], other: Mapping[str, Any] | None
) -> None:
    counts, width = entry["histogram"]["counts"], entry["histogram"]["bar_minutes"]
    axes.bar(
        [n * width for n in range(len(counts))],
        counts,
        width=width * 0.92,
        align="edge",
        color=FIRST,
        alpha=1.0 if other is None else 0.45,
    )
    if other is not None and sum(other["histogram"]["counts"]):
        theirs, their_width = other["histogram"]["counts"], other["histogram"]["bar_minutes"]
        # Bars of another width hold another share of the devices; their height is made comparable.
        heights = [count * width / their_width for count in theirs]
        edges = [n * their_width for n in range(len(theirs) + 1)]
        axes.stairs(heights, edges, color=SECOND, linewidth=1.4, linestyle=(0, (4, 2)))
    minutes = entry["minutes"]
    top = axes.get_ylim()[1] * 1.2
    axes.set_ylim(0, top)
    for percent in (50, 90):
        axes.axvline(minutes[f"p{percent}"], color=INK, linewidth=0.9, linestyle=":")
        axes.annotate(
            f"p{percent}",
            (minutes[f"p{percent}"], top),
            xytext=(3, 0),
            textcoords="offset points",
            va="top",
            fontsize=8,
        )
    axes.set_yticks([])
    axes.set_xlim(left=0)
    axes.set_title(
        f"{label}: half in {minutes['p50']:.1f}, 9 of 10 in {minutes['p90']:.1f} min",
        loc="left",
        fontsize=9.5,
    )


@dataclass(frozen=True, slots=True)
class Line:
    """One curve over the values of a key."""

    label: str
    values: Sequence[float | None]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None


def lines(
    name: str,
    title: str,
    places: Sequence[str],
    curves: Sequence[Line],
    alt: str,
    *,
    key: str,
    unit: str,
) -> Chart:
    """Curves over the values of a key, evenly spaced; each has a mark and a line style of its own."""
    styles = ((FIRST, "o", "-"), (SECOND, "s", "--"))
    with _style():
        figure = Figure(figsize=(WIDTH_IN, 2.5), layout="constrained")
        axes = figure.subplots()
        for curve, (color, mark, dash) in zip(curves, styles, strict=False):
            there = [(n, v) for n, v in enumerate(curve.values) if v is not None]
            axes.plot(
                [n for n, _ in there],
                [v for _, v in there],
                color=color,
                marker=mark,
                linestyle=dash,
                label=curve.label,
            )
            if curve.low is not None and curve.high is not None:
                axes.fill_between(
                    range(len(places)), curve.low, curve.high, color=color, alpha=0.2, linewidth=0
                )
        axes.set_xticks(range(len(places)), places)
        axes.set_xlabel(key)
        axes.set_ylabel(unit)
        axes.grid(axis="y", color=FAINT, linewidth=0.6)
        axes.margins(x=0.08)
        if len(curves) > 1:
            axes.legend()
        return _chart(name, title, alt, figure)


# --- SVG ----------------------------------------------------------------------------------------


@contextmanager
def _style() -> Iterator[None]:
    """Our style on the library's own defaults, so that nobody's settings change a drawing."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        yield


def _rows_figure(rows: int, extra_in: float = 0.05) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH_IN, ROW_IN * rows + extra_in), layout="constrained")
    axes = figure.subplots()
    axes.set_ylim(rows - 0.5, -0.5)
    axes.set_yticks([])
    return figure, axes


def _chart(name: str, title: str, alt: str, figure: Figure) -> Chart:
    drawn = StringIO()
    figure.savefig(drawn, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return Chart(name, title, alt, _for_page(drawn.getvalue(), name, title, alt))


def _for_page(svg: str, name: str, title: str, alt: str) -> str:
    """The drawing alone: with names of its own, the page's colours and font, and words for whoever can't see it."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<(metadata|style)\b.*?</\1>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' xmlns:?\w*="[^"]*"', "", svg)
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', svg)
    svg = re.sub(r'(url\(#|href="#)', rf"\g<1>{name}-", svg).replace("xlink:href", "href")
    svg = re.sub(r"'DejaVu Sans'[^;\"]*", "system-ui, sans-serif", svg)
    for color, of_page in _PAGE_COLORS.items():
        svg = svg.replace(color, of_page)
    view = re.search(r'viewBox="[^"]*"', svg)
    assert view is not None, "every drawing says how large it is"
    opening = (
        f'<svg {view[0]} role="img" aria-labelledby="{name}-title {name}-words">'
        f'<title id="{name}-title">{escape(title)}</title>'
        f'<desc id="{name}-words">{escape(alt)}</desc>'
    )
    svg = opening + svg[svg.index(">") + 1 :]
    return "\n".join(line.rstrip() for line in svg.splitlines() if line.strip())
