"""What the API says of running the collector, and who may change it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import httpx
import pytest

from agent.wire.vocabulary import EndState
from collector.access import Role, Tokens
from collector.api import make_app
from collector.operations import Operations
from collector.stuck.limit import OBSERVATIONS_MIN
from tests.collector.asking import TOKEN, ask, services
from tests.collector.fleet import Office, Reporter, failure
from tests.collector.stuck.items import begun, later, teach

STUCK = "/api/devices/enrollment-status/stuck"
HOOK = {"url": "https://93.184.216.34/esp", "kinds": ["enrollment.stuck"]}


@pytest.fixture
def operations(office: Office) -> Operations:
    return Operations(office.store.database, office.clock, office.metrics)


@pytest.fixture
async def api(office: Office, operations: Operations) -> AsyncIterator[httpx.AsyncClient]:
    async with asking_beside(office, operations) as client:
        yield client


@asynccontextmanager
async def asking_beside(
    office: Office, operations: Operations | None, token: str = TOKEN
) -> AsyncIterator[httpx.AsyncClient]:
    app = make_app(services(office))
    app.state.operations = operations
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app=app),
        base_url="http://collector",
        headers={"Authorization": f"Bearer {token}"},
    ) as client:
        yield client


async def test_what_is_stuck(
    office: Office, operations: Operations, api: httpx.AsyncClient
) -> None:
    assert (await ask(api, STUCK))["items"] == []
    teach(office, [10.0] * OBSERVATIONS_MIN)
    begun(office)
    later(office, 20)
    operations.watch.look()
    (item,) = (await ask(api, STUCK))["items"]
    assert (item["device"], item["name"], item["basis"]) == ("DESKTOP-NEW001", "M365", "history")
    assert (item["running_ms"], item["limit_ms"]) == (1_200_000, 600_000)


async def test_why_a_device_is_where_it_is(
    office: Office, operations: Operations, api: httpx.AsyncClient
) -> None:
    teach(office, [10.0] * OBSERVATIONS_MIN)
    begun(office)
    operations.watch.look()
    told = await ask(api, "/api/devices/DESKTOP-NEW001/standing")
    assert told["waits_for"] == "device"
    assert told["sentences"] == ["M365: downloading for 0 s."]
    later(office, 20)
    told = await ask(api, "/api/devices/DESKTOP-NEW001/standing")
    assert told["waits_for"] == "help desk"
    assert "99 in 100 needed at most 10 min" in told["sentences"][0]


async def test_the_standing_of_each_situation(office: Office, api: httpx.AsyncClient) -> None:
    async def waits_for(name: str) -> tuple[str, str]:
        told = await ask(api, f"/api/devices/{name}/standing")
        return told["waits_for"], told["sentences"][0]

    begins, stops, ends, fails = (Reporter(device=n, stream=n) for n in ("A", "B", "C", "D"))
    office.take_in([begins.begin(), stops.begin(), stops.stop(failure())])
    office.take_in([ends.begin(), ends.end(), fails.begin()])
    office.take_in([fails.end(EndState.FAILED, problem=failure())])
    assert await waits_for("A") == (
        "collector", "It waits for the collector's decision and its assignment.",
    )  # fmt: skip
    assert await waits_for("B") == (
        "help desk",
        "It waits on its error screen: Installer failed (0x80070643). Exit code 1603.",
    )
    assert await waits_for("C") == (
        "nothing", "Enrolled: attempt 1 ended “succeeded” just now, after 45 min.",
    )  # fmt: skip
    assert await waits_for("D") == (
        "help desk", "Attempt 1 ended “failed” just now, after 45 min.",
    )  # fmt: skip
    await ask(api, "/api/devices/NOBODY/standing", 404)


async def test_a_webhook_from_adding_to_removing(
    api: httpx.AsyncClient, operations: Operations
) -> None:
    made = await api.post("/api/webhooks", json=HOOK)
    assert made.status_code == 201
    name, secret = made.json()["webhook"]["id"], made.json()["secret"]
    assert secret.startswith("whsec_")
    listed = await api.get("/api/webhooks")
    assert [one["id"] for one in listed.json()["webhooks"]] == [name]
    assert secret not in listed.text, "shown once"
    assert secret not in (await api.get(f"/api/webhooks/{name}")).text
    removed = await api.delete(f"/api/webhooks/{name}")
    assert removed.status_code == 204
    assert operations.webhooks.all() == []
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/test")):
        response = await api.request(method, f"/api/webhooks/{name}{path}")
        assert response.status_code == 404


@pytest.mark.parametrize(
    ("asked", "key"),
    [
        ({"url": "http://93.184.216.34/"}, "url"),
        ({"url": "https://169.254.169.254/latest/meta-data"}, "url"),
        ({"url": "https://[fe80::1]/"}, "url"),
        ({"url": "file:///etc/passwd"}, "url"),
        ({"url": "https://x.example/", "kinds": []}, "kinds"),
        ({"url": "https://x.example/", "kinds": ["webhook.test"]}, "kinds[0]"),
        ({"url": "https://x.example/", "secret": "mine"}, "secret"),
    ],
)
async def test_a_webhook_that_may_not_be(
    api: httpx.AsyncClient, operations: Operations, asked: dict[str, Any], key: str
) -> None:
    response = await api.post("/api/webhooks", json=asked)
    assert response.status_code == 422, response.text
    assert response.json()["key"] == key
    assert operations.webhooks.all() == []


@pytest.mark.parametrize("role", [Role.READ, Role.HELPDESK])
async def test_webhooks_are_for_administrators(
    office: Office, operations: Operations, role: Role
) -> None:
    _, secret = Tokens(office.store.database).create("desk", role, office.clock.wall_ms())
    async with asking_beside(office, operations, secret) as api:
        assert (await api.get("/api/webhooks")).status_code == 403
        assert (await api.post("/api/webhooks", json=HOOK)).status_code == 403
        assert (await api.get(STUCK)).status_code == 200
    assert operations.webhooks.all() == []


async def test_a_collector_that_does_nothing_beside_says_so(office: Office) -> None:
    async with asking_beside(office, None) as api:
        told = await ask(api, STUCK, 503)
    assert "does nothing beside" in told["detail"]


async def test_prometheus_hears_of_it(
    office: Office, operations: Operations, api: httpx.AsyncClient
) -> None:
    teach(office, [10.0] * OBSERVATIONS_MIN)
    begun(office)
    later(office, 20)
    await api.post("/api/webhooks", json=HOOK)
    operations.watch.look()
    later(office, 1)
    lines = set((await api.get("/metrics")).text.splitlines())
    assert {
        "esp_collector_open_attempts 1.0",
        "esp_collector_stuck_items 1.0",
        "esp_collector_webhook_queue 1.0",
        "esp_collector_webhook_queue_age_seconds 60.0",
        'esp_collector_webhook_tries_total{outcome="failed"} 0.0',
        "esp_collector_live_readers 0.0",
    } <= lines


async def test_what_retention_let_go(
    office: Office, operations: Operations, api: httpx.AsyncClient
) -> None:
    device = Reporter()
    office.take_in([device.begin(), device.end()])
    later(office, 60 * 24 * 60)
    operations.retention.run(31, office.clock.now_ms())
    (run,) = (await ask(api, "/api/retention"))["runs"]
    assert (run["attempts"], run["reports"]) == (1, 2)


# Server-sent events over a real answer


class Answer:
    """One GET of the application, read as it comes."""

    def __init__(self, app: Any, query: str, headers: dict[str, str]) -> None:
        self._received: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._gone = asyncio.Event()
        told = [(b"authorization", f"Bearer {TOKEN}".encode())]
        told += [(k.encode(), v.encode()) for k, v in headers.items()]
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET",
            "path": "/api/events", "raw_path": b"/api/events", "query_string": query.encode(),
            "root_path": "", "scheme": "http", "headers": told, "client": ("127.0.0.1", 1),
            "server": ("collector", 80),
        }  # fmt: skip
        self._task = asyncio.create_task(app(scope, self._receive, self._received.put))
        self._text = ""

    async def _receive(self) -> dict[str, Any]:
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def start(self) -> dict[str, str]:
        async with asyncio.timeout(10):
            told = await self._received.get()
        assert told["status"] == 200
        return {k.decode(): v.decode() for k, v in told["headers"]}

    async def block(self) -> dict[str, str]:
        """The next block of lines, by their names."""
        async with asyncio.timeout(10):
            while "\n\n" not in self._text:
                self._text += (await self._received.get())["body"].decode()
        block, _, self._text = self._text.partition("\n\n")
        return {
            line.partition(":")[0]: line.partition(":")[2].strip() for line in block.split("\n")
        }

    async def leave(self) -> None:
        self._gone.set()
        async with asyncio.timeout(10):
            await self._task


@contextmanager
def feeding(operations: Operations, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("collector.live_updates.POLL_S", 0.005)
    task = asyncio.get_running_loop().create_task(operations.feed.run())
    try:
        yield
    finally:
        task.cancel()


async def test_events_come_as_they_are_stored_and_are_resumed_by_their_id(
    office: Office, operations: Operations, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app(services(office))
    app.state.operations = operations
    device = Reporter()
    office.take_in([device.begin()])
    with feeding(operations, monkeypatch):
        answer = Answer(app, "", {})
        headers = await answer.start()
        assert headers["content-type"].startswith("text/event-stream")
        assert headers["cache-control"] == "no-store"
        assert (await answer.block())["retry"] == "1000"
        office.take_in([device.move(40)])
        event = await answer.block()
        assert (event["event"], event["id"]) == ("phase_changed", "2")
        told = json.loads(event["data"])
        assert (told["device"], told["percent"], told["order"]) == ("DESKTOP-NEW001", 40, 2)
        await answer.leave()
        assert operations.feed.readers == 0, "whoever leaves leaves nothing behind"

        office.take_in([device.end()])
        again = Answer(app, "kind=attempt_ended", {"last-event-id": event["id"]})
        await again.start()
        await again.block()
        assert (await again.block())["event"] == "attempt_ended"
        await again.leave()


@pytest.mark.parametrize("query", ["after=-1", "device=%0a", "kind=A", "after=x"])
async def test_events_that_nobody_can_ask_for(api: httpx.AsyncClient, query: str) -> None:
    assert (await api.get(f"/api/events?{query}")).status_code == 422
