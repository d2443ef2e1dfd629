"""Says what an administrator could do next, from the figures of a what-if."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from agent.wire.vocabulary import EnrollmentType, FailureKind

WORTH_MINUTES: Final = 0.5
"""Less than this per device is not worth a change of the profile."""
ADVICE_MAX: Final = 4
"""More than a person would read."""


@dataclass(frozen=True, slots=True)
class Advice:
    """One thing to do."""

    sentence: str
    options: str = ""
    """Options of `esp-sim whatif` that show what it would change; empty when the scenario has no key for it."""


_OF_REASON: Final[Mapping[FailureKind, Advice]] = {
    FailureKind.DEVICE_LIMIT_EXCEEDED: Advice(
        "Remove devices that their users no longer have, or raise the device limit before the rollout",
        "--with admission.device_limit=1000",
    ),
    FailureKind.OS_NOT_SUPPORTED: Advice(
        "Update these devices before they enroll, or lower the minimum OS version"
    ),
    FailureKind.DIFFERENT_USER: Advice(
        "Release these devices from their former users before they are handed out",
        "--with admission.not_released=0",
    ),
    FailureKind.USER_CANCELLED: Advice("Tell people beforehand what they will be asked to accept"),
    FailureKind.PERSON_SILENT: Advice(
        "Tell people beforehand that setup needs their answers, and how long it takes"
    ),
    FailureKind.NETWORK_TIMEOUT: Advice(
        "Check the way to the sources of the apps", "--with network.failure=0"
    ),
}
_REASONS: Final = {kind.label: kind for kind in FailureKind}


def advice(figures: Mapping[str, Any]) -> tuple[Advice, ...]:
    """What to do, the most useful first; at most four things."""
    found = [*_about_failures(figures), *_about_time(figures)]
    of_timeouts = _about_timeouts(figures)
    if of_timeouts is not None and of_timeouts not in found:
        found.append(of_timeouts)
    return tuple(found[:ADVICE_MAX])


def _about_failures(figures: Mapping[str, Any]) -> Iterator[Advice]:
    reasons: Mapping[str, int] = figures["whole"]["reasons"]
    for label, count in list(reasons.items())[:2]:
        kind = _REASONS[label]
        of_timeouts = _about_timeouts(figures)
        if kind is FailureKind.SETUP_TIMED_OUT and of_timeouts is not None:
            yield of_timeouts
            continue
        known = _OF_REASON.get(kind)
        attempts = "1 attempt" if count == 1 else f"{count:,} attempts"
        if known is not None:
            yield Advice(f"{label}, {attempts}: {_lower(known.sentence)}.", known.options)
        else:
            yield Advice(f"{label}, {attempts}: {_culprits(figures, label)}.")


def _culprits(figures: Mapping[str, Any], label: str) -> str:
    names = [e["name"] for e in figures["failures"] if e["reason"] == label and e["attempts_ended"]]
    if not any(names):
        return "see the table of causes in the report"
    return f"look at {', '.join(n for n in names[:3] if n)}"


def _about_time(figures: Mapping[str, Any]) -> Iterator[Advice]:
    """The app, and the wait for people, that hold gates longest."""
    path = figures["critical_path"]
    for entry in [e for e in path if e["kind"] == "app"][:1]:
        if entry["minutes_lost"] >= WORTH_MINUTES:
            yield Advice(
                f"{entry['name']} alone holds the gate for {entry['minutes_lost']:.1f} minutes per device"
                f"{_where(figures, entry['item'])}. If people can begin without it, let it come later.",
                f"--with apps.{entry['item']}.required=false",
            )
    for entry in [e for e in path if e["kind"] == "screen"][:1]:
        if entry["minutes_lost"] >= WORTH_MINUTES:
            yield Advice(
                f"The gate waits {entry['minutes_lost']:.1f} minutes per device for a person at “{entry['name']}”."
                " Let people know that they are needed there."
            )


def _where(figures: Mapping[str, Any], item: str) -> str:
    """On which type the item is most often on the critical path."""
    shares = {
        kind: entry["share"]
        for kind, entries in figures["critical_path_by_type"].items()
        for entry in entries
        if entry["item"] == item
    }
    if not shares:
        return ""
    kind = max(shares, key=lambda name: (shares[name], name))
    return f", and is on the critical path of {shares[kind]:.0%} of {EnrollmentType(kind).label} devices"


def _about_timeouts(figures: Mapping[str, Any]) -> Advice | None:
    """How often the time budget ended, and during what; None when it never did."""
    times = sum(entry["times"] for entry in figures["timeouts"])
    still = Counter[str]()
    for entry in figures["timeouts"]:
        still.update({item["name"]: item["times"] for item in entry["open"]})
    if not still:
        return None
    name = min(still, key=lambda each: (-still[each], each))
    return Advice(
        f"The time budget ended {times:,} {'time' if times == 1 else 'times'}, most often while {name} was under way."
        " See what a longer timeout would change.",
        "--sweep timeout=30,60,90,120",
    )


def _lower(sentence: str) -> str:
    return sentence[0].lower() + sentence[1:]
