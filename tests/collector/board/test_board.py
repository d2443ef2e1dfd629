"""The board shows the page at both usual sizes, stands still while it changes, and opens a device's screen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC
from typing import Any

import httpx
import pytest
from textual.pilot import Pilot
from textual.widgets import Static

from agent.screen.screen import EspScreen
from agent.wire.codec import decode
from agent.wire.messages import (
    CommandAction,
    ExtendTimeout,
    ResetDevice,
    RetryItem,
    RetryPhase,
    Status,
)
from agent.wire.vocabulary import Context, Section, Stage
from collector.board import rows
from collector.board.app import BoardApp
from collector.board.arranging import Order, matching
from collector.board.device import DeviceScreen
from collector.board.http_source import HttpScreenSource
from collector.board.panels import Figures, Listing
from collector.board.ports import (
    ActionCount,
    BoardSnapshot,
    DeviceStory,
    ReportFilter,
    Unanswered,
    WatchedScreen,
)
from collector.board.report import action_rows
from collector.client import Collector
from collector.pages import page
from collector.pages.history import CommandLine
from tests.collector.board.page_of_the_seed import (
    AT,
    ShownBoard,
    ShownScreen,
    active_row,
    empty_page,
    seed_page,
    some_progress,
)
from tests.collector.board.stories import empty_report, failed_story, seed_report

PATIENCE_S = 0.02
STUCK = {"DESKTOP-NEW001": "Microsoft 365 Apps"}
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
@pytest.mark.parametrize("view", ["1", "2", "3", "4", "5"])
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


class Fed(ShownBoard):
    """A source that a test feeds while the board runs."""

    def __init__(self) -> None:
        super().__init__([])
        self.queue: asyncio.Queue[BoardSnapshot] = asyncio.Queue()

    async def snapshots(self) -> AsyncIterator[BoardSnapshot | Unanswered]:
        while True:
            yield await self.queue.get()

    def screen(self, device: str) -> WatchedScreen:
        self.opened.append(device)
        return ShownScreen(device)


async def fed(pilot: Pilot[Any], source: Fed, snapshot: BoardSnapshot) -> None:
    source.queue.put_nowait(snapshot)
    while not source.queue.empty():
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
        {},
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
    snapshot = BoardSnapshot(whole.status, silent, whole.failures, whole.profiles, {})
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
        for view in "123451":
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


def test_words_of_the_filter_have_to_be_there_whatever_the_case() -> None:
    lines = rows.active_rows(seed_page(5), 4)
    assert [row.key for row in matching(lines, "DESKTOP windows")] == [
        "DESKTOP-NEW001", "DESKTOP-NEW004", "DESKTOP-NEW005",
    ]  # fmt: skip
    assert [row.key for row in matching(lines, "mac policies")] == ["MacBook-NEW002"]
    assert matching(lines, "mac windows") == []
    assert matching(lines, "") == lines


def test_a_column_of_figures_is_sorted_by_figure() -> None:
    lines = rows.active_rows(seed_page(12), 4)
    by_progress = Order(4).sorted(lines)
    told = [int(row.cells[4].plain.split()[-1].rstrip("%")) for row in by_progress]
    assert told == sorted(told)
    assert {9, 75} <= set(told), "as text 9 would come after 75"
    assert Order(4).turned.sorted(lines)[0].key == "DESKTOP-NEW001"
    assert Order().sorted(lines) == lines


def test_sorting_goes_through_the_columns_and_back_to_none() -> None:
    order, seen = Order(), []
    for _ in range(len(rows.ACTIVE) + 1):
        order = order.next_of(rows.ACTIVE)
        seen.append(order.column)
    assert seen == [0, 1, 2, 3, 4, None]


@pytest.mark.parametrize("column", rows.ACTIVE)
def test_a_sorted_heading_ends_with_its_arrow_and_fits(column: rows.Column) -> None:
    for order, arrow in ((Order(0), "▲"), (Order(0).turned, "▼")):
        head = order.head(0, column, column.least)
        assert head.endswith(arrow)
        assert len(head) <= column.least


async def test_the_filter_shows_while_it_is_typed_and_escape_clears_it() -> None:
    app = board(seed_page(60))
    async with app.run_test(size=NARROW) as pilot:
        await settled(pilot)
        assert table(app).row_count == 60
        await pilot.press("slash", "m", "a", "c")
        await pilot.pause()
        assert [table(app).device, table(app).row_count] == ["MacBook-NEW002", 1]
        await pilot.press("enter")
        assert table(app).has_focus
        assert table(app).row_count == 1, "it is kept"
        await pilot.press("escape")
        await pilot.pause()
        assert table(app).row_count == 60


async def test_keys_of_the_board_are_letters_of_the_filter() -> None:
    """`q` in a filter ends nothing, `5` is no view."""
    app = board(seed_page(3))
    async with app.run_test(size=NARROW) as pilot:
        await settled(pilot)
        await pilot.press("slash", "q", "5", "s")
        await pilot.pause()
        assert app.is_running
        assert table(app).row_count == 0
        await pilot.press("escape")
        await pilot.pause()
        assert table(app).row_count == 3


async def test_sorting_holds_while_new_pages_come() -> None:
    source = Fed()
    app = BoardApp(source, zone=UTC)
    async with app.run_test(size=NARROW) as pilot:
        await fed(pilot, source, with_active("B", "C", "A"))
        await pilot.press("s")
        await pilot.pause()
        assert [row.key for row in table(app)._rows] == ["A", "B", "C"]
        await fed(pilot, source, with_active("D", "B", "A", "C"))
        assert [row.key for row in table(app)._rows] == ["A", "B", "C", "D"]
        await pilot.press("S")
        await pilot.pause()
        assert [row.key for row in table(app)._rows] == ["D", "C", "B", "A"]
        for _ in range(len(rows.ACTIVE)):
            await pilot.press("s")
        await pilot.pause()
        assert [row.key for row in table(app)._rows] == ["D", "B", "A", "C"], "as it came"


async def test_a_stuck_device_is_told_by_words_and_counted() -> None:
    app = board(seed_page(stuck={"DESKTOP-NEW001": "Microsoft 365 Apps"}))
    async with app.run_test(size=WIDE) as pilot:
        await settled(pilot)
        shown = [str(w.render()) for w in app.query_one(Figures).children]
        assert shown[1].split("\n")[0] == "23  ! 1 stuck"
        assert table(app)._rows[0].cells[3].plain == "Stuck: Microsoft 365 Apps"


REPORT_KEYS = [
    ("d", ReportFilter(days=30)),
    ("o", ReportFilter(operating_system="ios")),
    ("e", ReportFilter(section=Section.SETUP_CHECKLIST)),
]


@pytest.mark.parametrize(("key", "wanted"), REPORT_KEYS)
async def test_the_report_is_asked_again_with_each_filter(key: str, wanted: ReportFilter) -> None:
    source = ShownBoard([seed_page()])
    app = BoardApp(source, zone=UTC)
    async with app.run_test(size=NARROW) as pilot:
        await settled(pilot)
        assert source.asked == [], "nobody looks at it"
        await pilot.press("5")
        await settled(pilot)
        await pilot.press(key)
        await settled(pilot)
    assert source.asked == [ReportFilter(), wanted]


def test_the_table_of_actions_leaves_out_what_nobody_did() -> None:
    report = replace(
        seed_report(),
        actions=(
            ActionCount(Section.TERMS_OF_USE, "TermsofUse", "x", "iOS/Android", "Decline All", 0),
            ActionCount(Section.TERMS_OF_USE, "TermsofUse", "y", "iOS/Android", "Decline All", 2),
            ActionCount(Section.SETUP_CHECKLIST, "DeviceCategory", "z", "iOS", "Closed", 1),
        ),
    )
    shown = [[cell.plain.strip() for cell in row.cells] for row in action_rows(report)]
    assert shown == [
        ["DeviceCategory", "z", "iOS", "Closed", "1"],
        ["TermsofUse", "y", "iOS/Android", "Decline All", "2"],
    ]


async def test_a_report_that_can_not_be_had_says_why() -> None:
    source = ShownBoard([seed_page()], refuses="the token's role is not enough")
    app = BoardApp(source, zone=UTC)
    async with app.run_test(size=NARROW) as pilot:
        await settled(pilot)
        await pilot.press("5")
        await settled(pilot)
        said = str(app.query_one("#looked-at", Static).render())
    assert said == "the token's role is not enough"


@pytest.mark.parametrize("size", [NARROW, WIDE], ids=["80x24", "120x40"])
@pytest.mark.parametrize(
    "keys",
    [("h",), ("h", "2"), ("h", "3"), ("h", "4"), ("h", "c"), ("h", "c", "enter")],
    ids=["items", "reports", "attempts", "commands", "menu", "confirm"],
)
def test_a_devices_history(
    snap_compare: Compare, keys: tuple[str, ...], size: tuple[int, int]
) -> None:
    """Why it is where it is, all that is stored of it, and a question before each command."""
    assert snap_compare(board(seed_page()), run_before=pressing(*keys), terminal_size=size)


def test_a_device_on_its_error_screen(snap_compare: Compare) -> None:
    app = BoardApp(ShownBoard([seed_page()], told=[failed_story()]), zone=UTC)
    assert snap_compare(app, run_before=pressing("h"), terminal_size=NARROW)


def test_a_report_without_anybody(snap_compare: Compare) -> None:
    app = BoardApp(ShownBoard([seed_page()], made=empty_report()), zone=UTC)
    assert snap_compare(app, run_before=pressing("5"), terminal_size=NARROW)


@pytest.mark.parametrize("keys", [("1",), ("5",), ("h",)], ids=["status", "report", "history"])
def test_in_a_light_terminal(snap_compare: Compare, keys: tuple[str, ...]) -> None:
    app = board(seed_page(stuck=STUCK))
    assert snap_compare(app, run_before=pressing("t", *keys), terminal_size=WIDE)


@pytest.mark.parametrize("keys", [("1",), ("5",), ("h",)], ids=["status", "report", "history"])
def test_without_colours(
    snap_compare: Compare, keys: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With NO_COLOR everything that a colour says is said by a word or a sign as well."""
    monkeypatch.setenv("NO_COLOR", "1")
    app = board(seed_page(stuck=STUCK))
    assert snap_compare(app, run_before=pressing(*keys), terminal_size=NARROW)


