"""Divides a fleet among runs that know nothing of each other."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

T = TypeVar("T")

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

    def part(self, cohorts: Sequence[T]) -> Sequence[T]:
        """The cohorts of this shard; every cohort is in exactly one."""
        return cohorts[self.number - 1 :: self.of]


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
