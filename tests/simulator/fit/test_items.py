from __future__ import annotations

import pytest

from agent.wire.vocabulary import EnrollmentType, FailureKind, ItemKind, Variant
from simulator.fit.findings import Finding
from simulator.fit.history import ItemRecord, Make, Try
from simulator.fit.items import item_findings
from simulator.fit.makes import Kin
from simulator.fit.subjects import Subject, worked_share
from simulator.scenario import Duration, Fault

MAKE = Make(EnrollmentType.WINDOWS_AUTOPILOT, Variant.STANDARD, None)
IPHONE = Make(EnrollmentType.IOS, Variant.STANDARD, None)
KIN = Kin(hardware="", log_pace=0.0, log_pace_variance=0.0, person="typical")
WORKED = Try("worked", 60.0)
CUT_OFF = Try("cut_off", 30.0)
BROKEN = Fault(kind="installer_failed", chance=0.1, exit_code=1603)
BUSY = Fault(kind="installer_failed", chance=0.1, exit_code=1618)


def failed(code: str, kind: FailureKind = FailureKind.INSTALLER_FAILED) -> Try:
    return Try("failed", 50.0, kind, code)


IS_BROKEN, IS_BUSY = failed("0x80070643"), failed("0x80070652")


def found(
    troubled: list[tuple[Try, ...]],
    *faults: Fault,
    worked: int = 60,
    make: Make = MAKE,
) -> dict[str, Finding]:
    """What is fitted to these devices, by the end of its label."""
    record = ItemRecord(ItemKind.APP, worked, [60.0] * worked, troubled)
    subject = Subject(("apps", 0), "vpn", Duration(median_s=1), faults, [(make, record)])
    findings = item_findings(subject, {make: KIN}, {make: 0.0})
    return {f.label.removeprefix("apps vpn "): f for f in findings}


def test_a_fault_is_known_by_its_exit_code() -> None:
    fitted = found([(IS_BROKEN, WORKED), (IS_BUSY, WORKED), (IS_BUSY, WORKED)], BROKEN, BUSY)
    assert fitted["installer_failed 1603 chance"].value == pytest.approx(1 / 63, abs=1e-4)
    assert fitted["installer_failed 1618 chance"].value == pytest.approx(2 / 62, abs=1e-4)


def test_a_later_fault_shows_that_the_one_before_it_is_gone() -> None:
    """The scenario's faults come in their order: who meets the second is past the first."""
    fitted = found([(IS_BROKEN, IS_BUSY, WORKED)] * 40, BROKEN, BUSY)
    recovery = fitted["installer_failed 1603 recovery"]
    assert (recovery.count, recovery.value) == (40, 1.0)


def test_an_earlier_fault_shows_nothing_of_a_later_one() -> None:
    fitted = found([(IS_BUSY, IS_BROKEN, WORKED)] * 40, BROKEN, BUSY)
    recovery = fitted["installer_failed 1618 recovery"]
    assert 40 <= recovery.count <= 80


def test_the_same_fault_again_shows_that_it_is_still_there() -> None:
    fitted = found([(IS_BROKEN, IS_BROKEN, WORKED)] * 40, BROKEN)
    recovery = fitted["installer_failed 1603 recovery"]
    assert (recovery.count, recovery.value) == (80, 0.5)


def test_a_fault_of_some_hardware_is_left_alone_because_reports_name_none() -> None:
    some = BROKEN.model_copy(update={"hardware": ("old",)})
    assert not [label for label in found([(IS_BROKEN, WORKED)] * 40, some) if "chance" in label]


def test_a_new_fault_comes_after_those_that_are_known() -> None:
    fitted = found([(IS_BUSY, WORKED)] * 10, BROKEN)
    new = fitted["installer_failed chance"]
    assert new.path == ("apps", 0, "faults", 1, "chance")
    assert fitted["installer_failed exit_code"].value == 1618


def test_the_network_is_no_fault_of_the_item() -> None:
    lost = failed("0x80072EE2", FailureKind.NETWORK_TIMEOUT)
    fitted = found([(lost, WORKED)] * 10, BROKEN)
    assert fitted["installer_failed 1603 chance"].value == 0
    assert fitted["installer_failed 1603 chance"].count == 70
    assert not [label for label in fitted if "network" in label]


def test_codes_of_phones_are_no_exit_codes() -> None:
    phone = failed("0x87D13B64")
    fitted = found(
        [(phone, WORKED)] * 10, BROKEN.model_copy(update={"exit_code": None}), make=IPHONE
    )
    assert fitted["installer_failed chance"].value == pytest.approx(10 / 70, abs=1e-3)


def test_tries_that_were_cut_off_count_by_the_share_that_works() -> None:
    """Every second try fails, so every second one that was cut off would have failed."""
    troubled: list[tuple[Try, ...]] = [(IS_BROKEN,)] * 30
    troubled += [(CUT_OFF,)] * 9
    record = ItemRecord(ItemKind.APP, 30, [60.0] * 30, troubled)
    assert worked_share([(MAKE, record)]) == 0.5
    assert worked_share([(MAKE, ItemRecord(ItemKind.APP))]) == 1.0


def test_the_time_takes_what_was_cut_off_by_that_share() -> None:
    """Half of the tries fail: what was cut off moves the median by half as much as it would otherwise."""
    medians: dict[float, float] = {}
    for share, broken in ((1.0, 0), (0.5, 60)):
        troubled: list[tuple[Try, ...]] = [(IS_BROKEN,)] * broken
        troubled += [(Try("cut_off", 60.0),)] * 30
        record = ItemRecord(ItemKind.APP, 60, [float(s) for s in range(40, 100)], troubled)
        subject = Subject(("apps", 0), "vpn", None, (BROKEN,), [(MAKE, record)])
        (time, *_) = item_findings(subject, {MAKE: KIN}, {MAKE: 0.0})
        medians[share] = time.value["median_s"]
    assert 66 < medians[0.5] < medians[1.0]
