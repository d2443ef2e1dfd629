from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.site import Download, Reached, SharedLine

MEGABIT_MS = 1000
"""Bits that one megabit per second carries in a millisecond."""


@dataclass(frozen=True)
class Wish:
    """One download as a test wants it."""

    at_ms: int
    item: str
    size_bytes: int
    own: int
    """Megabits per second of the device's own line."""
    gives_up_ms: int | None = None
    """After how long its device stops it."""


def fluid(
    wishes: list[Wish], line: int, cache: int | None = None
) -> tuple[dict[int, Fraction], int]:
    """When each download ends, computed step by step in exact numbers; and how many steps that took."""
    left = {n: Fraction(wish.size_bytes * 8) for n, wish in enumerate(wishes)}
    ended: dict[int, Fraction] = {}
    fetched: set[str] = set()
    now, steps = Fraction(0), 0
    while len(ended) < len(wishes):
        steps += 1
        under_way = [n for n in left if wishes[n].at_ms <= now and n not in ended]
        rates = fair_rates({n: wishes[n] for n in under_way}, line, cache, fetched)
        turns = [Fraction(w.at_ms) for w in wishes if w.at_ms > now]
        turns += [now + left[n] / rate for n, rate in rates.items()]
        turns += [Fraction(stop) for n in under_way if (stop := stops_ms(wishes[n])) is not None]
        turn = min(turns)
        for n in under_way:
            left[n] -= rates[n] * (turn - now)
        for n in under_way:
            if left[n] == 0:
                ended[n] = turn
                fetched.add(wishes[n].item)
            elif stops_ms(wishes[n]) == turn:
                ended[n] = turn
        now = turn
    return ended, steps


def stops_ms(wish: Wish) -> int | None:
    return None if wish.gives_up_ms is None else wish.at_ms + wish.gives_up_ms


def fair_rates(
    wishes: dict[int, Wish], line: int, cache: int | None, fetched: set[str]
) -> dict[int, Fraction]:
    """Raise everybody's rate together; whoever has all that the own line carries stays there."""
    rates: dict[int, Fraction] = {}
    rising = {}
    for n, wish in wishes.items():
        if cache is not None and wish.item in fetched:
            rates[n] = Fraction(cache * MEGABIT_MS)
        else:
            rising[n] = Fraction(wish.own * MEGABIT_MS)
    left = Fraction(line * MEGABIT_MS)
    while rising:
        share = left / len(rising)
        satisfied = {n: own for n, own in rising.items() if own <= share}
        if not satisfied:
            return rates | dict.fromkeys(rising, share)
        rates |= satisfied
        left -= sum(satisfied.values())
        rising = {n: own for n, own in rising.items() if n not in satisfied}
    return rates


def played(wishes: list[Wish], shared: SharedLine) -> dict[int, int]:
    """When each download ends, and every mark that it reaches is in order."""
    begins = sorted((wish.at_ms, n) for n, wish in enumerate(wishes))
    stops = sorted((stop, n) for n, w in enumerate(wishes) if (stop := stops_ms(w)) is not None)
    ended: dict[int, int] = {}
    marks: dict[int, list[int]] = {n: [] for n in range(len(wishes))}
    while len(ended) < len(wishes):
        due_ms = shared.next_ms()
        stops = [(at_ms, n) for at_ms, n in stops if n not in ended]
        mine = min([*begins[:1], *stops[:1]], default=None)
        if due_ms is not None and (mine is None or due_ms <= mine[0]):
            reached = shared.take()
            assert reached.at_ms == due_ms
            marks[reached.download.device].append(reached.percent)
            if reached.percent == 100:
                ended[reached.download.device] = due_ms
            continue
        assert mine is not None, "something goes on"
        if begins and mine == begins[0]:
            at_ms, n = begins.pop(0)
            wish = wishes[n]
            shared.join(at_ms, Download(n, wish.item), wish.size_bytes, wish.own)
        else:
            at_ms, n = stops.pop(0)
            shared.leave(at_ms, Download(n, wishes[n].item))
            ended[n] = at_ms
    assert all(m == [25, 50, 75, 100][: len(m)] for m in marks.values())
    assert len(shared) == 0
    assert shared.next_ms() is None
    return ended


WISHES = st.lists(
    st.builds(
        Wish,
        at_ms=st.integers(0, 60_000),
        item=st.sampled_from(["office", "vpn", "portal"]),
        size_bytes=st.integers(1_000, 400_000_000),
        own=st.sampled_from([3, 10, 50, 50, 80, 200, 1000]),
        gives_up_ms=st.none() | st.integers(1, 90_000),
    ),
    min_size=1,
    max_size=12,
)


@given(WISHES, st.sampled_from([2, 20, 100, 400, 3000]))
def test_downloads_end_when_a_fluid_would(wishes: list[Wish], line: int) -> None:
    """Each end is put off to the next millisecond, and so is what it leaves to the others."""
    exact, steps = fluid(wishes, line)
    found = played(wishes, SharedLine(line))
    for n, at in exact.items():
        assert abs(found[n] - at) <= steps


