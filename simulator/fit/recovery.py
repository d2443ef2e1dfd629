"""How many devices a fault affects and how often a further try works, where neither can always be seen.

A try that was cut off, or that failed for another reason, does not show whether the fault was still there; and whether a
first try that was cut off would have ended is only known by its chance. Both are filled in by expectation and
maximization (see `fit_distribution`): over all tries at which the fault may have gone away, each as likely as what was
seen makes it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

ROUNDS_MAX: Final = 500
CLOSE_ENOUGH: Final = 1e-7
TRIES_MAX: Final = 50
"""Nobody learns more from further tries of one device."""


class Seen(NamedTuple):
    """How likely what was seen of a further try is."""

    while_affected: float
    once_recovered: float


class Affected(NamedTuple):
    """A device whose first try met the fault, or may have."""

    otherwise: float
    """How likely the first try is to look like this without the fault: 0 where there is no doubt."""
    further: tuple[Seen, ...]


@dataclass(frozen=True, slots=True)
class Recovery:
    """What became of the affected devices."""

    affected: float
    tries: float
    """Further tries of devices that were still affected."""
    recovered: float
    """Those of them that worked."""


def recovery_of(devices: Sequence[Affected], whole: float) -> Recovery:
    """The number of affected devices, of their further tries, and of those that worked.

    `whole` is the number of devices that could have met the fault.
    """
    chance = share = 0.5
    found = Recovery(0, 0, 0)
    for _ in range(ROUNDS_MAX):
        parts = [_expected(device, share, chance) for device in devices]
        found = Recovery(
            affected=sum(part.affected for part in parts),
            tries=sum(part.tries for part in parts),
            recovered=sum(part.recovered for part in parts),
        )
        before = chance, share
        share = min(found.affected / whole, 1.0) if whole else share
        # Kept off the ends, from which there is no way back.
        chance = min(max(found.recovered / found.tries, 1e-6), 1 - 1e-6) if found.tries else chance
        if max(abs(chance - before[0]), abs(share - before[1])) < CLOSE_ENOUGH:
            break
    return found


def _expected(device: Affected, share: float, chance: float) -> Recovery:
    """What is to be expected of one device when this share is affected, and further tries work with this chance."""
    further = device.further[:TRIES_MAX]
    ways = list(_ways(further, chance))
    likely = sum(way for way, _, _ in ways)
    otherwise = device.otherwise
    for seen in further:
        otherwise *= seen.once_recovered
    whole = share * likely + (1 - share) * otherwise
    if not whole or not likely:
        return Recovery(0, 0, 0)
    affected = share * likely / whole
    return Recovery(
        affected=affected,
        tries=affected * sum(way * tries for way, tries, _ in ways) / likely,
        recovered=affected * sum(way * gone for way, _, gone in ways) / likely,
    )


def _ways(further: Sequence[Seen], chance: float) -> Iterator[tuple[float, int, int]]:
    """Every try at which the fault may have gone away, or none: how likely, after how many tries, and whether it did."""
    still = 1.0
    for number, _ in enumerate(further):
        later = 1.0
        for seen in further[number:]:
            later *= seen.once_recovered
        yield still * chance * later, number + 1, 1
        still *= (1 - chance) * further[number].while_affected
    yield still, len(further), 0
