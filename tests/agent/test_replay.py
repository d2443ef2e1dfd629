"""A recording is told the same in any order, as far as it can be read, and with what is to be known about it."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from agent.core import effects as do
from agent.core.batch import Batch, Checkpoint, Entry
from agent.core.effects import Effect
from agent.core.enrollment import Enrollment
from agent.core.events import DeadlinePassed, Event, StepFinished, StepMoved
from agent.core.fingerprint import fingerprint_of
from agent.core.retelling import Retelling
from agent.core.shell import CHECKPOINTS_KEPT, checkpoint_of
from agent.journal import ReadInputs, open_journal, read_journal
from agent.replay import STATES_MAX, Recording, Recordings, last_progress, moments
from agent.wire.vocabulary import Choice, EndState, ItemState, Phase
from tests.agent.core.script import Script, fails_with, hangs
from tests.agent.screen.moments import story
from tests.agent.screen.recordings import entries_of, phone, recording, troubled

HANDLE = Enrollment.handle


def long_story(inputs: int) -> Script:
    """A download that tells so many times how far it is, then fails."""
    told = story().behave("office", hangs).begin().assign().play()
    run = next(s.run for s in reversed(told.of(do.RunStep)) if s.item == "office")
    for n in range(inputs):
        told.now_ms += 100
        told.feed(
            StepMoved(
                item="office", run=run, state=ItemState.DOWNLOADING, percent=n * 100 // inputs
            )
        )
    return told.wait(60)


def test_any_moment_is_what_a_fold_from_the_beginning_tells() -> None:
    """Forwards, backwards and at random, across the states that are kept."""
    told = long_story(300)
    tape = recording(told)
    machine = Enrollment()
    expected = []
    for event, at_ms in told.inputs:
        machine.handle(event, at_ms)
        expected.append(machine.progress)
    places = [*range(len(expected)), *reversed(range(len(expected)))]
    places += random.Random(5).choices(range(len(expected)), k=300)
    for place in places:
        assert tape.progress(place, 0) == expected[place], place


def test_time_goes_on_between_two_inputs_until_the_end_of_the_attempt() -> None:
    tape = recording(troubled())
    assert tape.progress(3, 5_000).attempt_ms == tape.progress(3, 0).attempt_ms + 5_000
    last = len(tape.marks) - 1
    assert tape.progress(last, 5_000) == tape.progress(last, 0)


def test_marks_name_failures_changes_phases_attempts_and_ends() -> None:
    told = story().behave("vpn", fails_with(1603)).begin().assign().play()
    told.choose(Choice.RESET_DEVICE)
    told.now_ms += 60_000
    told.begin("attempt-2").assign().behave("vpn").answers.clear()
    told.play()
    marks = recording(told).marks
    assert [m.attempt for m in marks if m.begins] == [1, 2]
    assert [m.ends for m in marks if m.ends] == [EndState.RESET, EndState.SUCCEEDED]
    assert sum(m.fails for m in marks) == 3, "two failed tries and the one that stops setup"
    assert all(m.changes for m in marks if m.fails)
    assert [m.phase for m in marks if m.begins] == [None, None]
    assert {m.phase for m in marks} == {None, *Phase}


def test_a_tick_is_no_change() -> None:
    ticks = recording(long_story(50)).marks[-51:-1]
    assert not any(m.changes or m.fails for m in ticks)


def test_twenty_thousand_inputs_step_back_at_once_in_bounded_memory() -> None:
    tape = recording(long_story(20_000))
    assert len(tape._states) <= STATES_MAX
    assert sum(map(len, tape._states)) < 32 * 2**20
    last = len(tape.marks) - 1
    tape.progress(last, 0)
    slowest_s = 0.0
    for place in range(last - 200, last - 600, -1):
        begin_s = time.perf_counter()
        tape.progress(place, 0)
        slowest_s = max(slowest_s, time.perf_counter() - begin_s)
    assert slowest_s < 0.25


def test_a_scene_is_told_in_plain_words() -> None:
    tape = recording(troubled())
    scenes = [tape.scene(place) for place in range(len(tape.marks))]
    assert scenes[0].said == "A new attempt begins on Windows 11 (10.0.22631)"
    assert scenes[1].said == "The assignment arrives: profile “Default ESP”, 7 items"
    failed = next(place for place, mark in enumerate(tape.marks) if mark.fails)
    assert scenes[failed].said == "VPN Client: ended with exit code 1603, not detected"
    assert scenes[failed].reported == ("VPN Client: waiting to retry (0x80070643)",)
    assert any(s.said == "The person chooses “Try again”" for s in scenes)
    assert scenes[-1].reported
    for event, scene in zip((event for event, _ in troubled().inputs), scenes, strict=True):
        if isinstance(event, StepFinished):
            assert not scene.said.startswith(f"{event.item}: "), "items have names, not ids"


# What another version wrote.


def test_the_same_version_has_nothing_to_say() -> None:
    assert recording(phone()).notes == ()


def test_another_version_that_agrees_is_named() -> None:
    (note,) = recording(troubled(), version="2.0").notes
    assert note == (
        "Recorded by version 1.0, told by version 2.0, which may tell it otherwise: "
        "it agrees at the one place that can be compared"
    )
    (note,) = recording(troubled(), version="2.0", digest_inputs=99).notes
    assert note.endswith("nothing can be compared")


def spoiled(n: int, told: Script) -> list[Entry]:
    """The entries of a version that told everything from input `n` on otherwise."""
    return [
        replace(entry, digest="0" * 16) if entry.digest and entry.n >= n else entry
        for entry in entries_of(told, digest_inputs=4)
    ]


def test_replay_says_from_where_on_this_version_tells_it_otherwise() -> None:
    tape = Recording(ReadInputs("PC", spoiled(9, troubled())), "2.0")
    assert tape.notes == (
        "From input 9 to 12 on, version 2.0 tells this otherwise than version 1.0 did on the device",
    )
    assert len(tape.marks) == len(troubled().inputs), "it is played all the same"
    told = [
        moment.entry.n
        for moment in moments(Retelling(spoiled(9, troubled()), ()))
        if moment.differs
    ]
    assert told[0] == 12


def test_a_fingerprint_is_of_facts_not_of_words() -> None:
    progress = recording(troubled()).progress(8, 0)
    reworded = progress.model_copy(update={"remaining": None, "custom_message": "Hello"})
    assert fingerprint_of(reworded) == fingerprint_of(progress)
    for change in ({"percent": 1}, {"choices": (Choice.TRY_AGAIN,)}, {"phases": ()}):
        assert fingerprint_of(progress.model_copy(update=change)) != fingerprint_of(progress)


def stumbling(machine: Enrollment, event: Event, now_ms: int) -> Sequence[Effect]:
    """A version that knows no deadline of this kind."""
    if isinstance(event, DeadlinePassed):
        raise KeyError("office")
    return HANDLE(machine, event, now_ms)


def test_what_this_version_does_not_understand_ends_the_recording(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = troubled()
    first = next(n for n, (e, _) in enumerate(told.inputs, 1) if isinstance(e, DeadlinePassed))
    entries = entries_of(told)
    monkeypatch.setattr(Enrollment, "handle", stumbling)
    tape = Recording(ReadInputs("PC", entries), "1.0")
    assert len(tape.marks) == first - 1
    assert tape.notes == (
        f"Input {first} and all after it are not understood by version 1.0 (KeyError: 'office')",
    )


def test_inputs_before_any_attempt_are_not_understood() -> None:
    tape = Recording(ReadInputs("PC", [Entry(1, 0, 0, "1.0", DeadlinePassed())]), "1.0")
    assert (tape.marks, len(tape.notes)) == ([], 1)
    assert "no attempt has begun" in tape.notes[0]


def test_an_empty_recording_is_empty() -> None:
    tape = Recording(ReadInputs("PC", ()), "1.0")
    assert (tape.marks, tape.notes) == ([], ())


async def test_the_recordings_of_a_journal(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite3"
    journal = open_journal(path)
    for told in (troubled(), phone()):
        await journal.load(told.facts.device, f"stream {told.facts.device}")
        for entry in entries_of(told):
            await journal.commit(told.facts.device, Batch(entry=entry))
    with read_journal(path) as reader:
        recordings = Recordings(reader, reader.devices(), "1.0")
        assert list(recordings.devices) == ["DESKTOP-NEW001", "iPhone-NEW003"]
        tape = recordings.tape("iPhone-NEW003")
        assert tape.progress(len(tape.marks) - 1, 0).end_state is EndState.SUCCEEDED
    journal.close()


# What another version wrote, with the states that the device kept.


def with_checkpoints(told: Script) -> tuple[list[Entry], list[Checkpoint]]:
    """The entries of version 0.9, and the newest two states that it kept."""
    entries = entries_of(told, version="0.9", digest_inputs=8)
    machine, kept = Enrollment(), []
    for entry in entries:
        machine.handle(entry.event, entry.at_ms)
        kept += [c for c in [checkpoint_of(machine, entry)] if c is not None]
    return entries, kept[-CHECKPOINTS_KEPT:]


def test_a_story_that_goes_on_from_a_kept_state_is_the_same_in_any_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where this version fails, the story leaves out what it can't tell; after that it is what the device saw."""
    told = troubled()
    entries, kept = with_checkpoints(told)
    expected = {m.entry.n: m.progress for m in moments(Retelling(entries, ()))}
    failing = next(n for n, (e, _) in enumerate(told.inputs, 1) if isinstance(e, DeadlinePassed))
    newest = kept[-1].n
    assert 1 < failing < newest < len(entries)
    monkeypatch.setattr(Enrollment, "handle", stumbling)
    tape = Recording(ReadInputs("PC", entries, checkpoints=kept), "2.0")
    numbers = [*range(1, failing), *range(newest, len(entries) + 1)]
    assert len(tape.marks) == len(numbers)
    places = [*range(len(numbers)), *reversed(range(len(numbers)))]
    places += random.Random(7).choices(range(len(numbers)), k=100)
    for place in places:
        assert tape.progress(place, 0) == expected[numbers[place]], place
        assert tape.scene(place).said
    (note,) = tape.notes
    assert note.endswith(
        f"nothing is told from input {failing} to {newest - 1}; from input {newest} on, "
        f"the story goes on from the state that version 0.9 kept after input {newest}"
    )
    retelling = Retelling(entries, kept)
    assert [m.entry.n for m in moments(retelling) if m.continued] == [newest]
    assert last_progress(Retelling(entries, kept)) == expected[len(entries)]