COMMANDS = [
    pytest.param(("enter", "y"), RetryPhase(), id="phase"),
    pytest.param(("down", "enter", "enter", "y"), RetryItem(item="wifi"), id="item"),
    pytest.param(
        ("down", "down", "enter", "down", "enter", "y"),
        ExtendTimeout(context=Context.DEVICE, minutes=30),
        id="time",
    ),
    pytest.param(("end", "enter", *"RESET", "enter"), ResetDevice(), id="reset"),
]


@pytest.mark.parametrize(("keys", "action"), COMMANDS)
async def test_a_command_goes_out_once_it_is_confirmed(
    keys: tuple[str, ...], action: CommandAction
) -> None:
    source = ShownBoard([seed_page()])
    app = BoardApp(source, zone=UTC)
    async with app.run_test(size=NARROW) as pilot:
        await settled(pilot)
        await pilot.press("h")
        await pilot.pause()
        await pilot.press("c")
        await pilot.pause()
        for key in keys[:-1]:
            await pilot.press(key)
            await pilot.pause()
        assert source.sent == [], "nothing goes out before it is confirmed"
        await pilot.press(keys[-1])
        await settled(pilot)
        assert source.sent == [("DESKTOP-NEW001", action)]
        assert app.screen.query_one("#commands").has_class("-here"), "what becomes of it is shown"


