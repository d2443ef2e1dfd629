"""What a person presses becomes an intent for the source, once, and only while it is offered."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from textual.pilot import Pilot
from textual.widgets import OptionList

from agent.screen.app import EspApp
from agent.screen.notice_pane import ActionLine
from agent.screen.ports import ScreenSource
from agent.screen.screen import EspScreen
from agent.wire.progress import Progress, Reporting
from agent.wire.vocabulary import Choice, EndState, Gate, PersonAction
from tests.agent.screen import examples
from tests.agent.screen.scripted import ScriptedSource, page, settled


async def press_action(pilot: Pilot[None], label: str) -> None:
    """Go with Tab to the action with this label, and press Enter."""
    await settled(pilot)
    for _ in pilot.app.screen.query(ActionLine):
        await pilot.press("tab")
        focused = pilot.app.focused
        if isinstance(focused, ActionLine) and focused.action.label == label:
            await pilot.press("enter")
            await settled(pilot)
            return
    raise AssertionError(f"nothing to press reads '{label}'")


def labels(app: EspApp) -> list[str]:
    """What can be pressed, from top to bottom."""
    return [action_line.action.label for action_line in app.screen.query(ActionLine)]


@pytest.mark.parametrize(
    ("choice", "label"),
    [
        (Choice.TRY_AGAIN, "Try again"),
        (Choice.CONTINUE_ANYWAY, "Continue anyway"),
        (Choice.COLLECT_LOGS, "Collect logs"),
    ],
)
async def test_a_choice_of_the_error_screen_is_sent(choice: Choice, label: str) -> None:
    app, source = page(examples.error())
    async with app.run_test(size=(80, 24)) as pilot:
        await press_action(pilot, label)
        assert source.sent == [("chose", choice.value, "")]


async def test_only_the_allowed_choices_are_shown() -> None:
    """The profile decides; the page adds nothing."""
    app, _ = page(examples.error(choices=(Choice.TRY_AGAIN,), retryable=()))
    async with app.run_test() as pilot:
        await settled(pilot)
        assert labels(app) == ["Try again"]


async def test_a_reset_is_sent_only_after_the_word() -> None:
    app, source = page(examples.error())
    async with app.run_test(size=(80, 24)) as pilot:
        await press_action(pilot, "Reset device")
        assert source.sent == []
        await pilot.press(*"reset", "enter")
        await settled(pilot)
        assert source.sent == [("chose", "reset_device", "")]


async def test_one_item_alone_is_tried_again() -> None:
    """The items by name; the answer is the id of the chosen one."""
    app, source = page(examples.error())
    async with app.run_test(size=(80, 24)) as pilot:
        await press_action(pilot, "Try one item again …")
        options = app.screen.query_one(OptionList)
        assert [str(options.get_option_at_index(n).prompt) for n in range(2)] == [
            "VPN Client",
            "Microsoft Edge",
        ]
        await pilot.press("down", "enter")
        await settled(pilot)
        assert source.sent == [("chose", "try_item_again", "microsoft_edge")]


async def test_the_only_item_is_tried_again_without_a_question() -> None:
    app, source = page(examples.error(retryable=("vpn_client",)))
    async with app.run_test(size=(80, 24)) as pilot:
        await press_action(pilot, "Try this one again")
        assert source.sent == [("chose", "try_item_again", "vpn_client")]


async def test_a_choice_that_went_away_during_a_question_is_not_sent() -> None:
    """The error was dealt with from elsewhere while the person read the question."""
    app, source = page(examples.error())
    async with app.run_test(size=(80, 24)) as pilot:
        await press_action(pilot, "Reset device")
        source.shows(examples.windows())
        await settled(pilot)
        await pilot.press(*"reset", "enter")
        await settled(pilot)
        assert source.sent == []


@pytest.mark.parametrize(
    ("label", "action"),
    [
        ("Trust", PersonAction.PROCEED),
        ("Cancel", PersonAction.CANCEL),
        ("Close", PersonAction.CLOSE),
    ],
)
async def test_a_person_screen_is_answered(label: str, action: PersonAction) -> None:
    app, source = page(examples.ios())
    async with app.run_test(size=(80, 24)) as pilot:
        await press_action(pilot, label)
        assert source.sent == [("acted", "trust_profile", action.value)]


async def test_a_mouse_presses_as_well() -> None:
    app, source = page(examples.ios())
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        await pilot.click(app.screen.query(ActionLine).first())
        await settled(pilot)
        assert source.sent == [("acted", "trust_profile", "proceed")]


async def test_an_offer_while_setup_goes_on_is_sent() -> None:
    app, source = page(examples.skip_offered())
    async with app.run_test(size=(80, 24)) as pilot:
        await press_action(pilot, "Skip for now")
        assert source.sent == [("chose", "skip_account_setup", "")]


async def test_after_the_end_logs_can_still_be_collected() -> None:
    failed = examples.ended(EndState.FAILED).model_copy(update={"choices": (Choice.COLLECT_LOGS,)})
    app, source = page(failed)
    async with app.run_test(size=(80, 24)) as pilot:
        await press_action(pilot, "Collect logs")
        assert source.sent == [("chose", "collect_logs", "")]


async def test_a_watcher_answers_no_person_screen() -> None:
    """With the rights to send commands it still is not the person at the device."""
    app, _ = page(examples.ios(), watching=True)
    async with app.run_test() as pilot:
        await settled(pilot)
        assert labels(app) == []


async def test_a_watcher_with_rights_makes_choices() -> None:
    app, source = page(examples.error(), watching=True)
    async with app.run_test(size=(80, 24)) as pilot:
        await press_action(pilot, "Try again")
        assert source.sent == [("chose", "try_again", "")]


@pytest.mark.parametrize("progress", [examples.error(), examples.ios(), examples.offers()])
async def test_a_watcher_without_rights_has_nothing_to_press(progress: Progress) -> None:
    app, _ = page(progress, can_act=False)
    async with app.run_test() as pilot:
        await settled(pilot)
        assert labels(app) == []


async def test_a_refused_intent_is_explained() -> None:
    app, _ = page(examples.error(), refuses="The collector can't be reached.")
    async with app.run_test(size=(80, 24)) as pilot:
        await press_action(pilot, "Try again")
        assert [n.message for n in app._notifications] == ["The collector can't be reached."]


class SlowSource(ScriptedSource):
    """Takes an intent and is not done with it until told."""

    def __init__(self) -> None:
        super().__init__()
        self.done = asyncio.Event()

    async def person_chose(self, choice: Choice, item: str | None) -> None:
        await super().person_chose(choice, item)
        await self.done.wait()


async def test_a_second_press_while_the_first_is_on_its_way_does_nothing() -> None:
    source = SlowSource()
    source.shows(examples.error())
    app = EspApp(source)
    async with app.run_test(size=(80, 24)) as pilot:
        await press_action(pilot, "Try again")
        await pilot.press("enter", "enter")
        await settled(pilot)
        assert source.sent == [("chose", "try_again", "")]
        source.done.set()
        await settled(pilot)
        await pilot.press("enter")
        await settled(pilot)
        assert source.sent == [("chose", "try_again", "")] * 2


async def test_start_using_the_device_closes_the_page() -> None:
    app, _ = page(examples.windows(gate=Gate.RELEASED))
    async with app.run_test() as pilot:
        await press_action(pilot, "Start using this device")
        await settled(pilot)
        assert app._exit or not isinstance(app.screen, EspScreen)


def test_a_plain_class_can_be_a_source() -> None:
    """The driver satisfies the port without importing the screen's package."""

    class Driver:
        emergency_exit_allowed = False
        can_act = True

        async def snapshots(self) -> AsyncIterator[tuple[Progress, Reporting]]:
            yield examples.windows(), examples.CONNECTED

        async def person_acted(self, item: str, action: PersonAction) -> None: ...

        async def person_chose(self, choice: Choice, item: str | None) -> None: ...

        async def emergency_exit(self) -> None: ...

    source: ScreenSource = Driver()
    assert source.can_act
