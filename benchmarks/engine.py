"""What the enrollment machine costs: time per event and attempt, memory per live attempt, and where the time goes.

Run as `python -m benchmarks.engine [--json] [--attempts N] [--profile]`. Whole attempts of all five enrollment types,
along a happy and a rough path, are recorded once (`benchmarks.recordings`); then N fresh machines for each recording
take the recorded inputs, with `next_deadline_ms` asked after each one, as the driver does. Times are CPU time of this
process. The rounds (five, unless N is smaller) each time machine and yardsticks one after another; a figure is the
median of the rounds, and so is a ratio, which is taken within each round because the machine may be shared.

`--json` prints one object:

- `benchmark`: `"engine"`; `attempts`: N; `recordings`, `events`: how many recorded attempts, and events in one pass over all
- `events_per_second`, `us_per_event`, `us_per_attempt`: the machine, over all recordings (us: microseconds)
- `us_per_event_of_large_plan`: the same for an iOS attempt with 112 items, which run side by side
- `us_per_progress`: one `progress` snapshot in the middle of an attempt
- `bytes_per_live_attempt`: what one machine in the middle of an attempt holds, its plan included and its inputs not;
  `live_attempts`: how many were held to measure it
- `yardsticks`: `dict_us_per_event` is a machine that is one dictionary of item states, fed the same events;
  `encode_us_per_event` is pydantic writing each of these events as JSON
- `ratios`: `event_to_dict`, `event_to_encode`, `large_to_event`, `progress_to_event`, `progress_to_encode`: how many times as much the first costs as the second
- `by_type`: for each enrollment type and path `events`, `end_state`, `us_per_event`, `us_per_attempt`
"""

from __future__ import annotations

import argparse
import cProfile
import gc
import json
import tracemalloc
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from time import process_time_ns
from types import CodeType
from typing import Any, Final

import agent
from agent.core.enrollment import Enrollment
from agent.core.events import (
    EVENT_CODEC,
    AttemptBegan,
    Event,
    PersonActed,
    StepFinished,
    StepMoved,
)
from agent.wire.vocabulary import EnrollmentType
from benchmarks.recordings import LARGE, Recording, events_of, record, record_all

ROUNDS_MAX: Final = 5
LIVE_PER_ATTEMPT: Final = 10
"""With the default of 200 attempts a recording, 2,000 machines are held at once."""
PROFILE_LINES: Final = 15

_AGENT: Final = Path(agent.__file__).parent


@dataclass(frozen=True, slots=True)
class Round:
    """The nanoseconds of one round: a pass over each recording, and the yardsticks over all of them."""

    by_recording: tuple[float, ...]
    as_dict: float
    encoded: float
    snapshot: float
    large: float
    """One event of the attempt with the large plan."""

    @property
    def pass_ns(self) -> float:
        """One attempt of each recording."""
        return sum(self.by_recording)


def main(arguments: Sequence[str] | None = None) -> None:
    """The program."""
    options = _options(arguments)
    recordings = record_all()
    if options.profile:
        _print_profile(recordings, options.attempts)
        return
    figures = measure(recordings, options.attempts)
    if options.json:
        print(json.dumps(figures))
    else:
        _print_figures(figures)


