"""The link: sessions, back-off, holding, probing and goodbye."""

from __future__ import annotations

import pytest

from agent.core import link as links
from agent.core.link import Link, LinkLimits, LinkState, transition_rows

LOST = links.ConnectionLost("gone", 0.5)
REFUSED = links.ConnectionRefused("Not authorized", 0.0)
OFFLINE = links.PeerSeen(online=False, store="s", term=2, draw=0.0)
ONLINE = links.PeerSeen(online=True, store="s", term=2, draw=0.0)
DUE = links.DeadlinePassed(0.0)

WAYS: dict[LinkState, list[links.Event]] = {
    LinkState.IDLE: [],
    LinkState.CONNECTING: [links.Started()],
    LinkState.OPEN: [links.Started(), links.ConnectionOpened()],
    LinkState.HOLDING: [links.Started(), links.ConnectionOpened(), OFFLINE],
    LinkState.RETURNING: [links.Started(), links.ConnectionOpened(), OFFLINE, ONLINE],
    LinkState.WAITING: [links.Started(), LOST],
    LinkState.REFUSED: [links.Started(), REFUSED],
    LinkState.LEAVING: [links.Started(), links.ConnectionOpened(), links.GoodbyeWanted()],
    LinkState.CLOSED: [links.GoodbyeWanted()],
}
EVENTS: list[links.Event] = [
    links.Started(),
    links.ConnectionOpened(),
    LOST,
    REFUSED,
    OFFLINE,
    ONLINE,
    links.PeerAnswered(),
    DUE,
    links.GoodbyeWanted(),
    links.GoodbyeSaid(),
]


def brought_to(state: LinkState) -> Link:
    link = Link()
    for event in WAYS[state]:
        link.handle(event, 0)
    assert link.state is state
    return link


@pytest.mark.parametrize("state", list(LinkState))
@pytest.mark.parametrize("event", EVENTS, ids=lambda e: type(e).__name__)
def test_every_event_in_every_state_moves_as_the_table_says(
    state: LinkState, event: links.Event
) -> None:
    link = brought_to(state)
    link.handle(event, 0)
    if isinstance(event, links.PeerSeen):
        expected = links.peer_transition(state, online=event.online)
    else:
        expected = links.TRANSITIONS.get((state, type(event)), state)
    assert link.state is expected


@pytest.mark.parametrize("state", list(LinkState))
@pytest.mark.parametrize("event", EVENTS, ids=lambda e: type(e).__name__)
def test_an_event_that_moves_nothing_asks_for_nothing(state: LinkState, event: links.Event) -> None:
    link = brought_to(state)
    is_listed = (state, type(event)) in links.TRANSITIONS or isinstance(event, links.PeerSeen)
    effects = link.handle(event, 0)
    if not is_listed:
        assert list(effects) == []


def test_the_table_prints_as_rows() -> None:
    rows = transition_rows()
    assert ("open", "PeerSeen(online=False)", "holding") in rows
    assert ("idle", "Started", "connecting") in rows
    assert len(rows) == len(links.TRANSITIONS) + 3


def test_every_attempt_has_the_next_session_number_also_after_a_restart() -> None:
    link = Link(session=7)
    assert link.handle(links.Started(), 0) == (links.OpenConnection(8),)
    link.handle(LOST, 0)
    assert link.handle(DUE, 500) == (links.OpenConnection(9),)
    assert Link(session=9).handle(links.Started(), 0) == (links.OpenConnection(10),)


def test_a_birth_and_the_reports_follow_the_opening() -> None:
    link = Link()
    link.handle(links.Started(), 0)
    assert link.handle(links.ConnectionOpened(), 0) == (
        links.PublishBirth(1),
        links.ResumeSending(),
    )
    assert link.is_connected


def test_the_back_off_is_a_drawn_share_of_a_doubling_span() -> None:
    link = Link(limits=LinkLimits(backoff_ms=1000, backoff_ms_max=8000))
    link.handle(links.Started(), 0)
    waits = []
    for _ in range(6):
        link.handle(links.ConnectionLost("gone", 0.5), 0)
        waits.append(link.next_deadline_ms())
        link.handle(DUE, 0)
    assert waits == [500, 1000, 2000, 4000, 4000, 4000]


def test_only_a_connection_that_lasted_resets_the_back_off() -> None:
    link = Link(limits=LinkLimits(backoff_ms=1000, stable_ms=10_000))
    link.handle(links.Started(), 0)
    for expected, lasted_ms in ((500, 0), (1000, 9_999), (500, 10_000)):
        link.handle(links.ConnectionOpened(), 0)
        link.handle(LOST, lasted_ms)
        assert link.next_deadline_ms() == lasted_ms + expected
        link.handle(DUE, lasted_ms + expected)


