"""Looks for the value of a key at which a fleet begins to reach a wanted success rate, by halving."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from enum import StrEnum
from itertools import pairwise
from typing import Any, Final

from simulator.scenario import Scenario
from simulator.tally import Tally
from simulator.whatif.figures import type_figures
from simulator.whatif.overrides import OverrideRefused
from simulator.whatif.sweep import Row, row_figures, versions_of
from simulator.whatif.versions import Versions

TICKS_MAX: Final = 1_000_000_000
"""More values than a search is for; halving them takes thirty runs of the fleet."""
_WRITTEN: Final = re.compile(r"(-?[0-9]+(?:\.[0-9]+)?)\.\.(-?[0-9]+(?:\.[0-9]+)?)")

RunVersions = Callable[[Sequence[Scenario]], Versions]
"""Enrolls the same devices under each of these scenarios."""


class CutShort(Exception):
    """Somebody wants the run to end before its devices are through."""


class Goes(StrEnum):
    """What a greater value does to success."""

    RISING = "rising"
    FALLING = "falling"

    @property
    def never(self) -> str:
        """What a greater value never lets enrollments do, which halving takes for granted."""
        return "fewer" if self is Goes.RISING else "more"

    @property
    def wanted(self) -> str:
        """Which of the values that are enough says most."""
        return "smallest" if self is Goes.RISING else "largest"


@dataclass(frozen=True, slots=True)
class Span:
    """The values among which a search looks: whole steps of 10 to the power of minus `digits`."""

    low: int
    """In steps."""
    high: int
    digits: int = 0

    def value(self, tick: int) -> int | float:
        """The value of a step, as a scenario has it."""
        return tick if self.digits == 0 else float(Decimal(tick).scaleb(-self.digits))


TIMEOUTS: Final = Span(1, 1440)
FINDABLE: Final = {"timeout": TIMEOUTS}
"""Keys that need no range: the values that they may have, of which a greater one lets more enrollments succeed."""


@dataclass(frozen=True, slots=True)
class Find:
    """Which value of this key is just enough for this success rate?"""

    key: str
    success_rate: float
    span: Span


@dataclass(frozen=True, slots=True)
class Search:
    """What a search came to."""

    find: Find
    goes: Goes | None
    """What was taken for granted; None where the ends of the range are alike."""
    tried: dict[int, Tally] = field(default_factory=dict)
    """By step."""
    found: int | None = None
    """The step; None when neither end of the range is enough, or the search was cut short."""
    between: tuple[int, int] | None = None
    """Of a search that was cut short: a step that is not enough, and one that is."""

    def rate(self, tick: int) -> float:
        """The success rate at a step that was tried."""
        return self.tried[tick].whole.success_rate or 0.0

    def reaches(self, tick: int) -> bool:
        """Whether a step that was tried is enough."""
        return self.rate(tick) >= self.find.success_rate

    @property
    def which(self) -> str:
        """Which of the values that are enough is looked for."""
        return (self.goes or Goes.RISING).wanted


def read_find(text: str) -> tuple[str, Span]:
    """Key and range of `KEY=LOW..HIGH`; a key that everybody asks for needs no range.

    Raises:
        OverrideRefused: the range is missing, or is none.
    """
    key, equals, written = (part.strip() for part in text.partition("="))
    if not equals and key in FINDABLE:
        return key, FINDABLE[key]
    match = _WRITTEN.fullmatch(written)
    if not key or match is None:
        known = ", ".join(FINDABLE)
        raise OverrideRefused(
            f"--find {text}: write between which values to look, KEY=LOW..HIGH, "
            f"for example apps.0.size_mb=100..4000; only {known} needs no range"
        )
    low, high = Decimal(match[1]), Decimal(match[2])
    digits = max(0, *(-int(bound.as_tuple().exponent) for bound in (low, high)))
    span = Span(int(low.scaleb(digits)), int(high.scaleb(digits)), digits)
    if not 0 < span.high - span.low <= TICKS_MAX:
        raise OverrideRefused(
            f"--find {text}: write the smaller value first, with so few decimals that there are "
            f"at most {TICKS_MAX:,} steps between the two"
        )
    return key, span


def search(scenario: Scenario, find: Find, run: RunVersions) -> Search:
    """The value at which success on these devices begins to be enough.

    Halving takes for granted that success goes one way from end to end of the range; which way is known of a timeout,
    and tried at both ends of any other. What is found is checked: it reaches the rate, and its neighbour does not.

    Raises:
        OverrideRefused: a value is not possible.
        CutShort: there was no time to try anything.
    """
    now = Search(find, Goes.RISING if find.key in FINDABLE else None)
    low, high = find.span.low, find.span.high

    def enroll(*ticks: int) -> None:
        scenarios = versions_of(scenario, find.key, [find.span.value(tick) for tick in ticks])
        now.tried.update(zip(ticks, run(scenarios).tallies, strict=True))

    if now.goes is None:
        enroll(low, high)
        if now.rate(low) != now.rate(high):
            now = replace(now, goes=Goes.RISING if now.rate(low) < now.rate(high) else Goes.FALLING)
    else:
        enroll(high)
    # From a step that is not enough towards one that is; one step outside the range nothing is enough.
    short, enough = (high + 1, low) if now.goes is Goes.FALLING else (low - 1, high)
    if not now.reaches(enough):
        return now
    other_end = low if enough == high else high
    if other_end in now.tried:
        if now.reaches(other_end):
            return replace(now, found=other_end)
        short = other_end
    while abs(enough - short) > 1:
        middle = (short + enough) // 2
        try:
            enroll(middle)
        except CutShort:
            return replace(now, between=(short, enough))
        short, enough = (short, middle) if now.reaches(middle) else (middle, enough)
    return replace(now, found=enough)


# --- figures ------------------------------------------------------------------------------------


def search_figures(of: Search) -> dict[str, Any]:
    """The search for programs."""
    span = of.find.span
    return {
        "key": of.find.key,
        "from": span.value(span.low),
        "to": span.value(span.high),
        "wanted": of.find.success_rate,
        "which": of.which,
        "found": None if of.found is None else span.value(of.found),
        "sentence": search_sentence(of),
        "taken_for_granted": granted_sentence(of),
        "tried": [row_figures(Row(span.value(tick), of.tried[tick])) for tick in sorted(of.tried)],
    }


def search_sentence(of: Search) -> str:
    """What was found, or that nothing was."""
    key, wanted = of.find.key, f"{of.find.success_rate:.2%}"
    if of.between is not None:
        short, enough = of.between
        more = f"lies between {_written(of, short)} and {_written(of, enough)}"
        if short not in of.tried:
            more = "a smaller one" if of.goes is Goes.RISING else "a greater one"
        return f"Interrupted: the {of.which} {key} that reaches {wanted} is {_written(of, enough)}, or {more}."
    if of.found is None:
        best = max(sorted(of.tried), key=of.rate)
        return (
            f"No {key} from {_written(of, of.find.span.low)} to {_written(of, of.find.span.high)} reaches {wanted}: "
            f"even {_written(of, best)} comes to {of.rate(best):.2%}. What fails there fails of something else."
        )
    if of.goes is None:
        return (
            f"{key} decides nothing here: at {_written(of, of.find.span.low)} and at "
            f"{_written(of, of.find.span.high)} the rate is {of.rate(of.found):.2%}, which is enough."
        )
    figures = type_figures(of.tried[of.found].whole)
    low, high = figures["success_rate_interval"]
    sentence = (
        f"The {of.which} {key} that reaches {wanted} is {_written(of, of.found)}: there the rate is "
        f"{figures['success_rate']:.2%} (of other fleets {low:.2%} to {high:.2%})."
    )
    beyond = of.found - 1 if of.goes is Goes.RISING else of.found + 1
    if beyond in of.tried:
        sentence += f" With {_written(of, beyond)} it is {of.rate(beyond):.2%}."
    elif not of.find.span.low <= beyond <= of.find.span.high:
        sentence += " It is the end of the range, all of which is enough."
    return sentence


def granted_sentence(of: Search) -> str:
    """What halving takes for granted, and whether the values that were tried bear it out."""
    key = of.find.key
    if of.goes is None:
        return f"Taken for granted: what {key} does not change at the ends of the range it does not change in between."
    from_ends = "" if key in FINDABLE else ", as the ends of the range suggest"
    sentence = f"Taken for granted: a greater {key} never lets {of.goes.never} enrollments succeed{from_ends}."
    against = [*_against(of)]
    if against:
        low, high = against[0]
        return (
            f"{sentence} The values tried speak against it: {_written(of, low)} comes to {of.rate(low):.2%} and "
            f"{_written(of, high)} to {of.rate(high):.2%}; look closer with --sweep."
        )
    return (
        sentence
        if len(of.tried) < 2
        else f"{sentence} The {len(of.tried)} values tried bear it out."
    )


def _against(of: Search) -> Iterator[tuple[int, int]]:
    """Neighbouring values that were tried, and go the other way."""
    for low, high in pairwise(sorted(of.tried)):
        change = of.rate(high) - of.rate(low)
        if change < 0 if of.goes is Goes.RISING else change > 0:
            yield low, high


def _written(of: Search, tick: int) -> str:
    return f"{of.find.span.value(tick):.{of.find.span.digits}f}"
