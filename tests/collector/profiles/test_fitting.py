"""What is too large to be sent is refused where it is written, or else at once and in words."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.wire.assignment import Admitted, AssignedItem, Assignment, Refused
from agent.wire.codec import PAYLOAD_BYTES_MAX, decode, encode
from agent.wire.messages import Signed
from agent.wire.profile import EspProfile
from agent.wire.topics import Channel, device_topic
from agent.wire.vocabulary import EnrollmentType, FailureKind
from collector.files import ContentRefused, FileRefused, load
from collector.keys import load_or_make
from collector.profiles.fitting import fitted, overflow, signed_bytes
from collector.profiles.setup import Catalogue, ProfileEntry, Setup
from tests.collector.fleet import TENANT, Office, Reporter

WINDOWS = EnrollmentType.WINDOWS_AUTOPILOT


def items(count: int, name_length: int = 200) -> tuple[AssignedItem, ...]:
    return tuple(AssignedItem(id=f"app-{n}", name="x" * name_length) for n in range(count))


def offer(count: int, message: str | None = None) -> Admitted:
    profile = EspProfile(id="p", name="Kiosk ESP", custom_message=message)
    return Admitted(profile=profile, items=items(count))


def test_the_size_is_that_of_the_signed_message_with_the_longest_envelope(tmp_path: Path) -> None:
    longest = Assignment(
        device="d" * 64,
        attempt="a" * 128,
        store="s" * 128,
        term=2**53,
        version=2**53,
        issued_at=datetime(2025, 6, 15, 12, 0, 0, 123456, UTC),
        decision=offer(3, "Ünï\n"),
    )
    signed = load_or_make(tmp_path).sign(longest)
    assert signed_bytes(longest.decision) == len(encode(signed))


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(150, 200), st.integers(1, 256), st.text(max_size=10_000))
def test_what_is_said_to_fit_can_be_sent(
    tmp_path: Path, count: int, name_length: int, message: str
) -> None:
    profile = EspProfile(id="p", name="p", custom_message=message)
    decision = fitted(Admitted(profile=profile, items=items(count, name_length)))
    sent = Assignment(
        device="d" * 64,
        attempt="a" * 128,
        store="s" * 36,
        term=9,
        version=9,
        issued_at=datetime.now(UTC),
        decision=decision,
    )
    signed = load_or_make(tmp_path / "keys").sign(sent)
    assert decode(Signed, encode(signed)) == signed


def test_an_offer_that_fits_stays_as_it_is() -> None:
    assert fitted(offer(20, "Hello")) == offer(20, "Hello")
    assert overflow(offer(20, "Hello")) is None


def test_an_offer_that_does_not_fit_becomes_a_refusal_with_sizes_and_remedy() -> None:
    decision = fitted(offer(200))
    assert isinstance(decision, Refused)
    failure = decision.failure
    assert failure.kind is FailureKind.BAD_ASSIGNMENT
    assert f"a message holds {PAYLOAD_BYTES_MAX:,}" in failure.engineer
    assert "200 items take" in failure.engineer
    assert failure.engineer.endswith(": assign fewer items or shorten custom_message.")
    assert "support person" in failure.person


def test_where_the_message_is_what_is_large_the_remedy_names_it_first() -> None:
    found = overflow(offer(60, "漢" * 10_000))
    assert found is not None
    assert (found.field, found.is_of_items) == ("custom_message", False)
    assert found.remedy == "shorten custom_message or assign fewer items"


def oversized_setup(directory: Path, **changes: Any) -> Path:
    apps = [{"id": f"app-{n}", "name": "x" * 200} for n in range(200)]
    content = {"catalogue": {WINDOWS.value: {"items": apps}}, **changes}
    path = directory / "setup.json"
    path.write_text(json.dumps(content))
    return path


def test_a_setup_whose_items_do_not_fit_is_refused_with_file_key_and_remedy(tmp_path: Path) -> None:
    path = oversized_setup(tmp_path, profiles=[{"name": "Kiosk ESP"}])
    with pytest.raises(FileRefused) as refused:
        load(path, Setup)
    told = str(refused.value)
    assert told.startswith(f"{path}: catalogue.windows_autopilot.items: with profile 'Kiosk ESP'")
    assert "assign fewer items" in told
    assert "\n" not in told


def test_a_setup_without_profiles_is_measured_with_the_default_one(tmp_path: Path) -> None:
    with pytest.raises(FileRefused, match="with profile 'Default ESP'"):
        load(oversized_setup(tmp_path), Setup)


def test_a_setup_whose_message_is_what_is_large_names_the_profile(tmp_path: Path) -> None:
    apps = [{"id": f"app-{n}", "name": "x" * 200} for n in range(60)]
    path = oversized_setup(
        tmp_path,
        catalogue={WINDOWS.value: {"items": apps}},
        profiles=[{"name": "A"}, {"name": "B", "custom_message": "漢" * 10_000}],
    )
    with pytest.raises(FileRefused, match=r"profiles\[1\]\.custom_message: with the items of "):
        load(path, Setup)


def test_a_profile_that_does_not_fit_beside_the_items_is_not_added(office: Office) -> None:
    office.desk.apply(Setup(catalogue={WINDOWS: Catalogue(items=items(60))}), 0)
    before = office.desk.profiles()
    with pytest.raises(ContentRefused) as refused:
        office.desk.add_profile(ProfileEntry(name="Long", custom_message="漢" * 10_000))
    assert refused.value.key == "custom_message"
    assert "with the items of windows_autopilot an assignment takes" in refused.value.sentence
    assert office.desk.profiles() == before


def test_a_device_whose_assignment_does_not_fit_hears_so_at_once(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As from a store whose catalogue was never measured."""
    monkeypatch.setattr(Setup, "_assignments_fit", lambda _: None)
    office.desk.apply(Setup(catalogue={WINDOWS: Catalogue(items=items(200))}), 0)
    device = Reporter()
    office.take_in([device.begin()])
    said, attempts = office.inbound.answer_births([(device.device, device.stream)], office.terms)
    said += office.inbound.admit(attempts, office.terms)
    topic = str(device_topic(TENANT, device.device, Channel.ASSIGNMENT))
    (payload,) = [one.payload for one in said if one.topic == topic]
    assigned = office.desk.assigned(device.device, device.attempt)
    assert len(payload) <= PAYLOAD_BYTES_MAX
    assert assigned is not None
    assert isinstance(assigned.decision, Refused)
    assert assigned.decision.failure.kind is FailureKind.BAD_ASSIGNMENT


def test_refreshing_never_takes_over_what_does_not_fit(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = Reporter()
    office.take_in([device.begin()])
    (first,) = office.desk.admit([(device.device, device.attempt)], 0)
    monkeypatch.setattr(Setup, "_assignments_fit", lambda _: None)
    office.desk.apply(Setup(catalogue={WINDOWS: Catalogue(items=items(200))}), 0)
    assert office.desk.refresh(device.device, device.attempt, 0) == first
