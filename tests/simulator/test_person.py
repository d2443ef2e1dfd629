from __future__ import annotations

from typing import Any

from agent.core.effects import AskPerson, OfferChoices
from agent.core.events import HOUR_MS, MINUTE_MS, PersonActed, PersonChose
from agent.wire.vocabulary import Choice, PersonAction
from simulator.draws import Draws
from simulator.person import SILENCE_MS, Answer, Pick, Return, SimulatedPerson
from simulator.scenario import Duration, ErrorHabits, Person, ScreenHabits, WorkingHours

SHOW = AskPerson(
    "show_profile",
    "show_profile",
    (PersonAction.PROCEED, PersonAction.IGNORE, PersonAction.CLOSE),
)
ALL = (Choice.TRY_AGAIN, Choice.TRY_ITEM_AGAIN, Choice.CONTINUE_ANYWAY, Choice.RESET_DEVICE)
ERROR = OfferChoices(ALL, ("vpn",), error=True)


def person(seed: int = 1, **habits: object) -> SimulatedPerson:
    return SimulatedPerson(Person.model_validate({"silent": 0, **habits}), Draws(seed, 0))


def test_a_willing_person_proceeds_after_reading() -> None:
    (answer,) = person(answer=Duration(median_s=10, spread=1)).asked(SHOW, 500)
    assert answer == Answer(10_500, PersonActed(item="show_profile", action=PersonAction.PROCEED))


def test_a_person_halts_only_by_what_the_screen_offers() -> None:
    cancels = person(halt={PersonAction.CANCEL: 1.0}, returns=0)
    (answer,) = cancels.asked(SHOW, 0)
    assert isinstance(answer, Answer)
    assert answer.event.action is PersonAction.PROCEED
    ignores = person(halt={PersonAction.CANCEL: 1.0, PersonAction.IGNORE: 1.0}, returns=0)
    (answer,) = ignores.asked(SHOW, 0)
    assert isinstance(answer, Answer)
    assert answer.event.action is PersonAction.IGNORE


def test_the_shares_of_the_halting_actions_add_up() -> None:
    halts = {PersonAction.IGNORE: 0.2, PersonAction.CLOSE: 0.3}
    actions = []
    for seed in range(2000):
        answer, *_ = person(seed, halt=halts).asked(SHOW, 0)
        assert isinstance(answer, Answer)
        actions.append(answer.event.action)
    assert 350 < actions.count(PersonAction.IGNORE) < 450
    assert 540 < actions.count(PersonAction.CLOSE) < 660


def test_a_silent_person_answers_never_or_returns_after_the_silence() -> None:
    assert person(silent=1, returns=0).asked(SHOW, 0) == ()
    (back,) = person(silent=1, returns=1).asked(SHOW, 0)
    assert isinstance(back, Return)
    assert back.at_ms > SILENCE_MS


def test_a_screen_that_waits_for_good_is_answered_on_the_return() -> None:
    """Nothing ended at the sign-in screen, so whoever comes back signs in instead of starting anew."""
    ask = AskPerson("sign_in", "sign_in", (PersonAction.PROCEED,))
    (late,) = person(silent=1, returns=1).asked(ask, 0)
    assert isinstance(late, Answer)
    assert late.event.action is PersonAction.PROCEED
    assert late.at_ms > SILENCE_MS


def test_a_screen_may_have_habits_of_its_own() -> None:
    habits = {"show_profile": ScreenHabits(answer=Duration(median_s=99, spread=1))}
    (answer,) = person(screens=habits).asked(SHOW, 0)
    assert answer.at_ms == 99_000


def test_the_same_screen_asked_again_is_answered_alike() -> None:
    """After a restart the machine asks again; the person has not changed their mind."""
    someone = person(silent=0.5, halt={PersonAction.CLOSE: 0.5})
    assert [r.__class__ for r in someone.asked(SHOW, 0)] == [
        r.__class__ for r in someone.asked(SHOW, 100)
    ]