@pytest.mark.parametrize(
    "keys",
    [("escape",), ("enter", "n"), ("enter", "escape"), ("enter", "enter", "escape"),
     ("end", "enter", *"RESE", "enter", "escape")],
)  # fmt: skip
async def test_a_command_that_is_not_confirmed_is_not_sent(keys: tuple[str, ...]) -> None:
    source = ShownBoard([seed_page()])
    app = BoardApp(source, zone=UTC)
    async with app.run_test(size=NARROW) as pilot:
        await settled(pilot)
        for key in ("h", "c", *keys):
            await pilot.press(key)
            await pilot.pause()
        assert source.sent == []
        assert isinstance(app.screen, DeviceScreen), "back at the device"


async def test_a_command_that_the_collector_refuses_says_why() -> None:
    source = ShownBoard([seed_page()], refuses="this needs helpdesk; use another token")
    app = BoardApp(source, zone=UTC)
    async with app.run_test(size=NARROW, notifications=True) as pilot:
        await settled(pilot)
        for key in ("h", "c", "enter", "y"):
            await pilot.press(key)
            await pilot.pause()
        await settled(pilot)
        told = [n.message for n in app._notifications]
    assert told == ["this needs helpdesk; use another token"]


@dataclass
class AnsweredBoard(ShownBoard):
    """Has news of the device once a command was sent."""

    answered: asyncio.Event = field(default_factory=asyncio.Event)

    async def send(self, device: str, action: CommandAction) -> CommandLine:
        self.answered.set()
        return await super().send(device, action)

    async def stories(self, device: str) -> AsyncIterator[DeviceStory | Unanswered]:
        (story,) = self.told
        assert isinstance(story, DeviceStory)
        yield story
        await self.answered.wait()
        lost = story.history.model_copy(update={"presence": "lost"})
        yield DeviceStory(story.standing, lost)


async def test_a_device_is_followed_while_it_is_sent_a_command() -> None:
    """Asking which command to send does not end the news of the device."""
    app = BoardApp(AnsweredBoard([seed_page()]), zone=UTC)
    async with app.run_test(size=NARROW) as pilot:
        await settled(pilot)
        for key in ("h", "c", "enter", "y"):
            await pilot.press(key)
            await pilot.pause()
        await settled(pilot)
        about = str(app.screen.query_one("#device-about", Static).visual)
        assert about.endswith("connection lost")


async def test_from_the_history_to_the_screen_and_back() -> None:
    source = ShownBoard([seed_page()])
    app = BoardApp(source, zone=UTC)
    async with app.run_test(size=NARROW) as pilot:
        await settled(pilot)
        await pilot.press("h")
        await pilot.pause()
        await pilot.press("enter")
        await pilot.pause()
        assert [type(screen) for screen in app.screen_stack[1:]] == [DeviceScreen, EspScreen]
        await pilot.press("escape")
        await pilot.pause()
        await pilot.press("escape")
        await pilot.pause()
        assert app.screen_stack[1:] == []
    assert source.opened == ["history of DESKTOP-NEW001", "DESKTOP-NEW001"]


async def test_no_size_breaks_a_devices_history() -> None:
    app = board(seed_page())
    async with app.run_test(size=(30, 8)) as pilot:
        await settled(pilot)
        await pilot.press("h")
        await pilot.pause()
        for tab in "1234":
            await pilot.press(tab)
        await pilot.resize_terminal(300, 100)
        await pilot.pause()
        assert isinstance(app.screen, DeviceScreen)
