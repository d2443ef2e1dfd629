from __future__ import annotations

import pytest

from agent.core.plan import make_plan
from agent.wire.assignment import Admitted, AssignedItem
from agent.wire.vocabulary import ItemKind
from simulator.live.fleet import FleetBlueprints
from tests.agent.core.script import facts, profile


def decision(user: str | None, *, seconds: int = 60) -> Admitted:
    """What a device reads: objects of its own."""
    app = AssignedItem(id="office", name="Office", kind=ItemKind.APP, expected_seconds=seconds)
    return Admitted(user=user, profile=profile(), items=(app,))


@pytest.mark.parametrize("users", [(None, None), ("jane@company.com", "bob@company.com")])
def test_devices_that_read_the_same_decision_share_their_items_but_not_their_user(
    users: tuple[str | None, str | None],
) -> None:
    shared = FleetBlueprints()
    plans = [shared.plan(facts(), decision(user)) for user in users]
    assert plans[0].items is plans[1].items
    assert plans == [make_plan(facts(), decision(user)) for user in users]


def test_a_decision_that_differs_in_one_field_shares_nothing() -> None:
    shared = FleetBlueprints()
    shared.plan(facts(), decision(None))
    assert shared.plan(facts(), decision(None, seconds=61)) == make_plan(
        facts(), decision(None, seconds=61)
    )
