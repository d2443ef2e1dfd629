"""What shards counted comes to the bytes of the run that was never divided, or is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from simulator.engine import InThisProcess
from simulator.interruption import Interruption
from simulator.scenario import Scenario
from simulator.scenario_file import SHIPPED, load_scenario
from simulator.whatif.counted import (
    Alone,
    Compare,
    Counted,
    Question,
    Run,
    Sweep,
    count,
    merge,
    read_counted,
)
from simulator.whatif.shards import WHOLE, Shard, ShardRefused
from tests.simulator.whatif import fleets

DEVICES = 320
SEED = 5


@pytest.fixture(scope="module")
def company() -> Scenario:
    return load_scenario(SHIPPED / "company.toml")


def counted(scenario: Scenario, shard: Shard, devices: int = DEVICES, seed: int = SEED) -> Counted:
    return fleets.counted(scenario, devices=devices, seed=seed, shard=shard)


@pytest.fixture(scope="module")
def single(company: Scenario) -> Counted:
    return counted(company, WHOLE)


@pytest.fixture(scope="module")
def folder(company: Scenario, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The three shards of a fleet, `1.json` to `3.json`."""
    path = tmp_path_factory.mktemp("shards")
    for number in (1, 2, 3):
        counted(company, Shard(number, 3)).write(path / f"{number}.json")
    return path


def figures(of: Counted) -> bytes:
    return json.dumps(of.figures()).encode()


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 1, 2)])
def test_the_shards_together_are_the_single_run_byte_for_byte(
    order: tuple[int, ...], folder: Path, single: Counted
) -> None:
    whole = merge([folder / f"{number}.json" for number in order])
    assert whole.to_text() == single.to_text()
    assert figures(whole) == figures(single)


def test_more_shards_than_cohorts_leave_some_with_nothing_to_do(
    company: Scenario, single: Counted, tmp_path: Path
) -> None:
    paths = [tmp_path / f"{number}.json" for number in range(1, 8)]
    for number, path in enumerate(paths, 1):
        counted(company, Shard(number, 7)).write(path)
    assert read_counted(paths[-1]).devices == 0
    assert merge(paths).to_text() == single.to_text()


def test_a_run_in_one_piece_merges_to_itself(single: Counted, tmp_path: Path) -> None:
    single.write(tmp_path / "whole.json")
    assert merge([tmp_path / "whole.json"]).to_text() == single.to_text()
    assert [path.name for path in tmp_path.iterdir()] == ["whole.json"]


def refusal(paths: list[Path]) -> str:
    with pytest.raises(ShardRefused) as refused:
        merge(paths)
    return str(refused.value)


def test_missing_shards_are_named(folder: Path) -> None:
    said = refusal([folder / "2.json"])
    assert said == "of 3 shards numbers 1, 3 are missing; give their files too"
    said = refusal([folder / "2.json", folder / "1.json"])
    assert said == "of 3 shards number 3 is missing; give their files too"


def test_a_shard_that_is_there_twice_is_refused(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.json"
    copy.write_bytes((folder / "1.json").read_bytes())
    said = refusal([folder / "1.json", folder / "2.json", copy])
    assert said == f"{copy}: is shard 1/3 again, as {folder / '1.json'} is"


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("seed", lambda scenario: counted(scenario, Shard(2, 3), seed=SEED + 1)),
        ("number of devices", lambda scenario: counted(scenario, Shard(2, 3), devices=310)),
        ("number of shards", lambda scenario: counted(scenario, Shard(2, 4))),
        (
            "scenario",
            lambda scenario: counted(scenario.model_copy(update={"title": "Other"}), Shard(2, 3)),
        ),
    ],
)
def test_a_shard_of_another_run_is_refused(
    name: str,
    other: Callable[[Scenario], Counted],
    company: Scenario,
    folder: Path,
    tmp_path: Path,
) -> None:
    foreign = tmp_path / "foreign.json"
    other(company).write(foreign)
    said = refusal([folder / "1.json", foreign, folder / "3.json"])
    assert said == f"{foreign}: is of another run than {folder / '1.json'}: another {name}"


