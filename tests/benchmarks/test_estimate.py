"""The benchmark of the remaining time prints what its readers rely on; what it measures is judged elsewhere."""

import json
import re

import pytest

from agent.core.estimate import PROMISE
from agent.wire.vocabulary import EnrollmentType
from benchmarks import estimate
from benchmarks.estimate import Look, Watched, figures_of

KEYS = {"benchmark", "scenario", "devices", "seed", "promise", "cases"}


def look(percent: int, low_s: int, high_s: int, truth_s: int) -> Look:
    return Look(percent, low_s * 1000, high_s * 1000, truth_s * 1000)


def test_the_figures_of_a_few_looks() -> None:
    looks = (look(0, 10, 30, 40), look(5, 10, 30, 20), look(60, 10, 20, 5), look(95, 0, 10, 10))
    figures = figures_of([Watched(EnrollmentType.IOS, looks), Watched(EnrollmentType.IOS, ())])
    assert figures == {
        "attempts": 2,
        "looks": 4,
        "coverage": 0.5,
        "early": 0.25,
        "late": 0.25,
        "width_to_truth": 1.0,
        "by_tenth": {"0": 0.5, "6": 0.0, "9": 1.0},
        "width_s_at": {"0": 20, "25": 10, "50": 10, "75": 10, "90": 10},
    }


def test_a_width_that_nobody_saw_is_left_out() -> None:
    figures = figures_of([Watched(EnrollmentType.IOS, (look(10, 1, 2, 1),))])
    assert figures["width_s_at"]["25"] is None


def test_json_has_the_documented_keys_for_every_case(capsys: pytest.CaptureFixture[str]) -> None:
    estimate.main(["--json", "--devices", "4"])
    figures = json.loads(capsys.readouterr().out)
    assert figures.keys() == KEYS
    assert figures["promise"] == PROMISE
    assert figures["cases"].keys() == estimate.CASES.keys()
    documented = set(re.findall(r"`(\w+)`", estimate.__doc__ or ""))
    for parts in figures["cases"].values():
        assert parts["by_type"].keys() <= set(EnrollmentType)
        assert (KEYS | figures["cases"].keys() | parts.keys() | parts["all"].keys()) <= documented


def test_the_same_seed_gives_the_same_figures(capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        estimate.main(["--devices", "3", "--seed", "5"])
    once, again = capsys.readouterr().out.split("promised")[1:]
    assert once == again


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("--devices=0", "'0' is not a whole number from 1"),
        ("--scenario=nowhere.toml", "nowhere.toml: there is no such file"),
    ],
)
def test_a_bad_argument_is_named(
    argument: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        estimate.main([argument])
    assert caught.value.code == 2
    assert said in capsys.readouterr().err
