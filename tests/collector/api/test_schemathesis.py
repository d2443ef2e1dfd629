"""Schemathesis makes requests out of the API's own description: none is answered with a failure of ours, or off the description."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import (
    negative_data_rejection,
    positive_data_acceptance,
)

from agent.wire.vocabulary import EndState
from collector.api import make_app
from collector.api.throttle import RequestLimits
from collector.operations import Operations
from tests.collector.asking import TOKEN, services
from tests.collector.fleet import Office, Reporter, failure

NOT_HERE = ("/api/events", "/api/webhooks/{webhook}/test")
"""An answer that never ends is no business of a client that waits for the end, nor is one that calls other machines."""


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    office = Office.open(tmp_path_factory.mktemp("described"))
    device, failed = Reporter(), Reporter(device="DESKTOP-FAIL001", stream="other")
    office.take_in([device.begin(), device.move(75)])
    office.take_in([failed.begin(), failed.end(EndState.REFUSED, problem=failure())])
    app = make_app(services(office, limits=RequestLimits(10**9, 10**9)))
    app.state.operations = Operations(office.store.database, office.clock, office.metrics)
    yield schemathesis.openapi.from_asgi("/openapi.json", app)
    office.close()


# Few for every change; `make nightly`'s profile asks for many.
EXAMPLES = max(2, settings().max_examples // 50)
# Some rules no schema can state: that a cursor is one of this list, that a range is not longer than the report.
BEYOND_A_SCHEMA = [positive_data_acceptance, negative_data_rejection]

schema = schemathesis.pytest.from_fixture("described")


@pytest.mark.timeout(180)
@schema.exclude(path=list(NOT_HERE)).parametrize()
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
def test_no_request_is_answered_off_the_description(case: Any) -> None:
    case.call_and_validate(
        headers={"Authorization": f"Bearer {TOKEN}"}, excluded_checks=BEYOND_A_SCHEMA
    )
