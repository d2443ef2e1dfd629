"""Has cohorts computed in this process, by a pool of processes, or on a cluster, with the same results everywhere."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    ProcessPoolExecutor,
    wait,
)
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from simulator.interruption import Interruption, held_back
from simulator.population import Cohort
from simulator.scenario import Scenario

if TYPE_CHECKING:
    from distributed import Client

T = TypeVar("T")

Work = Callable[[Scenario, int, Sequence[Cohort]], T]
"""Computes some cohorts of a scenario under a seed. A function of a module, so that other processes find it."""

TASK_DEVICES: Final = 500
"""About so many devices are one task: enough to share what devices have in common, few enough to end soon."""
TASKS_PER_WORKER: Final = 4
"""A small fleet is divided into so many tasks for each worker, so that all of them end at about the same time."""
IN_FLIGHT_PER_WORKER: Final = 2
"""Tasks handed out at a time: one that runs and one that waits. What is not handed out takes no memory."""
LISTEN_S: Final = 0.2
CONNECT_S: Final = 10
DISTRIBUTION: Final = "enrollment-agent"


class EngineFailed(Exception):
    """The engine can't be used, or broke; the reason and the remedy in one sentence."""


class Engine(Protocol):
    """Where cohorts are computed."""

    def results(
        self, work: Work[T], scenario: Scenario, seed: int, cohorts: Sequence[Cohort]
    ) -> Iterator[tuple[T, int]]:
        """The result of each task with its number of devices, in any order; fewer after an interruption.

        Raises:
            EngineFailed: a worker is gone.
        """
        ...


class InThisProcess:
    """One cohort after another, right here."""

    def __init__(self, interruption: Interruption) -> None:
        self._interruption = interruption

    def results(
        self, work: Work[T], scenario: Scenario, seed: int, cohorts: Sequence[Cohort]
    ) -> Iterator[tuple[T, int]]:
        """See `Engine`."""
        for task in tasks_of(cohorts, workers=1):
            result = self._interruption.attempt(partial(work, scenario, seed, task))
            if result is None:
                return
            yield result, _devices(task)


class OnExecutor:
    """On the workers of any executor."""

    def __init__(self, executor: Executor, workers: int, interruption: Interruption) -> None:
        self._executor = executor
        self._workers = workers
        self._interruption = interruption

    def results(
        self, work: Work[T], scenario: Scenario, seed: int, cohorts: Sequence[Cohort]
    ) -> Iterator[tuple[T, int]]:
        """See `Engine`."""
        waiting = iter(tasks_of(cohorts, self._workers))
        running: dict[Future[T], int] = {}
        try:
            while not self._interruption.happened:
                for task in waiting:
                    with held_back():
                        future = self._executor.submit(work, scenario, seed, task)
                    running[future] = _devices(task)
                    if len(running) >= self._workers * IN_FLIGHT_PER_WORKER:
                        break
                if not running:
                    return
                done, _ = wait(running, timeout=LISTEN_S, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result(), running.pop(future)
        except (BrokenExecutor, CancelledError):
            if not self._interruption.happened:
                raise EngineFailed(
                    "a worker process ended before its work was done, perhaps for lack of memory; "
                    "run it again with fewer --jobs"
                ) from None
        finally:
            for future in running:
                future.cancel()


def tasks_of(cohorts: Sequence[Cohort], workers: int) -> Iterator[tuple[Cohort, ...]]:
    """Whole cohorts, together as many devices as one task should have."""
    enough = min(TASK_DEVICES, 1 + _devices(cohorts) // (workers * TASKS_PER_WORKER))
    task: list[Cohort] = []
    for cohort in cohorts:
        task.append(cohort)
        if _devices(task) >= enough:
            yield tuple(task)
            task.clear()
    if task:
        yield tuple(task)


def _devices(cohorts: Sequence[Cohort]) -> int:
    return sum(cohort.count for cohort in cohorts)


@contextmanager
def local(jobs: int, interruption: Interruption) -> Iterator[Engine]:
    """So many processes on this machine; one is this one."""
    if jobs == 1:
        yield InThisProcess(interruption)
        return
    others = set(multiprocessing.active_children())
    # A fresh interpreter for each worker: forking a process with threads may stop it for good.
    pool = ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn"))
    finished = False
    try:
        yield OnExecutor(pool, jobs, interruption)
        finished = not interruption.happened
    finally:
        for worker in multiprocessing.active_children():
            if not finished and worker not in others:
                worker.terminate()
        pool.shutdown(cancel_futures=True)


@contextmanager
def dask(address: str, interruption: Interruption) -> Iterator[Engine]:
    """The workers of a Dask cluster, whose scheduler has this address (`tcp://HOST:PORT`).

    Raises:
        EngineFailed: the library is missing, nobody answers, or the workers are not ready for our work.
    """
    try:
        from distributed import Client  # noqa: PLC0415 - An extra that most installations do without.
    except ModuleNotFoundError as error:
        raise EngineFailed(
            f"--dask needs the library {error.name}; install {DISTRIBUTION}[cluster]"
        ) from None
    try:
        client = Client(address, timeout=CONNECT_S, set_as_default=False)
    except (OSError, ValueError) as error:
        raise EngineFailed(
            f"--dask {address}: no scheduler answers there ({type(error).__name__}); "
            "write tcp://HOST:PORT of one that runs"
        ) from None
    with client:
        executor = client.get_executor(pure=False)
        try:
            yield OnExecutor(executor, _ready_workers(client, address), interruption)
        finally:
            executor.shutdown(wait=False)


def _ready_workers(client: Client, address: str) -> int:
    """How many threads the cluster's workers have, all with this version of the program.

    Raises:
        EngineFailed: there are none, or a worker has another version or none.
    """
    ours = version(DISTRIBUTION)
    for worker, theirs in client.run(version, DISTRIBUTION, on_error="return").items():
        if theirs != ours:
            found = theirs if isinstance(theirs, str) else "not installed"
            raise EngineFailed(
                f"--dask {address}: on {worker} {DISTRIBUTION} is {found}; install {ours}, as here"
            )
    threads: int = sum(client.nthreads().values())
    if not threads:
        raise EngineFailed(f"--dask {address}: the cluster has no workers; start some")
    return threads
