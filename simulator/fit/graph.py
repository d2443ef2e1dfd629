"""Reads exported rows of Microsoft Graph's `deviceManagementAutopilotEvent` and fits what such rows can say.

A row is one deployment with the durations of its phases. It says nothing of items, so that no app's time or fault can
be had from it: what can be had is how long each phase takes, how often deployments succeed, and of what they fail.
Source of properties and words: Microsoft Graph beta, resources `deviceManagementAutopilotEvent` and
`windowsAutopilotDeploymentState`.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from agent.wire.vocabulary import EnrollmentType
from simulator.fit.distribution import ChanceFit, TimesFit, fit_times
from simulator.fit.findings import Finding
from simulator.fit.scenario import target_findings
from simulator.scenario import Scenario

STATE: Final = "deploymentState"
DETAILS: Final = "enrollmentFailureDetails"
DURATIONS: Final = {
    "deviceSetupDuration": "device setup",
    "accountSetupDuration": "account setup",
    "deploymentDuration": "deployment, enrollment included",
    "deploymentTotalDuration": "deployment, until the desktop",
}
STATUSES: Final = {
    "deviceSetupDuration": "deviceSetupStatus",
    "accountSetupDuration": "accountSetupStatus",
}
"""A phase that succeeded in a deployment that failed later took its own time."""
WHOLE: Final = "deploymentDuration"
CLICKED_PAST: Final = "successWithTimeout"
"""The time was up and the person went on: a success of the deployment, and no end of what it waited for."""
SUCCESSES: Final = frozenset({"success", "successWithTimeout", "successOnRetry"})
FAILURES: Final = frozenset({"failure"})
_OPEN: Final = frozenset({"unknown", "inProgress", "notAttempted", "disabled", ""})
_NUMBERED: Final = (
    "unknown",
    "success",
    "inProgress",
    "failure",
    "successWithTimeout",
    "notAttempted",
    "disabled",
    "successOnRetry",
)
"""The states by the numbers that some exports have in their place."""

_DURATION: Final = re.compile(
    r"(?P<minus>-)?P(?:(?P<days>\d+(?:\.\d+)?)D)?"
    r"(?:T(?:(?P<hours>\d+(?:\.\d+)?)H)?(?:(?P<minutes>\d+(?:\.\d+)?)M)?(?:(?P<seconds>\d+(?:\.\d+)?)S)?)?"
)


class RowsRefused(Exception):
    """An export that can't be used: one sentence."""


