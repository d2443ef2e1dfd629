"""Divides a fleet among runs that know nothing of each other, and puts together what they counted."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from simulator.population import Cohort, cohorts
from simulator.scenario import Scenario
from simulator.tally import Tally

FORMAT: Final = "esp-sim.tally/1"
SHARDS_MAX: Final = 100_000
INDEX_VARIABLE: Final = "JOB_COMPLETION_INDEX"
"""What Kubernetes tells each pod of an indexed Job, from 0."""
SHARDS_VARIABLE: Final = "ESP_SIM_SHARDS"
"""Into how many shards the fleet is divided; a Job has as many completions."""

_WRITTEN: Final = re.compile(r"([0-9]{1,6})/([0-9]{1,6})")


class ShardRefused(ValueError):
    """A shard can't be used; the reason and the remedy in one sentence."""


@dataclass(frozen=True, slots=True)
class Shard:
    """One of so many parts of a fleet, counted from 1."""

    number: int = 1
    of: int = 1

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    def cohorts(self, scenario: Scenario, seed: int, devices: int) -> Sequence[Cohort]:
        """The cohorts of this shard; every cohort is in exactly one."""
        return cohorts(scenario, seed, devices)[self.number - 1 :: self.of]


WHOLE: Final = Shard()


def read_shard(text: str, source: str = "--shard") -> Shard:
    """The shard that is written `I/N`.

    Raises:
        ShardRefused: it is not.
    """
    match = _WRITTEN.fullmatch(text)
    shard = Shard(int(match[1]), int(match[2])) if match else Shard(0, 0)
    if not 1 <= shard.number <= shard.of <= SHARDS_MAX:
        raise ShardRefused(
            f"{source} {text}: write which shard of how many, from 1/N to N/N, such as 3/16"
        )
    return shard


def shard_of_job(environment: Mapping[str, str] = os.environ) -> Shard:
    """The shard of this pod of an indexed Kubernetes Job; the whole fleet where there is no such Job.

    Raises:
        ShardRefused: the variables do not fit together.
    """
    count = environment.get(SHARDS_VARIABLE)
    if count is None:
        return WHOLE
    index = environment.get(INDEX_VARIABLE)
    if index is None or not index.isdecimal():
        raise ShardRefused(
            f"{SHARDS_VARIABLE} is set and {INDEX_VARIABLE} is not; "
            "run it in a Job with completionMode Indexed, or give --shard"
        )
    return read_shard(f"{int(index) + 1}/{count}", f"{INDEX_VARIABLE} and {SHARDS_VARIABLE}:")


@dataclass(frozen=True, slots=True)
class Counted:
    """What a shard counted, with all that it followed from. Wall-clock time is no part of it."""

    scenario: Scenario
    seed: int
    devices: int
    """Of the whole fleet."""
    shard: Shard
    tally: Tally

    def write(self, path: Path) -> None:
        """Write it whole or not at all.

        Raises:
            OSError: it can't be written.
        """
        unfinished = path.with_name(f".{path.name}.unfinished")
        unfinished.write_text(self.to_text(), encoding="utf-8")
        unfinished.replace(path)

    def to_text(self) -> str:
        """JSON: the same bytes for the same tally of the same shard."""
        content = {
            "format": FORMAT,
            "version": version("enrollment-agent"),
            "seed": self.seed,
            "devices": self.devices,
            "shard": self.shard.number,
            "shards": self.shard.of,
            "scenario": self.scenario.model_dump(mode="json"),
            "tally": self.tally.to_json(),
        }
        return json.dumps(content, separators=(",", ":")) + "\n"

    @property
    def run(self) -> dict[str, object]:
        """What all shards of one run have in common."""
        return {
            "scenario": self.scenario,
            "seed": self.seed,
            "number of devices": self.devices,
            "number of shards": self.shard.of,
        }


def read_counted(path: Path) -> Counted:
    """What a shard has written.

    Raises:
        ShardRefused: it can't be read, is something else, or does not count the devices of its shard.
    """
    try:
        counted = _counted(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ShardRefused(f"{path}: can't be read: {error.strerror}") from None
    except ShardRefused as refused:
        raise ShardRefused(f"{path}: {refused}") from None
    except (KeyError, TypeError, ValueError, ValidationError):
        raise ShardRefused(
            f"{path}: is not what `esp-sim whatif --out` writes, or is damaged; run that shard again"
        ) from None
    shard, seed, devices = counted.shard, counted.seed, counted.devices
    expected = sum(c.count for c in shard.cohorts(counted.scenario, seed, devices))
    found = counted.tally.whole.devices
    if found != expected:
        raise ShardRefused(
            f"{path}: counts {found} devices, and shard {shard} has {expected}; run that shard again"
        )
    return counted


def _counted(content: Mapping[str, Any]) -> Counted:
    if content["format"] != FORMAT:
        raise ShardRefused(f"has format {content['format']!r}, and this version reads {FORMAT!r}")
    theirs, ours = content["version"], version("enrollment-agent")
    if theirs != ours:
        raise ShardRefused(f"was counted by version {theirs}, this is {ours}; use one for all")
    return Counted(
        scenario=Scenario.model_validate(content["scenario"]),
        seed=int(content["seed"]),
        devices=int(content["devices"]),
        shard=read_shard(f"{content['shard']}/{content['shards']}", "shard"),
        tally=Tally.from_json(content["tally"]),
    )


def merge(paths: Sequence[Path]) -> Counted:
    """All shards of one run as the run that was never divided.

    Raises:
        ShardRefused: one is missing, there twice, of another run, or can't be used.
    """
    first, whole = read_counted(paths[0]), Tally()
    found: dict[int, Path] = {}
    for path in paths:
        counted = read_counted(path)
        for name, value in first.run.items():
            if counted.run[name] != value:
                raise ShardRefused(f"{path}: is of another run than {paths[0]}: another {name}")
        number = counted.shard.number
        if number in found:
            raise ShardRefused(f"{path}: is shard {counted.shard} again, as {found[number]} is")
        found[number] = path
        whole.add(counted.tally)
    missing = [n for n in range(1, first.shard.of + 1) if n not in found]
    if missing:
        raise ShardRefused(
            f"of {first.shard.of} shards {_numbers(missing)} missing; give their files too"
        )
    return Counted(first.scenario, first.seed, first.devices, WHOLE, whole)


def _numbers(missing: Sequence[int]) -> str:
    shown = ", ".join(map(str, missing[:10])) + (", ..." if len(missing) > 10 else "")
    return f"number {shown} is" if len(missing) == 1 else f"numbers {shown} are"
