"""Fits a scenario to a history: every key that reports say something of, and what they say nothing of."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Final

from agent.wire.vocabulary import EnrollmentType, FailureKind
from simulator.fit.distribution import ChanceFit, TimesFit, fit_times
from simulator.fit.findings import Finding, KeyPath, Verdict, chance_finding, significant
from simulator.fit.history import History, Make
from simulator.fit.items import item_findings
from simulator.fit.makes import Kin, kin_of
from simulator.fit.pace import pace_findings
from simulator.fit.people import people_findings
from simulator.fit.subjects import Subject, subjects_of
from simulator.scenario import MEBIBYTE, Scenario
from simulator.tally import NO_VERDICT
from simulator.whatif.intervals import normal_quantile

DOWNLOAD_SPREAD: Final = 1.2
"""How far the downloads of one device differ, as the endpoint model draws them."""
WEAK_ROUNDS: Final = 500


@dataclass(frozen=True, slots=True)
class Fitted:
    """The outcome of a fit."""

    devices: int
    reports: int
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]
    """What could not be fitted, a sentence each."""

    @property
    def used(self) -> tuple[Finding, ...]:
        """Those whose values go into the scenario."""
        return tuple(f for f in self.findings if f.is_used)


def fit_scenario(scenario: Scenario, history: History) -> Fitted:
    """Fit what this history says something of."""
    kin = kin_of(scenario, history.devices)
    subjects, notes = subjects_of(scenario, history, kin)
    for make, count in history.devices.items():
        if make not in kin:
            notes.append(
                f"{count} devices of {make.enrollment_type.label} ({make.variant.label}): "
                "the scenario has no such population; add it, then fit again"
            )
    paces = tuple(pace_findings(scenario, subjects, kin))
    findings: list[Finding] = list(paces)
    log_paces = _log_paces(kin, paces)
    for subject in subjects:
        findings.extend(item_findings(subject, kin, log_paces))
    for part in (
        _network(scenario, history, subjects),
        people_findings(scenario, history, kin),
        _targets(scenario, history),
    ):
        for found in part:
            if isinstance(found, str):
                notes.append(found)
            else:
                findings.append(found)
    return Fitted(
        devices=history.devices.total(),
        reports=history.reports,
        findings=tuple(findings),
        notes=tuple(notes),
    )


def _log_paces(kin: Mapping[Make, Kin], paces: tuple[Finding, ...]) -> dict[Make, float]:
    """The pace of each make, by what was fitted where it may be used."""
    fitted = {str(f.path[1]): math.log(f.value) for f in paces if f.is_used}
    return {make: fitted.get(known.hardware or "", known.log_pace) for make, known in kin.items()}


# --- network --------------------------------------------------------------------------------------


def _network(
    scenario: Scenario, history: History, subjects: list[Subject]
) -> Iterator[Finding | str]:
    if any(site.network is not None for site in scenario.sites):
        yield "network: a site has lines of its own, and a report doesn't say which site it comes from"
        return
    yield from _failures(scenario, history, subjects)
    if any(site.megabits_per_second is not None for site in scenario.sites):
        yield "network megabits_per_second: devices share a line, so that a download's time is not their own line's"
        return
    rates = list(_rates(scenario, subjects))
    fit = fit_times(rates)
    if fit is None:
        return
    own = math.log(fit.spread) ** 2 - math.log(DOWNLOAD_SPREAD) ** 2
    yield _measure("megabits_per_second", fit, fit.median_s, scenario.network.megabits_per_second)
    yield _measure("spread", fit, math.exp(math.sqrt(max(own, 0.0))), scenario.network.spread)


def _measure(key: str, fit: TimesFit, value: float, before: float) -> Finding:
    verdict = (
        Verdict.TOO_FEW if fit.is_few else Verdict.GOOD if fit.fits else Verdict.NOT_LOG_NORMAL
    )
    is_rate = key == "megabits_per_second"
    return Finding(
        path=("network", key),
        label=f"network {key}",
        value=significant(value),
        before=before,
        count=fit.count,
        low=fit.low_s if is_rate else value,
        high=fit.high_s if is_rate else value,
        verdict=verdict,
        distance=fit.distance,
    )


def _rates(scenario: Scenario, subjects: list[Subject]) -> Iterator[float]:
    """Megabits per second of every download of an item whose size the scenario knows."""
    sizes: dict[KeyPath, float] = {
        (key, number): item.size_mb * MEBIBYTE * 8 / 1e6
        for key, items in (
            ("policies", scenario.policies),
            ("certificates", scenario.certificates),
            ("networks", scenario.networks),
            ("apps", scenario.apps),
        )
        for number, item in enumerate(items)
    }
    for subject in subjects:
        size = sizes.get(subject.path, 0.0)
        for _, record in subject.records:
            yield from (size / time for time in record.download_s if size and time)


def _failures(
    scenario: Scenario, history: History, subjects: list[Subject]
) -> Iterator[Finding | str]:
    kind = FailureKind.NETWORK_TIMEOUT.value
    if any(fault.kind == kind for subject in subjects for fault in subject.faults):
        yield "network failure: an item has a fault that looks the same (network_timeout)"
        return
    network, devices = scenario.network, history.network
    if network.weak > 0:
        yield from _weak(history, network.weak, network.weak_failure, network.failure)
        return
    hits = sum(failed * count for (failed, _), count in devices.items())
    tries = sum(possible * count for (_, possible), count in devices.items())
    if tries:
        fit = ChanceFit(hits, tries)
        yield chance_finding(("network", "failure"), "network failure", fit, network.failure)


def _weak(history: History, weak: float, weak_failure: float, failure: float) -> Iterator[Finding]:
    """Weak lines and ordinary ones, told apart by how many of a device's tries the network failed.

    A mixture of two binomial distributions, by expectation and maximization.
    """
    devices = [(k, n, count) for (k, n), count in history.network.items() if n]
    whole = sum(count for _, _, count in devices)
    share, bad, usual = max(weak, 1e-3), weak_failure, max(failure, 1e-5)
    weak_tries = weak_hits = 0.0
    for _ in range(WEAK_ROUNDS if whole else 0):
        members = weak_tries = weak_hits = other_tries = other_hits = 0.0
        for k, n, count in devices:
            a = share * bad**k * (1 - bad) ** (n - k)
            b = (1 - share) * usual**k * (1 - usual) ** (n - k)
            likely = count * (a / (a + b) if a + b else 0.0)
            members += likely
            weak_tries, weak_hits = weak_tries + likely * n, weak_hits + likely * k
            rest = count - likely
            other_tries, other_hits = other_tries + rest * n, other_hits + rest * k
        share = members / whole
        bad = weak_hits / weak_tries if weak_tries else bad
        usual = other_hits / other_tries if other_tries else usual
    tries = sum(n * count for _, n, count in devices)
    for key, fit, before in (
        ("weak", ChanceFit(share * whole, whole), weak),
        ("weak_failure", ChanceFit(weak_hits, round(weak_tries)), weak_failure),
        ("failure", ChanceFit(usual * (tries - weak_tries), round(tries - weak_tries)), failure),
    ):
        if fit.count:
            yield chance_finding(("network", key), f"network {key}", fit, before)


# --- what the fleet came to -----------------------------------------------------------------------


def _targets(scenario: Scenario, history: History) -> Iterator[Finding]:
    for kind in EnrollmentType:
        ends = history.ends.get(kind)
        times = history.success_s.get(kind, [])
        judged = 0 if ends is None else sum(n for s, n in ends.items() if s not in NO_VERDICT)
        if judged:
            yield from target_findings(scenario, kind, ChanceFit(len(times), judged), times)


def target_findings(
    scenario: Scenario, kind: EnrollmentType, rate: ChanceFit, times_s: list[float]
) -> Iterator[Finding]:
    """Success rate and average time of a type, as the page says them."""
    target = scenario.targets.get(kind)
    path, label = ("targets", kind.value), f"targets {kind.value}"
    before = None if target is None else target.success_rate
    yield chance_finding((*path, "success_rate"), f"{label} success_rate", rate, before)
    if len(times_s) < 2:
        return
    mean = fmean(times_s) / 60
    reach = normal_quantile() * stdev(times_s) / 60 / math.sqrt(len(times_s))
    yield Finding(
        path=(*path, "minutes"),
        label=f"{label} minutes",
        value=significant(mean),
        before=None if target is None else target.minutes,
        count=len(times_s),
        low=mean - reach,
        high=mean + reach,
        verdict=Verdict.TOO_FEW if rate.is_few else Verdict.GOOD,
    )
