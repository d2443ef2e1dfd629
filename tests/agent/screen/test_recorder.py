"""The flight recorder on its page: what it looks like, and what its keys do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from textual.pilot import Pilot

from agent.journal import ReadInputs
from agent.replay import Recording
from agent.screen.lines import text_of
from agent.screen.painted import Painted
from agent.screen.recorder import RecorderApp, RecorderScreen
from tests.agent.screen.recordings import Watch, phone, recorder, recording, settled, slow, troubled

Compare = Callable[..., bool]
SIZES = [pytest.param((80, 24), id="80x24"), pytest.param((120, 40), id="120x40")]
TORN = "Inputs 26 to 140 can't be read (the file is torn there: database disk image is malformed)"


def pressing(*pressed: str) -> Callable[[Pilot[Any]], Awaitable[None]]:
    """Waits until the page is drawn, then presses keys one after another."""

    async def press(pilot: Pilot[Any]) -> None:
        await settled(pilot)
        for key in pressed:
            await pilot.press(key)
            await settled(pilot)

    return press


async def let_pass(pilot: Pilot[Any], watch: Watch, seconds: float) -> None:
    """Real time passes, as far as the recorder can know."""
    watch.now_s += seconds
    page = pilot.app.screen
    assert isinstance(page, RecorderScreen)
    page._tick()
    await settled(pilot)


def shown(app: RecorderApp, part: str) -> list[str]:
    """The lines of one part of the page."""
    lines = app.screen.query_one(part, Painted)._lines
    return [text_of(line) for line in lines or ()]


@pytest.mark.parametrize("size", SIZES)
def test_at_the_start(size: tuple[int, int], snap_compare: Compare) -> None:
    app, _ = recorder(recording(troubled()))
    assert snap_compare(app, run_before=pressing(), terminal_size=size)


@pytest.mark.parametrize("size", SIZES)
def test_playing_through_a_long_gap(size: tuple[int, int], snap_compare: Compare) -> None:
    app, watch = recorder(recording(slow()), playing=True)

    async def into_the_gap(pilot: Pilot[Any]) -> None:
        await settled(pilot)
        app.player.place = len(app.player.tape.marks) - 3 if app.player.tape else 0
        await let_pass(pilot, watch, 0.9)

    assert snap_compare(app, run_before=into_the_gap, terminal_size=size)


@pytest.mark.parametrize("size", SIZES)
def test_paused_at_a_failure(size: tuple[int, int], snap_compare: Compare) -> None:
    app, _ = recorder(recording(troubled()), playing=True)
    assert snap_compare(app, run_before=pressing("n", "n", "n"), terminal_size=size)


@pytest.mark.parametrize("size", SIZES)
def test_at_the_end(size: tuple[int, int], snap_compare: Compare) -> None:
    app, _ = recorder(recording(troubled()))
    assert snap_compare(app, run_before=pressing("end"), terminal_size=size)


@pytest.mark.parametrize("size", SIZES)
def test_the_second_of_several_devices(size: tuple[int, int], snap_compare: Compare) -> None:
    app, _ = recorder(recording(troubled()), recording(phone()))

    async def second(pilot: Pilot[Any]) -> None:
        await settled(pilot)
        await pilot.press("d")
        await settled(pilot, "iPhone-NEW003")
        await pilot.press("right_square_bracket")
        await settled(pilot)

    assert snap_compare(app, run_before=second, terminal_size=size)


@pytest.mark.parametrize("size", SIZES)
def test_torn_and_of_another_version(size: tuple[int, int], snap_compare: Compare) -> None:
    app, _ = recorder(recording(troubled(), TORN, version="2.0"))
    assert snap_compare(app, run_before=pressing("end"), terminal_size=size)


def test_on_a_light_background(snap_compare: Compare) -> None:
    app, _ = recorder(recording(troubled()))
    assert snap_compare(app, run_before=pressing("n", "t"), terminal_size=(80, 24))


async def test_it_plays_by_itself_and_space_stops_it() -> None:
    app, watch = recorder(recording(troubled()), playing=True)
    async with app.run_test() as pilot:
        await settled(pilot)
        await let_pass(pilot, watch, 1)
        place = app.player.place
        assert place > 0
        await pilot.press("space")
        await let_pass(pilot, watch, 60)
        assert (app.player.place, app.player.playing) == (place, False)
        watch.now_s += 3600
        await pilot.press("space")
        await let_pass(pilot, watch, 0)
        assert app.player.place == place, "the pause is no time of the tape"


@pytest.mark.parametrize(
    ("pressed", "place"),
    [
        (["right", "right"], 2),
        (["right", "right", "left"], 1),
        (["end"], 24),
        (["end", "home"], 0),
        (["n"], 11),
        (["end", "N"], 15),
        (["shift+right"], 1),
        (["end", "left_square_bracket"], 23),
    ],
)
async def test_keys_move(pressed: list[str], place: int) -> None:
    app, _ = recorder(recording(troubled()))
    async with app.run_test() as pilot:
        await pressing(*pressed)(pilot)
        assert app.player.place == place
        assert f"input {place + 1:2d} of 25" in "\n".join(shown(app, "#bar"))


async def test_percent_falls_when_the_tape_goes_back() -> None:
    app, _ = recorder(recording(troubled()))
    async with app.run_test() as pilot:
        await pressing("end")(pilot)
        assert any("100 %" in line for line in shown(app, "#head"))
        await pressing("home")(pilot)
        assert any("  0 %" in line for line in shown(app, "#head"))


async def test_speed_is_shown() -> None:
    app, _ = recorder(recording(phone()))
    async with app.run_test() as pilot:
        await pressing("plus", "plus", "minus")(pilot)
        await pilot.pause()
        assert app.player.speed == 120
        assert any("120×" in line for line in shown(app, "#bar"))


async def test_a_jump_that_leads_nowhere_is_told() -> None:
    app, _ = recorder(recording(phone()))
    async with app.run_test() as pilot:
        await pressing("n")(pilot)
        (hints,) = shown(app, "#hints")
        assert hints.startswith("! Nothing fails after this input.   Space play")
        page = app.screen
        assert isinstance(page, RecorderScreen)
        page._untell()
        assert shown(app, "#hints")[0].startswith("Space play")


async def test_an_empty_recording_says_so_and_another_device_follows() -> None:
    empty = Recording(ReadInputs("PC-EMPTY", ()), "1.0")
    app, _ = recorder(recording(troubled()), empty)
    async with app.run_test() as pilot:
        await settled(pilot)
        await pilot.press("d")
        await settled(pilot, "PC-EMPTY")
        await pilot.pause()
        assert shown(app, "#head") == ["Nothing is recorded of PC-EMPTY"]
        assert shown(app, "#bar") == []
        await pressing("right", "n", "space", "end")(pilot)
        await pilot.press("d")
        await settled(pilot, "DESKTOP-NEW001")
        assert shown(app, "#head")[0].startswith("Setting up DESKTOP-NEW001")


@pytest.mark.parametrize("key", ["q", "ctrl+c"])
async def test_it_is_left_at_any_time(key: str) -> None:
    app, _ = recorder(recording(troubled()), playing=True)
    async with app.run_test() as pilot:
        await settled(pilot)
        await pilot.press(key)
        await pilot.pause()
    assert app._exit


@pytest.mark.parametrize("size", [(40, 12), (20, 8)])
async def test_a_tiny_terminal_breaks_nothing(size: tuple[int, int]) -> None:
    app, _ = recorder(recording(troubled(), TORN))
    async with app.run_test(size=size) as pilot:
        await pilot.pause()
        for key in ("n", "end", "home", "space", "plus"):
            await pilot.press(key)
        await pilot.pause()
        await pilot.resize_terminal(120, 40)
        await settled(pilot)
