"""While the gate is locked no key leaves the page; afterwards, and for a watcher, the documented ones do."""

from __future__ import annotations

import string

import pytest
from textual.app import App, ComposeResult
from textual.events import Key
from textual.pilot import Pilot
from textual.widgets import Static

from agent.screen.app import EspApp
from agent.screen.screen import EspScreen
from agent.wire.progress import Progress
from agent.wire.vocabulary import EndState, Gate
from tests.agent.screen import examples
from tests.agent.screen.scripted import ScriptedSource, page, settled

KEYS: dict[str, list[str]] = {
    "control": [f"ctrl+{letter}" for letter in string.ascii_lowercase],
    "control and signs": [
        *["ctrl+@", "ctrl+backslash", "ctrl+right_square_bracket", "ctrl+circumflex_accent"],
        *["ctrl+underscore", "ctrl+delete", "ctrl+pause"],
    ],
    "control and shift": ["ctrl+shift+q", "ctrl+shift+c", "ctrl+shift+p", "ctrl+shift+e"],
    "alt and super": ["alt+f4", "alt+q", "alt+x", "alt+enter", "super+c", "super+q"],
    "escape": ["escape", "shift+escape"],
    "editing": ["tab", "shift+tab", "backspace", "delete", "insert", "pause"],
    "moving": ["up", "down", "left", "right", "pageup", "pagedown", "home", "end"],
    "signs": ["colon", "slash", "question_mark", "full_stop", "exclamation_mark"],
    "functions": [f"f{number}" for number in range(1, 25)],
    "letters": [*string.ascii_lowercase, *string.digits],
    "capitals": list("QXCDEZ"),
    "pressing": ["enter", "space"],
}


async def press_all(pilot: Pilot[None], keys: list[str]) -> None:
    """Press the keys as a terminal driver does, without waiting after each."""
    for key in keys:
        pilot.app.post_message(Key(key, key if len(key) == 1 else None))
    await settled(pilot)


LOCKED: dict[str, Progress] = {
    "waiting": examples.waiting_for_assignment(),
    "installing": examples.windows(),
    "refused": examples.ended(EndState.REFUSED),
    "timed out": examples.ended(EndState.TIMED_OUT),
}


def is_open(app: EspApp) -> bool:
    """Whether the page is still what the program shows."""
    return app.is_running and not app._exit and isinstance(app.screen, EspScreen)


@pytest.mark.parametrize("state", LOCKED)
async def test_no_key_leaves_while_locked(state: str) -> None:
    """Neither Textual's own keys nor anybody's habits end the page."""
    app, source = page(LOCKED[state])
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        for name, keys in KEYS.items():
            await press_all(pilot, keys)
            assert is_open(app), f"one of these left the page: {name}"
        assert source.sent == []


@pytest.mark.parametrize("progress", [examples.error(), examples.ios(), examples.offers()])
async def test_no_key_leaves_where_something_can_be_pressed(progress: Progress) -> None:
    """And none but Enter and Space on the chosen action sends anything."""
    app, source = page(progress)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        for name, keys in KEYS.items():
            await press_all(
                pilot, [k for k in keys if k not in {"enter", "space", "ctrl+j", "ctrl+m"}]
            )
            assert is_open(app), f"one of these left the page: {name}"
        assert source.sent == []


async def test_no_key_leaves_before_the_first_snapshot() -> None:
    """The page is locked until it knows better."""
    app = EspApp(ScriptedSource())
    async with app.run_test() as pilot:
        await pilot.press("q", "enter", "ctrl+q", "ctrl+c", "escape")
        assert is_open(app)


async def test_quitting_by_action_is_refused_while_locked() -> None:
    """Not even code that asks Textual to quit closes the page."""
    app, _ = page(examples.windows())
    async with app.run_test() as pilot:
        await app.run_action("quit")
        await settled(pilot)
        assert is_open(app)


@pytest.mark.parametrize("key", ["enter", "q"])
@pytest.mark.parametrize("gate", [Gate.RELEASED, Gate.BYPASSED])
async def test_an_open_gate_lets_the_person_leave(gate: Gate, key: str) -> None:
    """Enter and q close the page once the device may be used."""
    app, _ = page(examples.windows(gate=gate))
    async with app.run_test() as pilot:
        await settled(pilot)
        await pilot.press(key)
        await settled(pilot)
        assert not is_open(app)


async def test_a_gate_that_locks_again_locks_the_page() -> None:
    """A reset after a release: what counts is the newest snapshot."""
    app, source = page(examples.windows(gate=Gate.RELEASED))
    async with app.run_test() as pilot:
        await settled(pilot)
        source.shows(examples.windows(attempt_number=2))
        await settled(pilot)
        await pilot.press("q", "enter")
        await settled(pilot)
        assert is_open(app)


@pytest.mark.parametrize(("watching", "can_act"), [(True, True), (True, False), (False, False)])
async def test_a_watcher_leaves_with_q(watching: bool, can_act: bool) -> None:
    """The gate of a watched device locks the device, not the watcher."""
    app, _ = page(examples.windows(), watching=watching, can_act=can_act)
    async with app.run_test() as pilot:
        await settled(pilot)
        await pilot.press("q")
        await settled(pilot)
        assert not is_open(app)


