"""Everything that has to be true in every world, judged from what happened and not from what is believed."""

from __future__ import annotations

from typing import Final

from simulator.verify.collector_checkers import (
    AdmissionHeld,
    CommittedFirst,
    LateWillsIgnored,
    OnlyTheOwner,
    StoredInOrder,
)
from simulator.verify.device_checkers import (
    ChoicesAllowed,
    CommandsOnce,
    DeadlinesKept,
    DependenciesFirst,
    FactsKept,
    GateAsReported,
    GateSafety,
    LookedFor,
    NumbersLast,
    PersistedFirst,
    ProgressMonotone,
    SessionsGrow,
    WindowHeld,
    Wiped,
)
from simulator.verify.end_checkers import (
    EveryoneFinishes,
    JournalIsStored,
    LogsDelivered,
    OneEndState,
    StatusIsTheFold,
)
from simulator.verify.forgery_checkers import ForgeriesTold
from simulator.verify.plan import WorldPlan
from simulator.verify.watch import Checker

ALL: Final[tuple[type[Checker], ...]] = (
    PersistedFirst,
    NumbersLast,
    FactsKept,
    SessionsGrow,
    WindowHeld,
    GateSafety,
    GateAsReported,
    ChoicesAllowed,
    LookedFor,
    DependenciesFirst,
    Wiped,
    DeadlinesKept,
    ProgressMonotone,
    CommandsOnce,
    ForgeriesTold,
    StoredInOrder,
    OnlyTheOwner,
    CommittedFirst,
    AdmissionHeld,
    LateWillsIgnored,
    EveryoneFinishes,
    JournalIsStored,
    OneEndState,
    StatusIsTheFold,
    LogsDelivered,
)
"""Every property, the ones that judge at once before the ones that judge at the end."""


def all_checkers(plan: WorldPlan) -> list[Checker]:
    """One of each for one world."""
    return [checker(plan) for checker in ALL]
