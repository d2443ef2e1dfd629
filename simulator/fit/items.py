"""Fits the times and faults of items and steps to a history."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from agent.wire.vocabulary import EnrollmentType, FailureKind
from simulator.fit.distribution import ChanceFit, TimesFit, fit_times
from simulator.fit.findings import Finding, KeyPath, Verdict, chance_finding, time_finding
from simulator.fit.history import Make, Try
from simulator.fit.makes import Kin
from simulator.fit.recovery import Affected, Recovery, Seen, recovery_of
from simulator.fit.subjects import Subject, times_of, worked_share
from simulator.scenario import Fault
from simulator.step_times import step_seconds

WIN32_BASE: Final = 0x80070000
_WINDOWS: Final = frozenset({EnrollmentType.WINDOWS_AUTOPILOT, EnrollmentType.WINDOWS_MANUAL})


def item_findings(
    subject: Subject, kin: Mapping[Make, Kin], log_paces: Mapping[Make, float]
) -> Iterator[Finding]:
    """Time and faults of one item or step. `log_paces` are those of the makes, as fitted."""
    finished, cut_off = times_of(subject.records, log_paces)
    weights = [
        (kin[make].log_pace_variance, len(record.finished_s)) for make, record in subject.records
    ]
    mixed = sum(v * n for v, n in weights) / max(1, sum(n for _, n in weights))
    fit = fit_times(finished, cut_off, weight=worked_share(subject.records))
    if fit is not None:
        spread = math.exp(math.sqrt(max(math.log(fit.spread) ** 2 - mixed, 0.0)))
        yield time_finding(
            (*subject.path, "time"),
            f"{subject.label} time",
            fit,
            subject.time,
            spread=spread,
            usual_s=step_seconds(subject.id, subject.records[0][1].kind),
        )
    yield from _Faults(subject, fit, log_paces).findings()


FaultKey = int | tuple[str, int | None]
"""The number of a fault that the scenario has, or kind and exit code of one that it does not have."""


class _Faults:
    """Counts which faults first tries met, and how further tries went."""

    def __init__(
        self, subject: Subject, fit: TimesFit | None, log_paces: Mapping[Make, float]
    ) -> None:
        self._subject = subject
        self._fit = fit
        self._log_paces = log_paces
        self._affected: defaultdict[FaultKey, list[Affected]] = defaultdict(list)
        self._known = self._cut_off = 0
        """Devices whose first try came to its own end, and those whose first was cut off while it worked."""
        for make, record in subject.records:
            self._known += record.worked_at_once
            for tries in record.troubled:
                self._count(make, tries)

    def findings(self) -> Iterator[Finding]:
        """Chance and recovery of each fault, those of the scenario first and in their order."""
        known: list[FaultKey] = list(range(len(self._subject.faults)))
        new = sorted((key for key in self._affected if key not in known), key=str)
        left, place = float(self._known), 0
        for key in [*known, *new]:
            fault = self._subject.faults[key] if isinstance(key, int) else None
            whole = left + (self._cut_off if key == self._hanging else 0)
            found = recovery_of(self._affected[key], whole)
            chance = ChanceFit(found.affected, round(whole))
            if fault is None and found.affected < 0.5:
                continue
            if key != self._hanging:
                # Who meets one fault is not asked about the next.
                left -= found.affected
            if fault is None or not fault.hardware:
                yield from self._of(place, key, fault, chance, found)
            place += fault is not None or not chance.is_few

    def _of(
        self, place: int, key: FaultKey, fault: Fault | None, chance: ChanceFit, found: Recovery
    ) -> Iterator[Finding]:
        path = (*self._subject.path, "faults", place)
        if fault is None:
            assert not isinstance(key, int), "only a new fault has no place in the scenario"
            kind, exit_code = key
            label = f"{self._subject.label} {kind}"
            new = chance_finding((*path, "chance"), f"{label} chance", chance, None)
            yield new
            if not new.is_used:
                return
            for name, value in (("kind", kind), ("exit_code", exit_code)):
                if value is not None:
                    yield _word((*path, name), f"{label} {name}", value, chance)
            before = None
        else:
            label = f"{self._subject.label} {fault.kind}"
            label += "" if fault.exit_code is None else f" {fault.exit_code}"
            yield chance_finding((*path, "chance"), f"{label} chance", chance, fault.chance)
            before = fault.recovery
        tries = ChanceFit(found.recovered, round(found.tries))
        if tries.count:
            yield chance_finding((*path, "recovery"), f"{label} recovery", tries, before)

    def _count(self, make: Make, tries: Sequence[Try]) -> None:
        first = tries[0]
        if first.outcome == "cut_off":
            if self._fit is None or not first.work_s:
                return
            self._cut_off += 1
            key, otherwise = self._hanging, self._still_runs(make, first)
        else:
            self._known += 1
            met = self._met(make, first)
            if met is None:
                return
            key, otherwise = met, 0.0
        seen = tuple(self._seen(key, make, again) for again in tries[1:])
        self._affected[key].append(Affected(otherwise, seen))

    def _seen(self, key: FaultKey, make: Make, tried: Try) -> Seen:
        """How likely a further try is to go like this while the fault still acts, and once it does not."""
        if tried.outcome == "worked":
            return Seen(0.0, 1.0)
        if tried.outcome == "cut_off":
            if key != self._hanging or not tried.work_s or self._fit is None:
                return Seen(1.0, 1.0)
            return Seen(1.0, self._still_runs(make, tried))
        met = self._met(make, tried)
        if met == key:
            return Seen(1.0, 0.0)
        # What comes later in the scenario's order is met only by those who are past the fault before it.
        is_later = isinstance(met, int) and isinstance(key, int) and met > key
        return Seen(0.0, 1.0) if is_later else Seen(1.0, 1.0)

    def _met(self, make: Make, tried: Try) -> FaultKey | None:
        """The fault that a try met by itself; None for the network's."""
        key = _key_of(make, tried, self._subject.faults)
        is_network = tried.kind is FailureKind.NETWORK_TIMEOUT and not isinstance(key, int)
        return None if is_network else key

    def _still_runs(self, make: Make, tried: Try) -> float:
        assert self._fit is not None, "nothing is cut off from a time that nobody knows"
        assert tried.work_s is not None, "it was at work"
        return self._fit.still_runs(tried.work_s * math.exp(self._log_paces[make]))

    @property
    def _hanging(self) -> FaultKey:
        kinds = [fault.kind for fault in self._subject.faults]
        return kinds.index("hangs") if "hangs" in kinds else ("hangs", None)


