"""A snapshot as JSON, of which only what changed is written anew: a fleet's devices tell theirs about once a second each."""

from __future__ import annotations

from operator import attrgetter
from typing import Final

from agent.core.plan import PhasePlan, Plan, RowPlan
from agent.core.snapshot import head_of, item_of, row_of, waits_for
from agent.core.state import Attempt, ItemRun

_told_of = attrgetter(
    "plan", "state", "attempt", "percent", "deadline_ms", "moved_ms", "failure", "note"
)
"""What is told of an item follows from these, from when the attempt began, and from what the item waits for."""

_PHASES: Final = {"phases"}
_ITEMS: Final = {"items"}


class _Row:
    """One row of the plan, as it was written last."""

    __slots__ = ("head", "items", "phase_state", "row", "texts", "told")

    def __init__(self, row: RowPlan, items: list[ItemRun]) -> None:
        self.row = row
        self.items = items
        self.told: list[object] = [None] * len(items)
        """What the texts were written from, item by item."""
        self.texts = [""] * len(items)
        self.phase_state: object = None
        self.head = ""


class ProgressText:
    """Writes the snapshots of one machine.

    Texts are kept and the models that make them are not: these take several times the memory.
    """

    __slots__ = ("_attempt", "_items", "_plan", "_rows")

    def __init__(self) -> None:
        self._attempt: Attempt | None = None
        self._items: dict[str, ItemRun] | None = None
        self._plan: Plan | None = None
        self._rows: list[tuple[PhasePlan, list[_Row]]] = []

    def write(self, attempt: Attempt, now_ms: int) -> str:
        """What `progress_of` tells, without what is None; the phases come last, whose place means nothing in JSON."""
        head = head_of(attempt, now_ms).model_dump_json(exclude_none=True, exclude=_PHASES)
        plan = attempt.plan
        if plan is None:
            return f'{head[:-1]},"phases":[]}}'
        if (
            attempt is not self._attempt
            or plan is not self._plan
            or attempt.items is not self._items
        ):
            self._begin(attempt, plan)
        phases = ",".join([_phase(attempt, plan, *each) for each in self._rows])
        return f'{head[:-1]},"phases":[{phases}]}}'

    def _begin(self, attempt: Attempt, plan: Plan) -> None:
        """Forget what was written of another attempt, or by another plan."""
        self._attempt, self._plan, self._items = attempt, plan, attempt.items
        self._rows = [
            (phase, [_Row(row, [attempt.items[name] for name in row.items]) for row in phase.rows])
            for phase in plan.phases
        ]


def _phase(attempt: Attempt, plan: Plan, phase: PhasePlan, rows: list[_Row]) -> str:
    written = ",".join([_row(attempt, plan, phase, row) for row in rows])
    state, shown = attempt.phase_states[phase.phase], "true" if phase.shown else "false"
    return f'{{"phase":"{phase.phase}","state":"{state}","shown":{shown},"rows":[{written}]}}'


def _row(attempt: Attempt, plan: Plan, phase: PhasePlan, row: _Row) -> str:
    phase_state = attempt.phase_states[phase.phase]
    is_as_it_was = phase_state is row.phase_state
    for place, item in enumerate(row.items):
        told = _told_of(item)
        if item.plan.needs:
            told = (told, waits_for(attempt, plan, item))
        if told != row.told[place]:
            is_as_it_was = False
            row.told[place] = told
            row.texts[place] = item_of(attempt, plan, item).model_dump_json(exclude_none=True)
    if not is_as_it_was:
        row.phase_state = phase_state
        head = row_of(attempt, phase.phase, row.row, row.items)
        row.head = head.model_dump_json(exclude_none=True, exclude=_ITEMS)[:-1]
    return f'{row.head},"items":[{",".join(row.texts)}]}}'
