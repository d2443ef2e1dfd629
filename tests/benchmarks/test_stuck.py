"""The measurement of stuck detection counts what its docstring says."""

from __future__ import annotations

import pytest

from benchmarks.stuck import measure
from simulator.scenario_file import SHIPPED

COMPANY = SHIPPED / "company.toml"


def test_hung_installations_are_found_and_counted_apart() -> None:
    figures = measure(COMPANY, devices=60, learned=0, hangs=0.1)
    assert figures["devices"] == 60
    assert figures["tries"] == figures["by_history"] + figures["by_expected"]
    assert figures["alarms"] == figures["right"] + figures["false_alarms"]
    assert 0 < figures["hung_found"] <= figures["hung"]
    assert figures["minutes_earlier"] > 0


@pytest.mark.parametrize("learned", [0, 20])
def test_the_first_devices_only_teach(learned: int) -> None:
    figures = measure(COMPANY, devices=5, learned=learned)
    assert figures["learned"] == learned
    assert figures["tries"] < 5 * 40, "of five devices"
