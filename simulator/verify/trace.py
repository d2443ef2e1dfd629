"""What happened, in order: a running hash that two runs have to share, and lines to read when somebody wants them."""

from __future__ import annotations

from hashlib import blake2b


class Trace:
    """The record of one run. Times are the world's, in milliseconds."""

    __slots__ = ("_hash", "_keeps", "count", "lines")

    def __init__(self, *, keeps: bool = False) -> None:
        self._hash = blake2b(digest_size=16)
        self._keeps = keeps
        self.count = 0
        self.lines: list[str] = []

    def note(self, at_ms: int, who: str, event: str, effect: str = "") -> None:
        """Add one change: when, whose, what, and what followed."""
        line = f"{_clock(at_ms) if self._keeps else at_ms} {who} {event} {effect}"
        self.count += 1
        self._hash.update(f"{at_ms} {who} {event} {effect}\n".encode())
        if self._keeps:
            self.lines.append(line)

    @property
    def digest(self) -> int:
        """The hash of everything so far."""
        return int.from_bytes(self._hash.digest(), "big")


def _clock(at_ms: int) -> str:
    seconds, ms = divmod(at_ms, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:3}:{minutes:02}:{seconds:02}.{ms:03}"
