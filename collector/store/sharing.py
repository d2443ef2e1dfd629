"""How many partitions each of several collectors holds, so that all of them come to the same shares without talking."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from agent.wire.topics import PARTITIONS


def share_of(owner: str, owners: Collection[str]) -> int:
    """How many partitions `owner` holds when these collectors are there; the shares add up to all of them."""
    each, over = divmod(len(PARTITIONS), len(owners))
    return each + (sorted(owners).index(owner) < over)


def surplus(held: Collection[str], share: int) -> tuple[str, ...]:
    """The partitions to hand over, so that no more than the share is left."""
    return tuple(sorted(held)[share:])


def wanted(free: Sequence[str], held: Mapping[str, int], share: int) -> tuple[str, ...]:
    """The free partitions to take, up to the share."""
    return tuple(sorted(free)[: max(0, share - len(held))])
