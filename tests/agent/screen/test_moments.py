"""What the page says in each moment that the machine has lived through: what happened, what was done, what can be done."""

from __future__ import annotations

import pytest
from rich.cells import cell_len

from agent.screen.items import Detail, item_list, reason
from agent.screen.lines import Line, Tone, text_of
from agent.screen.notice import Choose, Notice, notice_lines, say
from agent.screen.overview import current_item
from agent.screen.page import Viewer, notice_of
from agent.screen.plain import plain_page
from agent.screen.words import answer_by_ms
from agent.wire.progress import Progress
from agent.wire.vocabulary import Choice, EndState
from tests.agent.screen import examples
from tests.agent.screen.moments import MOMENTS


def listed(progress: Progress, width: int = 76) -> list[str]:
    """The list as the page folds it."""
    return [text_of(row) for row in item_list(progress, Detail(width)).lines]


def noticed(progress: Progress) -> Notice:
    """What the page says above the list to the person at the device."""
    notice = notice_of(progress, Viewer())
    assert notice is not None
    return notice


def said(paragraph: Line) -> str:
    return text_of(paragraph)


def flowing(progress: Progress) -> str:
    """The whole page without its line breaks."""
    return " ".join(plain_page(progress, width=78).split())


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("width", [20, 60, 76, 114])
def test_no_line_of_a_moment_is_wider_than_the_page(moment: str, width: int) -> None:
    progress = MOMENTS[moment]()
    rows = item_list(progress, Detail(width, everything=True)).lines
    assert max(cell_len(text_of(row)) for row in rows) <= width


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("Design Studio", "It needs 8,192 MB of memory, this device has 4,096"),
        ("Plant Maintenance", "It needs version 10.0.26100, this device runs 10.0.22631"),
        ("Company Portal", "Company Portal 5 takes its place"),
    ],
)
def test_an_item_that_was_left_out_says_why(name: str, why: str) -> None:
    """Beneath its name where the page is narrow, beside it where it is wide."""
    progress = MOMENTS["autopilot-left-out"]()
    narrow = listed(progress)
    at = next(n for n, row in enumerate(narrow) if f"– {name}  " in row)
    assert narrow[at].endswith("Left out")
    assert narrow[at + 1].strip() == why
    assert any(name in row and row.endswith(why) for row in listed(progress, 114))


def test_a_long_reason_is_cut_after_two_lines() -> None:
    progress = MOMENTS["autopilot-left-out"]()
    item = next(i for i in progress.items() if i.id == "studio")
    wordy = item.model_copy(update={"note": "it is " + "very " * 60 + "large"})
    row = examples.row("Apps", wordy, examples.INSTALLING, verb="installed")
    setup = progress.phases[1].model_copy(update={"rows": (row,)})
    shown = progress.model_copy(update={"phases": (progress.phases[0], setup)})
    rows = listed(shown)
    at = next(n for n, text in enumerate(rows) if "Design Studio" in text)
    assert rows[at + 2].endswith("…")
    assert "VPN Client" in rows[at + 3]


def test_an_app_for_later_says_so_whole() -> None:
    assert any(r.endswith("Installs after setup") for r in listed(MOMENTS["manual-apps"]()))


def test_what_is_not_attempted_names_what_it_needs() -> None:
    failing = MOMENTS["autopilot-dependencies"]()
    assert "needs Design Studio, which is not meant for this device" in flowing(failing)
    assert "It was not attempted. What is installed already stays." in flowing(failing)
    current = current_item(failing)
    assert current is not None
    assert current.name == "Studio Plug-in", "what is in the way is kept in sight"
    assert any("Studio Plug-in" in r and "Not attempted" in r for r in listed(failing))
    held_by_nothing = listed(MOMENTS["autopilot-dependency-awaited"]())
    at = next(n for n, row in enumerate(held_by_nothing) if "Print Agent" in row)
    assert "needs Adobe Acrobat Reader" in held_by_nothing[at + 1]


def test_a_blocking_failure_is_told_once() -> None:
    """The notice has it; the list does not say it again."""
    item = next(i for i in MOMENTS["autopilot-logs-collected"]().items() if i.id == "vpn")
    assert item.failure is not None
    assert reason(item) == ""
    assert flowing(MOMENTS["autopilot-logs-collected"]()).count("VPN Client could not be") == 1


def test_an_item_that_is_tried_again_says_why_and_when() -> None:
    rows = listed(MOMENTS["autopilot-tried-again"]())
    at = next(n for n, row in enumerate(rows) if "Microsoft 365 Apps" in row)
    assert rows[at].endswith("Trying again soon")
    assert rows[at + 1].strip() == "try 1 of 3 · next try in 5 min"
    assert " ".join((rows[at + 2] + rows[at + 3]).split()).startswith(
        "Microsoft 365 Apps could not be installed: another installation was running."
    )


def test_a_hybrid_registration_counts_its_tries() -> None:
    rows = listed(MOMENTS["hybrid-registration"]())
    at = next(n for n, row in enumerate(rows) if "Microsoft Entra registration" in row)
    assert rows[at + 1].strip().startswith("try 3 of 10")
    assert rows[at + 2].strip() == "Microsoft Entra registration took too long."


@pytest.mark.parametrize("viewer", [Viewer(), Viewer(watching=True, can_act=False)])
def test_a_screen_that_comes_again_says_why_first(viewer: Viewer) -> None:
    """With a sign, because colour alone says nothing."""
    notice = notice_of(MOMENTS["ios-profile-again"](), viewer)
    assert notice is not None
    assert said(notice.paragraphs[0]).startswith("! The management profile was not installed")
    assert "Allow it to go on" in said(notice.paragraphs[1])


