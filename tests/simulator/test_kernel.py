from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from simulator.kernel import Kernel


@given(st.lists(st.integers(0, 5)))
def test_what_is_due_comes_by_time_and_then_in_the_order_it_was_put_in(times: list[int]) -> None:
    kernel: Kernel[tuple[int, int]] = Kernel()
    for number, at_ms in enumerate(times):
        kernel.put(at_ms, (at_ms, number))
    taken = [kernel.take()[1] for _ in range(len(kernel))]
    assert taken == sorted(taken)
    assert kernel.next_ms() is None


def test_things_are_never_compared_with_each_other() -> None:
    kernel: Kernel[object] = Kernel()
    first, second = object(), object()
    kernel.put(1, first)
    kernel.put(1, second)
    assert [kernel.take()[1], kernel.take()[1]] == [first, second]


@given(st.lists(st.integers(0, 50)), st.integers(0, 50))
def test_discarding_keeps_the_order_of_the_rest(times: list[int], limit: int) -> None:
    kernel: Kernel[int] = Kernel()
    for at_ms in times:
        kernel.put(at_ms, at_ms)
    kernel.discard(lambda at_ms: at_ms < limit)
    taken = [kernel.take()[1] for _ in range(len(kernel))]
    assert taken == sorted(at_ms for at_ms in times if at_ms >= limit)


def test_what_is_due_by_a_time_is_taken_and_nothing_later() -> None:
    kernel: Kernel[str] = Kernel()
    kernel.put_all([(5, "second"), (3, "first"), (9, "third")])
    assert kernel.take_by(2) is None
    assert kernel.take_by(3) == (3, "first")
    assert kernel.take_by(None) == (5, "second")
    assert kernel.take_by(8) is None
    assert [kernel.take_by(9), kernel.take_by(None)] == [(9, "third"), None]