@given(WISHES, st.sampled_from([2, 20, 100, 400]))
def test_with_a_cache_too(wishes: list[Wish], line: int) -> None:
    """The cache is faster than any own line here, so that a millisecond's delay costs no more than that."""
    wishes = [Wish(w.at_ms, w.item, w.size_bytes, w.own) for w in wishes]
    exact, steps = fluid(wishes, line, 1000)
    found = played(wishes, SharedLine(line, 1000))
    for n, at in exact.items():
        assert abs(found[n] - at) <= steps


@given(WISHES, st.sampled_from([2, 20, 100, 400]))
def test_the_line_carries_no_more_than_it_can(wishes: list[Wish], line: int) -> None:
    """And what it carries is carried in the least time in which its busy periods could."""
    wishes = [Wish(w.at_ms, w.item, w.size_bytes, w.own) for w in wishes]
    found = played(wishes, SharedLine(line))
    for n, wish in enumerate(wishes):
        alone_ms = wish.size_bytes * 8 / (min(wish.own, line) * MEGABIT_MS)
        assert found[n] - wish.at_ms >= alone_ms - 1
    bits = sum(wish.size_bytes * 8 for wish in wishes)
    first_ms = min(wish.at_ms for wish in wishes)
    assert max(found.values()) - first_ms >= bits / (line * MEGABIT_MS) - 1


def end_of(line: SharedLine) -> Reached:
    while (reached := line.take()).percent < 100 and not reached.broke:
        pass
    return reached


MEGABYTE = 1_000_000


def test_a_lone_download_has_its_own_line() -> None:
    line = SharedLine(100)
    line.join(5_000, Download(0, "vpn"), 10 * MEGABYTE, 8)
    assert [line.take().at_ms for _ in range(4)] == [7_500, 10_000, 12_500, 15_000]


def test_two_downloads_share_and_the_second_ends_faster_once_the_first_is_through() -> None:
    line = SharedLine(8)
    line.join(0, Download(0, "vpn"), 10 * MEGABYTE, 100)
    line.join(0, Download(1, "vpn"), 20 * MEGABYTE, 100)
    assert end_of(line).at_ms == 20_000
    assert end_of(line).at_ms == 30_000


def test_who_needs_little_leaves_the_rest_to_the_others() -> None:
    line = SharedLine(10)
    line.join(0, Download(0, "vpn"), 10 * MEGABYTE, 2)
    line.join(0, Download(1, "vpn"), 10 * MEGABYTE, 100)
    assert end_of(line) == Reached(10_000, 10_000, Download(1, "vpn"), 100)
    assert end_of(line) == Reached(40_000, 40_000, Download(0, "vpn"), 100)


def test_what_is_stopped_leaves_its_share_to_the_others() -> None:
    line = SharedLine(8)
    line.join(0, Download(0, "vpn"), 10 * MEGABYTE, 100)
    line.join(0, Download(1, "vpn"), 10 * MEGABYTE, 100)
    line.take()
    line.leave(10_000, Download(0, "vpn"))
    assert end_of(line) == Reached(15_000, 15_000, Download(1, "vpn"), 100)


def test_a_download_that_the_network_fails_is_over_then_and_fills_no_cache() -> None:
    line = SharedLine(8, 800)
    line.join(0, Download(0, "vpn"), 10 * MEGABYTE, 100, breaks_after_ms=6_000)
    assert end_of(line) == Reached(6_000, 6_000, Download(0, "vpn"), 75, broke=True)
    line.join(6_000, Download(1, "vpn"), 10 * MEGABYTE, 100)
    assert end_of(line).at_ms == 16_000


def test_a_break_that_comes_after_the_end_never_comes() -> None:
    line = SharedLine(8)
    line.join(0, Download(0, "vpn"), MEGABYTE, 100, breaks_after_ms=6_000)
    assert not end_of(line).broke
    assert line.next_ms() is None


@pytest.mark.parametrize("cache", [None, 80.0])
def test_the_first_download_fills_the_cache_for_those_that_come_later_or_are_still_at_it(
    cache: float | None,
) -> None:
    line = SharedLine(16, cache)
    line.join(0, Download(0, "vpn"), 10 * MEGABYTE, 8)
    line.join(4_000, Download(1, "vpn"), 10 * MEGABYTE, 5)
    assert end_of(line).at_ms == 10_000
    still_at_it = end_of(line).at_ms
    assert still_at_it == (20_000 if cache is None else 10_625)
    line.join(still_at_it, Download(3, "vpn"), 10 * MEGABYTE, 8)
    assert end_of(line).at_ms - still_at_it == (10_000 if cache is None else 1_000)


def test_one_item_in_the_cache_is_no_other_one() -> None:
    line = SharedLine(8, 800)
    line.join(0, Download(0, "vpn"), MEGABYTE, 100)
    assert end_of(line).at_ms == 1_000
    line.join(1_000, Download(0, "portal"), MEGABYTE, 100)
    assert end_of(line).at_ms == 2_000


def test_a_late_messenger_is_taken_as_coming_now() -> None:
    line = SharedLine(8)
    line.join(0, Download(0, "vpn"), MEGABYTE, 100)
    assert end_of(line).at_ms == 1_000
    line.join(400, Download(1, "vpn"), MEGABYTE, 100)
    assert end_of(line) == Reached(2_000, 1_000, Download(1, "vpn"), 100)
