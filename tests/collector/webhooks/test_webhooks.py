"""Webhooks: what is told, in order, once it is stored, until it is taken or given up."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pytest

from agent.wire.vocabulary import EndState
from collector.metrics import Metrics
from collector.operations import Operations
from collector.store.following import Followed
from collector.stuck.limit import OBSERVATIONS_MIN
from collector.webhooks.delivery import BUSY_MS, Delivery, signature
from collector.webhooks.news import Kind
from collector.webhooks.queue import BACKOFF_MAX_MS, GIVE_UP_MS, backoff_ms
from collector.webhooks.target import Target, TargetRefused, target_of
from collector.webhooks.webhooks import TooManyWebhooks, Webhook, Webhooks, WebhookUnknown
from tests.collector.fleet import Office, Reporter, failure
from tests.collector.stuck.items import begun, later, teach

URL = "https://help.example.com/esp"
EVERYTHING = tuple(Kind)


@dataclass
class Receiver:
    """Takes messages, or refuses them."""

    statuses: list[int] = field(default_factory=list)
    """What it answers, the last one for good; 204 without any."""
    got: list[tuple[Target, dict[str, str], dict[str, Any]]] = field(default_factory=list)

    async def post(self, target: Target, headers: Mapping[str, str], body: bytes) -> int:
        self.got.append((target, dict(headers), json.loads(body)))
        if not self.statuses:
            return 204
        return self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]

    @property
    def kinds(self) -> list[str]:
        return [body["type"] for _, _, body in self.got]

    @property
    def devices(self) -> list[str]:
        return [body["data"]["device"] for _, _, body in self.got]


async def public(_host: str, _port: int) -> list[str]:
    return ["93.184.216.34"]


@pytest.fixture
def receiver() -> Receiver:
    return Receiver()


@pytest.fixture
def hooks(office: Office) -> Webhooks:
    return Webhooks(office.store.database)


@pytest.fixture
def delivery(office: Office, hooks: Webhooks, receiver: Receiver) -> Delivery:
    return delivering(office, hooks, receiver)


def delivering(office: Office, hooks: Webhooks, receiver: Receiver) -> Delivery:
    return Delivery(
        hooks, office.clock, office.metrics, post=receiver.post, resolve=public, chance=lambda: 0.0
    )


def added(hooks: Webhooks, office: Office, *kinds: Kind) -> Webhook:
    return hooks.add(URL, kinds or EVERYTHING, allow_private=False, wall_ms=office.clock.wall_ms())


async def turn(office: Office, hooks: Webhooks, delivery: Delivery) -> None:
    hooks.follow(office.clock.wall_ms())
    await delivery.turn()


# What is told


async def test_an_enrollment_from_beginning_to_end(
    office: Office, hooks: Webhooks, delivery: Delivery, receiver: Receiver
) -> None:
    added(hooks, office)
    device = Reporter()
    office.take_in([device.begin(), device.move(10), device.stop(failure()), device.move(50)])
    office.take_in([device.end(EndState.SUCCEEDED_ON_RETRY)])
    await turn(office, hooks, delivery)
    assert receiver.kinds == [Kind.STARTED, Kind.FAILED, Kind.FINISHED]
    started, failed, finished = (body["data"] for _, _, body in receiver.got)
    assert started["device"] == "DESKTOP-NEW001"
    assert started["enrollment_type"] == "windows_autopilot"
    assert failed["failure"]["code"] == "0x80070643"
    assert failed["end_state"] is None, "it waits on its error screen"
    assert finished["end_state"] == "succeeded_on_retry"
    assert started["order"] < failed["order"] < finished["order"]
    assert {one["attempt"] for one in (started, failed, finished)} == {device.attempt}


async def test_an_end_that_is_a_failure_is_told_as_both(
    office: Office, hooks: Webhooks, delivery: Delivery, receiver: Receiver
) -> None:
    added(hooks, office, Kind.FAILED, Kind.FINISHED)
    device = Reporter()
    office.take_in([device.begin(), device.end(EndState.TIMED_OUT)])
    await turn(office, hooks, delivery)
    assert receiver.kinds == [Kind.FAILED, Kind.FINISHED]


async def test_only_what_was_asked_for_and_only_what_is_new(
    office: Office, hooks: Webhooks, delivery: Delivery, receiver: Receiver
) -> None:
    device = Reporter()
    office.take_in([device.begin(), device.end()])
    added(hooks, office, Kind.FINISHED)
    other = Reporter(device="B", stream="b")
    office.take_in([other.begin(), other.end()])
    await turn(office, hooks, delivery)
    assert list(zip(receiver.kinds, receiver.devices, strict=True)) == [(Kind.FINISHED, "B")]


async def test_a_stuck_item_is_told_with_its_limit(office: Office, receiver: Receiver) -> None:
    operations = Operations(office.store.database, office.clock, Metrics())
    added(operations.webhooks, office, Kind.STUCK)
    teach(office, [10.0] * OBSERVATIONS_MIN)
    begun(office)
    later(office, 20)
    assert len(operations.watch.look()) == 1
    assert operations.watch.look() == []
    await delivering(office, operations.webhooks, receiver).turn()
    ((_, _, body),) = receiver.got
    assert body["type"] == "enrollment.stuck"
    told = body["data"]
    assert (told["item"], told["running_ms"], told["limit_ms"]) == ("m365", 1_200_000, 600_000)


# How it is signed


async def test_the_signature_is_that_of_standard_webhooks(
    office: Office, hooks: Webhooks, delivery: Delivery, receiver: Receiver
) -> None:
    hook = added(hooks, office)
    office.take_in([Reporter().begin()])
    await turn(office, hooks, delivery)
    ((target, headers, body),) = receiver.got
    assert headers["webhook-id"].startswith("msg_")
    assert "." not in headers["webhook-id"]
    assert headers["webhook-timestamp"] == str(office.clock.wall_ms() // 1000)
    content = json.dumps(body, separators=(",", ":"))
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.{content}"
    key = base64.b64decode(hook.secret.removeprefix("whsec_"))
    assert 24 <= len(key) <= 64
    digest = hmac.new(key, signed.encode(), hashlib.sha256).digest()
    assert headers["webhook-signature"] == "v1," + base64.b64encode(digest).decode()
    assert set(body) == {"type", "timestamp", "data"}
    assert (target.address, target.host) == ("93.184.216.34", "help.example.com")


def test_the_signature_of_a_known_message() -> None:
    """Computed with `openssl dgst -sha256 -mac HMAC`."""
    secret = "whsec_" + base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()
    told = signature(secret, "msg_1", 1_674_087_231, b'{"a":1}')
    assert told == "v1,c9lhjcxcymv8/2VlKN9YRwiXq2vINjMBBrf/LxiKlvQ="


# Again, in order, or given up


async def test_nothing_overtakes_what_was_not_taken(
    office: Office, hooks: Webhooks, delivery: Delivery, receiver: Receiver
) -> None:
    hook = added(hooks, office, Kind.STARTED)
    office.take_in([Reporter(device=name, stream=name).begin() for name in "ABC"])
    receiver.statuses = [500, 503, 204]
    await turn(office, hooks, delivery)
    assert receiver.devices == ["A"], "the others wait behind it"
    assert hooks.get(hook.id).last_problem == "it answered 500"
    await turn(office, hooks, delivery)
    assert receiver.devices == ["A"], "not before its time"
    later(office, backoff_ms(1, 0) / 60_000)
    await turn(office, hooks, delivery)
    assert receiver.devices == ["A", "A"]
    later(office, backoff_ms(2, 0) / 60_000)
    await turn(office, hooks, delivery)
    assert receiver.devices == ["A", "A", "A", "B", "C"]
    ids = [headers["webhook-id"] for _, headers, _ in receiver.got]
    assert len(set(ids[:3])) == 1, "the same message, however often it is sent"
    times = [int(headers["webhook-timestamp"]) for _, headers, _ in receiver.got]
    assert times[0] < times[1] < times[2], "the time of the try"
    now = hooks.get(hook.id)
    assert (now.delivered, now.failing_since_ms, now.last_problem) == (3, None, None)
    assert hooks.backlog(hook.id).waiting == 0


def test_the_pause_doubles_from_five_seconds_to_an_hour_and_jitter_takes_up_to_a_quarter() -> None:
    assert [backoff_ms(n, 0) for n in (1, 2, 3, 10)] == [5_000, 10_000, 20_000, 2_560_000]
    assert {backoff_ms(n, 0) for n in (11, 100, 10**6)} == {BACKOFF_MAX_MS}
    assert backoff_ms(1, 1) == 3_750


async def test_what_waits_survives_a_restart(
    office: Office, hooks: Webhooks, delivery: Delivery, receiver: Receiver, tmp_path: Path
) -> None:
    added(hooks, office, Kind.STARTED)
    receiver.statuses = [500]
    office.take_in([Reporter(device="A", stream="a").begin()])
    await turn(office, hooks, delivery)
    office.take_in([Reporter(device="B", stream="b").begin()])
    url = office.store.database._engine.url.render_as_string(hide_password=False)
    office.close()
    again = Office.open(tmp_path, office.clock, url=url)
    later(again, 10)
    receiver.statuses = []
    receiver.got.clear()
    afresh = Webhooks(again.store.database)
    await turn(again, afresh, delivering(again, afresh, receiver))
    assert receiver.devices == ["A", "B"]
    again.close()


async def test_after_72_hours_a_message_is_given_up_and_shown(
    office: Office, hooks: Webhooks, delivery: Delivery, receiver: Receiver
) -> None:
    hook = added(hooks, office, Kind.STARTED)
    office.take_in([Reporter(device="A", stream="a").begin()])
    receiver.statuses = [500]
    await turn(office, hooks, delivery)
    later(office, GIVE_UP_MS / 60_000)
    office.take_in([Reporter(device="B", stream="b").begin()])
    await turn(office, hooks, delivery)
    assert receiver.devices == ["A", "A", "B"], "the next one has its turn at once"
    backlog = hooks.backlog(hook.id)
    assert (backlog.waiting, backlog.given_up) == (1, 1)
    lost, waiting = hooks.undelivered(hook.id, limit=10)
    assert json.loads(lost.content)["data"]["device"] == "A"
    assert lost.given_up_ms == office.clock.wall_ms()
    assert lost.problem == "it answered 500"
    assert waiting.given_up_ms is None


async def test_no_more_wait_than_may(
    office: Office,
    hooks: Webhooks,
    delivery: Delivery,
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("collector.webhooks.queue.QUEUE_MAX", 3)
    hook = added(hooks, office, Kind.STARTED)
    office.take_in([Reporter(device=f"D{n}", stream=f"s{n}").begin() for n in range(5)])
    hooks.follow(office.clock.wall_ms())
    backlog = hooks.backlog(hook.id)
    assert (backlog.waiting, backlog.given_up) == (3, 2)
    await delivery.turn()
    assert receiver.devices == ["D2", "D3", "D4"], "the oldest were given up"


async def test_two_collectors_on_one_store_queue_and_deliver_once(
    office: Office, hooks: Webhooks, receiver: Receiver
) -> None:
    added(hooks, office, Kind.STARTED)
    office.take_in([Reporter().begin()])
    other = Webhooks(office.store.database)
    assert hooks.follow(office.clock.wall_ms()) == 1
    assert other.follow(office.clock.wall_ms()) == 0
    (name,) = hooks.due(office.clock.wall_ms())
    assert hooks.claim(name, office.clock.wall_ms(), BUSY_MS)
    assert not other.claim(name, office.clock.wall_ms(), BUSY_MS)
    assert other.due(office.clock.wall_ms()) == []
    later(office, BUSY_MS / 60_000)
    assert other.due(office.clock.wall_ms()) == [name], "the first one died with it in hand"
    assert other.claim(name, office.clock.wall_ms(), BUSY_MS)


def test_two_that_read_the_same_reports_queue_them_once(
    office: Office, hooks: Webhooks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one moves on between the look at the reports and the writing."""
    hook = added(hooks, office, Kind.STARTED)
    office.take_in([Reporter().begin()])
    other = Webhooks(office.store.database)
    read = hooks._following.after

    def overtaken(*given: Any, **named: Any) -> list[Followed]:
        page = read(*given, **named)
        assert other.follow(office.clock.wall_ms()) == 1
        return page

    monkeypatch.setattr(hooks._following, "after", overtaken)
    assert hooks.follow(office.clock.wall_ms()) == 0
    assert hooks.backlog(hook.id).waiting == 1


