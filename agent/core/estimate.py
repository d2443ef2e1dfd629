"""How much is done and how long the rest may take: from the plan's expected times, never from the clock."""

from __future__ import annotations

from typing import Final

from agent.core.state import Attempt, ItemRun, Mode
from agent.wire.progress import Remaining
from agent.wire.vocabulary import ItemState

LOW_SHARE: Final = 0.6
HIGH_SHARE: Final = 1.8
"""How far real times stray from the expected ones, as a share of them."""


def credit(attempt: Attempt, item: ItemRun, share: float) -> None:
    """Count a share (0 to 1) of an item's expected work as done; work once counted stays counted."""
    done_ms = int(item.plan.expected_ms * min(1.0, share))
    if item.plan.tracked and done_ms > item.credited_ms:
        attempt.credited_ms += done_ms - item.credited_ms
        item.credited_ms = done_ms
        if attempt.work_ms:
            # 100 is kept for the end: until then something is left to do.
            percent = min(99, 100 * attempt.credited_ms // attempt.work_ms)
            attempt.percent = max(attempt.percent, percent)


def remaining(attempt: Attempt) -> Remaining | None:
    """The rest of this attempt as a range, or None while nobody can know.

    Low: the longest chain of what is left, everything going well. High: everything left one after another, slowly.
    """
    if attempt.mode is not Mode.WORKING or attempt.waiting_screen() is not None:
        return None
    left = {
        i.plan.id: i.plan.expected_ms - i.credited_ms
        for i in attempt.items.values()
        if i.plan.tracked and not i.is_settled
    }
    pauses_ms = sum(
        i.plan.expected_ms for i in attempt.under_way if i.state is ItemState.WAITING_TO_RETRY
    )
    low_ms = LOW_SHARE * _longest_chain_ms(attempt, left)
    high_ms = HIGH_SHARE * (sum(left.values()) + pauses_ms)
    return Remaining(
        low_s=int(low_ms / 1000), high_s=max(int(high_ms / 1000), int(low_ms / 1000) + 1)
    )


def _longest_chain_ms(attempt: Attempt, left: dict[str, int]) -> int:
    """The longest way through what is left, lanes counted as chains; phases follow one another."""
    total_ms = 0
    ends: dict[str, int] = {}
    lanes: dict[str, int] = {}
    phase = None
    for name, item_ms in left.items():
        plan = attempt.items[name].plan
        if plan.phase is not phase:
            total_ms = max(ends.values(), default=total_ms)
            phase = plan.phase
        begin_ms = max(
            (ends.get(n, total_ms) for n in (*plan.after, *plan.needs)), default=total_ms
        )
        if plan.lane is not None:
            begin_ms = max(begin_ms, lanes.get(plan.lane, total_ms))
            lanes[plan.lane] = begin_ms + item_ms
        ends[name] = begin_ms + item_ms
    return max(ends.values(), default=total_ms)
