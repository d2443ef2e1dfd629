"""One simulated device: its power, its disk, its clock and what is installed on it; the agent on it comes and goes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from agent.core.batch import Batch
from agent.core.effects import EndpointEffect, Reboot
from agent.core.events import (
    AttemptBegan,
    EmergencyExitUsed,
    Event,
    PersonActed,
    PersonChose,
    Restarted,
)
from agent.core.outbox import Durable, KeepReport
from agent.core.person_screens import PERSON_SCREENS
from agent.wire.events import (
    AttemptEnded,
    CommandAnswered,
    GateChanged,
    RebootPlanned,
    Report,
)
from agent.wire.vocabulary import Choice, EndState, PersonAction
from simulator.draws import pick_at
from simulator.endpoint_model import EndpointModel
from simulator.ground_truth import GroundTruth, Presence
from simulator.person import SimulatedPerson
from simulator.verify.broker import Broker
from simulator.verify.disk import Disk
from simulator.verify.plan import DevicePlan
from simulator.verify.shell import Agent, Doing, PowerCut
from simulator.verify.world import HOUR_MS, MINUTE_MS, World

SHUTS_DOWN_MS: Final = 2_000
"""From the wish to restart until the agent is gone."""
IMPULSES: Final = {"chooses": 10.0, "answers": 5.0, "begins anew": 2.0, "leaves by the exit": 1.0}
"""What a person does unasked, each with a weight."""
BOOTS_MAX: Final = 500
RESTARTS: Final = 1
"""How often a device on which everything is over is switched on again while faults go on."""


class Device:
    """All that a power cut leaves as it is, and the life of the agent that it ends."""

    def __init__(self, plan: DevicePlan, world: World, broker: Broker) -> None:
        self.plan = plan
        self._world = world
        self._broker = broker
        self.disk = Disk(plan.hex("stream"))
        self.truth = GroundTruth()
        self._model = EndpointModel(
            plan.facts,
            plan.habitat,
            plan.draws,
            self.truth,
            limits=plan.limits,
            new_id=self.new_attempt,
            person=SimulatedPerson(plan.person, plan.draws),
        )
        self.agent: Agent | None = None
        self._life: Doing[None] | None = None
        self._wakes_ms: int | None = None
        self._is_running = False
        self._is_through = False
        self._is_healed = False
        self._restarts_left = RESTARTS
        self._attempts = 0
        self._wall_offset_ms = 0
        self.boots = 0
        self.at_next_restart: Callable[[], None] | None = None
        """What befalls it while it shuts down to restart."""
        self._moments = 0
        self._cut_at_moment = self._next_cut()
        self._cut_ms = 0
        """Device running time when the power went."""

    # Power.

    def power_on(self) -> None:
        """The device boots, and the agent with it."""
        if self._life is not None:
            return
        self.boots += 1
        self._is_through = False
        assert self.boots < BOOTS_MAX, f"{self.plan.device} boots for ever"
        kept = self.disk.load()
        self.agent = Agent(self, self._world, self._broker, kept)
        self._survive(self.agent.running_ms)
        self._world.trace.note(self._world.now_ms, self.plan.device, "power on", f"{self.boots}")
        self._world.watch.booted(self.plan.device, kept, self.agent.running_ms)
        self._life = self.agent.life()
        self._resume()

    def _boot_after(self, off_ms: int) -> None:
        """Switch it on later, unless somebody does so before."""
        boots = self.boots

        def boot() -> None:
            if self.boots == boots:
                self.power_on()

        self._world.after(off_ms, boot)

    def power_off(self, reason: str) -> None:
        """Everything that was not written is gone, and so is the connection."""
        if self._life is None:
            return
        assert self.agent is not None, "what lives is an agent"
        self._world.trace.note(self._world.now_ms, self.plan.device, "power off", reason)
        self._cut_ms = self.agent.running_ms
        writer = self.agent.writer
        self._life, self.agent, self._wakes_ms = None, None, None
        if writer is not None and not writer.is_over:
            writer.is_over = True
            self._broker.break_connection(writer.connection, reason)

    @property
    def is_through(self) -> bool:
        """Whether the agent had nothing left to do when it was last heard of."""
        return self._is_through

    @property
    def is_over(self) -> bool:
        """Whether its enrollment is over, and only reports are not stored yet."""
        return self.agent is not None and self.agent.is_over

    @property
    def waits_for(self) -> str:
        """What keeps it from being through, for whoever looks at a world that does not end."""
        if self.agent is None:
            return "it is switched off"
        machine, outbox = self.agent.machine, self.agent.outbox
        return (
            f"{machine.mode.value} with {outbox.unacknowledged} reports not stored, "
            f"link {self.agent.link.state.value}"
        )

    def heal(self) -> None:
        """No more faults: the disk has room, and the device is switched on."""
        self.disk.is_full = False
        self._cut_at_moment = None
        self._is_through, self._is_healed = False, True
        self.power_on()

    def _survive(self, running_ms: int) -> None:
        """What was being installed is not there; what was, counts from where running time goes on."""
        for item, presences in self.truth.presences.items():
            self.truth.presences[item] = [
                _survivor(p, self._cut_ms, running_ms)
                for p in presences
                if p.from_ms <= self._cut_ms
            ]
        self.truth.not_applicable = {
            item: min(at_ms, running_ms)
            for item, at_ms in self.truth.not_applicable.items()
            if at_ms <= self._cut_ms
        }
        asked = self.truth.asked
        if asked is not None and asked.at_ms > running_ms:
            self.truth.asked = None

    # The life of the agent.

    def wake(self) -> None:
        """Something arrived: the agent looks at it in a moment."""
        agent = self.agent
        if agent is None or agent.is_waiting or self._is_running:
            return
        self._schedule(self._world.now_ms)

    def _schedule(self, at_ms: int | None) -> None:
        if at_ms is None or (self._wakes_ms is not None and self._wakes_ms <= at_ms):
            return
        self._wakes_ms = at_ms
        life = self._life

        def wake() -> None:
            if self._life is life and self._wakes_ms == at_ms:
                self._resume()

        self._world.at(at_ms, wake)

    def _resume(self) -> None:
        assert self._life is not None, "only a running agent goes on"
        self._wakes_ms, self._is_running = None, True
        try:
            wakes_ms = next(self._life)
        except StopIteration:
            self._end()
        except PowerCut:
            self._lose_power()
        else:
            self._schedule(wakes_ms)
        finally:
            self._is_running = False

    def _end(self) -> None:
        """The agent has nothing left to do. The device stays on; the agent comes again with its next start."""
        self._world.trace.note(self._world.now_ms, self.plan.device, "agent ends")
        assert self.agent is not None, "what ends was an agent"
        self._cut_ms = self.agent.running_ms
        self._life, self.agent = None, None
        self._is_through = True
        if self._restarts_left and not self._is_healed:
            self._restarts_left -= 1
            self._is_through = False
            again_ms = self._world.between(10 * MINUTE_MS, 2 * HOUR_MS, self.plan.device, "again")
            self._boot_after(again_ms)
        self._world.look_again = True

    # What the agent asks of the device: see `Body`.

    def wall_ms(self) -> int:
        """See `Body.wall_ms`."""
        return self._world.wall_ms + self._wall_offset_ms

    def moment(self) -> None:
        """See `Body.moment`."""
        self._moments += 1
        if self._moments == self._cut_at_moment:
            self._cut_at_moment = self._next_cut()
            raise PowerCut

    def commit(self, batch: Batch) -> None:
        """See `Body.commit`."""
        self._moments += 1
        if self._moments == self._cut_at_moment:
            self._cut_at_moment = self._next_cut()
            if self._world.chance(self._world.faults.torn_tails_share, self.plan.device, "torn"):
                self.disk.tear(batch)
                self._world.struck("torn_tails_share", self.plan.device)
            raise PowerCut
        self.disk.commit(batch, self._world.now_ms)
        self._world.watch.committed(self.plan.device, batch)
        self._aim(batch)

    def _aim(self, batch: Batch) -> None:
        """Power likes to go where it hurts: right after something that has to be followed by more."""
        rate = self._world.faults.power_cuts_per_thousand
        pain = max(map(_pain, batch.outbox), default=0)
        if rate == 0 or pain == 0 or self._cut_at_moment is None:
            return
        if self._world.chance(pain, self.plan.device, "aimed cut"):
            later = self._world.uniform(self.plan.device, "aimed cut at") ** 4
            self._cut_at_moment = self._moments + 1 + int(later * 4)

    def fetch(self, first: int, last: int) -> Sequence[tuple[int, Report]]:
        """See `Body.fetch`."""
        return self.disk.fetch(first, last)

    def act(self, effect: EndpointEffect, at_ms: int) -> Sequence[tuple[int, Event]]:
        """See `Body.act`. A restart really ends the agent; it comes back by itself."""
        self._world.watch.acted(self.plan.device, at_ms, effect, self.truth)
        schedule = self._model.act(effect, at_ms)
        if not isinstance(effect, Reboot):
            return schedule
        if self._world.chance(
            self._world.faults.ignored_reboots_share, self.plan.device, "ignored reboot"
        ):
            self._world.struck("ignored_reboots_share", self.plan.device)
            return ()
        ((up_ms, restarted),) = schedule
        assert isinstance(restarted, Restarted), "a restart is answered by having happened"
        befalls, self.at_next_restart = self.at_next_restart, None
        if befalls is not None:
            befalls()
        self._reboot(up_ms - at_ms)
        return ()

    def new_attempt(self) -> str:
        """See `Body.new_attempt`."""
        self._attempts += 1
        return self.plan.hex("attempt", self._attempts)

    def _reboot(self, took_ms: int) -> None:
        life = self._life

        def go_down() -> None:
            if self._life is life:
                self.power_off("restart")
                self._boot_after(took_ms)

        self._world.after(SHUTS_DOWN_MS, go_down)

    # Faults.

    def _next_cut(self) -> int | None:
        """The moment at which the power goes next."""
        rate = self._world.faults.power_cuts_per_thousand
        if rate == 0:
            return None
        gap = self._world.uniform(self.plan.device, "power cut")
        return self._moments + 1 + int(gap * 2 * 1000 / rate)

    def _lose_power(self) -> None:
        world, who = self._world, self.plan.device
        world.struck("power_cuts_per_thousand", who)
        self.power_off("power cut")
        if world.chance(world.faults.lazy_losses_share, who, "lazy loss"):
            lost = self.disk.lose_lazy(world.uniform(who, "lazy lost"))
            if lost:
                world.struck("lazy_losses_share", who, f"{lost} batches")
        if world.chance(world.faults.journal_restores_share, who, "journal restore"):
            older_ms = world.now_ms - world.between(MINUTE_MS, HOUR_MS, who, "journal age")
            lost = self.disk.become_older(older_ms)
            if lost:
                world.struck("journal_restores_share", who, f"{lost} batches")
                world.watch.journal_restored(who)
        off_ms = world.between(5_000, 10 * MINUTE_MS, who, "off")
        if world.chance(world.faults.nights_off_share, who, "night"):
            off_ms = world.between(6 * HOUR_MS, 14 * HOUR_MS, who, "night off")
            world.struck("nights_off_share", who)
        self._boot_after(off_ms)

    def jump_clock(self, by_ms: int) -> None:
        """Somebody sets the wall clock."""
        self._wall_offset_ms += by_ms

    def act_unasked(self) -> None:
        """The person does something that the screen may not even offer."""
        if self.agent is not None:
            world, who = self._world, self.plan.device
            self.agent.tell(self._impulse(lambda purpose: world.uniform(who, purpose)))

    def _impulse(self, uniform: Callable[[str], float]) -> Event:
        match pick_at(uniform("impulse"), IMPULSES):
            case "chooses":
                choice = pick_at(uniform("impulse choice"), dict.fromkeys(Choice, 1.0))
                items = {item.id: 1.0 for item in self.plan.offer.items} or {"nothing": 1.0}
                item = pick_at(uniform("impulse item"), items)
                return PersonChose(
                    choice=choice, item=item if choice is Choice.TRY_ITEM_AGAIN else None
                )
            case "answers":
                screen = pick_at(uniform("impulse screen"), dict.fromkeys(PERSON_SCREENS, 1.0))
                action = pick_at(uniform("impulse action"), dict.fromkeys(PersonAction, 1.0))
                return PersonActed(item=screen, action=action)
            case "begins anew":
                return AttemptBegan(
                    attempt=self.new_attempt(), facts=self.plan.facts, limits=self.plan.limits
                )
            case _:
                return EmergencyExitUsed()

    def break_connection(self) -> bool:
        """Its connection breaks, if it has one."""
        writer = None if self.agent is None else self.agent.writer
        if writer is None or not writer.connection.is_open:
            return False
        self._broker.break_connection(writer.connection, "the network broke")
        return True


def _pain(change: Durable) -> float:
    """How likely the power goes right after this."""
    if not isinstance(change, KeepReport):
        return 0
    match change.report.body:
        case AttemptEnded(end_state=EndState.RESET) | CommandAnswered(action="collect_logs"):
            return 0.8
        case AttemptEnded() | CommandAnswered(executed=True) | GateChanged() | RebootPlanned():
            return 0.15
        case _:
            return 0


def _survivor(presence: Presence, cut_ms: int, running_ms: int) -> Presence:
    until_ms = presence.until_ms
    if until_ms is not None:
        until_ms = None if until_ms > cut_ms else min(until_ms, running_ms)
    return Presence(min(presence.from_ms, running_ms), until_ms)