def test_the_time_to_answer_is_the_earliest_limit_and_the_same_everywhere() -> None:
    again = MOMENTS["ios-profile-again"]()
    assert flowing(again).count("22 min left to answer") == 2
    terms = MOMENTS["fully-managed-setup-app"]()
    assert terms.prompt is not None
    assert answer_by_ms(terms, terms.prompt) == terms.deadline_ms
    assert "59 min left to answer; then the time limit is over" in flowing(terms)
    account = MOMENTS["macos-create-account"]()
    assert account.prompt is not None
    assert answer_by_ms(account, account.prompt) == account.prompt.deadline_ms


def test_resealing_says_whose_turn_it_is_next() -> None:
    (reseal,) = noticed(MOMENTS["pre-provisioning-reseal"]()).actions
    assert reseal.hint == "your part ends; the user signs in next"


def test_a_failed_pre_provisioning_tells_the_technician_what_to_do() -> None:
    failed = MOMENTS["pre-provisioning-failed"]()
    notice = noticed(failed)
    assert said(notice.paragraphs[-1]) == "Correct the cause, then start pre-provisioning anew."
    assert [a.intent for a in notice.actions] == [Choose(Choice.COLLECT_LOGS)]
    others = noticed(examples.ended(EndState.FAILED))
    assert "support" in said(others.paragraphs[-1])


def test_a_device_that_its_platform_resets_says_why_and_what_comes_next() -> None:
    notice = noticed(MOMENTS["fully-managed-no-policy"]())
    told = [said(p) for p in notice.paragraphs]
    assert "policy did not arrive in time, so this device resets itself" in told[0]
    assert "removed" in told[1]
    assert "begins anew" in told[2]
    assert not notice.actions, "an archive would be removed with the rest"


def test_a_phase_without_anything_in_it_waits_for_nothing() -> None:
    assert listed(MOMENTS["self-deploying-apps"]())[-1].split("  ")[0] == "– Account setup"
    assert listed(MOMENTS["dedicated-kiosk"]())[-1].endswith("No setup needed")
    assert listed(MOMENTS["manual-apps"]())[0].endswith("No setup needed")


def test_what_an_end_left_undone_does_not_read_as_going_on() -> None:
    page = plain_page(MOMENTS["macos-declined"]())
    assert "In progress" not in page
    assert "Not finished" in page
    assert "Not begun" in page


def test_the_way_in_is_named() -> None:
    assert "Windows (Autopilot), self-deploying" in flowing(MOMENTS["self-deploying-apps"]())
    assert "Windows (Autopilot) · Default ESP" in flowing(MOMENTS["autopilot-sign-in"]())


def test_updates_after_the_page_have_no_time_limit_of_setup() -> None:
    assert "Time limit" not in flowing(MOMENTS["autopilot-quality-updates"]())


def test_the_path_of_the_logs_outlives_what_is_muted() -> None:
    """On a narrow page nothing of it is cut off."""
    notice = noticed(MOMENTS["autopilot-logs-collected"]())
    rows = [text_of(row).strip() for row in notice_lines(notice, 72, 4)]
    assert rows[2:] == [
        "The logs are collected:",
        "/var/lib/esp-agent/logs/DESKTOP-NEW001-20261121T082640Z.zip",
    ]


def test_a_cut_failure_leaves_room_for_what_follows() -> None:
    paragraphs = (say("failed " * 30, Tone.BAD), say("done"), say("can be done"))
    rows = [text_of(r) for r in notice_lines(Notice("✗", Tone.BAD, "Oh", paragraphs), 40, 4)]
    assert len(rows) == 4
    assert rows[1].endswith("…")
    assert rows[2:] == ["  done", "  can be done"]


def test_the_last_muted_word_makes_room_for_a_whole_failure() -> None:
    paragraphs = (
        say("failed " * 8, Tone.BAD),
        say("tried", Tone.MUTED),
        say("waits", Tone.MUTED),
    )
    rows = [text_of(r) for r in notice_lines(Notice("✗", Tone.BAD, "Oh", paragraphs), 40, 4)]
    assert " ".join("".join(rows[1:3]).split()) == " ".join(["failed"] * 8)
    assert rows[3] == "  tried"


def test_facts_and_a_reason_both_have_room() -> None:
    """Where an item has both, the reason goes beneath, however short it is and however wide the page."""
    progress = MOMENTS["autopilot-dependency-awaited"]()
    item = next(i for i in progress.items() if i.id == "print")
    assert item.failure is not None
    brief = item.failure.model_copy(update={"person": "It needs a reader."})
    row = examples.row("Apps", item.model_copy(update={"failure": brief}), examples.INSTALLING)
    setup = progress.phases[1].model_copy(update={"rows": (row,)})
    rows = listed(progress.model_copy(update={"phases": (setup,)}), 114)
    at = next(n for n, text in enumerate(rows) if "Print Agent" in text)
    assert rows[at].endswith("does not hold you up")
    assert rows[at + 1].strip() == "It needs a reader."


def test_a_sentence_does_not_name_its_item_twice() -> None:
    told = said(noticed(MOMENTS["autopilot-logs-collected"]()).paragraphs[0])
    assert told == "Error 0x80070643: VPN Client could not be installed."


def test_what_was_done_outlives_the_end_of_a_long_failure() -> None:
    rows = [text_of(row).strip() for row in notice_lines(noticed(examples.error()), 72, 4)]
    assert rows[2].endswith("…")
    assert rows[3] == "It was tried 3 times. What is installed already stays."
