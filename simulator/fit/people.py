"""Fits people's answer times, silence and halts to a history."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from agent.core.person_screens import PERSON_SCREENS
from agent.wire.vocabulary import PersonAction
from simulator.draws import Draws
from simulator.fit.distribution import SHORTEST_S, ChanceFit, fit_times
from simulator.fit.findings import Finding, KeyPath, chance_finding, time_finding
from simulator.fit.history import History, Make, ScreenRecord
from simulator.fit.makes import Kin
from simulator.person import SimulatedPerson
from simulator.scenario import Duration, Person, Scenario

_ACTIONS = {action.label: action for action in PersonAction}


def people_findings(
    scenario: Scenario, history: History, kin: Mapping[Make, Kin]
) -> Iterator[Finding | str]:
    """What each archetype does, and a sentence for each that can't be fitted.

    What a screen has a value of its own for is fitted there, everything else for the archetype as a whole.
    """
    screens: defaultdict[str, dict[str, list[ScreenRecord]]] = defaultdict(dict)
    for (make, screen), record in history.screens.items():
        person = kin[make].person if make in kin else None
        if person is not None:
            screens[person].setdefault(screen, []).append(record)
    for name, found in screens.items():
        yield from _Archetype(name, scenario.persons[name], found).findings()
    yield from _error_screens(scenario, history, kin)
    for make, known in kin.items():
        if known.person is None:
            yield (
                f"people of {make.enrollment_type.label} ({make.variant.label}): the scenario has several archetypes "
                "for them, and a report doesn't say which; give them one, or models of their own"
            )


@dataclass(slots=True)
class _Answers:
    """The answers that one key stands for."""

    answered_s: list[float] = field(default_factory=list)
    cut_off_s: list[float] = field(default_factory=list)


class _Archetype:
    def __init__(
        self, name: str, person: Person, screens: Mapping[str, list[ScreenRecord]]
    ) -> None:
        self._name = name
        self._person = person
        self._screens = screens
        # How fast somebody reads follows from no draw.
        self._reader = SimulatedPerson(person, Draws(0, 0))

    def findings(self) -> Iterator[Finding | str]:
        """Answers, silence and halts."""
        yield from self._answers()
        if self._person.hours is None:
            yield from self._silence()
        else:
            yield (
                f"persons {self._name}: keeps hours, so that a late answer may be no silence; "
                "silent stays as it is, and answers are those given within half an hour"
            )
        yield from self._halts()

    def _path(self, screen: str | None, key: str) -> KeyPath:
        where = () if screen is None else ("screens", screen)
        return ("persons", self._name, *where, key)

    def _label(self, screen: str | None, key: str) -> str:
        return " ".join(str(part) for part in self._path(screen, key))

    def _own(self, screen: str, key: str) -> str | None:
        """The screen when it has a value of its own there; None when the archetype's counts."""
        habits = self._person.screens.get(screen)
        return screen if habits is not None and getattr(habits, key) is not None else None

    def _gathered(self, key: str) -> dict[str | None, _Answers]:
        gathered: defaultdict[str | None, _Answers] = defaultdict(_Answers)
        for screen, records in self._screens.items():
            reading_s = self._reader.reading_ms(screen) / 1000
            into = gathered[self._own(screen, key)]
            for record in records:
                into.answered_s.extend(
                    max(time - reading_s, 2 * SHORTEST_S) for time in record.answered_s
                )
                into.cut_off_s.extend(
                    max(time - reading_s, 2 * SHORTEST_S) for time in record.cut_off_s
                )
        return gathered

    def _answers(self) -> Iterator[Finding]:
        for screen, answers in self._gathered("answer").items():
            fit = fit_times(answers.answered_s, answers.cut_off_s)
            if fit is None:
                continue
            habits = self._person.screens.get(screen or "")
            own = None if habits is None else habits.answer
            before: Duration = own or self._person.answer
            yield time_finding(
                self._path(screen, "answer"),
                self._label(screen, "answer"),
                fit,
                before,
            )

    def _silence(self) -> Iterator[Finding]:
        for screen, answers in self._gathered("silent").items():
            fit = fit_times(answers.answered_s, answers.cut_off_s)
            if fit is None:
                continue
            count = fit.count + fit.cut_off
            habits = self._person.screens.get(screen or "")
            own = None if habits is None else habits.silent
            yield chance_finding(
                self._path(screen, "silent"),
                self._label(screen, "silent"),
                ChanceFit(fit.never * count, count),
                self._person.silent if own is None else own,
            )

    def _halts(self) -> Iterator[Finding]:
        offered: Counter[tuple[str | None, PersonAction]] = Counter()
        done: Counter[tuple[str | None, PersonAction]] = Counter()
        for screen, records in self._screens.items():
            shown = PERSON_SCREENS.get(screen)
            where = self._own(screen, "halt")
            for record in records:
                for action in () if shown is None else shown.halts:
                    offered[where, action] += record.actions.total()
                for word, count in record.actions.items():
                    action = _ACTIONS[word]
                    if action is not PersonAction.PROCEED:
                        done[where, action] += count
        for (where, action), count in offered.items():
            habits = self._person.screens.get(where or "")
            chances = None if habits is None else habits.halt
            before = (self._person.halt if chances is None else chances).get(action)
            if not count or (before is None and not done[where, action]):
                continue
            key = "halt"
            yield chance_finding(
                (*self._path(where, key), action.value),
                f"{self._label(where, key)} {action.value}",
                ChanceFit(done[where, action], count),
                before,
            )


def _error_screens(
    scenario: Scenario, history: History, kin: Mapping[Make, Kin]
) -> Iterator[Finding]:
    people: defaultdict[str, list[Make]] = defaultdict(list)
    for make in history.errors:
        person = kin[make].person if make in kin else None
        if person is not None:
            people[person].append(make)
    for name, makes in people.items():
        records = [history.errors[make] for make in makes]
        habits = scenario.persons[name].error_screen
        path = ("persons", name, "error_screen")
        fit = fit_times(
            [time for record in records for time in record.answered_s],
            [time for record in records for time in record.left_s],
        )
        if fit is not None:
            yield time_finding(
                (*path, "answer"),
                f"persons {name} error_screen answer",
                fit,
                habits.answer,
            )
        logs = ChanceFit(
            sum(record.collected_logs for record in records),
            sum(record.offered_logs for record in records),
        )
        if logs.count:
            yield chance_finding(
                (*path, "collects_logs"),
                f"persons {name} error_screen collects_logs",
                logs,
                habits.collects_logs,
            )
