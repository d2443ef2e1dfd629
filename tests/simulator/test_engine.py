from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor

import pytest

from simulator.engine import EngineFailed, InThisProcess, OnExecutor, dask, local, tasks_of
from simulator.interruption import Interruption
from simulator.population import Cohort
from simulator.scenario import Scenario
from simulator.scenario_file import SHIPPED, load_scenario
from simulator.whatif.run import count_fleet

DEVICES = 230
SEED = 3


@pytest.fixture(scope="module")
def company() -> Scenario:
    return load_scenario(SHIPPED / "company.toml")


@pytest.fixture(scope="module")
def alone(company: Scenario) -> object:
    engine = InThisProcess(Interruption())
    return count_fleet(engine, company, devices=DEVICES, seed=SEED).to_json()


class Backwards(Executor):
    """Answers the newest first, as no pool would."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Future[object], object]] = []

    def submit(self, work, /, *args, **kwargs):  # type: ignore[no-untyped-def]
        future: Future[object] = Future()
        self.waiting.append((future, lambda: work(*args, **kwargs)))
        if len(self.waiting) == 2:
            while self.waiting:
                last, compute = self.waiting.pop()
                last.set_result(compute())  # type: ignore[operator]
        return future


def test_processes_give_what_one_process_gives(company: Scenario, alone: object) -> None:
    with local(2, Interruption()) as engine:
        assert count_fleet(engine, company, devices=DEVICES, seed=SEED).to_json() == alone


def test_the_order_in_which_tasks_end_changes_nothing(company: Scenario, alone: object) -> None:
    engine = OnExecutor(Backwards(), 1, Interruption())
    whole = [Cohort(n, n * 50, 50) for n in range(4)]
    found = count_cohorts(engine, company, whole)
    assert found == count_cohorts(InThisProcess(Interruption()), company, whole)


def count_cohorts(
    engine: OnExecutor | InThisProcess, scenario: Scenario, whole: Sequence[Cohort]
) -> int:
    return sum(found for found, _ in engine.results(first_indices, scenario, SEED, whole))


def first_indices(scenario: Scenario, seed: int, cohorts: Sequence[Cohort]) -> int:
    return sum(cohort.first for cohort in cohorts)


def test_tasks_are_whole_cohorts_and_all_of_them() -> None:
    given = [Cohort(n, n * 90, 90) for n in range(40)]
    tasks = list(tasks_of(given, workers=2))
    assert [cohort for task in tasks for cohort in task] == given
    assert all(sum(c.count for c in task) < 600 for task in tasks)


def test_a_small_fleet_keeps_all_workers_busy() -> None:
    given = [Cohort(n, n * 10, 10) for n in range(16)]
    assert len(list(tasks_of(given, workers=2))) >= 4


def test_nothing_is_handed_out_that_would_only_wait(company: Scenario) -> None:
    held: list[int] = []

    class Counting(ThreadPoolExecutor):
        def submit(self, *args, **kwargs):  # type: ignore[no-untyped-def]
            held.append(1)
            return super().submit(*args, **kwargs)

    given = [Cohort(n, n * 600, 600) for n in range(50)]
    with Counting(1) as pool:
        results = OnExecutor(pool, 1, Interruption()).results(first_indices, company, SEED, given)
        next(results)
        assert len(held) <= 3
        assert len(list(results)) == 49
    assert len(held) == 50


def interrupts(scenario: Scenario, seed: int, cohorts: Sequence[Cohort]) -> int:
    if cohorts[0].first >= 1200:
        os.kill(os.getpid(), signal.SIGINT)
        endless = iter(int, 1)
        return sum(endless)
    return 1


def test_ctrl_c_breaks_off_work_in_this_process_and_keeps_what_is_done(company: Scenario) -> None:
    given = [Cohort(n, n * 600, 600) for n in range(5)]
    interruption = Interruption()
    with interruption.listening():
        done = list(InThisProcess(interruption).results(interrupts, company, SEED, given))
    assert done == [(1, 600), (1, 600)]
    assert interruption.happened


def test_after_an_interruption_an_executor_gets_nothing_more(company: Scenario) -> None:
    given = [Cohort(n, n * 300, 300) for n in range(50)]
    interruption = Interruption()
    with interruption.listening(), ThreadPoolExecutor(1) as pool:
        found = OnExecutor(pool, 1, interruption).results(first_indices, company, SEED, given)
        next(found)
        os.kill(os.getpid(), signal.SIGTERM)
        assert len(list(found)) <= 3


def test_signals_are_as_before_after_listening() -> None:
    before = signal.getsignal(signal.SIGINT)
    with Interruption().listening():
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before


def hears_ctrl_c(scenario: Scenario, seed: int, cohorts: Sequence[Cohort]) -> bool:
    return signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_workers_do_not_hear_ctrl_c_themselves(company: Scenario) -> None:
    with local(2, Interruption()) as engine:
        ((hears, _),) = engine.results(hears_ctrl_c, company, SEED, [Cohort(0, 0, 10)])
    assert not hears


def never_ends_but_once(scenario: Scenario, seed: int, cohorts: Sequence[Cohort]) -> int:
    if cohorts[0].first > 0:
        threading.Event().wait()
    return 1


def test_an_interruption_ends_workers_that_are_in_the_middle_of_something(
    company: Scenario,
) -> None:
    given = [Cohort(n, n * 300, 300) for n in range(5)]
    interruption = Interruption()
    with interruption.listening(), local(2, interruption) as engine:
        for found in engine.results(never_ends_but_once, company, SEED, given):
            assert found == (1, 300)
            os.kill(os.getpid(), signal.SIGINT)
    assert interruption.happened
    assert multiprocessing.active_children() == []


def dies(scenario: Scenario, seed: int, cohorts: Sequence[Cohort]) -> int:
    os._exit(9)


def test_a_worker_that_dies_is_said_in_one_sentence(company: Scenario) -> None:
    with local(2, Interruption()) as engine, pytest.raises(EngineFailed, match="fewer --jobs"):
        list(engine.results(dies, company, SEED, [Cohort(0, 0, 10)]))


# --- Dask -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        processes=True,
        host="127.0.0.1",
        dashboard_address=None,
    ) as found:
        yield found.scheduler_address


@pytest.mark.system
def test_a_dask_cluster_gives_what_one_process_gives(
    cluster: str, company: Scenario, alone: object
) -> None:
    with dask(cluster, Interruption()) as engine:
        assert count_fleet(engine, company, devices=DEVICES, seed=SEED).to_json() == alone


def test_where_no_scheduler_answers_is_said_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setattr("simulator.engine.CONNECT_S", 0.2)
    with pytest.raises(EngineFailed, match="no scheduler answers there"):  # noqa: SIM117
        with dask("tcp://127.0.0.1:1", Interruption()):
            pass


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "distributed", None)
    with pytest.raises(EngineFailed, match=r"install enrollment-agent\[cluster\]"):  # noqa: SIM117
        with dask("tcp://127.0.0.1:8786", Interruption()):
            pass