def test_what_another_one_has_just_tried_is_not_due(office: Office, hooks: Webhooks) -> None:
    hook = added(hooks, office, Kind.STARTED)
    office.take_in([Reporter().begin()])
    hooks.follow(office.clock.wall_ms())
    message = hooks.next_due(hook.id, office.clock.wall_ms())
    assert message is not None
    hooks.failed(message, "it answered 500", office.clock.wall_ms(), 0.0)
    assert hooks.next_due(hook.id, office.clock.wall_ms()) is None


async def test_a_receiver_that_fails_keeps_no_other_waiting(
    office: Office, hooks: Webhooks, receiver: Receiver
) -> None:
    bad = hooks.add("https://bad.example.com/", (Kind.STARTED,), allow_private=False, wall_ms=0)
    good = added(hooks, office, Kind.STARTED)

    async def post(target: Target, headers: Mapping[str, str], body: bytes) -> int:
        if target.host == "bad.example.com":
            raise httpx.ConnectError("nobody listens")
        return await receiver.post(target, headers, body)

    delivery = Delivery(
        hooks, office.clock, office.metrics, post=post, resolve=public, chance=lambda: 0.0
    )
    office.take_in([Reporter().begin()])
    await turn(office, hooks, delivery)
    assert len(receiver.got) == 1
    assert hooks.get(good.id).delivered == 1
    assert hooks.get(bad.id).last_problem == "nobody listens"


