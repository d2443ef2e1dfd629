"""Two real collectors over one real PostgreSQL and one real Mosquitto: killed and halted under a fleet, nothing is lost."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest

from broker_config.running import find_mosquitto
from tests.collector.postgres import Server
from tests.collector.two_collectors import (
    DEPOSED,
    LET_GO,
    ZEROS,
    audited,
    fleet,
    halted_past_the_lease,
    killed_and_followed,
    running_pair,
    until_busy,
)

ROUNDS = int(os.environ.get("ESP_COLLECTOR_ROUNDS", "1"))
"""How often each collector is struck; `python -m benchmarks.two_collectors` strikes at random and as often as told."""
pytestmark = [
    pytest.mark.system,
    pytest.mark.mosquitto,
    pytest.mark.timeout(150 * ROUNDS),
    pytest.mark.skipif(find_mosquitto() is None, reason="Mosquitto is not installed"),
]

DEVICES = 40


def test_either_of_two_may_be_killed_or_halted_at_any_point(
    tmp_path: Path, postgres: Server
) -> None:
    draws = random.Random(int(time.time()))
    with running_pair(tmp_path, postgres.fresh()) as pair:
        first, second = pair.collectors
        pair.until_shared()
        with fleet(
            pair.broker, first, devices=DEVICES, speed=200 / ROUNDS, limit_s=120 * ROUNDS
        ) as running:
            for number in range(ROUNDS):
                killed, halted = (second, first) if number % 2 == 0 else (first, second)
                assert until_busy(pair, running, draws), "the fleet was through too early"
                killed_and_followed(pair, killed, halted)
                pair.until_shared()
                before = len(halted.log)
                halted_past_the_lease(pair, halted, killed)
                pair.until_shared()
                told = halted.log[before:]
                # Where the server has ended its session meanwhile, it can't ask before it lets go.
                assert told.count(DEPOSED) >= 8 or LET_GO in told
            figures = audited(running, 140 * ROUNDS)
        stored = pair.shared.stored()
    assert {name: figures[name] for name in ZEROS} == dict.fromkeys(ZEROS, 0)
    assert figures["events_created"] == figures["events_stored"] == stored > 0
