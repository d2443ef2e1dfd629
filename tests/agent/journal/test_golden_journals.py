"""The journal of every released version is gone on from, whether this version folds it alike or not."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from agent.core.effects import Effect, SetGate
from agent.core.enrollment import Enrollment
from agent.core.events import Event, Restarted
from agent.core.retelling import Retelling
from agent.journal import open_journal, read_journal
from agent.runtime.ports import JournalState
from agent.settings import VERSION
from tests.agent.journal.golden import FOLDER, STORIES, shown_by

VERSIONS = sorted(path.name.removesuffix(".sqlite3.gz") for path in FOLDER.glob("*.sqlite3.gz"))


def unpacked(version: str, folder: Path) -> Path:
    path = folder / "journal.sqlite3"
    path.write_bytes(gzip.decompress((FOLDER / f"{version}.sqlite3.gz").read_bytes()))
    return path


def shown(version: str) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = json.loads((FOLDER / f"{version}.json").read_text())
    return found


async def loaded(version: str, device: str, folder: Path) -> JournalState:
    journal = open_journal(unpacked(version, folder))
    state = await journal.load(device, "another stream")
    journal.close()
    return state


def failing(machine: Enrollment, event: Event, now_ms: int) -> Sequence[Effect]:
    """A version that understands no input of the past."""
    raise KeyError("nothing is as it was")


def test_this_version_has_one() -> None:
    assert VERSION in VERSIONS


@pytest.mark.parametrize("device", STORIES)
@pytest.mark.parametrize("version", VERSIONS)
async def test_a_restart_after_the_upgrade_finds_the_device_where_it_was(
    version: str, device: str, tmp_path: Path
) -> None:
    state, expected = await loaded(version, device, tmp_path), shown(version)[device]
    retelling = Retelling(state.entries, state.checkpoints)
    for _ in retelling:
        pass
    assert not retelling.is_lost
    assert {"inputs": retelling.last_n, **shown_by(retelling.machine)} == expected
    effects = retelling.machine.handle(Restarted(planned=False), retelling.machine.handled_ms)
    assert next(e.gate.value for e in effects if isinstance(e, SetGate)) == expected["gate"]
    assert (state.stream, state.outbox.next_position > 1) == (f"stream-of-{device}", True)


@pytest.mark.parametrize("device", STORIES)
@pytest.mark.parametrize("version", VERSIONS)
async def test_every_state_that_it_kept_can_be_read(
    version: str, device: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also by a version that understands none of the inputs."""
    state = await loaded(version, device, tmp_path)
    assert state.checkpoints
    monkeypatch.setattr(Enrollment, "handle", failing)
    for kept in state.checkpoints:
        entries = [entry for entry in state.entries if entry.n <= kept.n]
        retelling = Retelling(entries, [kept])
        for _ in retelling:
            pass
        assert not retelling.is_lost
        attempt = json.loads(kept.content)["attempt"]
        progress = retelling.machine.progress
        found = (progress.attempt, progress.gate, progress.percent, retelling.machine.mode)
        assert found == tuple(attempt[name] for name in ("id", "gate", "percent", "mode"))


@pytest.mark.parametrize("version", VERSIONS)
def test_it_is_read_without_being_changed(version: str, tmp_path: Path) -> None:
    path = unpacked(version, tmp_path)
    before = path.read_bytes()
    with read_journal(path) as reader:
        assert reader.devices() == sorted(STORIES)
        for device in STORIES:
            inputs = reader.inputs(device)
            assert len(inputs.entries) == shown(version)[device]["inputs"]
            assert not inputs.missing
    assert path.read_bytes() == before
