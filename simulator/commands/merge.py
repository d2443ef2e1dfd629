"""The command `esp-sim merge`: what it is given and what it prints."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from simulator.commands.command_line import AsJson, Out, fail
from simulator.commands.question import ReportFolder, check_report_folder, show_or_exit
from simulator.commands.whatif import keep
from simulator.whatif.counted import merge as merge_shards
from simulator.whatif.shards import ShardRefused


def merge(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="What each shard wrote with --out.")
    ],
    out: Out = None,
    report: ReportFolder = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Put the shards of one run together: the same figures, byte for byte, as of the run that was never divided.

    With --json the seconds, which come last, are those of this command. A shard that is missing, there twice or of
    another run is refused.

    \b
    Examples:
      esp-sim merge 1.json 2.json 3.json 4.json
      esp-sim merge shards/*.json --out whole.json --json
      esp-sim merge shards/*.json --report report
    """
    began = time.perf_counter()
    check_report_folder(report)
    try:
        counted = merge_shards(files)
    except ShardRefused as refused:
        fail(refused)
    keep(out, counted)
    figures = counted.figures() | {"seconds": round(time.perf_counter() - began, 3)}
    show_or_exit(figures, report=report, as_json=as_json)
