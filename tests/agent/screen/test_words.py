"""What the page says, line by line, without a terminal."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from agent.screen import words
from agent.screen.ended import ended_notice
from agent.screen.error import sentence
from agent.screen.items import Detail, item_list
from agent.screen.lines import clean, clip, fit, line, shorten, spread, text_of, width_of, wrap
from agent.screen.notice import notice_lines
from agent.screen.overview import head
from agent.screen.page import Viewer, notice_of
from agent.screen.plain import plain_line, plain_page
from agent.screen.reporting import reporting_line
from agent.screen.theme import initial_theme
from agent.wire.progress import Remaining, Reporting
from agent.wire.vocabulary import EndState, ItemState, Phase, RowState
from tests.agent.screen import examples
from tests.agent.screen.examples import MINUTE, SCENES, SECOND


@pytest.mark.parametrize(
    ("length_ms", "said"),
    [
        (-5, "under a minute"),
        (59_999, "under a minute"),
        (MINUTE, "1 min"),
        (59 * MINUTE, "59 min"),
        (60 * MINUTE, "1 h"),
        (65 * MINUTE + 59 * SECOND, "1 h 5 min"),
        (24 * 60 * MINUTE, "24 h"),
    ],
)
def test_durations_are_whole_minutes(length_ms: int, said: str) -> None:
    assert words.duration(length_ms) == said


@pytest.mark.parametrize(
    ("left_ms", "said"),
    [
        (0, "no time"),
        (-1, "no time"),
        (1, "under a minute"),
        (MINUTE, "1 min"),
        (MINUTE + 1, "2 min"),
        (42 * MINUTE, "42 min"),
    ],
)
def test_what_is_left_is_rounded_up(left_ms: int, said: str) -> None:
    assert words.until(1_000_000 + left_ms, 1_000_000) == said


@pytest.mark.parametrize(
    ("passed_ms", "said"), [(0, "just now"), (12_400, "12 s ago"), (3 * MINUTE, "3 min ago")]
)
def test_how_long_ago(passed_ms: int, said: str) -> None:
    assert words.ago(passed_ms) == said


@pytest.mark.parametrize(
    ("low_s", "high_s", "said"),
    [
        (720, 1080, "about 12–18 minutes left"),
        (10, 50, "less than a minute left"),
        (0, 100, "about 1–2 minutes left"),
        (290, 300, "about 5 min left"),
        (3600, 9000, "about 1 h to 2 h 30 min left"),
    ],
)
def test_remaining_time_is_a_range(low_s: int, high_s: int, said: str) -> None:
    assert (
        words.remaining(examples.windows(remaining=Remaining(low_s=low_s, high_s=high_s))) == said
    )


def test_remaining_time_says_when_it_does_not_know() -> None:
    assert words.remaining(examples.ios()) == "Time left not known until answered"
    assert words.remaining(examples.identifying()) == "Time left not known yet"
    assert words.remaining(examples.error()) == "Waiting for a choice"


def test_the_budget_names_its_context() -> None:
    assert words.budget(examples.windows()) == "Time limit of device setup in 42 min"
    assert words.budget(examples.account_setup()) == "Time limit of account setup in 1 h"
    late = examples.windows(attempt_ms=60 * MINUTE)
    assert words.budget(late) == "Time limit of device setup reached"


def test_every_state_has_a_symbol_and_a_word() -> None:
    """Colour is never the only signal."""
    for state in ItemState:
        assert words.ITEM_SYMBOLS[state].strip()
        assert words.ITEM_WORDS[state]
        assert words.ITEM_TONES[state]
    for row_state in RowState:
        assert words.ROW_SYMBOLS[row_state].strip()
        assert words.ROW_WORDS[row_state]
        assert words.ROW_TONES[row_state]


def test_states_that_must_not_be_taken_for_each_other_read_differently() -> None:
    """Timed out, failed and not detected are three things."""
    different = (ItemState.FAILED, ItemState.TIMED_OUT, ItemState.NOT_DETECTED)
    assert len({words.ITEM_WORDS[state] for state in different}) == 3


@pytest.mark.parametrize("end", EndState)
def test_every_end_says_what_happened_and_what_can_be_done(end: EndState) -> None:
    notice = ended_notice(examples.ended(end), end, can_act=True, at_device=True)
    assert notice.heading
    assert len(notice.paragraphs) >= 2 or notice.actions
    assert words.END_WORDS[end]


def test_a_bypass_never_reads_as_a_plain_success() -> None:
    page = plain_page(examples.ended(EndState.BYPASSED))
    assert "is ready for" not in page
    assert "setup is not complete" in page
    assert "VPN Client and Microsoft Edge" in page


def test_a_timeout_names_what_was_not_finished() -> None:
    assert "Not finished in time: VPN Client." in plain_page(examples.ended(EndState.TIMED_OUT))


def test_a_refusal_shows_its_code_even_where_details_are_hidden() -> None:
    refused = examples.ended(EndState.REFUSED).model_copy(update={"show_details": False})
    assert "Error 0x801c0003" in plain_page(refused)


@pytest.mark.parametrize("ended", [True, False])
def test_hidden_details_show_no_code(ended: bool) -> None:
    """The profile says so; names and states remain."""
    failed = examples.ended(EndState.FAILED).model_copy(update={"show_details": False})
    page = plain_page(failed if ended else examples.error(details=False))
    assert "0x8" not in page
    assert "VPN Client" in page


def test_a_failure_without_an_item_names_its_code_first() -> None:
    assert sentence(examples.windows(), examples.REFUSAL).startswith("Error 0x801c0003: ")


@pytest.mark.parametrize(
    ("reporting", "said"),
    [
        (examples.CONNECTED, "● Connected · every report has arrived"),
        (examples.NOT_THROUGH, "! Reports are not getting through since 14:02 · 17 waiting"),
        (examples.DISCONNECTED, "○ Not connected · setup goes on, reports are kept · 4 waiting"),
        (Reporting(), "○ Works without a broker · nothing is reported"),
        (
            examples.CONNECTED.model_copy(update={"unacknowledged": 1}),
            "● Connected · 1 report on the way",
        ),
        (
            examples.CONNECTED.model_copy(update={"collector_online": False, "unacknowledged": 9}),
            "○ Connected · nobody is collecting now, reports are kept · 9 waiting",
        ),
        (
            examples.NOT_THROUGH.model_copy(update={"problem": "The broker refused the password."}),
            "! The broker refused the password. · 17 waiting",
        ),
    ],
)
def test_the_state_of_reporting(reporting: Reporting, said: str) -> None:
    assert text_of(reporting_line(reporting, 80, UTC)) == said


def test_a_watcher_is_told_how_current_the_page_is() -> None:
    lost = Reporting(connected=False, broker="mqtt://somewhere")
    assert "may be old" in text_of(reporting_line(lost, 80, watching=True))


@pytest.mark.parametrize(("waiting", "said"), [(0, "every report has arrived"), (1, "are kept")])
def test_an_attempt_that_is_over_signs_off_once_its_reports_are_through(
    waiting: int, said: str
) -> None:
    off = Reporting(connected=False, broker="mqtt://x:1883", unacknowledged=waiting)
    assert said in text_of(reporting_line(off, 80, UTC, over=True))
    assert "are kept" in text_of(reporting_line(off, 80, UTC))


def test_a_row_reads_as_its_count() -> None:
    page = plain_page(examples.windows())
    assert "2 of 5 installed" in page
    assert "2 of 2 applied" in page
    assert "1 of 1 added" in page
    assert "Identifying" in plain_page(examples.identifying())
    assert "No setup needed" in plain_page(examples.identifying())


def test_a_working_item_says_everything_about_itself() -> None:
    """What it does now, which try, its own limit, and when it last moved."""
    page = plain_page(examples.windows(), width=120)
    assert "Downloading 45 %" in page
    assert "try 2 of 3 · at most 40 min more · moved 12 s ago" in page


def test_an_item_says_what_it_waits_for() -> None:
    assert "Waits for VPN Client" in plain_page(examples.windows())


def test_one_line_for_scripts() -> None:
    assert plain_line(examples.windows()) == (
        "DESKTOP-NEW001   57 %  Installing Apps · VPN Client: Downloading 45 % · "
        "about 12–18 minutes left · Time limit of device setup in 42 min · gate locked"
    )
    assert plain_line(examples.ended(EndState.REFUSED)) == (
        "DESKTOP-NEW001    0 %  Refused · "
        "Error 0x801c0003: This device is already enrolled with a different user. · gate locked"
    )


@pytest.mark.parametrize("scene", SCENES)
def test_the_plain_page_stays_within_its_width(scene: str) -> None:
    make, reporting = SCENES[scene]
    for width in (40, 80, 132):
        rows = plain_page(make(), reporting, width=width, zone=UTC).split("\n")
        assert all(cell_len(row) <= width for row in rows)


@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("width", [20, 74, 120])
def test_no_line_is_wider_than_the_page(scene: str, width: int) -> None:
    """Not even with names of 256 letters, double-width ones or control characters."""
    make, _ = SCENES[scene]
    progress = make()
    lines = [
        *head(progress, progress.percent, width, roomy=True),
        *item_list(progress, Detail(width, everything=True)).lines,
    ]
    notice = notice_of(progress, Viewer())
    if notice is not None:
        lines += notice_lines(notice, width, 12)
    assert max(width_of(row) for row in lines) <= width
    assert all(
        clean(span.text) == span.text and "\n" not in span.text for row in lines for span in row
    )


def test_a_notice_keeps_a_line_of_every_paragraph_when_there_is_little_room() -> None:
    notice = notice_of(examples.error(), Viewer())
    assert notice is not None
    said = [text_of(row) for row in notice_lines(notice, 60, 5)]
    assert len(said) == 5
    assert "VPN Client (0x80070643)" in said[1]
    assert "Microsoft Edge (0x87D1041C)" in said[2]


def test_control_characters_do_not_reach_the_terminal() -> None:
    assert "\x1b" not in plain_page(examples.long_names())
    assert "\u202e" not in plain_page(examples.long_names())


TEXTS = st.text(max_size=60)


@given(TEXTS, st.integers(min_value=2, max_value=50))
def test_fitted_text_has_exactly_its_width(text: str, width: int) -> None:
    assert cell_len(fit(text, width)) == width
    assert cell_len(shorten(text, width)) <= width


@given(TEXTS, st.integers(min_value=4, max_value=50), st.integers(min_value=1, max_value=4))
def test_wrapped_text_stays_within_its_room(text: str, width: int, most: int) -> None:
    rows = wrap(text, width, most)
    assert len(rows) <= most
    assert all(cell_len(row) <= width for row in rows)


@given(st.text(alphabet="abc déf 会", max_size=80), st.integers(min_value=4, max_value=30))
def test_wrapping_loses_nothing(text: str, width: int) -> None:
    assert "".join("".join(wrap(text, width)).split()) == "".join(text.split())


@given(TEXTS, TEXTS, st.integers(min_value=1, max_value=60))
def test_a_spread_line_is_never_too_wide(left: str, right: str, width: int) -> None:
    both = spread(line(clean(left)), clip(line(clean(right)), width), width)
    assert width_of(both) <= width


@pytest.mark.parametrize(
    ("environment", "theme"),
    [({}, "esp-dark"), ({"COLORFGBG": "15;0"}, "esp-dark"), ({"COLORFGBG": "0;15"}, "esp-light")],
)
def test_the_theme_follows_the_terminal(environment: dict[str, str], theme: str) -> None:
    assert initial_theme(environment) == theme


def test_the_plain_page_loads_no_textual() -> None:
    """A headless agent prints without the screen library."""
    program = (
        "import sys, agent.screen.plain, agent.screen.ports; sys.exit('textual' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_account_setup_that_is_not_shown_is_one_line() -> None:
    page = item_list(examples.unseen_account_setup(), Detail(80))
    said = [text_of(row) for row in page.lines]
    assert said[-1].startswith(f"▸ {Phase.ACCOUNT_SETUP.label}")
    assert "goes on unseen" in said[-1]