def test_a_refusal_waits_long_and_says_so() -> None:
    link = brought_to(LinkState.CONNECTING)
    link.handle(links.ConnectionRefused("Not authorized", 0.999), 0)
    assert 299_000 < (link.next_deadline_ms() or 0) <= 300_000
    assert "refuses this account: Not authorized" in link.problem
    link.handle(DUE, 300_000)
    link.handle(links.ConnectionOpened(), 300_001)
    assert link.problem == ""


def test_an_offline_collector_is_held_for_and_probed_ever_more_patiently() -> None:
    link = brought_to(LinkState.OPEN)
    assert link.handle(OFFLINE, 0) == (links.HoldSending(),)
    spans, now_ms = [], 0
    for _ in range(6):
        due = link.next_deadline_ms()
        assert due is not None
        spans.append(due - now_ms)
        now_ms = due
        assert link.handle(DUE, now_ms) == (links.SendProbe(),)
    assert spans == [7_500, 15_000, 30_000, 60_000, 120_000, 150_000]


def test_an_answer_ends_the_holding_at_once() -> None:
    link = brought_to(LinkState.HOLDING)
    assert link.handle(links.PeerAnswered(), 0) == (links.ResumeSending(),)
    assert link.state is LinkState.OPEN
    assert link.next_deadline_ms() is None


@pytest.mark.parametrize(
    ("held_ms", "draw", "pause_ms"),
    [(2_000, 0.0, 0), (2_000, 0.5, 1_000), (40_000, 0.25, 10_000), (3_600_000, 0.5, 30_000)],
)
def test_a_link_returns_after_a_share_of_the_time_it_was_held_and_of_a_minute_at_most(
    held_ms: int, draw: float, pause_ms: int
) -> None:
    link = brought_to(LinkState.HOLDING)
    assert link.handle(links.PeerSeen(online=True, store="s", term=3, draw=draw), held_ms) == ()
    assert link.next_deadline_ms() == held_ms + pause_ms
    assert link.handle(DUE, held_ms + pause_ms) == (links.ResumeSending(),)
    assert (link.state, link.next_deadline_ms()) == (LinkState.OPEN, None)


def test_a_thousand_held_links_return_spread_over_the_whole_window() -> None:
    turns = []
    for number in range(1_000):
        link = brought_to(LinkState.HOLDING)
        online = links.PeerSeen(online=True, store="s", term=3, draw=number / 1_000)
        link.handle(online, 600_000)
        # What a returning collector tells each open attempt at once must not call the fleet together.
        assert link.handle(links.PeerAnswered(), 600_001) == ()
        turns.append((link.next_deadline_ms() or 0) - 600_000)
    in_each_second = [sum(1 for turn in turns if turn // 1_000 == s) for s in range(60)]
    assert sum(in_each_second) == 1_000
    assert max(in_each_second) <= 17


def test_a_collector_that_goes_again_holds_a_returning_link_counted_from_the_first_time() -> None:
    link = brought_to(LinkState.HOLDING)
    link.handle(ONLINE, 10_000)
    assert link.handle(OFFLINE, 11_000) == (links.HoldSending(),)
    assert link.next_deadline_ms() == 11_000 + 7_500
    link.handle(links.PeerSeen(online=True, store="s", term=2, draw=0.5), 20_000)
    assert link.next_deadline_ms() == 20_000 + 10_000


def test_a_word_of_an_older_term_is_ignored_unless_the_store_is_another_one() -> None:
    link = brought_to(LinkState.OPEN)
    link.handle(ONLINE, 0)
    assert link.handle(links.PeerSeen(online=False, store="s", term=1, draw=0), 0) == ()
    assert link.peer_online is True
    link.handle(links.PeerSeen(online=False, store="another", term=1, draw=0), 0)
    assert link.state is LinkState.HOLDING


def test_what_a_collector_said_in_an_earlier_connection_does_not_hold_the_next() -> None:
    link = brought_to(LinkState.HOLDING)
    link.handle(LOST, 0)
    link.handle(DUE, 10_000)
    link.handle(links.ConnectionOpened(), 10_000)
    assert link.state is LinkState.OPEN
    assert link.peer_online is None


def test_a_goodbye_is_said_before_closing() -> None:
    link = brought_to(LinkState.OPEN)
    assert link.handle(links.GoodbyeWanted(), 0) == (links.HoldSending(), links.PublishGoodbye(1))
    assert link.handle(links.GoodbyeSaid(), 0) == (links.CloseConnection(),)
    assert link.state is LinkState.CLOSED


def test_a_connection_that_breaks_during_the_goodbye_is_not_made_again() -> None:
    link = brought_to(LinkState.LEAVING)
    link.handle(LOST, 0)
    assert link.state is LinkState.CLOSED
    assert link.next_deadline_ms() is None
