"""The command `esp-sim fit`: a scenario's times, chances and people from what was collected."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from simulator.commands.command_line import AsJson, fail, scenario_or_exit
from simulator.fit.distribution import FEW_CASES, FEW_TIMES
from simulator.fit.document import fragment, with_values
from simulator.fit.findings import Finding
from simulator.fit.graph import NOTES, Rows
from simulator.fit.scenario import Fitted, fit_scenario
from simulator.fit.sources import SourceRefused, read_sources
from simulator.live.journal_history import journal_facts
from simulator.scenario import Scenario
from simulator.scenario_file import ScenarioRefused, load_scenario

WIDTH: Final = 160


def fit(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...",
            help="Reports (`esp-collector export --reports`), agents' journals, or Graph rows as CSV or JSON.",
        ),
    ],
    scenario: Annotated[
        Path, typer.Option(metavar="FILE", help="The scenario whose values are fitted.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Write the scenario with the fitted values, its comments kept."
        ),
    ] = None,
    fragment_file: Annotated[
        Path | None,
        typer.Option("--fragment", metavar="FILE", help="Write the fitted values alone."),
    ] = None,
    *,
    force: Annotated[bool, typer.Option("--force", help="Overwrite files that are there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Fit a scenario to what was collected, and say how good the fit is.

    Reports give times, faults, recoveries and people's answers. Rows of Graph's deviceManagementAutopilotEvent give the
    totals of phases and how deployments end: they go under [targets].

    \b
    Examples:
      esp-sim fit reports.jsonl --scenario company.toml --out fitted.toml
      esp-sim fit autopilot-events.csv --scenario company.toml --json
    """
    known = scenario_or_exit(scenario)
    _refuse_to_overwrite(out, fragment_file, force=force)
    try:
        shown = Console(stderr=True)
        with Progress(console=shown, transient=True, disable=not shown.is_terminal) as progress:
            sizes = (path.stat().st_size for path in files if path.exists())
            task = progress.add_task("Reading", total=sum(sizes))
            found = read_sources(files, journal_facts, lambda n: progress.advance(task, n))
    except SourceRefused as refused:
        fail(refused)
    fitted = _of_rows(known, found) if isinstance(found, Rows) else fit_scenario(known, found)
    _write(scenario, fitted, out, fragment_file)
    if as_json:
        typer.echo(json.dumps(_as_json(fitted, found if isinstance(found, Rows) else None)))
        return
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = max(console.width, WIDTH)
    _Page(console, fitted, found if isinstance(found, Rows) else None).print()
    for path in (out, fragment_file):
        if path is not None:
            console.print(escape(f"wrote {path}"))


def _refuse_to_overwrite(*paths: Path | None, force: bool) -> None:
    for path in paths:
        if path is not None and path.exists() and not force:
            fail(f"{path}: is there already; choose another name, or overwrite it with --force")


def _of_rows(scenario: Scenario, rows: Rows) -> Fitted:
    return Fitted(
        devices=rows.count,
        reports=rows.count,
        findings=tuple(rows.findings(scenario)),
        notes=NOTES,
    )


def _write(scenario: Path, fitted: Fitted, out: Path | None, fragment_file: Path | None) -> None:
    text = scenario.read_text(encoding="utf-8")
    try:
        if out is not None:
            out.write_text(with_values(text, fitted.used), encoding="utf-8")
            load_scenario(out)
        if fragment_file is not None:
            fragment_file.write_text(fragment(text, fitted.used), encoding="utf-8")
    except ScenarioRefused as refused:
        fail(f"{refused} (this is what was fitted; correct it by hand)")
    except OSError as error:
        fail(f"{error.filename}: can't be written: {error.strerror}; choose another place")


def _as_json(fitted: Fitted, rows: Rows | None) -> dict[str, Any]:
    found: dict[str, Any] = {
        "devices": fitted.devices,
        "reports": fitted.reports,
        "findings": [{**asdict(finding), "used": finding.is_used} for finding in fitted.findings],
        "notes": list(fitted.notes),
    }
    if rows is not None:
        found["phases"] = {name: asdict(fit) for name, fit in rows.phases()}
        found["shares"] = {
            name: {"count": share.hits, "share": share.chance, "interval": share.interval}
            for name, share in rows.shares()
        }
    return found


class _Page:
    """The fit for people."""

    def __init__(self, console: Console, fitted: Fitted, rows: Rows | None) -> None:
        self._console = console
        self._fitted = fitted
        self._rows = rows

    def print(self) -> None:
        """Tables, then what could not be fitted."""
        fitted = self._fitted
        if self._rows is None:
            self._say(f"{fitted.devices:,} devices, {fitted.reports:,} reports")
        else:
            self._say(f"{self._rows.count:,} deployments, {self._rows.judged:,} of them ended")
            self._phases(self._rows)
        self._findings()
        used = len(fitted.used)
        self._say(f"{used} of {len(fitted.findings)} values go into the scenario.")
        few = sum(f.verdict == "too few" for f in fitted.findings)
        if few:
            self._say(
                f"{few} rest on too few: fewer than {FEW_TIMES} times, or fewer than {FEW_CASES} cases of a chance."
            )
        for note in fitted.notes:
            self._say(f"Not fitted: {note}")

    def _say(self, line: str) -> None:
        self._console.print(escape(line), soft_wrap=True)

    def _findings(self) -> None:
        table = Table(box=None, pad_edge=False)
        table.add_column("Key", no_wrap=True)
        for heading in ("Scenario says", "Fitted", "95 % interval", "Cases", "Cut off", "Distance"):
            table.add_column(heading, justify="right")
        table.add_column("Verdict")
        for finding in self._fitted.findings:
            table.add_row(*(escape(cell) for cell in _cells(finding)))
        self._console.print(table)

    def _phases(self, rows: Rows) -> None:
        table = Table(box=None, pad_edge=False)
        table.add_column("Phase")
        for heading in ("Median min", "95 % interval", "Spread", "Ended", "Cut off", "Distance"):
            table.add_column(heading, justify="right")
        for name, fit in rows.phases():
            table.add_row(
                name,
                f"{fit.median_s / 60:.1f}",
                f"{fit.low_s / 60:.1f} to {fit.high_s / 60:.1f}",
                f"{fit.spread:.2f}",
                str(fit.count),
                str(fit.cut_off),
                f"{fit.distance:.3f}{'' if fit.fits else ' (not log-normal)'}",
            )
        self._console.print(table)
        for name, share in rows.shares():
            low, high = share.interval
            self._say(f"{name}: {share.hits:g} ({share.chance:.1%}, {low:.1%} to {high:.1%})")
        self._say("")


def _cells(finding: Finding) -> Iterator[str]:
    yield finding.label
    yield "-" if finding.before is None else _shown(finding.before)
    yield _shown(finding.value)
    yield "" if finding.low == finding.high else f"{finding.low:.3g} to {finding.high:.3g}"
    yield f"{finding.count:,}"
    yield f"{finding.cut_off:,}" if finding.cut_off else ""
    yield "" if finding.distance is None else f"{finding.distance:.3f}"
    yield finding.verdict.value


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return f"{value['median_s']:g} s × {value['spread']:g}"
    return f"{value:g}" if isinstance(value, float) else str(value)
