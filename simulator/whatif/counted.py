"""Keeps what a run or a shard of it counted in a file, and puts shards together as the run that was never divided."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, assert_never

from pydantic import ValidationError

from simulator.engine import Engine
from simulator.scenario import Scenario
from simulator.tally import Tally
from simulator.whatif.comparison import Comparison, comparison_figures
from simulator.whatif.figures import figures_of, labels_of
from simulator.whatif.shards import WHOLE, Shard, ShardRefused, read_shard
from simulator.whatif.sweep import rows_of, sweep_figures, versions_of
from simulator.whatif.versions import Pairs, Versions, blocks_of, empty, run_versions

FORMAT: Final = "esp-sim.counted/2"


@dataclass(frozen=True, slots=True)
class Alone:
    """What does this scenario come to?"""


@dataclass(frozen=True, slots=True)
class Compare:
    """Is the other version better?"""

    other: Scenario
    what: str
    """What makes it another version: `raising timeout from 60 to 90`."""


@dataclass(frozen=True, slots=True)
class Sweep:
    """What does each of these values come to?"""

    key: str
    values: tuple[Any, ...]


Question = Alone | Compare | Sweep
"""What one pass over the fleet answers, so that any part of the devices can be counted anywhere."""


@dataclass(frozen=True, slots=True)
class Run:
    """Everything that the figures follow from."""

    scenario: Scenario
    question: Question
    seed: int
    devices: int
    """Of the whole fleet."""

    @property
    def versions(self) -> Sequence[Scenario]:
        """The scenarios under which each device enrolls.

        Raises:
            OverrideRefused: a value is not possible.
        """
        match self.question:
            case Alone():
                return (self.scenario,)
            case Compare(other=other):
                return (self.scenario, other)
            case Sweep(key=key, values=values):
                return versions_of(self.scenario, key, values)
            case _:
                assert_never(self.question)

    def devices_of(self, shard: Shard) -> int:
        """How many devices this shard has."""
        units = shard.part(blocks_of(self.versions, self.seed, self.devices))
        return sum(unit.count for unit in units)


@dataclass(frozen=True, slots=True)
class Counted:
    """What a run or one shard of it counted. Wall-clock time is no part of it."""

    run: Run
    shard: Shard
    versions: Versions

    @property
    def devices(self) -> int:
        """Those that were through."""
        return self.versions.tallies[0].whole.devices

    def figures(self) -> dict[str, Any]:
        """What was counted as `--json` prints it, but for the wall-clock time at its end."""
        run, tallies = self.run, self.versions.tallies
        labels = labels_of(run.scenario)
        figures: dict[str, Any] = {
            "title": run.scenario.title,
            "devices": self.devices,
            "seed": run.seed,
        }
        match run.question:
            case Alone():
                figures |= figures_of(tallies[0], labels)
            case Compare(other=other, what=what):
                comparison = Comparison(what, tallies[0], tallies[1], self.versions.pairs[0])
                figures |= figures_of(tallies[0], labels)
                figures["compare"] = comparison_figures(comparison, labels_of(other) | labels)
            case Sweep(key=key, values=values):
                figures["sweep"] = sweep_figures(key, rows_of(values, self.versions))
            case _:
                assert_never(run.question)
        return figures

    def write(self, path: Path) -> None:
        """Write it whole or not at all.

        Raises:
            OSError: it can't be written.
        """
        unfinished = path.with_name(f".{path.name}.unfinished")
        unfinished.write_text(self.to_text(), encoding="utf-8")
        unfinished.replace(path)

    def to_text(self) -> str:
        """JSON: the same bytes for the same counts of the same shard."""
        content = {
            "format": FORMAT,
            "version": version("enrollment-agent"),
            "seed": self.run.seed,
            "devices": self.run.devices,
            "shard": self.shard.number,
            "shards": self.shard.of,
            "scenario": self.run.scenario.model_dump(mode="json"),
            "question": _question_to_json(self.run.question),
            "tallies": [tally.to_json() for tally in self.versions.tallies],
            "pairs": [pairs.to_json() for pairs in self.versions.pairs],
        }
        return json.dumps(content, separators=(",", ":")) + "\n"


def count(
    engine: Engine,
    run: Run,
    *,
    shard: Shard = WHOLE,
    advance: Callable[[int], None] = lambda _: None,
) -> Counted:
    """Enroll the fleet, or one shard of it. After an interruption it counts the devices that were through.

    Args:
        advance: told how many more enrollments are through; a device enrolls once under each version.

    Raises:
        EngineFailed: the engine broke.
        OverrideRefused: a value is not possible.
    """
    versions = run_versions(
        engine, run.versions, devices=run.devices, seed=run.seed, shard=shard, advance=advance
    )
    return Counted(run, shard, versions)


# --- files --------------------------------------------------------------------------------------


def read_counted(path: Path) -> Counted:
    """What a shard has written.

    Raises:
        ShardRefused: it can't be read, is something else, or does not count the devices of its shard.
    """
    try:
        counted = _counted(json.loads(path.read_text(encoding="utf-8")))
        expected = counted.run.devices_of(counted.shard)
    except OSError as error:
        raise ShardRefused(f"{path}: can't be read: {error.strerror}") from None
    except ShardRefused as refused:
        raise ShardRefused(f"{path}: {refused}") from None
    except (IndexError, KeyError, TypeError, ValueError, ValidationError):
        raise ShardRefused(
            f"{path}: is not what `esp-sim whatif --out` writes, or is damaged; run that shard again"
        ) from None
    versions = counted.versions
    found = {tally.whole.devices for tally in versions.tallies}
    found |= {pairs.whole.devices for pairs in versions.pairs}
    if found != {expected}:
        counts = " or ".join(map(str, sorted(found)))
        raise ShardRefused(
            f"{path}: counts {counts} devices, and shard {counted.shard} has {expected}; run that shard again"
        )
    return counted


def _counted(content: Mapping[str, Any]) -> Counted:
    if content["format"] != FORMAT:
        raise ShardRefused(f"has format {content['format']!r}, and this version reads {FORMAT!r}")
    theirs, ours = content["version"], version("enrollment-agent")
    if theirs != ours:
        raise ShardRefused(f"was counted by version {theirs}, this is {ours}; use one for all")
    run = Run(
        scenario=Scenario.model_validate(content["scenario"]),
        question=_question_from_json(content["question"]),
        seed=int(content["seed"]),
        devices=int(content["devices"]),
    )
    tallies = [Tally.from_json(tally) for tally in content["tallies"]]
    pairs = [Pairs.from_json(part) for part in content["pairs"]]
    count_of_versions = len(run.versions)
    if (len(tallies), len(pairs)) != (count_of_versions, count_of_versions - 1):
        raise ValueError("not a tally for each version and a pair for each two of them")
    shard = read_shard(f"{content['shard']}/{content['shards']}", "shard")
    return Counted(run, shard, Versions(tallies, pairs))


def _question_to_json(question: Question) -> dict[str, Any] | None:
    match question:
        case Alone():
            return None
        case Compare(other=other, what=what):
            return {"compare": other.model_dump(mode="json"), "change": what}
        case Sweep(key=key, values=values):
            return {"sweep": key, "values": list(values)}
        case _:
            assert_never(question)


def _question_from_json(content: Mapping[str, Any] | None) -> Question:
    if content is None:
        return Alone()
    if "compare" in content:
        return Compare(Scenario.model_validate(content["compare"]), str(content["change"]))
    return Sweep(str(content["sweep"]), tuple(content["values"]))


def merge(paths: Sequence[Path]) -> Counted:
    """All shards of one run as the run that was never divided.

    Raises:
        ShardRefused: one is missing, there twice, of another run, or can't be used.
    """
    first = read_counted(paths[0])
    whole = empty(len(first.versions.tallies))
    found: dict[int, Path] = {}
    for path in paths:
        counted = read_counted(path)
        for name, value in _in_common(first).items():
            if _in_common(counted)[name] != value:
                raise ShardRefused(f"{path}: is of another run than {paths[0]}: another {name}")
        number = counted.shard.number
        if number in found:
            raise ShardRefused(f"{path}: is shard {counted.shard} again, as {found[number]} is")
        found[number] = path
        whole.add(counted.versions)
    missing = [n for n in range(1, first.shard.of + 1) if n not in found]
    if missing:
        raise ShardRefused(
            f"of {first.shard.of} shards {_numbers(missing)} missing; give their files too"
        )
    return Counted(first.run, WHOLE, whole)


def _in_common(counted: Counted) -> dict[str, object]:
    """What all shards of one run have in common."""
    return {
        "scenario": counted.run.scenario,
        "question": counted.run.question,
        "seed": counted.run.seed,
        "number of devices": counted.run.devices,
        "number of shards": counted.shard.of,
    }


def _numbers(missing: Sequence[int]) -> str:
    shown = ", ".join(map(str, missing[:10])) + (", ..." if len(missing) > 10 else "")
    return f"number {shown} is" if len(missing) == 1 else f"numbers {shown} are"
