"""How much is done and how long the rest may take: from the plan's expected times and what became of them so far."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from math import ceil, copysign, exp, log, sqrt
from operator import attrgetter
from typing import Final, NamedTuple

from agent.core.state import SETTLED_STATES, Attempt, ItemRun, Mode
from agent.core.uncertain_time import NO_TIME, UncertainTime, later, left_over
from agent.wire.progress import Remaining
from agent.wire.vocabulary import WORKING_STATES, ItemState, RebootKind

PROMISE: Final = 0.8
"""How often the truth is meant to fall inside the range."""
_QUANTILE: Final = 1.2816
"""How many standard deviations to either side hold that share of a normal distribution."""

ITEM_SIGMA: Final = log(1.4)
"""How far an item strays from its expected time on its own: two thirds within a factor of 1.4."""
PACE_SIGMA: Final = log(1.6)
"""How far device, network and expectations stray all together, before anything is known: within a factor of 1.6."""
PERCENT_SIGMA: Final = log(1.5)
"""How far the time that an installer's first percents lead to expect strays; later ones stray less and less."""
_SIGMA_WEIGHT: Final = 4.0
"""For how many items `ITEM_SIGMA` speaks before the finished ones overrule it."""
_RATIO_MAX: Final = log(8)
"""An item that took eight times as long, or an eighth, says as much as one that strayed further."""

RESTART_MS: Final = 90_000
"""From a restart's wish to the agent's return."""
VERIFYING_SHARE: Final = 0.1
"""The share of an item's time that its detection takes at the end."""

INSTALLER_SHARE: Final = 0.25
"""The share of an item's expected time that its installer takes at least, however long the download was."""

# Names of the module for the members that are asked about most: Python 3.11 finds them ten times as fast.
_NOT_STARTED: Final = ItemState.NOT_STARTED
_WAITING_TO_RETRY: Final = ItemState.WAITING_TO_RETRY
_DOWNLOADING: Final = ItemState.DOWNLOADING
_INSTALLING: Final = ItemState.INSTALLING
_VERIFYING: Final = ItemState.VERIFYING
_REBOOT_REQUIRED: Final = ItemState.REBOOT_REQUIRED
_WORKING: Final = Mode.WORKING
_SOFT: Final = RebootKind.SOFT

_REMAINING_S_MAX: Final = 10**8
"""What a message can carry."""
_SECOND_MS: Final = 1_000


