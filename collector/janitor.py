"""The janitor's choice: whose retained messages are taken out of the broker, some time after the end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

HOUR_MS: Final = 60 * 60 * 1000
CLEAR_AFTER_HOURS: Final = 24


@dataclass(frozen=True, slots=True)
class Leftover:
    """A device that has said or heard something since it was last cleared. Times are the collector's, ms since 1970."""

    device: str
    ended_ms: int | None
    """When its latest attempt ended; None while that is open."""
    presence: Literal["online", "goodbye", "lost"] | None = None
    """What it said last of itself; None when it never did."""


def due(leftovers: Iterable[Leftover], now_ms: int, after_ms: int) -> Iterator[str]:
    """The devices whose end is more than `after_ms` ago, none of them online or enrolling."""
    for one in leftovers:
        if one.ended_ms is None or one.presence == "online":
            continue
        if now_ms - one.ended_ms > after_ms:
            yield one.device
