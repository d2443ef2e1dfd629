"""Apps the way an installer agent does them: what applies, what takes whose place, and what an exit code means."""

from __future__ import annotations

from typing import Any

import pytest

from agent.core import effects as do
from agent.core.events import Event, Hardware, StepFinished, StepResult
from agent.wire.assignment import (
    DEPENDENCIES_MAX,
    AssignedItem,
    ExitCode,
    InstallRules,
    Requirements,
    Superseded,
    check_dependencies,
)
from agent.wire.progress import ItemProgress
from agent.wire.vocabulary import (
    Architecture,
    Context,
    EndState,
    EnrollmentType,
    ExitCodeMeaning,
    FailureKind,
    ItemState,
    RebootKind,
    RestartBehavior,
)
from tests.agent.core.script import Script, done, fails_with, hangs

LAPTOP = Hardware(
    architecture=Architecture.X64,
    disk_free_mb=50_000,
    memory_mb=8_192,
    processors=4,
    processor_mhz=2_400,
)


def app(name: str, *, rules: InstallRules | None = None, **settings: Any) -> AssignedItem:
    return AssignedItem(id=name, name=name.title(), rules=rules, **settings)


def needing(**requirements: Any) -> InstallRules:
    return InstallRules(requirements=Requirements(**requirements))


def manual(*items: AssignedItem, **settings: Any) -> Script:
    """A device without preparation, so that apps come first."""
    return Script(EnrollmentType.WINDOWS_MANUAL, items=items, **settings)


def failure_of(item: ItemProgress) -> FailureKind | None:
    return None if item.failure is None else item.failure.kind


# Requirements.


@pytest.mark.rule("requirements")
@pytest.mark.parametrize(
    ("requirement", "sentence"),
    [
        ({"minimum_os": "10.0.26100"}, "it needs version 10.0.26100, this device runs 10.0.22631"),
        (
            {"architectures": (Architecture.ARM64, Architecture.X86)},
            "it needs a processor of type arm64 or x86, this one is x64",
        ),
        ({"disk_mb": 50_001}, "it needs 50,001 MB of free disk space, this device has 50,000"),
        ({"memory_mb": 8_193}, "it needs 8,193 MB of memory, this device has 8,192"),
        ({"processors": 5}, "it needs 5 logical processors, this device has 4"),
        ({"processor_mhz": 2_401}, "it needs 2,401 MHz of processor speed, this device has 2,400"),
    ],
)
def test_what_a_device_can_t_take_is_skipped_with_the_reason_and_never_failed(
    requirement: dict[str, Any], sentence: str
) -> None:
    story = manual(app("studio", rules=needing(**requirement)), app("mail"), hardware=LAPTOP)
    story.begin().assign()
    assert story.item("studio").state is ItemState.SKIPPED
    assert story.item("studio").note == sentence
    story.play()
    assert story.apps_run() == ["mail"]
    assert story.end().end_state is EndState.SUCCEEDED
    (row,) = [r for p in story.machine.progress.phases for r in p.rows if r.id == "apps"]
    assert row.text == "1 of 1 installed"


@pytest.mark.rule("requirements")
@pytest.mark.parametrize(
    "requirement",
    [
        {"minimum_os": "10.0.22631"},
        {"architectures": (Architecture.ARM64, Architecture.X64)},
        {"disk_mb": 50_000, "memory_mb": 8_192, "processors": 4, "processor_mhz": 2_400},
    ],
)
def test_what_a_device_just_meets_is_installed(requirement: dict[str, Any]) -> None:
    story = manual(app("studio", rules=needing(**requirement)), hardware=LAPTOP)
    assert story.begin().assign().play().apps_run() == ["studio"]


@pytest.mark.rule("requirements")
@pytest.mark.parametrize("hardware", [None, Hardware()])
def test_what_nobody_measured_counts_as_met(hardware: Hardware | None) -> None:
    rules = needing(architectures=(Architecture.ARM64,), disk_mb=1, memory_mb=1, processors=1)
    story = manual(app("studio", rules=rules), hardware=hardware)
    assert story.begin().assign().play().apps_run() == ["studio"]


