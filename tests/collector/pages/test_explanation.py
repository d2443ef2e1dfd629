"""What is told of a device's profile is what admission decides, from what is stored of the device or from options."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from agent.core.explanation import LINE_WIDTH
from agent.wire.assignment import Admitted, AssignedItem
from agent.wire.profile import EspProfile, WindowsSettings
from agent.wire.vocabulary import EnrollmentType, Variant
from collector.admission import AdmissionRules
from collector.api import Services, make_app
from collector.decisions import Assigned
from collector.pages import page
from collector.pages.text import effective_profile_lines
from collector.profiles.setup import Catalogue, Group, ProfileEntry, Registration, Setup
from tests.collector.asking import Courier
from tests.collector.fleet import NOON_MS, Office, Reporter

JANE = "jane.smith@company.com"
AUTOPILOT = EnrollmentType.WINDOWS_AUTOPILOT
APPS = (
    AssignedItem(id="office", name="Office"),
    AssignedItem(id="vpn", name="VPN Client"),
    AssignedItem(id="chat", name="Chat", required=False),
)
SETUP = Setup(
    profiles=(
        ProfileEntry(name="Default ESP", default=True, blocking_apps=("office",)),
        ProfileEntry(name="Executive ESP", assigned_groups=("Executives",), timeout_minutes=90),
        ProfileEntry(name="Kiosk ESP", assigned_groups=("Kiosks",), blocking_apps=("office",)),
        ProfileEntry(name="Old ESP", assigned_groups=("All Devices",), active=False),
    ),
    groups={"Executives": Group(users=(JANE,)), "Kiosks": Group(devices=("KIOSK-1",))},
    catalogue={
        AUTOPILOT: Catalogue(items=APPS),
        EnrollmentType.IOS: Catalogue(items=APPS),
    },
)


@pytest.fixture
async def api(office: Office) -> AsyncIterator[httpx.AsyncClient]:
    given = Services(
        store=office.store,
        desk=office.desk,
        commands=office.commands,
        clock=office.clock,
        metrics=office.metrics,
        courier=Courier(),
        token="secret",
    )
    headers = {"Authorization": "Bearer secret"}
    transport = httpx.ASGITransport(app=make_app(given))
    async with httpx.AsyncClient(
        transport=transport, base_url="http://collector", headers=headers
    ) as client:
        yield client


async def ask(api: httpx.AsyncClient, device: str, **asked: str) -> page.EffectiveProfile:
    response = await api.get(f"/api/devices/{device}/effective-profile", params=asked)
    assert response.status_code == 200, response.text
    return page.EffectiveProfile.model_validate_json(response.content)


async def refused(
    api: httpx.AsyncClient, device: str, status: int, **asked: str
) -> dict[str, str | None]:
    response = await api.get(f"/api/devices/{device}/effective-profile", params=asked)
    assert response.status_code == status, response.text
    error: dict[str, str | None] = response.json()
    return error


def text_of(answer: page.EffectiveProfile) -> str:
    """The text with every run of spaces and line ends as one space."""
    return " ".join(" ".join(effective_profile_lines(answer)).split())


def admit(office: Office, reporter: Reporter) -> Assigned:
    office.take_in([reporter.begin()])
    [assigned] = office.desk.admit([(reporter.device, reporter.attempt)], NOON_MS)
    return assigned


def profile_of(assigned: Assigned) -> str:
    assert isinstance(assigned.decision, Admitted)
    return assigned.decision.profile.id


async def test_a_known_device_is_explained_from_its_latest_attempt(
    office: Office, api: httpx.AsyncClient
) -> None:
    office.desk.apply(SETUP, NOON_MS)
    reporter = Reporter(device="PC-1", user=JANE)
    assigned = admit(office, reporter)
    answer = await ask(api, "PC-1")
    assert answer.chosen is not None
    assert answer.chosen.id == profile_of(assigned) == "executive-esp"
    assert answer.reason == (
        "assigned to the user by Executives; none that is assigned to the device applies"
    )
    assert {row.id: row.reason for row in answer.rejected} == {
        "kiosk-esp": "neither the device nor its user is in Kiosks",
        "old-esp": "inactive",
        "default-esp": "the default stands behind all others, and Executive ESP applies",
    }
    assert (answer.facts_from, answer.user, answer.os_version) == ("attempt", JANE, "10.0.22631")
    assert answer.given is not None
    assert (answer.given.profile, answer.given.version) == ("executive-esp", assigned.version)
    assert {i.id: i.role.value for i in answer.effect.items} == {
        "office": "blocking",
        "vpn": "blocking",
        "chat": "background",
    }


async def test_options_ask_what_would_be(office: Office, api: httpx.AsyncClient) -> None:
    office.desk.apply(SETUP, NOON_MS)
    admit(office, Reporter(device="PC-1", user=JANE))
    other = await ask(api, "PC-1", user="ben@company.com")
    assert other.chosen is not None
    assert (other.chosen.id, other.user) == ("default-esp", "ben@company.com")
    assert other.given is not None
    assert other.given.profile == "executive-esp"
    assert "Its latest attempt was given Executive ESP" in text_of(other)


async def test_what_another_platform_reported_does_not_count(
    office: Office, api: httpx.AsyncClient
) -> None:
    reporter = Reporter(device="PC-1", user=JANE)
    admit(office, reporter)
    answer = await ask(api, "PC-1", enrollment_type="ios")
    assert (answer.os_version, answer.variant, answer.user) == (None, Variant.STANDARD, JANE)


async def test_the_latest_attempt_counts(office: Office, api: httpx.AsyncClient) -> None:
    reporter = Reporter(device="PC-1", os_version="10.0.19045")
    office.take_in([reporter.begin()])
    reporter.os_version = "10.0.26100"
    office.take_in([reporter.begin()])
    assert (await ask(api, "PC-1")).os_version == "10.0.26100"


async def test_a_registered_device_is_explained_from_its_registration(
    office: Office, api: httpx.AsyncClient
) -> None:
    office.desk.apply(SETUP, NOON_MS)
    expected = Registration(device="KIOSK-1", enrollment_type=AUTOPILOT, user=JANE)
    office.desk.register([expected], NOON_MS)
    answer = await ask(api, "KIOSK-1")
    assert (answer.facts_from, answer.user, answer.given) == ("registration", JANE, None)
    assert answer.reason == "assigned to the device by Kiosks"


async def test_a_device_that_nobody_knows_needs_a_type(
    office: Office, api: httpx.AsyncClient
) -> None:
    kinds = "windows_autopilot, windows_manual, macos_ade, ios, android_enterprise"
    error = await refused(api, "PC-9", 404)
    assert error["detail"] == (
        "nothing is known of 'PC-9'; check its id, or say how it would enroll: "
        f"enrollment_type (--type) is one of {kinds}"
    )
    answer = await ask(api, "PC-9", enrollment_type="windows_autopilot")
    assert (answer.facts_from, answer.device) == ("request", "PC-9")
    assert "as asked; the device is not known" in text_of(answer)


async def test_a_device_that_is_registered_without_a_type_is_told_apart(
    office: Office, api: httpx.AsyncClient
) -> None:
    office.desk.register([Registration(device="PC-9")], NOON_MS)
    error = await refused(api, "PC-9", 404)
    assert str(error["detail"]).startswith(
        "'PC-9' is registered without an enrollment type and has not begun; say how"
    )


@pytest.mark.parametrize("variant", [Variant.SELF_DEPLOYING, Variant.PRE_PROVISIONED])
async def test_admission_itself_leaves_the_users_groups_out_where_the_user_is_unknown(
    office: Office, api: httpx.AsyncClient, variant: Variant
) -> None:
    office.desk.apply(SETUP, NOON_MS)
    reporter = Reporter(device="PC-1", user=JANE)
    begun = reporter.begin()
    body = begun.report.body.model_copy(update={"variant": variant})
    report = begun.report.model_copy(update={"body": body})
    office.take_in([begun.model_copy(update={"report": report})])
    [assigned] = office.desk.admit([("PC-1", reporter.attempt)], NOON_MS)
    answer = await ask(api, "PC-1")
    assert answer.chosen is not None
    assert answer.chosen.id == profile_of(assigned) == "default-esp"
    [executive] = [row for row in answer.rejected if row.id == "executive-esp"]
    assert "groups of the user do not count" in executive.reason
    assert answer.variant is variant


async def test_without_an_active_profile_the_standard_settings_are_explained(
    office: Office, api: httpx.AsyncClient
) -> None:
    office.desk.apply(
        Setup(profiles=(ProfileEntry(name="Off", active=False, default=True),)), NOON_MS
    )
    answer = await ask(api, "PC-1", enrollment_type="ios")
    assert answer.chosen is None
    assert answer.reason == (
        "no profile is active, not even a default, so the standard settings apply"
    )
    assert "PC-1: the standard settings" in text_of(answer)
    assert answer.reason in text_of(answer)


async def test_the_hole_of_windows_is_pointed_out_where_it_matters(
    office: Office, api: httpx.AsyncClient
) -> None:
    office.desk.apply(SETUP, NOON_MS)
    answer = await ask(api, "PC-1", enrollment_type="windows_autopilot", user=JANE)
    [note] = answer.notes
    assert note in text_of(answer)
    assert note.startswith("Executive ESP comes by the user. Windows itself would ignore its")
    assert (await ask(api, "PC-1", enrollment_type="ios", user=JANE)).notes == ()
    assert (await ask(api, "KIOSK-1", enrollment_type="windows_autopilot")).notes == ()
    assert (await ask(api, "PC-1", enrollment_type="windows_manual", user=JANE)).notes == (), (
        "no app counts there"
    )


async def test_admissions_answer_is_told_with_its_code(
    office: Office, api: httpx.AsyncClient
) -> None:
    office.desk.apply(Setup(admission=AdmissionRules(blocked_types=(EnrollmentType.IOS,))), NOON_MS)
    answer = await ask(api, "PC-1", enrollment_type="ios")
    assert not answer.admission.admitted
    assert (
        "If it began now, it would be refused with DeviceTypeNotSupported: "
        "Enrollment type iOS/iPadOS is blocked by the admission rules." in text_of(answer)
    )
    allowed = await ask(api, "PC-1", enrollment_type="macos_ade")
    assert "If it began now, it would be admitted." in text_of(allowed)


async def test_a_refused_attempt_is_told(office: Office, api: httpx.AsyncClient) -> None:
    office.desk.apply(Setup(admission=AdmissionRules(registered_only=True)), NOON_MS)
    admit(office, Reporter(device="PC-1"))
    answer = await ask(api, "PC-1")
    assert answer.given is not None
    assert (answer.given.profile, answer.given.failure) == (None, answer.admission.failure)
    assert "Its latest attempt was refused (2025-06-15 15:06 UTC): The device is" in text_of(answer)


DATED = AssignedItem.model_validate(
    {"id": "new", "name": "New App", "rules": {"requirements": {"minimum_os": "10.0.22000"}}}
)


@pytest.mark.parametrize(
    ("setup", "asking"),
    [
        (Setup(catalogue={AUTOPILOT: Catalogue(items=(DATED,))}), "New App"),
        (Setup(admission=AdmissionRules(minimum_os={AUTOPILOT: "10.0.19045"})), "admission"),
    ],
)
async def test_a_version_is_asked_for_only_where_something_depends_on_it(
    office: Office, api: httpx.AsyncClient, setup: Setup, asking: str
) -> None:
    office.desk.apply(setup, NOON_MS)
    error = await refused(api, "PC-1", 422, enrollment_type="windows_autopilot")
    assert error["key"] == "os_version"
    assert error["detail"] == (
        f"is not known, and {asking} asks for a minimum; give one (--os-version), such as 10.0.22631"
    )
    answer = await ask(api, "PC-1", enrollment_type="windows_autopilot", os_version="10.0.22631")
    assert answer.os_version == "10.0.22631"
    assert (await ask(api, "PC-1", enrollment_type="ios")).os_version is None


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"enrollment_type": "ios", "variant": "hybrid_join"}, "ios has no variant 'hybrid_join'"),
        ({"enrollment_type": "symbian"}, "Input should be 'windows_autopilot'"),
        ({"enrollment_type": "ios", "user": ""}, "at least 1 character"),
    ],
)
async def test_a_question_that_cannot_be_answered_is_told(
    api: httpx.AsyncClient, asked: dict[str, str], sentence: str
) -> None:
    error = await refused(api, "PC-1", 422, **asked)
    assert sentence in str(error["detail"])


async def test_explaining_stores_nothing(office: Office, api: httpx.AsyncClient) -> None:
    await ask(api, "PC-9", enrollment_type="ios", user=JANE)
    assert office.desk.assigned("PC-9", "any") is None
    assert office.store.device_attempts("PC-9") == []
    assert office.desk.registered() == []


async def test_the_text_keeps_to_80_columns(office: Office, api: httpx.AsyncClient) -> None:
    office.desk.apply(
        Setup(
            profiles=tuple(
                ProfileEntry(name=f"{n} " + "long name " * 20, assigned_groups=("group " * 20,))
                for n in range(3)
            )
        ),
        NOON_MS,
    )
    lines = list(effective_profile_lines(await ask(api, "P" * 64, enrollment_type="ios")))
    assert max(map(len, lines)) <= LINE_WIDTH


# What a profile says reaches the device whole.


def test_an_entry_has_every_setting_of_a_profile() -> None:
    assert EspProfile.model_fields.keys() <= ProfileEntry.model_fields.keys()


async def test_windows_settings_travel_from_the_api_to_the_assignment(
    office: Office, api: httpx.AsyncClient
) -> None:
    settings = {"only_out_of_box": True, "quality_updates": True, "technician_installs_all": True}
    content = {"name": "Windows", "windows": settings, "assigned_groups": ["All Devices"]}
    answer = await api.post("/api/devices/esp-profiles", json=content)
    assert answer.status_code == 201, answer.text
    assert answer.json()["settings"]["windows"] == settings
    decision = admit(office, Reporter(device="PC-1")).decision
    assert isinstance(decision, Admitted)
    assert decision.profile.windows == WindowsSettings(**settings)


def test_windows_settings_stand_in_a_setup_file(office: Office) -> None:
    content: dict[str, Any] = {
        "profiles": [{"name": "A", "default": True, "windows": {"quality_updates": True}}]
    }
    office.desk.apply(Setup.model_validate(content), NOON_MS)
    [stored] = office.desk.profiles()
    assert stored.profile.windows == WindowsSettings(quality_updates=True)