async def test_a_webhook_that_is_removed_takes_its_queue_with_it(
    office: Office, hooks: Webhooks, delivery: Delivery, receiver: Receiver
) -> None:
    hook = added(hooks, office, Kind.STARTED)
    office.take_in([Reporter().begin()])
    hooks.follow(office.clock.wall_ms())
    hooks.remove(hook.id)
    await delivery.turn()
    assert receiver.got == []
    assert hooks.backlog(hook.id).waiting == 0
    with pytest.raises(WebhookUnknown, match="webhook list"):
        hooks.get(hook.id)


def test_there_is_an_end_to_webhooks(
    office: Office, hooks: Webhooks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("collector.webhooks.webhooks.WEBHOOKS_MAX", 2)
    added(hooks, office)
    added(hooks, office)
    with pytest.raises(TooManyWebhooks, match="remove one"):
        added(hooks, office)


# Where it may go


@pytest.mark.parametrize(
    ("url", "address", "says"),
    [
        ("http://example.com/", "93.184.216.34", "use https"),
        ("https://example.com/", "169.254.169.254", "metadata"),
        ("https://example.com/", "169.254.0.7", "link-local"),
        ("https://example.com/", "fe80::1", "link-local"),
        ("https://example.com/", "::ffff:169.254.169.254", "metadata"),
        ("https://example.com/", "fd00:ec2::254", "metadata"),
        ("https://example.com/", "0.0.0.0", "nobody"),  # noqa: S104
        ("https://example.com/", "224.0.0.1", "nobody"),
        ("http://example.com/", "10.0.0.7", "use https"),
        ("ftp://example.com/", "93.184.216.34", "https URL"),
        ("https:///path", "93.184.216.34", "https URL"),
        ("https://user:secret@example.com/", "93.184.216.34", "leave user name"),
        ("https://example.com:99999/", "93.184.216.34", "no URL"),
        ("https://exam ple.com/", "93.184.216.34", "without spaces"),
        ("https://example.com/\r\nX: y", "93.184.216.34", "without spaces"),
    ],
)
async def test_what_a_webhook_may_not_ask(url: str, address: str, says: str) -> None:
    async def resolve(_host: str, _port: int) -> list[str]:
        return [address]

    with pytest.raises(TargetRefused, match=says):
        await target_of(url, allow_private=False, resolve=resolve)


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("https://example.com/", "93.184.216.34"),
        ("https://help.corp/", "10.0.0.7"),
        ("http://127.0.0.1:9/", "127.0.0.1"),
        ("http://localhost:9/", "::1"),
    ],
)
async def test_what_a_webhook_may_ask(url: str, address: str) -> None:
    async def resolve(_host: str, _port: int) -> list[str]:
        return [address]

    assert (await target_of(url, allow_private=False, resolve=resolve)).address == address


