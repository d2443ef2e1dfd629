"""The incomplete-enrollments report, from what the machine reports when people give up: rows, lines, roll-up, edges."""

from __future__ import annotations

import csv
import io
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from agent.core.person_screens import ABANDONMENT_ROWS
from agent.wire.events import AttemptEnded
from agent.wire.vocabulary import EndState, EnrollmentType, Section
from tests.collector.asking import ask, asking, services
from tests.collector.fleet import Office, Reporter
from tests.collector.pages.seed_report import (
    CASES,
    DAY_MS,
    MIDNIGHT_MS,
    STATES,
    TODAY,
    abandon_at,
    times,
)
from tests.collector.portal import ANDROID, IOS, ROWS, Sender, abandoned, enrolled, waiting

REPORT = "/api/reports/incomplete-user-enrollments"


async def told(office: Office, **asked: Any) -> Any:
    async with asking(services(office)) as api:
        return await ask(api, REPORT, **asked)


async def test_all_nineteen_rows_count_what_happened_and_nothing_else(report_seed: Office) -> None:
    answer = await told(report_seed)
    counted = {row["id"]: row["count"] for table in answer["tables"] for row in table["rows"]}
    expected: Counter[str] = Counter()
    for row, _platform, n, _day in CASES:
        expected[row.id] += n
    assert counted == expected
    assert len(counted) == 19
    assert min(counted.values()) >= 1


async def test_the_tables_are_those_of_the_document(report_seed: Office) -> None:
    answer = await told(report_seed)
    assert [(t["section"], len(t["rows"])) for t in answer["tables"]] == [
        ("Setup Checklist", 5),
        ("Platform Screens", 8),
        ("Terms of Use", 2),
        ("Compliance/Activation", 4),
    ]
    first = answer["tables"][0]["rows"][0]
    assert (first["action_name"], first["platform"], first["user_action"]) == (
        "EnrollmentWrapUp",
        "iOS/Android",
        "Cancel",
    )
    assert first["screen_or_flow"] == "Prompt to open page in Company Portal"
    last = answer["tables"][3]["rows"][3]
    assert (last["id"], last["action_name"]) == ("activation-time", "Compliance")


async def test_the_roll_up_counts_attempts(report_seed: Office) -> None:
    gave_up = times(IOS, ANDROID) + 2 * 3
    initiated = gave_up + 2 * 30 + 2 * 2 + len(STATES)
    assert (await told(report_seed))["roll_up"] == {
        "initiated": initiated,
        "incomplete": gave_up + len(STATES),
        "abandoned": gave_up,
        "incomplete_rate_percent": round(gave_up / initiated * 100, 1),
    }


async def test_each_section_has_a_line_with_a_point_a_day(report_seed: Office) -> None:
    answer = await told(report_seed)
    expected: Counter[tuple[str, str]] = Counter()
    for row, _platform, n, days_ago in CASES:
        expected[row.section.value, str(TODAY - timedelta(days=days_ago))] += n
    expected["Terms of Use", str(TODAY - timedelta(days=1))] += 2 * 3
    found = {
        (line["section"], point["day"]): point["abandoned"]
        for line in answer["lines"]
        for point in line["days"]
    }
    assert len(found) == 4 * 14
    assert {key: n for key, n in found.items() if n} == expected
    assert sum(line["abandoned"] for line in answer["lines"]) == answer["roll_up"]["abandoned"]


async def test_what_no_row_is_about_stands_after_the_rows(report_seed: Office) -> None:
    answer = await told(report_seed)
    others = [row for table in answer["tables"] for row in table["others"]]
    assert [(o["action_name"], o["user_action"], o["platform"], o["count"]) for o in others] == [
        ("TermsofUse", "Closed", "Android Enterprise", 3),
        ("TermsofUse", "Closed", "iOS/iPadOS", 3),
    ]
    assert all(o["id"] is None for o in others)


async def test_the_operating_system_narrows_everything(report_seed: Office) -> None:
    answer = await told(report_seed, os="android")
    assert answer["roll_up"]["abandoned"] == times(ANDROID) + 3
    assert answer["roll_up"]["initiated"] == times(ANDROID) + 3 + 30 + 2
    rows = [row for table in answer["tables"] for row in table["rows"]]
    assert {row["platform"] for row in rows} == {"iOS/Android", "Android"}
    assert await told(report_seed, os=["ios", "android"]) | {"generated_at": 0} == await told(
        report_seed
    ) | {"generated_at": 0}


