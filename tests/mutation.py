"""How many planted mistakes in `agent/core` the tests notice: `make mutation` prints the table of docs/mutation.md."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
import textwrap
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import unified_diff
from functools import cached_property
from itertools import zip_longest
from pathlib import Path

CORE = Path("agent/core")
MUTANTS = Path("mutants")
"""Where mutmut works: copies of the code with every mutant in it, and a file of results beside each."""
PERCENT_MIN = 90
"""How much of the core has to be held by its tests."""

KILLED = frozenset({1, 3})
"""What pytest answers when a test failed."""
TIMED_OUT = frozenset({24, -24, 36, 152, 255})
"""A mutant that never ends is one that the tests notice."""


@dataclass(frozen=True)
class Mutant:
    """One planted mistake, and how the tests ended with it."""

    module: str
    name: str
    exit_code: int | None
    original: str
    mutated: str

    @cached_property
    def is_text(self) -> bool:
        """Whether nothing but a sentence for people was changed: a literal of several words."""
        pairs = [
            (was, now)
            for was, now in zip_longest(_nodes(self.original), _nodes(self.mutated))
            if was != now
        ]
        return bool(pairs) and all(
            isinstance(was, str) and " " in was and isinstance(now, str) for was, now in pairs
        )

    @property
    def is_killed(self) -> bool:
        return self.exit_code in KILLED | TIMED_OUT

    def change(self) -> str:
        """The lines that differ."""
        was, now = (
            re.sub(r"__mutmut_(orig|\d+)", "", code).splitlines()
            for code in (self.original, self.mutated)
        )
        lines = unified_diff(was, now, n=0, lineterm="")
        headers = ("---", "+++", "@@")
        return "\n".join(line for line in lines if not line.startswith(headers))


def _nodes(source: str) -> Iterator[object]:
    """The code as a flat row: the value of each literal, the kind of every other node."""
    for node in ast.walk(ast.parse(source).body[0]):
        yield node.value if isinstance(node, ast.Constant) else type(node)


def mutated_modules() -> list[Path]:
    """The modules of the core that mutmut planted mistakes in."""
    return [path for path in sorted(CORE.glob("*.py")) if (MUTANTS / f"{path}.meta").exists()]


def mutants_of(path: Path) -> Iterator[Mutant]:
    """What mutmut left about one module of the core."""
    code = (MUTANTS / path).read_text(encoding="utf-8").splitlines()
    spans = json.loads((MUTANTS / f"{path}.spans").read_text(encoding="utf-8"))["spans"]
    results = json.loads((MUTANTS / f"{path}.meta").read_text(encoding="utf-8"))["exit_code_by_key"]

    def source(name: str) -> str:
        first, last = spans[name]
        return textwrap.dedent("\n".join(code[first - 1 : last]))

    for key, exit_code in results.items():
        name = key.rpartition(".")[2]
        original = source(f"{name.partition('__mutmut_')[0]}__mutmut_orig")
        yield Mutant(path.stem, name, exit_code, original, source(name))


def survivors(mutants: list[Mutant]) -> Iterator[str]:
    """Every change that no test noticed."""
    for mutant in mutants:
        if not mutant.is_killed:
            yield f"{mutant.module}.{mutant.name} (exit code {mutant.exit_code})"
            yield f"{mutant.change()}\n"


def table(mutants: list[Mutant]) -> Iterator[str]:
    """How many were killed, module by module."""
    totals = Counter(m.module for m in mutants)
    killed = Counter(m.module for m in mutants if m.is_killed)
    yield f"{'module':<16} {'killed':>6} {'survived':>8} {'percent':>8}"
    for module, total in sorted(totals.items()):
        yield _row(module, killed[module], total)
    yield _row("agent/core", killed.total(), totals.total())
    timed_out = sum(m.exit_code in TIMED_OUT for m in mutants)
    yield f"{timed_out} of the killed ran into the time limit"


def _row(name: str, killed: int, total: int) -> str:
    return f"{name:<16} {killed:>6} {total - killed:>8} {100 * killed / total:>7.1f}%"


def main() -> int:
    """Plant, test, report; 1 when fewer are killed than the limit, 2 when mutmut itself fails."""
    shutil.rmtree(MUTANTS, ignore_errors=True)
    mutmut = Path(sys.executable).with_name("mutmut")
    ended = subprocess.run([mutmut, "run"], check=False)
    if ended.returncode:
        sys.stderr.write("mutation: mutmut did not finish; what it says is above\n")
        return 2
    planted = [mutant for path in mutated_modules() for mutant in mutants_of(path)]
    counted = [mutant for mutant in planted if not mutant.is_text]
    for line in (*survivors(counted), *table(counted)):
        sys.stdout.write(f"{line}\n")
    sys.stdout.write(f"{len(planted) - len(counted)} changes of sentences are not counted\n")
    percent = 100 * sum(mutant.is_killed for mutant in counted) / len(counted)
    if percent < PERCENT_MIN:
        sys.stderr.write(
            f"mutation: {percent:.1f} % killed; at least {PERCENT_MIN} % are asked for\n"
        )
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