def test_a_person_has_only_so_many_visits() -> None:
    someone = person(silent=1, returns=1, returns_max=1)
    assert len(someone.asked(SHOW, 0)) == 1
    someone.came_back()
    assert someone.asked(SHOW, 0) == ()


def test_patience_ends_with_another_choice() -> None:
    someone = person(
        error_screen=ErrorHabits(
            retries=2, retries_one_item=0, collects_logs=0, then={"reset_device": 1}
        )
    )
    chosen = [someone.offered(ERROR, n)[0] for n in range(3)]
    assert [c.event.choice for c in chosen if isinstance(c, Pick)] == [
        Choice.TRY_AGAIN,
        Choice.TRY_AGAIN,
        Choice.RESET_DEVICE,
    ]


def test_one_item_may_be_tried_again_alone() -> None:
    someone = person(error_screen=ErrorHabits(retries_one_item=1, collects_logs=0))
    (pick,) = someone.offered(ERROR, 0)
    assert isinstance(pick, Pick)
    assert pick.event == PersonChose(choice=Choice.TRY_ITEM_AGAIN, item="vpn")


def test_a_person_walks_away_when_nothing_that_they_want_is_offered() -> None:
    someone = person(error_screen=ErrorHabits(retries=0, collects_logs=0, then={"walk_away": 1}))
    assert someone.offered(ERROR, 0) == ()


def test_a_choice_that_is_not_offered_is_never_made() -> None:
    habits = ErrorHabits(retries=3, then={"continue_anyway": 9, "walk_away": 1}, collects_logs=1)
    someone = person(error_screen=habits)
    only_reset = OfferChoices((Choice.RESET_DEVICE,), (), error=True)
    assert someone.offered(only_reset, 0) == ()


def test_logs_are_collected_before_the_choice() -> None:
    someone = person(error_screen=ErrorHabits(collects_logs=1))
    picks = someone.offered(OfferChoices((*ALL, Choice.COLLECT_LOGS), ("vpn",), error=True), 0)
    first, second = picks
    assert isinstance(first, Pick)
    assert first.event.choice is Choice.COLLECT_LOGS
    assert first.at_ms < second.at_ms


def test_an_offer_to_go_on_early_is_taken_by_its_share() -> None:
    offer = OfferChoices((Choice.SKIP_ACCOUNT_SETUP,), (), error=False)
    taken = sum(bool(person(seed, leaves_early=0.25).offered(offer, 0)) for seed in range(1000))
    assert 200 < taken < 300


def test_each_occasion_has_an_answer_of_its_own_and_the_first_is_the_visits() -> None:
    someone = person(answer=Duration(median_s=60, spread=3))
    times = {someone.asked(SHOW, 0, occasion)[0].at_ms for occasion in range(20)}
    assert len(times) == 20
    assert someone.asked(SHOW, 0, 0) == someone.asked(SHOW, 0)
    someone.came_back()
    assert someone.asked(SHOW, 0)[0].at_ms not in times


def test_a_person_resets_only_so_often() -> None:
    habits = ErrorHabits(retries=0, collects_logs=0, then={"reset_device": 1})
    someone = person(error_screen=habits, resets_max=2)
    picks = [len(someone.offered(ERROR, 0, resets)) for resets in range(5)]
    assert picks == [1, 1, 0, 0, 0]
    assert [someone.has_had_enough(resets) for resets in range(5)] == [False] * 3 + [True] * 2


SIGN_IN = AskPerson("sign_in", "sign_in", (PersonAction.PROCEED,))
OFFICE = WorkingHours(begin="09:00", end="18:00")


def working(week_ms: int, **habits: object) -> SimulatedPerson:
    """Somebody in an office, with a device that was switched on at this time of the week."""
    known = Person.model_validate({"silent": 0, "hours": OFFICE, **habits})
    return SimulatedPerson(known, Draws(1, 0), week_ms=week_ms)


