"""Admission and everything an administrator decides, on both databases and by several at the same time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from sqlalchemy import Engine, event, select

from agent.wire.assignment import Admitted, Refused
from agent.wire.messages import CollectLogs
from agent.wire.vocabulary import EndState, EnrollmentType, FailureKind
from collector.admission import AdmissionRules
from collector.decisions import Assigned
from collector.desk import ProfileExists
from collector.device_commands import NoAttempt
from collector.profiles.setup import Group, ProfileEntry, Registration, Setup
from collector.store import schema
from collector.store.database import upsert
from collector.store.store import Store
from tests.collector.fleet import NOON_MS, Office, Reporter

DAY_MS = 24 * 60 * 60 * 1000


@contextmanager
def colleagues(count: int, url: str, folder: Path) -> Iterator[list[Office]]:
    """Several collectors over one database, as far as deciding goes."""
    offices = [Office.open(folder, url=url, owner=f"c{n}") for n in range(count)]
    try:
        yield offices
    finally:
        for office in offices:
            office.close()


def at_once(work: Sequence[Callable[[], list[Assigned]]]) -> list[Assigned]:
    """Everybody begins at the same moment; what all of them came to."""
    barrier = Barrier(len(work))

    def begin(one: Callable[[], list[Assigned]]) -> list[Assigned]:
        barrier.wait(30)
        return one()

    with ThreadPoolExecutor(len(work)) as pool:
        return [assigned for found in pool.map(begin, work) for assigned in found]


def applicants(office: Office, count: int, user: str | None) -> list[Reporter]:
    devices = [Reporter(device=f"D{n}", stream=f"s{n}", user=user) for n in range(count)]
    office.take_in([device.begin() for device in devices])
    return devices


def test_the_device_limit_holds_when_all_apply_at_the_same_moment(
    office: Office, url: str, tmp_path: Path
) -> None:
    office.desk.apply(Setup(admission=AdmissionRules(device_limit=3)), NOON_MS)
    devices = applicants(office, 8, "jane@company.com")
    with colleagues(4, url, tmp_path) as offices:
        decided = at_once(
            [
                lambda office=offices[n % 4], device=device: office.desk.admit(  # type: ignore[misc]
                    [(device.device, device.attempt)], NOON_MS
                )
                for n, device in enumerate(devices)
            ]
        )
    admitted = [one for one in decided if isinstance(one.decision, Admitted)]
    refused = [one.decision for one in decided if isinstance(one.decision, Refused)]
    assert (len(admitted), len(refused)) == (3, 5)
    assert {one.failure.kind for one in refused} == {FailureKind.DEVICE_LIMIT_EXCEEDED}


def test_one_attempt_is_decided_once_whoever_is_asked(
    office: Office, url: str, tmp_path: Path
) -> None:
    (device,) = applicants(office, 1, "jane@company.com")
    with colleagues(4, url, tmp_path) as offices:
        decided = at_once(
            [
                lambda office=office: office.desk.admit(  # type: ignore[misc]
                    [(device.device, device.attempt)], NOON_MS
                )
                for office in offices
            ]
        )
    assert len(decided) == 4
    assert len({one.version for one in decided}) == 1


def test_two_that_decide_on_the_same_users_in_another_order_wait_for_nobody_for_ever(
    office: Office, url: str, tmp_path: Path
) -> None:
    """Locked in the order of asking, this ends in a deadlock on PostgreSQL, and devices without an answer."""
    users = [f"u{n}@company.com" for n in range(12)]
    first = [Reporter(device=f"A{n}", stream=f"a{n}", user=u) for n, u in enumerate(users)]
    second = [Reporter(device=f"B{n}", stream=f"b{n}", user=u) for n, u in enumerate(users)]
    office.take_in([device.begin() for device in (*first, *second)])
    with colleagues(2, url, tmp_path) as (one, other):
        decided = at_once(
            [
                lambda: one.desk.admit([(d.device, d.attempt) for d in first], NOON_MS),
                lambda: other.desk.admit([(d.device, d.attempt) for d in second[::-1]], NOON_MS),
            ]
        )
    assert len(decided) == 24


def test_users_are_locked_in_one_order_whatever_was_asked_first(office: Office) -> None:
    if office.store.database.is_sqlite:
        pytest.skip("SQLite has one writer at a time, and locks nobody")
    users = [f"u{n}@company.com" for n in (3, 1, 2)]
    devices = [Reporter(device=f"D{n}", stream=f"s{n}", user=u) for n, u in enumerate(users)]
    office.take_in([device.begin() for device in devices])
    locked: list[str] = []

    def note(_c: object, _cu: object, statement: str, values: Any, *_: object) -> None:
        if "FOR UPDATE" in statement:
            locked.extend(values.values())

    event.listen(Engine, "before_cursor_execute", note)
    try:
        office.desk.admit([(d.device, d.attempt) for d in devices], NOON_MS)
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    assert locked == sorted(users)


def test_versions_grow_within_the_store_and_a_decision_stays(office: Office) -> None:
    one, other = applicants(office, 2, "jane@company.com")
    keys = [(d.device, d.attempt) for d in (one, other)]
    first, second = office.desk.admit(keys, NOON_MS)
    assert second.version > first.version
    assert office.desk.admit(keys[::-1], NOON_MS + 1) == [second, first]
    assert office.desk.assigned(*keys[0]) == first


def test_an_attempt_that_is_unknown_or_over_is_not_decided(office: Office) -> None:
    device = Reporter()
    office.take_in([device.begin(), device.end(EndState.FAILED)])
    asked = [(device.device, device.attempt), ("NOBODY", "never")]
    assert office.desk.admit(asked, NOON_MS) == []


def test_a_name_that_no_database_can_spell_is_admitted_all_the_same(office: Office) -> None:
    device = Reporter(user="Rob\x00ert \U0001f600", platform="\x00", os_version="\x00")
    office.take_in([device.begin()])
    assert len(office.desk.admit([(device.device, device.attempt)], NOON_MS)) == 1
    (view,) = office.store.attempts()
    assert (view.user, view.platform) == (device.user, device.platform)
    assert view == office.store.derive()[0]


def test_profiles_are_kept_in_order_and_no_id_twice(office: Office) -> None:
    office.desk.add_profile(ProfileEntry(name="Kiosks", priority=7))
    office.desk.add_profile(ProfileEntry(name="All", default=True))
    with pytest.raises(ProfileExists):
        office.desk.add_profile(ProfileEntry(name="Kiosks"))
    names = [stored.profile.name for stored in office.desk.profiles()]
    assert names.index("Kiosks") < names.index("All")
    assert [s.profile.name for s in office.desk.profiles() if s.default] == ["All"]


def test_what_the_setup_says_replaces_what_was_there(office: Office) -> None:
    setup = Setup(groups={"Kiosks": Group(devices=("K-1",), users=("Jane@company.com",))})
    for _ in range(2):
        office.desk.apply(setup, NOON_MS)
    office.desk.apply(Setup(enrolled={"K-1": "jane@company.com"}), NOON_MS)
    device = Reporter(device="K-1", user="someone.else@company.com")
    office.take_in([device.begin()])
    (decided,) = office.desk.admit([(device.device, device.attempt)], NOON_MS)
    assert isinstance(decided.decision, Refused)
    assert decided.decision.failure.kind is FailureKind.DIFFERENT_USER


def test_several_that_begin_at_the_same_moment_begin_with_one_profile(
    url: str, tmp_path: Path
) -> None:
    """As two collectors do that are started together with the same setup."""
    Store(url, now_ms=NOON_MS).close()
    setup = Setup(profiles=(ProfileEntry(name="Kiosks"),))

    def begin(_: int) -> None:
        with colleagues(1, url, tmp_path / str(_)) as (office,):
            office.desk.apply(setup, NOON_MS)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(begin, range(4)))
    with colleagues(1, url, tmp_path) as (office,):
        assert [s.profile.name for s in office.desk.profiles()] == ["Kiosks"]


def test_a_registration_is_updated_not_doubled(office: Office) -> None:
    office.desk.register([Registration(device="A"), Registration(device="B", user="x")], NOON_MS)
    office.desk.register(
        [Registration(device="A", enrollment_type=EnrollmentType.IOS)], NOON_MS + 1
    )
    assert [(r.device, r.enrollment_type) for r in office.desk.registered()] == [
        ("A", EnrollmentType.IOS),
        ("B", None),
    ]


def test_a_command_is_for_the_latest_attempt_and_expires(office: Office) -> None:
    with pytest.raises(NoAttempt):
        office.commands.create("NOBODY", CollectLogs(), issued_by="test", wall_ms=NOON_MS)
    device = Reporter()
    office.take_in([device.begin("first"), device.begin("second")])
    row = office.commands.create(device.device, CollectLogs(), issued_by="test", wall_ms=NOON_MS)
    assert row.attempt == "second"
    assert [c.id for c in office.commands.of_device(device.device)] == [row.id]
    assert office.store.waiting_commands(NOON_MS) == {row.id: device.device}
    assert office.store.waiting_commands(row.expires_ms) == {}
    assert office.commands.lying(device.device) == [row.id]


def test_what_was_cleared_is_left_over_again_once_it_was_heard_of(office: Office) -> None:
    device = Reporter()
    office.take_in([device.begin(), device.end()])
    over_ms = NOON_MS + DAY_MS
    assert [one.device for one in office.store.leftovers(over_ms)] == [device.device]
    office.store.record_cleared([device.device], over_ms)
    office.store.record_cleared([device.device], over_ms)
    assert list(office.store.leftovers(over_ms)) == []
    office.store.record_presences([device.birth()], over_ms + 1)
    assert [one.presence for one in office.store.leftovers(over_ms)] == ["online"]


def test_of_two_words_of_one_device_in_one_batch_the_newer_session_counts(office: Office) -> None:
    device = Reporter(session=3)
    words = [
        device.birth().model_copy(update={"session": session, "state": state})
        for session, state in ((3, "online"), (2, "lost"), (4, "online"), (3, "goodbye"))
    ]
    assert office.store.record_presences(words, NOON_MS) == [words[0], words[2]]
    late = office.store.record_presences([words[3]], NOON_MS + 1)
    assert late == []
    assert office.store.device_presence(device.device) == ("online", NOON_MS)


def test_a_newer_session_that_another_collector_kept_meanwhile_stays(office: Office) -> None:
    """Looked at before, written after: the row itself has the last word."""
    device = Reporter(session=5)
    office.store.record_presences([device.birth()], NOON_MS)
    table = schema.PRESENCE
    with office.store.database.writing() as connection:
        kept = dict(connection.execute(select(table)).mappings().one())
        for session in (4, 6):
            values = [{**kept, "session": session, "state": "lost"}]
            upsert(connection, table, values, newest="session")
            told = connection.execute(select(table.c.session)).scalar_one()
            assert told == max(5, session)
