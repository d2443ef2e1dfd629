"""What a check sees of brokers that break their promises in a way of their own."""

from __future__ import annotations

import pytest

from broker_config import check
from broker_config.check import DOORS, NEEDS_DIRECTORY, NO_TLS, RULES, Rule, Verdict
from broker_config.personas import Address, Cast, Persona, cast_of
from tests.broker_config.brokers import StartBroker


def rule(name: str) -> Rule:
    return next(one for one in RULES if one.name == name)


async def test_what_an_open_broker_of_another_make_does_is_seen(
    start_broker: StartBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The embedded one lets two clients have one id and sends what is for both to the later one; each topic is named once."""
    broker = start_broker("--embedded", "--port", "0")
    with cast_of(f"mqtt://127.0.0.1:{broker.port}", None, [], None, "acme") as cast:
        heard = await rule("read-other").trial(cast)
        # What never comes is not waited for; were it to come, this would fail all the more.
        monkeypatch.setattr(check, "ANSWER_S", 0.2)
        taken = await rule("take-over").trial(cast)
    assert taken == "the other device no longer gets what is sent to it"
    assert heard is not None
    named, _, more = heard.removeprefix("it heard ").partition(" and ")
    assert len(set(named.split(", "))) == check.TOPICS_NAMED
    assert more == "3 more", "six channels of one device"


async def test_what_can_not_be_tried_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Certificates are for an address with TLS; there only --dir can make the wrong ones."""
    monkeypatch.setattr(check, "RULES", ())
    for is_tls, why in ((False, NO_TLS), (True, NEEDS_DIRECTORY)):
        somebody = Persona("esp-check", Address("127.0.0.1", 1, is_tls=is_tls))
        cast = Cast("acme", somebody, somebody, somebody, strangers={})
        found = await check.check(cast, lambda _: None)
        doors = found[: len(DOORS)]
        assert {(one.verdict, one.seen) for one in doors} == {(Verdict.NOT_CHECKED, why)}
        assert [(one.rule, one.remedy) for one in found[len(DOORS) :]] == (
            [] if is_tls else [("encrypted", "listen with TLS only")]
        )