async def test_a_section_narrows_all_but_the_initiated(report_seed: Office) -> None:
    whole = (await told(report_seed))["roll_up"]
    answer = await told(report_seed, section="Platform Screens")
    expected = times(IOS, ANDROID, section=Section.PLATFORM_SCREENS)
    assert [line["section"] for line in answer["lines"]] == ["Platform Screens"]
    assert [table["section"] for table in answer["tables"]] == ["Platform Screens"]
    figures = answer["roll_up"]
    assert (figures["incomplete"], figures["abandoned"]) == (expected, expected)
    assert figures["initiated"] == whole["initiated"]


async def test_days_narrow_the_range(report_seed: Office) -> None:
    answer = await told(report_seed, days=1)
    assert (answer["first_day"], answer["last_day"]) == (str(TODAY), str(TODAY))
    today = sum(n for _row, _platform, n, days_ago in CASES if days_ago == 0)
    assert answer["roll_up"]["abandoned"] == today
    assert answer["roll_up"]["initiated"] == today + 2 * 2


# The edges.


@pytest.mark.parametrize(("minutes", "incomplete"), [(29 + 59 / 60, 0), (30, 1)])
@pytest.mark.parametrize("platform", [IOS, ANDROID])
async def test_thirty_minutes_end_an_attempt_and_a_second_less_does_not(
    office: Office, platform: EnrollmentType, minutes: float, incomplete: int
) -> None:
    office.take_in(Sender("phone").sent(waiting(platform, minutes)))
    answer = await told(office)
    assert answer["roll_up"]["initiated"] == 1
    assert answer["roll_up"]["incomplete"] == incomplete
    (row,) = (r for t in answer["tables"] for r in t["rows"] if r["id"] == "terms-time")
    assert row["count"] == incomplete


async def per_day(office: Office, **asked: Any) -> dict[str, int]:
    answer = await told(office, section="Terms of Use", **asked)
    return {p["day"]: p["abandoned"] for p in answer["lines"][0]["days"] if p["abandoned"]}


async def test_a_day_begins_at_its_midnight_and_an_attempt_belongs_to_the_day_it_was_begun(
    office: Office,
) -> None:
    abandon_at(office, MIDNIGHT_MS - 1, "before", ended_ms=MIDNIGHT_MS + 5)
    abandon_at(office, MIDNIGHT_MS, "at")
    abandon_at(office, MIDNIGHT_MS + 1, "after")
    yesterday = TODAY - timedelta(days=1)
    assert await per_day(office) == {str(yesterday): 1, str(TODAY): 2}
    assert await per_day(office, **{"from": str(TODAY)}) == {str(TODAY): 2}
    assert await per_day(office, to=str(yesterday)) == {str(yesterday): 1}


async def test_a_time_zone_moves_the_midnights(office: Office) -> None:
    # 22:00 UTC is midnight in Berlin in summer, and 14:00 UTC was midnight in Kiritimati all along.
    hour_ms = 60 * 60 * 1000
    abandon_at(office, MIDNIGHT_MS - 2 * hour_ms - 1, "before")
    abandon_at(office, MIDNIGHT_MS - 2 * hour_ms, "at")
    yesterday = str(TODAY - timedelta(days=1))
    assert await per_day(office) == {yesterday: 2}
    berlin = await per_day(office, time_zone="Europe/Berlin")
    assert berlin == {yesterday: 1, str(TODAY): 1}
    assert await per_day(office, time_zone="Pacific/Kiritimati") == {str(TODAY): 2}


async def test_a_day_on_which_clocks_change_has_23_or_25_hours(office: Office) -> None:
    # On 30 March 2025 Berlin went from UTC+1 to UTC+2: that day lasted from 23:00 to 22:00 UTC.
    office.clock.at_ms = round(datetime(2025, 4, 5, 12, tzinfo=UTC).timestamp() * 1000)
    now_ms = office.clock.at_ms
    for name, hour, day in (("first", 23, 29), ("last", 21, 30), ("next", 22, 30)):
        at = datetime(2025, 3, day, hour, 30, tzinfo=UTC)
        abandon_at(office, round(at.timestamp() * 1000), name)
    office.clock.at_ms = now_ms
    assert await per_day(office, time_zone="Europe/Berlin") == {"2025-03-30": 2, "2025-03-31": 1}


