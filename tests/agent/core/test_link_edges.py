"""The link at its edges: what it asks for on the way down, how its pauses are drawn, and what it says of itself."""

from __future__ import annotations

import pytest

from agent.core import link as links
from agent.core.backoff import doubled
from agent.core.link import Effect, Event, Link, LinkLimits, LinkState, transition_rows

LOST = links.ConnectionLost("gone", 0.5)
REFUSED = links.ConnectionRefused("Not authorized", 0.0)
DUE = links.DeadlinePassed(0.0)


def said(*, online: bool, draw: float = 0.0) -> links.PeerSeen:
    return links.PeerSeen(online=online, store="s", term=2, draw=draw)


def opened(limits: LinkLimits | None = None, at_ms: int = 0) -> Link:
    link = Link(limits=limits)
    link.handle(links.Started(), at_ms)
    link.handle(links.ConnectionOpened(), at_ms)
    return link


def test_a_link_that_was_never_used_has_nothing_to_say() -> None:
    link = Link()
    assert (link.state, link.session) == (LinkState.IDLE, 0)
    assert link.problem == ""
    assert link.peer_online is None
    assert link.next_deadline_ms() is None


def test_the_peer_s_word_moves_both_ways_in_the_printed_table() -> None:
    peers = [row for row in transition_rows() if row[1].startswith("PeerSeen")]
    assert peers == [
        ("holding", "PeerSeen(online=True)", "returning"),
        ("open", "PeerSeen(online=False)", "holding"),
        ("returning", "PeerSeen(online=False)", "holding"),
    ]


@pytest.mark.parametrize("event", [LOST, REFUSED], ids=["lost", "refused"])
def test_sending_is_held_when_an_open_connection_goes_and_not_when_an_attempt_fails(
    event: Event,
) -> None:
    assert opened().handle(event, 0) == (links.HoldSending(),)
    connecting = Link()
    connecting.handle(links.Started(), 0)
    assert connecting.handle(event, 0) == ()


def test_a_connection_that_goes_takes_the_peer_s_word_with_it() -> None:
    link = opened()
    link.handle(said(online=True), 0)
    link.handle(LOST, 0)
    assert link.peer_online is None
    assert link.problem == "No connection to the broker: gone"


def test_no_deadline_is_left_when_the_pause_is_over_or_the_program_ends() -> None:
    link = opened()
    link.handle(LOST, 0)
    link.handle(DUE, 500)
    assert link.next_deadline_ms() is None
    link.handle(LOST, 500)
    assert link.handle(links.GoodbyeWanted(), 600) == ()
    assert link.next_deadline_ms() is None


def test_an_attempt_under_way_is_broken_off_when_the_program_ends() -> None:
    link = Link()
    link.handle(links.Started(), 0)
    assert link.handle(links.GoodbyeWanted(), 0) == (links.CloseConnection(),)


def test_a_peer_that_says_what_is_known_already_asks_for_nothing() -> None:
    link = opened()
    assert link.handle(said(online=True), 0) == ()
    link.handle(said(online=False), 0)
    due = link.next_deadline_ms()
    assert link.handle(said(online=False, draw=0.9), 0) == ()
    assert link.next_deadline_ms() == due


def test_an_answer_shows_that_the_peer_is_online() -> None:
    link = opened()
    link.handle(said(online=False), 0)
    link.handle(links.PeerAnswered(), 0)
    assert link.peer_online is True


def test_how_long_a_connection_lasted_is_counted_from_its_opening() -> None:
    link = opened(LinkLimits(backoff_ms=1_000, stable_ms=10_000), at_ms=50_000)
    link.handle(LOST, 50_001)
    link.handle(DUE, 60_000)
    link.handle(links.ConnectionOpened(), 60_000)
    link.handle(LOST, 60_001)
    assert link.next_deadline_ms() == 60_001 + 1_000


@pytest.mark.parametrize(
    ("refused_ms", "minutes"), [(60_000, "1"), (240_000, "2"), (300_000, "2"), (480_000, "4")]
)
def test_a_refusal_names_whole_minutes_and_at_least_one(refused_ms: int, minutes: str) -> None:
    link = opened(LinkLimits(refused_ms=refused_ms))
    link.handle(REFUSED, 0)
    assert link.next_deadline_ms() == refused_ms // 2
    assert f"Trying again in {minutes} min;" in link.problem


@pytest.mark.parametrize(("draw", "pause_ms"), [(0.0, 7_500), (0.5, 11_250), (0.9, 14_250)])
def test_a_probe_waits_for_half_of_its_span_and_a_drawn_share_of_the_rest(
    draw: float, pause_ms: int
) -> None:
    link = opened(LinkLimits(probe_ms=15_001))
    link.handle(said(online=False, draw=draw), 1_000)
    due = link.next_deadline_ms()
    assert due == 1_000 + pause_ms
    assert isinstance(due, int)


def test_probing_begins_patiently_anew_each_time_the_peer_goes() -> None:
    link = opened()
    pauses: list[int | None] = []
    for _ in range(2):
        link.handle(said(online=False), 0)
        pauses.append(link.next_deadline_ms())
        link.handle(DUE, 0)
        link.handle(said(online=True), 0)
        link.handle(DUE, 0)
    assert pauses == [7_500, 7_500]


def test_the_effects_of_a_whole_life() -> None:
    story: list[tuple[Event, tuple[Effect, ...]]] = [
        (links.Started(), (links.OpenConnection(1),)),
        (links.ConnectionOpened(), (links.PublishBirth(1), links.ResumeSending())),
        (said(online=False), (links.HoldSending(),)),
        (DUE, (links.SendProbe(),)),
        (LOST, (links.HoldSending(),)),
        (DUE, (links.OpenConnection(2),)),
        (links.ConnectionOpened(), (links.PublishBirth(2), links.ResumeSending())),
        (links.GoodbyeWanted(), (links.HoldSending(), links.PublishGoodbye(2))),
        (links.GoodbyeSaid(), (links.CloseConnection(),)),
    ]
    link = Link()
    for event, effects in story:
        assert link.handle(event, 0) == effects


def test_a_pause_that_doubles_for_ever_stays_a_number_that_can_be_written() -> None:
    assert [doubled(1_000, times, 60_000) for times in (0, 1, 5, 6, 10_000)] == [
        1_000, 2_000, 32_000, 60_000, 60_000,
    ]  # fmt: skip
    assert doubled(1, 10_000, 2**62) == 2**30
