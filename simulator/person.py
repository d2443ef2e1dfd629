"""The person in front of a simulated device: answers, hesitates, gives up, walks away, and perhaps comes back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from agent.core.effects import AskPerson, OfferChoices
from agent.core.events import MINUTE_MS, PersonActed, PersonChose
from agent.core.person_screens import PERSON_SCREENS
from agent.wire.vocabulary import Choice, PersonAction
from simulator.draws import Draws
from simulator.scenario import Duration, Person, ScreenHabits
from simulator.working_hours import after_working

SILENCE_MS = 30 * MINUTE_MS
"""What the incomplete-enrollments report counts as silence; whoever is silent here stays away for longer."""
_USUAL = ScreenHabits()
_WORDS = {name: len(f"{s.title} {s.text}".split()) for name, s in PERSON_SCREENS.items()}
"""How much there is to read on each screen."""
_VISITS = 100
"""More visits than a person makes."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The person presses a button of a person screen."""

    at_ms: int
    event: PersonActed


@dataclass(frozen=True, slots=True)
class Pick:
    """The person takes one of the choices."""

    at_ms: int
    event: PersonChose


@dataclass(frozen=True, slots=True)
class Return:
    """The person, who gave up or went away, is back to enroll again."""

    at_ms: int


Reaction = Answer | Pick | Return


