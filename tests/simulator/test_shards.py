from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from simulator.engine import InThisProcess
from simulator.interruption import Interruption
from simulator.population import cohorts
from simulator.scenario import Scenario
from simulator.scenario_file import SHIPPED, load_scenario
from simulator.shards import (
    WHOLE,
    Counted,
    Shard,
    ShardRefused,
    merge,
    read_counted,
    read_shard,
    shard_of_job,
)
from simulator.whatif import as_json, count_fleet

DEVICES = 320
SEED = 5


@pytest.fixture(scope="module")
def company() -> Scenario:
    return load_scenario(SHIPPED / "company.toml")


def counted(scenario: Scenario, shard: Shard, devices: int = DEVICES, seed: int = SEED) -> Counted:
    engine = InThisProcess(Interruption())
    tally = count_fleet(engine, scenario, devices=devices, seed=seed, shard=shard)
    return Counted(scenario, seed, devices, shard, tally)


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
    return json.dumps(as_json(of.scenario, of.seed, of.tally, seconds=0)).encode()


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
    assert read_counted(paths[-1]).tally.whole.devices == 0
    assert merge(paths).to_text() == single.to_text()


def test_every_cohort_is_in_one_shard_and_whole(company: Scenario) -> None:
    found = [c for n in range(1, 6) for c in Shard(n, 5).cohorts(company, SEED, 1234)]
    assert sorted(found, key=lambda c: c.number) == list(cohorts(company, SEED, 1234))


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
        (lambda c: c.pop("tally"), "is damaged; run that shard again"),
        (lambda c: c["tally"].pop("items"), "is damaged; run that shard again"),
        (lambda c: c["tally"]["parts"].pop(), "run that shard again"),
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


@pytest.mark.parametrize(
    "text", ["0/3", "4/3", "1", "1/", "a/b", "1/0", "-1/3", "1/9999999", "1/3 "]
)
def test_what_is_no_shard_is_refused(text: str) -> None:
    with pytest.raises(ShardRefused, match="from 1/N to N/N"):
        read_shard(text)


def test_a_pod_of_an_indexed_job_knows_its_shard() -> None:
    job = {"JOB_COMPLETION_INDEX": "3", "ESP_SIM_SHARDS": "16"}
    assert shard_of_job(job) == Shard(4, 16)
    assert shard_of_job({}) == WHOLE
    assert shard_of_job({"JOB_COMPLETION_INDEX": "3"}) == WHOLE


@pytest.mark.parametrize(
    ("job", "said"),
    [
        ({"ESP_SIM_SHARDS": "16"}, "completionMode Indexed"),
        ({"ESP_SIM_SHARDS": "16", "JOB_COMPLETION_INDEX": "x"}, "completionMode Indexed"),
        ({"ESP_SIM_SHARDS": "3", "JOB_COMPLETION_INDEX": "3"}, "from 1/N to N/N"),
    ],
)
def test_variables_that_do_not_fit_together_are_refused(job: dict[str, str], said: str) -> None:
    with pytest.raises(ShardRefused, match=said):
        shard_of_job(job)
