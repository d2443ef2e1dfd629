"""Several collectors come to the same fair shares without talking."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agent.wire.topics import PARTITIONS
from collector.store.sharing import share_of, surplus, wanted

OWNERS = st.sets(st.text("abcdef0123456789", min_size=1, max_size=8), min_size=1, max_size=20)


@given(owners=OWNERS)
def test_the_shares_are_even_and_add_up_to_all_partitions(owners: set[str]) -> None:
    shares = [share_of(owner, owners) for owner in owners]
    assert sum(shares) == len(PARTITIONS)
    assert max(shares) - min(shares) <= 1


@given(
    held=st.sets(st.sampled_from(PARTITIONS)),
    free=st.lists(st.sampled_from(PARTITIONS), unique=True),
    share=st.integers(0, 16),
)
def test_nobody_takes_or_keeps_more_than_the_share(
    held: set[str], free: list[str], share: int
) -> None:
    taken = wanted(free, dict.fromkeys(held, 1), share)
    given_up = surplus(held, share)
    assert set(taken) <= set(free)
    assert set(given_up) <= held
    assert len(held) - len(given_up) <= share
    assert not (taken and given_up)
    assert len(taken) == min(len(free), max(0, share - len(held)))
