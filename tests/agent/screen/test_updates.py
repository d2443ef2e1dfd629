"""Updates change what has changed: no focus moves, nothing jumps, progress never falls."""

from __future__ import annotations

from textual.geometry import Region
from textual.widgets import Static

from agent.screen.app import EspApp
from agent.screen.list_pane import ListPane
from agent.screen.notice_pane import ActionLine
from agent.screen.painted import Painted
from agent.wire.vocabulary import Choice, ItemState
from tests.agent.screen import examples
from tests.agent.screen.scripted import page, settled


def text(app: EspApp, widget: str) -> str:
    """What a part of the page says."""
    return str(app.screen.query_one(f"#{widget}", Static).visual)


def regions(app: EspApp) -> list[Region]:
    """Where the parts of the page are."""
    return [app.screen.query_one(f"#{part}").region for part in ("head", "list", "foot")]


async def test_progress_never_falls_within_an_attempt() -> None:
    app, source = page(examples.windows(percent=57))
    async with app.run_test() as pilot:
        await settled(pilot)
        assert "57 %" in text(app, "head")
        source.shows(examples.windows(percent=31))
        await settled(pilot)
        assert "57 %" in text(app, "head")
        source.shows(examples.windows(percent=58))
        await settled(pilot)
        assert "58 %" in text(app, "head")


async def test_a_new_attempt_begins_at_its_own_progress() -> None:
    app, source = page(examples.windows(percent=57))
    async with app.run_test() as pilot:
        await settled(pilot)
        source.shows(examples.windows(percent=0, attempt="another", attempt_number=2))
        await settled(pilot)
        assert "  0 %" in text(app, "head")
        assert "attempt 2" in text(app, "head")


async def test_an_update_never_moves_the_focus() -> None:
    """Neither while the choices stay, nor when one that is not focused goes, nor when a new one comes."""
    app, source = page(examples.error())
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        await pilot.press("tab", "tab", "tab")
        focused = app.focused
        assert isinstance(focused, ActionLine)
        assert focused.action.label == "Continue anyway"
        source.shows(examples.error(attempt_ms=35 * examples.MINUTE))
        await settled(pilot)
        assert app.focused is focused
        source.shows(examples.error(choices=(Choice.CONTINUE_ANYWAY,), retryable=()))
        await settled(pilot)
        assert app.focused is focused
        source.shows(examples.error())
        await settled(pilot)
        assert app.focused is focused
        assert [a.action.label for a in app.screen.query(ActionLine)] == [
            "Try again",
            "Try one item again …",
            "Continue anyway",
            "Reset device",
            "Collect logs",
        ]


async def test_when_the_focused_action_goes_nothing_takes_the_focus() -> None:
    """An Enter that was meant for it must not press another."""
    app, source = page(examples.error())
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        await pilot.press("tab")
        source.shows(examples.error(choices=(Choice.RESET_DEVICE, Choice.COLLECT_LOGS)))
        await settled(pilot)
        assert app.focused is None
        await pilot.press("enter")
        await settled(pilot)
        assert source.sent == []


async def test_the_same_button_of_another_person_screen_is_another_button() -> None:
    """Pressing Enter as one screen replaces the other does not answer the second."""
    app, source = page(examples.ios())
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        await pilot.press("tab")
        source.shows(examples.ios(prompt=examples.TERMS))
        await settled(pilot)
        await pilot.press("enter")
        await settled(pilot)
        assert source.sent == []


async def test_something_to_press_takes_no_focus_when_it_appears() -> None:
    app, source = page(examples.windows())
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        source.shows(examples.error())
        await settled(pilot)
        assert app.focused is None


async def test_the_regions_stay_where_they_are() -> None:
    """From the first phase to the last, as long as there is no notice."""
    app, source = page(examples.preparing())
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        before = regions(app)
        for progress in (
            examples.identifying(),
            examples.windows(),
            examples.many_apps(),
            examples.account_setup(),
        ):
            source.shows(progress)
            await settled(pilot)
            assert regions(app) == before


async def test_an_unchanged_snapshot_repaints_nothing() -> None:
    app, source = page(examples.windows())
    async with app.run_test() as pilot:
        await settled(pilot)
        painted = {p: p.visual for p in app.screen.query(Painted)}
        source.shows(examples.windows())
        await settled(pilot)
        assert all(p.visual is visual for p, visual in painted.items())


async def test_the_current_item_is_always_in_sight() -> None:
    """Among 25 apps at 80×24, with and without a notice above the list."""
    app, source = page(examples.many_apps())
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        assert "Line of business app 15" in in_sight(app)
        source.shows(examples.many_apps().model_copy(update={"choices": (Choice.CONTINUE_ANYWAY,)}))
        await settled(pilot)
        assert "Line of business app 15" in in_sight(app)


async def test_every_item_is_reached_by_scrolling() -> None:
    """Unfolded, each of them comes by; and no update scrolls back while the person looks around."""
    progress = examples.many_apps()
    app, source = page(progress)
    seen: set[str] = set()
    names = {item.name for item in progress.items()}
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        await pilot.press("d", "home")
        for _ in range(6):
            await settled(pilot)
            seen |= {name for name in names if name in in_sight(app)}
            await pilot.press("pagedown")
        assert seen == names
        where = app.screen.query_one(ListPane).scroll_offset.y
        source.shows(progress.model_copy(update={"percent": 58}))
        await settled(pilot)
        assert app.screen.query_one(ListPane).scroll_offset.y == where
        await pilot.press("f")
        await settled(pilot)
        assert "Line of business app 15" in in_sight(app)


def in_sight(app: EspApp) -> str:
    """The lines of the list that can be seen now."""
    pane = app.screen.query_one(ListPane)
    lines = text(app, "lines").split("\n")
    top = pane.scroll_offset.y
    return "\n".join(lines[top : top + pane.size.height])


async def test_finished_phases_are_folded_where_there_is_little_room() -> None:
    app, _ = page(examples.account_setup())
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        assert "Security policies" not in text(app, "lines")
        await pilot.resize_terminal(120, 40)
        await settled(pilot)
        assert "Security policies" in text(app, "lines")


async def test_an_item_that_does_not_move_is_marked() -> None:
    """After five minutes, in words."""
    still = examples.INSTALLING
    app, source = page(examples.windows())
    async with app.run_test(size=(120, 40)) as pilot:
        await settled(pilot)
        assert "moved 12 s ago" in text(app, "lines")
        source.shows(examples.windows(attempt_ms=still.moved_ms + 5 * examples.MINUTE))
        await settled(pilot)
        assert "has not moved for 5 min" in text(app, "lines")


async def test_a_pile_of_snapshots_ends_at_the_newest() -> None:
    app, source = page(examples.windows(percent=1))
    async with app.run_test() as pilot:
        for percent in range(2, 60):
            source.shows(examples.windows(percent=percent))
        await settled(pilot)
        assert "59 %" in text(app, "head")


async def test_narrow_and_odd_terminals_do_no_harm() -> None:
    """Down to a few cells, the page draws and goes on."""
    waiting = examples.item("App", ItemState.WAITING_TO_RETRY)
    for progress in (
        examples.error(),
        examples.long_names(),
        examples.windows(phases=examples.device_setup(waiting)),
    ):
        app, _ = page(progress)
        async with app.run_test(size=(80, 24)) as pilot:
            for size in ((20, 5), (1, 1), (300, 8), (33, 90), (80, 24)):
                await pilot.resize_terminal(*size)
                await settled(pilot)
            assert "%" in text(app, "head")
