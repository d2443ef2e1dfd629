"""Keyed draws: each depends on its own name alone, so that a new app, retry or device changes no other draw."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from hashlib import blake2b
from statistics import NormalDist
from typing import Literal, TypeVar

T = TypeVar("T")

_NORMAL = NormalDist()
_SCALE = 2.0**-53
_number_of = int.from_bytes
_PLASTIC = 1.324717957244746
"""The root of x³ = x + 1. Multiples of its powers fill a square evenly, whatever their number, so that what is spread
by one power stays independent of what is spread by the other (M. Roberts, "The unreasonable effectiveness of
quasirandom sequences").
"""
_STEPS = {"population": _PLASTIC**-1, "start": _PLASTIC**-2}


class Draws:
    """The draws of one device under one seed.

    A draw is named by its purpose, the item it is about, and how many of the same came before it.
    """

    __slots__ = ("_base",)

    def __init__(self, seed: int, device: int | str) -> None:
        self._base = blake2b(f"{seed}\x1f{device}".encode(), digest_size=8)

    def uniform(self, purpose: str, item: str = "", occurrence: int = 0) -> float:
        """A number in [0, 1)."""
        draw = self._base.copy()
        draw.update(_name(purpose, item, occurrence))
        return (_number_of(draw.digest(), "big") >> 11) * _SCALE

    def chance(self, probability: float, purpose: str, item: str = "", occurrence: int = 0) -> bool:
        """True with this probability."""
        return probability > 0 and self.uniform(purpose, item, occurrence) < probability

    def spread(
        self, median: float, factor: float, purpose: str, item: str = "", occurrence: int = 0
    ) -> float:
        """A log-normal number: half below the median, two thirds within `factor` of it either way."""
        if factor <= 1.0:
            return median
        # The middle of the draw's own step: exactly 0 has no place on the normal curve.
        uniform = self.uniform(purpose, item, occurrence) + _SCALE / 2
        # `math.pow` of floats is a float; the operator's result may be complex for all that a type checker knows.
        return median * math.pow(factor, _NORMAL.inv_cdf(uniform))

    def pick(
        self, weights: Mapping[T, float], purpose: str, item: str = "", occurrence: int = 0
    ) -> T:
        """One of the keys, each as likely as its share of the weights."""
        return pick_at(self.uniform(purpose, item, occurrence), weights)

    def hex(self, purpose: str, occurrence: int = 0) -> str:
        """Thirty-two hexadecimal digits."""
        draw = self._base.copy()
        draw.update(f"\x1f{purpose}\x1f{occurrence}".encode())
        return blake2b(draw.digest(), digest_size=16).hexdigest()


@lru_cache(maxsize=65_536)
def _name(purpose: str, item: str, occurrence: int) -> bytes:
    """The rest of a draw's name, which the devices of a fleet have in common."""
    return f"\x1f{purpose}\x1f{item}\x1f{occurrence}".encode()


def pick_at(position: float, weights: Mapping[T, float]) -> T:
    """The key that covers this position in [0, 1) when the weights lie side by side."""
    assert weights, "there has to be something to pick from"
    wanted = position * sum(weights.values())
    key = None
    for candidate, weight in weights.items():
        if weight <= 0:
            continue
        key = candidate
        if wanted < weight:
            break
        wanted -= weight
    assert key is not None, "one weight has to be more than zero"
    return key


def even_position(seed: int, index: int, purpose: Literal["population", "start"]) -> float:
    """A position in [0, 1) for each index, evenly filled by any number of them.

    A small fleet gets its share of every kind of device this way, and more devices change no earlier one.
    """
    return (_first_position(seed, purpose) + index * _STEPS[purpose]) % 1.0


@lru_cache(maxsize=64)
def _first_position(seed: int, purpose: str) -> float:
    return Draws(seed, "fleet").uniform(purpose)
