"""How a fleet is divided among runs, and how a run is told its part."""

from __future__ import annotations

import pytest

from simulator.population import cohorts
from simulator.scenario_file import SHIPPED, load_scenario
from simulator.whatif.shards import WHOLE, Shard, ShardRefused, read_shard, shard_of_job


def test_every_cohort_is_in_one_shard_and_whole() -> None:
    units = cohorts(load_scenario(SHIPPED / "company.toml"), 5, 1234)
    found = [c for n in range(1, 6) for c in Shard(n, 5).part(units)]
    assert sorted(found, key=lambda c: c.number) == list(units)


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
