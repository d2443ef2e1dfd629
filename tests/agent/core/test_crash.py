"""Power cuts: whatever the agent was doing, the enrollment ends the same, and every report is told once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import cycle, product
from types import FunctionType

import pytest
from hypothesis import settings

from agent.core.flows import FLOWS
from agent.core.state import Mode
from agent.wire.assignment import AssignedItem, PersonScreens
from agent.wire.events import (
    AttemptEnded,
    Body,
    CommandAnswered,
    ErrorScreenShown,
    LogsCollected,
    PhaseChanged,
)
from agent.wire.messages import (
    CollectLogs,
    ContinueAnyway,
    ExtendTimeout,
    RefreshAssignment,
    ResetDevice,
    RetryItem,
    RetryPhase,
    SkipAccountSetup,
)
from agent.wire.profile import AccountSetupSettings, DeviceSetupSettings
from agent.wire.vocabulary import (
    Choice,
    Context,
    EndState,
    EnrollmentType,
    Gate,
    Phase,
    RowState,
    Variant,
)
from tests.agent.core.device_on_paper import (
    Network,
    Story,
    Wish,
    World,
    admitted,
    live,
    new_world,
)
from tests.agent.core.script import APPS, BLOCKED_ACCOUNT

Flow = tuple[EnrollmentType, Variant]

SCREENS = PersonScreens(terms_of_use=True, device_category=True, activation=True)
ITEMS = (*APPS, AssignedItem(id="teams", name="Teams", context=Context.ACCOUNT))
LOSSY = Network(loses_report=5, loses_ack=3, acks_every=4)
OFFLINE = Network(offline_until_settled=True, acks_every=7)
FORGETFUL = Network(forgets_at=20, acks_every=3)


def smooth(flow: Flow) -> Story:
    """Everything works, and the collector comes back from a backup on the way."""
    offer = admitted(ITEMS, SCREENS, account_setup=BLOCKED_ACCOUNT)
    return Story(enrollment_type=flow[0], variant=flow[1], admitted=offer, network=FORGETFUL)


def rough(flow: Flow) -> Story:
    """A retry, a soft and a hard reboot, and a network that loses messages."""
    codes = {"office": (1603, 0), "portal": (3010,), "vpn": (1641, 0)}
    return replace(smooth(flow), exit_codes=codes, network=LOSSY)


def offline(flow: Flow) -> Story:
    """The same, and nothing can be reported before it is over."""
    return replace(rough(flow), network=OFFLINE)


def hanging(flow: Flow) -> Story:
    """An installer hangs until its time is up; the next try works."""
    slow = [i.model_copy(update={"install_limit_minutes": 5}) for i in ITEMS]
    offer = admitted(slow, SCREENS, account_setup=BLOCKED_ACCOUNT)
    return replace(smooth(flow), admitted=offer, exit_codes={"office": (None, None, 0)})


def stuck(flow: Flow) -> Story:
    """The error screen, and nobody comes back."""
    return replace(smooth(flow), exit_codes={"vpn": (1603,)})


def tried_again(flow: Flow) -> Story:
    """The error screen twice; the person tries the item, then the phase."""
    choices = ((Choice.TRY_ITEM_AGAIN, "vpn"), (Choice.TRY_AGAIN, None))
    return replace(stuck(flow), exit_codes={"vpn": (1603,) * 7 + (0,)}, choices=choices)


def logs_and_on(flow: Flow) -> Story:
    """The error screen; the person collects logs, then continues anyway, and the app comes in the background."""
    choices = ((Choice.COLLECT_LOGS, None), (Choice.CONTINUE_ANYWAY, None))
    return replace(stuck(flow), exit_codes={"vpn": (1603,) * 4 + (0,)}, choices=choices)


def reset(flow: Flow) -> Story:
    """The error screen; the person resets the device, and the second attempt works."""
    choices = ((Choice.RESET_DEVICE, None),)
    return replace(stuck(flow), exit_codes={"vpn": (1603,) * 3 + (0,)}, choices=choices)


def skipped(flow: Flow) -> Story:
    """The person skips account setup as soon as that is offered."""
    return replace(smooth(flow), leaves=Choice.SKIP_ACCOUNT_SETUP)


def left_early(flow: Flow) -> Story:
    """The profile does not block, and the person leaves as soon as that is offered."""
    offer = admitted(ITEMS, SCREENS, device_setup=DeviceSetupSettings(block_until_complete=False))
    return replace(smooth(flow), admitted=offer, leaves=Choice.CONTINUE_ANYWAY)


def open_early(flow: Flow) -> Story:
    """Account setup does not hold the gate, and two of its tries fail."""
    offer = admitted(ITEMS, SCREENS, account_setup=AccountSetupSettings())
    return replace(rough(flow), admitted=offer, exit_codes={"teams": (1603, 1618, 0)})


def commanded(flow: Flow) -> Story:
    """The help desk extends, collects, refreshes, and retries: each command comes twice."""
    return replace(
        stuck(flow),
        exit_codes={"vpn": (1603,) * 6 + (0,)},
        wishes=(
            Wish(_begins(Phase.DEVICE_SETUP), ExtendTimeout(context=Context.DEVICE, minutes=10)),
            Wish(_begins(Phase.DEVICE_SETUP), CollectLogs()),
            Wish(_begins(Phase.DEVICE_SETUP), RefreshAssignment()),
            Wish(_is_error, RetryItem(item="vpn")),
            Wish(_is_error, RetryPhase(), 2),
        ),
        added=(AssignedItem(id="printer", name="Printer"),),
    )


def reset_by_command(flow: Flow) -> Story:
    """The help desk resets the device, and the second attempt works."""
    codes = {"vpn": (1603,) * 3 + (0,)}
    return replace(stuck(flow), exit_codes=codes, wishes=(Wish(_is_error, ResetDevice()),))


def let_in_by_command(flow: Flow) -> Story:
    """The help desk lets the person in."""
    return replace(stuck(flow), wishes=(Wish(_is_error, ContinueAnyway()),))


def skipped_by_command(flow: Flow) -> Story:
    """The help desk skips an account setup that hangs."""
    return replace(
        smooth(flow),
        exit_codes={"teams": (None,)},
        wishes=(Wish(_begins(Phase.ACCOUNT_SETUP), SkipAccountSetup()),),
    )


def _begins(phase: Phase) -> Callable[[Body], bool]:
    return lambda body: (
        isinstance(body, PhaseChanged)
        and body.phase is phase
        and body.state is RowState.IN_PROGRESS
    )


def _is_error(body: Body) -> bool:
    return isinstance(body, ErrorScreenShown)


@dataclass(frozen=True, slots=True)
class Ending:
    """What a power cut must not change."""

    mode: Mode
    end_states: tuple[EndState, ...]
    """Of all attempts."""
    account_setup: RowState
    gates: tuple[Gate, ...]
    """What the gate was, one after the other."""
    installed: Counter[str]
    answered: tuple[tuple[str, bool], ...]
    """The commands, in their order, and whether they were executed."""
    logs: Counter[str | None]
    """How many log archives were reported, by the command that asked."""


def _ending_of(world: World) -> Ending:
    """Let a device live, and see how it ends by what the collector knows and the device is."""
    agent = live(world)
    agent.check_reports()
    bodies = [r.body for r in world.collector.stored]
    ends = [b for b in bodies if isinstance(b, AttemptEnded)]
    answers = [b for b in bodies if isinstance(b, CommandAnswered)]
    return Ending(
        agent.machine.mode,
        tuple(b.end_state for b in ends),
        ends[-1].account_setup,
        tuple(world.gates),
        world.installed,
        tuple((b.command, b.executed) for b in answers),
        Counter(b.command for b in bodies if isinstance(b, LogsCollected)),
    )


def cut_everywhere(story: Story) -> int:
    """Cut the power at every moment of a story, and live on; how many moments there were."""
    world = new_world(story)
    undisturbed = _ending_of(world)
    points = 0

    def cut(moment: World) -> None:
        nonlocal points
        for survivor in moment.after_power_cuts():
            points += 1
            where = f"crash point {points}, after {len(moment.disk.inputs)} inputs"
            assert _ending_of(survivor) == undisturbed, where

    live(new_world(story), cut)
    return points


STORIES: tuple[Callable[[Flow], Story], ...] = (
    smooth, rough, offline, hanging, stuck, tried_again, logs_and_on, reset, skipped, left_early,
    open_early, commanded, reset_by_command, let_in_by_command, skipped_by_command,
)  # fmt: skip


def chosen() -> list[tuple[Callable[[Flow], Story], Flow]]:
    """Every story with every flow at night; else each of both at least once."""
    if settings.get_current_profile_name() == "nightly":
        return list(product(STORIES, FLOWS))
    flows = cycle(FLOWS)
    return [(story, next(flows)) for story in STORIES]


def _name(part: Flow | FunctionType) -> str:
    return part.__name__ if isinstance(part, FunctionType) else "-".join(part)


@pytest.mark.rule("restart-resumes")
@pytest.mark.parametrize(("make", "flow"), chosen(), ids=_name)
def test_the_power_may_go_at_any_moment(
    make: Callable[[Flow], Story], flow: Flow, figures: Counter[str]
) -> None:
    """Before and after everything the agent does: commit, act, send, acknowledge."""
    figures["crash points"] += cut_everywhere(make(flow))