def test_whoever_is_asked_after_hours_answers_the_next_morning() -> None:
    quick = Duration(median_s=120, spread=1)
    (answer,) = working(17 * HOUR_MS, answer=quick).asked(SIGN_IN, HOUR_MS + 5 * MINUTE_MS)
    assert 17 * HOUR_MS + answer.at_ms == 33 * HOUR_MS + 2 * MINUTE_MS
    (answer,) = working(17 * HOUR_MS, answer=quick).asked(SIGN_IN, 5 * MINUTE_MS)
    assert answer.at_ms == 7 * MINUTE_MS


def test_what_was_not_finished_in_the_evening_is_finished_in_the_morning() -> None:
    slow = Duration(median_s=600, spread=1)
    (answer,) = working(0, answer=slow).asked(SIGN_IN, 18 * HOUR_MS - 4 * MINUTE_MS)
    assert answer.at_ms == 33 * HOUR_MS + 6 * MINUTE_MS


def test_whoever_goes_home_before_a_screen_that_gives_up_begins_anew_in_the_morning() -> None:
    """Thirty minutes of silence end an enrollment in the Company Portal, and nobody answers what is over."""
    quick = Duration(median_s=120, spread=1)
    evening_ms = 18 * HOUR_MS - MINUTE_MS
    (back,) = working(evening_ms, answer=quick, returns=0).asked(SHOW, 0)
    assert isinstance(back, Return)
    assert evening_ms + back.at_ms == 33 * HOUR_MS + MINUTE_MS
    assert working(evening_ms, answer=quick, returns_max=0).asked(SHOW, 0) == ()


def test_nobody_is_at_an_error_screen_or_comes_back_on_a_weekend() -> None:
    friday_evening_ms = (4 * 24 + 20) * HOUR_MS
    monday_ms = 7 * 24 * HOUR_MS
    habits = ErrorHabits(
        answer=Duration(median_s=60, spread=1), retries_one_item=0, collects_logs=1
    )
    offer = OfferChoices((*ALL, Choice.COLLECT_LOGS), ("vpn",), error=True)
    logs, retry = working(friday_evening_ms, error_screen=habits).offered(offer, 0)
    assert friday_evening_ms + logs.at_ms == monday_ms + 9 * HOUR_MS + 30_000
    assert friday_evening_ms + retry.at_ms == monday_ms + 9 * HOUR_MS + 60_000
    away = {"silent": 1, "returns": 1, "return_after": Duration(median_s=3600, spread=1)}
    (back,) = working(friday_evening_ms, **away).asked(SHOW, 0)
    assert friday_evening_ms + back.at_ms == monday_ms + 9 * HOUR_MS


def test_reading_takes_as_long_as_the_screens_text_is() -> None:
    """Nineteen words of title and text, or as many as the organization's own terms have."""
    quick: dict[str, Any] = {"answer": Duration(median_s=1, spread=1), "words_per_minute": 60}
    (answer,) = person(**quick).asked(SIGN_IN, 0)
    assert answer.at_ms == 20_000
    screens = {"sign_in": ScreenHabits(words=600)}
    (answer,) = person(**quick, screens=screens).asked(SIGN_IN, 0)
    assert answer.at_ms == 601_000


def test_patience_at_the_error_screen_ends() -> None:
    habits = ErrorHabits(
        answer=Duration(median_s=60, spread=1),
        patience=Duration(median_s=600, spread=1),
        retries=20,
        retries_one_item=0,
        collects_logs=0,
        then={"reset_device": 1},
    )
    tired = person(error_screen=habits)
    choices = [
        pick.event.choice
        for at_ms in (0, 300_000, 540_000, 541_000)
        for pick in tired.offered(ERROR, at_ms)
        if isinstance(pick, Pick)
    ]
    assert choices == [*[Choice.TRY_AGAIN] * 3, Choice.RESET_DEVICE]
    tired.came_back()
    (pick,) = tired.offered(ERROR, 900_000)
    assert isinstance(pick, Pick)
    assert pick.event.choice is Choice.TRY_AGAIN
