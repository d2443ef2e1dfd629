"""Makes the page of a report: one file that needs no other, for large and small screens, light and dark."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any, Final

from simulator.report.charts import Chart
from simulator.report.tables import TableOf
from simulator.whatif.advice import advice

_CSS: Final = """\
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #fff; --faint: #c3c9d1; --panel: #f4f6f8;
  --first: #0b5cad; --second: #b3470b; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8ebef; --paper: #14181d; --faint: #4a535e; --panel: #1e242b;
    --first: #6fb1ff; --second: #ffab6b; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 72rem; padding: 1rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0 0 .25rem; }
h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
p, li { max-width: 44rem; }
.small { font-size: .875rem; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: .75rem; padding: 0; margin: 1rem 0; }
.tiles div { background: var(--panel); border-radius: .5rem; padding: .75rem; }
.tiles dt { font-size: .875rem; }
.tiles dd { margin: 0; font-size: 1.5rem; font-weight: 600; font-variant-numeric: tabular-nums; }
.tiles dd span { display: block; font-size: .8rem; font-weight: 400; }
.charts { columns: 24rem; column-gap: 1.5rem; }
.charts > * { break-inside: avoid; margin-bottom: 1.5rem; }
figure { margin: 0; }
figcaption { font-weight: 600; margin-bottom: .25rem; }
figure p { margin: .25rem 0 0; }
svg { display: block; width: 100%; max-width: 36rem; height: auto; stroke-linejoin: round; stroke-linecap: butt; }
code { background: var(--panel); border-radius: .25rem; padding: .1rem .3rem; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding: .5rem 0; }
th, td { text-align: left; padding: .25rem .6rem .25rem 0; border-bottom: 1px solid var(--faint); vertical-align: top; }
td.number, th.number { text-align: right; white-space: nowrap; }
details { margin: .75rem 0; } summary { cursor: pointer; }
"""

_WORDS: Final = {
    "Success rate": "successful attempts divided by all attempts that ended; attempts that ended by a reset, or that a "
    "new one replaced, are left out.",
    "Enrolled": "devices whose last attempt succeeded.",
    "Minutes": "from the beginning of an attempt to its success. Gate: from power-on until a person could use the "
    "device, all attempts together.",
    "On the path": "the gate opened because of this item, or because of one that had to wait for it; followed back to "
    "power-on without a gap.",
    "Minutes lost": "how long an item was all that was under way, so that the gate waited for nothing else; a mean over "
    "the devices whose gate opened.",
    "Ranges": "95 of 100 other fleets of this scenario would have the true figure in a range made like this one.",
}


def page(
    figures: Mapping[str, Any],
    *,
    heading: str,
    sentences: Sequence[str],
    charts: Sequence[Chart],
    tables: Sequence[TableOf],
) -> str:
    """The whole page."""
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(heading)}</title>",
        f"<style>\n{_CSS}</style></head><body>",
        f"<header><h1>{escape(heading)}</h1>",
        f'<p class="small">{escape(figures["title"])} · {figures["devices"]:,} devices, seed {figures["seed"]}</p>',
        "</header><main>",
        *(f"<p>{escape(sentence)}</p>" for sentence in sentences),
        *_tiles(figures),
        *_advice(figures),
        '<h2>Charts</h2><div class="charts">',
        *(_figure(chart) for chart in charts),
        "</div><h2>Tables</h2>",
        *(_table(table) for table in tables if table.on_page and table.rows),
        "<h2>How to read this</h2><dl>",
        *(f"<dt><b>{word}</b></dt><dd>{escape(meaning)}</dd>" for word, meaning in _WORDS.items()),
        "</dl></main></body></html>",
    ]
    return "\n".join(parts) + "\n"


def _tiles(figures: Mapping[str, Any]) -> Iterator[str]:
    whole = figures.get("whole")
    if whole is None:
        return
    if "compare" in figures:
        yield "<h2>As it is</h2>"
    yield '<dl class="tiles">'
    if whole["success_rate"] is not None:
        low, high = whole["success_rate_interval"]
        yield _tile(
            "Success rate",
            f"{whole['success_rate']:.1%}",
            f"{low:.1%} to {high:.1%} in other fleets",
        )
    yield _tile("Enrolled", f"{whole['succeeded']:,}", f"of {whole['devices']:,} devices")
    gate = whole["gate"]["minutes"]
    if gate["mean"] is not None:
        yield _tile(
            "Until people get in", f"{gate['mean']:.1f} min", f"9 of 10 within {gate['p90']:.1f}"
        )
    people = whole["waiting"]
    if people["screen_minutes"] is not None:
        yield _tile(
            "Waiting for people",
            f"{people['screen_minutes']:.1f} min",
            f"per device, and {people['error_screen_minutes']:.1f} on the error screen",
        )
    yield "</dl>"


def _tile(name: str, value: str, more: str) -> str:
    return f"<div><dt>{escape(name)}</dt><dd>{escape(value)}<span>{escape(more)}</span></dd></div>"


def _advice(figures: Mapping[str, Any]) -> Iterator[str]:
    found = advice(figures) if "whole" in figures else ()
    if not found:
        return
    yield "<h2>What to do</h2><ol>"
    for entry in found:
        more = f"<br>To see it, add <code>{escape(entry.options)}</code>" if entry.options else ""
        yield f"<li>{escape(entry.sentence)}{more}</li>"
    yield "</ol>"


def _figure(chart: Chart) -> str:
    return f"<figure><figcaption>{escape(chart.title)}</figcaption>\n{chart.svg}\n</figure>"


def _table(table: TableOf) -> str:
    numeric = [
        any(isinstance(row[column], int | float) for row in table.rows)
        for column in range(len(table.headings))
    ]
    head = "".join(
        f'<th scope="col"{_class(number)}>{escape(heading)}</th>'
        for heading, number in zip(table.headings, numeric, strict=True)
    )
    body = "\n".join(_row(row, numeric) for row in table.rows)
    return (
        f"<details><summary>{escape(table.title)} ({_counted(len(table.rows))}, also in {table.name}.csv)</summary>"
        f'<div class="scroll" tabindex="0"><table><caption>{escape(table.title)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table></div></details>"
    )


def _counted(rows: int) -> str:
    return "1 row" if rows == 1 else f"{rows} rows"


def _row(row: Sequence[Any], numeric: Sequence[bool]) -> str:
    cells = "".join(
        f"<td{_class(number)}>{escape(_shown(cell))}</td>"
        for cell, number in zip(row, numeric, strict=True)
    )
    return f"<tr>{cells}</tr>"


def _class(is_number: bool) -> str:
    return ' class="number"' if is_number else ""


def _shown(cell: Any) -> str:
    if cell is None:
        return ""
    if isinstance(cell, int):
        return f"{cell:,}"
    return f"{cell:.4g}" if isinstance(cell, float) and abs(cell) < 1 else str(cell)