class SimulatedPerson:
    """One person with habits; every reaction follows from the draws.

    `week_ms` is the time of the week at which the device was switched on, counted from Monday at midnight; working
    hours are laid over it. `visit` counts the times that the person came back. Each visit has draws of its own, and within one each occasion
    on which the same screen is shown.
    """

    __slots__ = ("_draws", "_first_error_ms", "_habits", "_retries", "_week_ms", "visit")

    def __init__(self, habits: Person, draws: Draws, visit: int = 0, week_ms: int = 0) -> None:
        self._habits = habits
        self._draws = draws
        self._week_ms = week_ms
        self._retries = 0
        self._first_error_ms: int | None = None
        self.visit = visit

    def came_back(self) -> None:
        """A new visit begins, with new patience."""
        self.visit += 1
        self._retries = 0
        self._first_error_ms = None

    def has_had_enough(self, resets: int) -> bool:
        """True when the device was reset more often than this person begins anew."""
        return resets > self._habits.resets_max

    def asked(self, ask: AskPerson, at_ms: int, occasion: int = 0) -> Sequence[Reaction]:
        """What follows from a person screen; nothing when the person never answers and never comes back.

        `occasion` counts how often this screen was shown before in this visit.
        """
        habits = self._habits.screens.get(ask.screen, _USUAL)
        silent = self._habits.silent if habits.silent is None else habits.silent
        occurrence = self.visit + _VISITS * occasion
        if self._draws.chance(silent, "silent", ask.screen, occurrence):
            return tuple(self._stays_away(ask, at_ms))
        answer = habits.answer or self._habits.answer
        takes_ms = self._after(answer, "answer", ask.screen, occurrence)
        takes_ms += self._reading_ms(ask.screen, habits)
        answered_ms = self._there_for(at_ms, takes_ms)
        if answered_ms - at_ms - takes_ms > SILENCE_MS and not _waits_for_good(ask.screen):
            # The enrollment was over half an hour after they went home; back at work they begin anew.
            return (Return(answered_ms),) if self.visit < self._habits.returns_max else ()
        action = self._action(ask, habits, occurrence)
        acted = Answer(answered_ms, PersonActed(item=ask.item, action=action))
        if action is PersonAction.PROCEED:
            return (acted,)
        return (acted, *self._returns(answered_ms))

    def offered(self, offer: OfferChoices, at_ms: int, resets: int = 0) -> Sequence[Reaction]:
        """What follows from an offer: picks in their order, or nothing when the person leaves it.

        `resets` says how often the device was reset before.
        """
        if not offer.error:
            return tuple(self._goes_on_early(offer, at_ms))
        choices = offer.choices
        if self.has_had_enough(resets + 1):
            choices = tuple(c for c in choices if c is not Choice.RESET_DEVICE)
        return tuple(self._at_error_screen(replace(offer, choices=choices), at_ms))

    def reading_ms(self, screen: str) -> int:
        """How long they read the text of a screen before they begin to answer it."""
        return self._reading_ms(screen, self._habits.screens.get(screen, _USUAL))

    def _action(self, ask: AskPerson, habits: ScreenHabits, occurrence: int) -> PersonAction:
        chances = self._habits.halt if habits.halt is None else habits.halt
        position = self._draws.uniform("halt", ask.screen, occurrence)
        for action in PersonAction:
            if action in ask.actions and action in chances:
                if position < chances[action]:
                    return action
                position -= chances[action]
        return PersonAction.PROCEED

    def _stays_away(self, ask: AskPerson, at_ms: int) -> Iterator[Reaction]:
        for back in self._returns(at_ms + SILENCE_MS):
            if _waits_for_good(ask.screen):
                # Such a screen still waits: whoever comes back answers it instead of starting anew.
                yield Answer(back.at_ms, PersonActed(item=ask.item, action=PersonAction.PROCEED))
            else:
                yield back

    def _returns(self, gone_ms: int) -> Iterator[Return]:
        habits = self._habits
        if self.visit < habits.returns_max and self._draws.chance(
            habits.returns, "returns", "", self.visit
        ):
            # A minute at least, so that the attempt that was left has ended in every order of events.
            away = self._after(habits.return_after, "return_after", "", self.visit)
            yield Return(self._there_for(gone_ms + MINUTE_MS + away, 0))

    def _goes_on_early(self, offer: OfferChoices, at_ms: int) -> Iterator[Pick]:
        leaving = (Choice.CONTINUE_ANYWAY, Choice.SKIP_ACCOUNT_SETUP)
        choice = next((choice for choice in leaving if choice in offer.choices), None)
        if choice is None:
            return
        if self._draws.chance(self._habits.leaves_early, "leaves_early", choice.value, self.visit):
            wait = self._after(self._habits.answer, "leaves_early_after", choice.value, self.visit)
            yield Pick(self._there_for(at_ms, wait), PersonChose(choice=choice))

    def _at_error_screen(self, offer: OfferChoices, at_ms: int) -> Iterator[Pick]:
        habits = self._habits.error_screen
        occurrence = self.visit * 100 + self._retries
        takes_ms = self._after(habits.answer, "error_answer", "", occurrence)
        chosen_ms = self._there_for(at_ms, takes_ms)
        if self._first_error_ms is None:
            self._first_error_ms = at_ms
        if Choice.COLLECT_LOGS in offer.choices and self._draws.chance(
            habits.collects_logs, "collects_logs", "", occurrence
        ):
            collected_ms = self._there_for(at_ms, takes_ms // 2)
            yield Pick(collected_ms, PersonChose(choice=Choice.COLLECT_LOGS))
        is_patient = self._is_patient(chosen_ms - self._first_error_ms)
        retry = self._retry(offer, occurrence) if is_patient else None
        if retry is not None:
            self._retries += 1
            yield Pick(chosen_ms, retry)
            return
        weights = {
            word: weight
            for word, weight in habits.then.items()
            if word == "walk_away" or Choice(word) in offer.choices
        }
        if sum(weights.values()) > 0:
            word = self._draws.pick(weights, "error_then", "", occurrence)
            if word != "walk_away":
                yield Pick(chosen_ms, PersonChose(choice=Choice(word)))

    def _retry(self, offer: OfferChoices, occurrence: int) -> PersonChose | None:
        habits = self._habits.error_screen
        if self._retries >= habits.retries:
            return None
        one_item = (
            Choice.TRY_ITEM_AGAIN in offer.choices
            and bool(offer.items)
            and self._draws.chance(habits.retries_one_item, "retries_one_item", "", occurrence)
        )
        if one_item:
            return PersonChose(choice=Choice.TRY_ITEM_AGAIN, item=offer.items[0])
        if Choice.TRY_AGAIN in offer.choices:
            return PersonChose(choice=Choice.TRY_AGAIN)
        return None

    def _is_patient(self, troubled_ms: int) -> bool:
        patience = self._habits.error_screen.patience
        return patience is None or troubled_ms <= self._after(patience, "patience", "", self.visit)

    def _reading_ms(self, screen: str, habits: ScreenHabits) -> int:
        """How long they read the text of a screen."""
        pace = self._habits.words_per_minute
        if pace is None:
            return 0
        words = _WORDS.get(screen, 0) if habits.words is None else habits.words
        return round(words / pace * MINUTE_MS)

    def _there_for(self, from_ms: int, work_ms: int) -> int:
        """When something that takes so long is done by somebody who is there in working hours only."""
        hours = self._habits.hours
        if hours is None:
            return from_ms + work_ms
        return after_working(hours, self._week_ms + from_ms, work_ms) - self._week_ms

    def _after(self, time: Duration, purpose: str, item: str, occurrence: int) -> int:
        return round(
            self._draws.spread(time.median_s, time.spread, purpose, item, occurrence) * 1000
        )


def _waits_for_good(screen: str) -> bool:
    """True for a screen that no silence of 30 minutes ends."""
    shown = PERSON_SCREENS.get(screen)
    return shown is not None and shown.section is None
