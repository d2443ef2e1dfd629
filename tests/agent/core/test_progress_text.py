"""A status is written as the snapshot is, and anew only where something changed."""

from __future__ import annotations

from typing import Any

import pytest

from agent.core.enrollment import Enrollment
from agent.core.link import Link
from agent.core.outbox import Outbox
from agent.core.publications import Publications
from agent.wire.assignment import ITEMS_MAX, AssignedItem
from agent.wire.codec import PAYLOAD_BYTES_MAX, decode
from agent.wire.messages import Status
from agent.wire.progress import ItemProgress, Progress
from agent.wire.vocabulary import EnrollmentType
from benchmarks.recordings import record_all
from tests.agent.core.script import Script, fails_with


def told(machine: Enrollment, passed_ms: int = 0) -> Progress:
    return Progress.model_validate_json(machine.progress_text_after(passed_ms))


def test_the_text_says_what_the_snapshot_does() -> None:
    """At every input of ten recorded attempts, happy and rough, written on top of what was written before."""
    for recording in record_all():
        machine = Enrollment()
        for event, at_ms in recording.inputs:
            machine.handle(event, at_ms)
            for passed_ms in (0, 1_500):
                assert told(machine, passed_ms) == machine.progress_after(passed_ms)


def test_a_second_attempt_is_not_told_by_the_texts_of_the_first() -> None:
    story = Script(EnrollmentType.IOS, items=(AssignedItem(id="app", name="App"),))
    story.begin().assign().play()
    first = told(story.machine)
    story.begin("another")
    assert told(story.machine) == story.machine.progress != first
    story.assign().play()
    assert told(story.machine) == story.machine.progress
    assert story.machine.progress.attempt_number == 2


def test_only_the_item_that_changed_is_written_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    original = ItemProgress.model_dump_json

    def dumped(item: ItemProgress, **how: Any) -> str:
        written.append(item.id)
        return original(item, **how)

    items = [AssignedItem(id=f"app-{n}", name=f"App {n}") for n in range(5)]
    story = Script(EnrollmentType.IOS, items=items).begin().assign().play()
    monkeypatch.setattr(ItemProgress, "model_dump_json", dumped)
    told(story.machine)
    assert sorted(written) == sorted(i.id for i in story.machine.progress.items())
    written.clear()
    told(story.machine, 1_000)
    assert written == []
    changed = story.machine._turn.attempt.items["app-3"]
    changed.moved_ms += 1
    assert told(story.machine) == story.machine.progress
    assert written == ["app-3"]


def test_a_snapshot_that_is_too_large_is_shortened() -> None:
    items = [AssignedItem(id=f"{n:0128}", name=f"App {n}") for n in range(ITEMS_MAX)]
    story = Script(EnrollmentType.IOS, items=items)
    for item in items[1:]:
        story.behave(item.id, fails_with(1603))
    machine = story.begin().assign().play().machine
    publications = Publications("t", "PC-1", "1", machine, Outbox("s"), Link())
    payload = publications.status(0, 1_767_225_600_000).payload
    sent = decode(Status, payload).progress
    assert len(payload) <= PAYLOAD_BYTES_MAX
    assert sent.items_left_out == len(machine.progress.items()) - len(sent.items()) > 0
