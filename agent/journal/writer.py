"""The journal that a driver writes: one thread, and one transaction for what many devices hand in together."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from agent.core.batch import Batch
from agent.journal.copying import copy_device
from agent.journal.file import checked, readable, transaction
from agent.journal.lock import let_go, take_lock
from agent.journal.rows import device_key, read_device
from agent.journal.writes import Writes
from agent.runtime.ports import (
    JournalFailed,
    JournalState,
    JournalUnreadable,
)
from agent.wire.events import Report

GROUP_MAX: Final = 512
"""How many requests are taken together at most, so that nobody waits long."""

GATHER_S: Final = 0.02
"""How long a fleet's transaction waits for more batches; after one of a single device the next waits for none."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Commit:
    device: str
    batch: Batch
    done: asyncio.Future[None] | None
    """None where nobody waits."""


@dataclass(frozen=True, slots=True)
class _Job:
    work: Callable[[sqlite3.Connection], Any]
    done: asyncio.Future[Any]
    newcomer: tuple[str, str] | None = None
    """Device and stream that the file has to know before, unless it knows the device."""


class SqliteJournal:
    """A journal file, opened for writing. Build it with `open_journal`."""

    def __init__(self, path: Path, connection: sqlite3.Connection, lock: int) -> None:
        self.path = path
        self._connection = connection
        self._lock = lock
        self._ids: dict[str, int] = {}
        self._writes = Writes(connection)
        self._inbox: queue.SimpleQueue[_Commit | _Job | None] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._is_open = True
        self.commits = 0
        """Batches that are in the file; counted by the writer, for whoever measures."""
        self.transactions = 0
        """Transactions that they went into."""
        self.syncs = 0
        """Of these, those that waited for the disk."""
        self._writer = threading.Thread(
            target=self._write, name=f"journal {path.name}", daemon=True
        )
        self._writer.start()

    # What the driver calls, on its event loop.

    async def load(self, device: str, new_stream: str) -> JournalState:
        """See `Journal.load`."""
        return await self._run(functools.partial(self._load, device), (device, new_stream))

    async def commit(self, device: str, batch: Batch) -> None:
        """See `Journal.commit`."""
        if batch.lazy and batch.entry is None:
            self._submit(_Commit(device, batch, None))
            return
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._submit(_Commit(device, batch, done))
        await done

    async def fetch(self, device: str, first: int, last: int) -> Sequence[tuple[int, Report]]:
        """See `Journal.fetch`."""
        return await self._run(functools.partial(self._fetch, device, first, last))

    async def copy_device(self, device: str, path: str) -> None:
        """See `JournalCopies.copy_device`. What is being written at the same time does not wait for it."""
        if not self._is_open:
            raise JournalFailed(f"{self.path}: the journal is closed")
        await asyncio.to_thread(copy_device, self.path, device, Path(path))

    def close(self) -> None:
        """Write what was handed in, close the file and let others have it. Blocks until that is done."""
        if not self._is_open:
            return
        self._is_open = False
        self._closing.set()
        self._inbox.put(None)
        self._writer.join()
        let_go(self._lock)

    async def _run(
        self, work: Callable[[sqlite3.Connection], T], newcomer: tuple[str, str] | None = None
    ) -> T:
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._submit(_Job(work, done, newcomer))
        return await done

    def _submit(self, request: _Commit | _Job) -> None:
        if not self._is_open:
            raise JournalFailed(f"{self.path}: the journal is closed")
        self._inbox.put(request)

    # What the writer thread does.

    def _write(self) -> None:
        has_company = False
        while (request := self._inbox.get()) is not None:
            if has_company and isinstance(request, _Commit):
                # To be woken by each batch would cost more than the transactions that are saved; closing ends the wait.
                self._closing.wait(GATHER_S)
            commits: list[_Commit] = []
            jobs: list[_Job] = []
            while request is not None:
                if isinstance(request, _Commit):
                    commits.append(request)
                else:
                    jobs.append(request)
                if len(commits) + len(jobs) == GROUP_MAX:
                    break
                try:
                    request = self._inbox.get_nowait()
                except queue.Empty:
                    break
            has_company = any(other.device != commits[0].device for other in commits)
            newcomers = [job.newcomer for job in jobs if job.newcomer is not None]
            failure = self._commit_group(commits, newcomers)
            # After the commits: what was handed in before a job is in the file when it looks.
            for job in jobs:
                self._do(job, failure if job.newcomer else None)
            if request is None:
                break
        self._connection.close()

    def _commit_group(
        self, commits: Sequence[_Commit], newcomers: Sequence[tuple[str, str]]
    ) -> JournalFailed | None:
        """One transaction for the batches, and for the devices that are new; why it failed, if it did."""
        if not commits and not newcomers:
            return None
        is_lazy = not newcomers and all(request.batch.lazy for request in commits)
        level = "NORMAL" if is_lazy else "FULL"
        failure: JournalFailed | None = None
        try:
            self._connection.execute(f"PRAGMA synchronous = {level}")
            with transaction(self._connection):
                for request in commits:
                    self._writes.add(self._ids[request.device], request.batch)
                self._writes.flush()
                self._connection.executemany(
                    "INSERT INTO device (name, stream) VALUES (?, ?) ON CONFLICT (name) DO NOTHING",
                    newcomers,
                )
        except sqlite3.Error as error:
            self._writes = Writes(self._connection)
            failure = JournalFailed(f"{self.path}: {error}")
        else:
            self.commits += len(commits)
            self.transactions += 1
            self.syncs += level == "FULL"
        _answer([(r.done, None, failure) for r in commits if r.done is not None])
        return failure

    def _do(self, job: _Job, failure: JournalFailed | None) -> None:
        if failure is not None:
            _answer([(job.done, None, failure)])
            return
        try:
            result = job.work(self._connection)
        except sqlite3.DatabaseError as error:
            _answer([(job.done, None, JournalFailed(f"{self.path}: {error}"))])
        except JournalUnreadable as error:
            _answer([(job.done, None, error)])
        else:
            _answer([(job.done, result, None)])

    def _load(self, device: str, connection: sqlite3.Connection) -> JournalState:
        state = read_device(self.path, connection, device)
        self._ids[device] = device_key(connection, device)
        return state

    def _fetch(
        self, device: str, first: int, last: int, connection: sqlite3.Connection
    ) -> Sequence[tuple[int, Report]]:
        rows = connection.execute(
            "SELECT seq, content FROM report WHERE device = ? AND seq BETWEEN ? AND ? ORDER BY seq",
            (self._ids[device], first, last),
        )
        with readable(self.path):
            return [(seq, Report.model_validate_json(content)) for seq, content in rows]


