"""Recordings of devices that the real machine has lived through, for the tests of the flight recorder."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC
from typing import Any, Final

from textual.app import App
from textual.pilot import Pilot

from agent.core import effects as do
from agent.core.batch import Entry
from agent.core.enrollment import Enrollment
from agent.core.events import StepMoved
from agent.core.fingerprint import fingerprint_of
from agent.journal import ReadInputs
from agent.replay import Recording
from agent.screen.list_pane import ListPane
from agent.screen.recorder import RecorderApp, RecorderScreen
from agent.wire.vocabulary import Choice, EnrollmentType, ItemState
from tests.agent.core.script import Script, done, fails_with, hangs
from tests.agent.screen.moments import story
from tests.agent.screen.scripted import REST_S, TURN_S

VERSION: Final = "1.0"
WALL_MS: Final = 1_795_250_000_000


def entries_of(told: Script, version: str = VERSION, digest_inputs: int = 16) -> list[Entry]:
    """The inputs of a story as a journal keeps them, with a fingerprint now and then."""
    machine = Enrollment()
    kept: list[Entry] = []
    for n, (event, at_ms) in enumerate(told.inputs, 1):
        machine.handle(event, at_ms)
        digest = fingerprint_of(machine.progress) if n % digest_inputs == 0 else None
        kept.append(Entry(n, at_ms, WALL_MS + at_ms, version, event, digest))
    return kept


def troubled() -> Script:
    """An app fails until a person tries again; half an hour later account setup goes through."""
    told = story().behave("vpn", *[fails_with(1603)] * 3, done).begin().assign().play()
    told.wait(30).choose(Choice.TRY_AGAIN)
    return told.play()


def slow() -> Script:
    """A download says nothing for 25 minutes."""
    told = story().behave("office", hangs).begin().assign().play()
    run = next(s.run for s in reversed(told.of(do.RunStep)) if s.item == "office")
    for minutes, percent in ((1, 5), (25, 10), (1, 60)):
        told.wait(minutes)
        told.feed(StepMoved(item="office", run=run, state=ItemState.DOWNLOADING, percent=percent))
    return told


def phone() -> Script:
    """A phone without any trouble."""
    return story(EnrollmentType.IOS).begin().assign().play()


def recording(told: Script, missing: str = "", version: str = VERSION, **made: Any) -> Recording:
    """The recording of a story."""
    return Recording(ReadInputs(told.facts.device, entries_of(told, **made), missing), version)


class Shelf:
    """Recordings by the device's name."""

    def __init__(self, tapes: Mapping[str, Recording]) -> None:
        self.devices = list(tapes)
        self._tapes = tapes

    def tape(self, device: str) -> Recording:
        return self._tapes[device]


class Watch:
    """A clock in seconds that goes on only when a test says so."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def recorder(*tapes: Recording, playing: bool = False) -> tuple[RecorderApp, Watch]:
    """The recorder with its clock; times of day are in UTC."""
    watch = Watch()
    shelf = Shelf({tape.device: tape for tape in tapes})
    return RecorderApp(shelf, playing=playing, zone=UTC, steady=watch), watch


async def settled(pilot: Pilot[Any], device: str | None = None) -> None:
    """Wait until the page shows what the player stands at, of this device where one is named."""
    # Tapes are read by a thread, which a busy machine may keep waiting for longer than any number of turns.
    async with asyncio.timeout(REST_S):
        await pilot.pause()
        while not _is_settled(pilot.app, device):
            await asyncio.sleep(TURN_S)
            await pilot.pause()


def _is_settled(app: App[Any], device: str | None) -> bool:
    assert isinstance(app, RecorderApp)
    page, player = app.screen, app.player
    if not isinstance(page, RecorderScreen) or player.tape is None:
        return False
    if device is not None and player.tape.device != device:
        return False
    return player.mark is None or (
        page._latest is not None
        and page._latest[0] == player.tape.progress(player.place, int(player.passed_ms))
        and not player._moved.is_set()
        and page.query_one(ListPane).in_place
    )