async def test_the_page_closes_when_its_source_ends() -> None:
    """Even with a question open before it."""
    app, source = page(examples.error())
    async with app.run_test() as pilot:
        await settled(pilot)
        await pilot.press("tab", "tab", "enter")
        await settled(pilot)
        assert not is_open(app)
        source.ends()
        await settled(pilot)
        assert app._exit


class Board(App[None]):
    """Another program that shows one device's page."""

    def compose(self) -> ComposeResult:
        yield Static("the board")


async def test_another_program_shows_the_page_and_gets_its_own_back() -> None:
    """The page works in a foreign theme, and leaving it goes back to what was there."""
    source = ScriptedSource(can_act=False)
    source.shows(examples.windows())
    app = Board()
    async with app.run_test() as pilot:
        app.push_screen(EspScreen(source, watching=True))
        await settled(pilot)
        shown = [type(screen) for screen in app.screen_stack]
        await pilot.press("q")
        await settled(pilot)
        assert shown[-1] is EspScreen
        assert EspScreen not in [type(screen) for screen in app.screen_stack]


async def test_a_page_that_ends_takes_its_question_with_it() -> None:
    """The program around it is back at what it showed before, not at the page without its question."""
    source = ScriptedSource()
    source.shows(examples.error())
    app = Board()
    async with app.run_test() as pilot:
        app.push_screen(EspScreen(source, watching=True))
        await settled(pilot)
        await pilot.press("tab", "tab", "enter")
        await settled(pilot)
        before = len(app.screen_stack)
        source.ends()
        await settled(pilot)
        assert (before, len(app.screen_stack)) == (3, 1)


async def test_ctrl_c_gives_no_advice_how_to_quit() -> None:
    """Textual would name a key that does nothing here."""
    app, _ = page(examples.windows())
    async with app.run_test() as pilot:
        await pilot.press("ctrl+c")
        await settled(pilot)
        assert not app._notifications


async def test_the_emergency_exit_is_off_by_default() -> None:
    """Its key does nothing, and no hint speaks of it."""
    app, source = page(examples.windows())
    async with app.run_test() as pilot:
        await settled(pilot)
        await pilot.press("ctrl+e")
        await settled(pilot)
        assert is_open(app)
        assert "emergency" not in hint_text(app)
        assert source.sent == []


async def test_the_emergency_exit_is_confirmed_reported_and_leaves() -> None:
    """Only the whole word confirms."""
    app, source = page(examples.windows(), emergency_exit_allowed=True)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        assert "Ctrl+E emergency exit" in hint_text(app)
        await pilot.press("ctrl+e")
        await settled(pilot)
        await pilot.press(*"exi", "enter")
        await settled(pilot)
        assert source.sent == []
        await pilot.press(*"exit", "enter")
        await settled(pilot)
        assert source.sent == [("emergency_exit",)]
        assert not is_open(app)


async def test_the_emergency_exit_can_be_thought_better_of() -> None:
    """Escape goes back to the page, and nothing was sent."""
    app, source = page(examples.windows(), emergency_exit_allowed=True)
    async with app.run_test() as pilot:
        await settled(pilot)
        await pilot.press("ctrl+e")
        await settled(pilot)
        await pilot.press("escape")
        await settled(pilot)
        assert is_open(app)
        assert source.sent == []


async def test_keys_of_a_question_do_not_leave_either() -> None:
    """While the emergency exit asks, Ctrl+Q and Ctrl+C are keys like any other."""
    app, source = page(examples.windows(), emergency_exit_allowed=True)
    async with app.run_test() as pilot:
        await settled(pilot)
        await pilot.press("ctrl+e")
        await settled(pilot)
        await pilot.press("ctrl+q", "ctrl+c", "ctrl+z", "ctrl+p", "f1", "q")
        await settled(pilot)
        assert app.is_running
        assert not app._exit
        assert source.sent == []


async def test_a_watcher_has_no_emergency_exit() -> None:
    """It opens the gate of the device that one sits at, never of another."""
    app, source = page(examples.windows(), watching=True, emergency_exit_allowed=True)
    async with app.run_test() as pilot:
        await settled(pilot)
        await pilot.press("ctrl+e")
        await settled(pilot)
        assert is_open(app)
        assert source.sent == []


def hint_text(app: EspApp) -> str:
    """The line of keys."""
    return str(app.screen.query_one("#hints", Static).visual)


async def test_the_hint_of_the_emergency_exit_is_there_beside_choices_too() -> None:
    """At 80 columns lesser hints give way to it."""
    app, _ = page(examples.error(), emergency_exit_allowed=True)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        assert "Ctrl+E emergency exit" in hint_text(app)
        assert "Tab choose" in hint_text(app)


async def test_the_hint_of_enter_says_what_enter_does() -> None:
    """With an open gate it closes the page, until something to press is chosen."""
    app, _ = page(examples.account_setup(gate=Gate.RELEASED, prompt=examples.TERMS))
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        assert "Enter close" in hint_text(app)
        await pilot.press("tab")
        await settled(pilot)
        assert "q close" in hint_text(app)
        assert "Enter confirm" in hint_text(app)