@dataclass(slots=True)
class Rows:
    """What the rows of an export come to."""

    count: int = 0
    states: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    """Failed deployments by `enrollmentFailureDetails`."""
    finished_s: dict[str, list[float]] = field(
        default_factory=lambda: {name: [] for name in DURATIONS}
    )
    """Of phases that ended well."""
    cut_off_s: dict[str, list[float]] = field(
        default_factory=lambda: {name: [] for name in DURATIONS}
    )
    """Of those that did not: so far they had come, and how much longer they would have taken nobody knows."""
    success_s: list[float] = field(default_factory=list)
    """Whole deployments that succeeded."""

    def add(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Take in the rows of one export.

        Raises:
            RowsRefused: a row lacks the state, or has a value that is none.
        """
        for number, row in enumerate(rows, 1):
            self._add(number, row)

    def _add(self, number: int, row: Mapping[str, Any]) -> None:
        by_name = {key.strip().lower(): value for key, value in row.items() if key}
        if STATE.lower() not in by_name:
            raise RowsRefused(f"row {number}: {STATE} is missing; export that column too")
        state = _state(number, by_name[STATE.lower()])
        self.count += 1
        self.states[state] += 1
        if state in FAILURES:
            details = str(by_name.get(DETAILS.lower()) or "").strip()
            self.failures[details or "no details"] += 1
        for name in DURATIONS:
            seconds = _seconds(number, name, by_name.get(name.lower()))
            if not seconds:
                continue
            status = by_name.get(STATUSES.get(name, "").lower())
            ended = _state(number, status) if status else state
            if ended in SUCCESSES - {CLICKED_PAST}:
                self.finished_s[name].append(seconds)
            elif ended in FAILURES or ended == CLICKED_PAST:
                self.cut_off_s[name].append(seconds)
            if name == WHOLE and state in SUCCESSES:
                self.success_s.append(seconds)

    @property
    def judged(self) -> int:
        """Deployments that came to an end."""
        return sum(n for state, n in self.states.items() if state not in _OPEN)

    @property
    def succeeded(self) -> int:
        """Deployments that succeeded, those that a person clicked past the timeout included."""
        return sum(n for state, n in self.states.items() if state in SUCCESSES)

    def phases(self) -> Iterator[tuple[str, TimesFit]]:
        """How long each phase takes; one that failed would have taken longer, or for ever."""
        for name, title in DURATIONS.items():
            fit = fit_times(self.finished_s[name], self.cut_off_s[name])
            if fit is not None:
                yield title, fit

    def shares(self) -> Iterator[tuple[str, ChanceFit]]:
        """How often deployments end in each state, then how often they fail of what."""
        for state, count in self.states.most_common():
            if state not in _OPEN:
                yield state, ChanceFit(count, self.judged)
        for details, count in self.failures.most_common():
            yield f"failure: {details}", ChanceFit(count, self.judged)

    def findings(self, scenario: Scenario) -> list[Finding]:
        """The keys of the scenario that such rows say something of: the targets of Windows Autopilot."""
        if not self.judged:
            return []
        rate = ChanceFit(self.succeeded, self.judged)
        kind = EnrollmentType.WINDOWS_AUTOPILOT
        return list(target_findings(scenario, kind, rate, self.success_s))


NOTES: Final = (
    (
        "these rows hold phases and not items: no app's time, fault or recovery can be fitted from them, "
        "and no person's answers; reports that esp-collector stored can do that"
    ),
    "the totals are targets to compare a run of the scenario with, and change nothing of what it simulates",
)


def rows_of_json(text: str) -> list[Mapping[str, Any]]:
    """The rows of a JSON export: a list, or Graph's own `{"value": [...]}`.

    Raises:
        RowsRefused: it is neither.
    """
    try:
        found = json.loads(text)
    except ValueError as error:
        raise RowsRefused(f"is not JSON: {error}; export it again") from None
    rows = found.get("value") if isinstance(found, dict) else found
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise RowsRefused("has no list of rows; give Graph's answer, with its value, or that list")
    return rows


def rows_of_csv(text: str) -> list[Mapping[str, Any]]:
    """The rows of a CSV export, whose first line names the columns."""
    return list(csv.DictReader(io.StringIO(text.removeprefix("\ufeff"))))


def _state(number: int, value: Any) -> str:
    word = "" if value is None else str(value).strip()
    if word.isdecimal() and int(word) < len(_NUMBERED):
        return _NUMBERED[int(word)]
    if word not in SUCCESSES | FAILURES | _OPEN:
        known = ", ".join(_NUMBERED)
        raise RowsRefused(f"row {number}: {STATE} '{word}' is not known; use one of: {known}")
    return word


def _seconds(number: int, name: str, value: Any) -> float | None:
    """An ISO 8601 duration in seconds; None for none, or for one of no length."""
    text = "" if value is None else str(value).strip()
    if not text:
        return None
    found = _DURATION.fullmatch(text)
    if found is None or not any(found[key] for key in ("days", "hours", "minutes", "seconds")):
        raise RowsRefused(
            f"row {number}: {name} '{text}' is no duration; write it as ISO 8601 has it, as in PT1H2M30S"
        )
    days, hours, minutes, seconds = (
        float(found[key] or 0) for key in ("days", "hours", "minutes", "seconds")
    )
    whole = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    # Clocks that were set back in between leave negative durations, which say nothing.
    return None if found["minus"] or whole == 0 else whole
