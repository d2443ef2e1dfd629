"""The board shows the page at both usual sizes, stands still while it changes, and opens a device's screen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC
from typing import Any

import httpx
import pytest
from textual.pilot import Pilot

from agent.screen.screen import EspScreen
from agent.wire.codec import decode
from agent.wire.messages import Status
from agent.wire.vocabulary import Stage
from collector import page
from collector.board import rows
from collector.board.app import BoardApp
from collector.board.http_source import HttpScreenSource
from collector.board.panels import Figures, Listing
from collector.board.ports import BoardSnapshot, Unanswered, WatchedScreen
from collector.client import Collector
from tests.collector.board.page_of_the_seed import (
    AT,
    ShownBoard,
    ShownScreen,
    active_row,
    empty_page,
    seed_page,
    some_progress,
)

PATIENCE_S = 0.02
NARROW, WIDE = (80, 24), (120, 40)
Compare = Callable[..., bool]


def board(*news: BoardSnapshot | Unanswered) -> BoardApp:
    return BoardApp(ShownBoard(list(news)), zone=UTC)


async def settled(pilot: Pilot[Any]) -> None:
    await pilot.app.workers.wait_for_complete()
    await pilot.pause()
    await pilot.wait_for_scheduled_animations()


def pressing(*keys: str) -> Callable[[Pilot[Any]], Awaitable[None]]:
    async def press(pilot: Pilot[Any]) -> None:
        await settled(pilot)
        for key in keys:
            await pilot.press(key)
            await pilot.pause()

    return press


@pytest.mark.parametrize("size", [NARROW, WIDE], ids=["80x24", "120x40"])
@pytest.mark.parametrize("view", ["1", "2", "3", "4"])
def test_each_view(snap_compare: Compare, view: str, size: tuple[int, int]) -> None:
    assert snap_compare(board(seed_page()), run_before=pressing(view), terminal_size=size)


@pytest.mark.parametrize("size", [NARROW, WIDE], ids=["80x24", "120x40"])
def test_many_enrollments(snap_compare: Compare, size: tuple[int, int]) -> None:
    assert snap_compare(board(seed_page(60)), run_before=pressing(), terminal_size=size)


@pytest.mark.parametrize("size", [NARROW, WIDE], ids=["80x24", "120x40"])
def test_before_anything_happened(snap_compare: Compare, size: tuple[int, int]) -> None:
    assert snap_compare(board(empty_page()), run_before=pressing(), terminal_size=size)


def test_a_collector_that_is_gone(snap_compare: Compare) -> None:
    """What was shown stays, and a line says since when nothing is new."""
    gone = Unanswered("no answer from http://127.0.0.1:8080; check that the collector runs", AT)
    app = board(seed_page(), gone)
    assert snap_compare(app, run_before=pressing(), terminal_size=NARROW)


class Fed:
    """A source that a test feeds while the board runs."""

    def __init__(self) -> None:
        self.news: asyncio.Queue[BoardSnapshot] = asyncio.Queue()
        self.opened: list[str] = []

    async def snapshots(self) -> AsyncIterator[BoardSnapshot | Unanswered]:
        while True:
            yield await self.news.get()

    def screen(self, device: str) -> WatchedScreen:
        self.opened.append(device)
        return ShownScreen(device)


async def fed(pilot: Pilot[Any], source: Fed, snapshot: BoardSnapshot) -> None:
    source.news.put_nowait(snapshot)
    while not source.news.empty():
        await pilot.pause()
    await pilot.pause()


def with_active(*names: str) -> BoardSnapshot:
    whole = seed_page(0)
    made = [active_row(name, None, "Windows 11", Stage.DEVICE_SETUP, 10) for name in names]
    return BoardSnapshot(
        whole.status,
        page.ActiveEnrollments(generated_at=AT, devices=tuple(reversed(made))),
        whole.failures,
        whole.profiles,
    )


def table(app: BoardApp, name: str = "active") -> Listing:
    return app.screen_stack[0].query_one(f"#{name}-table", Listing)


async def test_the_cursor_follows_its_device_while_others_come_and_go() -> None:
    source = Fed()
    app = BoardApp(source, zone=UTC)
    async with app.run_test(size=NARROW) as pilot:
        await fed(pilot, source, with_active("A", "B", "C"))
        await pilot.press("down")
        assert table(app).device == "B"
        await fed(pilot, source, with_active("B", "C", "D"))
        assert table(app).device == "B"
        await fed(pilot, source, with_active("C", "D"))
        assert table(app).device in {"C", "D"}


async def test_a_long_table_does_not_scroll_by_itself() -> None:
    source = Fed()
    app = BoardApp(source, zone=UTC)
    names = [f"D{n:03}" for n in range(60)]
    async with app.run_test(size=NARROW) as pilot:
        await fed(pilot, source, with_active(*names))
        for _ in range(30):
            await pilot.press("down")
        # In the middle of what is seen, so that holding the cursor in sight would not hold the page still.
        await pilot.press("up", "up", "up", "up", "up")
        await pilot.wait_for_scheduled_animations()
        before = table(app).scroll_y
        assert before > 0
        await fed(pilot, source, with_active(*names, "NEW"))
        await pilot.pause()
        assert table(app).scroll_y == before
        assert table(app).device == "D025"


@pytest.mark.parametrize("key", ["q", "escape"])
async def test_enter_opens_the_devices_screen_and_a_key_comes_back_to_the_same_row(
    key: str,
) -> None:
    source = Fed()
    app = BoardApp(source, zone=UTC)
    async with app.run_test(size=WIDE) as pilot:
        await fed(pilot, source, with_active("A", "B", "C"))
        await pilot.press("down", "enter")
        await pilot.pause()
        assert source.opened == ["B"]
        assert [type(screen) for screen in app.screen_stack[1:]] == [EspScreen]
        await fed(pilot, source, with_active("A", "B", "C", "D"))
        await pilot.press(key)
        await pilot.pause()
        assert app.screen_stack[1:] == []
        assert table(app).device == "B"
        await pilot.press("escape")
        await pilot.pause()
        assert app.is_running, "only q ends the program"
        await pilot.press("q")
    assert app.return_code == 0


@pytest.mark.parametrize("size", [NARROW, WIDE], ids=["80x24", "120x40"])
def test_a_devices_screen_over_the_board(snap_compare: Compare, size: tuple[int, int]) -> None:
    """It looks as it does on the device: nothing of the board's own style reaches it."""

    async def press(pilot: Pilot[Any]) -> None:
        await settled(pilot)
        await pilot.press("enter")
        await pilot.pause()
        await pilot.wait_for_scheduled_animations()
        await pilot.pause()

    assert snap_compare(board(seed_page()), run_before=press, terminal_size=size)