@pytest.mark.rule("requirements")
def test_a_script_on_the_device_may_say_that_an_app_does_not_apply() -> None:
    def unwanted(_: Script, step: do.RunStep) -> Event:
        return StepFinished(item=step.item, run=step.run, result=StepResult.NOT_APPLICABLE)

    story = manual(app("studio"), app("mail")).behave("studio", unwanted).begin().assign().play()
    assert story.item("studio").state is ItemState.SKIPPED
    assert story.item("studio").note == "this device says that it does not apply here"
    assert story.end().end_state is EndState.SUCCEEDED


# Dependencies.


@pytest.mark.rule("dependencies")
def test_an_app_is_not_attempted_when_its_dependency_is_not_meant_for_the_device() -> None:
    story = manual(
        app("runtime", rules=needing(memory_mb=99_999)),
        app("studio", depends_on=("runtime",)),
        hardware=LAPTOP,
    )
    story.begin().assign().play()
    assert story.apps_run() == []
    assert story.item("studio").state is ItemState.CANCELLED
    assert failure_of(story.item("studio")) is FailureKind.DEPENDENCY_FAILED
    assert "not meant for this device" in story.failure().person


@pytest.mark.rule("dependencies")
def test_a_dependency_is_installed_even_where_nobody_requires_it() -> None:
    story = manual(app("runtime", required=False), app("studio", depends_on=("runtime",)))
    assert story.begin().assign().play().apps_run() == ["runtime", "studio"]


@pytest.mark.rule("dependencies")
def test_without_automatic_installation_a_missing_dependency_stops_the_app() -> None:
    detect_only = InstallRules(must_be_present=("runtime",))
    story = manual(app("runtime", required=False), app("studio", rules=detect_only))
    story.begin().assign().play()
    assert story.apps_run() == []
    assert failure_of(story.item("studio")) is FailureKind.DEPENDENCY_FAILED
    assert "Runtime, which is not set up on this device" in story.failure().person


@pytest.mark.rule("dependencies")
def test_without_automatic_installation_an_app_that_nobody_assigned_is_named_by_its_id() -> None:
    story = manual(app("studio", rules=InstallRules(must_be_present=("elsewhere",))))
    story.begin().assign().play()
    assert "needs elsewhere" in story.failure().person


@pytest.mark.rule("dependencies")
def test_without_automatic_installation_a_required_dependency_still_comes_first() -> None:
    detect_only = InstallRules(must_be_present=("runtime",))
    story = manual(app("studio", rules=detect_only), app("runtime"))
    assert story.begin().assign().play().apps_run() == ["runtime", "studio"]


@pytest.mark.rule("dependencies")
def test_a_graph_of_dependencies_has_at_most_a_hundred() -> None:
    def chain(length: int) -> tuple[AssignedItem, ...]:
        return tuple(app(f"a{n}", depends_on=(f"a{n - 1}",) if n else ()) for n in range(length))

    check_dependencies(chain(DEPENDENCIES_MAX + 1))
    with pytest.raises(ValueError, match="hangs together with 101 others by dependencies"):
        check_dependencies(chain(DEPENDENCIES_MAX + 2))


def test_a_graph_of_supersedence_has_at_most_ten() -> None:
    def chain(length: int) -> tuple[AssignedItem, ...]:
        return tuple(app(f"v{n}", rules=replacing(f"v{n - 1}")) for n in range(1, length))

    check_dependencies(chain(10))
    with pytest.raises(ValueError, match="hangs together with 10 others by supersedence"):
        check_dependencies(chain(11))


def test_two_graphs_may_have_a_hundred_each() -> None:
    items = [
        app(f"{graph}{n}", depends_on=(f"{graph}0",) if n else ())
        for graph in ("a", "b")
        for n in range(DEPENDENCIES_MAX)
    ]
    check_dependencies(tuple(items))


