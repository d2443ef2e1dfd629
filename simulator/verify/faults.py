"""Everything that can go wrong in a simulated world, as one flat structure that is drawn per seed."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Final

from simulator.draws import Draws


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """One field for each kind; 0 turns it off. Rates are per hour of the world, shares are chances in [0, 1]."""

    message_delays_ms_max: int = 0
    """A message takes up to so much longer than it has to."""
    reorders_share: float = 0
    """Of messages: those that may overtake others of the same connection on another topic."""
    duplicates_share: float = 0
    """Of messages: those that arrive a second time, up to ten seconds later."""
    drops_share: float = 0
    """Of the messages that the broker has for a client: those that find its queue full, and are gone."""
    connection_breaks_per_hour: float = 0
    """Per connection of a device; what is on its way in either direction is lost."""
    half_open_share: float = 0
    """Of breaks: those that one side notices only when its keep-alive runs out."""
    late_wills_share: float = 0
    """Of wills: those that the broker publishes minutes after the session's end."""
    broker_restarts_per_hour: float = 0
    broker_memory_losses_share: float = 0
    """Of the broker's restarts: those after which no retained message is left."""
    collector_outages_per_hour: float = 0
    """The collector dies between any two steps and comes back within an hour."""
    collector_restores_per_hour: float = 0
    """The collector dies and comes back with its store as it was up to an hour ago."""
    collector_pauses_per_hour: float = 0
    """The owner is paused, another collector takes over, and the first wakes up past its term."""
    forgeries_per_hour: float = 0
    """Per device; whoever has the broker in the wrong hands plants a message on its topics."""
    power_cuts_per_thousand: float = 0
    """Of the moments between two effects on a device: those at which its power goes."""
    lazy_losses_share: float = 0
    """Of power cuts: those that take batches which were committed lazily."""
    torn_tails_share: float = 0
    """Of power cuts during a commit: those that leave half of the batch on the disk."""
    nights_off_share: float = 0
    """Of power cuts: those after which the device stays off over night."""
    full_disks_per_hour: float = 0
    """Per device; nothing can be committed for up to ten minutes."""
    ignored_reboots_share: float = 0
    """Of planned restarts: those that the platform never carries out."""
    journal_restores_share: float = 0
    """Of power cuts: those after which the journal is an older copy of itself, up to an hour old."""
    clock_jumps_per_hour: float = 0
    """Per device; its wall clock jumps by up to 60 days either way."""

    def without(self, kind: str) -> Faults:
        """The same with one kind turned off.

        Raises:
            ValueError: there is no such kind.
        """
        if kind not in KINDS:
            raise ValueError(f"there is no fault '{kind}'; choose from: {', '.join(KINDS)}")
        return replace(self, **{kind: 0})

    @property
    def active(self) -> tuple[str, ...]:
        """The kinds that are on."""
        return tuple(kind for kind in KINDS if getattr(self, kind) > 0)


KINDS: Final = tuple(field.name for field in fields(Faults))

_HIGHEST: Final = Faults(
    message_delays_ms_max=20_000,
    reorders_share=0.5,
    duplicates_share=0.2,
    drops_share=0.1,
    connection_breaks_per_hour=12,
    half_open_share=0.7,
    late_wills_share=0.8,
    broker_restarts_per_hour=3,
    broker_memory_losses_share=0.8,
    collector_outages_per_hour=3,
    collector_restores_per_hour=1.5,
    collector_pauses_per_hour=3,
    forgeries_per_hour=8,
    power_cuts_per_thousand=30,
    lazy_losses_share=0.8,
    torn_tails_share=0.8,
    nights_off_share=0.3,
    full_disks_per_hour=2,
    ignored_reboots_share=0.9,
    journal_restores_share=0.5,
    clock_jumps_per_hour=2,
)
"""The upper end of what is drawn."""

_ON_SHARE: Final = 0.5
_RARE: Final = {"journal_restores_share": 0.15, "collector_restores_per_hour": 0.35}


def draw_faults(draws: Draws) -> Faults:
    """A swarm: each kind is on or off, and then weak or strong, whatever the others are."""
    drawn: dict[str, float] = {}
    for kind in KINDS:
        if draws.chance(_RARE.get(kind, _ON_SHARE), "fault is on", kind):
            strength = 0.15 + 0.85 * draws.uniform("fault strength", kind)
            highest = getattr(_HIGHEST, kind)
            drawn[kind] = round(highest * strength) if kind.endswith("_max") else highest * strength
    return Faults(**drawn)  # type: ignore[arg-type]


NONE: Final = Faults()
