"""The stated size of a journal: when it is reached the agent says so, and drops nothing."""

from __future__ import annotations

from agent.core.outbox import OutboxLimits
from agent.core.pace import Patience
from agent.core.shell import CHECKPOINT_BYTES_MAX, CHECKPOINTS_KEPT
from agent.runtime.driver import DriverOptions
from agent.wire.vocabulary import EndState
from tests.agent.fakes import admitted
from tests.agent.runtime.test_driver import World


async def test_an_agent_whose_reports_take_more_than_the_limit_says_so_and_loses_none() -> None:
    """Nothing can be reported for a whole enrollment; once the broker is there the store gets all of it."""
    world = World()
    small = OutboxLimits(bytes_max=2_000, patience=Patience(late_ms=20, repeat_ms=5))
    offline = world.driver(
        connected=False, decision=admitted("portal", "office"), outbox_limits=small
    )
    outcome = await offline.run()
    assert outcome.end_state is EndState.SUCCEEDED
    kept = len(world.kept.rows)
    assert kept == outcome.unacknowledged > 20
    problem = offline.reporting.problem
    assert problem.startswith(f"{kept} reports wait to be sent, more than the size limit allows")
    assert "none is lost" in problem
    world.power_returns()
    online = world.driver(outbox_limits=small)
    await online.run()
    assert [event.seq for event in world.stored()][:kept] == list(range(1, kept + 1))
    assert online.reporting.problem == ""


def test_the_checkpoints_count_in_the_stated_size() -> None:
    options = DriverOptions(device="PC-1", agent_version="1.0")
    reserved = CHECKPOINTS_KEPT * CHECKPOINT_BYTES_MAX
    assert options.outbox_limits.bytes_max + reserved == OutboxLimits().bytes_max
    assert reserved < options.outbox_limits.bytes_max
