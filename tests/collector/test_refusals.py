"""A device that refused a message tells the collector, and the collector tells whoever has to act on it."""

from __future__ import annotations

from itertools import product

import pytest
import structlog

from agent.wire.events import MessageRefused
from agent.wire.topics import partition_of
from agent.wire.vocabulary import MessageKind, RefusalReason
from collector.attempts import StoredReport
from collector.board.device_rows import _about
from collector.pages.history import report_line
from collector.refusals import meaning
from collector.store.following import Following
from collector.subscriber.inbound import Taken
from collector.webhooks.news import REPORT_KINDS, Kind, news_of
from tests.collector.fleet import Office, Reporter, delivered

FORGED = MessageRefused(message=MessageKind.COMMAND, reason=RefusalReason.SIGNATURE)


@pytest.mark.parametrize(
    ("message", "reason"), product(MessageKind, RefusalReason), ids=lambda word: word.value
)
def test_every_refusal_says_what_happened_and_what_to_do(
    message: MessageKind, reason: RefusalReason
) -> None:
    said = meaning(MessageRefused(message=message, reason=reason))
    assert said.startswith(("A command for this", f"An {message.label} for this"))
    assert "The device did nothing of it." in said
    assert "run `esp-broker check`" in said
    others = [meaning(MessageRefused(message=message, reason=r)) for r in RefusalReason]
    assert others.count(said) == 1


def test_what_need_not_be_an_attack_names_the_other_cause_first() -> None:
    keys = meaning(MessageRefused(message=MessageKind.COMMAND, reason=RefusalReason.UNKNOWN_KEY))
    assert keys.index("esp-broker device NAME --trust") < keys.index("somebody else")
    newer = meaning(MessageRefused(message=MessageKind.ACK, reason=RefusalReason.UNREADABLE))
    assert newer.index("update the agent") < newer.index("somebody else")


def test_it_is_counted_and_logged_as_it_is_stored(office: Office) -> None:
    device = Reporter()
    term = office.terms[partition_of(device.device)]
    batch = [
        Taken(partition_of(device.device), term, delivered(event))
        for event in (device.begin(), device.event(FORGED), device.move(10))
    ]
    with structlog.testing.capture_logs() as told:
        assert office.inbound.take([*batch, batch[1]], office.terms).stored
    counted = b'esp_collector_refused_by_devices_total{message="command",reason="%s"} %d.0'
    assert counted % (b"signature", 1) in office.metrics.text(), "one that comes twice counts once"
    assert counted % (b"replayed", 0) in office.metrics.text()
    (line,) = [one for one in told if one["event"] == "a device refused a message"]
    assert (line["device"], line["problem"]) == (device.device, meaning(FORGED))


def test_the_history_says_what_it_means(office: Office) -> None:
    device = Reporter()
    stored = [
        StoredReport(n, device.device, device.stream, 0, event.report)
        for n, event in enumerate((device.begin(), device.event(FORGED)), 1)
    ]
    began, refused = (report_line(one.order, one) for one in stored)
    assert (began.meaning, refused.meaning) == (None, meaning(FORGED))
    assert refused.body == {"message": "command", "reason": "signature"}
    assert _about(refused) == meaning(FORGED)


def test_webhooks_are_told(office: Office) -> None:
    device = Reporter()
    office.take_in([device.begin(), device.event(FORGED)])
    following = Following(office.store.database)
    followed = following.after(0, following.newest(), limit=10, kinds=REPORT_KINDS)
    ((kind, _, told),) = [news for one in followed[1:] for news in news_of(one)]
    assert kind is Kind.SUSPICIOUS
    assert (told["device"], told["message"], told["reason"]) == (
        device.device,
        "command",
        "signature",
    )
    assert told["meaning"] == meaning(FORGED)
