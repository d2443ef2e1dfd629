"""The audit after a live run: every journal against the store, every gate against the ground truth."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import httpx

from agent.assembly import read_inputs, read_reports
from agent.core.events import AssignmentArrived, AttemptBegan, CommandReceived, Event
from agent.runtime.ports import JournalUnreadable
from agent.wire.assignment import Admitted
from agent.wire.messages import ContinueAnyway, SkipAccountSetup
from agent.wire.vocabulary import Choice, Gate
from simulator.live.delivery_audit import ReportKey, compare
from simulator.live.fleet import FleetDevice
from simulator.live.gate_audit import Told, Wanted, violations
from simulator.live.summary import DeviceEnd, Summary

STORED_PATH: Final = "/api/reports/stored"
TIMEOUT_S: Final = 60.0
TELLING: Final = frozenset({"attempt_began", "assignment_arrived", "command_received"})
"""The kinds of inputs that say what a gate was allowed to do; most are of other kinds."""


class AuditFailed(Exception):
    """The audit can't look at something; one sentence."""


async def audit(
    members: Sequence[FleetDevice],
    journals: Sequence[Path],
    collector: str,
    token: str,
    seconds: float,
    *,
    stored: Sequence[ReportKey] | None = None,
    within_s: float = TIMEOUT_S,
) -> Summary:
    """Look at everything. What can't be looked at is among the summary's problems, which is never good.

    Args:
        stored: every report that the collector has, where that is known; else it is asked, and has to answer `within_s`.
    """
    problems = [f"{m.device.id}: {m.crash}" for m in members if m.crash is not None]
    created: list[ReportKey] = []
    waiting: set[ReportKey] = set()
    stopped = {m.device.id for m in members if not _end(m).is_finished}
    kept: list[ReportKey] = []
    broken: list[str] = []
    try:
        for journal in journals:
            for report, is_acknowledged in created_reports(journal):
                created.append(report)
                if not is_acknowledged and report.device in stopped:
                    waiting.add(report)
        broken = list(_gate_violations(members, journals))
    except JournalUnreadable as error:
        problems.append(str(error))
    try:
        streams = {report.stream for report in created}
        if stored is None:
            stored = await stored_reports(collector, token, within_s)
        kept = [r for r in stored if r.stream in streams]
    except AuditFailed as error:
        problems.append(str(error))
    delivery = compare(created, kept, waiting)
    return Summary(
        ends=[_end(member) for member in members],
        created=delivery.created,
        stored=delivery.stored,
        lost=delivery.lost,
        stored_twice=delivery.stored_twice,
        on_the_way=delivery.on_the_way,
        forgotten=delivery.forgotten,
        violations=broken,
        seconds=seconds,
        problems=problems,
    )


def created_reports(journal: Path) -> Iterable[tuple[ReportKey, bool]]:
    """Every report in the journal that has a number, and whether it is acknowledged. Raises `JournalUnreadable`.

    One without a number never left the device: its device counts as unfinished.
    """
    for row in read_reports(journal):
        if row.seq is not None and row.digest is not None:
            yield ReportKey(row.device, row.stream, row.seq, row.digest), row.acknowledged


async def stored_reports(
    collector: str, token: str, within_s: float = TIMEOUT_S
) -> list[ReportKey]:
    """Every report that the collector has, as often as it has it.

    Raises:
        AuditFailed: the collector does not answer as it should.
    """
    headers = {"Authorization": f"Bearer {token}"}
    try:
        async with httpx.AsyncClient(base_url=collector, timeout=within_s) as client:
            answer = await client.get(STORED_PATH, headers=headers)
            answer.raise_for_status()
    except httpx.HTTPError as error:
        raise AuditFailed(f"the collector at {collector} can't be asked: {error}") from None
    return list(_parsed(answer.text))


def _parsed(lines: str) -> Iterable[ReportKey]:
    for line in lines.splitlines():
        row = json.loads(line)
        if row["record"] == "report":
            key = ReportKey(row["device"], row["stream"], row["seq"], row["digest"])
            yield from [key] * row["times"]


def _gate_violations(members: Sequence[FleetDevice], journals: Sequence[Path]) -> Iterable[str]:
    members = [m for m in members if any(g.gate is not Gate.LOCKED for g in m.truth.gates)]
    if not members:
        return
    told: dict[str, list[Told]] = {}
    wanted: dict[str, list[Wanted]] = {}
    for device, entry in (i for journal in journals for i in read_inputs(journal, TELLING)):
        if (news := _told(entry.event, entry.at_ms)) is not None:
            told.setdefault(device, []).append(news)
        if (choice := _commanded(entry.event)) is not None:
            wanted.setdefault(device, []).append(Wanted(entry.at_ms, choice))
    for member in members:
        name, facts = member.device.id, member.device.facts
        yield from violations(facts, member.truth, told.get(name, ()), wanted.get(name, ()))


def _told(event: Event, at_ms: int) -> Told | None:
    match event:
        case AttemptBegan():
            return Told(at_ms, None)
        case AssignmentArrived(assignment=assignment):
            decision = assignment.decision
            return Told(at_ms, decision if isinstance(decision, Admitted) else None)
        case _:
            return None


def _commanded(event: Event) -> Choice | None:
    match event:
        case CommandReceived(command=command):
            match command.action:
                case ContinueAnyway():
                    return Choice.CONTINUE_ANYWAY
                case SkipAccountSetup():
                    return Choice.SKIP_ACCOUNT_SETUP
                case _:
                    return None
        case _:
            return None


def _end(member: FleetDevice) -> DeviceEnd:
    outcome = member.outcome
    end_state = None if outcome is None else outcome.end_state
    return DeviceEnd(
        device=member.device.id,
        enrollment_type=member.device.facts.enrollment_type,
        end_state=end_state,
        is_finished=end_state is not None and outcome is not None and outcome.unacknowledged == 0,
    )
