from __future__ import annotations

from pathlib import Path

import pytest

from agent.assembly import EndpointOptions, build_endpoint
from agent.core.effects import AskPerson
from agent.core.events import Event, StepFinished, StepResult
from agent.given import BadInput
from agent.wire.vocabulary import EnrollmentType, PersonAction, Variant
from simulator.endpoint import SimulatedEndpoint
from simulator.ground_truth import GROUND_TRUTH_CODEC, Asked, GroundTruth
from tests.simulator.small_world import make_step


def options(
    folder: Path,
    *,
    person: bool = False,
    enrollment_type: EnrollmentType = EnrollmentType.WINDOWS_AUTOPILOT,
    variant: Variant = Variant.STANDARD,
) -> EndpointOptions:
    return EndpointOptions(
        device="DESKTOP-000001",
        enrollment_type=enrollment_type,
        variant=variant,
        user="john.doe@company.com",
        state_dir=folder,
        person=person,
    )


def act(endpoint: SimulatedEndpoint, effect: object, at_ms: int) -> list[tuple[int, Event]]:
    posted: list[tuple[int, Event]] = []
    endpoint.attach(lambda event, when: posted.append((when or 0, event)))
    endpoint.act(effect, at_ms)  # type: ignore[arg-type]
    return posted


def test_the_agent_finds_it_by_its_entry_point(tmp_path: Path) -> None:
    endpoint = build_endpoint("simulated", options(tmp_path))
    assert endpoint.facts().platform == "Windows 11"
    assert endpoint.facts().user == "john.doe@company.com"


def test_an_app_is_found_by_the_next_agent(tmp_path: Path) -> None:
    """The first agent is killed; its record is what counts."""
    done_ms, _ = act(SimulatedEndpoint(options(tmp_path)), make_step("vpn"), 0)[-1]
    again = make_step("vpn", run=2, detect_first=True)
    ((_, event),) = act(SimulatedEndpoint(options(tmp_path)), again, done_ms)
    assert isinstance(event, StepFinished)
    assert event.result is StepResult.ALREADY_PRESENT


def test_the_record_is_on_the_disk_before_anything_is_said(tmp_path: Path) -> None:
    endpoint = SimulatedEndpoint(options(tmp_path))
    seen: list[bool] = []
    endpoint.attach(
        lambda _, __: seen.append(
            b"vpn" in (tmp_path / "DESKTOP-000001.simulated.json").read_bytes()
        )
    )
    endpoint.act(make_step("vpn"), 0)
    assert seen
    assert all(seen)


def test_screens_are_for_the_real_person_unless_one_is_simulated(tmp_path: Path) -> None:
    ask = AskPerson("sign_in", "sign_in", (PersonAction.PROCEED,))
    assert act(SimulatedEndpoint(options(tmp_path)), ask, 0) == []
    assert len(act(SimulatedEndpoint(options(tmp_path, person=True)), ask, 0)) == 1


def test_a_foreign_record_is_refused_with_its_name(tmp_path: Path) -> None:
    file = tmp_path / "DESKTOP-000001.simulated.json"
    file.write_text("{")
    with pytest.raises(BadInput, match=r"DESKTOP-000001\.simulated\.json: is no record"):
        SimulatedEndpoint(options(tmp_path))
    assert file.read_text() == "{"


def test_a_device_under_an_administrator_is_one_with_a_knox_screen(tmp_path: Path) -> None:
    def maker(variant: Variant) -> str | None:
        android = EnrollmentType.ANDROID_ENTERPRISE
        chosen = options(tmp_path, enrollment_type=android, variant=variant)
        return SimulatedEndpoint(chosen).facts().manufacturer

    assert maker(Variant.DEVICE_ADMINISTRATOR) == "Samsung"
    assert maker(Variant.STANDARD) == "Google"


def test_whoever_starts_the_agent_again_is_back_at_the_device(tmp_path: Path) -> None:
    """The person had gone for good when the first agent ended."""
    gone = GroundTruth(asked=Asked("sign_in", 0, None, answers=False))
    file = tmp_path / "DESKTOP-000001.simulated.json"
    file.write_bytes(GROUND_TRUTH_CODEC.dumps(gone))
    ask = AskPerson("remote_management", "remote_management", (PersonAction.PROCEED,))
    assert len(act(SimulatedEndpoint(options(tmp_path, person=True)), ask, 10)) == 1
