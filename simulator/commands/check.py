"""The command `esp-sim check`: what a scenario would run, and what looks wrong in it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import typer
from rich.console import Console
from rich.markup import escape

from agent.wire.vocabulary import EnrollmentType, FailureKind, Phase, Variant
from simulator.commands.command_line import AsJson, ScenarioFile, fail, scenario_or_exit
from simulator.plan.report import plan_of
from simulator.working_hours import DAY_MS, time_of_day_ms

BAR: Final = 40
NAME_WIDTH: Final = 30


def check(scenario: ScenarioFile, *, as_json: AsJson = False) -> None:
    """Check a scenario and print what it would run, without running it.

    Steps come with the times to expect: averages, on the median line, when nothing fails. A mistake ends with exit code
    2 and one sentence; a warning is something that a run would show to be a bad idea, and changes no exit code.

    \b
    Examples:
      esp-sim check simulator/scenarios/company.toml
      esp-sim check simulator/scenarios/office.toml --json
    """
    known = scenario_or_exit(scenario)
    try:
        plan = plan_of(known)
    except ValueError as error:
        fail(f"{scenario}: {error}")
    if as_json:
        typer.echo(json.dumps(plan))
        return
    _Page(Console(highlight=False), plan, known.begins).print(scenario)


class _Page:
    """The plan for people."""

    def __init__(self, console: Console, plan: dict[str, Any], begins: str) -> None:
        self._console = console
        self._plan = plan
        self._begins_ms = time_of_day_ms(begins)

    def print(self, file: Path) -> None:
        """All of it; the warnings come last, where they are seen."""
        plan, warnings = self._plan, self._plan["warnings"]
        self._say(f"{file}: {_counted(len(warnings), 'warning') if warnings else 'good'}.")
        self._say(f"{plan['title']}; {_counted(plan['devices'], 'device')}, seed {plan['seed']}")
        if plan["looked_at"] < plan["devices"]:
            self._say(f"Counts are of the first {plan['looked_at']:,} devices.")
        for way in plan["ways"]:
            self._way(way)
        self._say("")
        for part in (self._profiles, self._people, self._sites, self._refused, self._start):
            for line in part():
                self._say(line)
        for line in self._targets():
            self._say(line)
        for warning in warnings:
            self._say(f"Warning: {warning['key']}: {warning['sentence']}")

    def _say(self, line: str) -> None:
        self._console.print(escape(line), soft_wrap=True)

    def _way(self, way: dict[str, Any]) -> None:
        kind, variant = EnrollmentType(way["type"]), Variant(way["variant"])
        on = f" on {way['hardware']}" if way["hardware"] else ""
        self._say("")
        self._say(
            f"{kind.label}, {variant.label}{on}: {_counted(way['devices'], 'device')}, {way['profile']}"
        )
        for context, time in way["contexts"].items():
            self._say(
                f"  {context.capitalize()} setup usually takes {_time(time['needs_s'])} "
                f"of the {_time(time['budget_s'])} that it may."
            )
        for phase, steps in groupby(way["steps"], key=lambda step: step["phase"]):
            self._say(f"  {Phase(phase).label}")
            for step in steps:
                self._say(f"    {_step_line(step)}")
        if way["background"]:
            self._say(f"  In the background afterwards: {', '.join(way['background'])}")
        for item, reason in way["skipped"].items():
            self._say(f"  Not set up: {item} ({reason})")

    def _profiles(self) -> Iterator[str]:
        for name, devices in self._plan["by_profile"].items():
            yield f"Profile {name}: {_counted(devices, 'device')}"

    def _people(self) -> Iterator[str]:
        for person in self._plan["people"]:
            hours = f", there from {person['hours']}" if person["hours"] else ""
            yield (
                f"People '{person['name']}' at {_counted(person['devices'], 'device')}: answer in "
                f"{_time(person['answer_s'])}, leave a screen alone {person['silent']:.2%} of the time{hours}"
            )

    def _sites(self) -> Iterator[str]:
        for site in self._plan["sites"]:
            rate, count = site["megabits_per_second"], site["devices_each"]
            line = (
                "each with its own line"
                if rate is None
                else f"{rate:g} Mbit/s for {count} devices together"
            )
            cache = ", with a cache" if site["has_cache"] else ""
            yield f"Site '{site['name']}': {_counted(site['devices'], 'device')}, {line}{cache}"

    def _refused(self) -> Iterator[str]:
        for entry in self._plan["refused"]:
            label = FailureKind(entry["reason"]).label
            title = EnrollmentType(entry["type"]).label
            yield f"Refused: {_counted(entry['devices'], 'device')} of {title}: {label}"

    def _start(self) -> Iterator[str]:
        most = max((entry["devices"] for entry in self._plan["start"]), default=0)
        yield "Switched on:"
        for entry in self._plan["start"]:
            bar = "█" * round(BAR * entry["devices"] / max(1, most))
            yield f"  {self._clock(entry['from_minute'])}  {entry['devices']:6}  {bar}".rstrip()

    def _clock(self, minute: float) -> str:
        at_ms = self._begins_ms + round(minute * 60_000)
        day, minutes = at_ms // DAY_MS, at_ms % DAY_MS // 60_000
        on = f"day {day + 1} " if day else ""
        return f"{on}{minutes // 60:02}:{minutes % 60:02}"

    def _targets(self) -> Iterator[str]:
        for kind, target in self._plan["targets"].items():
            title = EnrollmentType(kind).label
            yield f"Target of {title}: {target['success_rate']:.1%}, {target['minutes']:g} minutes"


def _step_line(step: dict[str, Any]) -> str:
    minutes, seconds = divmod(round(step["begins_s"]), 60)
    takes = _time(step["download_s"] + step["work_s"])
    return (
        f"{minutes:4}:{seconds:02}  {step['name']:<{NAME_WIDTH}} {takes:>8}  "
        f"{'; '.join(_particulars(step))}"
    ).rstrip()


def _particulars(step: dict[str, Any]) -> Iterator[str]:
    if step["blocking"]:
        yield "blocks"
    if step["needs"]:
        yield f"needs {', '.join(step['needs'])}"
    if step["download_s"]:
        yield f"{_time(step['download_s'])} of it download"
    if step["limit_s"] is not None:
        tries = "1 try" if step["tries"] == 1 else f"{step['tries']} tries"
        yield f"{tries} of at most {_time(step['limit_s'])}"


def _counted(count: int, word: str) -> str:
    return f"{count:,} {word}" if count == 1 else f"{count:,} {word}s"


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds >= 600 else f"{round(seconds / 60, 1):g} min"
