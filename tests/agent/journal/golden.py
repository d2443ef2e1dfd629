"""Golden journals: one file of every released version, with devices in the middle of everything, which later versions go on from.

`python -m tests.agent.journal.golden` writes the one of this version. Once a version is released, its files stay as
they are: they are what lies on devices.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agent.core import effects as do
from agent.core.batch import Batch, Entry
from agent.core.effects import Effect
from agent.core.enrollment import Enrollment
from agent.core.fingerprint import fingerprint_of
from agent.core.outbox import Outbox, ReportQueued
from agent.core.shell import checkpoint_of, durable, report_of
from agent.core.state import Mode
from agent.journal import SqliteJournal, open_journal
from agent.settings import VERSION
from agent.wire.assignment import AssignedItem, PersonScreens
from agent.wire.vocabulary import Choice, Context, EnrollmentType, Variant
from tests.agent.core.script import APPS, BLOCKED_ACCOUNT, Script, done, fails_with, hangs

FOLDER = Path(__file__).with_name("golden")
DIGEST_INPUTS = 8
WALL_MS = 1_795_250_000_000
ITEMS = (*APPS, AssignedItem(id="teams", name="Teams", context=Context.ACCOUNT))


def device(flow: EnrollmentType, variant: Variant = Variant.STANDARD) -> Script:
    """A device with something of everything to set up."""
    return Script(
        flow,
        variant=variant,
        items=ITEMS,
        screens=PersonScreens(terms_of_use=True, device_category=True, activation=True),
        account_setup=BLOCKED_ACCOUNT,
    )


def succeeded() -> Script:
    """Everything worked, after a restart and a retry."""
    told = device(EnrollmentType.WINDOWS_AUTOPILOT).behave("office", fails_with(1603), done)
    return told.behave("portal", fails_with(3010, detected=True)).begin().assign().play()


def at_the_error_screen() -> Script:
    """An app failed for good; logs were collected."""
    told = device(EnrollmentType.MACOS_ADE).behave("vpn", fails_with(1603))
    told.begin().assign().play()
    return told.choose(Choice.COLLECT_LOGS)


def restarting() -> Script:
    """An installer wants a restart that has not happened yet."""
    told = device(EnrollmentType.WINDOWS_AUTOPILOT).behave("portal", fails_with(1641), done)
    told.begin().assign()
    while told.machine.mode is not Mode.RESTARTING:
        told.play(inputs_max=len(told.inputs) + 1)
    return told


def waiting_for_a_person() -> Script:
    """A screen of the portal is up, in the second attempt."""
    told = device(EnrollmentType.IOS).begin().assign().play(stop_at="terms_of_use").wait(45)
    return told.begin("attempt-2").assign().play(stop_at="terms_of_use").wait(5)


def at_work() -> Script:
    """An app hangs, and a help desk asked for logs."""
    told = device(EnrollmentType.ANDROID_ENTERPRISE).behave("office", hangs)
    return told.begin().assign().play().wait(3)


STORIES: dict[str, Callable[[], Script]] = {
    "succeeded": succeeded,
    "error-screen": at_the_error_screen,
    "restarting": restarting,
    "waiting": waiting_for_a_person,
    "at-work": at_work,
}


async def write(path: Path) -> dict[str, Any]:
    """Write a journal with a device for each story; what each of them shows in the end."""
    journal = open_journal(path)
    shown = {name: await _live(journal, name, make()) for name, make in STORIES.items()}
    journal.close()
    return shown


async def _live(journal: SqliteJournal, name: str, told: Script) -> dict[str, Any]:
    state = await journal.load(name, f"stream-of-{name}")
    machine, outbox = Enrollment(), Outbox(state.stream, state.outbox)
    for n, (event, at_ms) in enumerate(told.inputs, 1):
        effects = machine.handle(event, at_ms)
        digest = fingerprint_of(machine.progress) if n % DIGEST_INPUTS == 0 else None
        entry = Entry(n, at_ms, WALL_MS + at_ms, VERSION, event, digest)
        await journal.commit(
            name,
            Batch(
                entry=entry,
                checkpoint=checkpoint_of(machine, entry),
                outbox=[c for effect in effects for c in _queued(outbox, effect, at_ms)],
            ),
        )
    return {"inputs": len(told.inputs), **shown_by(machine)}


def _queued(outbox: Outbox, effect: Effect, at_ms: int) -> list[Any]:
    if not isinstance(effect, do.Report):
        return []
    report = report_of(effect, WALL_MS + at_ms)
    return list(durable(outbox.handle(ReportQueued(report), at_ms)))


def shown_by(machine: Enrollment) -> dict[str, Any]:
    """What a person or a help desk would notice if an upgrade changed it."""
    progress = machine.progress
    return {
        "attempt": progress.attempt,
        "mode": machine.mode.value,
        "gate": progress.gate.value,
        "end_state": progress.end_state and progress.end_state.value,
        "percent": progress.percent,
        "deadline_ms": machine.next_deadline_ms(),
        "choices": [choice.value for choice in progress.choices],
        "items": {item.id: item.state.value for item in progress.items()},
    }


def main() -> None:
    """Write the golden journal of this version."""
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "journal.sqlite3"
        shown = asyncio.run(write(path))
        packed = gzip.compress(path.read_bytes(), mtime=0)
    (FOLDER / f"{VERSION}.sqlite3.gz").write_bytes(packed)
    (FOLDER / f"{VERSION}.json").write_text(json.dumps(shown, indent=1) + "\n")


if __name__ == "__main__":
    main()
