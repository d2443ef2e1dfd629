"""Whoever follows the stored reports sees each once and in order, and nobody who stores any waits for him."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from sqlalchemy import delete

from collector.store import schema
from collector.store.commit import commit
from collector.store.following import Following
from collector.store.memory import Memory
from collector.store.numbering import before_removal, next_numbers
from collector.upkeep.retention import Retention
from tests.collector.fleet import Office, Reporter, arrival
from tests.collector.postgres import Server
from tests.collector.stuck.items import later

KEEP = 31
DAY_MINUTES = 24 * 60


class GivenUp(Exception):
    """A transaction that is rolled back."""


@dataclass
class Writer:
    """One transaction after the other, each as slow as it likes."""

    office: Office
    reporter: Reporter
    open: ExitStack | None = None

    def step(self, *, fails: bool = False) -> None:
        """It begins; then it stores a report; then it is over."""
        if self.open is None:
            self.open = ExitStack()
            self.connection = self.open.enter_context(self.office.store.database.writing())
            # It has looked up its lower bound, and is held up before it has numbers.
            next_numbers(self.connection, 0)
            self.has_stored = False
        elif not self.has_stored:
            event = self.reporter.begin() if self.reporter.seq == 0 else self.reporter.move(1)
            arrived = [arrival(event, self.office.terms[arrival(event).partition])]
            commit(self.connection, arrived, self.office.clock.now_ms(), Memory())
            self.has_stored = True
        else:
            closing, self.open = self.open, None
            if fails:
                undone = self.reporter.sent.pop()
                self.reporter.seq, self.reporter.last_digest = undone.seq - 1, undone.after
                with pytest.raises(GivenUp), closing:
                    raise GivenUp
            else:
                closing.close()


@dataclass
class Follower:
    """Reads as webhooks, live updates and the stuck watch do."""

    following: Following
    position: int = 0
    seen: list[tuple[str, int]] = field(default_factory=list)

    def look(self) -> None:
        newest = self.following.newest()
        if self.position >= newest:
            return
        found = self.following.after(self.position, newest, limit=1_000)
        self.seen += [(one.device, one.seq) for one in found]
        self.position = newest


@pytest.fixture
def impatient(tmp_path: Path, postgres: Server) -> Iterator[Office]:
    """A PostgreSQL store where nobody waits for a lock: that would be an error."""
    opened = Office.open(tmp_path, url=f"{postgres.fresh()}&options=-c%20lock_timeout%3D5s")
    yield opened
    opened.close()


def test_an_empty_store_has_nothing_to_follow(office: Office) -> None:
    assert Following(office.store.database).newest() == 0


def test_a_slow_transaction_stops_nobody_and_nothing_is_missed(impatient: Office) -> None:
    slow, quick = (Writer(impatient, Reporter(device=n, stream=n)) for n in ("SLOW", "QUICK"))
    follower = Follower(Following(impatient.store.database))
    for _ in range(2):
        slow.step()
    for _ in range(9):
        quick.step()
        follower.look()
    assert len(quick.reporter.sent) == 3, "reports are taken in while somebody follows"
    assert follower.seen == [], "what comes before them is still under way"
    slow.step()
    follower.look()
    assert follower.seen == [("SLOW", 1), ("QUICK", 1), ("QUICK", 2), ("QUICK", 3)]


def test_a_transaction_that_is_given_up_holds_nobody_up(impatient: Office) -> None:
    slow, quick = (Writer(impatient, Reporter(device=n, stream=n)) for n in ("SLOW", "QUICK"))
    follower = Follower(Following(impatient.store.database))
    for _ in range(2):
        slow.step()
    for _ in range(3):
        quick.step()
    slow.step(fails=True)
    follower.look()
    assert follower.seen == [("QUICK", 1)]


@pytest.mark.parametrize("seed", range(8))
def test_whatever_commits_late_is_seen_once_and_in_order(impatient: Office, seed: int) -> None:
    """Four writers in any order of their steps, some given up, and two followers who look in between."""
    draws = random.Random(seed)
    writers = [Writer(impatient, Reporter(device=f"D{n}", stream=f"s{n}")) for n in range(4)]
    followers = [Follower(Following(impatient.store.database)) for _ in range(2)]
    for _ in range(120):
        draws.choice(writers).step(fails=draws.random() < 0.2)
        if draws.random() < 0.7:
            draws.choice(followers).look()
    for writer in writers:
        while writer.open is not None:
            writer.step()
    stored = {(event.device, event.seq) for w in writers for event in w.reporter.sent}
    for follower in followers:
        follower.look()
        assert len(follower.seen) == len(set(follower.seen)), "nothing twice"
        assert set(follower.seen) == stored, "nothing missed"
        for writer in writers:
            mine = [seq for device, seq in follower.seen if device == writer.reporter.device]
            assert mine == sorted(mine)


def orders(office: Office, position: int = 0) -> Sequence[int]:
    following = Following(office.store.database)
    return [one.order for one in following.after(position, following.newest(), limit=1_000)]


def test_numbers_go_on_after_retention_let_the_newest_report_go(office: Office) -> None:
    device = Reporter()
    following = Following(office.store.database)
    office.take_in([device.begin(), device.move(10), device.end()])
    follower = Follower(following)
    follower.look()
    assert follower.position == 3
    later(office, (KEEP + 1) * DAY_MINUTES)
    assert Retention(office.store.database).run(KEEP, office.clock.now_ms()).reports == 3
    assert following.newest() == 3, "it does not go back"
    office.take_in([device.begin(), device.move(10)])
    assert orders(office) == [4, 5], "no number is given twice"
    follower.look()
    assert follower.seen[3:] == [(device.device, 4), (device.device, 5)], "nothing is missed"
    # The mark of the first run does not hold back what came after it.
    office.take_in([device.end()])
    later(office, (KEEP + 1) * DAY_MINUTES)
    assert Retention(office.store.database).run(KEEP, office.clock.now_ms()).reports == 3
    office.take_in([device.begin()])
    assert orders(office) == [7]


def test_a_removal_that_is_undone_leaves_no_mark(office: Office) -> None:
    device = Reporter()
    office.take_in([device.begin(), device.end()])

    def remove() -> None:
        with office.store.database.writing() as connection:
            before_removal(connection)
            connection.execute(delete(schema.EVENTS))
            raise GivenUp

    with pytest.raises(GivenUp):
        remove()
    with office.store.database.reading() as connection:
        assert connection.execute(schema.POSITIONS.select()).all() == []


def test_numbers_stay_above_every_reader_of_a_store_that_let_reports_go_before(
    tmp_path: Path,
) -> None:
    """A SQLite file of an earlier version has no mark, and readers that came further than what is left."""
    office = Office.open(tmp_path)
    device = Reporter()
    office.take_in([device.begin(), device.end()])
    with office.store.database.writing() as connection:
        connection.execute(delete(schema.EVENTS))
        connection.execute(schema.POSITIONS.insert().values(reader="webhooks", position=2))
    office.take_in([device.begin()])
    assert orders(office) == [3]
    office.close()
