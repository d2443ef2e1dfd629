"""Which ESP profile a device gets, and what is assigned with it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Final, Literal

from agent.wire.assignment import Admitted, AssignedItem, PersonScreens
from agent.wire.profile import EspProfile
from agent.wire.vocabulary import Variant

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


class Way(IntEnum):
    """How a profile comes to a device; the lowest one goes first."""

    DEVICE = 0
    USER = 1
    DEFAULT = 2


@dataclass(frozen=True, slots=True)
class Candidate:
    """One profile in a choice, and the sentence that says why it was chosen or not."""

    stored: StoredProfile
    way: Way | None
    """How it could apply; None when it could not."""
    reason: str


@dataclass(frozen=True, slots=True)
class Choice:
    """Which profile applies to a device, and what speaks for and against each."""

    chosen: Candidate | None
    """None when not even a default is active."""
    rejected: tuple[Candidate, ...]
    """In the order in which profiles are looked at."""


_WITHOUT_USER: Final = frozenset({Variant.SELF_DEPLOYING, Variant.PRE_PROVISIONED})


def choose(
    profiles: Iterable[StoredProfile],
    device_groups: Iterable[str],
    user_groups: Iterable[str],
    variant: Variant = Variant.STANDARD,
) -> Choice:
    """The profile that applies, with the reasons.

    The highest-priority one assigned to the device, else the highest-priority one assigned to the user, else the
    default; groups of the user do not count where setup runs without the user, which is in self-deploying and
    pre-provisioned enrollment. Source: Microsoft Learn, "Set up the Enrollment Status Page", priority and targeting.
    """
    devices, users = {ALL_DEVICES, *device_groups}, {ALL_USERS, *user_groups}
    found = [_candidate(p, devices, users, variant) for p in sorted(profiles, key=rank)]
    able = [c for way in Way for c in found if c.way is way]
    if not able:
        return Choice(None, tuple(found))
    first, others = able[0], able[1:]
    told = {c.stored.profile.id: _why_not_first(c, first) for c in others}
    return Choice(
        replace(first, reason=_why_first(first, others)),
        tuple(
            replace(c, reason=told.get(c.stored.profile.id, c.reason))
            for c in found
            if c is not first
        ),
    )


def _candidate(
    stored: StoredProfile, devices: set[str], users: set[str], variant: Variant
) -> Candidate:
    """Whether and how a profile could apply, whatever the others are; the reason is the bare fact."""
    if not stored.active:
        return Candidate(stored, None, "inactive")
    if stored.default:
        return Candidate(stored, Way.DEFAULT, "the default")
    by_device = next((g for g in stored.groups if g in devices), None)
    by_user = next((g for g in stored.groups if g in users), None)
    if by_device is not None:
        return Candidate(stored, Way.DEVICE, f"assigned to the device by {by_device}")
    if by_user is None:
        return Candidate(stored, None, _in_no_group(stored.groups))
    if variant in _WITHOUT_USER:
        return Candidate(
            stored,
            None,
            f"assigned to the user by {by_user}, and in {variant.value.replace('_', '-')} enrollment the user is unknown "
            "during device setup, so groups of the user do not count",
        )
    return Candidate(stored, Way.USER, f"assigned to the user by {by_user}")


def _in_no_group(groups: Sequence[str]) -> str:
    if not groups:
        return "assigned to no group"
    return f"neither the device nor its user is in {' or '.join(groups)}"


def _why_first(first: Candidate, others: Sequence[Candidate]) -> str:
    rivals = [c for c in others if c.way is first.way]
    if first.way is Way.DEFAULT:
        return "the default, and no other profile applies"
    if rivals:
        return f"{first.reason}; of {len(rivals) + 1} such profiles it has the highest priority"
    if first.way is Way.USER:
        return f"{first.reason}; none that is assigned to the device applies"
    return first.reason


def _why_not_first(late: Candidate, first: Candidate) -> str:
    winner = first.stored.profile.name
    if late.way is not first.way:
        if late.way is Way.DEFAULT:
            return f"the default stands behind all others, and {winner} applies"
        return f"{late.reason}, but {winner} is assigned to the device, and that goes first"
    theirs, ours = late.stored.priority, first.stored.priority
    if theirs == ours:
        return f"{late.reason}, with the same priority {ours} as {winner}, whose id comes first"
    return f"{late.reason}, with a lower priority ({theirs}) than {winner} ({ours})"


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
