"""ESP profiles over HTTP: changed, assigned, ordered, switched off, taken away, and carried over from and to Graph."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from agent.wire.assignment import AssignedItem
from agent.wire.graph import GRAPH_TYPE
from agent.wire.vocabulary import EnrollmentType
from collector.api import examples
from collector.profiles.setup import Catalogue, ProfileEntry, Setup
from tests.collector.asking import ask, asking, services
from tests.collector.fleet import Office

PROFILES = "/api/devices/esp-profiles"
ORDER = "/api/devices/esp-profile-order"
IMPORT = "/api/esp-profile-import"
ANYHOW = {"If-Match": "*"}


@pytest.fixture
async def api(office: Office) -> AsyncIterator[httpx.AsyncClient]:
    names = ("Executive ESP", "Kiosk ESP", "Lobby ESP")
    entries = [ProfileEntry(name=name, assigned_groups=(name.split()[0],)) for name in names]
    default = ProfileEntry(name="Default ESP", default=True, assigned_groups=("All Devices",))
    office.desk.apply(Setup(profiles=(default, *entries)), 0)
    async with asking(services(office)) as client:
        yield client


async def names(api: httpx.AsyncClient, **asked: Any) -> list[str]:
    return [row["id"] for row in (await ask(api, PROFILES, **asked))["profiles"]]


async def test_a_change_names_what_it_was_decided_on_and_changes_that_alone(
    api: httpx.AsyncClient,
) -> None:
    read = await api.get(f"{PROFILES}/kiosk-esp")
    patch = {"timeout_minutes": 30, "error_handling": {"allow_reset": True}}
    changed = await api.patch(
        f"{PROFILES}/kiosk-esp", json=patch, headers={"If-Match": read.headers["etag"]}
    )
    assert changed.status_code == 200, changed.text
    before, after = read.json()["settings"], changed.json()["settings"]
    assert after == before | {
        "timeout_minutes": 30,
        "error_handling": before["error_handling"] | {"allow_reset": True},
    }
    assert (await ask(api, f"{PROFILES}/kiosk-esp")) == changed.json()
    assert changed.headers["etag"] != read.headers["etag"]


async def test_a_change_that_was_decided_on_an_older_state_is_refused(
    api: httpx.AsyncClient,
) -> None:
    path = f"{PROFILES}/kiosk-esp"
    old = {"If-Match": (await api.get(path)).headers["etag"]}
    assert (await api.patch(path, json={"timeout_minutes": 5}, headers=old)).status_code == 200
    for refused in (
        await api.patch(path, json={"timeout_minutes": 6}, headers=old),
        await api.put(path, json={"name": "Kiosk ESP"}, headers=old),
        await api.delete(path, headers=old),
    ):
        assert refused.status_code == 412
        assert (refused.json()["code"], refused.json()["key"]) == ("changed_meanwhile", "If-Match")
    assert (await ask(api, path))["timeout_minutes"] == 5


async def test_a_weak_tag_is_none_to_decide_on(api: httpx.AsyncClient) -> None:
    path = f"{PROFILES}/kiosk-esp"
    weak = {"If-Match": "W/" + (await api.get(path)).headers["etag"]}
    assert (await api.patch(path, json={"active": False}, headers=weak)).status_code == 412


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
async def test_a_change_without_a_tag_is_asked_for_one(api: httpx.AsyncClient, method: str) -> None:
    body = None if method == "DELETE" else {"name": "Kiosk ESP"}
    response = await api.request(method, f"{PROFILES}/kiosk-esp", json=body)
    assert (response.status_code, response.json()["code"]) == (428, "precondition_required")


async def test_a_replacement_sets_what_it_leaves_out_to_the_defaults(
    api: httpx.AsyncClient,
) -> None:
    await api.patch(f"{PROFILES}/kiosk-esp", json={"timeout_minutes": 30}, headers=ANYHOW)
    replaced = await api.put(f"{PROFILES}/kiosk-esp", json={"name": "Kiosks"}, headers=ANYHOW)
    row = replaced.json()
    assert (row["id"], row["name"], row["timeout_minutes"]) == ("kiosk-esp", "Kiosks", 60)
    assert row["assigned_groups"] == []
    assert await names(api) == ["executive-esp", "kiosk-esp", "lobby-esp", "default-esp"]


async def test_assigning_and_switching_off_are_changes(api: httpx.AsyncClient) -> None:
    path = f"{PROFILES}/kiosk-esp"
    for patch, column, value in (
        ({"assigned_groups": ["Kiosk Devices", "Lobby"]}, "assigned_groups", None),
        ({"active": False}, "status", "Inactive"),
        ({"active": True}, "status", "Active"),
    ):
        row = (await api.patch(path, json=patch, headers=ANYHOW)).json()
        assert row[column] == (value or patch["assigned_groups"])


async def test_null_sets_one_setting_back(api: httpx.AsyncClient) -> None:
    path = f"{PROFILES}/kiosk-esp"
    await api.patch(path, json={"custom_message": "Wait."}, headers=ANYHOW)
    row = (await api.patch(path, json={"custom_message": None}, headers=ANYHOW)).json()
    assert row["settings"]["custom_message"] is None


async def test_there_is_always_one_default(api: httpx.AsyncClient) -> None:
    path = f"{PROFILES}/default-esp"
    refused = await api.patch(path, json={"default": False}, headers=ANYHOW)
    assert (refused.status_code, refused.json()["code"]) == (409, "is_default")
    assert (await api.delete(path, headers=ANYHOW)).status_code == 409
    await api.patch(f"{PROFILES}/lobby-esp", json={"default": True}, headers=ANYHOW)
    rows = (await ask(api, PROFILES))["profiles"]
    assert [row["id"] for row in rows if row["default"]] == ["lobby-esp"]
    assert (await api.delete(path, headers=ANYHOW)).status_code == 204


async def test_a_deleted_profile_is_gone(api: httpx.AsyncClient) -> None:
    gone = await api.delete(f"{PROFILES}/kiosk-esp", headers=ANYHOW)
    assert (gone.status_code, gone.content) == (204, b"")
    assert "kiosk-esp" not in await names(api)
    for response in (
        await api.get(f"{PROFILES}/kiosk-esp"),
        await api.get(f"{PROFILES}/kiosk-esp/graph"),
        await api.delete(f"{PROFILES}/kiosk-esp", headers=ANYHOW),
        await api.patch(f"{PROFILES}/kiosk-esp", json={}, headers=ANYHOW),
    ):
        assert (response.status_code, response.json()["code"]) == (404, "not_found")


async def test_the_order_is_given_by_naming_the_first_ones(api: httpx.AsyncClient) -> None:
    read = await api.get(ORDER)
    assert read.json() == {"profiles": ["executive-esp", "kiosk-esp", "lobby-esp"]}
    tag = {"If-Match": read.headers["etag"]}
    wanted = {"profiles": ["lobby-esp", "kiosk-esp"]}
    changed = await api.put(ORDER, json=wanted, headers=tag)
    assert changed.json() == {"profiles": ["lobby-esp", "kiosk-esp", "executive-esp"]}
    assert await names(api) == ["lobby-esp", "kiosk-esp", "executive-esp", "default-esp"]
    assert (await api.put(ORDER, json=wanted, headers=tag)).status_code == 412
    assert (await api.put(ORDER, json=wanted)).status_code == 428


@pytest.mark.parametrize(
    ("wanted", "status", "key"),
    [
        (["unknown"], 404, None),
        (["kiosk-esp", "default-esp"], 422, "profiles[1]"),
        (["kiosk-esp", "kiosk-esp"], 422, "profiles"),
        (["not an id"], 422, "profiles[0]"),
    ],
)
async def test_an_order_that_makes_no_sense_is_refused(
    api: httpx.AsyncClient, wanted: list[str], status: int, key: str | None
) -> None:
    refused = await api.put(ORDER, json={"profiles": wanted}, headers=ANYHOW)
    assert (refused.status_code, refused.json()["key"]) == (status, key)
    assert await names(api) == ["executive-esp", "kiosk-esp", "lobby-esp", "default-esp"]


@pytest.mark.parametrize(
    ("patch", "key"),
    [
        ({"timeout_minutes": 0}, "timeout_minutes"),
        ({"name": None}, "name"),
        ({"id": "another"}, "id"),
        ({"error_handling": {"allow_rest": True}}, "error_handling.allow_rest"),
        ({"error_handling": 5}, "error_handling"),
        ({"timeout": 5}, "timeout"),
        ({"graph": {"x": float("inf")}}, "graph"),
    ],
)
async def test_a_bad_change_is_refused_with_the_field(
    api: httpx.AsyncClient, patch: dict[str, Any], key: str
) -> None:
    content = str(patch).replace("'", '"').replace("None", "null").replace("True", "true")
    refused = await api.patch(
        f"{PROFILES}/kiosk-esp",
        content=content.replace("inf", "Infinity"),
        headers={**ANYHOW, "content-type": "application/merge-patch+json"},
    )
    assert refused.status_code == 422, refused.text
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.json()["key"] == key


async def test_a_change_that_makes_assignments_too_large_is_refused(
    office: Office, api: httpx.AsyncClient
) -> None:
    apps = tuple(AssignedItem(id=f"app-{n}", name="x" * 200) for n in range(60))
    office.desk.apply(Setup(catalogue={EnrollmentType.IOS: Catalogue(items=apps)}), 0)
    refused = await api.patch(
        f"{PROFILES}/default-esp", json={"custom_message": "漢" * 10_000}, headers=ANYHOW
    )
    assert (refused.status_code, refused.json()["key"]) == (422, "custom_message")


async def test_a_profile_of_graph_goes_in_and_comes_out_unchanged(api: httpx.AsyncClient) -> None:
    content = {
        "@odata.type": GRAPH_TYPE,
        "id": "7d3e5a52",
        "displayName": "Pilot",
        "priority": 2,
        "showInstallationProgress": True,
        "installProgressTimeoutInMinutes": 45,
        "something": {"we": ["do not", "know"]},
    }
    made = await api.post(IMPORT, params={"group": ["A", "B"]}, json=content)
    assert made.status_code == 201, made.text
    assert made.headers["location"] == f"{PROFILES}/7d3e5a52"
    assert (made.json()["assigned_groups"], made.json()["timeout_minutes"]) == (["A", "B"], 45)
    exported = await ask(api, f"{PROFILES}/7d3e5a52/graph")
    assert exported | content == exported
    again = await api.post(IMPORT, json=content)
    assert (again.status_code, again.json()["code"]) == (409, "exists")
    refused = await api.post(IMPORT, json=content | {"@odata.type": "#other"})
    assert (refused.status_code, refused.json()["key"]) == (422, "@odata.type")


async def test_profiles_are_filtered_sorted_and_paged(api: httpx.AsyncClient) -> None:
    await api.patch(f"{PROFILES}/lobby-esp", json={"active": False}, headers=ANYHOW)
    assert await names(api, status="Inactive") == ["lobby-esp"]
    assert await names(api, group="Kiosk") == ["kiosk-esp"]
    assert await names(api, name="TIVE") == ["executive-esp"]
    by_name = ["default-esp", "executive-esp", "kiosk-esp", "lobby-esp"]
    assert await names(api, sort="name") == by_name
    assert await names(api, sort="-name") == by_name[::-1]
    first = await ask(api, PROFILES, sort="name", limit=3)
    assert [row["id"] for row in first["profiles"]] == by_name[:3]
    rest = await ask(api, PROFILES, sort="name", limit=3, cursor=first["next_cursor"])
    assert [row["id"] for row in rest["profiles"]] == by_name[3:]
    assert (rest["total"], rest["next_cursor"]) == (4, None)


async def test_an_unchanged_profile_is_not_sent_again(api: httpx.AsyncClient) -> None:
    for path in (PROFILES, f"{PROFILES}/kiosk-esp", ORDER):
        tag = (await api.get(path)).headers["etag"]
        again = await api.get(path, headers={"If-None-Match": f'"other", {tag}'})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    await api.patch(f"{PROFILES}/kiosk-esp", json={"priority": 99}, headers=ANYHOW)
    assert (await api.get(ORDER, headers={"If-None-Match": tag})).status_code == 200


@pytest.mark.parametrize("example", list(examples.PROFILES))
async def test_the_examples_of_profiles_can_be_sent(api: httpx.AsyncClient, example: str) -> None:
    await api.delete(f"{PROFILES}/kiosk-esp", headers=ANYHOW)
    await api.delete(f"{PROFILES}/executive-esp", headers=ANYHOW)
    made = await api.post(PROFILES, json=examples.PROFILES[example]["value"])
    assert made.status_code == 201, made.text


async def test_the_other_examples_can_be_sent(api: httpx.AsyncClient) -> None:
    for patch in examples.PATCHES.values():
        path = f"{PROFILES}/kiosk-esp"
        assert (await api.patch(path, json=patch["value"], headers=ANYHOW)).status_code == 200
    for content in examples.GRAPH_PROFILES.values():
        assert (await api.post(IMPORT, json=content["value"])).status_code == 201
    for order in examples.ORDERS.values():
        assert (await api.put(ORDER, json=order["value"], headers=ANYHOW)).status_code == 200
    for rows in examples.REGISTRATIONS.values():
        assert (await api.post("/api/registrations", json=rows["value"])).status_code == 201
    for asked in examples.REPORT_REQUESTS.values():
        path = "/v1.0/deviceManagement/reports/getEnrollmentAbandonmentDetailsReport"
        assert (await api.post(path, json=asked["value"])).status_code == 200