def credit(attempt: Attempt, item: ItemRun, share: float) -> None:
    """Count a share (0 to 1) of an item's expected work as done; work once counted stays counted."""
    plan = item.plan
    done_ms = plan.expected_ms if share >= 1.0 else int(plan.expected_ms * share)
    if plan.tracked and done_ms > item.credited_ms:
        attempt.credited_ms += done_ms - item.credited_ms
        item.credited_ms = done_ms
        if attempt.work_ms:
            # 100 is kept for the end: until then something is left to do.
            percent = min(99, 100 * attempt.credited_ms // attempt.work_ms)
            attempt.percent = max(attempt.percent, percent)


def learn(attempt: Attempt, item: ItemRun, now_ms: int) -> None:
    """Note how long a finished try took against its expected time: what comes next shares device and network."""
    plan = item.plan
    if plan.expected_ms:
        taken = attempt.assigned_times if plan.is_assigned else attempt.own_times
        ratio = _log_ratio(item, now_ms)
        taken.count += 1
        taken.total += ratio
        taken.squares += ratio * ratio


def remaining(attempt: Attempt, now_ms: int) -> Remaining | None:
    """The rest of this attempt as a range that holds the truth 8 times out of 10, or None while nobody can know.

    It is the machine's own time until the attempt succeeds: steps, downloads, pauses before a next try and restarts
    that are due already. Not in it: what persons take to answer the screens still ahead, and failures that have not
    happened. It may go beyond the time limit, which is shown for itself: then the limit is going to be missed.
    Nobody can know before there is a plan, while a person is waited for, during a restart and at the error screen.

    Expected times are medians of log-normal times. What all items share (the device's pace, or expectations that are
    wrong by the same factor) is learned from those that finished, and from a running one that is overdue.
    """
    if attempt.mode is not _WORKING or attempt.waiting_screen() is not None:
        return None
    paces = _Paces(
        own=_pace(attempt, now_ms, assigned=False), assigned=_pace(attempt, now_ms, assigned=True)
    )
    left: list[ItemRun] = []
    restarts = False
    for item in attempt.items.values():
        if item.state not in SETTLED_STATES:
            plan = item.plan
            if plan.tracked and plan.screen is None:
                left.append(item)
        if item.reboot is _SOFT:
            restarts = True
    rest = _rest(left, paces, now_ms)
    if restarts:
        rest = rest.then(UncertainTime(RESTART_MS))
    if not rest.mean_ms:
        return Remaining(low_s=0, high_s=1)
    # A sum of log-normal times is nearly log-normal itself; a shared pace stretches it as a whole.
    own_variance = log(1 + rest.variance / rest.mean_ms**2)
    median_s = rest.mean_ms / exp(own_variance / 2) / _SECOND_MS
    stretch = exp(_QUANTILE * sqrt(own_variance + _pace_variance(left, paces)))
    # Nothing ends before the next try of what waits for one.
    pause_s = max((_pause_ms(i, now_ms) for i in attempt.under_way), default=0) // _SECOND_MS
    low_s = min(max(int(median_s / stretch), pause_s), _REMAINING_S_MAX - 1)
    return Remaining(
        low_s=low_s, high_s=min(max(ceil(median_s * stretch), low_s + 1), _REMAINING_S_MAX)
    )


class _Pace(NamedTuple):
    """How many times as long as expected some items take here."""

    factor: float
    variance: float
    """How well the factor is known: of its logarithm."""
    sigma: float
    """How far a single item strays from it: of the logarithm too."""
    whole: UncertainTime
    """An item of which nothing is done, for each millisecond of its median."""


class _Paces(NamedTuple):
    own: _Pace
    assigned: _Pace


def _pace(attempt: Attempt, now_ms: int, *, assigned: bool) -> _Pace:
    """What the finished items say: the usual update of a normal distribution, whose variance is learned as well."""
    taken = attempt.assigned_times if assigned else attempt.own_times
    count, total, squares = taken.count, taken.total, taken.squares
    for item in attempt.under_way:
        if (
            item.state in WORKING_STATES
            and item.plan.is_assigned is assigned
            and item.plan.expected_ms
        ):
            ratio = _log_ratio(item, now_ms)
            # A running item tells something only once it takes longer than all so far leads to expect.
            if ratio > total / (count + 1):
                count, total, squares = count + 1, total + ratio, squares + ratio * ratio
    strayed = squares - total * total / count if count else 0.0
    sigma_2 = (_SIGMA_WEIGHT * ITEM_SIGMA**2 + strayed) / (_SIGMA_WEIGHT + max(0, count - 1))
    known = sigma_2 + count * PACE_SIGMA**2
    factor = exp(PACE_SIGMA**2 * total / known)
    sigma = sqrt(sigma_2)
    return _Pace(factor, PACE_SIGMA**2 * sigma_2 / known, sigma, left_over(1.0, sigma, 0))


def _pace_variance(left: list[ItemRun], paces: _Paces) -> float:
    """That of both paces together, by how much of what is left goes at each."""
    both = [0, 0]
    for item in left:
        both[item.plan.is_assigned] += item.plan.expected_ms
    own, assigned = both[0] * paces.own.factor, both[1] * paces.assigned.factor
    parts = own**2 * paces.own.variance + assigned**2 * paces.assigned.variance
    return parts / max(1.0, own + assigned) ** 2


def _log_ratio(item: ItemRun, now_ms: int) -> float:
    took_ms = now_ms - item.began_ms
    ratio = log((max(_SECOND_MS, took_ms)) / item.plan.expected_ms)
    return ratio if -_RATIO_MAX < ratio < _RATIO_MAX else copysign(_RATIO_MAX, ratio)


def _rest(left: list[ItemRun], paces: _Paces, now_ms: int) -> UncertainTime:
    """All that is left: phases, and blocks within them, follow one another."""
    total = NO_TIME
    for _, block in groupby(left, key=_block_of):
        total = total.then(_block(list(block), paces, now_ms))
    return total


_block_of = attrgetter("plan.phase", "plan.after")


def _block(items: list[ItemRun], paces: _Paces, now_ms: int) -> UncertainTime:
    """What runs side by side: as long as the longest chain that needs and lanes make."""
    if len(items) == 1:
        pause = UncertainTime(_pause_ms(items[0], now_ms))
        return pause.then(_item(items[0], paces, now_ms))
    # What others need ends before they do.
    needed = {name for item in items for name in item.plan.needs}
    if not needed:
        return _side_by_side(items, paces, now_ms)
    ends: dict[str, _End] = {}
    lanes: dict[str, UncertainTime] = {}
    latest = NO_TIME
    for item in _in_order(items):
        rest, plan = _item(item, paces, now_ms), item.plan
        begin = _end_of_needs(item, ends) if plan.needs else NO_TIME
        if item.state is _WAITING_TO_RETRY:
            begin = later(begin, UncertainTime(_pause_ms(item, now_ms)))
        if plan.lane is not None:
            begin = later(begin, lanes.get(plan.lane, NO_TIME))
            lanes[plan.lane] = begin.then(rest)
        elif plan.id not in needed:
            latest = later(latest, begin.then(rest))
        if plan.id in needed:
            ends[plan.id] = _End(plan.lane, begin.then(rest))
    # Of a lane only its last end counts: the ones before lie on the way there.
    for end in lanes.values():
        latest = later(latest, end)
    return latest


def _side_by_side(items: list[ItemRun], paces: _Paces, now_ms: int) -> UncertainTime:
    """A block whose items need nothing of each other, as most are: what shares a lane is only added up."""
    lanes: dict[str | None, UncertainTime] = {}
    latest = NO_TIME
    begun: list[ItemRun] = []
    waiting: list[ItemRun] = []
    for item in items:
        is_in_line = item.state is _NOT_STARTED and item.plan.lane is not None
        (waiting if is_in_line else begun).append(item)
    for item in sorted(begun, key=_turn):
        lane = item.plan.lane
        rest = _item(item, paces, now_ms)
        if item.state is _WAITING_TO_RETRY:
            _line_up(waiting, paces, lanes)
            begin = UncertainTime(_pause_ms(item, now_ms))
            if lane is not None:
                begin = later(begin, lanes.get(lane, NO_TIME))
            rest = begin.then(rest)
        elif lane in lanes:
            rest = lanes[lane].then(rest)
        if lane is None:
            latest = later(latest, rest)
        else:
            lanes[lane] = rest
    _line_up(waiting, paces, lanes)
    for end in lanes.values():
        latest = later(latest, end)
    return latest


def _line_up(waiting: list[ItemRun], paces: _Paces, lanes: dict[str | None, UncertainTime]) -> None:
    """Put what has not begun behind what has, in its lane. It is most of what is left: two sums say all of it."""
    sums: dict[tuple[str | None, bool], tuple[int, int]] = {}
    for item in waiting:
        plan = item.plan
        key, expected_ms = (plan.lane, plan.is_assigned), plan.expected_ms
        total, squares = sums.get(key, (0, 0))
        sums[key] = total + expected_ms, squares + expected_ms * expected_ms
    waiting.clear()
    for (lane, assigned), (total, squares) in sums.items():
        pace = paces.assigned if assigned else paces.own
        mean_ms, variance = pace.whole.scaled(pace.factor)
        rest = UncertainTime(mean_ms * total, variance * squares)
        lanes[lane] = lanes.get(lane, NO_TIME).then(rest)


class _End(NamedTuple):
    lane: str | None
    time: UncertainTime


def _end_of_needs(item: ItemRun, ends: dict[str, _End]) -> UncertainTime:
    """When all that it needs from elsewhere is there; what it needs from its own lane comes before it there."""
    latest, lane = NO_TIME, item.plan.lane
    for need in item.plan.needs:
        end = ends.get(need)
        if end is not None and (lane is None or end.lane != lane):
            latest = later(latest, end.time)
    return latest


def _pause_ms(item: ItemRun, now_ms: int) -> int:
    """What is left of the pause before its next try."""
    if item.state is not _WAITING_TO_RETRY or item.deadline_ms is None:
        return 0
    return max(0, item.deadline_ms - now_ms)


def _turn(item: ItemRun) -> int:
    if item.state is _NOT_STARTED:
        return 1
    # During the pause before its next try, its lane is free for others.
    return 2 if item.state is _WAITING_TO_RETRY else 0


def _in_order(items: list[ItemRun]) -> Iterator[ItemRun]:
    """What runs, then the rest in the plan's order, each after what it needs."""
    order = sorted(items, key=_turn)
    waiting = {i.plan.id: i for i in order}
    if not any(i.plan.needs for i in order):
        yield from order
        return
    while waiting:
        ready = [i for i in waiting.values() if not any(n in waiting for n in i.plan.needs)]
        assert ready, "an assignment's dependencies do not go in circles"
        for item in ready:
            yield waiting.pop(item.plan.id)


def _item(item: ItemRun, paces: _Paces, now_ms: int) -> UncertainTime:
    """What is left of one item, without what it waits for."""
    pace = paces.assigned if item.plan.is_assigned else paces.own
    median_ms = max(1.0, item.plan.expected_ms * pace.factor)
    if item.state is _NOT_STARTED:
        return pace.whole.scaled(median_ms)
    in_state_ms = now_ms - item.since_ms
    if item.state is _DOWNLOADING:
        download_ms = _whole_ms(item) or 0
        median_ms = max(median_ms, download_ms + INSTALLER_SHARE * median_ms)
        return left_over(median_ms, pace.sigma, now_ms - item.began_ms)
    if item.state is _INSTALLING:
        download_ms = item.since_ms - item.began_ms
        median_ms = max(median_ms - download_ms, INSTALLER_SHARE * median_ms)
        return _installing(item, median_ms, pace.sigma, in_state_ms)
    if item.state is _VERIFYING:
        return left_over(VERIFYING_SHARE * median_ms, pace.sigma, in_state_ms)
    if item.state is _REBOOT_REQUIRED:
        return UncertainTime(RESTART_MS + VERIFYING_SHARE * median_ms)
    return pace.whole.scaled(median_ms)


def _installing(item: ItemRun, median_ms: float, sigma: float, spent_ms: int) -> UncertainTime:
    """The more of it is done, the more its own speed counts, and the less the plan's expectation."""
    whole_ms = _whole_ms(item)
    if whole_ms is None:
        return left_over(median_ms, sigma, spent_ms)
    done = (item.percent or 0) / 100
    own_ms = whole_ms * (1 + VERIFYING_SHARE)
    prior, own = sigma**2, max(0.01, (PERCENT_SIGMA * (1 - done)) ** 2)
    weight = prior / (prior + own)
    blended_ms = median_ms ** (1 - weight) * own_ms**weight
    return left_over(blended_ms, sqrt(own * weight), spent_ms)


def _whole_ms(item: ItemRun) -> float | None:
    """How long its state will have lasted, by the percent it is at; None while it says none."""
    if not item.percent or item.moved_ms <= item.since_ms:
        return None
    return (item.moved_ms - item.since_ms) * 100 / item.percent
