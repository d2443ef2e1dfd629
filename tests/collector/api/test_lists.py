"""Lists over HTTP: filters, order, pages that neither skip nor repeat, and answers that have not changed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from agent.wire.vocabulary import EndState, EnrollmentType, FailureKind, Stage
from collector.profiles.setup import Registration
from tests.collector.asking import ask, asking, services
from tests.collector.fleet import NOON_MS, Office, Reporter, failure

STATUS = "/api/devices/enrollment-status"
ACTIVE = f"{STATUS}/active"
FAILURES = f"{STATUS}/failures"
HOUR_MS = 60 * 60 * 1000
AUTOPILOT, IOS = EnrollmentType.WINDOWS_AUTOPILOT, EnrollmentType.IOS


@pytest.fixture
async def api(office: Office) -> AsyncIterator[httpx.AsyncClient]:
    async with asking(services(office)) as client:
        yield client


def busy(office: Office, name: str, percent: int, **about: Any) -> Reporter:
    stage = about.pop("stage", Stage.INSTALLING_APPS)
    device = Reporter(device=name, stream=name, **about)
    office.take_in([device.begin(), device.move(percent, stage)])
    return device


def failed(office: Office, name: str, state: EndState, kind: FailureKind, **about: Any) -> None:
    device = Reporter(device=name, stream=name, **about)
    office.take_in([device.begin(), device.end(state, problem=failure(kind))])


@pytest.fixture
def fleet(office: Office) -> Office:
    """Six that enroll, five that failed, an hour between each."""
    office.clock.at_ms = NOON_MS - 30 * HOUR_MS
    busy(office, "A1", 10, user="ann@company.com")
    enrolling: list[tuple[str, int, dict[str, Any]]] = [
        ("A2", 20, {"user": "Ann@Company.com"}),
        ("B1", 30, {"enrollment_type": IOS, "platform": "iOS 17", "user": None}),
        ("B2", 30, {"stage": Stage.DEVICE_SETUP}),
        ("Cx1", 50, {}),
        ("Cx2", 60, {}),
    ]
    for name, percent, about in enrolling:
        office.clock.at_ms += HOUR_MS
        busy(office, name, percent, **about)
    over: list[tuple[str, EndState, FailureKind, dict[str, Any]]] = [
        ("F1", EndState.FAILED, FailureKind.INSTALLER_FAILED, {}),
        ("F2", EndState.REFUSED, FailureKind.DEVICE_LIMIT_EXCEEDED, {"enrollment_type": IOS}),
        ("F3", EndState.TIMED_OUT, FailureKind.SETUP_TIMED_OUT, {"user": "eve@company.com"}),
        ("F4", EndState.ABANDONED, FailureKind.USER_CANCELLED, {}),
    ]
    for name, state, kind, about in over:
        office.clock.at_ms += HOUR_MS
        failed(office, name, state, kind, **about)
    office.clock.at_ms += HOUR_MS
    waits = Reporter(device="F5", stream="F5")
    office.take_in([waits.begin(), waits.stop(failure(FailureKind.NETWORK_TIMEOUT))])
    office.clock.at_ms = NOON_MS
    return office


async def active(api: httpx.AsyncClient, **asked: Any) -> list[str]:
    return [row["device"] for row in (await ask(api, ACTIVE, **asked))["devices"]]


async def failures(api: httpx.AsyncClient, **asked: Any) -> list[str]:
    return [row["device"] for row in (await ask(api, FAILURES, **asked))["recent"]]


@pytest.mark.parametrize(
    ("asked", "devices"),
    [
        ({}, ["Cx2", "Cx1", "B2", "B1", "A2", "A1"]),
        ({"platform": "ios"}, ["B1"]),
        ({"platform": ["ios", "windows_autopilot"]}, ["Cx2", "Cx1", "B2", "B1", "A2", "A1"]),
        ({"platform": "macos_ade"}, []),
        ({"stage": "Device Setup"}, ["B2"]),
        ({"user": "ANN@company.com"}, ["A2", "A1"]),
        ({"device": "A"}, ["A2", "A1"]),
        ({"device": "%"}, []),
        ({"device": "_"}, []),
        ({"device": "C%"}, []),
        ({"silent": "true"}, ["Cx2", "Cx1", "B2", "B1", "A2", "A1"]),
        ({"silent": "false"}, []),
        ({"sort": "device"}, ["A1", "A2", "B1", "B2", "Cx1", "Cx2"]),
        ({"sort": "progress"}, ["A1", "A2", "B1", "B2", "Cx1", "Cx2"]),
        ({"sort": "-progress"}, ["Cx2", "Cx1", "B2", "B1", "A2", "A1"]),
        ({"sort": "user"}, ["B1", "A2", "A1", "B2", "Cx1", "Cx2"]),
        ({"sort": "begun"}, ["A1", "A2", "B1", "B2", "Cx1", "Cx2"]),
    ],
)
async def test_active_enrollments_are_filtered_and_sorted(
    fleet: Office, api: httpx.AsyncClient, asked: dict[str, Any], devices: list[str]
) -> None:
    assert await active(api, **asked) == devices


async def test_since_is_the_moment_of_the_beginning(fleet: Office, api: httpx.AsyncClient) -> None:
    (row,) = (await ask(api, ACTIVE, device="B2"))["devices"]
    assert await active(api, since=row["begun_at"]) == ["Cx2", "Cx1", "B2"]
    assert await active(api, since="2999-01-01T00:00:00+02:00") == []


@pytest.mark.parametrize(
    ("asked", "devices", "reasons"),
    [
        ({}, ["F5", "F4", "F3", "F2", "F1"], 5),
        ({"platform": "ios"}, ["F2"], 1),
        ({"status": "waiting"}, ["F5"], 1),
        ({"status": ["failed", "refused"]}, ["F2", "F1"], 2),
        ({"kind": "network_timeout"}, ["F5"], 1),
        ({"user": "EVE@company.com"}, ["F3"], 1),
        ({"device": "F4"}, ["F4"], 1),
        ({"sort": "device", "limit": 2}, ["F1", "F2"], 5),
        ({"reasons": 2}, ["F5", "F4", "F3", "F2", "F1"], 2),
    ],
)
async def test_failures_are_filtered_and_sorted(
    fleet: Office,
    api: httpx.AsyncClient,
    asked: dict[str, Any],
    devices: list[str],
    reasons: int,
) -> None:
    assert await failures(api, **asked) == devices
    assert len((await ask(api, FAILURES, **asked))["common_reasons"]) == reasons


async def test_the_summary_is_narrowed_to_platforms(fleet: Office, api: httpx.AsyncClient) -> None:
    rows = [Registration(device="waits", enrollment_type=IOS), Registration(device="unsaid")]
    fleet.desk.register(rows, NOON_MS)
    whole = await ask(api, STATUS)
    assert whole["overview"] == {"enrolled": 0, "in_progress": 6, "pending": 2, "failed": 5}
    narrowed = await ask(api, STATUS, platform="ios")
    assert narrowed["overview"] == {"enrolled": 0, "in_progress": 1, "pending": 1, "failed": 1}
    assert [row["enrollment_type"] for row in narrowed["platforms"]] == ["ios"]


@pytest.mark.parametrize("sort", ["begun", "-begun", "progress", "-progress", "user", "-stage"])
@pytest.mark.parametrize("limit", [1, 2, 5, 6, 7])
async def test_pages_neither_skip_nor_repeat(
    fleet: Office, api: httpx.AsyncClient, sort: str, limit: int
) -> None:
    whole = await active(api, sort=sort)
    seen: list[str] = []
    asked: dict[str, Any] = {"sort": sort, "limit": limit}
    for _ in range(7):
        response = await api.get(ACTIVE, params=asked)
        answer = response.json()
        seen += [row["device"] for row in answer["devices"]]
        assert answer["total"] == 6
        if answer["next_cursor"] is None:
            assert "link" not in response.headers
            break
        asked["cursor"] = answer["next_cursor"]
        link = response.headers["link"]
        assert link.endswith('>; rel="next"')
        assert (await api.get(link[1 : link.index(">")])).status_code == 200
    assert seen == whole


async def test_a_page_goes_on_where_it_ended_whatever_came_meanwhile(
    fleet: Office, api: httpx.AsyncClient
) -> None:
    first = await ask(api, ACTIVE, limit=3)
    busy(fleet, "NEW", 5)
    rest = await active(api, cursor=first["next_cursor"])
    assert rest == ["B1", "A2", "A1"]


@pytest.mark.parametrize(
    "cursor",
    [
        "x",
        "bm9uc2Vuc2U",
        "WyItYmVndW4iLCJ4IiwxXQ",  # ["-begun","x",1]
        "WyItYmVndW4iLDFlNDAwLDFd",  # ["-begun",1e400,1]
        "WyJiZWd1biIsMSwxXQ",  # ["begun",1,1]
        "WyItYmVndW4iLDEsMTAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwXQ",
        "' OR 1=1 --",
        "[" * 500,
    ],
)
@pytest.mark.parametrize("path", [ACTIVE, "/api/devices/esp-profiles", "/api/registrations"])
async def test_a_cursor_of_another_list_or_of_nobody_is_refused(
    fleet: Office, api: httpx.AsyncClient, path: str, cursor: str
) -> None:
    refused = await ask(api, path, 422, cursor=cursor)
    assert refused["key"] == "cursor"


@pytest.mark.parametrize(
    ("asked", "key"),
    [
        ({"limit": 0}, "limit"),
        ({"limit": 1001}, "limit"),
        ({"limit": 10**40}, "limit"),
        ({"sort": "colour"}, "sort"),
        ({"sort": "device; DROP TABLE attempts"}, "sort"),
        ({"platform": "amiga"}, "platform[0]"),
        ({"stage": "Lunch"}, "stage[0]"),
        ({"since": "yesterday"}, "since"),
        ({"since": "2025-06-15T12:00:00"}, "since"),
        ({"user": ""}, "user"),
        ({"user": "x\0y"}, "user"),
        ({"user": "x" * 321}, "user"),
        ({"platfrom": "ios"}, "platfrom"),
    ],
)
async def test_a_parameter_that_means_nothing_is_refused_by_its_name(
    api: httpx.AsyncClient, asked: dict[str, Any], key: str
) -> None:
    refused = await ask(api, ACTIVE, 422, **asked)
    assert refused["key"] == key
    assert refused["type"] == "urn:esp-collector:problem:invalid"


@pytest.mark.parametrize("path", [STATUS, ACTIVE, FAILURES, "/api/registrations"])
async def test_an_answer_that_has_not_changed_is_not_sent_again_though_time_goes_on(
    fleet: Office, api: httpx.AsyncClient, path: str
) -> None:
    first = await api.get(path)
    fleet.clock.at_ms += 1_000
    again = await api.get(path, headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    busy(fleet, "NEW", 5)
    failed(fleet, "F9", EndState.FAILED, FailureKind.NO_POLICY)
    fleet.desk.register([Registration(device="NEW")], NOON_MS)
    changed = await api.get(path, headers={"If-None-Match": first.headers["etag"]})
    assert changed.status_code == 200
    assert changed.headers["etag"] != first.headers["etag"]


async def test_registrations_are_filtered_and_paged(office: Office, api: httpx.AsyncClient) -> None:
    rows = [
        Registration(device="A", user="ann@company.com"),
        Registration(device="B", enrollment_type=IOS),
        Registration(device="C", enrollment_type=AUTOPILOT),
    ]
    office.desk.register(rows, NOON_MS)

    async def found(**asked: Any) -> list[str]:
        answer = await ask(api, "/api/registrations", **asked)
        return [row["device"] for row in answer["devices"]]

    assert await found() == ["A", "B", "C"]
    assert await found(platform="ios") == ["B"]
    assert await found(user="Ann@company.com") == ["A"]
    assert await found(device="C") == ["C"]
    busy(office, "B", 10)
    assert await found(pending="true") == ["A", "C"]
    assert await found(pending="false") == ["B"]
    first = await ask(api, "/api/registrations", limit=2)
    assert await found(cursor=first["next_cursor"]) == ["C"]
