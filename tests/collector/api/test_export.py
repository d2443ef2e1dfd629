"""The history that a collector gives away: every report as it was stored, and nothing that is a secret."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from agent.wire.events import PhaseChanged, Report
from agent.wire.vocabulary import Phase, RowState
from collector.api import report_lines
from collector.cli import app
from tests.collector.fleet import Office, Reporter


def parsed(lines: Iterator[str] | list[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in lines]


@pytest.fixture
def devices(office: Office) -> list[Reporter]:
    """Two devices whose reports arrived in turns."""
    first, second = Reporter(device="DESKTOP-2"), Reporter(device="DESKTOP-1", stream="stream-2")
    moved = PhaseChanged(phase=Phase.DEVICE_SETUP, state=RowState.IN_PROGRESS)
    office.take_in([first.begin(), second.begin()])
    office.take_in([first.event(moved, attempt_ms=5), second.end(), first.end()])
    return [first, second]


def test_every_report_comes_out_as_it_went_in_by_device_and_in_order(
    office: Office, devices: list[Reporter]
) -> None:
    lines = parsed(report_lines(office.store))
    assert [(line["device"], line["seq"]) for line in lines] == [
        ("DESKTOP-1", 1),
        ("DESKTOP-1", 2),
        ("DESKTOP-2", 1),
        ("DESKTOP-2", 2),
        ("DESKTOP-2", 3),
    ]
    sent = {(e.device, e.stream, e.seq): e.report for device in devices for e in device.sent}
    for line in lines:
        assert set(line) == {"device", "stream", "seq", "report"}
        key = (line["device"], line["stream"], line["seq"])
        assert Report.model_validate(line["report"]) == sent[key]  # type: ignore[index]


def test_the_streams_of_a_device_come_in_the_order_of_their_arrival(office: Office) -> None:
    old, new = Reporter(stream="z-old"), Reporter(stream="a-new", number=1)
    office.take_in([old.begin(), old.end()])
    office.take_in([new.begin()])
    assert [line["stream"] for line in parsed(report_lines(office.store))] == [
        "z-old",
        "z-old",
        "a-new",
    ]


def test_the_program_prints_them_from_the_data_directory(tmp_path: Path) -> None:
    office, device = Office.open(tmp_path), Reporter()
    office.take_in([device.begin(), device.end()])
    office.close()
    result = CliRunner(mix_stderr=False).invoke(
        app, ["export", "--data", str(tmp_path), "--reports"]
    )
    assert result.exit_code == 0
    kinds = [line["report"]["body"]["kind"] for line in parsed(result.stdout.splitlines())]  # type: ignore[index]
    assert kinds == ["attempt_started", "attempt_ended"]