async def test_one_bad_address_of_a_name_is_enough_to_refuse_it() -> None:
    async def resolve(_host: str, _port: int) -> list[str]:
        return ["93.184.216.34", "169.254.169.254"]

    with pytest.raises(TargetRefused, match="metadata"):
        await target_of("https://example.com/", allow_private=False, resolve=resolve)
    allowed = await target_of("https://example.com/", allow_private=True, resolve=resolve)
    assert allowed.address == "93.184.216.34"


async def test_the_address_that_was_judged_is_the_one_that_is_asked(
    office: Office, hooks: Webhooks, receiver: Receiver
) -> None:
    """A name that answers with another address at the second look gains nothing: there is no second look."""
    looks: list[str] = []

    async def rebinding(host: str, _port: int) -> list[str]:
        looks.append(host)
        return ["93.184.216.34"] if len(looks) == 1 else ["169.254.169.254"]

    added(hooks, office, Kind.STARTED)
    delivery = Delivery(hooks, office.clock, office.metrics, post=receiver.post, resolve=rebinding)
    office.take_in([Reporter().begin()])
    await turn(office, hooks, delivery)
    ((target, _, _),) = receiver.got
    assert target.url == "https://93.184.216.34:443/esp"
    assert target.host_header == "help.example.com"
    assert len(looks) == 1


