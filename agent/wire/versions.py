"""Version numbers, compared as people mean them: 10.0.9 is older than 10.0.22631."""

from __future__ import annotations

import re
from functools import lru_cache


def is_older(version: str, minimum: str) -> bool:
    """Compare dotted versions number by number; a missing number is 0, a word such as `beta` ends the comparison."""
    have, need = _numbers(version), _numbers(minimum)
    width = max(len(have), len(need))
    return have + (0,) * (width - len(have)) < need + (0,) * (width - len(need))


@lru_cache(maxsize=256)
def _numbers(version: str) -> tuple[int, ...]:
    numbers = []
    for part in version.split("."):
        digits = re.match(r"[0-9]{1,9}", part)
        if digits is None:
            break
        numbers.append(int(digits.group()))
        if digits.end() != len(part):
            break
    return tuple(numbers)