async def test_day_thirty_can_be_asked_for_and_day_thirty_one_can_not(office: Office) -> None:
    day_30, day_31 = TODAY - timedelta(days=30), TODAY - timedelta(days=31)
    for name, day in (("thirty", day_30), ("thirty-one", day_31)):
        ago = (TODAY - day).days
        abandon_at(office, MIDNIGHT_MS - ago * DAY_MS, name)
    assert await per_day(office) == {}
    assert await per_day(office, **{"from": str(day_30)}) == {str(day_30): 1}
    assert await per_day(office, days=31) == {str(day_30): 1}
    async with asking(services(office)) as api:
        refused = await ask(api, REPORT, 422, **{"from": str(day_31)})
    assert refused["key"] == "from"
    assert str(day_30) in refused["detail"]


async def test_restarting_after_giving_up_makes_several_attempts(office: Office) -> None:
    phone = Sender("phone")
    for story in (
        abandoned(ROWS["wizard-postpone"], IOS),
        abandoned(ROWS["terms-time"], IOS),
        abandoned(ROWS["terms-time"], IOS),
        enrolled(IOS),
    ):
        office.take_in(phone.sent(story))
    figures = (await told(office))["roll_up"]
    assert (figures["initiated"], figures["incomplete"]) == (4, 3)
    assert figures["incomplete_rate_percent"] == 75.0


async def test_without_any_attempt_there_is_no_rate(office: Office) -> None:
    answer = await told(office)
    assert answer["roll_up"]["incomplete_rate_percent"] is None
    assert sum(row["count"] for table in answer["tables"] for row in table["rows"]) == 0


@pytest.mark.parametrize(
    ("asked", "key"),
    [
        ({"days": 0}, "days"),
        ({"days": 32}, "days"),
        ({"days": 3, "from": str(TODAY)}, "days"),
        ({"from": "soon"}, "from"),
        ({"to": str(TODAY + timedelta(days=1))}, "to"),
        ({"from": str(TODAY), "to": str(TODAY - timedelta(days=1))}, "from"),
        ({"to": str(TODAY - timedelta(days=40))}, "to"),
        ({"from": str(date.min)}, "from"),
        ({"to": str(date.min)}, "to"),
        ({"from": str(date.max)}, "from"),
        ({"os": "windows"}, "os[0]"),
        ({"section": "Lunch"}, "section[0]"),
        ({"time_zone": "Mars/Olympus"}, "time_zone"),
        ({"time_zone": "../../etc/passwd"}, "time_zone"),
        ({"timezone": "UTC"}, "timezone"),
    ],
)
async def test_a_range_that_the_report_does_not_have_is_refused(
    office: Office, asked: dict[str, str], key: str
) -> None:
    async with asking(services(office)) as api:
        refused = await ask(api, REPORT, 422, **asked)
    assert refused["key"] == key


# For spreadsheets.


async def table(office: Office, name: str, **asked: Any) -> list[list[str]]:
    async with asking(services(office)) as api:
        response = await api.get(f"{REPORT}/{name}.csv", params=asked)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/csv")
    return list(csv.reader(io.StringIO(response.text)))


async def test_the_tables_for_spreadsheets_say_the_same(report_seed: Office) -> None:
    answer = await told(report_seed)
    heads, figures = await table(report_seed, "roll-up")
    assert dict(zip(heads, figures, strict=True))["abandoned"] == str(
        answer["roll_up"]["abandoned"]
    )
    days = await table(report_seed, "days")
    assert days[0] == ["day", *(section.value for section in Section)]
    assert len(days) == 1 + 14
    assert (
        sum(int(cell) for line in days[1:] for cell in line[1:]) == (answer["roll_up"]["abandoned"])
    )
    actions = await table(report_seed, "actions", os="ios")
    ios = [row for row in ABANDONMENT_ROWS if IOS in row.platforms]
    assert [line[1] for line in actions[1:] if line[1]] == [row.id for row in ios]


async def test_a_formula_from_a_device_stays_text(office: Office) -> None:
    phone = Reporter(device="phone", enrollment_type=IOS)
    ended = AttemptEnded(
        end_state=EndState.ABANDONED,
        section=Section.TERMS_OF_USE,
        action_name="=1+1",
        user_action="@SUM(A1)",
    )
    office.take_in([phone.begin(), phone.event(ended)])
    line = (await table(office, "actions", section="Terms of Use"))[-1]
    assert line[2] == "'=1+1"
    assert "'@SUM(A1)" in line
