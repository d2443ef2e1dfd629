from __future__ import annotations

import random
import tomllib
from collections import Counter
from typing import Any

import pytest

from agent.wire.vocabulary import EnrollmentType, Variant
from simulator.fit.findings import Finding
from simulator.fit.history import History, Make, ScreenRecord
from simulator.fit.makes import kin_of
from simulator.fit.people import people_findings
from simulator.scenario import Scenario
from simulator.scenario_file import read_scenario
from simulator.starter.text import STARTER

IPHONE = Make(EnrollmentType.IOS, Variant.STANDARD, "iPhone 15")


def scenario(*changes: tuple[str, str]) -> Scenario:
    text = STARTER.read_text(encoding="utf-8")
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return read_scenario(tomllib.loads(text), "starter.toml")


def fitted(given: Scenario, **screens: ScreenRecord) -> tuple[dict[str, Finding], list[str]]:
    """Findings by label, and notes."""
    history = History()
    history.devices[IPHONE] = 1
    for name, record in screens.items():
        history.screens[IPHONE, name] = record
    found: dict[str, Any] = {}
    notes = []
    for each in people_findings(given, history, kin_of(given, history.devices)):
        if isinstance(each, str):
            notes.append(each)
        else:
            found[each.label] = each
    return found, notes


def answers(median_s: float, more_s: float = 0.0, count: int = 400) -> list[float]:
    chance = random.Random(7)
    return [median_s * 1.5 ** chance.gauss(0, 1) + more_s for _ in range(count)]


def test_reading_is_taken_off_where_the_scenario_says_how_fast_they_read() -> None:
    reading_s = 60 * 0.3
    record = ScreenRecord(answered_s=answers(10, reading_s))
    words = (
        "[persons.office.screens.sign_in]",
        "[persons.office.screens.whats_next]\nwords = 60\n[persons.office.screens.sign_in]",
    )
    reading = scenario(("[persons.office]\n", "[persons.office]\nwords_per_minute = 200\n"), words)
    found, _ = fitted(reading, whats_next=record)
    assert found["persons office answer"].value["median_s"] == pytest.approx(10, rel=0.05)
    found, _ = fitted(scenario(), whats_next=record)
    assert found["persons office answer"].value["median_s"] > 25


def test_a_screen_with_a_value_of_its_own_is_fitted_there_and_the_others_together() -> None:
    given = scenario()
    found, _ = fitted(
        given,
        sign_in=ScreenRecord(answered_s=answers(80)),
        whats_next=ScreenRecord(answered_s=answers(12)),
        set_up_access=ScreenRecord(answered_s=answers(12)),
    )
    own = found["persons office screens sign_in answer"]
    assert own.path == ("persons", "office", "screens", "sign_in", "answer")
    assert own.value["median_s"] == pytest.approx(80, rel=0.05)
    assert found["persons office answer"].count == 800
    assert found["persons office answer"].value["median_s"] == pytest.approx(12, rel=0.05)


def test_halts_are_shares_of_those_who_answered_where_they_could_have() -> None:
    """Postponing is offered on the first screen and not on the second, closing on both."""
    given = scenario(("[persons.office]\n", "[persons.office]\nhalt = { postpone = 0.5 }\n"))
    found, _ = fitted(
        given,
        set_up_access=ScreenRecord(
            answered_s=answers(9, count=100), actions=Counter({"Continue": 80, "Postpone": 20})
        ),
        whats_next=ScreenRecord(
            answered_s=answers(9, count=100), actions=Counter({"Continue": 90, "Closed": 10})
        ),
    )
    assert found["persons office halt postpone"].value == 0.2
    assert found["persons office halt postpone"].count == 100
    assert found["persons office halt close"].value == 0.05


def test_where_reports_can_not_tell_archetypes_apart_that_is_said() -> None:
    given = scenario(
        (
            '[[population]]\ntype = "ios"',
            (
                '[[population]]\ntype = "ios"\nweight = 5\ndevice = "Other-{n}"\nmodel = "iPhone 15"\nperson = "shop"\n'
                'os = [{ name = "iOS 18", version = "18.3" }]\n[[population]]\ntype = "ios"'
            ),
        ),
        ("[persons.office]\n", "[persons.shop]\n[persons.office]\n"),
    )
    found, notes = fitted(given, whats_next=ScreenRecord(answered_s=answers(9)))
    assert found == {}
    assert notes[0].startswith(
        "people of iOS/iPadOS (standard): the scenario has several archetypes"
    )
