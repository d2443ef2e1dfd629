"""What the page looks like, compared with pictures that a person has looked at."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from textual.pilot import Pilot

from tests.agent.screen import examples
from tests.agent.screen.examples import SCENES
from tests.agent.screen.moments import MOMENTS
from tests.agent.screen.pictures import README_PICTURE, draw
from tests.agent.screen.scripted import page, settled

Compare = Callable[..., bool]
SIZES = [pytest.param((80, 24), id="80x24"), pytest.param((120, 40), id="120x40")]


def keys(*pressed: str) -> Callable[[Pilot[Any]], Awaitable[None]]:
    """Waits until the page is drawn, presses keys and lets what follows from them happen."""

    async def press(pilot: Pilot[Any]) -> None:
        await settled(pilot)
        for key in pressed:
            await pilot.press(key)
            await settled(pilot)

    return press


ROOMY_SCENES = (
    "device-preparation",
    "device-setup",
    "account-setup",
    "many-apps",
    "error",
    "ios-prompt",
    "offers",
    "ended-succeeded",
    "ended-refused",
    "reports-not-through",
    "disconnected",
)


@pytest.mark.parametrize("scene", SCENES)
def test_scene(scene: str, snap_compare: Compare) -> None:
    """Each phase, person screen, error, offer, end and state of reporting in the smallest usual terminal."""
    make, reporting = SCENES[scene]
    app, _ = page(make(), reporting)
    assert snap_compare(app, run_before=keys(), terminal_size=(80, 24))


@pytest.mark.parametrize("scene", ROOMY_SCENES)
def test_roomy_scene(scene: str, snap_compare: Compare) -> None:
    """The same where there is room."""
    make, reporting = SCENES[scene]
    app, _ = page(make(), reporting)
    assert snap_compare(app, run_before=keys(), terminal_size=(120, 40))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("moment", MOMENTS)
def test_moment(moment: str, size: tuple[int, int], snap_compare: Compare) -> None:
    """Every way of enrolling and everything that may come of it, as the machine lives through it."""
    app, _ = page(MOMENTS[moment]())
    assert snap_compare(app, run_before=keys(), terminal_size=size)


@pytest.mark.parametrize("moment", ["autopilot-left-out", "ios-profile-again"])
def test_moment_on_a_light_background(moment: str, snap_compare: Compare) -> None:
    app, _ = page(MOMENTS[moment]())
    assert snap_compare(app, run_before=keys("t"), terminal_size=(80, 24))


@pytest.mark.parametrize("moment", ["autopilot-left-out", "ios-profile-again"])
def test_moment_without_colours(
    moment: str, snap_compare: Compare, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    app, _ = page(MOMENTS[moment]())
    assert snap_compare(app, run_before=keys(), terminal_size=(80, 24))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("can_act", [True, False], ids=["with-rights", "read-only"])
def test_watcher(can_act: bool, size: tuple[int, int], snap_compare: Compare) -> None:
    """A watcher sees a person screen without buttons, and how to leave."""
    app, _ = page(examples.ios(), watching=True, can_act=can_act)
    assert snap_compare(app, run_before=keys(), terminal_size=size)


@pytest.mark.parametrize("can_act", [True, False], ids=["with-rights", "read-only"])
def test_watched_error(can_act: bool, snap_compare: Compare) -> None:
    """A watcher with rights has the choices of the error screen, one without only reads them."""
    app, _ = page(examples.error(), watching=True, can_act=can_act)
    assert snap_compare(app, run_before=keys(), terminal_size=(80, 24))


@pytest.mark.parametrize("size", [(100, 32), (200, 60), (60, 20)], ids=lambda s: f"{s[0]}x{s[1]}")
def test_other_sizes(size: tuple[int, int], snap_compare: Compare) -> None:
    """Wider pages are centred, smaller ones still show what happens now."""
    app, _ = page(examples.windows())
    assert snap_compare(app, run_before=keys(), terminal_size=size)


def test_light(snap_compare: Compare) -> None:
    """The page on a light background."""
    app, _ = page(examples.error())
    assert snap_compare(app, run_before=keys("t", "tab"), terminal_size=(80, 24))


def test_no_colour(snap_compare: Compare, monkeypatch: pytest.MonkeyPatch) -> None:
    """With NO_COLOR every state still has its symbol and word."""
    monkeypatch.setenv("NO_COLOR", "1")
    app, _ = page(examples.error())
    assert snap_compare(app, run_before=keys("tab"), terminal_size=(80, 24))


@pytest.mark.parametrize("size", SIZES)
def test_all_details(size: tuple[int, int], snap_compare: Compare) -> None:
    """Unfolded, every item of every phase is there, and the whole message."""
    app, _ = page(examples.long_names())
    assert snap_compare(app, run_before=keys("d", "home"), terminal_size=size)


def test_picking_one_item(snap_compare: Compare) -> None:
    """The question which item to try again."""
    app, _ = page(examples.error())
    assert snap_compare(app, run_before=keys("tab", "tab", "enter"), terminal_size=(80, 24))


def test_confirming_a_reset(snap_compare: Compare) -> None:
    """A reset is confirmed by typing a word."""
    app, _ = page(examples.error())
    pressed = keys("tab", "tab", "tab", "tab", "enter")
    assert snap_compare(app, run_before=pressed, terminal_size=(80, 24))


def test_emergency_exit(snap_compare: Compare) -> None:
    """The emergency exit says what follows from it."""
    app, _ = page(examples.windows(), emergency_exit_allowed=True)
    assert snap_compare(app, run_before=keys("ctrl+e"), terminal_size=(80, 24))


async def test_the_readme_shows_the_page_as_it_is() -> None:
    """`python -m tests.agent.screen.pictures --readme` draws it anew."""
    assert README_PICTURE.read_text(encoding="utf-8") == await draw("readme", (120, 40))