# Supersedence.


def replacing(*old: str, uninstall: bool = False) -> InstallRules:
    return InstallRules(supersedes=tuple(Superseded(id=o, uninstall=uninstall) for o in old))


@pytest.mark.rule("supersedence")
def test_the_newer_app_takes_the_place_of_the_older_one() -> None:
    story = manual(app("portal-4"), app("portal-5", rules=replacing("portal-4")))
    story.begin().assign().play()
    assert story.apps_run() == ["portal-5"]
    assert story.item("portal-4").state is ItemState.SKIPPED
    assert story.item("portal-4").note == "Portal-5 takes its place"


@pytest.mark.rule("supersedence")
@pytest.mark.parametrize("uninstall", [True, False])
def test_the_older_app_is_removed_first_only_when_it_is_replaced(uninstall: bool) -> None:
    story = manual(app("portal-5", rules=replacing("portal-4", uninstall=uninstall)))
    (run,) = [s for s in story.begin().assign().of(do.RunStep) if s.item == "portal-5"]
    assert run.replaces == (("portal-4",) if uninstall else ())


@pytest.mark.rule("supersedence")
def test_who_needs_the_older_app_gets_the_newest_of_the_chain() -> None:
    story = manual(
        app("vpn", depends_on=("portal-3",)),
        app("portal-3", required=False),
        app("portal-4", rules=replacing("portal-3"), required=False),
        app("portal-5", rules=replacing("portal-4"), required=False),
    )
    story.begin().assign().play()
    assert story.apps_run() == ["portal-5", "vpn"]


@pytest.mark.rule("supersedence")
def test_where_the_newer_app_does_not_apply_the_older_one_stays() -> None:
    newer = InstallRules(
        requirements=Requirements(memory_mb=99_999), supersedes=(Superseded(id="portal-4"),)
    )
    story = manual(app("portal-4"), app("portal-5", rules=newer), hardware=LAPTOP)
    assert story.begin().assign().play().apps_run() == ["portal-4"]