def _answer(results: Sequence[tuple[asyncio.Future[Any], Any, Exception | None]]) -> None:
    """Resolve futures from the writer's thread: one call into each loop, whatever their number."""
    by_loop: dict[asyncio.AbstractEventLoop, list[Any]] = {}
    for result in results:
        by_loop.setdefault(result[0].get_loop(), []).append(result)
    for loop, answers in by_loop.items():
        # The loop of an agent that was torn down takes no more answers, and nobody waits for them.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(_resolve, answers)


def _resolve(answers: Sequence[tuple[asyncio.Future[Any], Any, Exception | None]]) -> None:
    for done, result, failure in answers:
        if done.done():
            continue
        if failure is None:
            done.set_result(result)
        else:
            done.set_exception(failure)


def open_journal(path: Path) -> SqliteJournal:
    """Open a journal for writing, alone; make it when there is none.

    Raises:
        JournalUnreadable: torn, foreign, of a newer schema, or in use by another agent. Nothing is changed then.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = take_lock(path)
    try:
        connection = checked(path)
    except BaseException:
        let_go(lock)
        raise
    return SqliteJournal(path, connection, lock)


def set_aside(path: Path) -> Path:
    """Rename a journal that can't be used, with its side files, so that a new one can begin; the new name.

    Raises:
        JournalUnreadable: another agent uses it.
    """
    lock = take_lock(path)
    try:
        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
        aside = _free_name(path.with_name(f"{path.name}.aside-{stamp}"))
        for suffix in ("-wal", "-shm", ""):
            part = path.with_name(path.name + suffix)
            if part.exists():
                part.rename(aside.with_name(aside.name + suffix))
    finally:
        let_go(lock)
    return aside


def _free_name(path: Path) -> Path:
    number, free = 1, path
    while free.exists():
        number += 1
        free = path.with_name(f"{path.name}-{number}")
    return free
