"""One world from its first moment until everything is quiet: faults for some hours, then none, then the verdict."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Final

from agent.wire.codec import decode
from agent.wire.messages import Status
from agent.wire.progress import Progress
from agent.wire.topics import Channel, device_topic
from simulator.draws import Draws
from simulator.verify.broker import Broker
from simulator.verify.checkers import all_checkers
from simulator.verify.collector import Collector, wishes
from simulator.verify.device import Device
from simulator.verify.faults import NONE
from simulator.verify.intruder import Intruder
from simulator.verify.plan import TENANT, DevicePlan, WorldPlan
from simulator.verify.store import Contents, Store
from simulator.verify.trace import Trace
from simulator.verify.watch import End, Violation, Watch
from simulator.verify.world import HOUR_MS, MINUTE_MS, World

FINISH_MS_MAX: Final = 14 * 24 * HOUR_MS
"""The liveness bound: after the last fault, every enrollment is over within this, whatever its people do."""
STORED_MS_MAX: Final = 2 * HOUR_MS
"""And whatever a device has to report is stored within this, once its enrollment is over."""
CRASHES: Final = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
)
"""What the product raises when it is wrong; a world that ends so is a world that fails."""
BACKUP_EVERY_MS: Final = 20 * MINUTE_MS
BACKUPS_KEPT: Final = 3
CLOCK_JUMP_MS_MAX: Final = 60 * 24 * HOUR_MS
"""Far more than the seven days for which a device keeps what it told."""


@dataclass(slots=True)
class Verdict:
    """What one world came to."""

    seed: int
    trace: int
    events: int
    device_ms: int
    happened: Counter[str] = field(default_factory=Counter)
    met: Counter[str] = field(default_factory=Counter)
    violation: Violation | None = None
    lines: list[str] = field(default_factory=list)


class Simulation:
    """One world with everything in it."""

    def __init__(self, plan: WorldPlan, *, keeps_lines: bool = False) -> None:
        self.plan = plan
        self.trace = Trace(keeps=keeps_lines)
        self.checkers = all_checkers(plan)
        self.watch = Watch(plan, self.checkers)
        self.world = World(Draws(plan.seed, "world of events"), plan.faults, self.trace, self.watch)
        self.broker = Broker(self.world)
        self.store = Store()
        self.devices = [Device(p, self.world, self.broker) for p in plan.devices]
        self._collectors = [
            Collector(name, self.world, self.broker, self.store, plan)
            for name in ("collector-a", "collector-b")
        ]
        self._intruder = Intruder(self.world, self.broker, self.store)
        self._backups: list[Contents] = []
        self._commands = count(1)
        self._is_healing = False
        self._is_stuck = False

    def run(self) -> Verdict:
        """Let it all happen; a violation ends it."""
        violation = None
        try:
            self._safety()
            self._liveness()
        except Violation as found:
            violation = found
        except CRASHES as error:
            violation = Violation("no crash", f"{type(error).__name__}: {error}")
        if violation is not None:
            self.trace.note(self.world.now_ms, violation.checker, violation.sentence)
        return Verdict(
            seed=self.plan.seed,
            trace=self.trace.digest,
            events=self.trace.count,
            device_ms=self.world.now_ms * len(self.devices),
            happened=self.world.happened,
            met=self.world.met,
            violation=violation,
            lines=self.trace.lines,
        )

    # The two phases.

    def _safety(self) -> None:
        self._collectors[0].start()
        for device in self.devices:
            self.world.after(device.plan.starts_at_ms, device.power_on)
        self._arm_faults()
        self._arm_help_desk()
        self.world.run_until(self.plan.safety_ms, self._all_through)

    def _liveness(self) -> None:
        self.trace.note(self.world.now_ms, "world", "faults stop")
        self._is_healing = True
        self.world.faults = NONE
        self.broker.start()
        self._heal_collectors()
        for device in self.devices:
            device.heal()
        until_ms = self.world.now_ms + FINISH_MS_MAX
        self._look_for_stuck({})
        self.world.run_until(until_ms, lambda: self._is_stuck or self._all_through())
        unfinished = {
            device.plan.device: device.waits_for for device in self.devices if not device.is_through
        }
        # What is on its way arrives: the last goodbye, the last clearing of a command.
        self.world.run_until(self.world.now_ms + 5 * MINUTE_MS)
        self.watch.at_the_end(
            End(
                store=self.store,
                journals={d.plan.device: d.disk.load() for d in self.devices},
                statuses=self._statuses(),
                unfinished=unfinished,
            )
        )

    def _look_for_stuck(self, since_ms: dict[str, int]) -> None:
        """Look now and then for devices that are over and can't get their reports stored."""
        now_ms = self.world.now_ms
        over = {d.plan.device: now_ms for d in self.devices if d.is_over}
        still = {device: min(since_ms.get(device, now_ms), now_ms) for device in over}
        self._is_stuck = any(now_ms - at_ms > STORED_MS_MAX for at_ms in still.values())
        self.world.look_again = True
        self.world.after(STORED_MS_MAX // 4, lambda: self._look_for_stuck(still))

    def _all_through(self) -> bool:
        return all(device.is_through for device in self.devices)

    def _statuses(self) -> dict[str, Progress]:
        found = {}
        for device in self.devices:
            name = device.plan.device
            payload = self.broker.retained.get(str(device_topic(TENANT, name, Channel.STATUS)))
            if payload is not None:
                found[name] = decode(Status, payload).progress
        return found

    def _heal_collectors(self) -> None:
        """One collector is there in the end; a paused one wakes up once more."""
        for collector in self._collectors:
            if collector.is_paused:
                collector.wake()
        if not any(collector.is_running for collector in self._collectors):
            self._collectors[0].start()

    # Faults.

    def _arm_faults(self) -> None:
        faults = self.plan.faults
        for device in self.devices:
            who = device.plan.device
            self._repeat(faults.connection_breaks_per_hour, who, "break", self._breaking(device))
            self._repeat(faults.full_disks_per_hour, who, "disk", self._filling(device))
            self._repeat(faults.clock_jumps_per_hour, who, "clock", self._jumping(device))
            self._repeat(faults.forgeries_per_hour, who, "forgery", self._forging(device))
        self._repeat(faults.broker_restarts_per_hour, "broker", "restart", self._restart_broker)
        self._repeat(faults.collector_outages_per_hour, "collector", "outage", self._kill_collector)
        self._repeat(faults.collector_pauses_per_hour, "collector", "pause", self._pause_collector)
        if faults.collector_restores_per_hour > 0:
            self._repeat(
                faults.collector_restores_per_hour, "collector", "restore", self._restore_store
            )
            self.world.after(BACKUP_EVERY_MS, self._back_up)

    def _repeat(self, per_hour: float, who: str, what: str, strike: Callable[[], None]) -> None:
        """Strike so often on average, at times that are drawn."""
        if per_hour == 0:
            return
        wait_ms = self.world.between(1, int(2 * HOUR_MS / per_hour), who, f"{what} after")

        def act() -> None:
            if not self._is_healing:
                strike()
                self._repeat(per_hour, who, what, strike)

        self.world.after(wait_ms, act)

    def _breaking(self, device: Device) -> Callable[[], None]:
        def strike() -> None:
            if device.break_connection():
                self.world.struck("connection_breaks_per_hour", device.plan.device)

        return strike

    def _filling(self, device: Device) -> Callable[[], None]:
        who = device.plan.device

        def strike() -> None:
            if device.disk.is_full:
                return
            device.disk.is_full = True
            self.world.struck("full_disks_per_hour", who)
            until_ms = self.world.between(1_000, 10 * MINUTE_MS, who, "disk full")
            self.world.after(until_ms, lambda: setattr(device.disk, "is_full", False))

        return strike

    def _jumping(self, device: Device) -> Callable[[], None]:
        who = device.plan.device

        def strike() -> None:
            by_ms = self.world.between(-CLOCK_JUMP_MS_MAX, CLOCK_JUMP_MS_MAX, who, "jump")
            device.jump_clock(by_ms)
            self.world.struck("clock_jumps_per_hour", who, f"{by_ms} ms")

        return strike

    def _forging(self, device: Device) -> Callable[[], None]:
        """Now, or in the short while in which the device shuts down to restart."""
        who = device.plan.device

        def act() -> None:
            if not self._is_healing:
                self._intruder.strike(device.plan)

        def strike() -> None:
            if self.world.chance(0.3, who, "forgery waits"):
                device.at_next_restart = act
            else:
                act()

        return strike

    def _restart_broker(self) -> None:
        if not self.broker.is_up:
            return
        forgets = self.world.chance(
            self.world.faults.broker_memory_losses_share, "broker", "forgets"
        )
        if forgets:
            self.world.struck("broker_memory_losses_share", "broker")
        self.world.struck("broker_restarts_per_hour", "broker")
        self.broker.stop(forgets=forgets)
        # Mostly short, and now and then so long that more waits than the window holds.
        down_ms = 500 + int(self.world.uniform("broker", "down") ** 3 * 40 * MINUTE_MS)
        self.world.after(down_ms, self.broker.start)

    @property
    def _owner(self) -> Collector | None:
        return next((c for c in self._collectors if c.is_running and not c.is_paused), None)

    def _kill_collector(self) -> None:
        owner = self._owner
        if owner is None:
            return

        def kill() -> None:
            if self._owner is owner and not self._is_healing:
                self.world.struck("collector_outages_per_hour", owner.name)
                owner.stop()
                self._start_later(60 * MINUTE_MS)

        self._now_or_in_between(owner, kill)

    def _now_or_in_between(self, owner: Collector, strike: Callable[[], None]) -> None:
        """Strike now, or between a commit and its answers."""
        when = self.world.uniform(owner.name, "strike")
        if when < 0.3:
            strike()
        else:
            owner.after_commit = (strike, when > 0.6)

    def _start_later(self, within_ms: int) -> None:
        def start() -> None:
            if self._owner is None:
                spare = next(c for c in self._collectors if not c.is_paused)
                spare.start()

        self.world.after(self.world.between(1_000, within_ms, "collector", "down"), start)

    def _pause_collector(self) -> None:
        """The owner stands still and another takes over; later the first goes on where it was."""
        owner = self._owner
        if owner is not None:
            self._now_or_in_between(owner, lambda: self._let_pause(owner))

    def _let_pause(self, owner: Collector) -> None:
        if (
            self._is_healing
            or self._owner is not owner
            or any(c.is_paused for c in self._collectors)
        ):
            return
        self.world.struck("collector_pauses_per_hour", owner.name)
        owner.pause()
        other = next(c for c in self._collectors if c is not owner)
        takes_ms = self.world.between(100, MINUTE_MS, "collector", "takes over")

        def take_over() -> None:
            if owner.is_paused and self._owner is None:
                other.start()

        self.world.after(takes_ms, take_over)
        sleeps_ms = takes_ms + self.world.between(0, 10 * MINUTE_MS, "collector", "sleeps")
        self.world.after(sleeps_ms, owner.wake)

    def _back_up(self) -> None:
        self._backups = [*self._backups, self.store.backup()][-BACKUPS_KEPT:]
        if not self._is_healing:
            self.world.after(BACKUP_EVERY_MS, self._back_up)

    def _restore_store(self) -> None:
        """All collectors are stopped, the store is replaced by a backup, and one starts again."""
        if not self._backups:
            return
        self.world.struck("collector_restores_per_hour", "collector")
        for collector in self._collectors:
            collector.stop()
        index = int(self.world.uniform("collector", "backup") * len(self._backups))
        self.store.restore(self._backups[index])
        self._backups = self._backups[: index + 1]
        self.watch.store_restored(self.store)
        self._start_later(5 * MINUTE_MS)

    # The help desk.

    def _arm_help_desk(self) -> None:
        for plan in self.plan.devices:
            self._repeat(
                self.plan.commands_per_hour, plan.device, "command", self._commanding(plan)
            )
        for device in self.devices:
            self._repeat(
                self.plan.impulses_per_hour, device.plan.device, "impulse", device.act_unasked
            )

    def _commanding(self, plan: DevicePlan) -> Callable[[], None]:
        wanted = wishes(self.world, plan)

        def strike() -> None:
            owner = self._owner
            open_attempts = self.store.open_of(plan.device)
            if owner is not None and open_attempts:
                owner.command(open_attempts[-1], next(wanted), next(self._commands))

        return strike


def run_world(plan: WorldPlan, *, keeps_lines: bool = False) -> Verdict:
    """One run of one world."""
    return Simulation(plan, keeps_lines=keeps_lines).run()
