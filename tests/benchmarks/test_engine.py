"""The engine's benchmark runs and prints what its readers rely on; how fast it was is nobody's test."""

import json
import re

import pytest

from agent.core.enrollment import Enrollment
from agent.wire.vocabulary import EndState, EnrollmentType
from benchmarks import engine
from benchmarks.recordings import Recording, record, record_all

KEYS = {
    "benchmark", "attempts", "recordings", "events", "events_per_second", "us_per_event",
    "us_per_attempt", "us_per_event_of_large_plan", "us_per_progress", "bytes_per_live_attempt", "live_attempts", "yardsticks",
    "ratios", "by_type",
}  # fmt: skip
RECORDINGS = record_all()


def name_of(recording: Recording) -> str:
    return f"{recording.enrollment_type}-{recording.path}"


@pytest.mark.parametrize("recording", RECORDINGS, ids=name_of)
def test_a_recording_is_a_whole_attempt_whose_every_input_counts(recording: Recording) -> None:
    """What is timed is work: no recorded input is one that the machine refuses."""
    machine = Enrollment()
    for event, now_ms in recording.inputs:
        machine.handle(event, now_ms)
        assert machine.refusal is None
    assert machine.is_settled
    rough = recording.path == "rough"
    assert recording.end_state is (EndState.SUCCEEDED_ON_RETRY if rough else EndState.SUCCEEDED)


def test_recording_twice_gives_the_same_inputs() -> None:
    assert record(EnrollmentType.IOS, "rough") == record(EnrollmentType.IOS, "rough")


def test_json_has_the_documented_keys_and_every_type(capsys: pytest.CaptureFixture[str]) -> None:
    engine.main(["--json", "--attempts", "1"])
    figures = json.loads(capsys.readouterr().out)
    assert figures.keys() == KEYS
    assert figures["by_type"].keys() == set(EnrollmentType)
    assert all(paths.keys() == {"happy", "rough"} for paths in figures["by_type"].values())
    assert figures["events"] == sum(len(r.inputs) for r in RECORDINGS)
    assert figures["events_per_second"] > 0
    assert figures["bytes_per_live_attempt"] > 1_000
    assert all(value > 0 for value in figures["yardsticks"].values())
    assert figures["ratios"]["event_to_dict"] > 1


def test_every_key_is_documented() -> None:
    """The module says what each key means, the nested ones included."""
    documented = set(re.findall(r"`(\w+)`", engine.__doc__ or ""))
    figures = engine.measure(RECORDINGS[:2], 1)
    nested = figures["yardsticks"].keys() | figures["ratios"].keys()
    (paths,) = figures["by_type"].values()
    assert (KEYS | nested | paths["happy"].keys()) <= documented


def test_the_profile_names_functions_of_the_agent(capsys: pytest.CaptureFixture[str]) -> None:
    engine.main(["--profile", "--attempts", "1"])
    heading, *lines, outside = capsys.readouterr().out.splitlines()
    assert "by its own time" in heading
    assert len(lines) == engine.PROFILE_LINES
    assert all("agent/core/" in line or "agent/wire/" in line for line in lines)
    assert "not the agent's" in outside


@pytest.mark.parametrize("attempts", ["0", "-1", "many"])
def test_a_bad_number_of_attempts_is_named(
    attempts: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        engine.main([f"--attempts={attempts}"])
    assert caught.value.code == 2
    assert f"'{attempts}' is not a whole number from 1" in capsys.readouterr().err
