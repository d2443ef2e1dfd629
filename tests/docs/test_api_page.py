"""The API's page: its commands work as they stand, and it leaves out no route and no code."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from agent.wire.vocabulary import EndState
from collector.api import make_app
from collector.api.problems import CODES
from collector.api.throttle import RequestLimits
from collector.pages.graph_reports import DETAILS, FAILURES, SUMMARY
from tests.collector.asking import TOKEN, services
from tests.collector.fleet import Office, Reporter, failure
from tests.collector.http_server import serving
from tests.collector.portal import IOS, ROWS, Sender, abandoned

PAGE = (Path(__file__).parents[2] / "docs" / "api.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^```bash\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.system
@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_every_command_works_as_it_stands(tmp_path: Path) -> None:
    office = Office.open(tmp_path)
    device, failed = Reporter(), Reporter(device="DESKTOP-FAIL001", stream="other")
    office.take_in([device.begin(), device.move(75)])
    office.take_in([failed.begin(), failed.end(EndState.REFUSED, problem=failure())])
    office.take_in(Sender("phone").sent(abandoned(ROWS["terms-decline"], IOS)))
    with serving(services(office)) as url:
        for command in COMMANDS:
            ran = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", command],
                cwd=tmp_path,
                env={**os.environ, "URL": url, "TOKEN": TOKEN, "no_proxy": "*"},
                capture_output=True,
                text=True,
                check=False,
            )
            assert ran.returncode == 0, f"{command}\n{ran.stdout}\n{ran.stderr}"
    office.close()
    assert len(COMMANDS) >= 14


def test_the_columns_are_those_of_the_reports() -> None:
    for name, columns in (
        ("getEnrollmentAbandonmentSummaryReport", SUMMARY),
        ("getEnrollmentAbandonmentDetailsReport", DETAILS),
        ("getEnrollmentFailureDetailsReport", FAILURES),
    ):
        (line,) = (one for one in PAGE.splitlines() if one.startswith(f"| `{name}`"))
        cell = line.rsplit("|", 2)[1]
        assert [word for word in re.findall(r"`(\w+)`", cell) if word in columns] == list(columns)


def test_every_code_is_explained() -> None:
    for code in CODES:
        assert f"`{code}`" in PAGE, code


def test_the_figures_of_the_throttle_are_the_right_ones() -> None:
    limits = RequestLimits()
    assert f"{limits.of_a_token:,} times a minute" in PAGE
    assert f"answered {limits.without_a_token} times a minute" in PAGE


def test_the_routes_of_this_page_exist() -> None:
    paths = make_app(None).openapi()["paths"]
    for route in (
        "/api/devices/enrollment-status",
        "/api/devices/enrollment-status/active",
        "/api/devices/enrollment-status/failures",
        "/api/devices/esp-profiles",
        "/api/devices/esp-profile-order",
        "/api/devices/{device}/effective-profile",
        "/api/reports/incomplete-user-enrollments",
        "/api/reports/stored",
    ):
        assert route in paths
        assert route in PAGE
