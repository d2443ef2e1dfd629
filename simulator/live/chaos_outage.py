"""What a whole fleet does when the collector returns after an outage, second by second, against the window of its links."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, replace
from typing import Final

from agent.core.link import LinkLimits
from simulator.live.chaos_network import Meter

CALM_S: Final = 5.0
WATCH_S: Final = 15.0
_OUTAGE: Final = re.compile(r"^(?P<target>[a-z]+):(?P<amount>\d+(?:\.\d+)?)(?P<unit>[smh])$")
_MINUTES: Final = {"s": 1 / 60, "m": 1.0, "h": 60.0}


@dataclass(frozen=True, slots=True)
class Outage:
    """Who is away, and for how many minutes of the devices' time."""

    target: str
    device_minutes: float
    calm_s: float = CALM_S
    """How long the fleet is watched before, in real seconds."""
    watch_s: float = WATCH_S
    """How long it is watched after its window, in real seconds."""

    @classmethod
    def parse(cls, text: str) -> Outage:
        """From `collector:10m`. Raises `ValueError` with a sentence."""
        match = _OUTAGE.match(text)
        if match is None or match["target"] != "collector" or float(match["amount"]) == 0:
            raise ValueError(f"'{text[:40]}' is no outage; say it like collector:10m")
        return cls(match["target"], float(match["amount"]) * _MINUTES[match["unit"]])


@dataclass(frozen=True, slots=True)
class Herd:
    """One outage and the return from it. Times are real seconds on the run's clock; lists begin with the return."""

    agents: int
    """Enrolling when the collector went."""
    calm_s: float
    gone_s: float
    back_s: float
    attempts: tuple[int, ...] = ()
    """Connection attempts in each second."""
    reports: tuple[int, ...] = ()
    """Reports published in each second."""
    states: tuple[int, ...] = ()
    """Retained states published in each second; they go on during an outage."""
    returned: tuple[int, ...] = ()
    """Agents that sent their first report in each second."""
    attempts_meanwhile: int = 0
    """Connection attempts during the outage."""
    reports_before: float = 0.0
    """Reports a second while the collector was there."""
    reports_meanwhile: float = 0.0
    """Reports a second during the outage: the probes."""

    @property
    def away_s(self) -> float:
        """How long nobody was there."""
        return self.back_s - self.gone_s

    @property
    def window_s(self) -> float:
        """Over how long the link machine spreads the return: as long as it was held, up to its limit."""
        return min(self.away_s, LinkLimits().return_ms_max / 1000)


def after_outage(herd: Herd, meter: Meter, now_s: float) -> Herd:
    """The same with everything that was counted until now."""
    seconds = range(int(herd.back_s), int(now_s))

    def listed(counted: Counter[int]) -> tuple[int, ...]:
        return tuple(counted[second] for second in seconds)

    def total(counted: Counter[int], first_s: float, end_s: float) -> int:
        return sum(counted[second] for second in range(int(first_s), int(end_s)))

    gone_s, back_s = herd.gone_s, herd.back_s
    return replace(
        herd,
        attempts=listed(meter.attempts),
        reports=listed(meter.reports),
        states=listed(meter.states),
        returned=listed(meter.returned),
        attempts_meanwhile=total(meter.attempts, gone_s, back_s),
        reports_before=total(meter.reports, herd.calm_s, gone_s)
        / max(1, int(gone_s) - int(herd.calm_s)),
        # Not the first second, in which the fleet does not know yet.
        reports_meanwhile=total(meter.reports, gone_s + 1, back_s)
        / max(1, int(back_s) - int(gone_s + 1)),
    )
