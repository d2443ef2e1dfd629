"""The enrollment status page comes out as its document prints it, from reports that went through intake."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from agent.wire.profile import EspProfile
from collector.pages import text
from collector.pages.page import (
    ActiveEnrollments,
    EnrollmentFailures,
    EnrollmentStatus,
    ProfileList,
)
from tests.collector.asking import ask, asking, services
from tests.collector.fleet import Office
from tests.collector.pages.seed_page import fleet, setup

STATUS = "/api/devices/enrollment-status"
PROFILES = "/api/devices/esp-profiles"


@pytest.fixture(scope="module")
def seed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    """A store with every report behind the page."""
    office = Office.open(tmp_path_factory.mktemp("seed"))
    office.desk.apply(setup(), office.clock.now_ms())
    fleet().store(office)
    yield office
    office.close()


async def told(office: Office, path: str, **asked: Any) -> Any:
    async with asking(services(office)) as api:
        return await ask(api, path, **asked)


async def test_the_overview(seed: Office) -> None:
    assert (await told(seed, STATUS))["overview"] == {
        "enrolled": 8456,
        "in_progress": 23,
        "pending": 12,
        "failed": 5,
    }


async def test_the_three_active_enrollments(seed: Office) -> None:
    answer = await told(seed, f"{STATUS}/active", limit=3)
    columns = ("device", "user", "platform", "stage", "progress_percent")
    assert [tuple(row[c] for c in columns) for row in answer["devices"]] == [
        ("DESKTOP-NEW001", "john.doe@company.com", "Windows 11", "Installing Apps", 75),
        ("MacBook-NEW002", "jane.smith@company.com", "macOS 14", "Applying Policies", 50),
        ("iPhone-NEW003", "bob.jones@company.com", "iOS 17", "Device Setup", 25),
    ]
    assert answer["total"] == 23


async def test_the_five_platform_rows(seed: Office) -> None:
    answer = await told(seed, STATUS)
    columns = (
        "platform", "total", "last_7_days", "success_rate_percent", "average_minutes",
    )  # fmt: skip
    assert [tuple(row[c] for c in columns) for row in answer["platforms"]] == [
        ("Windows (Autopilot)", 4234, 156, 98.5, 45.0),
        ("Windows (Manual)", 1234, 23, 99.2, 15.0),
        ("macOS (ADE)", 567, 12, 97.8, 30.0),
        ("iOS/iPadOS", 1456, 45, 99.5, 5.0),
        ("Android Enterprise", 965, 34, 98.9, 8.0),
    ]


async def test_the_two_recent_failures(seed: Office) -> None:
    answer = await told(seed, f"{STATUS}/failures", limit=2)
    lines = [
        f"{r['device']} ({r['platform']}, {r['user']}, {r['age']}) — {r['summary']}"
        for r in answer["recent"]
    ]
    assert lines == [
        (
            "DESKTOP-FAIL001 (Windows 11, john.doe@company.com, 2 hours ago) — "
            "Error 0x801c0003: Device already enrolled with different user"
        ),
        (
            "MacBook-FAIL002 (macOS 14, jane.smith@company.com, 5 hours ago) — "
            "MDM profile installation failed: User cancelled enrollment"
        ),
    ]
    assert answer["total"] == 5


async def test_the_four_common_reasons(seed: Office) -> None:
    answer = await told(seed, f"{STATUS}/failures", reasons=4)
    assert [(row["reason"], row["count"]) for row in answer["common_reasons"]] == [
        ("Device limit exceeded", 12),
        ("OS version not supported", 8),
        ("User cancelled", 5),
        ("Network timeout", 3),
    ]


async def test_the_three_profiles_with_their_blocking_apps(seed: Office) -> None:
    rows = (await told(seed, PROFILES, sort="name"))["profiles"]
    columns = ("name", "blocking_apps", "timeout_minutes", "assigned_groups", "status")
    assert [tuple(row[c] for c in columns) for row in rows] == [
        ("Default ESP", 3, 60, ["All Devices"], "Active"),
        ("Executive ESP", 5, 90, ["Executives"], "Active"),
        ("Kiosk ESP", 2, 30, ["Kiosk Devices"], "Active"),
    ]
    assert [(app["name"], app["required"]) for app in rows[0]["apps"]] == [
        ("Microsoft 365 Apps", True),
        ("Company Portal", True),
        ("VPN Client", True),
    ]


async def test_the_settings_of_the_default_profile(seed: Office) -> None:
    rows = (await told(seed, PROFILES, sort="name"))["profiles"]
    settings = EspProfile.model_validate(rows[0]["settings"])
    device, account, errors = (
        settings.device_setup,
        settings.account_setup,
        settings.error_handling,
    )
    assert (device.show_progress, device.block_until_complete) == (True, True)
    assert settings.timeout_minutes == 60
    assert (account.show_progress, account.block_until_complete) == (True, False)
    assert account.allow_skip is True
    assert (errors.show_details, errors.allow_retry, errors.allow_reset) == (True, True, False)


async def test_the_page_as_text_prints_the_same_figures(seed: Office) -> None:
    async with asking(services(seed)) as api:
        page = text.status_page(
            EnrollmentStatus.model_validate(await ask(api, STATUS)),
            ActiveEnrollments.model_validate(await ask(api, f"{STATUS}/active", limit=3)),
            EnrollmentFailures.model_validate(
                await ask(api, f"{STATUS}/failures", limit=2, reasons=4)
            ),
            ProfileList.model_validate(await ask(api, PROFILES, sort="name")),
        )
    for printed in (
        "8,456 Enrolled",
        "Windows (Autopilot)  4,234  156          98.5%         45 min",
        "Android Enterprise   965    34           98.9%         8 min",
        "Error 0x801c0003: Device already enrolled with different user",
        "MDM profile installation failed: User cancelled enrollment",
        "Device limit exceeded - 12",
        "and 20 more",
        "Microsoft 365 Apps",
        "Allow user to skip",
    ):
        assert printed in page, page
