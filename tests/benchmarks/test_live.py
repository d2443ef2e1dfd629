"""The live benchmark runs and prints what its readers rely on; how fast it was is nobody's test."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from itertools import pairwise
from typing import Any

import pytest

from agent.wire.codec import decode
from agent.wire.events import Event
from agent.wire.messages import Status
from benchmarks import live
from benchmarks.live_client import Plan
from benchmarks.live_traffic import traffic_of
from simulator.scenario_file import load_scenario

TOP = {
    "benchmark", "agents", "seconds", "speed", "ramp_per_second", "load_average", "contenders", "agent",
    "ratios",
}  # fmt: skip


@pytest.mark.system
@pytest.mark.mosquitto
@pytest.mark.timeout(120)
@pytest.mark.skipif(shutil.which("mosquitto") is None, reason="Mosquitto is not installed")
def test_agents_and_the_bare_loop_carry_the_same_traffic_and_lose_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(live, "SETTLE_IN_S", 1.0)
    options = live.Options(4, 6.0, 20.0, 40.0, ("agent", "aiomqtt"))
    figures = asyncio.run(live.measure(options))
    assert figures.keys() == TOP
    documented = set(re.findall(r"`(\w+)`", live.__doc__ or ""))
    for name in ("agent", "aiomqtt"):
        contender = figures["contenders"][name]
        assert contender["lost"] == 0, contender["failed"]
        assert contender["connected"] == 4
        assert contender["cpu_us_per_event"] > 0
        assert contender["created"] > 20
        assert contender["latency_ms"]["p50"] > 0
        assert contender["messages_per_event"] > 1
        assert contender["bytes_per_event"] > 500
        assert contender.keys() <= documented
    assert figures["contenders"]["locust"] is None
    assert figures["agent"].keys() <= documented
    assert figures["agent"]["published_again"] == 0
    assert figures["ratios"]["devices_per_core_to_aiomqtt"] > 0
    assert figures["ratios"]["devices_per_core_to_locust"] is None


def test_other_clients_send_what_the_devices_send_under_their_own_names(
    tmp_path: Any,
) -> None:
    """Each payload is one that the collector reads: its device, its stream, numbered from 1."""
    scenario = load_scenario(live.SCENARIO)
    traffic = traffic_of(scenario, "t", 45, 3.0, 100.0, 60.0)
    plan_file = tmp_path / "plan.json"
    traffic.write(plan_file, "127.0.0.1", 1)
    plan = Plan(str(plan_file))
    # Its messages are made of another device's.
    player = plan.players[44]
    messages = list(plan.messages(player))
    events = [decode(Event, payload) for _, is_event, payload in messages if is_event]
    states = [decode(Status, payload) for _, is_event, payload in messages if not is_event]
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert {event.device for event in events} == {player["device"]} == {s.device for s in states}
    assert {event.stream for event in events} == {player["stream"]}
    assert {event.report.attempt for event in events} == {player["attempt"]}
    times = [due_s for due_s, *_ in messages]
    assert times == sorted(times)
    status_times = [due_s for due_s, is_event, _ in messages if not is_event]
    assert all(b - a >= 1 for a, b in pairwise(status_times))
    # The end of one app and the start of the next are told together, and nothing is left untold.
    assert 0.5 < len(states) / len(events) < 0.75
    assert states[-1].progress.percent == events[-1].report.percent


@pytest.mark.parametrize("wrong", ["--agents=0", "--seconds=-1", "--speed=fast"])
def test_a_bad_number_is_named(wrong: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        live.main([wrong])
    assert caught.value.code == 2
    assert repr(wrong.partition("=")[2]) in capsys.readouterr().err


def test_figures_are_of_the_window_alone() -> None:
    """What was before all were connected, and what came after, counts for nothing."""
    options = live.Options(10, 10.0, 1.0, 10.0, ())
    looks = [
        live.Look(float(s), s * (1.0 if s < 13 else 0.5), 1024 * (10 if s == 0 else 30), min(10, s), s * 100, 0, s * 170, s * 70, s * 40_000)
        for s in range(40)
    ]  # fmt: skip
    figures = live._figures(live.Contender(looks=looks), options)
    assert figures is not None
    assert figures["events_per_second"] == 100.0
    assert figures["cores"] == 0.5
    assert figures["statuses_per_event"] == 0.7
    assert figures["messages_per_event"] == 1.7
    assert figures["bytes_per_event"] == 400.0
    assert figures["rss_mib_before"] == 10.0
    assert figures["kib_per_device"] == 2048.0
    assert json.dumps(figures)