def _word(path: KeyPath, label: str, value: object, chance: ChanceFit) -> Finding:
    """What a new fault is called."""
    low, high = chance.interval
    return Finding(path, label, value, None, chance.count, low, high, Verdict.GOOD)


def _key_of(make: Make, tried: Try, faults: Sequence[Fault]) -> FaultKey:
    """The scenario's fault that looks like this, or what a new one would be."""
    assert tried.kind is not None, "a try that failed has a kind"
    exit_code = _exit_code(make, tried)
    alike = [n for n, fault in enumerate(faults) if fault.kind == tried.kind.value]
    for number in alike:
        fault = faults[number]
        usual = 1603 if fault.kind == "installer_failed" else None
        if exit_code is not None and exit_code == (fault.exit_code or usual):
            return number
        if fault.code is not None and fault.code == tried.code:
            return number
    if len(alike) == 1 and (exit_code is None or faults[alike[0]].exit_code is None):
        return alike[0]
    if alike and exit_code is None:
        return alike[0]
    return tried.kind.value, exit_code


def _exit_code(make: Make, tried: Try) -> int | None:
    """The installer's exit code in a Windows failure's code."""
    if make.enrollment_type not in _WINDOWS or tried.kind is not FailureKind.INSTALLER_FAILED:
        return None
    try:
        code = int(tried.code, 0)
    except ValueError:
        return None
    return code - WIN32_BASE if WIN32_BASE < code <= WIN32_BASE + 0xFFFF else code
