"""Reads the reports of agents' journals: what each device told follows from its inputs."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from agent.assembly import read_inputs
from agent.core.effects import Report
from agent.core.retelling import Retelling
from agent.runtime.ports import JournalUnreadable
from simulator.fit.history import Fact
from simulator.fit.sources import SourceRefused


def journal_facts(path: Path) -> Iterator[Fact]:
    """Every report that the devices of a journal made, device by device.

    Raises:
        SourceRefused: the journal can't be read.
    """
    try:
        for device, inputs in groupby(read_inputs(path), key=lambda found: found[0]):
            retelling = Retelling([entry for _, entry in inputs], ())
            for told in retelling:
                for effect in told.effects:
                    if isinstance(effect, Report):
                        yield Fact(device, effect.attempt, effect.attempt_ms, effect.body)
    except JournalUnreadable as unreadable:
        raise SourceRefused(str(unreadable)) from None
