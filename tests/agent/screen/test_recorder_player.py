"""The player: how time passes on the tape, and where its jumps lead."""

from __future__ import annotations

from datetime import UTC

import pytest

from agent.core.batch import Entry
from agent.journal import ReadInputs
from agent.replay import Recording
from agent.screen.lines import text_of, width_of
from agent.screen.ports import IntentRefused
from agent.screen.recorder_bar import TimeLine, bar, keys, note_lines
from agent.screen.recorder_player import FIRST_SPEED, GAP_S_MAX, SPEEDS, Player
from agent.wire.vocabulary import Choice, PersonAction
from tests.agent.screen.recordings import phone, recording, slow, troubled


def player_of(tape: Recording, *, playing: bool = True) -> Player:
    player = Player(playing=playing)
    player.insert(tape)
    return player


def test_time_passes_as_fast_as_the_speed_says() -> None:
    player = player_of(recording(phone()))
    player.place = 4
    player.speed = 1.0
    tape = recording(phone())
    gap_ms = tape.marks[5].at_ms - tape.marks[4].at_ms
    assert gap_ms > 2_000
    player.speed = 10.0
    assert player.shortened_gap_ms is None
    player.advance(0.5)
    assert (player.place, player.passed_ms) == (4, 5_000)
    player.advance(gap_ms / 10_000 - 0.5)
    assert (player.place, player.passed_ms) == (5, 0)


def test_a_gap_takes_two_seconds_at_most_and_is_called_shortened() -> None:
    tape = recording(slow())
    player = player_of(tape)
    longest = max(
        range(len(tape.marks) - 1), key=lambda p: tape.marks[p + 1].at_ms - tape.marks[p].at_ms
    )
    player.place = longest
    assert player.shortened_gap_ms == 25 * 60_000
    player.advance(GAP_S_MAX / 2)
    assert (player.place, player.passed_ms) == (longest, 25 * 30_000)
    player.advance(GAP_S_MAX / 2)
    assert player.place == longest + 1


@pytest.mark.parametrize("elapsed_s", [0.01, 0.1, 3.0, 1e6])
def test_it_comes_to_the_end_and_stays_there(elapsed_s: float) -> None:
    tape = recording(troubled())
    player = player_of(tape)
    before = (0, 0.0)
    for _ in range(10_000):
        player.advance(elapsed_s)
        assert (player.place, player.passed_ms) >= before, "a playing tape never goes back"
        before = (player.place, player.passed_ms)
        if not player.playing:
            break
    assert player.at_end
    assert not player.playing
    assert not player.advance(5)
    assert player.place == len(tape.marks) - 1


def test_playing_at_the_end_begins_again() -> None:
    player = player_of(recording(phone()), playing=False)
    player.to_end()
    player.toggle()
    assert (player.place, player.playing) == (0, True)


def test_failures_are_found_both_ways() -> None:
    tape = recording(troubled())
    player = player_of(tape)
    failures = [place for place, mark in enumerate(tape.marks) if mark.fails]
    assert len(failures) == 3
    for place in failures:
        assert player.to_failure(forward=True)
        assert player.place == place
        assert not player.playing, "whoever jumps there wants to look"
    assert not player.to_failure(forward=True)
    assert player.place == failures[-1]
    for place in reversed(failures[:-1]):
        assert player.to_failure(forward=False)
        assert player.place == place
    assert not player.to_failure(forward=False)


def test_going_back_in_a_gap_is_first_to_the_input_before_it() -> None:
    player = player_of(recording(slow()))
    player.place, player.passed_ms = 5, 4_000.0
    player.step(-1)
    assert (player.place, player.passed_ms) == (5, 0)
    player.step(-1)
    assert player.place == 4


def test_changes_leave_ticks_out() -> None:
    tape = recording(slow())
    player = player_of(tape)
    player.to_end()
    assert player.to_change(forward=False)
    assert tape.marks[player.place].changes
    assert len(tape.marks) - 1 - player.place == 3, "three ticks were passed over"


