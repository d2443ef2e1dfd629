"""Admission is decided from stored reports, once, and a setup file says how."""

from __future__ import annotations

import pytest

from agent.wire.assignment import Admitted, AssignedItem, Refused
from agent.wire.profile import EspProfile
from agent.wire.vocabulary import EndState, EnrollmentType, FailureKind
from collector.admission import AdmissionRules
from collector.decisions import Assigned
from collector.desk import ProfileExists
from collector.profiles.setup import Catalogue, Group, ProfileEntry, Registration, Setup
from tests.collector.fleet import Office, Reporter

ANN = "ann@company.com"


def begun(office: Office, device: str, user: str | None = ANN) -> tuple[Reporter, Assigned]:
    reporter = Reporter(device=device, user=user)
    office.take_in([reporter.begin()])
    return reporter, admitted(office, reporter)


def admitted(office: Office, reporter: Reporter) -> Assigned:
    found = office.desk.admit([(reporter.device, reporter.attempt)], office.clock.now_ms())
    assert len(found) == 1
    return found[0]


def kind(assigned: Assigned) -> FailureKind | None:
    decision = assigned.decision
    return decision.failure.kind if isinstance(decision, Refused) else None


def test_a_fresh_store_admits_everybody_with_the_default_profile(office: Office) -> None:
    _, assigned = begun(office, "A")
    assert isinstance(assigned.decision, Admitted)
    assert assigned.decision.profile.name == "Default ESP"
    assert assigned.decision.user == ANN


def test_what_was_decided_stays_decided(office: Office) -> None:
    reporter, first = begun(office, "A")
    office.desk.apply(Setup(admission=AdmissionRules(blocked_types=(reporter.enrollment_type,))), 0)
    assert admitted(office, reporter) == first


def test_nothing_is_decided_without_the_stored_report(office: Office) -> None:
    reporter = Reporter()
    office.take_in([reporter.move(10)])
    assert office.desk.admit([(reporter.device, reporter.attempt)], 0) == []
    assert office.desk.admit([("UNKNOWN", "attempt-1")], 0) == []


def test_versions_grow_within_the_store(office: Office) -> None:
    versions = [begun(office, name)[1].version for name in "ABC"]
    assert versions == sorted(set(versions))


def test_the_limit_counts_enrolled_and_enrolling_devices_of_the_user(office: Office) -> None:
    office.desk.apply(
        Setup(admission=AdmissionRules(device_limit=2), enrolled={"OLD": "Ann@Company.com"}), 0
    )
    first, decision = begun(office, "A")
    assert kind(decision) is None
    assert kind(begun(office, "B")[1]) is FailureKind.DEVICE_LIMIT_EXCEEDED
    assert kind(begun(office, "C", "ben@company.com")[1]) is None
    office.take_in([first.end(EndState.FAILED)])
    assert kind(begun(office, "D")[1]) is None, "a device that failed is not the user's"


def test_one_user_in_two_spellings_has_one_limit(office: Office) -> None:
    office.desk.apply(Setup(admission=AdmissionRules(device_limit=1)), 0)
    assert kind(begun(office, "A", "Ann@Company.COM")[1]) is None
    assert kind(begun(office, "B", ANN)[1]) is FailureKind.DEVICE_LIMIT_EXCEEDED


def test_a_refused_attempt_does_not_count_against_the_limit(office: Office) -> None:
    office.desk.apply(Setup(admission=AdmissionRules(device_limit=1)), 0)
    first, decision = begun(office, "A")
    assert kind(decision) is None
    assert kind(begun(office, "B")[1]) is FailureKind.DEVICE_LIMIT_EXCEEDED
    office.take_in([first.end(EndState.ABANDONED)])
    third, decision = begun(office, "C")
    assert kind(decision) is None
    office.take_in([third.end(EndState.SUCCEEDED)])
    again = Reporter(device="C", user=ANN, stream="stream-2")
    office.take_in([again.begin("C-again")])
    assert kind(admitted(office, again)) is None, "the device itself is not one too many"


