"""The HTTP interface answers the page from stored events, to whoever has the token."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from agent.wire.assignment import AssignedItem
from agent.wire.events import Report
from agent.wire.messages import RefreshAssignment, Status
from agent.wire.vocabulary import EndState, EnrollmentType, FailureKind
from collector.profiles.setup import Catalogue, Registration, Setup
from tests.collector.asking import Courier, ask, asking, services
from tests.collector.board.page_of_the_seed import AT, some_progress
from tests.collector.fleet import NOON_MS, Office, Reporter, failure

STATUS = "/api/devices/enrollment-status"
PROFILES = "/api/devices/esp-profiles"
HOUR_MS = 60 * 60 * 1000


@pytest.fixture
def courier() -> Courier:
    return Courier()


@pytest.fixture
async def api(office: Office, courier: Courier) -> AsyncIterator[httpx.AsyncClient]:
    async with asking(services(office, courier)) as client:
        yield client


@pytest.mark.parametrize(
    "path",
    [
        STATUS,
        f"{STATUS}/active",
        f"{STATUS}/failures",
        PROFILES,
        "/metrics",
        "/api/reports/stored",
        "/api/reports",
    ],
)
@pytest.mark.parametrize("told", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "x"}])
async def test_without_the_token_nothing_is_told(
    api: httpx.AsyncClient, path: str, told: dict[str, str]
) -> None:
    api.headers.pop("Authorization")
    response = await api.get(path, headers=told)
    assert response.status_code == 401
    assert response.json()["code"] == "unauthorized"
    assert response.headers["www-authenticate"] == "Bearer"


async def test_health_is_open_and_says_when_nothing_gets_in(
    api: httpx.AsyncClient, courier: Courier
) -> None:
    api.headers.pop("Authorization")
    assert await ask(api, "/health") == {"status": "ok", "partitions_online": 16, "storing": True}
    courier.online_partitions = 0
    assert (await ask(api, "/health", 503))["status"] == "degraded"


async def test_the_status_adds_up_from_stored_events(
    office: Office, api: httpx.AsyncClient
) -> None:
    for number, enrollment_type in enumerate(EnrollmentType):
        device = Reporter(device=f"OK{number}", enrollment_type=enrollment_type)
        office.take_in([device.begin(), device.end(minutes=10 * (number + 1))])
    busy, broken = Reporter(device="BUSY"), Reporter(device="BROKEN")
    office.take_in([busy.begin(), busy.move(75)])
    office.take_in([broken.begin(), broken.end(EndState.FAILED, problem=failure())])
    office.desk.register([Registration(device="WAITS"), Registration(device="BUSY")], NOON_MS)
    answer = await ask(api, STATUS)
    assert answer["overview"] == {"enrolled": 5, "in_progress": 1, "pending": 1, "failed": 1}
    assert [row["platform"] for row in answer["platforms"]] == [
        "Windows (Autopilot)",
        "Windows (Manual)",
        "macOS (ADE)",
        "iOS/iPadOS",
        "Android Enterprise",
    ]
    autopilot = answer["platforms"][0]
    assert (autopilot["total"], autopilot["last_7_days"]) == (1, 1)
    assert (autopilot["success_rate_percent"], autopilot["average_minutes"]) == (50.0, 10.0)
    assert sum(row["total"] for row in answer["platforms"]) == answer["overview"]["enrolled"]


async def test_active_enrollments_have_the_columns_of_the_page(
    office: Office, api: httpx.AsyncClient
) -> None:
    device = Reporter()
    office.take_in([device.begin(), device.move(75)])
    row = (await ask(api, f"{STATUS}/active"))["devices"][0]
    assert {k: row[k] for k in ("device", "user", "platform", "stage", "progress_percent")} == {
        "device": "DESKTOP-NEW001",
        "user": "john.doe@company.com",
        "platform": "Windows 11",
        "stage": "Installing Apps",
        "progress_percent": 75,
    }
    assert row["silent"] is False


async def test_a_silent_device_is_marked_everywhere_and_still_in_progress(
    office: Office, api: httpx.AsyncClient
) -> None:
    device = Reporter()
    office.take_in([device.begin(), device.move(40)])

    async def marks() -> tuple[bool, bool, int]:
        (row,) = (await ask(api, f"{STATUS}/active"))["devices"]
        (attempt,) = (await ask(api, f"/api/devices/{device.device}"))["attempts"]
        overview = (await ask(api, STATUS))["overview"]
        return row["silent"], attempt["silent"], overview["in_progress"]

    office.clock.at_ms += 24 * HOUR_MS
    assert await marks() == (False, False, 1)
    office.clock.at_ms += 1
    assert await marks() == (True, True, 1)
    office.take_in([device.move(50)])
    assert await marks() == (False, False, 1)


async def test_failures_say_how_long_ago_and_count_their_reasons(
    office: Office, api: httpx.AsyncClient
) -> None:
    device = Reporter(device="DESKTOP-FAIL001")
    problem = failure(FailureKind.DIFFERENT_USER, "0x801c0003")
    office.take_in([device.begin(), device.end(EndState.REFUSED, problem=problem)])
    office.clock.at_ms += 2 * HOUR_MS
    answer = await ask(api, f"{STATUS}/failures")
    row = answer["recent"][0]
    assert {k: row[k] for k in ("device", "platform", "user", "age", "code", "text")} == {
        "device": "DESKTOP-FAIL001",
        "platform": "Windows 11",
        "user": "john.doe@company.com",
        "age": "2 hours ago",
        "code": "0x801c0003",
        "text": "Device already enrolled with different user",
    }
    assert answer["common_reasons"] == [
        {
            "kind": "different_user",
            "reason": "Device already enrolled with different user",
            "count": 1,
        }
    ]


async def test_a_profile_is_created_and_listed_as_the_page_lists_it(api: httpx.AsyncClient) -> None:
    created = await api.post(
        PROFILES,
        json={
            "name": "Kiosk ESP",
            "timeout_minutes": 30,
            "blocking_apps": ["kiosk-browser", "vpn"],
            "assigned_groups": ["Kiosk Devices"],
            "priority": 3,
        },
    )
    assert created.status_code == 201, created.text
    rows = (await ask(api, PROFILES))["profiles"]
    assert rows[0] == created.json()
    assert {k: rows[0][k] for k in ("name", "blocking_apps", "timeout_minutes", "status")} == {
        "name": "Kiosk ESP",
        "blocking_apps": 2,
        "timeout_minutes": 30,
        "status": "Active",
    }
    assert rows[0]["assigned_groups"] == ["Kiosk Devices"]
    again = await api.post(PROFILES, json={"name": "Kiosk ESP"})
    assert (again.status_code, again.json()["code"]) == (409, "exists")


@pytest.mark.parametrize(
    ("content", "key"),
    [
        ({}, "name"),
        ({"name": "A", "timeout_minutes": 1441}, "timeout_minutes"),
        ({"name": "A", "timeout": 5}, "timeout"),
        ({"name": "A", "device_setup": {"blok": True}}, "device_setup.blok"),
        ({"name": "A", "blocking_apps": ["x", "x"]}, "blocking_apps"),
        ({"name": "A", "blocking_apps": ["x", 7]}, "blocking_apps[1]"),
        ([], None),
    ],
)
async def test_a_bad_profile_is_refused_in_one_shape(
    api: httpx.AsyncClient, content: Any, key: str | None
) -> None:
    response = await api.post(PROFILES, json=content)
    assert response.status_code == 422
    error = response.json()
    assert error["code"] == "invalid"
    assert error["detail"]
    assert error["key"] == key


async def test_a_profile_that_makes_assignments_too_large_is_refused_with_the_setting(
    office: Office, api: httpx.AsyncClient
) -> None:
    apps = tuple(AssignedItem(id=f"app-{n}", name="x" * 200) for n in range(60))
    office.desk.apply(Setup(catalogue={EnrollmentType.IOS: Catalogue(items=apps)}), 0)
    response = await api.post(PROFILES, json={"name": "Long", "custom_message": "漢" * 10_000})
    assert response.status_code == 422
    error = response.json()
    assert (error["code"], error["key"]) == ("invalid", "custom_message")
    assert error["detail"].endswith("; shorten custom_message or assign fewer items")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("DELETE", STATUS, 405),
        ("GET", "/api/devices/UNKNOWN", 404),
        ("GET", "/api/devices/not+a+device", 422),
        ("GET", f"{STATUS}/failures?window_days=0", 422),
        ("GET", "/api/commands/unknown", 404),
    ],
)
async def test_every_refusal_has_the_same_shape(
    api: httpx.AsyncClient, method: str, path: str, status: int
) -> None:
    response = await api.request(method, path)
    assert response.status_code == status
    assert set(response.json()) == {"type", "title", "status", "detail", "code", "key"}


async def test_a_devices_history_is_told_the_newest_first(
    office: Office, api: httpx.AsyncClient
) -> None:
    device = Reporter()
    office.take_in([device.begin(), device.move(50), device.end(EndState.FAILED)])
    office.take_in([device.begin(), device.move(20)])
    answer = await ask(api, f"/api/devices/{device.device}?limit=2")
    assert [a["end_state"] for a in answer["attempts"]] == ["failed", None]
    assert [r["seq"] for r in answer["reports"]] == [5, 4]
    more = await ask(
        api, f"/api/devices/{device.device}?limit=2&before={answer['reports'][-1]['order']}"
    )
    assert [r["seq"] for r in more["reports"]] == [3, 2]
    assert answer["reports"][1]["body"]["user"] == device.user


async def test_a_command_goes_to_the_latest_attempt_and_its_state_can_be_asked_for(
    office: Office, api: httpx.AsyncClient, courier: Courier
) -> None:
    device = Reporter()
    office.take_in([device.begin(), device.move(20, attempt_ms=5_000)])
    path = f"/api/devices/{device.device}/commands"
    content = {
        "action": {"kind": "extend_timeout", "context": "device", "minutes": 30},
        "valid_minutes": 2,
        "issued_by": "desk",
    }
    response = await api.post(path, json=content)
    assert response.status_code == 202, response.text
    (row,) = courier.sent
    assert row.attempt == device.attempt
    assert row.attempt_ms_max == 5_000 + 2 * 60_000 * 10, "attempt time runs ten times as fast"
    told = await ask(api, f"/api/commands/{row.id}")
    assert (told["state"], told["issued_by"]) == ("waiting", "desk")
    office.clock.at_ms += 2 * 60_000
    assert (await ask(api, f"/api/commands/{row.id}"))["state"] == "expired"


async def test_a_refresh_chooses_anew_before_the_command_goes_out(
    office: Office, api: httpx.AsyncClient, courier: Courier
) -> None:
    device = Reporter()
    office.take_in([device.begin()])
    content = {"action": RefreshAssignment().model_dump()}
    response = await api.post(f"/api/devices/{device.device}/commands", json=content)
    assert response.status_code == 202
    assert courier.reassigned == [(device.device, device.attempt)]


async def test_a_command_to_a_device_that_never_began_is_refused(api: httpx.AsyncClient) -> None:
    content = {"action": {"kind": "collect_logs"}}
    response = await api.post("/api/devices/UNKNOWN/commands", json=content)
    assert (response.status_code, response.json()["code"]) == (409, "no_attempt")


async def test_registered_devices_are_pending(api: httpx.AsyncClient) -> None:
    content = {"devices": [{"device": "A", "user": "ann@company.com"}, {"device": "B"}]}
    assert (await api.post("/api/registrations", json=content)).status_code == 201
    assert (await ask(api, STATUS))["overview"]["pending"] == 2
    assert [r["device"] for r in (await ask(api, "/api/registrations"))["devices"]] == ["A", "B"]
    assert (await ask(api, "/api/devices/A"))["registered"] is True


async def test_the_audit_gets_every_stored_report_and_every_loss(
    office: Office, api: httpx.AsyncClient
) -> None:
    device = Reporter()
    office.take_in([device.begin()])
    device.seq, device.oldest_held = 4, 5
    office.take_in([device.move(10)])
    response = await api.get("/api/reports/stored")
    lines = [json.loads(line) for line in response.text.splitlines()]
    assert [(r["seq"], r["times"]) for r in lines if r["record"] == "report"] == [(1, 1), (5, 1)]
    assert [(r["first_seq"], r["last_seq"]) for r in lines if r["record"] == "loss"] == [(2, 4)]


async def test_the_history_is_every_report_as_it_was_stored(
    office: Office, api: httpx.AsyncClient
) -> None:
    device = Reporter()
    office.take_in([device.begin(), device.end()])
    response = await api.get("/api/reports")
    assert response.headers["content-type"].startswith("application/x-ndjson")
    lines = [json.loads(line) for line in response.text.splitlines()]
    assert [(line["device"], line["stream"], line["seq"]) for line in lines] == [
        (device.device, device.stream, 1),
        (device.device, device.stream, 2),
    ]
    assert [Report.model_validate(line["report"]) for line in lines] == [
        e.report for e in device.sent
    ]


async def test_a_devices_screen_is_streamed_until_it_ends(
    api: httpx.AsyncClient, courier: Courier
) -> None:
    progress = some_progress("DESKTOP-NEW001")
    courier.shown = [
        Status(device="DESKTOP-NEW001", stream="s", session=1, device_time=AT, progress=progress)
    ]
    response = await api.get("/api/devices/DESKTOP-NEW001/screen")
    lines = response.text.splitlines()
    assert [Status.model_validate_json(line).progress for line in lines] == [progress]


async def test_metrics_are_in_prometheus_form(office: Office, api: httpx.AsyncClient) -> None:
    text = (await api.get("/metrics")).text
    for name in ("reports_total", "refused_payloads_total", "commit_seconds", "queue_depth"):
        assert (
            f"# HELP esp_collector_{name}" in text
            or f"# HELP esp_collector_{name.removesuffix('_total')}" in text
        )


async def test_the_api_describes_itself(api: httpx.AsyncClient) -> None:
    document = await ask(api, "/openapi.json")
    assert {STATUS, f"{STATUS}/active", f"{STATUS}/failures", PROFILES} <= set(document["paths"])
    assert set(document["paths"][PROFILES]) == {"get", "post"}