# Over a real socket


@dataclass
class Shop:
    """A receiver on this machine."""

    server: ThreadingHTTPServer
    asked: list[tuple[str, dict[str, str], bytes]]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"


@pytest.fixture
def shop() -> Iterator[Shop]:
    asked: list[tuple[str, dict[str, str], bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            asked.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
            self.send_response(302 if self.path == "/moved" else 200)
            if self.path == "/moved":
                self.send_header("Location", "/taken")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield Shop(server, asked)
    server.shutdown()
    thread.join()
    server.server_close()


async def test_a_test_message_arrives(office: Office, hooks: Webhooks, shop: Shop) -> None:
    hook = hooks.add(f"{shop.url}/taken", EVERYTHING, allow_private=False, wall_ms=0)
    tried = await Delivery(hooks, office.clock, office.metrics).test(hook)
    assert (tried.delivered, tried.status, tried.problem) == (True, 200, None)
    ((path, headers, body),) = shop.asked
    assert path == "/taken"
    assert headers["host"] == shop.url.removeprefix("http://")
    assert json.loads(body)["type"] == "webhook.test"
    at_s = int(headers["webhook-timestamp"])
    told = signature(hook.secret, headers["webhook-id"], at_s, body)
    assert headers["webhook-signature"] == told


async def test_a_redirect_is_not_followed(office: Office, hooks: Webhooks, shop: Shop) -> None:
    hook = hooks.add(f"{shop.url}/moved", EVERYTHING, allow_private=False, wall_ms=0)
    tried = await Delivery(hooks, office.clock, office.metrics).test(hook)
    assert not tried.delivered
    assert tried.problem == "it answered 302, a redirect, and none is followed; give the final URL"
    assert [path for path, _, _ in shop.asked] == ["/moved"]


async def test_a_receiver_that_is_gone(office: Office, hooks: Webhooks, shop: Shop) -> None:
    hook = hooks.add("http://127.0.0.1:1/", EVERYTHING, allow_private=False, wall_ms=0)
    tried = await Delivery(hooks, office.clock, office.metrics).test(hook)
    assert not tried.delivered
    assert tried.status is None
    assert tried.problem
