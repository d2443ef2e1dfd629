"""What a process of agents hands over when it ends: what is on its devices, how they ended, and what it measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from agent.runtime.driver import Outcome
from simulator.ground_truth import GroundTruth
from simulator.live.fleet import Fleet, FleetDevice
from simulator.live.meter import Meter, ReportTimes


class Account(BaseModel):
    """A part of the account; frozen."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class WorkerUse(Account):
    """What the process took of the machine, from its start to its end."""

    cpu_s: float
    """Seconds of one processor, system calls included."""
    peak_kib: int | None
    """The most memory that it held; None where the system does not say."""


class JournalUse(Account):
    """What the devices of the process wrote together."""

    commits: int = 0
    """Batches, each of one device."""
    transactions: int = 0
    """What was written at once, for however many devices."""
    syncs: int = 0
    """Transactions that waited for the disk."""


class StormFelt(Account):
    """One cut of all connections of a process. Times are real seconds."""

    struck: int
    """Devices that were connected."""
    returned_s: tuple[float, ...]
    """How long each of those that came back was away, until it was subscribed again."""


class WorkerFigures(Account):
    """The first line: the process as a whole."""

    use: WorkerUse
    journal: JournalUse
    connects_s: tuple[float, ...]
    confirms_s: tuple[float, ...]
    failures: dict[str, dict[str, int]]
    storms: tuple[StormFelt, ...]


class DeviceAccount(Account):
    """One line for each device that was switched on. Times are seconds of the machine's monotonic clock."""

    device: str
    outcome: Outcome | None
    crash: str | None
    truth: GroundTruth
    stream: str
    happened_s: tuple[float, ...]
    """When what each numbered report tells was due on the device."""
    acknowledged_s: tuple[float, ...]
    """When the agent read that it was stored; shorter while some wait."""
    sent: int
    """Publications of reports, repetitions included."""


def write_account(path: Path, fleet: Fleet, meter: Meter, use: WorkerUse) -> None:
    """Write it, as lines of JSON."""
    with path.open("w", encoding="utf-8") as file:
        file.write(_figures(fleet, meter, use).model_dump_json() + "\n")
        for member in fleet.members:
            if member.driver is not None:
                times = meter.reports.get(member.device.id, ReportTimes())
                file.write(_line(member, times).model_dump_json() + "\n")


def read_account(path: Path) -> tuple[WorkerFigures, Iterator[DeviceAccount]]:
    """Read it. Raises `OSError` or pydantic's `ValidationError` when it was not written to its end."""
    first, *lines = path.read_bytes().splitlines()
    figures = WorkerFigures.model_validate_json(first)
    return figures, (DeviceAccount.model_validate_json(line) for line in lines)


def _figures(fleet: Fleet, meter: Meter, use: WorkerUse) -> WorkerFigures:
    failures = {kind: dict(reasons) for kind, reasons in meter.failures.items()}
    refused: Counter[str] = Counter()
    for member in fleet.members:
        # A driver that never came to its journal has refused nothing, and can't be asked.
        if member.driver is not None and member.outcome is not None:
            refused.update(member.driver.refused)
    if refused:
        failures["message_refused_by_agent"] = dict(refused)
    journal = fleet.journal
    return WorkerFigures(
        use=use,
        journal=JournalUse()
        if journal is None
        else JournalUse(
            commits=journal.commits, transactions=journal.transactions, syncs=journal.syncs
        ),
        connects_s=tuple(meter.connects_s),
        confirms_s=tuple(meter.confirms_s),
        failures=failures,
        storms=tuple(
            StormFelt(struck=storm.struck, returned_s=tuple(storm.returned_s))
            for storm in meter.storms
        ),
    )


def _line(member: FleetDevice, times: ReportTimes) -> DeviceAccount:
    return DeviceAccount(
        device=member.device.id,
        outcome=member.outcome,
        crash=member.crash,
        truth=member.truth,
        stream=times.stream,
        happened_s=tuple(times.happened_s),
        acknowledged_s=tuple(times.acknowledged_s),
        sent=times.sent,
    )
