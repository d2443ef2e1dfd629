"""When a fault counts as got over: something newer is stored of everyone that it struck and that has something to say."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from agent.core.batch import Batch
from agent.core.outbox import KeepReport, MarkAcknowledged, NumberReport
from agent.journal import SqliteJournal, open_journal
from simulator.live.chaos_faults import Fault, FaultKind
from simulator.live.chaos_recovery import Felt, Recoveries, Standing, standings
from tests.agent.journal.test_conformance import keep


@dataclass
class World:
    """A device with a journal, and a store that knows of it."""

    folder: Path
    journal: SqliteJournal
    through: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        with closing(self.database()) as database, database:
            database.execute("CREATE TABLE streams (device TEXT, last_seq INTEGER)")
            database.execute("CREATE TABLE presence (device TEXT, session INTEGER)")
            database.execute("INSERT INTO streams VALUES ('D1', 0)")
            database.execute("INSERT INTO presence VALUES ('D1', 1)")
        self.recoveries = Recoveries(
            self.folder / "store.sqlite", {"D1": self.journal.path}, lambda: self.through
        )

    def database(self) -> sqlite3.Connection:
        return sqlite3.connect(self.folder / "store.sqlite")

    def store(self, last_seq: int, session: int = 1) -> None:
        with closing(self.database()) as database, database:
            database.execute("UPDATE streams SET last_seq = ?", (last_seq,))
            database.execute("UPDATE presence SET session = ?", (session,))

    async def report(self, numbers: Sequence[int], *, acknowledged: bool = False) -> None:
        for number in numbers:
            changes: list[KeepReport | NumberReport | MarkAcknowledged] = [keep(number)]
            changes.append(NumberReport(number, number, f"{number:064}"))
            if acknowledged:
                changes.append(MarkAcknowledged(number, 1))
            await self.journal.commit("D1", Batch(outbox=changes))

    def struck(self, kind: FaultKind = FaultKind.AGENTS_KILLED) -> Felt:
        felt = Felt(Fault(1, kind, 0.0, 0.0, 0.0), "worker-1", 9.0, 10.0, 1)
        self.recoveries.watch(felt, ["D1"])
        return felt

    def look(self, now_s: float) -> None:
        self.recoveries.look(now_s, at_journals=True)


@pytest.fixture
async def world(tmp_path: Path) -> World:
    journal = open_journal(tmp_path / "journal.sqlite3")
    await journal.load("D1", "s1")
    return World(tmp_path, journal)


@pytest.fixture(autouse=True)
def closed(world: World) -> Iterator[None]:
    yield
    world.journal.close()


async def test_only_a_report_that_is_newer_than_the_fault_ends_it(world: World) -> None:
    await world.report([1, 2])
    felt = world.struck()
    world.store(2)
    world.look(11.0)
    assert felt.waiting
    await world.report([3])
    world.store(3)
    world.look(12.5)
    assert (felt.recovery_s, felt.heard) == (2.5, 1)


async def test_a_report_that_waits_for_a_number_was_made_before_the_fault(world: World) -> None:
    await world.report([1])
    await world.journal.commit("D1", Batch(outbox=[keep(2)]))
    assert standings(world.journal.path) == {"D1": Standing(last=2, unacknowledged=2)}
    felt = world.struck()
    world.store(2)
    world.look(11.0)
    assert felt.waiting


async def test_who_is_through_is_waited_for_no_longer(world: World) -> None:
    felt = world.struck()
    world.through.add("D1")
    world.look(13.0)
    assert felt.recovery_s == 3.0


async def test_who_has_nothing_to_say_is_quiet_once_its_session_is_back(world: World) -> None:
    await world.report([1], acknowledged=True)
    world.store(1, session=4)
    felt = world.struck()
    world.look(11.0)
    assert felt.waiting, "it may not be back yet"
    world.store(1, session=5)
    world.look(12.0)
    assert (felt.quiet, felt.heard, felt.recovery_s) == (1, 0, None)


async def test_after_a_fault_that_keeps_sessions_the_journal_alone_tells_who_is_quiet(
    world: World,
) -> None:
    await world.report([1], acknowledged=True)
    world.store(1)
    felt = world.struck(FaultKind.COLLECTOR_SILENT)
    world.look(11.0)
    assert felt.quiet == 1


async def test_who_holds_a_report_that_is_not_acknowledged_is_waited_for(world: World) -> None:
    await world.report([1])
    felt = world.struck(FaultKind.COLLECTOR_SILENT)
    world.look(11.0)
    assert felt.waiting


async def test_a_store_that_can_t_be_read_now_is_asked_again(world: World, tmp_path: Path) -> None:
    await world.report([1])
    felt = world.struck()
    aside = (tmp_path / "store.sqlite").rename(tmp_path / "aside.sqlite")
    world.look(11.0)
    aside.rename(tmp_path / "store.sqlite")
    world.store(2)
    world.look(12.0)
    assert felt.recovery_s == 2.0
