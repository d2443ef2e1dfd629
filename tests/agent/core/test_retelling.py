"""After an upgrade: a story is told whole where this version agrees, and from the newest checkpoint on where it does not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from agent.core.batch import Checkpoint, Entry
from agent.core.effects import Effect
from agent.core.enrollment import Enrollment
from agent.core.events import Event, PersonActed, StepFinished, StepMoved
from agent.core.fingerprint import fingerprint_of
from agent.core.retelling import Retelling, Told, told_otherwise
from agent.core.shell import CHECKPOINTS_KEPT, checkpoint_of
from agent.wire.vocabulary import Choice, ItemState, PersonAction
from tests.agent.core.script import Script, done, fails_with

HANDLE = Enrollment.handle
EVERY = 4


def story() -> Script:
    told = Script().behave("vpn", *[fails_with(1603)] * 3, done).begin().assign().play()
    return told.choose(Choice.TRY_AGAIN).play(inputs_max=18)


def kept(told: Script, version: str = "1.0") -> tuple[list[Entry], list[Checkpoint]]:
    """What a journal holds of a story: its inputs, and the newest checkpoints."""
    machine = Enrollment()
    entries: list[Entry] = []
    checkpoints: list[Checkpoint] = []
    for n, (event, at_ms) in enumerate(told.inputs, 1):
        machine.handle(event, at_ms)
        digest = fingerprint_of(machine.progress) if n % EVERY == 0 else None
        entry = Entry(n, at_ms, at_ms, version, event, digest)
        entries.append(entry)
        checkpoint = checkpoint_of(machine, entry)
        assert (checkpoint is None) == (digest is None)
        checkpoints += [checkpoint] if checkpoint else []
    return entries, checkpoints[-CHECKPOINTS_KEPT:]


def told(
    entries: Sequence[Entry], checkpoints: Sequence[Checkpoint]
) -> tuple[Retelling, list[Told]]:
    retelling = Retelling(entries, checkpoints)
    return retelling, list(retelling)


def as_it_was() -> Enrollment:
    return story().machine


Handling = Callable[[Enrollment, Event, int], Sequence[Effect]]


def forgetful(machine: Enrollment, event: Event, now_ms: int) -> Sequence[Effect]:
    """A version that understands the end of a step otherwise: it takes a completed one for one that goes on."""
    if isinstance(event, StepFinished) and event.item == "policy_providers":
        event = StepMoved(item=event.item, run=event.run, state=ItemState.INSTALLING)
    return HANDLE(machine, event, now_ms)


def stumbling(machine: Enrollment, event: Event, now_ms: int) -> Sequence[Effect]:
    """A version that fails at the end of one step."""
    if isinstance(event, StepFinished) and event.item == "policy_providers":
        raise KeyError("policy_providers")
    return HANDLE(machine, event, now_ms)


def failing_at_once(machine: Enrollment, event: Event, now_ms: int) -> Sequence[Effect]:
    """A version that fails at everything."""
    raise AssertionError("nothing is known")


@pytest.fixture
def upgrade(monkeypatch: pytest.MonkeyPatch) -> Callable[[Handling], None]:
    return lambda handling: monkeypatch.setattr(Enrollment, "handle", handling)


def ends_in(entries: Sequence[Entry], event: type[Event], item: str) -> int:
    """The number of the last input of this kind for this item."""
    return next(
        e.n
        for e in reversed(entries)
        if isinstance(e.event, event) and getattr(e.event, "item", None) == item
    )


def test_a_version_that_agrees_tells_it_whole() -> None:
    entries, checkpoints = kept(story())
    retelling, moments = told(entries, checkpoints)
    assert [m.entry for m in moments] == entries
    assert not any(m.differs for m in moments)
    assert retelling.agreed == [n for n in range(1, len(entries) + 1) if n % EVERY == 0]
    assert (retelling.continued, retelling.failed, retelling.differs) == (None, 0, None)
    assert retelling.machine.checkpoint() == as_it_was().checkpoint()
    assert told_otherwise(retelling, "2.0") == ""


def test_where_the_fold_differs_the_story_goes_on_from_the_newest_checkpoint(
    upgrade: Callable[[Handling], None],
) -> None:
    entries, checkpoints = kept(story())
    expected, newest = as_it_was(), checkpoints[-1].n
    upgrade(forgetful)
    retelling, moments = told(entries, checkpoints)
    assert [m.entry for m in moments] == entries, "all of it is told"
    assert retelling.machine.checkpoint() == expected.checkpoint()
    assert retelling.last_n == len(entries)
    assert retelling.continued is not None
    assert (retelling.continued.at, retelling.continued.checkpoint.n) == (newest, newest)
    assert retelling.differs is not None
    differs = [m.entry.n for m in moments if m.differs]
    assert differs[0] == retelling.differs.n < newest
    assert max(differs) <= newest, "from there on it agrees"
    sentence = told_otherwise(retelling, "2.0")
    assert sentence.startswith(
        f"From input {retelling.agreed[-1] + 1} to {differs[0]} on, version 2.0 "
    )
    assert sentence.endswith(
        f"; from input {newest} on, the story goes on from the state that version 1.0 kept after input {newest}"
    )


def test_where_the_fold_fails_the_story_goes_on_from_the_newest_checkpoint(
    upgrade: Callable[[Handling], None],
) -> None:
    entries, checkpoints = kept(story())
    expected, newest = as_it_was(), checkpoints[-1].n
    failing = ends_in(entries, StepFinished, "policy_providers")
    upgrade(stumbling)
    retelling, moments = told(entries, checkpoints)
    assert [m.entry.n for m in moments] == [
        *range(1, failing),
        *range(newest, len(entries) + 1),
    ]
    assert not retelling.is_lost
    assert retelling.machine.checkpoint() == expected.checkpoint()
    assert told_otherwise(retelling, "2.0") == (
        f"Input {failing} is not understood by version 2.0 (KeyError: 'policy_providers'); "
        f"nothing is told from input {failing} to {newest - 1}; from input {newest} on, "
        f"the story goes on from the state that version 1.0 kept after input {newest}"
    )
    machine, effects = retelling.told_from()
    place = next(m for m in moments if m.entry.n == newest)
    assert list(effects) == list(place.effects) == []
    assert machine.progress.attempt == retelling.machine.progress.attempt


def test_a_failure_after_the_newest_checkpoint_ends_the_story(
    upgrade: Callable[[Handling], None],
) -> None:
    """What fails after the checkpoint fails again from there."""
    entries, checkpoints = kept(story())
    entries.append(replace(entries[-1], n=len(entries) + 1, digest=None, event=_screen()))

    def handling(machine: Enrollment, event: Event, now_ms: int) -> Sequence[Effect]:
        if isinstance(event, PersonActed) and event.item == "nowhere":
            raise ValueError("nobody was asked")
        return HANDLE(machine, event, now_ms)

    upgrade(handling)
    retelling, moments = told(entries, checkpoints)
    assert retelling.is_lost
    assert len(moments) == len(entries) - 1
    assert told_otherwise(retelling, "1.0") == (
        f"Input {len(entries)} and all after it are not understood by version 1.0 "
        "(ValueError: nobody was asked)"
    )


def _screen() -> PersonActed:
    return PersonActed(item="nowhere", action=PersonAction.PROCEED)


def test_without_a_checkpoint_a_fold_that_differs_goes_on_by_itself(
    upgrade: Callable[[Handling], None],
) -> None:
    entries, _ = kept(story())
    upgrade(forgetful)
    retelling, moments = told(entries, ())
    assert (len(moments), retelling.is_lost, retelling.continued) == (len(entries), False, None)
    assert "goes on from" not in told_otherwise(retelling, "2.0")


def test_without_a_checkpoint_a_fold_that_fails_is_lost(
    upgrade: Callable[[Handling], None],
) -> None:
    entries, _ = kept(story())
    failing = ends_in(entries, StepFinished, "policy_providers")
    upgrade(stumbling)
    retelling, moments = told(entries, ())
    assert retelling.is_lost
    assert retelling.last_n == len(entries)
    assert [m.entry.n for m in moments] == list(range(1, failing))


def test_a_checkpoint_that_can_t_be_read_leaves_the_one_before_it(
    upgrade: Callable[[Handling], None],
) -> None:
    entries, checkpoints = kept(story())
    assert len(checkpoints) == CHECKPOINTS_KEPT
    older, newest = checkpoints
    upgrade(stumbling)
    for spoiled in (b"", newest.content.replace(b'"format":1', b'"format":99')):
        retelling, _ = told(entries, [older, replace(newest, content=spoiled)])
        assert retelling.continued is not None
        assert retelling.continued.checkpoint == older
        assert retelling.machine.checkpoint() == as_it_was_under(HANDLE, upgrade)
        upgrade(stumbling)


def as_it_was_under(handling: Handling, upgrade: Callable[[Handling], None]) -> bytes:
    upgrade(handling)
    return as_it_was().checkpoint()


@pytest.mark.parametrize(
    "gone", [1, 5, -1, 0], ids=["first", "middle", "at the checkpoint", "last"]
)
def test_inputs_that_are_missing_are_made_up_for(gone: int) -> None:
    """Whatever is left out up to the checkpoint, also its own input and the last one of all."""
    entries, checkpoints = kept(story())
    newest = checkpoints[-1].n
    lost = {1: 1, 5: 5, -1: newest, 0: newest}[gone]
    if gone == 0:
        entries = entries[:newest]
    left = [e for e in entries if e.n != lost]
    retelling, moments = told(left, checkpoints)
    assert not retelling.is_lost
    assert retelling.last_n == entries[-1].n
    expected = Enrollment()
    for entry in entries:
        expected.handle(entry.event, entry.at_ms)
    assert retelling.machine.checkpoint() == expected.checkpoint()
    assert {m.entry.n for m in moments} >= {e.n for e in left if e.n > newest}


def test_inputs_that_are_missing_after_the_checkpoint_are_not() -> None:
    entries, checkpoints = kept(story())
    lost = checkpoints[-1].n + 1
    assert lost < len(entries)
    retelling, moments = told([e for e in entries if e.n != lost], checkpoints)
    assert retelling.is_lost
    assert [m.entry.n for m in moments] == list(range(1, lost))
    assert (
        f"Input {lost} and all after it are not understood by version 1.0 (it can't be read)"
        in told_otherwise(retelling, "1.0")
    )


def test_all_checkpoints_are_useless_to_a_version_that_fails_at_everything(
    upgrade: Callable[[Handling], None],
) -> None:
    entries, checkpoints = kept(story())
    upgrade(failing_at_once)
    retelling, moments = told(entries, checkpoints)
    assert retelling.is_lost
    assert [m.entry.n for m in moments] == [checkpoints[-1].n], (
        "the state that was kept is all it knows"
    )


def test_the_version_after_the_next_goes_on_from_what_the_last_one_kept(
    upgrade: Callable[[Handling], None],
) -> None:
    """An upgrade went on from its predecessor's checkpoint; later starts go on from its own."""
    entries, checkpoints = kept(story())
    upgrade(forgetful)
    first, _ = told(entries, checkpoints)
    machine, now_ms = first.machine, entries[-1].at_ms
    while len(entries) % EVERY:
        event = _screen()
        HANDLE(machine, event, now_ms)
        entries.append(Entry(len(entries) + 1, now_ms, now_ms, "2.0", event))
    entries[-1] = replace(entries[-1], digest=fingerprint_of(machine.progress))
    own = checkpoint_of(machine, entries[-1])
    assert own is not None
    again, moments = told(entries, [checkpoints[-1], own])
    assert again.continued is not None
    assert (again.continued.checkpoint, again.continued.writer) == (own, "2.0")
    assert again.machine.checkpoint() == machine.checkpoint()
    assert len(moments) == len(entries)


def test_nothing_at_all_is_told_as_nothing() -> None:
    retelling, moments = told((), ())
    assert (moments, retelling.last_n, retelling.is_lost) == ([], 0, False)
