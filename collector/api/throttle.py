"""Keeps one caller from taking the collector away from all others; counts in this process, with the library `limits`."""

from __future__ import annotations

import time
from dataclasses import dataclass

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """How often one may ask, in requests a minute."""

    of_a_token: int = 12_000
    """Four requests a second for each of fifty boards on one token."""
    without_a_token: int = 60
    """Requests that show no good token, of one address."""


class Throttle:
    """Two counters: one for each token, one for each address that shows none."""

    def __init__(self, limits: RequestLimits) -> None:
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._of_a_token = RateLimitItemPerMinute(limits.of_a_token, namespace="token")
        self._without = RateLimitItemPerMinute(limits.without_a_token, namespace="address")

    def admit(self, token: str) -> int | None:
        """Count a request of this token; the seconds to wait when it is one too many."""
        return self._hit(self._of_a_token, token)

    def count_refusal(self, address: str) -> int | None:
        """Count a request without a good token; the seconds to wait when it is one too many."""
        return self._hit(self._without, address)

    def _hit(self, limit: RateLimitItemPerMinute, who: str) -> int | None:
        if self._limiter.hit(limit, who):
            return None
        reset_s = self._limiter.get_window_stats(limit, who).reset_time
        return max(1, round(reset_s - time.time()))
