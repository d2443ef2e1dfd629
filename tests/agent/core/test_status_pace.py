"""When a status is told: what belongs together in one, what cannot wait at once, and never more than one a second."""

from __future__ import annotations

import pytest

from agent.core import effects as do
from agent.core.shell import STATUS_INTERVAL_MS, STATUS_SETTLE_MS, StatusPace, is_urgent
from agent.wire import events as report
from agent.wire.vocabulary import (
    Choice,
    Context,
    EndState,
    Gate,
    GateCause,
    ItemKind,
    PersonAction,
    RebootKind,
    Stage,
)


def test_nothing_new_is_not_told() -> None:
    assert StatusPace().next_ms is None


def test_what_comes_together_is_told_together() -> None:
    pace = StatusPace()
    pace.changed(1_000, at_once=False)
    pace.changed(1_100, at_once=False)
    assert pace.next_ms == 1_000 + STATUS_SETTLE_MS
    pace.told(1_000 + STATUS_SETTLE_MS)
    assert pace.next_ms is None


def test_what_is_urgent_takes_what_waits_along() -> None:
    pace = StatusPace()
    pace.changed(1_000, at_once=False)
    pace.changed(1_100, at_once=True)
    pace.changed(1_200, at_once=False)
    assert pace.next_ms == 1_100


@pytest.mark.parametrize("at_once", [True, False])
def test_no_second_one_within_a_second(at_once: bool) -> None:
    pace = StatusPace()
    pace.told(1_000)
    pace.changed(1_001, at_once=at_once)
    assert pace.next_ms == 1_000 + STATUS_INTERVAL_MS
    pace.changed(1_999, at_once=at_once)
    assert pace.next_ms == 1_000 + STATUS_INTERVAL_MS


def test_what_is_dropped_is_not_told_later() -> None:
    pace = StatusPace()
    pace.changed(1_000, at_once=True)
    pace.dropped()
    assert pace.next_ms is None


def fact(body: report.Body) -> do.Report:
    return do.Report("attempt-1", 1, Stage.DEVICE_SETUP, 5, body)


TICK = fact(report.ItemAdvanced(item="app", item_percent=25))
STEP = do.RunStep("app", "App", ItemKind.APP, Context.DEVICE, 1, 1, detect_first=True)
URGENT: dict[str, do.Effect] = {
    "gate": do.SetGate(Gate.RELEASED, GateCause.SETUP_COMPLETE),
    "prompt": do.AskPerson("terms", "terms", (PersonAction.PROCEED,)),
    "error": do.OfferChoices((Choice.TRY_AGAIN,), (), error=True),
    "reboot": do.Reboot(RebootKind.HARD, ("app",)),
    "reset": do.ResetDevice(),
    "end": fact(report.AttemptEnded(end_state=EndState.SUCCEEDED)),
}


@pytest.mark.parametrize("name", URGENT)
def test_what_asks_lets_in_restarts_or_ends_is_urgent(name: str) -> None:
    assert is_urgent([TICK, URGENT[name]])


def test_what_only_goes_on_is_not() -> None:
    offer = do.OfferChoices((Choice.CONTINUE_ANYWAY,), (), error=False)
    assert not is_urgent([TICK, STEP, offer])
    assert not is_urgent([])
