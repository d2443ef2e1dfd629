"""The benchmark of comparisons counts what was found, and prints what its readers rely on."""

from __future__ import annotations

import json
import re

import pytest

from benchmarks import compare
from benchmarks.compare import cases, figures_of
from simulator.engine import local
from simulator.interruption import Interruption
from simulator.whatif.paired import Difference
from simulator.whatif.versions import run_versions


def difference(estimate: float, reach: float) -> Difference:
    low, high = estimate - reach, estimate + reach
    return Difference(estimate, (low, high), not low <= 0 <= high, reach)


def test_the_figures_of_a_few_worlds() -> None:
    differences = [difference(-0.01, 0.005), difference(0.01, 0.005), difference(-0.001, 0.02)]
    assert figures_of(-0.01, [*differences, difference(-0.03, 0.005)]) == {
        "truth": -0.01,
        "found": 3,
        "share": 0.75,
        "interval": [0.3006, 0.9544],
        "wrong_way": 1,
        "truth_inside": 0.5,
    }


def test_each_case_has_the_truth_that_it_says() -> None:
    """Six hundred devices a side: one of a hundred more is seen, and luck is other luck where it should be."""
    for name, case in cases().items():
        with local(1, Interruption()) as engine:
            versions = run_versions(engine, (case.first, case.second), devices=600, seed=1)
        whole = versions.pairs[0].whole
        gained, lost = whole.second_only, whole.first_only
        assert (gained > 0) == name.endswith("other_luck"), name
        assert abs((gained - lost) / 600 - case.truth) < 0.025
        assert lost > 0


def test_json_has_the_documented_keys(capsys: pytest.CaptureFixture[str]) -> None:
    compare.main(["--json", "--worlds", "1", "--devices", "40"])
    figures = json.loads(capsys.readouterr().out)
    assert (figures["benchmark"], figures["worlds"], figures["devices"]) == ("compare", 1, 40)
    documented = set(re.findall(r"`(\w+)`", compare.__doc__ or ""))
    assert figures.keys() | figures["cases"].keys() <= documented
    assert all(row.keys() <= documented for row in figures["cases"].values())
    compare.main(["--worlds", "1", "--devices", "40"])
    assert "for each case 1 x 40 devices" in capsys.readouterr().out
