"""What the gate waited for: followed back without a gap, and true when the thing is taken away."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, partial
from typing import Any

import pytest

from agent.core.effects import Effect
from agent.core.events import Event, StepMoved
from simulator.device import VirtualDevice
from simulator.gate_wait import (
    ASSIGNMENT,
    BETWEEN,
    ERROR_SCREEN,
    OFFER,
    RESTART,
    UNKNOWN,
    GateWait,
)
from simulator.population import fleet
from simulator.rollout import Rollout
from simulator.scenario import Scenario
from simulator.scenario_file import SHIPPED, load_scenario, read_scenario
from simulator.whatif.overrides import overridden

SHIPPED_NAMES = ("company", "variants", "demo")


def wait_of(scenario: Scenario, seed: int = 1) -> GateWait:
    """The first device of a scenario."""
    return waits_of(scenario, seed, 1)[0]


def waits_of(scenario: Scenario, seed: int, devices: int) -> list[GateWait]:
    rollout, found = Rollout(scenario), []
    for simulated in fleet(scenario, seed, devices):
        wait = GateWait()
        VirtualDevice(rollout, simulated).run(partial(_watch, wait))
        found.append(wait)
    return found


def _watch(wait: GateWait, at_ms: int, event: Event, effects: Sequence[Effect]) -> None:
    if not isinstance(event, StepMoved):
        wait.watch(at_ms, event, effects)


@cache
def shipped(name: str) -> tuple[Scenario, list[GateWait]]:
    scenario = load_scenario(SHIPPED / f"{name}.toml")
    return scenario, waits_of(scenario, 7, 120)


def app(name: str, seconds: int, **more: Any) -> dict[str, Any]:
    return {"id": name, "name": name.title(), "time": {"median_s": seconds, "spread": 1}} | more


def scenario_of(*apps: dict[str, Any], kind: str = "windows_manual", **more: Any) -> Scenario:
    """One device whose built-in steps and answers take no time worth speaking of."""
    profile = {
        "id": "esp",
        "name": "ESP",
        "timeout_minutes": 60,
        "error_handling": {"allow_retry": True, "allow_log_collection": True},
        "account_setup": {"block_until_complete": False},
    }
    data = {
        "name": "one",
        "network": {"failure": 0},
        "population": [
            {
                "type": kind,
                "weight": 1,
                "device": "D-{n}",
                "os": [{"name": "System", "version": "15"}],
            }
        ],
        "profiles": [{"priority": 1, "profile": profile}],
        "apps": list(apps),
        "persons": {"typical": {"answer": {"median_s": 1, "spread": 1}, "silent": 0}},
    }
    return read_scenario(data | more, "test")


def apps_on_path(wait: GateWait, *names: str) -> list[str]:
    """These apps in the order in which the gate waited for them."""
    return [key for _, key, _ in reversed(wait.path) if key in names]


# --- the path -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SHIPPED_NAMES)
def test_the_path_leads_back_to_power_on_without_a_gap(name: str) -> None:
    opened = [wait for wait in shipped(name)[1] if wait.opened_ms is not None]
    assert len(opened) > 60
    for wait in opened:
        assert sum(wait.path_ms.values()) == wait.opened_ms
        assert wait.path_ms[UNKNOWN] == 0
        assert wait.path[-1][0] == 0
        times = [at_ms for at_ms, _, _ in wait.path]
        assert times == sorted(times, reverse=True)


@pytest.mark.parametrize("name", SHIPPED_NAMES)
def test_what_was_alone_was_on_the_path(name: str) -> None:
    """Unless a person went on without it."""
    for wait in shipped(name)[1]:
        if wait.opened_ms is not None and OFFER not in wait.path_ms:
            for key, alone_ms in wait.alone_ms.items():
                assert alone_ms <= wait.path_ms[key]


def test_an_app_that_waited_for_another_has_it_on_its_path() -> None:
    """Phones install side by side, so nothing but the dependency holds it."""
    wait = wait_of(
        scenario_of(
            app("runtime", 60), app("vpn", 30, depends_on=["runtime"]), app("quick", 50),
            kind="ios",
        )
    )  # fmt: skip
    assert apps_on_path(wait, "runtime", "vpn", "quick") == ["runtime", "vpn"]
    assert wait.path_ms["runtime"] == pytest.approx(60_000, abs=5_000)
    assert wait.path_ms["vpn"] == pytest.approx(30_000, abs=5_000)


def test_of_two_side_by_side_only_the_longer_is_on_the_path() -> None:
    wait = wait_of(scenario_of(app("long", 100), app("short", 70), kind="ios"))
    assert apps_on_path(wait, "long", "short") == ["long"]
    assert wait.alone_ms["long"] == pytest.approx(30_000, abs=5_000)
    assert "short" not in wait.alone_ms


def test_an_app_that_waited_for_its_turn_has_the_one_before_it_on_its_path() -> None:
    """Windows installs one at a time."""
    wait = wait_of(scenario_of(app("first", 60), app("second", 30)))
    assert apps_on_path(wait, "first", "second") == ["first", "second"]


def test_tries_and_the_pauses_between_them_are_time_of_the_item() -> None:
    fault = {"kind": "download_failed", "chance": 1, "recovery": 1}
    wait = wait_of(scenario_of(app("flaky", 60, faults=[fault])))
    assert apps_on_path(wait, "flaky")
    assert wait.path_ms["flaky"] > 90_000
    assert wait.alone_ms["flaky"] > 90_000


def test_a_try_that_was_due_and_had_to_queue_has_what_it_queued_for_on_its_path() -> None:
    """The pause is over after seconds, and the other one installs for ten minutes."""
    fault = {"kind": "download_failed", "chance": 1, "recovery": 1}
    wait = wait_of(scenario_of(app("flaky", 60, faults=[fault]), app("long", 600)))
    assert apps_on_path(wait, "flaky", "long") == ["flaky", "long", "flaky"]
    assert wait.path_ms["long"] == pytest.approx(600_000, abs=5_000)
    assert wait.path_ms["flaky"] < 130_000


def test_a_restart_is_on_the_path_with_what_asked_for_it() -> None:
    wait = wait_of(scenario_of(app("driver", 60, hard_reboot=1)))
    keys = [key for _, key, _ in reversed(wait.path)]
    asked = keys.index("driver")
    assert keys[asked : asked + 3] == ["driver", RESTART, "driver"]
    assert wait.path_ms[RESTART] > 30_000
    assert wait.alone_ms[RESTART] == wait.path_ms[RESTART]


def test_the_error_screen_is_on_the_path_between_the_failure_and_the_next_try() -> None:
    fault = {"kind": "installer_failed", "chance": 1, "recovery": 1}
    habits = {"answer": {"median_s": 600, "spread": 1}, "collects_logs": 1}
    persons = {
        "typical": {"answer": {"median_s": 1, "spread": 1}, "silent": 0, "error_screen": habits}
    }
    scenario = scenario_of(app("vpn", 60, faults=[fault], tries=1), persons=persons)
    wait = wait_of(scenario)
    keys = [key for _, key, _ in reversed(wait.path)]
    failed = keys.index("vpn")
    assert keys[failed : failed + 3] == ["vpn", ERROR_SCREEN, "vpn"]
    # Logs were asked for in the middle of it, and the screen stayed.
    assert wait.path_ms[ERROR_SCREEN] == pytest.approx(600_000, abs=1_000)


def test_time_between_attempts_counts_from_power_on() -> None:
    person = {
        "answer": {"median_s": 1, "spread": 1},
        "silent": 0,
        "returns": 1,
        "return_after": {"median_s": 3600, "spread": 1},
    }
    halting = person | {"screens": {"set_up_access": {"halt": {"postpone": 0.5}}}}
    scenario = scenario_of(kind="ios", persons={"typical": halting})
    again = next(
        wait for wait in waits_of(scenario, 1, 20) if BETWEEN in wait.path_ms and wait.opened_ms
    )
    assert again.path_ms[BETWEEN] >= 3_600_000
    assert again.path_ms[ASSIGNMENT] >= 2 * 1_500
    assert sum(again.path_ms.values()) == again.opened_ms


def test_a_gate_that_stays_closed_has_no_path() -> None:
    scenario = scenario_of(admission={"minimum_os": {"windows_manual": "99"}})
    wait = wait_of(scenario)
    assert wait.opened_ms is None
    assert wait.path == ()


# --- what taking it away saves ------------------------------------------------------------------


@pytest.mark.parametrize("item", ["vpn-client", "m365-apps", "company-portal"])
def test_without_an_item_the_gate_opens_earlier_by_what_it_cost(item: str) -> None:
    """At least by the time for which it was alone, and at most by its time on the path, on every single device.

    Devices that met an error screen are left out: without the item they may not meet it.
    """
    scenario, before = shipped("company")
    changes = [
        (f"apps.{item}.time", {"median_s": 0, "spread": 1}),
        (f"apps.{item}.size_mb", 0),
        (f"apps.{item}.faults", []),
    ]
    after = waits_of(overridden(scenario, changes, "test"), 7, len(before))
    compared = saved_ms = 0
    for first, second in zip(before, after, strict=True):
        if first.opened_ms is None or second.opened_ms is None or ERROR_SCREEN in first.path_ms:
            continue
        saved = first.opened_ms - second.opened_ms
        compared += 1
        saved_ms += saved
        assert first.alone_ms.get(item, 0) <= saved <= first.path_ms.get(item, 0)
    assert compared > 100
    assert saved_ms > 0
