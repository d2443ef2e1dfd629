"""The three report calls that Graph withdrew answer as their callers expect, and add up to the report."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import httpx
import pytest

from agent.core.person_screens import ABANDONMENT_ROWS
from agent.wire.vocabulary import FailureKind
from tests.collector.asking import ask, asking, services
from tests.collector.fleet import NOON_MS, Office
from tests.collector.pages.seed_report import DAY_MS, TODAY, abandon_at, times
from tests.collector.portal import ANDROID, IOS

REPORT = "/api/reports/incomplete-user-enrollments"
GRAPH = "/beta/deviceManagement/reports"


async def told(office: Office, **asked: Any) -> Any:
    async with asking(services(office)) as api:
        return await ask(api, REPORT, **asked)


async def graph(office: Office, name: str, **asked: Any) -> Any:
    async with asking(services(office)) as api:
        response = await api.post(f"{GRAPH}/{name}", json=asked)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/octet-stream"
    return json.loads(response.content)


def records(answer: Any) -> list[dict[str, Any]]:
    names = [column["Column"] for column in answer["Schema"]]
    return [dict(zip(names, values, strict=True)) for values in answer["Values"]]


async def test_the_withdrawn_summary_adds_up_to_the_report(report_seed: Office) -> None:
    figures = (await told(report_seed))["roll_up"]
    answer = await graph(report_seed, "getEnrollmentAbandonmentSummaryReport")
    rows = records(answer)
    assert answer["TotalRowCount"] == len(rows)
    for column, figure in (
        ("InitiatedCount", "initiated"),
        ("IncompleteCount", "incomplete"),
        ("AbandonedCount", "abandoned"),
    ):
        assert sum(row[column] for row in rows) == figures[figure]
    assert {"Column": "Date", "PropertyType": "DateTime"} in answer["Schema"]
    grouped = await graph(
        report_seed,
        "getEnrollmentAbandonmentSummaryReport",
        groupBy=["Platform"],
        orderBy=["Platform"],
    )
    android, ios = records(grouped)
    assert (android["Platform"], ios["Platform"]) == ("Android", "iOS/iPadOS")
    assert android["AbandonedCount"] == times(ANDROID) + 3
    assert ios["IncompleteRate"] == round(ios["AbandonedCount"] / ios["InitiatedCount"] * 100, 1)


async def test_the_withdrawn_details_name_each_row(report_seed: Office) -> None:
    answer = await graph(
        report_seed,
        "getEnrollmentAbandonmentDetailsReport",
        groupBy=["ActionId", "Section", "ActionName", "UserAction"],
        filter="ActionId ne null",
        orderBy=["AbandonedCount desc", "ActionId"],
    )
    rows = records(answer)
    assert len(rows) == 19
    counts = [row["AbandonedCount"] for row in rows]
    assert counts == sorted(counts, reverse=True)
    expected = {row.id: (row.section.value, row.action_name) for row in ABANDONMENT_ROWS}
    assert {r["ActionId"]: (r["Section"], r["ActionName"]) for r in rows} == expected


async def test_select_filter_search_skip_and_top_cut_the_table(report_seed: Office) -> None:
    name = "getEnrollmentAbandonmentDetailsReport"
    asked = {
        "select": ["ActionName", "AbandonedCount"],
        "filter": "Platform eq 'Android' and (UserAction eq 'Cancel' or startswith(UserAction, 'Pos'))",
        "orderBy": ["AbandonedCount desc"],
        "sessionId": "session-1",
    }
    whole = await graph(report_seed, name, **asked)
    assert [c["Column"] for c in whole["Schema"]] == ["ActionName", "AbandonedCount"]
    assert whole["SessionId"] == "session-1"
    part = await graph(report_seed, name, **asked, skip=1, top=2)
    assert part["TotalRowCount"] == whole["TotalRowCount"] > 3
    assert part["Values"] == whole["Values"][1:3]
    found = records(await graph(report_seed, name, search="KNOX"))
    assert {row["ActionName"] for row in found} == {"KnoxActivation"}


async def test_the_withdrawn_failures_list_each_failed_attempt(report_seed: Office) -> None:
    rows = records(await graph(report_seed, "getEnrollmentFailureDetailsReport"))
    assert len(rows) == times(IOS, ANDROID) + 2 * 3 + 2 + 1, (
        "bypassed is no failure; the Mac is one"
    )
    cancelled = await graph(
        report_seed,
        "getEnrollmentFailureDetailsReport",
        filter="EnrollmentType eq 'macOS (ADE)'",
        select=["DeviceName", "FailureCategory", "EndState"],
    )
    assert cancelled["Values"] == [["mac", FailureKind.USER_CANCELLED.value, "abandoned"]]


async def test_a_date_in_the_filter_reaches_back_thirty_days(office: Office) -> None:
    abandon_at(office, NOON_MS - 30 * DAY_MS, "phone")
    name = "getEnrollmentAbandonmentDetailsReport"
    assert (await graph(office, name))["TotalRowCount"] == 0
    first = TODAY - timedelta(days=30)
    assert (await graph(office, name, filter=f"Date ge {first}"))["TotalRowCount"] == 1
    assert (await graph(office, name, filter=f"Date gt {first}"))["TotalRowCount"] == 0


@pytest.mark.parametrize(
    ("asked", "key"),
    [
        ({"filter": "Platform is 'Android'"}, "filter"),
        ({"filter": "Colour eq 'red'"}, "filter"),
        ({"filter": "Platform eq 5"}, "filter"),
        ({"filter": "Platform eq 'x' and"}, "filter"),
        ({"filter": "Platform eq 'x') or (1 eq 1"}, "filter"),
        ({"filter": "Platform eq 'x'; drop table attempts"}, "filter"),
        ({"filter": "(" * 200 + "Platform eq 'x'" + ")" * 200}, "filter"),
        ({"filter": "not " * 500 + "Platform eq 'x'"}, "filter"),
        ({"filter": "Date ge 2025-13-45"}, "filter"),
        ({"filter": "AbandonedCount gt null"}, "filter"),
        ({"filter": "contains(AbandonedCount, 'x')"}, "filter"),
        ({"orderBy": ["Colour"]}, "orderBy[0]"),
        ({"orderBy": ["Platform sideways"]}, "orderBy[0]"),
        ({"select": ["Platform", "Colour"]}, "select[1]"),
        ({"groupBy": ["Colour"]}, "groupBy[0]"),
        ({"top": -1}, "top"),
        ({"skip": 10**30}, "skip"),
        ({"tops": 1}, "tops"),
    ],
)
async def test_a_request_that_can_not_be_read_is_refused_with_the_member(
    office: Office, asked: dict[str, Any], key: str
) -> None:
    async with asking(services(office)) as api:
        response: httpx.Response = await api.post(
            f"{GRAPH}/getEnrollmentAbandonmentDetailsReport", json=asked
        )
    assert response.status_code == 422, response.text
    assert response.json()["key"] == key
