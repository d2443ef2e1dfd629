"""Figures follow from what was counted, by the definitions."""

from __future__ import annotations

from collections import Counter

import pytest

from agent.wire.vocabulary import EndState, EnrollmentType, FailureKind, Phase, Variant
from simulator.gate_wait import RESTART
from simulator.scenario_file import SHIPPED, load_scenario
from simulator.tally import Tally, TypeTally
from simulator.whatif.figures import (
    HISTOGRAM_BARS_MAX,
    Label,
    critical_path,
    distribution,
    figures_of,
    histogram,
    labels_of,
    percentile,
    type_figures,
)

IOS, MAC = EnrollmentType.IOS, EnrollmentType.MACOS_ADE
LABELS = {
    "vpn": Label("VPN Client", "app"),
    "mail": Label("Mail", "app"),
    RESTART: Label("Restarts", "wait"),
}


def tally_of(opened: dict[EnrollmentType, int]) -> Tally:
    tally = Tally()
    for kind, count in opened.items():
        tally.of_variant(kind, Variant.STANDARD).opened = count
    return tally


def test_a_percentile_is_the_upper_edge_of_its_bin() -> None:
    """A bin is a tenth of a minute."""
    times = Counter({0: 50, 9: 40, 99: 10})
    assert [percentile(times, p) for p in (50, 51, 90, 91, 99)] == [0.1, 1.0, 1.0, 10.0, 10.0]
    assert percentile(Counter(), 50) is None


def test_a_mean_is_exact() -> None:
    assert distribution(Counter({3: 2}), 2 * 20_000 + 3_000)["mean"] == round(
        43_000 / 2 / 60_000, 3
    )
    assert distribution(Counter(), 0)["mean"] is None


def test_a_histogram_has_every_time_once() -> None:
    times = Counter(dict.fromkeys(range(1000), 10)) + Counter({50_000: 3})
    shape = histogram(times)
    assert len(shape["counts"]) <= HISTOGRAM_BARS_MAX
    assert sum(shape["counts"]) + shape["longer"] == times.total()
    assert shape["counts"][0] == 10 * round(shape["bar_minutes"] * 10)
    assert shape["longer"] >= 3


def test_short_times_have_narrow_bars() -> None:
    assert histogram(Counter(dict.fromkeys(range(30), 1)))["bar_minutes"] == 0.1
    assert histogram(Counter())["counts"] == []


def test_the_rate_has_an_interval_around_it() -> None:
    part = TypeTally()
    for _ in range(9):
        part.ended(EndState.SUCCEEDED, 60_000, None)
    part.ended(EndState.TIMED_OUT, 60_000, FailureKind.SETUP_TIMED_OUT)
    figures = type_figures(part)
    low, high = figures["success_rate_interval"]
    assert low < figures["success_rate"] == 0.9 < high
    assert figures["minutes_interval"] == [1.0, 1.0]
    assert figures["reasons"] == {"Setup timed out": 1}
    assert type_figures(TypeTally())["success_rate_interval"] is None


def test_reasons_have_the_pages_words_the_most_frequent_first() -> None:
    part = TypeTally()
    for kind, count in (
        (FailureKind.NETWORK_TIMEOUT, 3),
        (FailureKind.DEVICE_LIMIT_EXCEEDED, 12),
        (FailureKind.USER_CANCELLED, 5),
        (FailureKind.OS_NOT_SUPPORTED, 8),
    ):
        for _ in range(count):
            part.ended(EndState.FAILED, 0, kind)
    assert list(type_figures(part)["reasons"].items()) == [
        ("Device limit exceeded", 12),
        ("OS version not supported", 8),
        ("User cancelled", 5),
        ("Network timeout", 3),
    ]


def test_what_the_gate_waited_for_is_a_mean_over_devices_that_opened_it() -> None:
    tally = tally_of({IOS: 10, MAC: 30})
    tally.items.on_path.update({(IOS, "vpn"): 5, (MAC, "vpn"): 15, (MAC, "mail"): 30})
    tally.items.last.update({(IOS, "vpn"): 4})
    tally.items.path_ms.update({(IOS, "vpn"): 600_000, (MAC, "mail"): 9_000_000})
    tally.items.alone_ms.update({(IOS, "vpn"): 300_000, (MAC, "mail"): 60_000})
    whole = critical_path(tally, LABELS)
    assert [entry["name"] for entry in whole] == ["VPN Client", "Mail"]
    assert whole[0] == {
        "item": "vpn",
        "name": "VPN Client",
        "kind": "app",
        "devices": 20,
        "share": 0.5,
        "last": 4,
        "minutes_on_path": 0.25,
        "minutes_lost": 0.125,
    }
    (ios,) = critical_path(tally, LABELS, IOS)
    assert (ios["devices"], ios["share"]) == (5, 0.5)
    assert (ios["minutes_on_path"], ios["minutes_lost"]) == (1.0, 0.5)
    assert critical_path(tally_of({}), LABELS) == []


def test_causes_are_ranked_by_what_they_ended() -> None:
    tally = tally_of({IOS: 1})
    kind = FailureKind.NOT_DETECTED
    tally.items.failed_tries.update({("vpn", kind, "0x1"): 9, ("mail", kind, "0x1"): 1})
    tally.items.given_up.update({("vpn", kind, "0x1"): 3})
    tally.items.ended_by.update({("mail", kind, "0x1"): 1})
    causes = figures_of(tally, LABELS)["failures"]
    assert [(c["name"], c["failed_tries"], c["given_up"], c["attempts_ended"]) for c in causes] == [
        ("Mail", 1, 0, 1),
        ("VPN Client", 9, 3, 0),
    ]
    assert causes[0]["reason"] == "Not detected after installing"


def test_a_timeout_names_what_was_open_in_its_own_phase() -> None:
    tally = tally_of({IOS: 1})
    tally.items.timeouts.update({Phase.DEVICE_SETUP: 2, Phase.ACCOUNT_SETUP: 1})
    tally.items.open_at_timeout.update(
        {
            (Phase.DEVICE_SETUP, "mail"): 1,
            (Phase.DEVICE_SETUP, "vpn"): 2,
            (Phase.ACCOUNT_SETUP, "x"): 1,
        }
    )
    device, account = figures_of(tally, LABELS)["timeouts"]
    assert (device["phase"], device["times"]) == ("device_setup", 2)
    assert [item["name"] for item in device["open"]] == ["VPN Client", "Mail"]
    assert account["open"] == [{"item": "x", "name": "x", "times": 1}]


@pytest.mark.parametrize("name", ["company", "demo", "variants"])
def test_everything_that_a_gate_can_wait_for_has_a_name(name: str) -> None:
    scenario = load_scenario(SHIPPED / f"{name}.toml")
    labels = labels_of(scenario)
    assert labels["sign_in"] == Label("Sign in", "screen")
    assert labels["mdm_enrollment"].kind == "step"
    assert labels[RESTART].kind == "wait"
    for kind, item in scenario.catalogue():
        assert labels[item.id] == Label(item.name, kind.value)