@pytest.mark.parametrize(
    ("items", "sentence"),
    [
        (
            (app("a", rules=replacing("b")), app("b", rules=replacing("a"))),
            "the items supersede each other: b → a → b",
        ),
        (
            (app("a"), app("b", rules=replacing("a")), app("c", rules=replacing("a"))),
            "items 'b' and 'c' both supersede 'a'; leave it to one of them",
        ),
        (
            (app("a", context=Context.ACCOUNT), app("b", rules=replacing("a"))),
            "item 'b' supersedes 'a' of the other context",
        ),
        (
            (
                app("old"),
                app("new", rules=replacing("old"), depends_on=("tool",)),
                app("tool", depends_on=("old",)),
            ),
            "the dependencies go in a circle: new → tool → new",
        ),
        (
            (
                app("old", depends_on=("tool",)),
                app("new", rules=replacing("old")),
                app("tool", depends_on=("old",)),
            ),
            "the dependencies go in a circle: old → tool → old",
        ),
        (
            (app("a", rules=InstallRules(must_be_present=("b",))), app("b", depends_on=("a",))),
            "the dependencies go in a circle: a → b → a",
        ),
        (
            (
                app("a", rules=InstallRules(must_be_present=("b",))),
                app("b", context=Context.ACCOUNT),
            ),
            "device item 'a' depends on account item 'b', which comes later",
        ),
    ],
)
def test_what_can_t_be_ordered_is_refused(items: tuple[AssignedItem, ...], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        check_dependencies(items)


# Exit codes.


@pytest.mark.rule("exit-codes")
@pytest.mark.parametrize(
    ("meaning", "state", "reboot"),
    [
        (ExitCodeMeaning.SUCCESS, ItemState.DONE, None),
        (ExitCodeMeaning.SOFT_REBOOT, ItemState.DONE, RebootKind.SOFT),
        (ExitCodeMeaning.RETRY, ItemState.WAITING_TO_RETRY, None),
        (ExitCodeMeaning.FAILED, ItemState.WAITING_TO_RETRY, None),
    ],
)
def test_an_app_may_have_exit_codes_of_its_own(
    meaning: ExitCodeMeaning, state: ItemState, reboot: RebootKind | None
) -> None:
    rules = InstallRules(exit_codes=(ExitCode(code=5, meaning=meaning),))

    def ends(_: Script, step: do.RunStep) -> Event:
        return StepFinished(item=step.item, run=step.run, result=StepResult.COMPLETED, exit_code=5)

    story = manual(app("studio", rules=rules)).begin().assign()
    begun_ms = story.now_ms
    story.feed(ends(story, story.of(do.RunStep)[-1]))
    assert story.item("studio").state is state
    assert [e.kind for e in story.of(do.Reboot)] == ([reboot] if reboot else [])
    if meaning is ExitCodeMeaning.RETRY:
        assert story.machine.next_deadline_ms() == begun_ms + 5 * 60_000


@pytest.mark.rule("exit-codes")
def test_an_own_meaning_goes_over_the_default_one() -> None:
    rules = InstallRules(exit_codes=(ExitCode(code=1641, meaning=ExitCodeMeaning.SUCCESS),))
    story = manual(app("studio", rules=rules)).behave("studio", fails_with(1641, detected=True))
    story.begin().assign().play()
    assert story.of(do.Reboot) == []
    assert story.end().end_state is EndState.SUCCEEDED


@pytest.mark.rule("exit-codes")
def test_a_default_exit_code_keeps_its_meaning_beside_own_ones() -> None:
    rules = InstallRules(exit_codes=(ExitCode(code=5, meaning=ExitCodeMeaning.SUCCESS),))
    story = manual(app("studio", rules=rules)).behave("studio", fails_with(3010, detected=True))
    story.begin().assign().play()
    assert [e.kind for e in story.of(do.Reboot)] == [RebootKind.SOFT]


@pytest.mark.rule("exit-codes")
def test_detection_decides_over_an_exit_code_of_ones_own_too() -> None:
    rules = InstallRules(exit_codes=(ExitCode(code=5, meaning=ExitCodeMeaning.FAILED),))
    story = manual(app("studio", rules=rules)).behave("studio", fails_with(5, detected=True))
    assert story.begin().assign().play().end().end_state is EndState.SUCCEEDED


@pytest.mark.rule("exit-codes")
@pytest.mark.parametrize("code", [3010, 1641])
def test_a_suppressed_restart_does_not_happen(code: int) -> None:
    rules = InstallRules(restart=RestartBehavior.SUPPRESS)
    story = manual(app("studio", rules=rules)).behave("studio", fails_with(code, detected=True))
    story.begin().assign().play()
    assert story.of(do.Reboot) == []
    assert story.end().end_state is EndState.SUCCEEDED


@pytest.mark.rule("exit-codes")
def test_an_app_that_always_restarts_does_so_once_at_the_end_of_the_phase() -> None:
    rules = InstallRules(restart=RestartBehavior.ALWAYS)
    story = manual(app("studio", rules=rules), app("mail")).begin().assign().play()
    kinds = [type(e).__name__ for e in story.effects if isinstance(e, do.RunStep | do.Reboot)]
    assert kinds[:3] == ["RunStep", "RunStep", "Reboot"]
    assert story.of(do.Reboot)[0].items == ("studio",)


def test_a_refresh_that_makes_a_running_app_unfit_stops_it() -> None:
    story = manual(app("studio"), app("mail"), hardware=LAPTOP).behave("studio", hangs)
    story.begin().assign().play()
    unfit = story.admitted.model_copy(
        update={"items": (app("studio", rules=needing(processors=99)), app("mail"))}
    )
    story.assign(unfit, version=2)
    assert [e.item for e in story.of(do.CancelStep)] == ["studio"]
    assert story.item("studio").state is ItemState.SKIPPED
    assert story.behave("studio", done).play().end().end_state is EndState.SUCCEEDED
