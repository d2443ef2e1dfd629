"""SQLite and PostgreSQL answer every question of the API alike."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.wire.vocabulary import EndState, EnrollmentType, FailureKind
from collector.access import Role, Tokens
from collector.profiles.setup import ProfileEntry, Registration
from tests.collector.asking import asking, services
from tests.collector.fleet import NOON_MS, Office, Reporter, failure
from tests.collector.portal import ANDROID, IOS, ROWS, Sender, abandoned, closed, enrolled
from tests.collector.postgres import Server

STATUS = "/api/devices/enrollment-status"
REPORT = "/api/reports/incomplete-user-enrollments"
HOUR_MS = 60 * 60 * 1000

QUESTIONS: list[tuple[str, dict[str, Any]]] = [
    (STATUS, {}),
    (STATUS, {"platform": ["ios", "macos_ade"]}),
    *((f"{STATUS}/active", {"sort": sort}) for sort in ("-begun", "user", "-progress", "device")),
    (f"{STATUS}/active", {"stage": "Installing Apps", "user": "ANN@company.com"}),
    (f"{STATUS}/active", {"device": "b", "silent": "true"}),
    (f"{STATUS}/active", {"device": "%"}),
    (f"{STATUS}/failures", {}),
    (f"{STATUS}/failures", {"status": ["waiting", "failed"], "kind": "network_timeout"}),
    (f"{STATUS}/failures", {"since": "2025-06-15T00:00:00Z", "sort": "user"}),
    ("/api/devices/esp-profiles", {"sort": "name"}),
    ("/api/registrations", {}),
    ("/api/registrations", {"pending": "true"}),
    (REPORT, {}),
    (REPORT, {"days": 31, "os": "ios", "section": "Terms of Use"}),
    (REPORT, {"days": 3, "time_zone": "America/St_Johns"}),
    (f"{REPORT}/actions.csv", {}),
]
GRAPH = (
    "getEnrollmentAbandonmentSummaryReport",
    "getEnrollmentAbandonmentDetailsReport",
    "getEnrollmentFailureDetailsReport",
)


@pytest.fixture
def offices(tmp_path: Path, postgres: Server) -> Iterator[tuple[Office, Office]]:
    (tmp_path / "one").mkdir()
    (tmp_path / "other").mkdir()
    one = Office.open(tmp_path / "one")
    other = Office.open(tmp_path / "other", url=postgres.fresh())
    for office in (one, other):
        fill(office)
    yield one, other
    one.close()
    other.close()


def fill(office: Office) -> None:
    """The same story in each."""
    office.desk.add_profile(ProfileEntry(name="Kiosk ESP", assigned_groups=("Kiosk",)))
    rows = [Registration(device="waits", enrollment_type=EnrollmentType.IOS, user="Zoë@x.org")]
    office.desk.register([*rows, Registration(device="busy-1")], NOON_MS)
    for number, user in enumerate(("ann@company.com", None, "Eve@company.com", "Ann@company.com")):
        office.clock.at_ms = NOON_MS - (30 - number) * HOUR_MS
        device = Reporter(device=f"busy-{number}", stream=f"busy-{number}", user=user)
        office.take_in([device.begin(), device.move(10 * number)])
    for number, (state, kind) in enumerate(
        (
            (EndState.FAILED, FailureKind.NETWORK_TIMEOUT),
            (EndState.REFUSED, FailureKind.DEVICE_LIMIT_EXCEEDED),
            (EndState.TIMED_OUT, None),
            (EndState.SUCCEEDED, None),
            (EndState.BYPASSED, None),
            (EndState.RESET, None),
        )
    ):
        office.clock.at_ms = NOON_MS - (20 - number) * HOUR_MS
        device = Reporter(device=f"over-{number}", stream=f"over-{number}")
        problem = None if kind is None else failure(kind)
        office.take_in([device.begin(), device.end(state, problem=problem)])
    stopped = Reporter(device="stopped", stream="stopped")
    office.take_in([stopped.begin(), stopped.stop(failure(FailureKind.NETWORK_TIMEOUT))])
    for number, story in enumerate(
        (
            abandoned(ROWS["profile-trust-cancel"], IOS),
            abandoned(ROWS["activation-time"], ANDROID),
            closed(ANDROID),
            enrolled(IOS),
        )
    ):
        office.clock.at_ms = NOON_MS - number * 11 * HOUR_MS
        office.take_in(Sender(f"phone-{number}").sent(story))
    office.clock.at_ms = NOON_MS


async def answers(office: Office) -> list[Any]:
    found: list[Any] = []
    async with asking(services(office)) as api:
        for path, asked in QUESTIONS:
            response = await api.get(path, params=asked)
            assert response.status_code == 200, (path, asked, response.text)
            found.append((path, asked, response.text))
        for name in GRAPH:
            response = await api.post(f"/beta/deviceManagement/reports/{name}", json={})
            assert response.status_code == 200, response.text
            found.append((name, {}, response.text))
        for sort in ("user", "-begun"):
            cursor: str | None = ""
            while cursor is not None:
                asked = {"sort": sort, "limit": 1} | ({"cursor": cursor} if cursor else {})
                answer = (await api.get(f"{STATUS}/active", params=asked)).json()
                found.append([row["device"] for row in answer["devices"]])
                cursor = answer["next_cursor"]
    return found


async def test_both_answer_alike(offices: tuple[Office, Office]) -> None:
    one, other = offices
    for mine, theirs in zip(await answers(one), await answers(other), strict=True):
        assert mine == theirs


async def test_both_keep_tokens_and_changes_of_profiles(offices: tuple[Office, Office]) -> None:
    for office in offices:
        tokens = Tokens(office.store.database)
        row, token = tokens.create("ann", Role.ADMIN, NOON_MS)
        async with asking(services(office), token) as api:
            path = "/api/devices/esp-profiles/kiosk-esp"
            changed = await api.patch(path, json={"active": False}, headers={"If-Match": "*"})
            assert changed.json()["status"] == "Inactive"
            assert (await api.delete(path, headers={"If-Match": "*"})).status_code == 204
            tokens.revoke(row.id, NOON_MS)
            assert (await api.get(path)).status_code == 401


@pytest.mark.parametrize(
    "word", ["' OR '1'='1", "'; DROP TABLE attempts; --", '"', "\\", "%", "_", "x' UNION SELECT 1"]
)
async def test_what_is_searched_for_is_never_part_of_a_statement(
    offices: tuple[Office, Office], word: str
) -> None:
    for office in offices:
        async with asking(services(office)) as api:
            for path in (f"{STATUS}/active", f"{STATUS}/failures"):
                for name in ("user", "device"):
                    answer = (await api.get(path, params={name: word})).json()
                    assert answer["total"] == 0, (path, name)
            assert (await api.get(STATUS)).json()["overview"]["in_progress"] == 4