def test_two_of_one_users_devices_in_one_batch_do_not_both_slip_under_the_limit(
    office: Office,
) -> None:
    office.desk.apply(Setup(admission=AdmissionRules(device_limit=1)), 0)
    devices = [Reporter(device=name, user=ANN) for name in ("A", "B")]
    office.take_in([device.begin() for device in devices])
    decided = office.desk.admit([(d.device, d.attempt) for d in devices], 0)
    assert [kind(a) for a in decided] == [None, FailureKind.DEVICE_LIMIT_EXCEEDED]


def test_a_device_that_succeeded_for_one_user_is_refused_to_another(office: Office) -> None:
    reporter, _ = begun(office, "A")
    office.take_in([reporter.end(EndState.SUCCEEDED)])
    other = Reporter(device="A", user="ben@company.com", stream="stream-2")
    office.take_in([other.begin("second")])
    decision = admitted(office, other).decision
    assert isinstance(decision, Refused)
    assert (decision.failure.kind, decision.failure.code) == (
        FailureKind.DIFFERENT_USER,
        "0x801c0003",
    )


def test_setup_decides_by_groups_and_gives_the_items_of_the_type(office: Office) -> None:
    item = AssignedItem(id="vpn", name="VPN Client")
    office.desk.apply(
        Setup(
            organization="Contoso",
            profiles=(
                ProfileEntry(name="Default ESP", default=True),
                ProfileEntry(name="Kiosk ESP", assigned_groups=("Kiosk Devices",), priority=3),
                ProfileEntry(name="Executive ESP", assigned_groups=("Executives",), priority=2),
            ),
            catalogue={EnrollmentType.WINDOWS_AUTOPILOT: Catalogue(items=(item,))},
            groups={
                "Kiosk Devices": Group(devices=("KIOSK",)),
                "Executives": Group(users=("Ann@company.com",)),
            },
        ),
        0,
    )
    names = {}
    for device, user in (("KIOSK", ANN), ("LAPTOP", ANN), ("OTHER", "ben@company.com")):
        decision = begun(office, device, user)[1].decision
        assert isinstance(decision, Admitted)
        assert decision.items == (item,)
        assert decision.organization == "Contoso"
        names[device] = decision.profile.name
    assert names == {"KIOSK": "Kiosk ESP", "LAPTOP": "Executive ESP", "OTHER": "Default ESP"}


def test_refreshing_gives_a_new_version_only_when_something_changed(office: Office) -> None:
    reporter, first = begun(office, "A")
    assert office.desk.refresh("A", reporter.attempt, 0) == first
    office.desk.apply(Setup(profiles=(ProfileEntry(name="New ESP", default=True),)), 0)
    second = office.desk.refresh("A", reporter.attempt, 0)
    assert second is not None
    assert second.version > first.version
    assert isinstance(second.decision, Admitted)
    assert second.decision.profile.name == "New ESP"
    assert office.desk.assigned("A", reporter.attempt) == second


def test_a_profile_is_added_behind_the_others_and_only_once(office: Office) -> None:
    entry = ProfileEntry(name="Kiosk ESP", assigned_groups=("Kiosk Devices",))
    stored = office.desk.add_profile(entry)
    assert (stored.profile.id, stored.priority) == ("kiosk-esp", 2)
    with pytest.raises(ProfileExists, match="kiosk-esp"):
        office.desk.add_profile(entry)


def test_a_new_default_takes_the_place_of_the_old_one(office: Office) -> None:
    office.desk.add_profile(ProfileEntry(name="Better ESP", default=True))
    assert [p.profile.name for p in office.desk.profiles() if p.default] == ["Better ESP"]


def test_registered_devices_are_remembered_with_their_group(office: Office) -> None:
    office.desk.apply(
        Setup(
            admission=AdmissionRules(registered_only=True),
            profiles=(ProfileEntry(name="Kiosk ESP", assigned_groups=("Kiosks",), priority=1),),
        ),
        0,
    )
    rows = [Registration(device="A", user=ANN, group="Kiosks"), Registration(device="B")]
    assert office.desk.register(rows, 0) == 2
    assert [r.device for r in office.desk.registered()] == ["A", "B"]
    decision = begun(office, "A")[1].decision
    assert isinstance(decision, Admitted)
    assert decision.profile == EspProfile(id="kiosk-esp", name="Kiosk ESP")
    assert kind(begun(office, "C", "x@y")[1]) is FailureKind.NOT_REGISTERED
