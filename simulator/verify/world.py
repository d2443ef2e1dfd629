"""What everything in one simulated world shares: its time, its chance, its faults, its trace and its checkers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final

from simulator.draws import Draws
from simulator.kernel import Kernel
from simulator.verify.faults import Faults
from simulator.verify.trace import Trace
from simulator.verify.watch import Violation, Watch

MINUTE_MS: Final = 60_000
HOUR_MS: Final = 60 * MINUTE_MS
EPOCH_MS: Final = 1_767_600_000_000
"""The wall clock at the beginning of every world."""
STEPS_MAX: Final = 400_000
"""More than any world takes: one that reaches it goes round in circles."""

Action = Callable[[], None]


_MASK: Final = 2**64 - 1


def _sequence(key: str) -> Iterator[float]:
    """Numbers in [0, 1), the same for the same key: the counter-based generator SplitMix64 (Steele, Lea and Flood).

    A world draws a hundred times as often as a device's life does, and this is ten times as quick as a hash.
    """
    state = int(key, 16) & _MASK
    while True:
        state = (state + 0x9E3779B97F4A7C15) & _MASK
        mixed = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
        yield ((mixed ^ (mixed >> 31)) >> 11) * 2.0**-53


class World:
    """One world. `now_ms` is its time, which is also what a perfect wall clock says after `EPOCH_MS`."""

    def __init__(self, draws: Draws, faults: Faults, trace: Trace, watch: Watch) -> None:
        self.now_ms = 0
        self.faults = faults
        self.trace = trace
        self.watch = watch
        self.happened: Counter[str] = Counter()
        """How often each fault struck."""
        self.met: Counter[str] = Counter()
        """How often each of the machine's rules was met."""
        self.steps = 0
        self.look_again = False
        self._draws = draws
        self._sequences: dict[tuple[str, str], Iterator[float]] = {}
        self._kernel: Kernel[Action] = Kernel()

    @property
    def wall_ms(self) -> int:
        """What a perfect wall clock says, in milliseconds since 1970."""
        return EPOCH_MS + self.now_ms

    # Time.

    def at(self, at_ms: int, action: Action) -> None:
        """Do something at a time of the world."""
        self._kernel.put(max(at_ms, self.now_ms), action)

    def after(self, delay_ms: int, action: Action) -> None:
        """Do something later."""
        self._kernel.put(self.now_ms + delay_ms, action)

    def run_until(self, until_ms: int, is_over: Callable[[], bool] = lambda: False) -> None:
        """Let everything happen that is due until then, or until it is over.

        Whoever changes something that may be the end says so by `look_again`.
        """
        kernel = self._kernel
        self.look_again = True
        while True:
            if self.look_again:
                self.look_again = False
                if is_over():
                    break
            next_ms = kernel.next_ms()
            if next_ms is None or next_ms > until_ms:
                self.now_ms = max(self.now_ms, until_ms)
                break
            self.now_ms, action = kernel.take()
            self.steps += 1
            if self.steps > STEPS_MAX:
                raise Violation("everyone finishes", f"{STEPS_MAX} things happened and it goes on")
            action()

    # Chance: a draw is named by who asks, for what, and how many of the same came before.

    def uniform(self, who: str, purpose: str) -> float:
        """A number in [0, 1)."""
        key = (who, purpose)
        if key not in self._sequences:
            self._sequences[key] = _sequence(self._draws.hex(f"{purpose}\x1f{who}"))
        return next(self._sequences[key])

    def chance(self, share: float, who: str, purpose: str) -> bool:
        """True with this probability."""
        return share > 0 and self.uniform(who, purpose) < share

    def between(self, low_ms: int, high_ms: int, who: str, purpose: str) -> int:
        """A time between two, in milliseconds."""
        return low_ms + int(self.uniform(who, purpose) * (high_ms - low_ms))

    def struck(self, kind: str, who: str, detail: str = "") -> None:
        """A fault happened."""
        self.happened[kind] += 1
        self.trace.note(self.now_ms, who, f"fault {kind}", detail)