def changed(folder: Path, tmp_path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    content = json.loads((folder / "1.json").read_text())
    change(content)
    path = tmp_path / "changed.json"
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c.update(version="0.0.1"), "was counted by version 0.0.1, this is"),
        (lambda c: c.update(format="esp-sim.tally/9"), "has format 'esp-sim.tally/9', and this"),
        (lambda c: c.update(shard=4), "shard 4/3: write which shard of how many"),
        (lambda c: c.pop("tallies"), "is damaged; run that shard again"),
        (lambda c: c["tallies"][0].pop("items"), "is damaged; run that shard again"),
        (lambda c: c["tallies"][0]["parts"].pop(), "run that shard again"),
        (lambda c: c["tallies"].clear(), "is damaged; run that shard again"),
        (lambda c: c["pairs"].append({}), "is damaged; run that shard again"),
        (lambda c: c.update(question={"sweep": "timeout", "values": [0]}), "is damaged; "),
        (lambda c: c.update(scenario={}), "is damaged; run that shard again"),
    ],
)
def test_a_file_that_can_not_be_right_is_refused(
    change: Callable[[dict[str, Any]], None], said: str, folder: Path, tmp_path: Path
) -> None:
    path = changed(folder, tmp_path, change)
    found = refusal([path])
    assert found.startswith(f"{path}: ")
    assert said in found


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"\xff\xfe", b'"text"', b"null"])
def test_a_file_of_something_else_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "else.json"
    path.write_bytes(content)
    assert "is not what `esp-sim whatif --out` writes" in refusal([path])


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert refusal([tmp_path / "no.json"]).endswith("can't be read: No such file or directory")


# --- questions about several versions -------------------------------------------------------------


SHOPS = fleets.changed(
    fleets.tight(sites=[{"name": "Shop", "devices": 6, "megabits_per_second": 100}]),
    "apps.suite.size_mb",
    900,
)
"""Ten cohorts of six devices."""
IN_SHOPS = 60
OFFICES = [
    {"name": "Office", "devices": 12, "weight": 2, "megabits_per_second": 400},
    {"name": "Kiosk", "devices": 3, "weight": 1},
]
QUESTIONS: dict[str, Question] = {
    "compare": Compare(fleets.changed(SHOPS, "timeout", 15), "lowering timeout"),
    # Divided into cohorts in another way.
    "elsewhere": Compare(fleets.changed(SHOPS, "sites", OFFICES), "moving"),
    "sweep": Sweep("timeout", (15, 20, 1440)),
}


@pytest.mark.parametrize("kind", ["compare", "elsewhere", "sweep"])
@pytest.mark.parametrize("shards", [1, 3, 9])
def test_shards_of_a_question_together_are_its_single_run_byte_for_byte(
    kind: str, shards: int, tmp_path: Path
) -> None:
    question = QUESTIONS[kind]
    paths = [tmp_path / f"{number}.json" for number in range(1, shards + 1)]
    for number, path in enumerate(paths, 1):
        part = fleets.counted(
            SHOPS, question, devices=IN_SHOPS, seed=SEED, shard=Shard(number, shards)
        )
        part.write(path)
        assert read_counted(path).to_text() == part.to_text()
    whole = merge(paths[::-1])
    single = fleets.counted(SHOPS, question, devices=IN_SHOPS, seed=SEED)
    assert whole.to_text() == single.to_text()
    assert figures(whole) == figures(single)
    assert whole.devices == IN_SHOPS
    assert len({tally.trace for tally in whole.versions.tallies}) > 1


@pytest.mark.parametrize("other", [Alone(), Sweep("timeout", (20, 40))])
def test_a_shard_of_another_question_is_refused(other: Question, tmp_path: Path) -> None:
    paths = [tmp_path / "1.json", tmp_path / "2.json"]
    for number, question in enumerate((Sweep("timeout", (20, 1440)), other), 1):
        shard = Shard(number, 2)
        fleets.counted(SHOPS, question, devices=18, seed=SEED, shard=shard).write(paths[number - 1])
    assert refusal(paths) == f"{paths[1]}: is of another run than {paths[0]}: another question"


def test_versions_that_count_other_devices_than_their_pairs_are_refused(tmp_path: Path) -> None:
    whole = fleets.counted(SHOPS, QUESTIONS["compare"], devices=IN_SHOPS, seed=SEED)
    whole.write(tmp_path / "1.json")

    def lose_one(content: dict[str, Any]) -> None:
        content["pairs"][0]["whole"]["devices"] -= 1

    said = refusal([changed(tmp_path, tmp_path, lose_one)])
    assert said.endswith("counts 59 or 60 devices, and shard 1/1 has 60; run that shard again")


def test_a_value_that_is_not_possible_is_damage(company: Scenario, tmp_path: Path) -> None:
    counted(company, WHOLE).write(tmp_path / "1.json")
    path = changed(
        tmp_path, tmp_path, lambda c: c.update(question={"sweep": "no.key", "values": [1]})
    )
    assert "is damaged; run that shard again" in refusal([path])


@pytest.mark.parametrize("kind", ["compare", "sweep"])
def test_a_question_that_is_interrupted_is_about_what_was_through(
    kind: str,
) -> None:
    interruption = Interruption()

    def stop(_: int) -> None:
        interruption.happened = True

    run = Run(SHOPS, QUESTIONS[kind], SEED, 1200)
    part = count(InThisProcess(interruption), run, advance=stop)
    assert 0 < part.devices < 1200
    assert {tally.whole.devices for tally in part.versions.tallies} == {part.devices}
    assert {pairs.whole.devices for pairs in part.versions.pairs} == {part.devices}
    assert part.figures()["devices"] == part.devices