def test_no_step_leaves_the_tape() -> None:
    player = player_of(recording(phone()))
    player.step(-1)
    assert player.place == 0
    player.to_end()
    player.step(1)
    assert player.at_end


def test_the_speed_stays_within_its_range() -> None:
    player = player_of(recording(phone()))
    assert player.speed == FIRST_SPEED
    for _ in SPEEDS:
        player.change_speed(1)
    assert player.speed == 3600
    for _ in SPEEDS:
        player.change_speed(-1)
    assert player.speed == 0.5


def test_an_empty_tape_and_none_at_all_can_be_played() -> None:
    for player in (Player(), player_of(Recording(ReadInputs("PC", ()), "1"))):
        player.advance(1)
        player.step(1)
        player.to_end()
        player.to_begin()
        player.toggle()
        assert (player.place, player.mark, player.gap_ms) == (0, None, 0)
        assert not player.to_failure(forward=True)


async def test_nothing_can_be_chosen_in_a_recording() -> None:
    player = Player()
    assert not player.can_act
    for attempt in (
        player.person_acted("terms", PersonAction.PROCEED),
        player.person_chose(Choice.TRY_AGAIN, None),
        player.emergency_exit(),
    ):
        with pytest.raises(IntentRefused, match="This is a recording"):
            await attempt


# The bar.


@pytest.mark.parametrize("width", [20, 40, 76, 114])
def test_every_line_of_the_bar_keeps_its_width_and_the_bar_its_height(width: int) -> None:
    """Nothing jumps: at every moment it is as many lines, none too wide, with the keys where they were."""
    tape = recording(troubled(), "Input 99 can't be read", version="2.0")
    player = player_of(tape)
    time_line = TimeLine.of(tape, width)
    assert len(time_line.strokes) == width
    for place in range(len(tape.marks)):
        player.place = place
        for passed_ms in (0.0, player.gap_ms / 2):
            player.passed_ms = passed_ms
            for reports in (1, 3):
                lines = bar(player, time_line, width, reports, UTC)
                assert len(lines) == 4 + reports
                assert max(map(width_of, lines)) <= width
    assert max(map(width_of, note_lines(tape.notes, width, 2))) <= width
    assert len(note_lines(tape.notes, width, 1)) == 2


def test_the_time_line_runs_from_left_to_right_and_marks_by_sign() -> None:
    tape = recording(troubled())
    time_line = TimeLine.of(tape, 76)
    assert list(time_line.columns) == sorted(time_line.columns)
    assert (time_line.columns[0], time_line.columns[-1]) == (0, 75)
    signs = text_of(time_line.signs)
    assert signs.startswith("1")
    assert signs.count("✗") == 3
    assert signs.count("✓") == 1
    assert "Device setup" in time_line.strokes
    assert {"─", "━", "═"} <= set(time_line.strokes)


def test_many_inputs_at_one_moment_have_a_place_each() -> None:
    entries = [Entry(n, 5, 5, "1", event) for n, (event, _) in enumerate(troubled().inputs, 1)]
    tape = Recording(ReadInputs("PC", entries), "1")
    assert len(set(TimeLine.of(tape, 76).columns)) == len(tape.marks)


def test_a_single_input_makes_a_time_line() -> None:
    told = phone()
    del told.inputs[1:]
    tape = recording(told)
    player = player_of(tape)
    assert len(bar(player, TimeLine.of(tape, 40), 40, 1, UTC)) == 5
    assert player.at_end


def test_only_keys_that_do_something_are_named() -> None:
    def named(player: Player, **now: bool) -> str:
        usual = {"several": False, "everything": False, "following": True, "own_theme": True}
        return text_of(keys(player, 200, **(usual | now)))

    quiet = player_of(recording(phone()))
    assert "failure" not in named(quiet)
    assert "device" not in named(quiet)
    assert "f follow" not in named(quiet)
    assert "n N failure" in named(player_of(recording(troubled())))
    assert "d device" in named(quiet, several=True)
    assert "f follow" in named(quiet, following=False)
    assert named(quiet).startswith("Space pause")
    quiet.toggle()
    assert named(quiet).startswith("Space play")
