"""Who gets in: tokens with roles, kept as digests, throttled; what browsers are told; how large a request may be."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog
from sqlalchemy import select

from collector.access import Role, TokenExists, Tokens, TokenUnknown, digest_of
from collector.api import make_app
from collector.api.protection import BODY_BYTES_MAX
from collector.api.throttle import RequestLimits
from collector.store import schema
from tests.collector.asking import TOKEN, ask, asking, services
from tests.collector.calling import Call
from tests.collector.fleet import NOON_MS, Office, Reporter

STATUS = "/api/devices/enrollment-status"
PROFILES = "/api/devices/esp-profiles"
DAY_MS = 24 * 60 * 60 * 1000

# What each role may ask for, beside what the ones before it may.
ASKED: list[tuple[Role, str, str, Any]] = [
    (Role.READ, "GET", STATUS, None),
    (Role.READ, "GET", f"{STATUS}/active", None),
    (Role.READ, "GET", f"{STATUS}/failures", None),
    (Role.READ, "GET", PROFILES, None),
    (Role.READ, "GET", f"{PROFILES}/default-esp", None),
    (Role.READ, "GET", f"{PROFILES}/default-esp/graph", None),
    (Role.READ, "GET", "/api/devices/esp-profile-order", None),
    (Role.READ, "GET", "/api/reports/incomplete-user-enrollments", None),
    (Role.READ, "GET", "/api/reports/incomplete-user-enrollments/actions.csv", None),
    (Role.READ, "POST", "/beta/deviceManagement/reports/getEnrollmentFailureDetailsReport", {}),
    (Role.READ, "GET", "/api/registrations", None),
    (Role.READ, "GET", "/api/reports", None),
    (Role.READ, "GET", "/api/devices/DESKTOP-NEW001", None),
    (Role.READ, "GET", "/metrics", None),
    (Role.HELPDESK, "POST", "/api/registrations", {"devices": [{"device": "A"}]}),
    (Role.HELPDESK, "POST", "/api/devices/DESKTOP-NEW001/commands",
     {"action": {"kind": "collect_logs"}}),
    (Role.ADMIN, "POST", PROFILES, {"name": "Kiosk ESP"}),
    (Role.ADMIN, "PATCH", f"{PROFILES}/default-esp", {"timeout_minutes": 30}),
    (Role.ADMIN, "PUT", f"{PROFILES}/default-esp", {"name": "Default ESP", "default": True}),
    (Role.ADMIN, "PUT", "/api/devices/esp-profile-order", {"profiles": []}),
    (Role.ADMIN, "DELETE", f"{PROFILES}/kiosk-esp", None),
]  # fmt: skip


@pytest.fixture
def tokens(office: Office) -> Tokens:
    return Tokens(office.store.database)


@pytest.mark.parametrize("role", Role)
async def test_each_role_may_do_its_own_and_what_the_ones_before_it_may(
    office: Office, tokens: Tokens, role: Role
) -> None:
    device = Reporter()
    office.take_in([device.begin()])
    _row, token = tokens.create("somebody", role, NOON_MS)
    async with asking(services(office), token) as api:
        for needed, method, path, content in ASKED:
            if needed is Role.ADMIN and path.endswith("kiosk-esp"):
                continue
            response = await api.request(method, path, json=content, headers={"If-Match": "*"})
            if role.allows(needed):
                assert response.is_success, (method, path, response.text)
            else:
                assert response.status_code == 403, (method, path)
                assert response.json()["code"] == "forbidden"
                assert needed.value in response.json()["detail"]


async def test_every_route_but_health_asks_for_a_token(office: Office) -> None:
    document = make_app(services(office)).openapi()
    open_to_all = {"/health"}
    for path, methods in document["paths"].items():
        for method, described in methods.items():
            if path in open_to_all:
                assert "security" not in described
                continue
            (scheme,) = described["security"]
            assert scheme["token"], (method, path)
    filled = {"device": "A", "profile": "a", "command": "a", "table": "days", "version": "beta"}
    async with asking(services(office, limits=RequestLimits(10**6, 10**6)), None) as api:
        for path, methods in document["paths"].items():
            if path in open_to_all:
                continue
            for method in methods:
                address = path
                for name, value in filled.items():
                    address = address.replace(f"{{{name}}}", value)
                response = await api.request(method.upper(), address)
                assert response.status_code == 401, (method, address)


async def test_a_token_is_kept_as_a_digest_alone(office: Office, tokens: Tokens) -> None:
    _row, token = tokens.create("somebody", Role.READ, NOON_MS)
    assert len(token) >= 4 + 43, "256 random bits"
    with office.store.database.reading() as connection:
        (stored,) = connection.execute(select(schema.TOKENS)).mappings()
    assert stored["digest"] == digest_of(token)
    assert token not in str(dict(stored))


async def test_a_revoked_token_opens_nothing_from_then_on(office: Office, tokens: Tokens) -> None:
    row, token = tokens.create("somebody", Role.READ, NOON_MS)
    async with asking(services(office), token) as api:
        assert (await api.get(STATUS)).status_code == 200
        tokens.revoke(row.id, NOON_MS)
        assert (await api.get(STATUS)).status_code == 401


async def test_a_token_ends_when_it_was_said_to(office: Office, tokens: Tokens) -> None:
    _row, token = tokens.create("somebody", Role.READ, NOON_MS, days=2)
    async with asking(services(office), token) as api:
        office.clock.at_ms = NOON_MS + 2 * DAY_MS - 1
        assert (await api.get(STATUS)).status_code == 200
        office.clock.at_ms += 1
        assert (await api.get(STATUS)).status_code == 401


def test_a_name_is_in_use_until_its_token_is_revoked(tokens: Tokens) -> None:
    row, _token = tokens.create("somebody", Role.READ, NOON_MS)
    with pytest.raises(TokenExists):
        tokens.create("somebody", Role.ADMIN, NOON_MS)
    tokens.revoke("somebody", NOON_MS)
    tokens.create("somebody", Role.ADMIN, NOON_MS)
    with pytest.raises(TokenUnknown):
        tokens.revoke(row.id, NOON_MS)


async def test_the_token_of_the_file_may_do_everything(office: Office) -> None:
    async with asking(services(office), TOKEN) as api:
        made = await api.post(PROFILES, json={"name": "Kiosk ESP"})
    assert made.status_code == 201


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Bearer"},
        {"Authorization": "Basic dXNlcjpwYXNz"},
        {"Authorization": f"Bearer {TOKEN} "[:-2]},
        {"Authorization": f"bearer {TOKEN}x"},
        {"Authorization": "Bearer ' OR 1=1 --"},
        {"Authorization": "Bearer " + "x" * 60_000},
        {"Cookie": f"token={TOKEN}"},
    ],
)
async def test_a_wrong_token_is_refused_and_logged_without_itself(
    office: Office, told: dict[str, str]
) -> None:
    async with asking(services(office), None) as api:
        with structlog.testing.capture_logs() as logs:
            response = await api.get(STATUS, headers=told)
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"
    (line,) = (one for one in logs if one["log_level"] == "warning")
    assert (line["method"], line["path"]) == ("GET", STATUS)
    assert told.get("Authorization", "Bearer")[-20:] not in str(line).replace("Bearer", "")


async def test_a_role_that_is_not_enough_is_logged_with_its_token(
    office: Office, tokens: Tokens
) -> None:
    _row, token = tokens.create("reader", Role.READ, NOON_MS)
    async with asking(services(office), token) as api:
        with structlog.testing.capture_logs() as logs:
            await api.post(PROFILES, json={"name": "Kiosk ESP"})
    (line,) = logs
    assert (line["token"], line["role"], line["method"]) == ("reader", "read", "POST")


async def test_what_was_changed_is_logged_with_who_asked(office: Office, tokens: Tokens) -> None:
    _row, token = tokens.create("ann", Role.ADMIN, NOON_MS)
    async with asking(services(office), token) as api:
        with structlog.testing.capture_logs() as logs:
            await api.get(STATUS)
            await api.post(PROFILES, json={"name": "Kiosk ESP"})
    (line,) = logs
    assert (line["event"], line["token"], line["path"]) == ("asked", "ann", PROFILES)


async def test_a_token_that_asks_too_often_waits_and_others_do_not(
    office: Office, tokens: Tokens
) -> None:
    _row, busy = tokens.create("busy", Role.READ, NOON_MS)
    given = services(office, limits=RequestLimits(of_a_token=3, without_a_token=3))
    app = httpx.ASGITransport(app=make_app(given))
    async with httpx.AsyncClient(transport=app, base_url="http://collector") as api:
        statuses = [
            (await api.get(STATUS, headers={"Authorization": f"Bearer {busy}"})).status_code
            for _ in range(5)
        ]
        assert statuses == [200, 200, 200, 429, 429]
        other = await api.get(STATUS, headers={"Authorization": f"Bearer {TOKEN}"})
        assert other.status_code == 200
        told = await api.get(STATUS, headers={"Authorization": f"Bearer {busy}"})
    assert told.json()["code"] == "too_often"
    assert 1 <= int(told.headers["retry-after"]) <= 60


async def test_whoever_tries_tokens_waits_and_the_log_stays_short(office: Office) -> None:
    given = services(office, limits=RequestLimits(of_a_token=9, without_a_token=3))
    app = httpx.ASGITransport(app=make_app(given))
    async with httpx.AsyncClient(transport=app, base_url="http://collector") as api:
        with structlog.testing.capture_logs() as logs:
            statuses = [
                (await api.get(STATUS, headers={"Authorization": f"Bearer {n}"})).status_code
                for n in range(6)
            ]
        good = await api.get(STATUS, headers={"Authorization": f"Bearer {TOKEN}"})
    assert statuses == [401, 401, 401, 429, 429, 429]
    assert len(logs) == 3
    assert good.status_code == 200, "who has a token is not locked out by who has none"


@pytest.mark.parametrize("path", [STATUS, "/nothing", "/health", PROFILES])
async def test_every_answer_tells_browsers_to_keep_their_hands_off(
    office: Office, path: str
) -> None:
    async with asking(services(office)) as api:
        headers = (await api.get(path)).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert headers["cache-control"] == "private, no-cache"
    assert headers["referrer-policy"] == "no-referrer"
    assert "strict-transport-security" not in headers


async def test_over_https_browsers_are_told_to_stay_there(office: Office) -> None:
    app = httpx.ASGITransport(app=make_app(services(office)))
    async with httpx.AsyncClient(transport=app, base_url="https://collector") as api:
        assert (await api.get("/health")).headers["strict-transport-security"]


async def test_no_page_loads_scripts_from_elsewhere(office: Office) -> None:
    async with asking(services(office)) as api:
        assert (await api.get("/docs")).status_code == 404
        assert (await api.get("/redoc")).status_code == 404


@pytest.mark.parametrize("announced", [True, False])
async def test_a_body_over_the_limit_is_refused_whether_or_not_it_says_so(
    office: Office, announced: bool
) -> None:
    async def pieces() -> Any:
        for _ in range(BODY_BYTES_MAX // 1_000_000 + 2):
            yield b" " * 1_000_000

    content = b" " * (BODY_BYTES_MAX + 1) if announced else pieces()
    async with asking(services(office)) as api:
        response = await api.post(PROFILES, content=content)
        assert response.status_code == 413
        assert response.json()["code"] == "too_large"
        assert response.headers["x-content-type-options"] == "nosniff"
        assert (await api.post(PROFILES, json={"name": "Kiosk ESP"})).status_code == 201


@pytest.mark.parametrize("length", ["-1", "x", "9" * 400, "1e3"])
async def test_a_length_that_is_no_number_is_refused(office: Office, length: str) -> None:
    async with asking(services(office)) as api:
        response = await api.post(PROFILES, content=b"{}", headers={"Content-Length": length})
    assert response.status_code == 413


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"name": "\xff"}',
        b'{"name": "\\ud800"}',
        b'{"name": 1e400}',
        b'{"name": NaN}',
        b'{"name": "A", "timeout_minutes": ' + b"9" * 5_000 + b"}",
        b'{"name": "A", "priority": 9223372036854775808}',
        b'{"name": "A", "name": "B", "id": "\\u0000"}',
        b'"text"',
        b"null",
    ],
)
async def test_a_body_that_is_no_profile_is_refused(office: Office, content: bytes) -> None:
    async with asking(services(office)) as api:
        headers = {"Content-Type": "application/json"}
        response = await api.post(PROFILES, content=content, headers=headers)
    assert response.status_code in (400, 422), response.text
    assert response.json()["detail"]


async def test_nothing_of_a_request_becomes_a_header_of_the_answer(office: Office) -> None:
    async with asking(services(office)) as api:
        for path in (
            f"{STATUS}/active?limit=1&device=%0d%0aSet-Cookie:%20a=b",
            f"{STATUS}/active?cursor=%0d%0aX:y",
            "/api/devices/A%0d%0aX:y",
            f"{PROFILES}/a%0d%0aX:y",
        ):
            response = await api.get(path)
            assert response.status_code in (404, 422)
            assert "set-cookie" not in response.headers
            assert "x" not in response.headers
        made = await api.post(PROFILES, json={"name": "A\r\nX: y", "id": "a-1"})
        assert made.headers["location"] == f"{PROFILES}/a-1"


# The command line.


def served(tmp_path: Path) -> Path:
    Office.open(tmp_path).close()
    return tmp_path


def test_a_token_is_shown_once_and_listed_without_itself(call: Call, tmp_path: Path) -> None:
    data = served(tmp_path)
    made = call("token", "create", "help desk", "--data", data, "--role", "helpdesk", "--days", "9")
    assert (made.exit_code, made.stderr) == (0, "")
    token = made.stdout.strip()
    assert token.startswith("esp_")
    listed = call("token", "list", "--data", data)
    assert "help desk" in listed.stdout
    assert "good" in listed.stdout
    assert token not in listed.stdout
    (row,) = json.loads(call("token", "list", "--data", data, "--json").stdout)["tokens"]
    assert (row["name"], row["role"], row["state"]) == ("help desk", "helpdesk", "good")
    assert call("token", "revoke", "help desk", "--data", data).exit_code == 0
    assert "revoked" in call("token", "list", "--data", data).stdout
    again = call("token", "revoke", "help desk", "--data", data)
    assert (again.exit_code, len(again.stderr.splitlines())) == (2, 1)


def test_a_token_of_the_command_line_opens_the_api(call: Call, tmp_path: Path) -> None:
    token = json.loads(call("token", "create", "ann", "--data", served(tmp_path), "--json").stdout)[
        "token"
    ]
    office = Office.open(tmp_path)
    office.clock.at_ms = time.time_ns() // 1_000_000

    async def overview() -> Any:
        async with asking(services(office), token) as api:
            return await ask(api, STATUS)

    assert "overview" in asyncio.run(overview())
    office.close()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("create", "x" * 101), "can't be a token's name"),
        (("create", " "), "can't be a token's name"),
        (("create", "a\nb"), "can't be a token's name"),
        (("revoke", "nobody"), "no token 'nobody' is in use"),
    ],
)
def test_a_mistake_with_tokens_is_one_sentence(
    call: Call, tmp_path: Path, arguments: tuple[str, ...], sentence: str
) -> None:
    result = call("token", *arguments, "--data", served(tmp_path))
    assert result.exit_code == 2
    assert sentence in result.stderr
    assert "Traceback" not in result.stderr


def test_without_a_store_there_are_no_tokens(call: Call, tmp_path: Path) -> None:
    result = call("token", "list", "--data", tmp_path)
    assert result.exit_code == 2
    assert "there is no store; check --data" in result.stderr
