"""Leases: every partition belongs to one collector at a time, and whoever lost one stores nothing more."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from sqlalchemy import select, update

import collector.store.database
from agent.wire.topics import PARTITIONS, partition_of
from collector.store import schema
from collector.store.commit import commit
from collector.store.database import StoreFailed
from collector.store.leases import Leases
from collector.store.memory import Memory
from collector.store.records import TermLost
from collector.store.store import Store
from tests.collector.fleet import NOON_MS, Office, Reporter, arrival, take_over

ALL = frozenset(PARTITIONS)


@pytest.fixture
def store(office: Office) -> Store:
    office.leases.leave(office.terms)
    return office.store


def lease(store: Store, owner: str) -> Leases:
    return Leases(store.database, owner)


def run_out(store: Store, owner: str) -> None:
    """The owner was not heard of for the length of a lease."""
    with store.database.writing() as connection:
        for table in (schema.PARTITIONS, schema.COLLECTORS):
            connection.execute(update(table).where(table.c.owner == owner).values(expires_ms=1))


def owners(store: Store) -> dict[str, str | None]:
    with store.database.reading() as connection:
        return {row.partition: row.owner for row in connection.execute(select(schema.PARTITIONS))}


def test_who_is_alone_has_all_and_keeps_the_terms(store: Store) -> None:
    alone = lease(store, "a")
    first = alone.tend({})
    # The office had them before, under the first term.
    assert first.taken == dict.fromkeys(PARTITIONS, 2)
    again = alone.tend(first.taken)
    assert (again.kept, again.taken) == (first.taken, {})
    assert (again.lost, again.surplus, again.collectors) == (frozenset(), (), 1)


def test_one_that_returns_under_its_name_has_its_own_at_once_under_new_terms(store: Store) -> None:
    before = lease(store, "a").tend({}).taken
    after = lease(store, "a").tend({}).taken
    assert after == {partition: term + 1 for partition, term in before.items()}


def test_a_second_one_gets_half_once_the_first_hands_it_over(store: Store) -> None:
    first, second = lease(store, "a"), lease(store, "b")
    held = first.tend({}).taken
    assert second.tend({}).taken == {}, "a lease that runs is nobody else's"
    tended = first.tend(held)
    assert (len(tended.surplus), tended.collectors) == (8, 2)
    first.release({p: held[p] for p in tended.surplus})
    joined = second.tend({})
    assert joined.taken == {p: held[p] + 1 for p in tended.surplus}
    rest = {p: t for p, t in held.items() if p not in tended.surplus}
    assert first.tend(rest).surplus == second.tend(joined.taken).surplus == ()
    assert sorted(owners(store).values(), key=str) == ["a"] * 8 + ["b"] * 8


def test_a_third_one_gets_its_share_from_both(store: Store) -> None:
    held: dict[str, Mapping[str, int]] = {}
    for name in ("a", "b", "c"):
        held[name] = lease(store, name).tend({}).taken
        for _ in range(2):
            for other, had in tuple(held.items()):
                tended = lease(store, other).tend(had)
                mine = {**tended.kept, **tended.taken}
                given = {p: mine.pop(p) for p in tended.surplus}
                lease(store, other).release(given)
                held[other] = mine
    for name, had in tuple(held.items()):
        tended = lease(store, name).tend(had)
        held[name] = {**tended.kept, **tended.taken}
    assert sorted(len(h) for h in held.values()) == [5, 5, 6]
    assert frozenset().union(*held.values()) == ALL


def test_when_one_dies_the_other_takes_over_after_the_lease_and_not_before(store: Store) -> None:
    dead, alive = lease(store, "a"), lease(store, "b")
    held = dead.tend({}).taken
    assert alive.tend({}).taken == {}
    run_out(store, "a")
    taken = alive.tend({})
    assert taken.taken == {partition: term + 1 for partition, term in held.items()}
    assert taken.collectors == 1


def test_one_that_slept_past_its_lease_stores_nothing_and_hears_what_it_lost(
    store: Store,
) -> None:
    asleep, awake = lease(store, "a"), lease(store, "b")
    held = asleep.tend({}).taken
    run_out(store, "a")
    awake.tend({})
    event = Reporter().begin()
    partition = partition_of(event.device)
    with pytest.raises(TermLost):
        store.commit([arrival(event, term=held[partition])], NOON_MS)
    assert list(store.stored_rows()) == []
    tended = asleep.tend(held)
    assert (tended.lost, tended.kept, tended.collectors) == (ALL, {}, 2)


def test_one_that_slept_past_its_lease_goes_on_where_nobody_took_it(store: Store) -> None:
    alone = lease(store, "a")
    held = alone.tend({}).taken
    run_out(store, "a")
    assert alone.tend(held).kept == held


def test_a_lease_runs_by_the_databases_clock(store: Store) -> None:
    with store.database.reading() as connection:
        before_ms = store.database.now_ms(connection)
    lease(store, "a").tend({})
    with store.database.reading() as connection:
        after_ms = store.database.now_ms(connection)
        expires = connection.execute(select(schema.PARTITIONS.c.expires_ms)).scalars().all()
    length_ms = Leases(store.database, "a").lease_ms
    assert {before_ms <= e - length_ms <= after_ms for e in expires} == {True}


def test_only_the_owner_hands_over_and_only_what_it_still_has(store: Store) -> None:
    first, second = lease(store, "a"), lease(store, "b")
    held = first.tend({}).taken
    run_out(store, "a")
    taken = second.tend({}).taken
    first.leave(held)
    second.release({p: t - 1 for p, t in taken.items()})
    assert set(owners(store).values()) == {"b"}


def test_one_that_returns_among_others_keeps_nobody_waiting(store: Store) -> None:
    lease(store, "a").tend({})
    lease(store, "b").tend({})
    returned = lease(store, "a").tend({})
    assert len(returned.taken) == 8
    assert frozenset(lease(store, "b").tend({}).taken) == ALL - frozenset(returned.taken)


def test_who_leaves_is_followed_at_once(store: Store) -> None:
    first, second = lease(store, "a"), lease(store, "b")
    held = first.tend({}).taken
    second.tend({})
    first.leave(held)
    tended = second.tend({})
    assert (frozenset(tended.taken), tended.collectors) == (ALL, 1)


def test_a_halted_commit_holds_up_nobody_but_its_own_partition(office: Office, url: str) -> None:
    if office.store.database.is_sqlite:
        pytest.skip("SQLite has one writer at a time, whoever it is")
    event = Reporter().begin()
    partition = partition_of(event.device)
    other = Store(url, now_ms=NOON_MS)
    run_out(office.store, "office")
    with office.store.database.writing() as connection:
        commit(connection, [arrival(event, office.terms[partition])], NOON_MS, Memory())
        tended = lease(other, "b").tend({})
        assert frozenset(tended.taken) == ALL - {partition}
    later = lease(other, "b").tend(tended.taken)
    assert later.taken == {partition: office.terms[partition] + 1}
    assert [r.seq for r in other.stored_rows()] == [1], "it was still the owner"
    other.close()


def test_a_halted_commit_is_ended_by_the_server(
    office: Office, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if office.store.database.is_sqlite:
        pytest.skip("SQLite has no server that could")
    monkeypatch.setattr(collector.store.database, "HALTED_MS", 50)
    event = Reporter().begin()
    partition = partition_of(event.device)
    other = Office.open(tmp_path, url=url, owner="office")
    halted = office.store.database.writing()
    commit(halted.__enter__(), [arrival(event, other.terms[partition])], NOON_MS, Memory())
    # This one waits for the row until the server has ended the session that holds it.
    take_over(other, partition)
    with pytest.raises(StoreFailed, match="terminating connection"):
        halted.__exit__(None, None, None)
    assert list(other.store.stored_rows()) == []
    other.close()
