"""Whether two collectors over one PostgreSQL survive what strikes them under load, as often as one likes.

Run as `python -m benchmarks.two_collectors [--json] [--strikes N] [--devices N] [--seed N]`. Broker, both collectors, the database
and a fleet of real agents are processes of their own. One collector after the other, drawn by chance like the moment, is killed and
followed, killed and started again within its lease, killed with the other one in the middle of the take-over, or halted past
its lease. At the end the fleet is audited. The exit code is 1 unless there are four zeros and every created report is stored.

`--json` prints one object: `benchmark`: `"two_collectors"`; `strikes`: how many there were of each kind, `kills` and `halts` of
processes, `seconds`, `seed`; the audit's `events_created`, `events_stored`, `events_lost`, `events_stored_twice`,
`gate_violations`, `unfinished`; `stored`: the rows of the table; `good`.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from tests.collector.postgres import REASON, binaries, running_server
from tests.collector.two_collectors import (
    STRIKES,
    ZEROS,
    Pair,
    audited,
    fleet,
    halted_past_the_lease,
    killed_while_taking_over,
    running_pair,
    until_busy,
)

STRIKE_SECONDS: Final = 10
"""What one takes, with everything until the next one; the fleet goes on for about as long as all of them."""
FLEET_SECONDS: Final = 2_000
"""About how long devices enroll at their own speed, before a person is waited for."""
_FIGURES: Final = ("events_created", "events_stored", *ZEROS)


def strike_all(pair: Pair, strikes: int, devices: int, seed: int) -> dict[str, Any]:
    """The fleet under all strikes, and what became of it."""
    draws = random.Random(seed)
    limit_s = 60 + 4 * STRIKE_SECONDS * strikes
    speed = FLEET_SECONDS / (STRIKE_SECONDS * strikes)
    done: Counter[str] = Counter()
    pair.until_shared()
    begun_s = time.monotonic()
    with fleet(
        pair.broker, pair.collectors[0], devices=devices, speed=speed, limit_s=limit_s
    ) as running:
        for number in range(strikes):
            if not until_busy(pair, running, draws):
                break
            strike = draws.choice(STRIKES)
            struck, other = draws.sample(pair.collectors, 2)
            _say(f"{number + 1}/{strikes}: {struck.data.name} {strike.__name__.replace('_', ' ')}")
            strike(pair, struck, other)
            pair.until_shared()
            done[strike.__name__] += 1
        figures = audited(running, limit_s + 120)
    return {
        "benchmark": "two_collectors",
        "seconds": round(time.monotonic() - begun_s, 1),
        "seed": seed,
        **judged(done, strikes, figures, pair.shared.stored()),
    }


def judged(
    done: Counter[str], strikes: int, figures: Mapping[str, int], stored: int
) -> dict[str, Any]:
    """What struck, what the audit found and what the table has, and whether that is good."""
    halts = done[halted_past_the_lease.__name__]
    return {
        "strikes": dict(sorted(done.items())),
        "kills": done.total() - halts + done[killed_while_taking_over.__name__],
        "halts": halts,
        **{name: figures[name] for name in _FIGURES},
        "stored": stored,
        "good": done.total() == strikes
        and all(figures[name] == 0 for name in ZEROS)
        and figures["events_created"] == figures["events_stored"] == stored > 0,
    }


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """The program."""
    parser = argparse.ArgumentParser(prog="benchmarks.two_collectors")
    parser.add_argument("--json", action="store_true", help="one JSON object on one line")
    parser.add_argument("--strikes", type=int, default=24, help="24 unless told")
    parser.add_argument("--devices", type=int, default=200, help="200 unless told")
    parser.add_argument("--seed", type=int, default=1, help="what strikes whom, 1 unless told")
    options = parser.parse_args(arguments)
    bin_folder = binaries()
    if bin_folder is None:
        raise SystemExit(REASON)
    with (
        tempfile.TemporaryDirectory(prefix="esp-two-") as folder,
        running_server(bin_folder) as server,
        running_pair(Path(folder), server.fresh()) as pair,
    ):
        found = strike_all(pair, options.strikes, options.devices, options.seed)
    print(json.dumps(found, indent=None if options.json else 1))
    raise SystemExit(0 if found["good"] else 1)


if __name__ == "__main__":
    main()
