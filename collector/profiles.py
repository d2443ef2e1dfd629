"""Which ESP profile a device gets, and what is assigned with it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from agent.wire.assignment import Admitted, AssignedItem, PersonScreens
from agent.wire.profile import EspProfile

ALL_DEVICES = "All Devices"
ALL_USERS = "All Users"


@dataclass(frozen=True, slots=True)
class StoredProfile:
    """A profile with whom it is assigned to. The lowest priority number wins."""

    profile: EspProfile
    priority: int
    groups: tuple[str, ...]
    active: bool = True
    default: bool = False
    """The default profile stands behind all others, whatever its number."""

    @property
    def status(self) -> Literal["Active", "Inactive"]:
        """As the profile list prints it."""
        return "Active" if self.active else "Inactive"


def rank(stored: StoredProfile) -> tuple[bool, int, str]:
    """The order in which profiles are looked at: by priority, the default last, the id to break a tie."""
    return (stored.default, stored.priority, stored.profile.id)


def choose(
    profiles: Sequence[StoredProfile], device_groups: Iterable[str], user_groups: Iterable[str]
) -> StoredProfile | None:
    """The profile that applies; None when not even a default is active.

    The highest-priority one assigned to the device, else the highest-priority one assigned to the user, else the
    default: Microsoft Learn, "Set up the Enrollment Status Page", priority and targeting.
    """
    active = sorted((p for p in profiles if p.active), key=rank)
    for groups in ({ALL_DEVICES, *device_groups}, {ALL_USERS, *user_groups}):
        for stored in active:
            if not stored.default and groups.intersection(stored.groups):
                return stored
    return next((p for p in active if p.default), None)


def offer(
    stored: StoredProfile,
    items: Sequence[AssignedItem],
    screens: PersonScreens,
    *,
    organization: str,
    user: str | None,
) -> Admitted:
    """What an admitted device gets."""
    return Admitted(
        organization=organization,
        user=user,
        profile=stored.profile,
        items=tuple(items),
        screens=screens,
    )
