"""What an operations team does to its broker on purpose: everyone drops and comes back, or everyone starts at once."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

_STORM: Final = re.compile(r"^(?P<kind>[a-z]+)@(?P<amount>\d+(?:\.\d+)?)(?P<unit>ms|s|m|h)$")
_RATE: Final = re.compile(r"^(?P<amount>\d+(?:\.\d+)?)/(?P<unit>s|m)$")
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


class StormKind(StrEnum):
    """What happens to everybody at one moment."""

    RECONNECT = "reconnect"
    """All connections are cut without a farewell, and each agent comes back as its link decides."""
    START = "start"
    """Every device that is still off is switched on, whatever the scenario's pattern and the ramp say."""


@dataclass(frozen=True, slots=True)
class PlannedStorm:
    """A storm, so many real seconds after the run began."""

    kind: StormKind
    at_s: float

    @classmethod
    def parse(cls, text: str) -> PlannedStorm:
        """From `reconnect@60s`. Raises `ValueError` with a sentence."""
        match = _STORM.match(text)
        if match is None or match["kind"] not in set(StormKind):
            raise ValueError(
                f"'{text[:40]}' is no storm; write reconnect@60s or start@30s, with ms, s, m or h"
            )
        return cls(StormKind(match["kind"]), float(match["amount"]) * _SECONDS[match["unit"]])


def parse_rate(text: str) -> float:
    """How many a second, from `50/s` or `600/m`. Raises `ValueError` with a sentence."""
    match = _RATE.match(text)
    if match is None or float(match["amount"]) == 0:
        raise ValueError(f"'{text[:40]}' is no rate; write 50/s or 600/m")
    return float(match["amount"]) / _SECONDS[match["unit"]]


def starts(
    planned_s: Sequence[float], ramp_per_s: float, storms: Sequence[PlannedStorm]
) -> list[float]:
    """When each device is switched on, in real seconds after the run began, in the order of `planned_s`.

    `planned_s` is the scenario's pattern. The ramp delays whoever would come faster than it allows; a start storm
    switches on everybody who is still off.
    """
    at_once_s = min((s.at_s for s in storms if s.kind is StormKind.START), default=float("inf"))
    found = [0.0] * len(planned_s)
    free_s = 0.0
    for place in sorted(range(len(planned_s)), key=lambda i: (planned_s[i], i)):
        start_s = max(planned_s[place], free_s)
        free_s = start_s + 1 / ramp_per_s
        found[place] = min(start_s, at_once_s)
    return found
