from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from agent.core.batch import Batch, Entry
from agent.core.effects import Effect, Report
from agent.core.events import Event
from agent.journal import open_journal
from simulator.device import VirtualDevice
from simulator.fit.history import Fact
from simulator.fit.sources import SourceRefused
from simulator.live.journal_history import journal_facts
from simulator.population import fleet
from simulator.rollout import Rollout
from simulator.scenario_file import load_scenario
from simulator.starter.text import STARTER


def lives(devices: int) -> tuple[dict[str, list[Entry]], list[Fact]]:
    """The inputs of some devices of a fleet, and what they reported."""
    scenario = load_scenario(STARTER)
    rollout = Rollout(scenario)
    inputs: dict[str, list[Entry]] = {}
    facts: list[Fact] = []
    for device in fleet(scenario, 5, devices):
        entries = inputs[device.id] = []
        name = device.id

        def watch(
            at_ms: int,
            event: Event,
            effects: Sequence[Effect],
            to: list[Entry] = entries,
            of: str = name,
        ) -> None:
            to.append(Entry(len(to) + 1, at_ms, 0, "1", event))
            facts.extend(
                Fact(of, e.attempt, e.attempt_ms, e.body) for e in effects if isinstance(e, Report)
            )

        VirtualDevice(rollout, device).run(watch)
    return inputs, facts


async def write(path: Path, inputs: dict[str, list[Entry]]) -> None:
    journal = open_journal(path)
    for device, entries in inputs.items():
        await journal.load(device, f"{device}-stream")
        for entry in entries:
            await journal.commit(device, Batch(entry=entry))
    journal.close()


def test_a_journal_tells_every_report_that_its_devices_made(tmp_path: Path) -> None:
    """Folded from the inputs alone: the journal keeps reports only until they are stored elsewhere."""
    inputs, facts = lives(6)
    path = tmp_path / "fleet.journal.sqlite3"
    asyncio.run(write(path, inputs))
    told = list(journal_facts(path))
    assert len(told) > 300
    by_device = sorted(facts, key=lambda fact: fact.device)
    assert told == by_device


def test_a_journal_that_is_none_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "fleet.journal.sqlite3"
    path.write_bytes(b"SQLite format 3\0" + bytes(100))
    with pytest.raises(SourceRefused, match=r"fleet\.journal\.sqlite3: "):
        list(journal_facts(path))
