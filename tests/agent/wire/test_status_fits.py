"""A status always fits into a message, however much there is to say."""

from __future__ import annotations

import pytest

from agent.wire.assignment import ITEMS_MAX, AssignedItem
from agent.wire.codec import PAYLOAD_BYTES_MAX, decode, encode_status
from agent.wire.messages import Status
from agent.wire.progress import Progress
from agent.wire.vocabulary import EnrollmentType, ItemState
from tests.agent.core.script import LONG_AGO, Script, fails_with


def crowded(count: int, name: str, message: str | None = None) -> Progress:
    """Many items with long names, all of them failed but the first."""
    items = [AssignedItem(id=f"{n:0128}", name=f"{name} {n}") for n in range(count)]
    story = Script(EnrollmentType.IOS, items=items, custom_message=message)
    for item in items[1:]:
        story.behave(item.id, fails_with(1603))
    return story.begin().assign().play().machine.progress


def status(progress: Progress) -> Status:
    return Status(
        device=progress.device, stream="s", session=1, device_time=LONG_AGO, progress=progress
    )


def test_a_snapshot_that_fits_is_sent_whole() -> None:
    progress = crowded(10, "App")
    assert decode(Status, encode_status(status(progress))).progress == progress


@pytest.mark.parametrize("message", [None, "ж" * 10_000, "\N{GRINNING FACE}" * 10_000])
@pytest.mark.parametrize("name", ["App", "\N{GRINNING FACE}" * 250])
def test_the_largest_snapshot_fits_and_says_what_it_left_out(
    name: str, message: str | None
) -> None:
    whole = crowded(ITEMS_MAX, name, message)
    payload = encode_status(status(whole))
    sent = decode(Status, payload).progress
    assert len(payload) <= PAYLOAD_BYTES_MAX
    assert sent.items_left_out == len(whole.items()) - len(sent.items())
    assert [(r.done, r.total) for p in sent.phases for r in p.rows] == [
        (r.done, r.total) for p in whole.phases for r in p.rows
    ]


def test_what_failed_is_kept_and_what_is_done_goes_first() -> None:
    sent = decode(Status, encode_status(status(crowded(ITEMS_MAX, "App")))).progress
    assert sent.items_left_out
    assert {i.state for i in sent.items()} == {ItemState.TIMED_OUT}