def measure(recordings: tuple[Recording, ...], attempts: int) -> dict[str, Any]:
    """All figures; the keys are those of the module's docstring."""
    large = record(EnrollmentType.IOS, "happy", LARGE)
    live = [_half_way(recording) for recording in recordings]
    count = min(ROUNDS_MAX, attempts)
    rounds = [_round(recordings, large, live, attempts // count) for _ in range(count)]
    events = sum(len(r.inputs) for r in recordings)
    pass_ns = median(r.pass_ns for r in rounds)
    live_attempts = max(len(recordings), attempts * LIVE_PER_ATTEMPT)
    return {
        "benchmark": "engine",
        "attempts": attempts,
        "recordings": len(recordings),
        "events": events,
        "events_per_second": round(events * 1e9 / pass_ns),
        "us_per_event": _us(pass_ns / events),
        "us_per_attempt": _us(pass_ns / len(recordings)),
        "us_per_event_of_large_plan": _us(median(r.large for r in rounds)),
        "us_per_progress": _us(median(r.snapshot for r in rounds)),
        "bytes_per_live_attempt": _bytes_per_live_attempt(recordings, live_attempts),
        "live_attempts": live_attempts,
        "yardsticks": {
            "dict_us_per_event": _us(median(r.as_dict for r in rounds) / events),
            "encode_us_per_event": _us(median(r.encoded for r in rounds) / events),
        },
        "ratios": {
            "event_to_dict": _ratio(r.pass_ns / r.as_dict for r in rounds),
            "event_to_encode": _ratio(r.pass_ns / r.encoded for r in rounds),
            "large_to_event": _ratio(r.large * events / r.pass_ns for r in rounds),
            "progress_to_event": _ratio(r.snapshot * events / r.pass_ns for r in rounds),
            "progress_to_encode": _ratio(r.snapshot * events / r.encoded for r in rounds),
        },
        "by_type": _by_type(recordings, rounds),
    }


def _round(
    recordings: tuple[Recording, ...], large: Recording, live: list[Enrollment], times: int
) -> Round:
    events = tuple(events_of(recordings))
    return Round(
        by_recording=tuple(_ns(partial(play, r), times) for r in recordings),
        as_dict=_ns(lambda: _play_dict(recordings), times),
        encoded=_ns(lambda: _encode(events), times),
        snapshot=_ns(lambda: _look(live), times) / len(live),
        large=_ns(partial(play, large), max(1, times // 10)) / len(large.inputs),
    )


def _ns(work: Callable[[], None], times: int) -> float:
    """CPU nanoseconds of one run, without the collection of garbage that others left."""
    gc.collect()
    begin_ns = process_time_ns()
    for _ in range(times):
        work()
    return max(1, process_time_ns() - begin_ns) / times


def play(recording: Recording) -> None:
    """A fresh machine takes a whole recorded attempt."""
    machine = Enrollment()
    for event, now_ms in recording.inputs:
        machine.handle(event, now_ms)
        machine.next_deadline_ms()


def _play_dict(recordings: tuple[Recording, ...]) -> None:
    """The yardstick: what any machine does at least, namely tell events apart and keep a state of each item."""
    for recording in recordings:
        states: dict[str, str] = {}
        for event, _ in recording.inputs:
            _keep_state(states, event)


def _keep_state(states: dict[str, str], event: Event) -> None:
    match event:
        case AttemptBegan():
            states.clear()
        case StepMoved(item=item, state=state):
            states[item] = state
        case StepFinished(item=item, result=result):
            states[item] = result
        case PersonActed(item=item, action=action):
            states[item] = action
        case _:
            pass


def _encode(events: Sequence[Event]) -> None:
    for event in events:
        EVENT_CODEC.dumps(event)


def _look(live: list[Enrollment]) -> None:
    for machine in live:
        assert machine.progress.end_state is None, "half-way an attempt is open"


def _half_way(recording: Recording) -> Enrollment:
    """A machine in the middle of an attempt, which on every path lies before its end."""
    machine = Enrollment()
    for event, now_ms in recording.inputs[: len(recording.inputs) // 2]:
        machine.handle(event, now_ms)
    return machine


def _bytes_per_live_attempt(recordings: tuple[Recording, ...], live_attempts: int) -> int:
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        held = [_half_way(recordings[i % len(recordings)]) for i in range(live_attempts)]
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return round((after - before) / len(held))


def _by_type(recordings: tuple[Recording, ...], rounds: Sequence[Round]) -> dict[str, Any]:
    found: dict[str, dict[str, Any]] = {}
    for index, recording in enumerate(recordings):
        attempt_ns = median(r.by_recording[index] for r in rounds)
        found.setdefault(recording.enrollment_type.value, {})[recording.path] = {
            "events": len(recording.inputs),
            "end_state": recording.end_state.value,
            "us_per_event": _us(attempt_ns / len(recording.inputs)),
            "us_per_attempt": _us(attempt_ns),
        }
    return found


def _us(ns: float) -> float:
    return round(ns / 1000, 3)


def _ratio(values: Iterable[float]) -> float:
    return round(median(values), 2)


def _print_figures(figures: dict[str, Any]) -> None:
    ratios, yardsticks = figures["ratios"], figures["yardsticks"]
    print(f"{figures['events_per_second']:,} events a second")
    print(
        f"{figures['us_per_event']} µs an event: {ratios['event_to_dict']} × a dictionary of states"
    )
    print(
        f"  ({yardsticks['dict_us_per_event']} µs), {ratios['event_to_encode']} × writing it as JSON"
    )
    print(f"  ({yardsticks['encode_us_per_event']} µs)")
    print(
        f"{figures['us_per_progress']} µs a progress snapshot: {ratios['progress_to_event']} events"
    )
    print(f"{figures['bytes_per_live_attempt']:,} bytes a live attempt")
    print(f"{figures['us_per_event_of_large_plan']} µs an event of a plan with {len(LARGE)} items")
    print(f"{figures['us_per_attempt']} µs an attempt:")
    for name, paths in figures["by_type"].items():
        for path, row in paths.items():
            print(
                f"  {name:20} {path:6} {row['events']:4} events {row['us_per_event']:8.2f} µs an event"
                f" {row['us_per_attempt']:10.1f} µs  {row['end_state']}"
            )


def _print_profile(recordings: tuple[Recording, ...], attempts: int) -> None:
    """Where the time goes, in functions of the agent; all else (pydantic, Python) is one line."""
    profile = cProfile.Profile()
    with profile:
        for recording in recordings:
            for _ in range(attempts):
                play(recording)
    entries = profile.getstats()
    total_s = sum(entry.inlinetime for entry in entries)
    ours = [
        (entry.inlinetime, entry.callcount, _place(entry.code))
        for entry in entries
        if isinstance(entry.code, CodeType) and Path(entry.code.co_filename).is_relative_to(_AGENT)
    ]
    print(f"{'share':>6} {'calls':>10}  function, by its own time")
    for own_s, calls, where in sorted(ours, reverse=True)[:PROFILE_LINES]:
        print(f"{own_s / total_s:6.1%} {calls:>10}  {where}")
    outside = 1 - sum(own_s for own_s, _, _ in ours) / total_s
    print(f"{outside:6.1%} {'':>10}  everything that is not the agent's: pydantic, Python itself")


def _place(code: CodeType) -> str:
    file = Path(code.co_filename).relative_to(_AGENT.parent)
    return f"{file}:{code.co_firstlineno} {code.co_qualname}"


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.engine", description="What the enrollment machine costs."
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--attempts", type=_positive, default=200, metavar="N", help="attempts of each recording"
    )
    parser.add_argument(
        "--profile", action="store_true", help="print the functions that take the time instead"
    )
    return parser.parse_args(arguments)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number from 1")
    return int(text)


if __name__ == "__main__":
    main()