async def test_enter_on_a_failure_opens_that_device() -> None:
    source = Fed()
    app = BoardApp(source, zone=UTC)
    async with app.run_test(size=NARROW) as pilot:
        await fed(pilot, source, seed_page())
        await pilot.press("2", "down", "enter")
        await pilot.pause()
        assert source.opened == ["MacBook-FAIL002"]


async def test_enter_where_there_is_no_device_does_nothing() -> None:
    source = Fed()
    app = BoardApp(source, zone=UTC)
    async with app.run_test(size=NARROW) as pilot:
        await fed(pilot, source, empty_page())
        for view in "1234":
            await pilot.press(view, "enter")
        await pilot.pause()
        assert source.opened == []


class Blank(Collector):
    """A collector that has no status of any device."""

    def __init__(self) -> None:
        super().__init__(httpx.AsyncClient())

    async def screen(self, device: str) -> AsyncIterator[Status]:
        await asyncio.Event().wait()
        yield decode(Status, device)


async def test_a_device_of_which_nothing_is_kept_is_told_on_the_board(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("collector.board.http_source.FIRST_STATUS_S", PATIENCE_S)

    class Forgotten(Fed):
        def screen(self, device: str) -> WatchedScreen:
            return HttpScreenSource(Blank(), device, "desk")

    source = Forgotten()
    app = BoardApp(source, zone=UTC)
    async with app.run_test(size=NARROW, notifications=True) as pilot:
        await fed(pilot, source, with_active("A"))
        await pilot.press("enter")
        async with asyncio.timeout(10):
            while not app._notifications:
                await pilot.pause()
        assert app.screen_stack[1:] == []
        assert [n.message for n in app._notifications] == [
            "There is nothing to see of A; it comes back when it connects again."
        ]


class Slow(Collector):
    """A collector whose device has something to show, and something new only later."""

    def __init__(self) -> None:
        super().__init__(httpx.AsyncClient())

    async def screen(self, device: str) -> AsyncIterator[Status]:
        progress = some_progress(device)
        shown = Status(device=device, stream="s", session=1, device_time=AT, progress=progress)
        yield shown
        later = asyncio.Event()
        asyncio.get_running_loop().call_later(5 * PATIENCE_S, later.set)
        await later.wait()
        yield shown


async def test_a_device_that_has_nothing_new_to_show_stays_on_the_screen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("collector.board.http_source.FIRST_STATUS_S", PATIENCE_S)
    source = HttpScreenSource(Slow(), "A", "desk")
    assert len([snapshot async for snapshot in source.snapshots()]) == 2
    assert source.problem == ""


async def test_a_silent_device_says_so_beside_its_stage() -> None:
    row = active_row("A", None, "Windows 11", Stage.INSTALLING_APPS, 10)
    whole = with_active()
    silent = page.ActiveEnrollments(
        generated_at=AT, devices=(row.model_copy(update={"silent": True}),)
    )
    snapshot = BoardSnapshot(whole.status, silent, whole.failures, whole.profiles)
    assert rows.active_rows(snapshot, 4)[0].cells[3].plain == "Silent: Installing Apps"


async def test_the_figures_are_the_pages() -> None:
    app = board(seed_page())
    async with app.run_test(size=WIDE) as pilot:
        await settled(pilot)
        shown = [str(w.render()) for w in app.query_one(Figures).children]
    assert [text.split("\n")[:2] for text in shown] == [
        ["8,456", "Enrolled"],
        ["23", "In Progress"],
        ["12", "Pending"],
        ["5", "Failed"],
    ]


@pytest.mark.parametrize("size", [(20, 6), (40, 12), (300, 100)])
async def test_no_size_breaks_it(size: tuple[int, int]) -> None:
    app = board(seed_page(60))
    async with app.run_test(size=size) as pilot:
        await settled(pilot)
        for view in "1234":
            await pilot.press(view)
        await pilot.resize_terminal(*WIDE)
        await pilot.pause()
        assert table(app).row_count == 60


@pytest.mark.parametrize(
    ("percent", "text"),
    [(0, "────   0%"), (12, "────  12%"), (13, "╸───  13%"), (100, "━━━━ 100%")],
)
def test_the_bar_never_shows_more_than_is_done(percent: int, text: str) -> None:
    assert rows.bar(percent, 4).plain == text


def test_columns_fill_the_width_and_never_go_beyond_it() -> None:
    for columns in (rows.ACTIVE, rows.FAILURES, rows.PLATFORMS, rows.PROFILES):
        for width in (79, 100, 119):
            sizes = rows.widths(columns, width)
            assert sum(sizes) + 2 * len(sizes) <= width
