"""What is put together from the parts, where no other test looks."""

from __future__ import annotations

import pytest

from agent.assembly import WatcherSource, WatchPlan, build_watcher, parse_broker
from agent.screen.ports import IntentRefused
from agent.wire.vocabulary import Choice, PersonAction


async def test_a_watcher_can_look_and_nothing_else() -> None:
    """What a key on the watched screen meant is named in the refusal as the screen names it."""
    plan = WatchPlan(device="PC-1", tenant="t", broker=parse_broker("mqtt://127.0.0.1"))
    source = WatcherSource(build_watcher(plan))
    assert (source.can_act, source.emergency_exit_allowed) == (False, False)
    with pytest.raises(IntentRefused, match=rf"\({PersonAction.PROCEED.label}\)"):
        await source.person_acted("terms", PersonAction.PROCEED)
    with pytest.raises(
        IntentRefused, match=f"'{Choice.TRY_AGAIN.label}' can't be chosen from here"
    ):
        await source.person_chose(Choice.TRY_AGAIN, None)
    with pytest.raises(IntentRefused, match="at the device only"):
        await source.emergency_exit()
