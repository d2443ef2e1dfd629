"""Back-off: how a pause grows while something keeps failing, for every machine alike."""

from __future__ import annotations


def doubled(first_ms: int, times: int, max_ms: int) -> int:
    """The first pause doubled so many times, in milliseconds; at most `max_ms`."""
    return min(max_ms, first_ms << min(times, 30))
